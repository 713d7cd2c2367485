"""The nodes of a file: what was written where, before anybody says what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a node is."""

    SCALAR = "scalar"
    MAPPING = "mapping"
    SEQUENCE = "sequence"


@dataclass(slots=True, eq=False)
class Node:
    """One node. An aliased node is the same object in each place.

    ``start`` and ``end`` are characters of the text, with anchor and tag; ``line`` counts from 1. ``style`` is ``""`` for
    plain scalars and block collections, ``{`` for flow collections, else the quote or ``|`` or ``>``.
    """

    kind: Kind
    start: int
    end: int
    line: int
    last_line: int
    value: str = ""
    style: str = ""
    tag: str = ""
    anchor: str = ""
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """A scalar without quotes and without a tag: its text decides what it is."""
        return self.kind is Kind.SCALAR and not self.style and not self.tag

    @property
    def parts(self) -> Iterator[Node]:
        """What stands directly in a collection, keys included, in the order of the file."""
        yield from self.items
        for pair in self.pairs:
            yield from pair


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its text without byte order mark, the mark, and the root of each document."""

    text: str
    mark: str
    roots: tuple[Node, ...]
    is_json: bool = False


def is_merge(key: Node) -> bool:
    """Whether a key is the merge key ``<<``."""
    return key.value == "<<" and (key.is_plain or key.tag == MERGE_TAG)


LONG = "tag:yaml.org,2002:"
MERGE_TAG = f"{LONG}merge"
