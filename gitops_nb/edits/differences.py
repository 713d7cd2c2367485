"""The difference of two texts, for people."""

from __future__ import annotations

import difflib
import re

from gitops_nb.model import Line

UNENDED = "\\ no line end at the end of the file"
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""What moves or ends a line elsewhere, and shows nothing itself."""


def diff(before: bytes, after: bytes, *, context: int = 2) -> tuple[Line, ...]:
    r"""The difference of two texts with ``context`` lines around each change; empty only for equal texts.

    Lines end where git ends them. Other characters that cannot be seen, and bytes that are no UTF-8, are written out.

    >>> [line.text for line in diff(b"# a\x0cb\n", b"# a\nb\n") if line.sign != " "]
    ['# a\\x0cb', '# a', 'b']
    """
    old, new = _lines(before), _lines(after)
    if before != after and before.endswith(b"\n") != after.endswith(b"\n"):
        for text, lines in ((before, old), (after, new)):
            if text and not text.endswith(b"\n"):
                lines.append(UNENDED)
    found: list[Line] = []
    for group in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_grouped_opcodes(context):
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                found += [Line(" ", b1 + i + 1, new[b1 + i]) for i in range(b2 - b1)]
                continue
            found += [Line("-", i + 1, old[i]) for i in range(a1, a2)]
            found += [Line("+", i + 1, new[i]) for i in range(b1, b2)]
    return tuple(found)


def _lines(text: bytes) -> list[str]:
    lines = text.decode(errors="backslashreplace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [_UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", line) for line in lines]
