"""Branch names, as git has them."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|\A[-./]|[./]\Z")
_MAX_BYTES = 250
"""Of each part of a name: git keeps it as a file name of 255 bytes at most, and writes ``NAME.lock`` first."""


def is_branch(name: str) -> bool:
    """Whether git accepts a name for a branch. None of them can be read as an option, a range or an expression.

    >>> [is_branch(name) for name in ("main", "feature/#42", "größe", "-x", "a..b", "a/.b", "x.lock", "HEAD~1")]
    [True, True, True, False, False, False, False, False]

    Source: git-check-ref-format(1), for ``--branch``.
    """
    if not name or name == "HEAD" or _FORBIDDEN.search(name):
        return False
    try:
        return all(len(part.encode()) <= _MAX_BYTES for part in name.split("/"))
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return False
