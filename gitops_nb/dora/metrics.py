"""The metrics: deployment frequency, change lead time, change fail rate, recovery time, rollbacks.

All functions are pure and work on a ``History``; each number comes with its interval, n and exclusions.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gitops_nb.dora import levels, statistics, windows
from gitops_nb.dora.definition import WEEK_S, DoraDefinition
from gitops_nb.dora.history import Deployment, History, Span, count_missing
from gitops_nb.dora.results import Change, Metric
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

MINIMUM_STRATUM = 6
"""Values that a service needs in both windows before its own median is compared: fewer have no interval."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What all metrics of one report share.

    ``window`` and ``before`` are clipped to what is known. ``no_trend`` says why no change is judged, ""
    when it may be. ``has_incidents`` is False without an incidents file. ``is_last`` is True when nothing is
    promoted further, so that the Quick Check's words about production apply.
    """

    environment: str
    window: Window
    before: Window | None
    zone: ZoneInfo
    definition: DoraDefinition
    no_trend: str
    has_incidents: bool
    is_last: bool


def frequency(history: History, scope: Scope) -> Metric:
    """Deployments per service and week: the median service, and the change of all deployments.

    Source: DORA, "deployment frequency", dora.dev/guides/dora-metrics.
    """
    now_rates, short = _rates(history, scope.window)
    now = statistics.median(now_rates)
    before = change = None
    if scope.before is not None:
        before = statistics.median(_rates(history, scope.before)[0])
        change = _change(
            "ratio",
            statistics.rate_ratio(
                _weekly(history, scope.window, scope.zone),
                _weekly(history, scope.before, scope.zone),
            ),
            scope,
        )
    total = len(_inside(history, scope.window))
    return Metric(
        key="frequency",
        title="Deployment frequency",
        question=f"How often a service reaches {scope.environment}.",
        unit="per week",
        now=now,
        before=before,
        change=change,
        level=_level(levels.frequency_level, now, scope),
        counts={
            "deployments": total,
            "services": now.n,
            "weeks": windows.complete_weeks(scope.window, zone=scope.zone),
        },
        excluded={"service there for less than one week": short} if short else {},
        missing="" if now_rates else f"no service was in {scope.environment} in this window",
    )


def lead_time(history: History, scope: Scope) -> Metric:
    """Median time from a version's first environment to the target, per version.

    Source: DORA, "change lead time", dora.dev/guides/dora-metrics; the start is ours and named in the definition.
    """
    rows = _inside(history, scope.window)
    values = [row.lead_s for row in rows if row.lead_s is not None]
    now = statistics.median(values)
    before = change = None
    if scope.before is not None:
        earlier = _inside(history, scope.before)
        before = statistics.median([row.lead_s for row in earlier if row.lead_s is not None])
        change = _change(
            "difference",
            statistics.difference(now, before),
            scope,
            stratified=_stratify(rows, earlier),
        )
    missing = count_missing(rows)
    reason = "" if values else "no version has both times"
    if not values and not rows:
        reason = "no deployment in this window"
    elif not values and len(missing) == 1:
        reason = next(iter(missing))
    return Metric(
        key="lead_time",
        title="Change lead time",
        question=f"From a version's first environment to {scope.environment}.",
        unit="s",
        now=now,
        before=before,
        change=change,
        level=_level(levels.duration_level, now, scope),
        counts={"versions": len(values), "left out": sum(missing.values())},
        excluded=dict(missing.most_common()),
        missing=reason,
    )


def fail_rate(history: History, scope: Scope) -> Metric:
    """Share of deployments that were rolled back or led to an incident.

    Source: DORA, "change fail rate", dora.dev/guides/dora-metrics.
    """
    now, failed, rows = _failed_share(history, scope.window)
    before = change = None
    if scope.before is not None and scope.has_incidents:
        before = _failed_share(history, scope.before)[0]
        change = _change("difference", statistics.difference(now, before), scope)
    reason = "" if rows else "no deployment in this window"
    if not scope.has_incidents:
        reason = "no incidents file was given, and without one nobody knows what failed"
    causes = Counter(row.failed_by for row in rows if row.failed_by)
    return Metric(
        key="fail_rate",
        title="Change fail rate",
        question="Deployments rolled back, or followed by an incident.",
        unit="ratio",
        now=now if scope.has_incidents else Estimate(),
        before=before,
        change=change,
        level=levels.Level(answer="no level: the Quick Check asks for a percentage"),
        counts={"failed": failed, "deployments": len(rows), **causes}
        if scope.has_incidents
        else {},
        missing=reason,
    )


def rework(history: History, scope: Scope) -> Metric:
    """Share of deployments that nobody planned: rollbacks, hotfixes, and fixes while an incident lasts.

    Source: DORA, "deployment rework rate" (since 2024), dora.dev/guides/dora-metrics.
    """
    rows = _inside(history, scope.window)
    causes = Counter(row.rework_by for row in rows if row.rework_by)
    now = statistics.wilson(causes.total(), len(rows))
    before = change = None
    if scope.before is not None and scope.has_incidents:
        earlier = _inside(history, scope.before)
        before = statistics.wilson(sum(bool(row.rework_by) for row in earlier), len(earlier))
        change = _change("difference", statistics.difference(now, before), scope)
    reason = "" if rows else "no deployment in this window"
    if not scope.has_incidents:
        reason = "no incidents file was given, and without one nobody knows what was a fix"
    return Metric(
        key="rework",
        title="Deployment rework rate",
        question="Deployments that nobody planned: rollbacks, hotfixes, fixes.",
        unit="ratio",
        now=now if scope.has_incidents else Estimate(),
        before=before,
        change=change,
        level=levels.Level(answer="no level: the Quick Check asks for a percentage"),
        counts={"unplanned": causes.total(), "deployments": len(rows), **causes}
        if scope.has_incidents
        else {},
        missing=reason,
    )


def recovery(history: History, scope: Scope) -> Metric:
    """Median time from a failed deployment to the next good one or the end of its incident.

    Source: DORA, "failed deployment recovery time" (since 2023 in place of MTTR), dora.dev/guides/dora-metrics.
    """
    now, still_open = recovery_of(_inside(history, scope.window))
    before = change = None
    least = scope.definition.minimum_failures
    if scope.before is not None and scope.has_incidents:
        before, _ = recovery_of(_inside(history, scope.before))
        before = before if before.n >= least else Estimate(n=before.n)
        if now.n >= least:
            change = _change("difference", statistics.difference(now, before), scope)
    reason = ""
    if not scope.has_incidents:
        reason = "no incidents file was given, and without one nobody knows what failed"
    elif now.n == 0:
        reason = "no failed deployment in this window"
    elif now.n < least:
        reason = f"too few: {now.n} failed, a median needs {least}"
    elif now.value is None:
        reason = "more than half of the failures are still open"
    shown = now if not reason else Estimate(n=now.n if scope.has_incidents else 0)
    return Metric(
        key="recovery",
        title="Failed deployment recovery time",
        question="From a failed deployment to a good one (MTTR).",
        unit="s",
        now=shown,
        before=before,
        change=change,
        level=_level(levels.duration_level, shown, scope),
        counts={"failed": now.n, "open": still_open} if scope.has_incidents else {},
        missing=reason,
    )


def rollbacks(history: History, scope: Scope) -> Metric:
    """Share of deployments that were rolled back; shown apart, because history alone tells it."""
    rows = _inside(history, scope.window)
    count = sum(row.is_rollback for row in rows)
    before = change = None
    if scope.before is not None:
        earlier = _inside(history, scope.before)
        before = statistics.wilson(sum(row.is_rollback for row in earlier), len(earlier))
        change = _change(
            "difference", statistics.difference(statistics.wilson(count, len(rows)), before), scope
        )
    return Metric(
        key="rollbacks",
        title="Rollbacks",
        question="Deployments that went back from the newest version.",
        unit="ratio",
        now=statistics.wilson(count, len(rows)),
        before=before,
        change=change,
        level=levels.Level(answer="no level: not a DORA metric"),
        counts={
            "rollbacks": count,
            "deployments": len(rows),
            "not comparable": sum(not row.is_comparable for row in rows),
        },
        missing="" if rows else "no deployment in this window",
    )


def _inside(history: History, window: Window) -> list[Deployment]:
    return [
        row for rows in history.deployments.values() for row in rows if window.holds(row.finished_s)
    ]


def is_present(span: Span, window: Window) -> bool:
    """Whether a service was in the environment at any moment of the window."""
    return span.first_s < window.end_s and (
        span.removed_s is None or span.removed_s > window.start_s
    )


def rate_of(rows: Sequence[Deployment], span: Span, window: Window) -> float | None:
    """Deployments per week while the service was there; None when that was under a week."""
    if not is_present(span, window):
        return None
    start = max(span.first_s, window.start_s)
    end = min(window.end_s, span.removed_s or window.end_s)
    if end - start < WEEK_S:
        return None
    return sum(window.holds(row.finished_s) for row in rows) / ((end - start) / WEEK_S)


def _rates(history: History, window: Window) -> tuple[list[float], int]:
    """The rate of each service that was there for a week or longer, and how many were there shorter."""
    rates = []
    short = 0
    for name, span in history.spans.items():
        rate = rate_of(history.deployments.get(name, ()), span, window)
        if rate is not None:
            rates.append(rate)
        elif is_present(span, window):
            short += 1
    return rates, short


def _weekly(history: History, window: Window, zone: ZoneInfo) -> list[int]:
    """Deployments of all services in each complete week of the window."""
    borders = windows.week_borders(window.start_s, window.end_s, zone=zone)
    counts: Counter[int] = Counter(
        bisect_right(borders, row.finished_s) - 1 for row in _inside(history, window)
    )
    return [
        counts[index]
        for index, (a, b) in enumerate(itertools.pairwise(borders))
        if window.start_s <= a and b <= window.end_s
    ]


def _failed_share(history: History, window: Window) -> tuple[Estimate, int, list[Deployment]]:
    rows = _inside(history, window)
    failed = sum(bool(row.failed_by) for row in rows)
    return statistics.wilson(failed, len(rows)), failed, rows


def recovery_of(rows: Sequence[Deployment]) -> tuple[Estimate, int]:
    """Kaplan-Meier median of the recovery times, and how many failures are still open."""
    failed = [row for row in rows if row.recovery_s is not None]
    ended = [row.recovery_s for row in failed if not row.is_open and row.recovery_s is not None]
    lasting = [row.recovery_s for row in failed if row.is_open and row.recovery_s is not None]
    return statistics.kaplan_meier_median(ended, lasting), len(lasting)


def _stratify(now: Sequence[Deployment], earlier: Sequence[Deployment]) -> tuple[int, int]:
    """How many services' own medians went down and up, of those with enough values in both windows."""
    middles = [_middles(rows) for rows in (now, earlier)]
    both = middles[0].keys() & middles[1].keys()
    down = sum(middles[0][name] < middles[1][name] for name in both)
    up = sum(middles[0][name] > middles[1][name] for name in both)
    return down, up


