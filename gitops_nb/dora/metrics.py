"""The metrics: deployment frequency, change lead time, change fail rate, recovery time, rework, rollbacks.

All functions are pure and work on ``Numbers``; each number comes with its interval, n and exclusions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gitops_nb.dora import levels, resampling, statistics, trends, windows
from gitops_nb.dora.definition import WEEK_S, DoraDefinition, Failure, Start, Unit
from gitops_nb.dora.numbers import BEFORE, NOW, Counts, Numbers, Recoveries, Span
from gitops_nb.dora.reassigning import Moved
from gitops_nb.dora.results import Metric
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window


def frequency(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Deployments per service and week: the median service, and the change of all deployments.

    Source: DORA, "deployment frequency", dora.dev/guides/dora-metrics.
    """
    now_rates, short = _rates(numbers, scope, NOW)
    now = resampling.rate_by_weeks(
        statistics.median(now_rates), *trends.service_table(numbers, scope, scope.window)
    )
    before = change = None
    if scope.before is not None:
        before = resampling.rate_by_weeks(
            statistics.median(_rates(numbers, scope, BEFORE)[0]),
            *trends.service_table(numbers, scope, scope.before),
        )
        now_weeks, before_weeks = (trends.weekly(numbers, scope, w) for w in scope.periods)
        least = scope.definition.minimum_weeks
        few = scope.pauses and min(len(now_weeks), len(before_weeks)) < least
        change = trends.change_of_pace(
            numbers,
            scope,
            moved.get("frequency"),
            stratified=trends.paces(numbers, scope),
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


def lead_time(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Median time from the definition's start of a change to its arrival.

    Source: DORA, "change lead time", dora.dev/guides/dora-metrics; the start is named in the definition.
    """
    now = resampling.median_by_weeks(
        numbers.leads[NOW].median, trends.lead_table(numbers, scope, scope.window)
    )
    before = change = None
    if scope.before is not None:
        before = resampling.median_by_weeks(
            numbers.leads[BEFORE].median, trends.lead_table(numbers, scope, scope.before)
        )
        stratified = trends.stratify(numbers.leads[NOW], numbers.leads[BEFORE])
        # Of other services a median may move although nobody's did.
        same, then = (
            numbers.leads[period].compared or numbers.leads[period].median
            for period in (NOW, BEFORE)
        )
        change = trends.change_of_median(
            same, then, scope, moved.get("lead_time"), stratified=stratified
        )
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


def fail_rate(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Share of deployments that were rolled back or led to an incident.

    Source: DORA, "change fail rate", dora.dev/guides/dora-metrics.
    """
    failed, deployments = trends.totals(numbers, NOW, "failed")
    now = share(numbers, scope, "failed")
    before = change = None
    if scope.before is not None and scope.knows_failures:
        before = None if scope.no_failures else share(numbers, scope, "failed", BEFORE)
        change = trends.change_of_rate(
            numbers, scope, "failed", moved.get("fail_rate"), reason=scope.no_failures
        )
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


def rework(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Share of deployments that nobody planned: rollbacks, hotfixes, and fixes while an incident lasts.

    Source: DORA, "deployment rework rate" (since 2024), dora.dev/guides/dora-metrics.
    """
    unplanned, deployments = trends.totals(numbers, NOW, "unplanned")
    now = share(numbers, scope, "unplanned")
    before = change = None
    if scope.before is not None and scope.has_incidents:
        before = None if scope.no_failures else share(numbers, scope, "unplanned", BEFORE)
        change = trends.change_of_rate(
            numbers, scope, "unplanned", moved.get("rework"), reason=scope.no_failures
        )
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


def recovery(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Median time from a failed deployment to the next good one or the end of its incident.

    Source: DORA, "failed deployment recovery time" (since 2023 in place of MTTR), dora.dev/guides/dora-metrics.
    """
    failures = trends.everywhere(numbers, NOW)
    now, still_open = recovery_of(failures), len(failures.lasting)
    before = change = None
    least = scope.definition.minimum_failures
    if scope.before is not None and scope.knows_failures:
        before = recovery_of(trends.everywhere(numbers, BEFORE))
        before = before if before.n >= least else Estimate(n=before.n)
        before = None if scope.no_failures else before
        if now.n >= least:
            same, then = (
                one if one.n >= least else Estimate(n=one.n)
                for period in (NOW, BEFORE)
                for one in (recovery_of(trends.everywhere(numbers, period, only=scope.stayed)),)
            )
            change = trends.change_of_median(
                same, then, scope, moved.get("recovery"), reason=scope.no_failures
            )
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


def rollbacks(numbers: Numbers, scope: Scope, moved: Mapping[str, Moved]) -> Metric:
    """Share of deployments that went back; shown apart, because history alone tells it."""
    count, deployments = trends.totals(numbers, NOW, "rollbacks")
    now = share(numbers, scope, "rollbacks")
    before = change = None
    if scope.before is not None:
        before = share(numbers, scope, "rollbacks", BEFORE)
        change = trends.change_of_rate(
            numbers,
            scope,
            "rollbacks",
            moved.get("rollbacks"),
            reason="they are part of the change fail rate, which is compared"
            if scope.knows_failures
            else "",
        )
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
            "not comparable": trends.totals(numbers, NOW, "incomparable")[0],
        },
        missing="" if deployments else "no deployment in this window",
    )


def share(
    numbers: Numbers,
    scope: Scope,
    name: str,
    period: int = NOW,
    *,
    only: frozenset[str] | None = None,
) -> Estimate:
    """Such deployments in a window, of all services or only of some, with the interval that its complete weeks leave."""
    hits, made = trends.totals(numbers, period, name, only=only)
    weeks = trends.week_totals(numbers, scope, scope.periods[period], name, only=only)
    by_weeks = resampling.share_by_weeks(*weeks)
    found = statistics.wilson(hits, made)
    if found.value is None or by_weeks.value is None or by_weeks.low is None:
        return found
    # The share is of the whole window; how far it is known is what its weeks say.
    down, up = by_weeks.value - by_weeks.low, (by_weeks.high or 0.0) - by_weeks.value
    low, high = found.low or 0.0, found.high or 0.0
    return Estimate.of(
        found.value,
        max(0.0, min(low, found.value - down)),
        min(1.0, max(high, found.value + up)),
        n=made,
    )


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


def recovery_of(failures: Recoveries) -> Estimate:
    """Kaplan-Meier median of the recovery times."""
    return statistics.kaplan_meier_median(failures.ended, failures.lasting)


def _level(find: Callable[[Estimate], levels.Level], now: Estimate, scope: Scope) -> levels.Level:
    if not scope.is_last:
        return levels.Level(answer="no level: the Quick Check is about production")
    return find(now)
