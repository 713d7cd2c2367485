"""Byte-faithful edits: one scalar changes, or a clear refusal."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.edits import PartReader, diff, edit_scalar, read_part, read_scalar, split_image
from gitops_nb.errors import UsageError

FILE = """\
# a comment: with "quotes"
apiVersion: apps/v1
spec:
  template:
    spec:
      containers:
        - name: sidecar
          image: "registry.example:5000/side/car:v1"   # keep
        - {name: checkout, image: 'registry.example/shop/checkout:v2.30.4'}
image_tag: 21
other: &anchor shared
again: *anchor
block: |
  v1
"""
KEY = "spec.template.spec.containers[name=checkout].image"


def test_only_the_scalar_changes():
    """Comments, quotes and spacing stay."""
    edited = edit_scalar(FILE.encode(), KEY, "tag", "v2.31.1").decode()
    assert edited == FILE.replace("v2.30.4", "v2.31.1")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_last_newline_and_byte_order_mark_stay(end, last, mark):
    """Every byte around the scalar is what it was."""
    text = mark + end.join(["a: é", "v: v1 # ü", "b: 2"]) + (end if last else "")
    assert edit_scalar(text.encode(), "v", "value", "v2") == text.replace("v1", "v2").encode()


versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+/@:-]{0,20}", fullmatch=True)


@given(versions, st.sampled_from(["{}", '"{}"', "'{}'"]), st.sampled_from(["v1", "21", "main"]))
def test_what_is_written_is_read_back_as_text(version, quotes, old):
    """Whatever a version looks like, YAML reads back exactly that text, and the rest is untouched; a number stays a number."""
    before = f"a: [1, x]\nimage_tag: {quotes.format(old)} # c\nz: on\n".encode()
    after = edit_scalar(before, "image_tag", "value", version)
    assert read_scalar(after, "image_tag").value == version
    is_number = (quotes, old) == ("{}", "21") and re.fullmatch("0|[1-9][0-9]{0,17}", version)
    assert yaml.safe_load(after)["image_tag"] == (int(version) if is_number else version)
    assert after.startswith(b"a: [1, x]\nimage_tag: ")
    assert after.endswith(b" # c\nz: on\n")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("other", "alias"),
        ("again", "alias"),
        ("block", "several lines"),
        ("spec.template", "not one value"),
        ("nope", "no key"),
        ("spec.template.spec.containers[5].image", "no key"),
        ("a..b[", "not a key path"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(key, reason):
    """The reason is said; there is no half edit."""
    with pytest.raises(UsageError, match=reason):
        edit_scalar(FILE.encode(), key, "value", "v2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1\na: 2\n", "2 times"),
        (b"a: {", "not YAML"),
        (b"\xff", "not UTF-8"),
        (b"a: 1\n---\na: 2\n", "2 documents"),
        (b"[" * 5000, "too deep|not YAML"),
    ],
)
def test_files_that_are_ambiguous_are_refused(content, reason):
    """Duplicate keys, broken YAML, other encodings, several documents, bombs."""
    with pytest.raises(UsageError, match=reason):
        edit_scalar(content, "a", "value", "v2")


@pytest.mark.parametrize(
    "version", ["", "-x", "a b", "a\nb", "a: b", "#x", "x" * 300, "{a}", "$(x)"]
)
def test_only_versions_are_written(version):
    """Nothing that YAML could read as structure gets into a file."""
    with pytest.raises(UsageError, match="not a version"):
        edit_scalar(b"a: 1\n", "a", "value", version)


def test_an_image_without_a_tag_is_refused():
    """A digest or a bare name has no tag to promote."""
    for reference in ("x@sha256:0", "registry:5000/x", "x"):
        with pytest.raises(UsageError):
            split_image(reference)
    assert read_part(FILE.encode(), KEY, "tag") == "v2.30.4"


def test_a_diff_shows_the_lines_around():
    """Numbers are those of the file, old for removed and new for added lines."""
    lines = diff(FILE.encode(), edit_scalar(FILE.encode(), KEY, "tag", "v3"), context=1)
    assert [(line.sign, line.number) for line in lines] == [(" ", 8), ("-", 9), ("+", 9), (" ", 10)]


@pytest.mark.parametrize(
    "value",
    ["v1", "'v1'", '"v\\x31"', "v1 # note", "é-🚀", "1.10", "0123", "yes", "!!str 1", "v1\r"],
)
@pytest.mark.parametrize("head", ["", "\ufeff", "# é\n", "---\n", "a: &x 1\nb: *x\n"])
def test_reading_fast_reads_the_same(head, value):
    """The C parser and PyYAML's own scanner agree on the text of a scalar."""
    content = f"{head}spec:\n  items:\n    - {{name: a, image: z}}\n    - name: b\n      image: {value}\n".encode()
    assert (
        read_part(content, "spec.items[name=b].image", "value")
        == read_scalar(content, "spec.items[name=b].image").value
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "\ufeff", "# é: [\n"]),
            st.sampled_from(
                ["image: {}", "image: '{}'", "image: &x {}\n      two: *x", "image: {} # c", "image: {}\n    - name: c"]
            ),
            versions | st.sampled_from(["", "a: b", "v1\n        v2", "c", "x #y", "1:", "!!str 1", "-"]),
        ),
        max_size=12,
    ),
)  # fmt: skip
def test_version_after_version_reads_the_same(history):
    """What is known from the version before is what a parser finds, and where that refuses, it is refused."""
    key = "spec.items[name=b].image"
    reader = PartReader(key, "value")
    for head, line, value in history:
        content = f"{head}spec:\n  items:\n    - {{name: a, image: z}}\n    - name: b\n      {line.format(value)}\n".encode()
        assert _read(reader.read, content) == _read(lambda c: read_part(c, key, "value"), content)


def _read(read, content):
    try:
        return read(content)
    except UsageError as error:
        return type(error), error.message


def test_an_entry_found_by_the_value_that_changes_is_another_one():
    """What tells which entry is meant decides whether there is one; nothing is known of it from the version before."""
    reader = PartReader("items[name=b].name", "value")
    assert reader.read(b"items:\n  - name: b\n") == "b"
    with pytest.raises(UsageError, match="no key"):
        reader.read(b"items:\n  - name: c\n")


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        ("replicas: 3\n", "5", "replicas: 5\n"),
        ("replicas: 3 # three\n", "0", "replicas: 0 # three\n"),
        ('{"replicas": 3}\n', "5", '{"replicas": 5}\n'),
        ("replicas: '3'\n", "5", "replicas: '5'\n"),
        ("replicas: v3\n", "5", 'replicas: "5"\n'),
        ("replicas: 3\n", "05", 'replicas: "05"\n'),
        ("replicas: 3\n", "1.5", 'replicas: "1.5"\n'),
        ("replicas: 0x3\n", "5", 'replicas: "5"\n'),
        ("replicas: !!str 3\n", "5", "replicas: !!str 5\n"),
    ],
)
def test_a_whole_number_in_place_of_one_stays_a_number(before, new, after):
    """A count that an API takes as a number is none in quotes; anything that a reader could take otherwise stands in quotes."""
    assert edit_scalar(before.encode(), "replicas", "value", new) == after.encode()
