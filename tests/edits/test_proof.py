"""The proof after an edit finds whatever else became different, by any byte that another writer could have touched."""

from __future__ import annotations

import pytest

from gitops_nb.edits import editing, parse_key
from gitops_nb.edits.places import find
from gitops_nb.edits.reader import read
from gitops_nb.errors import UsageError

FILE = """\
tag: v1
base: &b {x: one, "y": 'two'}
copy: *b
other: &o three
again: *o
loose: &l four
typed: !!str 1.9
local: !env v1
list:
- a
- b
merged:
  <<: *b
  z: 1
"""


def proved(after: str, value: str = "v2") -> None:
    """Asks for the proof that ``after`` is the file with another tag."""
    source = read(FILE.encode())
    place = find(source, "tag", parse_key("tag"))
    editing._prove(source, place, after.encode(), "tag", value)


def test_the_right_edit_is_proved():
    """Quotes around the new text are part of the token."""
    proved(FILE.replace("v1", "v2", 1))
    proved(FILE.replace("v1", '"v2"', 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tag: v1", "tag: v3"),
        ("tag: v1", "tag: 'v2'"),
        ("tag: v1", "tag: !!str v2"),
        ("tag: v1", "tag: &t v2"),
        ("tag: v1", "tag: v2\nmore: 1"),
        ("x: one", "x: uno"),
        ("x: one", "'x': one"),
        ("x: one", "x: 'one'"),
        ("'two'", "two"),
        ("{x: one, \"y\": 'two'}", "\n  x: one\n  \"y\": 'two'"),
        ("&b", "&c"),
        ("copy: *b", "copy: {x: one, \"y\": 'two'}"),
        ("again: *o", "again: three"),
        ("again: *o", "again: *b"),
        ("&l ", ""),
        ("!!str 1.9", '"1.9"'),
        ("!env v1", "v1"),
        ("!env", "!other"),
        ("- a\n- b", "- b\n- a"),
        ("- b\n", ""),
        ("  <<: *b\n  z: 1", "  z: 1\n  <<: *b"),
        ("z: 1", "z: 1\n---\nw: 2"),
    ],
)
def test_anything_else_is_refused(old, new):
    """Another leaf, style, anchor, alias, tag, order, key or document beside the right edit."""
    edited = FILE.replace("tag: v1", "tag: v2", 1) if not old.startswith("tag") else FILE
    after = edited.replace(old, new, 1)
    assert after != edited
    with pytest.raises(UsageError, match=r"without changing other parts|no anchor"):
        proved(after)


def test_a_text_that_kubernetes_reads_otherwise_is_refused():
    """The proof asks what is read, and not only what is written."""
    with pytest.raises(UsageError, match="without changing other parts"):
        proved(FILE.replace("v1", "1.10", 1), "1.10")
