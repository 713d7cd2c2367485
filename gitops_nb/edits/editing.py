"""One token of a file changes, and the file is read again to prove that nothing else did.

The token is the scalar's own text: anchor and tag before it stay, quotes around it stay, and of an image's reference only tag
or digest is replaced, so that escapes in its name stay too.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from gitops_nb.edits.graph import shape
from gitops_nb.edits.images import parse_image
from gitops_nb.edits.keys import parse_key, show
from gitops_nb.edits.nodes import LONG, Node, Source
from gitops_nb.edits.objects import value_of
from gitops_nb.edits.places import Place, find, other_places
from gitops_nb.edits.reader import read
from gitops_nb.edits.reading import Scalar, scalar_at
from gitops_nb.edits.scalars import is_null, is_text
from gitops_nb.edits.tokens import token_of
from gitops_nb.edits.versions import VERSION
from gitops_nb.errors import UsageError

_STR = f"{LONG}str"
_COUNT = re.compile(r"0|[1-9][0-9]{0,17}")
"""A whole number as Kubernetes writes it back."""


def edit_scalar(content: bytes, key: str, part: str, new: str, *, as_text: bool = False) -> bytes:
    """The file with one token replaced; every byte before and after it is the same.

    Args:
        content: UTF-8, with or without byte order mark, any line ends.
        key: See ``read_scalar``.
        part: "value", or "tag" to replace only tag or digest of an image reference.
        new: The new text; only characters that ``VERSION`` allows.
        as_text: Whether digits are a text, as where they come from, also where a number stands now.

    Raises:
        UsageError: It cannot be done without touching anything else.
    """
    if not VERSION.fullmatch(new):
        raise UsageError(f"{new!r} is not a version", hint="Use letters, digits and . _ + / @ : -")
    source = read(content)
    place = find(source, key, parse_key(key))
    scalar = scalar_at(place, key)
    node = place.node
    _refuse_tag(node, key)
    _refuse_shared(place, key)
    value_of(place.root)  # Kubernetes refuses the whole document for a fault anywhere in it
    token = token_of(source.text, node)
    start, end, written = token.inner[0], token.inner[-1], new
    value = new
    if part == "tag":
        if is_null(node):
            raise UsageError(
                f"{key} has no value yet",
                hint="Write a first image there; a promotion changes its tag.",
            )
        image = parse_image(scalar.value)
        value = image.with_version(new)
        start, end = token.span(image.start, len(scalar.value))
    if node.tag == "!" and not (is_text(node.value) and is_text(value)):
        raise UsageError(
            f"{key} is tagged !, and some readers take {value} there for something else than a text, in quotes too",
            hint="Take the mark away, or write !!str.",
        )
    is_number = (
        part == "value" and not as_text and _is_count(scalar) and _COUNT.fullmatch(new) is not None
    )
    if not token.quote and not is_number and (source.is_json or not _stays_bare(value, node)):
        written = f'"{source.text[token.start : start]}{new}"'
        start, end = token.start, token.end
    if token.is_empty:
        written = f" {written}"
    edited = f"{source.text[:start]}{written}{source.text[end:]}"
    after = (source.mark + edited).encode()
    _prove(source, place, after, key, int(value) if is_number else value)
    return after


def _is_count(scalar: Scalar) -> bool:
    """Whether a whole number stands there, the same one to every reader: another one in its place stays one."""
    return (
        type(scalar.seen) is int and not scalar.style and _COUNT.fullmatch(scalar.value) is not None
    )


def _stays_bare(value: str, node: Node) -> bool:
    """Whether a text needs no quotes where none are: one that says it is text by its tag, or is none but text anyway."""
    return not value.endswith(":") if node.tag else is_text(value)


def _refuse_tag(node: Node, key: str) -> None:
    tag = node.tag
    if tag.startswith(LONG) and tag != _STR:
        raise UsageError(
            f"{key} is tagged !!{tag.removeprefix(LONG)}, and a version is a text",
            hint="Take the tag away, or write !!str.",
        )


def _refuse_shared(place: Place, key: str) -> None:
    others = other_places(place)
    if others:
        shown = f"{', '.join(others[:-1])} and {others[-1]}" if len(others) > 1 else others[0]
        raise UsageError(
            f"{key} is shared through an alias or a merge key; editing it would change other places too: {shown}",
            hint="Write the value out where it is used.",
        )


def _prove(source: Source, place: Place, after: bytes, key: str, seen: str | int) -> None:
    """Reads the edited file and compares the whole graph: kinds, tags, anchors, aliases, styles, texts, in their order.

    Every leaf is in it once, and the paths to it are those of the aliases and merge keys in it: where two graphs differ in
    one text that one path alone reaches, no other path reads anything else than before.
    """
    again, value = read(after), str(seen)
    changed = [
        (old, new)
        for old, new in zip_longest(shape(source), shape(again), fillvalue=None)
        if old != new
    ]
    found = find(again, key, parse_key(key))
    is_proved = (
        len(changed) <= 1
        and found.path == place.path
        and found.node.value == value
        and scalar_at(found, key).seen == seen
        and all(
            old is not None
            and new is not None
            and old.but_for_text() == new.but_for_text()
            and old.number == new.number
            and (old.value, new.value) == (place.node.value, value)
            for old, new in changed
        )
    )
    if not is_proved:
        raise UsageError(
            f"{key} ({show(place.path)}) cannot be edited without changing other parts of the file"
        )
