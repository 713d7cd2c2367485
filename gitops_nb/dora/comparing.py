"""What two windows do not have in common: services that came or went, freezes, incidents that nobody recorded.

A change between windows is told of what both have; the rest is said beside it, on the first page. Without this a
service that was added reads as a faster fleet, a freeze as a slower one, and a file of incidents that begins in
between as more failures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, WEEK_S
from gitops_nb.dora.numbers import Span
from gitops_nb.dora.results import Freeze
from gitops_nb.dora.windows import Window

LEAST_INCIDENTS = 5
"""With fewer a pace of incidents, and so a gap in it, cannot be told."""
LEAST_GAP_S = 3 * WEEK_S
UNLIKELY = 0.01
"""A gap that the usual pace leaves this seldom is called one."""

_TOO_LOW = "the change fail rate and the rework rate are too low"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Services of two windows: ``stayed`` were there throughout both, others ``came`` or ``went``."""

    stayed: frozenset[str]
    came: int = 0
    went: int = 0

    @property
    def is_same(self) -> bool:
        """True when both windows are about the same services."""
        return not self.came and not self.went

    def caveat(self) -> str:
        """The difference in one sentence; "" without one."""
        if self.is_same:
            return ""
        parts = []
        if self.came:
            parts.append(f"{words.count(self.came, 'service')} came")
        if self.went:
            parts.append(f"{words.count(self.went, 'service')} went")
        text = f"{' and '.join(parts)} during the two windows. "
        if not self.stayed:
            return f"{text}None was there in both, so there is nothing to compare."
        return (
            f"{text}Each number is of all services of its window; each change compares the "
            f"{words.count(len(self.stayed), 'service')} that were there throughout both."
        )


def fleet_of(spans: Mapping[str, Span], window: Window, before: Window | None) -> Fleet:
    """Which services two windows have in common."""
    if before is None or before.start_s >= before.end_s:
        return Fleet(frozenset(spans))
    stayed, came, went = set(), 0, 0
    for name, span in spans.items():
        removed_s = math.inf if span.removed_s is None else span.removed_s
        if span.first_s >= window.end_s or removed_s <= before.start_s:
            continue
        is_late, is_gone = span.first_s > before.start_s, removed_s < window.end_s
        came, went = came + is_late, went + is_gone
        if not is_late and not is_gone:
            stayed.add(name)
    return Fleet(frozenset(stayed), came, went)


def frozen_caveat(freezes: Sequence[Freeze], window: Window, before: Window | None) -> str:
    """What freezes do to deployment frequency, in one sentence; "" when none touches either window."""
    now_s = _covered(freezes, window)
    before_s = _covered(freezes, before) if before else 0
    if not now_s and not before_s:
        return ""
    names = sorted(
        {f.name for f in freezes if _overlap(f, window) or (before and _overlap(f, before))}
    )
    shown = words.listed([f"“{name}”" for name in names[:3]])
    text = f"Deployments were frozen ({shown}) for {_days(now_s)} of this window"
    if before is None:
        return f"{text}; the deployments per week include them."
    return (
        f"{text} and {_days(before_s)} of the one before. The deployments per week include them; "
        "the change and the pace leave out weeks with a freeze."
    )


def _covered(freezes: Sequence[Freeze], window: Window) -> int:
    """Seconds of the window in any freeze; freezes may overlap."""
    total, until_s = 0, window.start_s
    for freeze in sorted(freezes, key=lambda f: f.start_s):
        start_s, end_s = max(freeze.start_s, until_s), min(freeze.end_s, window.end_s)
        total += max(0, end_s - start_s)
        until_s = max(until_s, end_s)
    return total


def _overlap(freeze: Freeze, window: Window) -> bool:
    return freeze.start_s < window.end_s and window.start_s < freeze.end_s


def _days(seconds: int) -> str:
    return (
        words.count(round(seconds / DAY_S), "day")
        if seconds >= DAY_S or not seconds
        else (words.duration(seconds))
    )


def incident_gap(starts: Sequence[int], span: Window) -> Window | None:
    """A time without any incident that the pace of the others makes unlikely; None when there is none.

    Whether nothing happened or nobody recorded it, the facts do not say. The pace is that of the rest of the span, and
    the chance that of no incident of a Poisson process, times the number of gaps.
    """
    known = [moment for moment in starts if span.holds(moment)]
    if len(known) < LEAST_INCIDENTS:
        return None
    points = [span.start_s, *sorted(known), span.end_s]
    gap = max((Window(a, b) for a, b in itertools.pairwise(points)), key=lambda w: w.seconds)
    rest_s = span.seconds - gap.seconds
    if gap.seconds < LEAST_GAP_S or not rest_s:
        return None
    chance = math.exp(-len(known) * gap.seconds / rest_s) * (len(points) - 1)
    return gap if chance < UNLIKELY else None


def incident_caveat(
    starts: Sequence[int],
    window: Window,
    before: Window | None,
    *,
    zone: ZoneInfo,
    until_s: int | None,
) -> tuple[str, str]:
    """What is odd about the record of incidents, and why failures cannot be compared; "" where nothing is.

    ``until_s`` is when incidents were last collected, None where nobody noted it.
    """
    span = Window(before.start_s if before else window.start_s, window.end_s)
    if until_s is not None and window.end_s - until_s > DAY_S:
        day = words.day(until_s, zone)
        text = f"Incidents were last collected on {day}: after it {_TOO_LOW}; the windows are not compared in these."
        return text, f"incidents were last collected on {day}"
    if not any(span.holds(moment) for moment in starts):
        days = words.days(span.start_s, span.end_s, zone)
        text = f"No incident is recorded from {days}. If nobody recorded them, {_TOO_LOW}."
        return text, ""
    gap = incident_gap(starts, span)
    if gap is None:
        return "", ""
    days = words.days(gap.start_s, gap.end_s, zone)
    text = (
        f"No incident is recorded from {days}, which their usual pace makes unlikely. If nobody recorded them, "
        f"{_TOO_LOW} for that time{'; the two windows are not compared in these' if before else ''}."
    )
    return text, f"no incident is recorded from {days}"
