"""The difference of two texts, for people."""

from __future__ import annotations

import difflib

from gitops_nb.model import Line


def diff(before: bytes, after: bytes, *, context: int = 2) -> tuple[Line, ...]:
    """The difference of two texts with ``context`` lines around each change."""
    old = before.decode(errors="replace").splitlines()
    new = after.decode(errors="replace").splitlines()
    lines: list[Line] = []
    for group in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_grouped_opcodes(context):
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                lines += [Line(" ", b1 + i + 1, new[b1 + i]) for i in range(b2 - b1)]
                continue
            lines += [Line("-", i + 1, old[i]) for i in range(a1, a2)]
            lines += [Line("+", i + 1, new[i]) for i in range(b1, b2)]
    return tuple(lines)
