"""Untrusted text made visible: control characters, ANSI, bidi and zero-width characters, at every sink.

Names, commit messages and log lines come from outside. They are shown as they are, with everything that a
reader could not see, or that would steer a terminal, a browser or a CI log, written as an escape. Escaping
for HTML is Jinja's part and comes after this.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from typing import Any

INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that draw nothing although Unicode counts them as printable."""

LIMIT = 2_000
"""Longest value, in characters, that a page shows before it is cut."""


class Whole(str):
    """A text that pages show whole, however long: what a person signs is never cut."""

    __slots__ = ()


_CI_COMMAND = re.compile(r":(?=:)|#(?=#[A-Za-z]*\[)")


def plain(text: str) -> str:
    r"""Makes invisible and steering characters visible; keeps line ends, tabs and every kind of blank.

    >>> plain("ok\x1b[31mred\u202e")
    'ok\\x1b[31mred\\u202e'
    """
    if text.isprintable() and INVISIBLE.isdisjoint(text):
        return text
    return "".join(_visible(character) for character in text)


def one_line(text: str) -> str:
    r"""As ``plain``, with line ends and tabs as escapes too: one value cannot pretend to be two lines.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")


def terminal(text: str) -> str:
    r"""One value, safe to print: no escape sequence, no carriage return, one line; in a CI job as ``ci_log``.

    >>> terminal("\x1b]8;;http://evil\x07click\r")
    '\\x1b]8;;http://evil\\x07click\\r'
    """
    return ci_log(text) if is_ci_log() else one_line(text)


def terminal_lines(text: str, indent: str = "") -> str:
    r"""As ``terminal`` for a text that has lines of its own: each is safe, and begins below the first.

    >>> terminal_lines("a\nb\x1b[0m", "  ")
    'a\n  b\\x1b[0m'
    """
    return f"\n{indent}".join(terminal(line) for line in text.split("\n"))


def is_ci_log() -> bool:
    """Whether what is printed goes to a runner that obeys workflow commands: GitHub's, or Azure's."""
    return os.environ.get("GITHUB_ACTIONS") == "true" or "TF_BUILD" in os.environ


def ci_log(text: str) -> str:
    """One value, safe in a CI log: as ``one_line``, and no workflow command of GitHub or Azure in it.

    >>> ci_log("::add-mask::a ##[error]x ##vso[task.complete]")
    ': :add-mask: :a # #[error]x # #vso[task.complete]'
    """
    return _CI_COMMAND.sub(lambda match: f"{match[0]} ", one_line(text))


def json_text(value: Any) -> str:
    r"""A JSON document to be printed: what would steer a terminal or a CI job is an escape, which any parser undoes.

    >>> print(json_text(["\x9b31m", "##[error]"]))
    [
      "\u009b31m",
      "#\u0023[error]"
    ]
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.replace("\n", "").isprintable() or not INVISIBLE.isdisjoint(text):
        text = "".join(
            character
            if character == "\n" or (character.isprintable() and character not in INVISIBLE)
            else json.dumps(character)[1:-1]
            for character in text
        )
    return text.replace("##", "#\\u0023")


def clip(text: str, limit: int = LIMIT) -> str:
    """Cuts a text that is longer than ``limit`` characters, and says how long it was.

    >>> clip("abcdef", 3)
    'abc… (6 characters)'
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text):,} characters)"


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) == "Zs":
        return character
    if character.isprintable() and character not in INVISIBLE:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}" if character != "\r" else "\\r"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
