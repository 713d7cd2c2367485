"""Key paths, as fleet.yaml has them: ``spec.containers[name=checkout].image``, ``labels."app.example/version"``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gitops_nb.errors import UsageError

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'"""
_BARE = r"""[^.\[\]"'][^.\[\]]*"""
_NAME = re.compile(rf"(?:(?P<quoted>{_QUOTED})|(?P<bare>{_BARE}))(?=[.\[]|\Z)")
_INDEX = re.compile(r"\[(\d{1,9})\]")
_KEY = re.compile(rf"\[(?P<quoted>{_QUOTED})\]")
_ENTRY = re.compile(
    rf"\[(?:(?P<quoted>{_QUOTED})|(?P<bare>[^=\[\]\"']+))=(?:(?P<text>{_QUOTED})|(?P<wanted>[^\]]+))\]"
)
_SIMPLE = re.compile(_BARE)


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a key in a mapping."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """An entry of a sequence, counted from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The one entry of a sequence whose ``field`` is ``wanted``."""

    field: str
    wanted: str


Step = Name | Index | Entry


@lru_cache(maxsize=1024)
def parse_key(key: str) -> tuple[Step, ...]:
    """The steps of a key path.

    A name with a dot, bracket or quote in it stands in quotes, after a dot or in brackets. In double quotes a backslash takes
    the next character as it is, in single quotes two of them are one.

    >>> parse_key('metadata.labels."app.example/version"')[-1]
    Name(name='app.example/version')
    >>> parse_key("data['a.b'][0][name=checkout]")[1:]
    (Name(name='a.b'), Index(index=0), Entry(field='name', wanted='checkout'))

    Raises:
        UsageError: It is no key path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(key):
        if key[at] == "[":
            step, at = _bracket(key, at)
        else:
            # A leading dot may stand there, as jq has it.
            at += key[at] == "."
            found = _NAME.match(key, at)
            if found is None:
                raise _no_path(key)
            step, at = Name(_text(found)), found.end()
        steps.append(step)
        if at < len(key) and key[at] not in ".[":
            raise _no_path(key)
    if not steps:
        raise _no_path(key)
    return tuple(steps)


def _bracket(key: str, at: int) -> tuple[Step, int]:
    if found := _INDEX.match(key, at):
        return Index(int(found[1])), found.end()
    if found := _KEY.match(key, at):
        return Name(_text(found)), found.end()
    if found := _ENTRY.match(key, at):
        wanted = _unquoted(found["text"]) if found["text"] is not None else found["wanted"]
        return Entry(_text(found), wanted), found.end()
    raise _no_path(key)


def _text(found: re.Match[str]) -> str:
    return _unquoted(found["quoted"]) if found["quoted"] is not None else found["bare"]


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    return inner.replace("''", "'") if text[0] == "'" else re.sub(r"\\(.)", r"\1", inner)


def _no_path(key: str) -> UsageError:
    return UsageError(
        f"{key!r} is not a key path",
        hint='Write it like spec.containers[0].image; a name with a dot like labels."app.example/version".',
    )


def show(path: Iterable[str | int]) -> str:
    """A place in a file as a key path.

    >>> show(("spec", "containers", 0, "app.example/x"))
    'spec.containers[0]."app.example/x"'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if _SIMPLE.fullmatch(part) else '"' + re.sub(r'(["\\])', r"\\\1", part) + '"'
        text += f".{name}" if text else name
    return text
