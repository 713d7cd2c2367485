"""What any definition makes of the facts: four numbers, each with its n or the reason why there is none.

For the what-if table and for reproducing other tools. The expressions are those of the report, whose own numbers come
from ``metrics`` with intervals and levels.
"""

from __future__ import annotations

import statistics as plain
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import ibis

from gitops_nb.dora import judging, leading, statistics
from gitops_nb.dora.definition import (
    DAY_S,
    WEEK_S,
    Aggregate,
    DoraDefinition,
    Failure,
    Frequency,
    Link,
    Numerator,
    Recovery,
    Start,
)
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import (
    Question,
    at_ranks,
    counted,
    day_of,
    inside,
    quantiles,
    spans,
    unbound,
    wants_attempts,
)
from gitops_nb.dora.numbers import count
from gitops_nb.dora.windows import Window

TAIL = 20
"""A winsorised mean pulls in every so manyeth value at each end."""


@dataclass(frozen=True, slots=True)
class Number:
    """A value in its unit with the count that it rests on; ``missing`` says why there is no value."""

    value: float | None
    n: int
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Reckoned:
    """The four numbers. Durations are in the tables' unit (seconds), the fail rate is a ratio."""

    frequency: Number
    lead_time: Number
    fail_rate: Number
    recovery: Number


@dataclass(frozen=True, slots=True)
class _Case:
    """One question with the time and the engine that it is asked of."""

    engine: Engine
    question: Question
    window: Window
    zone: ZoneInfo
    has_incidents: bool

    @property
    def definition(self) -> DoraDefinition:
        return self.question.definition


def reckon(
    engine: Engine,
    question: Question,
    window: Window,
    *,
    zone: ZoneInfo,
    has_incidents: bool,
) -> Reckoned:
    """Applies a question's definition, also one that no report should use.

    Args:
        engine: The facts.
        question: The definition, the environment and until when facts are known; what is open is censored there.
        window: Half-open; applied to when deployments finish and incidents begin.
        zone: In which days and weeks are told apart.
        has_incidents: False where nobody recorded any.
    """
    case = _Case(engine, question, window, zone, has_incidents)
    return Reckoned(_frequency(case), _lead_time(case), _fail_rate(case), _recovery(case))


def _frequency(case: _Case) -> Number:
    rows = inside(counted(case.question), case.window)
    n = count(case.engine, rows)
    days = case.window.seconds / DAY_S
    match case.definition.frequency:
        case Frequency.COUNT:
            return Number(n, n)
        case Frequency.PER_DAY:
            return Number(n / days if days else None, n)
        case Frequency.DAYS_PER_WEEK:
            return _days_per_week(case, n)
        case Frequency.PER_SERVICE_WEEK:
            return _per_service_week(case, n)