def _middles(rows: Sequence[Deployment]) -> Mapping[str, float]:
    values: dict[str, list[int]] = {}
    for row in rows:
        if row.lead_s is not None:
            values.setdefault(row.service, []).append(row.lead_s)
    return {
        name: statistics.quantile(leads, 0.5) or 0.0
        for name, leads in values.items()
        if len(leads) >= MINIMUM_STRATUM
    }


def _change(
    kind: str, estimate: Estimate, scope: Scope, *, stratified: tuple[int, int] = (0, 0)
) -> Change:
    """Judges a change: a direction only with enough weeks and an interval without "no change"."""
    neutral = 1.0 if kind == "ratio" else 0.0
    if scope.no_trend:
        return Change(kind, estimate, "unknown", scope.no_trend, stratified)
    if estimate.value is None:
        return Change(kind, estimate, "unknown", "no data in one of the two windows", stratified)
    if estimate.low is None or estimate.high is None:
        return Change(kind, estimate, "unknown", "too few values for an interval", stratified)
    if estimate.low > neutral:
        return Change(kind, estimate, "up", "", stratified)
    if estimate.high < neutral:
        return Change(kind, estimate, "down", "", stratified)
    return Change(kind, estimate, "flat", "", stratified)


def _level(find: Callable[[Estimate], levels.Level], now: Estimate, scope: Scope) -> levels.Level:
    if not scope.is_last:
        return levels.Level(answer="no level: the Quick Check is about production")
    return find(now)
