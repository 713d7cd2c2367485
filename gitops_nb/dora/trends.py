"""How metrics changed between two windows: of the services and weeks that both have, and never without an interval."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from gitops_nb.dora import reassigning, statistics, windows
from gitops_nb.dora.numbers import BEFORE, NOW, Leads, Numbers, Recoveries, WeekCounts
from gitops_nb.dora.reassigning import Floats, Moved, WeekSums
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


def change_of_rate(
    numbers: Numbers, scope: Scope, name: str, moved: Moved | None, *, reason: str = ""
) -> Change:
    """How the share of such deployments changed, of the services that both windows have."""
    now, before = (
        statistics.wilson(*totals(numbers, period, name, only=scope.stayed))
        for period in (NOW, BEFORE)
    )
    found = statistics.difference(now, before)
    if found.value is not None and moved is not None:
        # Where nothing ever failed no re-assignment moves anything: what chance alone may do counts there.
        low, high = found.low or 0.0, found.high or 0.0
        found = Estimate.of(
            found.value,
            min(low, found.value - moved.reach),
            max(high, found.value + moved.reach),
            n=found.n,
        )
    elif found.value is not None:
        found = Estimate.of(found.value, n=found.n)
    visible = moved.visible if moved is not None and moved.reach else None
    return change("difference", found, scope, reason=reason, visible=visible)


def change_of_median(
    now: Estimate,
    before: Estimate,
    scope: Scope,
    moved: Moved | None,
    *,
    stratified: tuple[int, int] = (0, 0),
    reason: str = "",
) -> Change:
    """How a median duration in seconds changed; its interval is that of the ratio."""
    found = Estimate()
    if now.value is not None and before.value is not None:
        found = Estimate.of(now.value - before.value, n=min(now.n, before.n))
        if moved is not None:
            # A second more on both sides, as on the scale of the steps: a median may be 0.
            by, unit = math.log((now.value + 1) / (before.value + 1)), before.value + 1
            bounds = (unit * math.expm1(by + side * moved.reach) for side in (-1, 1))
            found = Estimate.of(found.value, *bounds, n=found.n)
    visible = math.expm1(moved.visible) if moved is not None and moved.reach else None
    return change("difference", found, scope, stratified=stratified, reason=reason, visible=visible)


def change_of_pace(
    numbers: Numbers,
    scope: Scope,
    moved: Moved | None,
    *,
    stratified: tuple[int, int],
    reason: str = "",
) -> Change:
    """How the deployments of all services per week changed, as a ratio."""
    now, before = (weekly(numbers, scope, window) for window in scope.periods)
    found = Estimate()
    if now and before and sum(now) and sum(before):
        ratio = sum(now) / len(now) / (sum(before) / len(before))
        bounds: tuple[float, ...] = ()
        if moved is not None:
            bounds = (ratio * math.exp(-moved.reach), ratio * math.exp(moved.reach))
        found = Estimate.of(ratio, *bounds, n=min(len(now), len(before)))
    visible = math.expm1(moved.visible) if moved is not None and moved.reach else None
    return change("ratio", found, scope, stratified=stratified, reason=reason, visible=visible)


def moved_metrics(numbers: Numbers, scope: Scope) -> Mapping[str, Moved]:
    """How far each metric that can be compared moved, all of them judged together; see ``reassigning.moves``."""
    if scope.before is None or scope.no_trend:
        return {}
    sums = week_sums(numbers, scope)
    has_recoveries = _has_recoveries(numbers, scope)
    keys = [
        "frequency",
        "lead_time",
        *(("fail_rate",) if scope.knows_failures and not scope.no_failures else ()),
        *(("recovery",) if has_recoveries and not scope.no_failures else ()),
        *(("rework",) if scope.has_incidents and not scope.no_failures else ()),
        # Each metric more makes every other one harder to see: with failures known, rollbacks are among them.
        *(() if scope.knows_failures else ("rollbacks",)),
    ]
    return reassigning.moves(sums, tuple(keys))


def _has_recoveries(numbers: Numbers, scope: Scope) -> bool:
    least = scope.definition.minimum_failures
    return scope.knows_failures and all(
        everywhere(numbers, period, only=scope.stayed).n >= least for period in (NOW, BEFORE)
    )


def week_sums(numbers: Numbers, scope: Scope) -> WeekSums:
    """What the compared weeks hold, those of this window first."""
    weeks = [_compared_weeks(scope, window) for window in scope.periods]
    place = {week: index for index, week in enumerate(itertools.chain(*weeks))}
    counts = np.zeros((4, len(place)))
    for (service, week), found in numbers.weeks.items():
        if week in place and (scope.stayed is None or service in scope.stayed):
            counts[:, place[week]] += (
                found.deployments,
                found.failed,
                found.unplanned,
                found.rollbacks,
            )
    steps = max((step for _, step in numbers.lead_steps), default=-1) + 1
    leads = np.zeros((len(place), steps))
    for (week, step), (_, compared) in numbers.lead_steps.items():
        if week in place:
            leads[place[week], step] += compared
    borders = windows.week_borders(scope.shown.start_s, scope.shown.end_s, zone=scope.zone)
    failures = [
        (place[week], None if one.is_open else reassigning.step_of(one.took_s))
        for one in numbers.failures
        if (scope.stayed is None or one.service in scope.stayed)
        and (week := bisect_right(borders, one.finished_s) - 1) in place
    ]
    last = max((step for _, step in failures if step is not None), default=-1) + 1
    recoveries = np.zeros((len(place), last + 1 if failures else 0))
    for week, ended in failures:
        recoveries[week, last if ended is None else ended] += 1
    is_now = np.arange(len(place)) < len(weeks[NOW])
    deployments, failed, unplanned, rollbacks = counts
    return WeekSums(is_now, deployments, failed, unplanned, rollbacks, leads, recoveries)


def weekly(numbers: Numbers, scope: Scope, window: Window) -> list[int]:
    """Deployments of the services that both windows have, in each week that is compared."""
    weeks = _compared_weeks(scope, window)
    totals = dict.fromkeys(weeks, 0)
    for (service, week), found in numbers.weeks.items():
        if week in totals and (scope.stayed is None or service in scope.stayed):
            totals[week] += found.deployments
    return list(totals.values())


def whole_weeks(scope: Scope, window: Window) -> list[int]:
    """The complete weeks of a window, by their place among those that the charts show; with a freeze or without."""
    borders = windows.week_borders(scope.shown.start_s, scope.shown.end_s, zone=scope.zone)
    return [
        index
        for index, (a, b) in enumerate(itertools.pairwise(borders))
        if window.start_s <= a and b <= window.end_s
    ]


def lead_table(numbers: Numbers, scope: Scope, window: Window) -> Floats:
    """Lead times of all services in a window's complete weeks: weeks by steps."""
    place = {week: index for index, week in enumerate(whole_weeks(scope, window))}
    steps = max((step for _, step in numbers.lead_steps), default=-1) + 1
    table = np.zeros((len(place), steps))
    for (week, step), (n, _) in numbers.lead_steps.items():
        if week in place:
            table[place[week], step] += n
    return table