def _days_per_week(case: _Case, n: int) -> Number:
    # Day 1 of the proleptic calendar is a Monday; Four Keys' weeks begin on Sunday.
    offset = 0 if case.definition.week == "from Sunday" else 1
    first, last = (
        datetime.fromtimestamp(moment_s, case.zone).date().toordinal()
        for moment_s in (case.window.start_s, case.window.end_s)
    )
    rows = inside(counted(case.question), case.window)
    days = rows.select(day=day_of(rows.finished_s, case.window, zone=case.zone)).distinct()
    per_week = Counter((first + day - offset) // 7 for (day,) in case.engine.rows(days))
    weeks = range(-(-(first - offset) // 7), (last - offset) // 7)
    counts = [per_week[week] for week in weeks]
    if not counts:
        return Number(None, n, "no complete week in this window")
    return Number(plain.median(counts), n)


def _per_service_week(case: _Case, n: int) -> Number:
    rows = inside(counted(case.question), case.window)
    counts = dict(case.engine.rows(rows.group_by("service").agg(n=rows.count())))
    rates = []
    for service, first_s, removed_s in case.engine.rows(spans(case.question.environment)):
        end_s = min(case.window.end_s, removed_s or case.window.end_s)
        seconds = end_s - max(int(first_s), case.window.start_s)
        if seconds >= WEEK_S:
            rates.append(counts.get(service, 0) / (seconds / WEEK_S))
    return Number(
        plain.median(rates) if rates else None, n, "" if rates else "no service in this window"
    )


def _lead_time(case: _Case) -> Number:
    question = case.question
    if leading.is_by_version(question) and case.definition.lead_time_start in (
        Start.OPENED,
        Start.MERGED,
    ):
        return Number(None, 0, f"no times of {_told(case)} in these facts")
    if leading.is_by_version(question) and not question.first_environments:
        return Number(None, 0, f"no times of {_told(case)} in these facts")
    begun = leading.starts(question)
    if not count(case.engine, begun):
        return Number(None, 0, f"no times of {_told(case)} in these facts")
    rows = inside(leading.leads(question), case.window)
    match case.definition.lead_time_aggregate:
        case Aggregate.MEAN:
            ((n, total),) = case.engine.rows(rows.agg(n=rows.count(), total=rows.lead_s.sum()))
            found = [(total / n, n)] if n else []
        case Aggregate.WINSORISED_MEAN:
            found = _winsorised(case, rows)
        case Aggregate.DAILY_MEDIAN:
            rows = rows.mutate(day=day_of(rows.finished_s, case.window, zone=case.zone))
            found = _medians(
                case, quantiles(rows, "lead_s", ("day",), is_native=question.is_native)
            )
        case _:
            found = _medians(case, quantiles(rows, "lead_s", (), is_native=question.is_native))
    if not found:
        return Number(None, 0, "no change with both times in this window")
    return Number(plain.median(value for value, _ in found), sum(n for _, n in found))


def _winsorised(case: _Case, rows: ibis.Table) -> list[tuple[float, int]]:
    """The mean with the values at both ends as large as the first that is kept; exact, from whole seconds.

    Source: Dixon and Tukey 1968, Technometrics 10:83; the number of values at each end as in scipy.
    """
    n = count(case.engine, rows)
    if not n:
        return []
    ends = (n // TAIL + 1, n - n // TAIL)
    native = case.question.is_native
    bounds = dict(case.engine.rows(at_ranks(rows, "lead_s", ends, is_native=native, n=n)))
    kept = ibis.least(ibis.greatest(rows.lead_s, bounds[ends[0]]), bounds[ends[1]])
    ((total,),) = case.engine.rows(rows.agg(total=kept.sum().cast("int64")))
    return [(total / n, n)]


def _medians(case: _Case, rows: ibis.Table) -> list[tuple[float, int]]:
    return [(q2 / 4, n) for n, q2 in case.engine.rows(rows.select("n", "q2_x4")) if n]


def _told(case: _Case) -> str:
    start = case.definition.lead_time_start
    return {Start.MERGED: "merges", Start.OPENED: "pull requests"}.get(start, "commits")


def _fail_rate(case: _Case) -> Number:
    rows = inside(counted(case.question, attempts=wants_attempts(case.question)), case.window)
    unknown = _unknown_failures(case)
    if unknown:
        return Number(None, count(case.engine, rows), unknown)
    if case.definition.fail_rate is Numerator.INCIDENTS:
        n, hits = count(case.engine, rows), count(case.engine, _begun(case))
    else:
        judged = inside(judging.judged(case.question), case.window)
        sums = judged.agg(
            n=judged.count(), failed=(judged.failed_by != "").sum().fill_null(0).cast("int64")
        )
        ((n, hits),) = case.engine.rows(sums)
    return Number(hits / n, n) if n else Number(None, 0, "no deployment in this window")


def _begun(case: _Case) -> ibis.Table:
    """Incidents of the environment that began in the window."""
    incident = unbound()["incident"]
    return incident.filter(
        incident.environment == case.question.environment,
        incident.started_s >= case.window.start_s,
        incident.started_s < case.window.end_s,
    )


def _needs_incidents(case: _Case) -> bool:
    return Failure.INCIDENT in case.definition.failures


def _unknown_failures(case: _Case) -> str:
    """Why nobody can know what failed by this definition; "" when the facts can tell."""
    if _needs_incidents(case):
        if not case.has_incidents:
            return "no incidents were given"
        incident = unbound()["incident"]
        named = incident.filter(incident.deployment_id != "")
        if case.definition.incident_link is Link.EXPLICIT and not count(case.engine, named):
            return "no incident names its deployment"
        return ""
    if case.definition.failures == (Failure.ATTEMPT,):
        deployment = unbound()["deployment"]
        known = count(case.engine, deployment.filter(deployment.outcome == "failed"))
        return "" if known else "no failed attempts in these facts"
    return ""


def _recovery(case: _Case) -> Number:
    definition = case.definition
    unknown = _unknown_failures(case)
    if unknown and definition.recovery is not Recovery.INCIDENT_TO_RESOLVED:
        return Number(None, 0, unknown)
    if _needs_incidents(case) and not case.has_incidents:
        return Number(None, 0, "no incidents were given")
    match definition.recovery:
        case Recovery.FAILED_TO_SUCCESS:
            ended, lasting = _first_failed_to_success(case), list[int]()
        case Recovery.INCIDENT_TO_RESOLVED:
            ended, lasting = _incident_times(case)
        case _:
            ended, lasting = _repair_times(case)
    n = len(ended) + len(lasting)
    if n < definition.minimum_failures:
        return Number(None, n, f"too few: {n} failed" if n else "no failure in this window")
    if definition.recovery_aggregate is Aggregate.KAPLAN_MEIER:
        value = statistics.kaplan_meier_median(ended, lasting).value
        return Number(value, n, "" if value is not None else "more than half are still open")
    if not ended:
        return Number(None, n, "none has ended")
    aggregate = plain.fmean if definition.recovery_aggregate is Aggregate.MEAN else plain.median
    return Number(float(aggregate(ended)), len(ended))


def _incident_times(case: _Case) -> tuple[list[int], list[int]]:
    rows = case.engine.rows(_begun(case).select("started_s", "resolved_s"))
    ended = [end - begin for begin, end in rows if end is not None]
    return ended, [case.question.until_s - begin for begin, end in rows if end is None]


def _repair_times(case: _Case) -> tuple[list[int], list[int]]:
    judged = inside(judging.judged(case.question), case.window)
    rows = case.engine.rows(judged.filter(judged.failed_by != "").select("recovery_s", "is_open"))
    ended = [
        _round_up(took, case.definition.duration_step_s) for took, is_open in rows if not is_open
    ]
    return ended, [took for took, is_open in rows if is_open]


def _first_failed_to_success(case: _Case) -> list[int]:
    done = inside(judging.restorations(case.question), case.window)
    return [took for (took,) in case.engine.rows(done.select("took_s"))]


def _round_up(seconds: int, step_s: int) -> int:
    return -(-seconds // step_s) * step_s if step_s else seconds
