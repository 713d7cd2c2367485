"""How metrics changed between two windows: of the services and weeks that both have, and never without an interval."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from gitops_nb.dora import statistics, windows
from gitops_nb.dora.numbers import BEFORE, NOW, Leads, Numbers, Recoveries, WeekCounts
from gitops_nb.dora.results import Change
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

MINIMUM_STRATUM = 6
"""Values that a service needs in both windows before its own median is compared: fewer have no interval."""
_NO_WEEK = WeekCounts()


def totals(
    numbers: Numbers, period: int, name: str, *, only: frozenset[str] | None = None
) -> tuple[int, int]:
    """How many deployments are such, and how many there are: of all services, or only of some."""
    counts = [c for s, c in numbers.counts[period].items() if only is None or s in only]
    return sum(getattr(c, name) for c in counts), sum(c.deployments for c in counts)


def everywhere(numbers: Numbers, period: int, *, only: frozenset[str] | None = None) -> Recoveries:
    """How long failures took: of all services, or only of some."""
    found = numbers.recoveries[period].items()
    return sum((r for s, r in found if only is None or s in only), Recoveries())


def before_of_failures(numbers: Numbers, scope: Scope, name: str) -> Estimate | None:
    """The share in the window before; none beside a record of incidents that has a gap: a reader would compare."""
    if scope.no_failures:
        return None
    return statistics.wilson(*totals(numbers, BEFORE, name))


def change_of_rate(numbers: Numbers, scope: Scope, name: str, *, reason: str = "") -> Change:
    """How the share of such deployments changed, of the services that both windows have."""
    now, before = (
        statistics.wilson(*totals(numbers, period, name, only=scope.stayed))
        for period in (NOW, BEFORE)
    )
    return change("difference", statistics.difference(now, before), scope, reason=reason)


def weekly(numbers: Numbers, scope: Scope, window: Window) -> list[int]:
    """Deployments of the services that both windows have, in each week that is compared."""
    weeks = _compared_weeks(scope, window)
    totals = dict.fromkeys(weeks, 0)
    for (service, week), found in numbers.weeks.items():
        if week in totals and (scope.stayed is None or service in scope.stayed):
            totals[week] += found.deployments
    return list(totals.values())


def _compared_weeks(scope: Scope, window: Window) -> list[int]:
    """The complete weeks of a window without a freeze, by their place among the weeks that the charts show."""
    borders = windows.week_borders(scope.shown.start_s, scope.shown.end_s, zone=scope.zone)
    return [
        index
        for index, (a, b) in enumerate(itertools.pairwise(borders))
        if window.start_s <= a
        and b <= window.end_s
        and not any(f.start_s < b and a < f.end_s for f in (*scope.freezes, *scope.pauses))
    ]


def paces(numbers: Numbers, scope: Scope) -> tuple[int, int]:
    """How many services were deployed less and more often, of those with enough deployments in a window."""
    weeks = [_compared_weeks(scope, window) for window in scope.periods]
    down = up = 0
    for name in numbers.spans if scope.stayed is None else sorted(scope.stayed):
        now, before = (
            sum(numbers.weeks.get((name, week), _NO_WEEK).deployments for week in found)
            for found in weeks
        )
        if max(now, before) >= MINIMUM_STRATUM:
            # As products of integers, so that equal paces are equal.
            now, before = now * len(weeks[BEFORE]), before * len(weeks[NOW])
            down, up = down + (now < before), up + (now > before)
    return down, up


def stratify(now: Leads, earlier: Leads) -> tuple[int, int]:
    """How many services' own medians went down and up, of those with enough values in both windows."""
    middles = [_middles(leads) for leads in (now, earlier)]
    both = middles[0].keys() & middles[1].keys()
    down = sum(middles[0][name] < middles[1][name] for name in both)
    up = sum(middles[0][name] > middles[1][name] for name in both)
    return down, up


def _middles(leads: Leads) -> Mapping[str, float]:
    return {name: middle for name, (n, middle) in leads.services.items() if n >= MINIMUM_STRATUM}


def change(
    kind: str,
    estimate: Estimate,
    scope: Scope,
    *,
    stratified: tuple[int, int] = (0, 0),
    reason: str = "",
) -> Change:
    """Judges a change: a direction only with enough weeks and an interval without "no change"."""
    neutral = 1.0 if kind == "ratio" else 0.0
    direction = "flat"
    if scope.stayed is not None and not scope.stayed:
        reason = "no service was there in both whole windows"
    reason = scope.no_trend or reason
    if not reason and estimate.value is None:
        reason = "no data in one of the two windows"
    if not reason and (estimate.low is None or estimate.high is None):
        reason = "too few values for an interval"
    if reason:
        direction = "unknown"
    elif estimate.low is not None and estimate.low > neutral:
        direction = "up"
    elif estimate.high is not None and estimate.high < neutral:
        direction = "down"
    compared = None if scope.stayed is None else len(scope.stayed)
    return Change(kind, estimate, direction, reason, stratified, compared)
