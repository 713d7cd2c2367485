"""The characters of a scalar's own text in its file, and which of them stand for which character of its value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitops_nb.edits.nodes import Node
from gitops_nb.errors import UsageError

_PROPERTY = re.compile(r"(?:&[^\s,\[\]{}]+|!<[^>\s]*>|![^\s,\[\]{}]*)(?:\s+|#[^\n]*\n)*")
_PIECE = {
    '"': re.compile(r"\\[uU][dD][89abAB][0-9a-fA-F]{2}\\[uU][dD][c-fC-F][0-9a-fA-F]{2}"
                    r"|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^\\]", re.DOTALL),
    "'": re.compile(r"''|[^']"),
    "": re.compile(r"."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """The text of a scalar without anchor and tag; ``inner`` are the starts of its characters, and the end of the last."""

    start: int
    end: int
    quote: str
    inner: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing stands there, not even quotes."""
        return self.start == self.end

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Where characters ``first`` to ``last`` (not included) of the value stand in the file."""
        return self.inner[first], self.inner[last]


def token_of(text: str, node: Node) -> Token:
    """The token of a scalar on one line.

    Raises:
        UsageError: Its characters cannot be told one by one, or nothing can be put there.
    """
    start, end = node.start, node.end
    if node.anchor or node.tag:
        while start < end and (found := _PROPERTY.match(text, start, end)):
            start = found.end()
        if start == end:  # nothing after them: the blanks belong to what follows
            start = end = node.start + len(text[node.start : end].rstrip())
    elif start == end:  # in a flow collection it is told behind the blanks
        start = end = len(text[:start].rstrip(" \t"))
    if start == end and text[start - 1 : start] not in (":", "-") and not (node.anchor or node.tag):
        raise UsageError(
            f"line {node.line}: no value and no place for one", hint="Write a colon and a value."
        )
    quote = node.style
    inside = (start + len(quote), end - len(quote))
    starts = [inside[0]]
    pieces = 0
    for found in _PIECE[quote].finditer(text, *inside):
        if found.start() != starts[-1]:
            break
        starts.append(found.end())
        pieces += 1
    if starts[-1] != inside[1] or pieces != len(node.value):
        raise UsageError(f"line {node.line}: its characters cannot be told one by one")
    return Token(start, end, quote, tuple(starts))
