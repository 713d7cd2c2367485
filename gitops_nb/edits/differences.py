"""The difference of two texts, for people."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from typing import Literal

from gitops_nb.model import Line

UNENDED = "\\ no line end at the end of the file"
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""What moves or ends a line elsewhere, and shows nothing itself."""
_MAX_WORK = 20_000_000
"""About a second. Whoever pushes a file chooses how often a line repeats in it."""
_Tag = Literal["replace", "delete", "insert", "equal"]


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
    matcher = difflib.SequenceMatcher if _work(old, new) <= _MAX_WORK else _Ends
    for group in matcher(a=old, b=new, autojunk=False).get_grouped_opcodes(context):
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                found += [Line(" ", b1 + i + 1, new[b1 + i]) for i in range(b2 - b1)]
                continue
            found += [Line("-", i + 1, old[i]) for i in range(a1, a2)]
            found += [Line("+", i + 1, new[i]) for i in range(b1, b2)]
    return tuple(found)


class _Ends(difflib.SequenceMatcher[str]):
    """Compares beginnings and ends alone: what lies between is taken out and put in whole, and nothing is cut."""

    def get_opcodes(self) -> list[tuple[_Tag, int, int, int, int]]:
        """See ``difflib.SequenceMatcher.get_opcodes``."""
        old, new = self.a, self.b  # type: ignore[attr-defined]  # the stubs have none of its attributes
        shorter = min(len(old), len(new))
        begin = next((i for i in range(shorter) if old[i] != new[i]), shorter)
        rest = shorter - begin
        end = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
        found: list[tuple[_Tag, int, int, int, int]] = [
            ("equal", 0, begin, 0, begin),
            ("replace", begin, len(old) - end, begin, len(new) - end),
            ("equal", len(old) - end, len(old), len(new) - end, len(new)),
        ]
        return [one for one in found if one[1] < one[2] or one[3] < one[4]]


def _work(old: list[str], new: list[str]) -> int:
    """About how many steps a whole comparison takes: pairs of equal lines, looked through for each block that is found."""
    before, after = Counter(old), Counter(new)
    pairs = sum(count * after[line] for line, count in before.items())
    return pairs * min(len(old), len(new))


def _lines(text: bytes) -> list[str]:
    lines = text.decode(errors="backslashreplace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [_UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", line) for line in lines]