def week_totals(
    numbers: Numbers,
    scope: Scope,
    window: Window,
    name: str,
    *,
    only: frozenset[str] | None = None,
) -> tuple[Floats, Floats]:
    """Such deployments, and all, in a window's complete weeks: of all services, or only of some."""
    place = {week: index for index, week in enumerate(whole_weeks(scope, window))}
    found = np.zeros((2, len(place)))
    for (service, week), counts in numbers.weeks.items():
        if week in place and (only is None or service in only):
            found[:, place[week]] += (getattr(counts, name), counts.deployments)
    return found[0], found[1]


def service_table(numbers: Numbers, scope: Scope, window: Window) -> tuple[Floats, Floats]:
    """Deployments of each service in a window's complete weeks without a freeze, and which part of them it was there."""
    borders = windows.week_borders(scope.shown.start_s, scope.shown.end_s, zone=scope.zone)
    weeks = [
        week
        for week in whole_weeks(scope, window)
        if not any(f.start_s < borders[week + 1] and borders[week] < f.end_s for f in scope.freezes)
    ]
    names = list(numbers.spans)
    counts, present = np.zeros((2, len(names), len(weeks)))
    for row, name in enumerate(names):
        span = numbers.spans[name]
        for column, week in enumerate(weeks):
            a, b = borders[week], borders[week + 1]
            until_s = b if span.removed_s is None else min(b, span.removed_s)
            present[row, column] = max(0, until_s - max(a, span.first_s)) / (b - a)
            counts[row, column] = numbers.weeks.get((name, week), _NO_WEEK).deployments
    return counts, present


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
    visible: float | None = None,
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
    return Change(
        kind,
        estimate,
        direction,
        reason,
        stratified,
        compared,
        None if visible is None or reason else round(visible * 1_000_000),
    )
