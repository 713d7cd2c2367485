"""A plan's changes as a reader compares them: paired lines, with the part that differs marked.

They are what an approver signs, so their texts are ``Whole``: a page folds them and cuts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gitops_nb.model import Action, Line, ResourceChange
from gitops_nb.report.text import Whole
from gitops_nb.report.words import count

LONG = 40
MINUS = "\u2212"

_ACTIONS = {
    Action.NO_OP: "stays as it is",
    Action.CREATE: "is created",
    Action.UPDATE: "changes",
    Action.DELETE: "is deleted",
    Action.REPLACE: "is replaced",
}

_BOUNDARY = frozenset(" \t\"':=,@[]{}()")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line: ``kind`` is "del", "ins" or ""; ``changed`` is the part between ``before`` and ``after``."""

    kind: str
    number: str
    sign: str
    before: str
    changed: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One changed resource. ``sentence`` says what it was and becomes, or who changed it."""

    address: str
    action: str
    lines: tuple[DiffLine, ...]
    sentence: str

    @property
    def is_long(self) -> bool:
        """More lines than a reader takes in beside others: a page folds them."""
        return len(self.lines) > LONG


def view(change: ResourceChange) -> ChangeView:
    """A change as templates and cards show it."""
    return ChangeView(
        Whole(change.address),
        _ACTIONS[change.action],
        lines(change.diff),
        Whole(_sentence(change)),
    )


def lines(diff: Sequence[Line]) -> tuple[DiffLine, ...]:
    """Marks what differs between a removed line and the added line that stands for it.

    >>> [line.changed for line in lines((Line("-", 3, "tag: v1.2"), Line("+", 3, "tag: v1.3")))]
    ['v1.2', 'v1.3']
    """
    result: list[DiffLine] = []
    position = 0
    previous = 0
    while position < len(diff):
        removed = _run(diff, position, "-")
        added = _run(diff, position + len(removed), "+")
        block = (*removed, *added) or (diff[position],)
        if previous and block[0].number > previous + 1:
            result.append(DiffLine("", "", "", "…"))
        if removed and len(removed) == len(added):
            pairs = [_pair(old, new) for old, new in zip(removed, added, strict=True)]
            result += [old for old, _ in pairs]
            result += [new for _, new in pairs]
        else:
            result += [_line(line) for line in block]
        previous = block[-1].number
        position += len(block)
    return tuple(result)


def size(changes: Sequence[ResourceChange]) -> str:
    """How much changes, in one line: ``1 file, 1 line`` or ``10 changes: 8 created, 2 updated``."""
    if len(changes) == 1 and changes[0].diff:
        changed = max(sum(line.sign == sign for line in changes[0].diff) for sign in "-+")
        return f"{count(1, 'file')}, {count(changed, 'line')}"
    names = ((Action.CREATE, "created"), (Action.UPDATE, "updated"), (Action.REPLACE, "replaced"))
    tally = [(sum(c.action is action for c in changes), word) for action, word in names]
    tally.append((sum(c.action is Action.DELETE for c in changes), "deleted"))
    return ", ".join(f"{number} {word}" for number, word in tally if number)


def _sentence(change: ResourceChange) -> str:
    if change.before and change.after:
        return f"{change.before} → {change.after}"
    return change.after or change.before


def _run(diff: Sequence[Line], start: int, sign: str) -> tuple[Line, ...]:
    end = start
    while end < len(diff) and diff[end].sign == sign:
        end += 1
    return tuple(diff[start:end])


def _line(line: Line) -> DiffLine:
    kind = {"-": "del", "+": "ins"}.get(line.sign, "")
    return DiffLine(
        kind, str(line.number), MINUS if line.sign == "-" else line.sign.strip(), Whole(line.text)
    )


def _pair(old: Line, new: Line) -> tuple[DiffLine, DiffLine]:
    start = 0
    while start < min(len(old.text), len(new.text)) and old.text[start] == new.text[start]:
        start += 1
    while start and old.text[start - 1] not in _BOUNDARY:
        start -= 1
    end = 0
    shortest = min(len(old.text), len(new.text)) - start
    while end < shortest and old.text[-1 - end] == new.text[-1 - end]:
        end += 1
    while end and old.text[len(old.text) - end] not in _BOUNDARY:
        end -= 1
    return _marked(old, start, end), _marked(new, start, end)


def _marked(line: Line, start: int, end: int) -> DiffLine:
    stop = len(line.text) - end
    return replace(
        _line(line),
        before=Whole(line.text[:start]),
        changed=Whole(line.text[start:stop]),
        after=Whole(line.text[stop:]),
    )
