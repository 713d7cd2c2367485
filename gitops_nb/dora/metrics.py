"""The metrics: deployment frequency, change lead time, change fail rate, recovery time, rework, rollbacks.

All functions are pure and work on ``Numbers``; each number comes with its interval, n and exclusions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gitops_nb.dora import levels, statistics, windows
from gitops_nb.dora.definition import WEEK_S, DoraDefinition, Failure, Start, Unit
from gitops_nb.dora.numbers import BEFORE, NOW, Counts, Leads, Numbers, Recoveries, Span, WeekCounts
from gitops_nb.dora.results import Change, Metric
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

_NO_WEEK = WeekCounts()
MINIMUM_STRATUM = 6
"""Values that a service needs in both windows before its own median is compared: fewer have no interval."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What all metrics of one report share.

    ``window`` and ``before`` are clipped to what is known. ``no_trend`` says why no change is judged, ""
    when it may be. ``has_incidents`` is False without an incidents file. ``is_last`` is True when nothing is
    promoted further, so that the Quick Check's words about production apply. ``shown`` is what the charts
    over time show. ``freezes`` are left out of the time that frequency is about, ``pauses`` are all freezes: weeks
    with one are not compared. ``stayed`` are the services that changes compare (None: all of them), and
    ``no_failures`` says why failures cannot be compared.
    """

    environment: str
    window: Window
    before: Window | None
    zone: ZoneInfo
    definition: DoraDefinition
    no_trend: str
    has_incidents: bool
    is_last: bool
    shown: Window
    first_environment: str = ""
    freezes: tuple[Window, ...] = ()
    pauses: tuple[Window, ...] = ()
    stayed: frozenset[str] | None = None
    no_failures: str = ""

    @property
    def knows_failures(self) -> bool:
        """Whether the facts can tell what failed: incidents are there, or the definition does without them."""
        return self.has_incidents or Failure.INCIDENT not in self.definition.failures

    @property
    def periods(self) -> tuple[Window, ...]:
        """The window, and the window before where there is one."""
        return (self.window,) if self.before is None else (self.window, self.before)


def frequency(numbers: Numbers, scope: Scope) -> Metric:
    """Deployments per service and week: the median service, and the change of all deployments.

    Source: DORA, "deployment frequency", dora.dev/guides/dora-metrics.
    """
    now_rates, short = _rates(numbers, scope, NOW)
    now = statistics.median(now_rates)
    before = change = None
    if scope.before is not None:
        before = statistics.median(_rates(numbers, scope, BEFORE)[0])
        now_weeks, before_weeks = (_weekly(numbers, scope, w) for w in scope.periods)
        ratio = statistics.rate_ratio(now_weeks, before_weeks)
        least = scope.definition.minimum_weeks
        few = scope.pauses and min(len(now_weeks), len(before_weeks)) < least
        change = _change(
            "ratio",
            ratio,
            scope,
            stratified=_paces(numbers, scope),
            reason=f"a trend needs {least} weeks without a freeze in each window" if few else "",
        )
    total = sum(counts.deployments for counts in numbers.counts[NOW].values())
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


def lead_time(numbers: Numbers, scope: Scope) -> Metric:
    """Median time from the definition's start of a change to its arrival.

    Source: DORA, "change lead time", dora.dev/guides/dora-metrics; the start is named in the definition.
    """
    now = numbers.leads[NOW].median
    before = change = None
    if scope.before is not None:
        before = numbers.leads[BEFORE].median
        stratified = _stratify(numbers.leads[NOW], numbers.leads[BEFORE])
        # Of other services a median may move although nobody's did.
        same = [
            numbers.leads[period].compared or numbers.leads[period].median
            for period in (NOW, BEFORE)
        ]
        change = _change("difference", statistics.difference(*same), scope, stratified=stratified)
    missing = dict(numbers.leads[NOW].missing)
    deployed = any(counts.deployments for counts in numbers.counts[NOW].values())
    by_version = scope.definition.lead_time_start is Start.FIRST_ENVIRONMENT
    reason = "" if now.n else f"no {'version' if by_version else 'change'} has both times"
    if not now.n and not deployed:
        reason = "no deployment in this window"
    elif not now.n and by_version and not scope.first_environment:
        reason = f"versions enter the platform in {scope.environment}"
    elif not now.n and len(missing) == 1:
        reason = next(iter(missing))
    return Metric(
        key="lead_time",
        title="Change lead time",
        question=_lead_question(scope),
        unit="s",
        now=now,
        before=before,
        change=change,
        level=_level(levels.duration_level, now, scope),
        counts={
            _counted_as(scope.definition): now.n,
            "left out": sum(missing.values()),
        },
        excluded=missing,
        missing=reason,
    )


def _counted_as(definition: DoraDefinition) -> str:
    """What a lead time belongs to."""
    if definition.lead_time_unit is Unit.DEPLOYMENT:
        return "deployments"
    return "versions" if definition.lead_time_start is Start.FIRST_ENVIRONMENT else "changes"


def _lead_question(scope: Scope) -> str:
    start = {
        Start.AUTHORED: "writing a change",
        Start.COMMITTED: "committing a change",
        Start.OPENED: "opening its pull request",
        Start.MERGED: "merging a change",
        Start.FIRST_ENVIRONMENT: "a version's first environment",
    }[scope.definition.lead_time_start]
    return f"From {start} to {scope.environment}."


def fail_rate(numbers: Numbers, scope: Scope) -> Metric:
    """Share of deployments that were rolled back or led to an incident.

    Source: DORA, "change fail rate", dora.dev/guides/dora-metrics.
    """
    failed, deployments = _totals(numbers, NOW, "failed")
    now = statistics.wilson(failed, deployments)
    before = change = None
    if scope.before is not None and scope.knows_failures:
        before = statistics.wilson(*_totals(numbers, BEFORE, "failed"))
        change = _change_of_rate(numbers, scope, "failed", reason=scope.no_failures)
    reason = "" if deployments else "no deployment in this window"
    if not scope.knows_failures:
        reason = "no incidents file was given, and without one nobody knows what failed"
    return Metric(
        key="fail_rate",
        title="Change fail rate",
        question="Deployments that failed: rolled back, or followed by an incident."
        if Failure.INCIDENT in scope.definition.failures
        else f"Deployments that failed: {' or '.join(cause.value for cause in scope.definition.failures)}.",
        unit="ratio",
        now=now if scope.knows_failures else Estimate(),
        before=before,
        change=change,
        level=levels.Level(answer="no level: the Quick Check asks for a percentage"),
        counts={"failed": failed, "deployments": deployments, **numbers.failed_by[NOW]}
        if scope.knows_failures
        else {},
        missing=reason,
    )


def rework(numbers: Numbers, scope: Scope) -> Metric:
    """Share of deployments that nobody planned: rollbacks, hotfixes, and fixes while an incident lasts.

    Source: DORA, "deployment rework rate" (since 2024), dora.dev/guides/dora-metrics.
    """
    unplanned, deployments = _totals(numbers, NOW, "unplanned")
    now = statistics.wilson(unplanned, deployments)
    before = change = None
    if scope.before is not None and scope.has_incidents:
        before = statistics.wilson(*_totals(numbers, BEFORE, "unplanned"))
        change = _change_of_rate(numbers, scope, "unplanned", reason=scope.no_failures)
    reason = "" if deployments else "no deployment in this window"
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
        counts={
            "unplanned": unplanned,
            "deployments": deployments,
            **numbers.rework_by[NOW],
        }
        if scope.has_incidents
        else {},
        missing=reason,
    )


def recovery(numbers: Numbers, scope: Scope) -> Metric:
    """Median time from a failed deployment to the next good one or the end of its incident.

    Source: DORA, "failed deployment recovery time" (since 2023 in place of MTTR), dora.dev/guides/dora-metrics.
    """
    failures = _everywhere(numbers, NOW)
    now, still_open = recovery_of(failures), len(failures.lasting)
    before = change = None
    least = scope.definition.minimum_failures
    if scope.before is not None and scope.knows_failures:
        before = recovery_of(_everywhere(numbers, BEFORE))
        before = before if before.n >= least else Estimate(n=before.n)
        if now.n >= least:
            same = [recovery_of(_everywhere(numbers, p, only=scope.stayed)) for p in (NOW, BEFORE)]
            known = [one if one.n >= least else Estimate(n=one.n) for one in same]
            difference = statistics.difference(*known)
            change = _change("difference", difference, scope, reason=scope.no_failures)
    reason = ""
    if not scope.knows_failures:
        reason = "no incidents file was given, and without one nobody knows what failed"
    elif now.n == 0:
        reason = "no failed deployment in this window"
    elif now.n < least:
        reason = f"too few: {now.n} failed, a median needs {least}"
    elif now.value is None:
        reason = "more than half of the failures are still open"
    shown = now if not reason else Estimate(n=now.n if scope.knows_failures else 0)
    return Metric(
        key="recovery",
        title="Failed deployment recovery time",
        question="From a failed deployment to a good one (MTTR).",
        unit="s",
        now=shown,
        before=before,
        change=change,
        level=_level(levels.duration_level, shown, scope),
        counts={"failed": now.n, "open": still_open} if scope.knows_failures else {},
        missing=reason,
    )


def rollbacks(numbers: Numbers, scope: Scope) -> Metric:
    """Share of deployments that went back; shown apart, because history alone tells it."""
    count, deployments = _totals(numbers, NOW, "rollbacks")
    now = statistics.wilson(count, deployments)
    before = change = None
    if scope.before is not None:
        before = statistics.wilson(*_totals(numbers, BEFORE, "rollbacks"))
        change = _change_of_rate(numbers, scope, "rollbacks")
    return Metric(
        key="rollbacks",
        title="Rollbacks",
        question="Deployments that went back from the newest version.",
        unit="ratio",
        now=now,
        before=before,
        change=change,
        level=levels.Level(answer="no level: not a DORA metric"),
        counts={
            "rollbacks": count,
            "deployments": deployments,
            "not comparable": _totals(numbers, NOW, "incomparable")[0],
        },
        missing="" if deployments else "no deployment in this window",
    )


def _totals(
    numbers: Numbers, period: int, name: str, *, only: frozenset[str] | None = None
) -> tuple[int, int]:
    """How many deployments are such, and how many there are: of all services, or only of some."""
    counts = [c for s, c in numbers.counts[period].items() if only is None or s in only]
    return sum(getattr(c, name) for c in counts), sum(c.deployments for c in counts)


def _everywhere(numbers: Numbers, period: int, *, only: frozenset[str] | None = None) -> Recoveries:
    found = numbers.recoveries[period].items()
    return sum((r for s, r in found if only is None or s in only), Recoveries())


def _change_of_rate(numbers: Numbers, scope: Scope, name: str, *, reason: str = "") -> Change:
    """How the share of such deployments changed, of the services that both windows have."""
    now, before = (
        statistics.wilson(*_totals(numbers, period, name, only=scope.stayed))
        for period in (NOW, BEFORE)
    )
    return _change("difference", statistics.difference(now, before), scope, reason=reason)


def is_present(span: Span, window: Window) -> bool:
    """Whether a service was in the environment at any moment of the window."""
    return span.first_s < window.end_s and (
        span.removed_s is None or span.removed_s > window.start_s
    )


def rate_of(counts: Counts | None, span: Span, scope: Scope, window: Window) -> float | None:
    """Deployments per week while the service was there; None when that was under a week."""
    if not is_present(span, window):
        return None
    start = max(span.first_s, window.start_s)
    end = min(window.end_s, span.removed_s or window.end_s)
    frozen = sum(max(0, min(end, f.end_s) - max(start, f.start_s)) for f in scope.freezes)
    if end - start - frozen < WEEK_S:
        return None
    return (counts.deployments if counts else 0) / ((end - start - frozen) / WEEK_S)


def _rates(numbers: Numbers, scope: Scope, period: int) -> tuple[list[float], int]:
    """The rate of each service that was there for a week or longer, and how many were there shorter."""
    window, counts = scope.periods[period], numbers.counts[period]
    rates = []
    short = 0
    for name, span in numbers.spans.items():
        rate = rate_of(counts.get(name), span, scope, window)
        if rate is not None:
            rates.append(rate)
        elif is_present(span, window):
            short += 1
    return rates, short


def _weekly(numbers: Numbers, scope: Scope, window: Window) -> list[int]:
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


def _paces(numbers: Numbers, scope: Scope) -> tuple[int, int]:
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


def recovery_of(failures: Recoveries) -> Estimate:
    """Kaplan-Meier median of the recovery times."""
    return statistics.kaplan_meier_median(failures.ended, failures.lasting)


def _stratify(now: Leads, earlier: Leads) -> tuple[int, int]:
    """How many services' own medians went down and up, of those with enough values in both windows."""
    middles = [_middles(leads) for leads in (now, earlier)]
    both = middles[0].keys() & middles[1].keys()
    down = sum(middles[0][name] < middles[1][name] for name in both)
    up = sum(middles[0][name] > middles[1][name] for name in both)
    return down, up


def _middles(leads: Leads) -> Mapping[str, float]:
    return {name: middle for name, (n, middle) in leads.services.items() if n >= MINIMUM_STRATUM}


def _change(
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


def _level(find: Callable[[Estimate], levels.Level], now: Estimate, scope: Scope) -> levels.Level:
    if not scope.is_last:
        return levels.Level(answer="no level: the Quick Check is about production")
    return find(now)
