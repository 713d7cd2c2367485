r"""JSON to nodes: what Kubernetes reads of a file that begins with a brace, with the places of its tokens.

YAML's readers take most JSON, and not all: no pairs of escaped surrogates, no ``\/`` in go-yaml, no long keys.
"""

from __future__ import annotations

import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # the one JSON string reader that says where it ends

from gitops_nb.edits.nodes import Kind, Node
from gitops_nb.errors import UnreadableFile

_BLANK = re.compile(r"[ \t\n\r]*")
_OTHER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")


def read_json(text: str, *, max_depth: int) -> tuple[Node, ...] | None:
    """The roots of a stream of JSON objects; None where the text is no JSON, which YAML may read.

    Raises:
        UnreadableFile: It is nested too deep.
    """
    scanner = _Scanner(text, max_depth)
    try:
        return scanner.stream()
    except ValueError:
        return None


class _Scanner:
    """Reads from left to right with a stack; ValueError where the text is no JSON."""

    def __init__(self, text: str, max_depth: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self._at = 0
        self._line = 1
        self._counted = 0

    def stream(self) -> tuple[Node, ...]:
        roots: list[Node] = []
        while self._next():
            if self._peek() != "{":
                raise ValueError("no object")
            roots.append(self._value())
        return tuple(roots)

    def _value(self) -> Node:
        root = node = self._begin()
        stack = [node] if node.kind is not Kind.SCALAR else []
        while stack:
            top = stack[-1]
            closing = "}" if top.kind is Kind.MAPPING else "]"
            self._next()
            if self._peek() == closing:
                self._at += 1
                top.end, top.last_line = self._at, self._here()
                stack.pop()
                continue
            if top.pairs or top.items:
                self._expect(",")
                self._next()
            if top.kind is Kind.MAPPING:
                if self._peek() != '"':
                    raise ValueError("no key")
                key = self._begin()
                self._next()
                self._expect(":")
                self._next()
                node = self._begin()
                top.pairs.append((key, node))
            else:
                node = self._begin()
                top.items.append(node)
            if node.kind is not Kind.SCALAR:
                stack.append(node)
                if len(stack) > self._max_depth:
                    raise UnreadableFile(f"nested deeper than {self._max_depth}, too deep to read")
        return root

    def _begin(self) -> Node:
        start, line = self._at, self._here()
        sign = self._peek()
        if sign in ("{", "["):
            self._at += 1
            kind = Kind.MAPPING if sign == "{" else Kind.SEQUENCE
            return Node(kind, start, start, line, line, style="{")
        if sign == '"':
            value, self._at = scanstring(self._text, start + 1, True)
            return Node(Kind.SCALAR, start, self._at, line, line, value, '"')
        found = _OTHER.match(self._text, start)
        if found is None:
            raise ValueError("no value")
        self._at = found.end()
        return Node(Kind.SCALAR, start, self._at, line, line, found[0])

    def _next(self) -> bool:
        found = _BLANK.match(self._text, self._at)
        assert found is not None  # it matches nothing too
        self._at = found.end()
        return self._at < len(self._text)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise ValueError(f"no {sign}")
        self._at += 1

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
