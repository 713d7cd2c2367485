r"""Bytes to nodes, as Kubernetes takes a file apart.

Kubernetes (and Argo CD, and Helm for its values) reads a file that begins with a brace as JSON if it can, and all others
with go-yaml, a port of libyaml, after it split the file at lines of three dashes. Here libyaml itself does it, which takes
tabs where go-yaml does. What Kubernetes does not take is refused: directives, text after three dashes or three dots,
an anchor that contains itself, the escape ``\/`` outside JSON.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from gitops_nb.edits.json_text import read_json
from gitops_nb.edits.nodes import Kind, Node, Source
from gitops_nb.errors import UnreadableFile

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 300
"""Deeper than any manifest; the generators in Argo CD's own resource definitions nest to a third of it."""

_BOM = "\ufeff"
_MAY_BE_STRANGE = re.compile(r"^(?:---[^\n]|\.\.\.|%)", re.MULTILINE)
_DASHES = re.compile(r"^---([^\n]*)", re.MULTILINE)
_DIVIDER = re.compile(r"[ \t\r]*|[ \t]+#.*")
"""What may stand behind three dashes for both Kubernetes and YAML."""
_STRANGE = re.compile(
    r"^(?:---[ \t]*(?!\s)(?!#)[^\r\n]+|\.\.\.(?=\s)(?!\s*\Z).*|%[^\n]*)", re.MULTILINE
)
_SLASH = re.compile(r"(?<!\\)(?:\\\\)*\\/")
# Libyaml is twenty times faster than PyYAML's own scanner, which refuses tabs.
_Parser: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read(content: bytes, *, max_bytes: int = MAX_BYTES) -> Source:
    """The nodes of a file.

    Raises:
        UnreadableFile: It is too large, not UTF-8, nested too deep, or no file that Kubernetes reads.
    """
    if len(content) > max_bytes:
        raise UnreadableFile(f"{len(content)} bytes, at most {max_bytes} are read")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"not UTF-8 at byte {error.start}") from error
    text, mark = (text[1:], _BOM) if text.startswith(_BOM) else (text, "")
    if text.lstrip()[:1] == "{":
        roots = read_json(text, max_depth=MAX_DEPTH)
        if roots is not None:
            return Source(text, mark, roots, is_json=True)
    return Source(text, mark, _read_yaml(text))


def _read_yaml(text: str) -> tuple[Node, ...]:
    builder = _Builder()
    try:
        # Kubernetes ends the last line where nobody did, which a block scalar in it shows.
        ended = text if text.endswith("\n") else f"{text}\n"
        for event in yaml.parse(ended, Loader=_Parser):
            builder.feed(event)
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        where = f"line {at.line + 1}: " if at else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UnreadableFile(f"not YAML: {where}{what}") from error
    if _MAY_BE_STRANGE.search(text):
        _refuse_strange(text, builder)
    if "\\/" in text:
        _refuse_slash(text, builder)
    return tuple(builder.roots)


def _refuse_strange(text: str, builder: _Builder) -> None:
    for found in _DASHES.finditer(text):
        rest = found[1]
        # Kubernetes divides a file by its lines, wherever they stand, before any YAML is read.
        divides = not rest.strip() or rest.strip().startswith("#")
        if divides and not _DIVIDER.fullmatch(rest):
            line = text.count("\n", 0, found.start()) + 1
            raise UnreadableFile(
                f"line {line}: Kubernetes divides the file at {found[0][:40]!r}, and YAML does not",
                hint="Separate documents by lines of three dashes alone.",
            )
    for found in _STRANGE.finditer(text):
        # The same characters inside a scalar of several lines mean nothing.
        if any(start < found.start() < end for start, end in builder.long):
            continue
        line = text.count("\n", 0, found.start()) + 1
        raise UnreadableFile(
            f"line {line}: Kubernetes does not read a file with {found[0][:40]!r}",
            hint="Separate documents by lines of three dashes alone.",
        )


def _refuse_slash(text: str, builder: _Builder) -> None:
    for node in builder.quoted:
        if _SLASH.search(text[node.start : node.end]):
            raise UnreadableFile(
                f"line {node.line}: Kubernetes knows the escape \\/ in JSON files only",
                hint="Write the slash without the backslash.",
            )


class _Builder:
    """Nodes from parser events, with a stack instead of recursion."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.long: list[tuple[int, int]] = []
        self.quoted: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._open: list[Node] = []
        self._keys: list[Node | None] = []

    def feed(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._begin(event, Kind.MAPPING)
        elif kind is yaml.SequenceStartEvent:
            self._begin(event, Kind.SEQUENCE)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._anchors = {}
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            node = self._open.pop()
            self._keys.pop()
            node.end, node.last_line = event.end_mark.index, event.end_mark.line + 1

    def _scalar(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        node = Node(
            Kind.SCALAR,
            start.index,
            end.index,
            start.line + 1,
            end.line + 1,
            event.value,
            event.style or "",
            event.tag or "",
            event.anchor or "",
        )
        if node.last_line != node.line:
            self.long.append((node.start, node.end))
        if node.style == '"':
            self.quoted.append(node)
        if node.anchor:
            self._anchors[node.anchor] = node
        self._place(node)

    def _begin(self, event: Any, kind: Kind) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise UnreadableFile(f"nested deeper than {MAX_DEPTH}, too deep to read")
        start = event.start_mark
        node = Node(kind, start.index, start.index, start.line + 1, start.line + 1)
        node.style = "{" if event.flow_style else ""
        node.tag, node.anchor = event.tag or "", event.anchor or ""
        if node.anchor:
            # From here on, as go-yaml does it: an anchor of the same name within takes its place.
            self._anchors[node.anchor] = node
        self._place(node)
        self._open.append(node)
        self._keys.append(None)

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        line = event.start_mark.line + 1
        if node is None:
            raise UnreadableFile(f"line {line}: no anchor {event.anchor} above")
        if any(each is node for each in self._open):
            raise UnreadableFile(f"line {line}: the anchor {event.anchor} contains itself")
        self._place(node)

    def _place(self, node: Node) -> None:
        if not self._open:
            self.roots.append(node)
            return
        top = self._open[-1]
        if top.kind is Kind.SEQUENCE:
            top.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = node
        else:
            top.pairs.append((key, node))
            self._keys[-1] = None
