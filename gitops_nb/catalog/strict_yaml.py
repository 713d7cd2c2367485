"""YAML as this project reads it: one plain tree with line numbers, and no surprises.

Refused: files over 128 KiB, nesting over 100, duplicate keys, anchors with aliases, tags, several
documents. Scalars follow the YAML 1.2 core schema, so that ``no``, ``on``, ``12:30`` and ``0123`` stay text.
The parser is PyYAML's event stream; nothing recursive runs on what a file says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gitops_nb.errors import ConfigurationError

MAX_BYTES = 128 * 1024
MAX_DEPTH = 100
Where = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_WORDS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, and the line on which each path begins (from 1)."""

    name: str
    value: Any
    lines: Mapping[Where, int] = field(default_factory=dict)

    def line(self, where: Where) -> int:
        """The line of a path, or of its nearest parent that the file has."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def problem(self, where: Where, text: str) -> str:
        """``file:line: path: problem``."""
        return f"{self.name}:{self.line(where)}: {dotted(where) or '(file)'}: {text}"


def dotted(where: Where) -> str:
    """``environments.production.retention`` or ``applications.checkout.promotable[0].key``."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load(path: Path, *, name: str = "") -> Document:
    """Reads one YAML file.

    Args:
        path: The file.
        name: How messages call it; the path itself by default.

    Raises:
        ConfigurationError: The file is missing, too large, or not YAML in the strict sense above.
    """
    name = name or str(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigurationError(
                f"{name}:1: (file): {size} bytes, at most {MAX_BYTES} are read",
                hint="Split the file.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{name}:1: (file): {error.strerror or error}",
            hint="Write it, or run `gitops-nb init`.",
        ) from error
    return parse(content, name=name)


@lru_cache(maxsize=64)
def parse(content: bytes, *, name: str) -> Document:
    """Parses YAML bytes; see ``load``. Whoever changes the value changes a copy: the same text is parsed once."""
    if len(content) > MAX_BYTES:
        raise ConfigurationError(
            f"{name}:1: (file): {len(content)} bytes, at most {MAX_BYTES} are read"
        )
    builder = _Builder(name)
    try:
        for event in yaml.parse(content, Loader=_Loader):
            builder.feed(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigurationError(
            f"{name}:{line}: (file): not YAML: {what}", hint="Mend the syntax."
        ) from error
    return Document(name, builder.root, builder.lines)


class _Builder:
    """Builds the tree from parser events, with a stack instead of recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Any = None
        self.lines: dict[Where, int] = {}
        self._stack: list[Any] = []
        self._where: list[str | int] = []
        self._key: list[str | None] = []
        self._documents = 0

    def feed(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse(event, "a second document; one file holds one document")
            case yaml.AliasEvent():
                self._refuse(event, f"alias *{event.anchor}; write the value out")
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
                self._key.pop()
                if self._where:
                    self._where.pop()

    def _scalar(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag}; plain values only")
        top = self._stack[-1] if self._stack else None
        if isinstance(top, dict) and self._key[-1] is None:
            if event.value in top:
                self._key[-1] = event.value
                self._refuse(event, f"duplicate key {event.value!r}")
            top[event.value] = None
            self._key[-1] = event.value
            self.lines[(*self._where, event.value)] = event.start_mark.line + 1
            return
        value = _resolve(event.value) if event.implicit[0] else event.value
        self._place(event, value)

    def _open(self, event: Any, container: Any) -> None:
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag}; plain values only")
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH}")
        if self._stack and isinstance(self._stack[-1], dict) and self._key[-1] is None:
            self._refuse(event, "a key that is not text")
        had_parent = bool(self._stack)
        where = self._place(event, container)
        if had_parent:
            self._where.append(where)
        self._stack.append(container)
        self._key.append(None)

    def _place(self, event: Any, value: Any) -> str | int:
        if not self._stack:
            self.root = value
            self.lines[()] = event.start_mark.line + 1
            return ""
        top = self._stack[-1]
        if isinstance(top, list):
            top.append(value)
            where: str | int = len(top) - 1
            self.lines[(*self._where, where)] = event.start_mark.line + 1
            return where
        key = self._key[-1]
        assert key is not None  # a value follows its key in the event stream
        top[key] = value
        self._key[-1] = None
        return key

    def _refuse(self, event: Any, text: str) -> None:
        key = self._key[-1] if self._key else None
        where = dotted((*self._where, key) if key else tuple(self._where)) or "(file)"
        raise ConfigurationError(f"{self.name}:{event.start_mark.line + 1}: {where}: {text}")


def _resolve(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
