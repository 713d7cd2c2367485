"""A file's nodes as a list that can be compared: two files with equal lists mean the same to every reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitops_nb.edits.nodes import Kind, Node, Source


@dataclass(frozen=True, slots=True)
class Shape:
    """One place of the graph in the order of the file.

    ``number`` names the node, the same for each alias to it; ``is_again`` says that this place is such an alias. ``size`` is how
    many parts a collection has. ``quotes`` is the style; plain and double-quoted count as one, since an edit may have to quote.
    """

    number: int
    is_again: bool
    kind: Kind
    tag: str
    anchor: str
    quotes: str
    size: int
    value: str

    def but_for_text(self) -> tuple[object, ...]:
        """All of it that an edit of its text leaves as it is."""
        quotes = "" if self.quotes == '"' else self.quotes
        return (self.is_again, self.kind, self.tag, self.anchor, quotes, self.size)


def shape(source: Source) -> Iterator[Shape]:
    """Every place of every document, depth first, keys before their values."""
    numbers: dict[int, int] = {}
    stack: list[Node] = list(reversed(source.roots))
    while stack:
        node = stack.pop()
        is_again = id(node) in numbers
        number = numbers.setdefault(id(node), len(numbers))
        parts = [] if is_again else list(node.parts)
        yield Shape(
            number,
            is_again,
            node.kind,
            node.tag,
            node.anchor,
            node.style,
            len(node.items) + len(node.pairs),
            node.value,
        )
        stack += reversed(parts)
