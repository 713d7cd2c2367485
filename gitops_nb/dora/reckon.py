"""What a definition makes of the fact tables: four numbers, each with its n or the reason why there is none.

This is the plain reading of a ``DoraDefinition``, for the what-if table and for reproducing other tools; the
report's own numbers, with intervals and levels, come from ``metrics``. A test holds the two together.
"""

from __future__ import annotations

import math
import statistics as plain
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import statistics
from gitops_nb.dora.definition import (
    DAY_S,
    WEEK_S,
    Aggregate,
    Arrival,
    DoraDefinition,
    Failure,
    Frequency,
    Link,
    Numerator,
    Recovery,
    Start,
)
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.links import link_incidents
from gitops_nb.dora.windows import Window


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
    """One question: the tables, the definition and the place and time that it is asked about."""

    tables: FactTables
    definition: DoraDefinition
    environment: str
    window: Window
    zone: ZoneInfo
    until_s: int

    def deployments(self, *outcomes: str) -> list[Any]:
        """Deployments that the definition counts, of the whole history, in order of time."""
        frame = self.tables.deployment
        wanted = (frame["environment"] == self.environment) & frame["outcome"].isin(outcomes)
        if self.definition.resyncs == "left out":
            wanted &= ~frame["trigger"].isin(("resync", "heal"))
        if self.definition.seeds == "left out":
            wanted &= ~frame["is_seed"]
        chosen = frame[wanted].sort_values("finished_s", kind="stable")
        return list(chosen.itertuples(index=False))

    def incidents(self) -> list[Any]:
        """Incidents of the environment, earliest first."""
        frame = self.tables.incident
        if frame is None:
            return []
        return list(frame[frame["environment"] == self.environment].itertuples(index=False))


def reckon(
    tables: FactTables,
    definition: DoraDefinition,
    window: Window,
    *,
    environment: str,
    zone: ZoneInfo,
    until_s: int,
) -> Reckoned:
    """Applies a definition to the tables.

    Args:
        tables: The facts.
        definition: Any definition, also one that no report should use.
        window: Half-open; applied to when deployments finish and incidents begin.
        environment: The target.
        zone: In which days and weeks are told apart.
        until_s: Until when facts are known; what is open is censored there.
    """
    case = _Case(tables, definition, environment, window, zone, until_s)
    return Reckoned(_frequency(case), _lead_time(case), _fail_rate(case), _recovery(case))


def _frequency(case: _Case) -> Number:
    rows = case.deployments("succeeded", "degraded")
    inside = [row for row in rows if case.window.holds(row.finished_s)]
    days = case.window.seconds / DAY_S
    match case.definition.frequency:
        case Frequency.COUNT:
            return Number(len(inside), len(inside))
        case Frequency.PER_DAY:
            return Number(len(inside) / days if days else None, len(inside))
        case Frequency.DAYS_PER_WEEK:
            return _days_per_week(case, inside)
        case Frequency.PER_SERVICE_WEEK:
            return _per_service_week(case, inside)


def _days_per_week(case: _Case, inside: Sequence[Any]) -> Number:
    # Day 1 of the proleptic calendar is a Monday; Four Keys' weeks begin on Sunday.
    offset = 0 if case.definition.week == "from Sunday" else 1
    days = {datetime.fromtimestamp(row.finished_s, case.zone).date() for row in inside}
    per_week = Counter((day.toordinal() - offset) // 7 for day in days)
    first, last = (
        datetime.fromtimestamp(moment_s, case.zone).date().toordinal() - offset
        for moment_s in (case.window.start_s, case.window.end_s)
    )
    counts = [per_week[week] for week in range(-(-first // 7), last // 7)]
    if not counts:
        return Number(None, len(inside), "no complete week in this window")
    return Number(plain.median(counts), len(inside))


def _per_service_week(case: _Case, inside: Sequence[Any]) -> Number:
    frame = case.tables.deployment
    here = frame[frame["environment"] == case.environment]
    counts = Counter(row.service for row in inside)
    rates = []
    for service, first_s in here.groupby("service")["finished_s"].min().items():
        seconds = case.window.end_s - max(int(first_s), case.window.start_s)
        if seconds >= WEEK_S:
            rates.append(counts[str(service)] / (seconds / WEEK_S))
    return Number(plain.median(rates) if rates else None, len(inside), _none(rates, "service"))


def _lead_time(case: _Case) -> Number:
    starts = _starts(case)
    if not starts:
        return Number(None, 0, f"no times of {_told(case)} in these facts")
    values: dict[int, list[float]] = defaultdict(list)
    for finished_s, start_s in _arrivals(case, starts):
        if case.window.holds(finished_s) and finished_s >= start_s:
            day = datetime.fromtimestamp(finished_s, case.zone).toordinal() if _daily(case) else 0
            values[day].append(_round_up(finished_s - start_s, case.definition.duration_step_s))
    everything = [value for found in values.values() for value in found]
    if not everything:
        return Number(None, 0, "no change with both times in this window")
    if _daily(case):
        return Number(plain.median(plain.median(v) for v in values.values()), len(everything))
    return Number(_aggregate(everything, case.definition.lead_time_aggregate), len(everything))


def _daily(case: _Case) -> bool:
    return case.definition.lead_time_aggregate is Aggregate.DAILY_MEDIAN


def _told(case: _Case) -> str:
    start = case.definition.lead_time_start
    return {Start.MERGED: "merges", Start.OPENED: "pull requests"}.get(start, "commits")


def _starts(case: _Case) -> dict[tuple[str, str], int]:
    """When each change of a service begins, by the definition's clock."""
    start = case.definition.lead_time_start
    if start is Start.FIRST_ENVIRONMENT and not case.tables.start:
        frame = case.tables.deployment
        first = frame[frame["environment"].isin(case.tables.first_environments)]
        first = first.sort_values("finished_s").drop_duplicates(["service", "version"])
        first = first[~first["is_seed"]]
        keys = zip(first["service"], first["version"], strict=True)
        return dict(zip(keys, (int(s) for s in first["finished_s"]), strict=True))
    column = {
        Start.AUTHORED: "authored_s",
        Start.COMMITTED: "committed_s",
        Start.OPENED: "opened_s",
        Start.MERGED: "merged_s",
        Start.FIRST_ENVIRONMENT: "authored_s",  # where a change is a version
    }[start]
    known = case.tables.change.dropna(subset=[column])
    keys = zip(known["service"], known["sha"], strict=True)
    return dict(zip(keys, (int(s) for s in known[column]), strict=True))


def _arrivals(case: _Case, starts: Mapping[tuple[str, str], int]) -> Iterable[tuple[int, int]]:
    """When each change arrived and when it began, by the definition's idea of arriving."""
    rows = case.deployments("succeeded", "degraded")
    if case.definition.lead_time_start is Start.FIRST_ENVIRONMENT and not case.tables.start:
        seen: set[tuple[str, str]] = set()
        for row in rows:
            key = (row.service, row.version)
            if key not in seen and key in starts:
                yield row.finished_s, starts[key]
            seen.add(key)
        return
    match case.definition.lead_time_arrival:
        case Arrival.CONTAINING:
            known = {row.deployment_id for row in rows}
            frame = case.tables.change_deployment
            for row in frame[frame["environment"] == case.environment].itertuples(index=False):
                begun = starts.get((str(row.service), str(row.sha)))
                if row.deployment_id in known and begun is not None:
                    yield int(row.finished_s), begun  # type: ignore[arg-type]  # an int64 column
        case Arrival.HEAD_ONLY:
            for row in rows:
                for name in (row.revision, row.version):
                    if (row.service, name) in starts:
                        yield row.finished_s, starts[row.service, name]
                        break
        case Arrival.NEXT_IN_TIME:
            times: dict[str, list[int]] = defaultdict(list)
            for row in rows:
                times[row.service].append(row.finished_s)
            for (service, _), begun in starts.items():
                place = bisect_left(times[service], begun)
                if place < len(times[service]):
                    yield times[service][place], begun


def _fail_rate(case: _Case) -> Number:
    definition = case.definition
    rows = _judged_rows(case)
    inside = sum(case.window.holds(row.finished_s) for row in rows)
    unknown = _unknown_failures(case)
    if unknown:
        return Number(None, inside, unknown)
    if not inside:
        return Number(None, 0, "no deployment in this window")
    if definition.fail_rate is Numerator.INCIDENTS:
        begun = sum(case.window.holds(incident.started_s) for incident in case.incidents())
        return Number(begun / inside, inside)
    failed = _failed(case, rows)
    hits = sum(case.window.holds(rows[index].finished_s) for index in failed)
    return Number(hits / inside, inside)


def _judged_rows(case: _Case) -> list[Any]:
    attempts = Failure.ATTEMPT in case.definition.failures
    return case.deployments("succeeded", "degraded", *(("failed",) if attempts else ()))


def _needs_incidents(case: _Case) -> bool:
    return Failure.INCIDENT in case.definition.failures


def _unknown_failures(case: _Case) -> str:
    """Why nobody can know what failed by this definition; "" when the facts can tell."""
    tables = case.tables
    if _needs_incidents(case):
        if tables.incident is None:
            return "no incidents were given"
        names_none = not (tables.incident["deployment_id"] != "").any()
        if case.definition.incident_link is Link.EXPLICIT and names_none:
            return "no incident names its deployment"
        return ""
    if case.definition.failures == (Failure.ATTEMPT,):
        known = tables.deployment["outcome"].eq("failed").any()
        return "" if known else "no failed attempts in these facts"
    return ""


def _failed(case: _Case, rows: Sequence[Any]) -> dict[int, list[Any]]:
    """Indexes of failed deployments, each with the incidents that are linked to it."""
    failed: dict[int, list[Any]] = {}
    causes = case.definition.failures
    following: dict[str, Any] = {}
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        after = following.get(row.service)
        if Failure.ATTEMPT in causes and row.outcome != "succeeded":
            failed[index] = []
        if Failure.ROLLBACK in causes and after is not None and after.trigger == "rollback":
            failed[index] = []
        following[row.service] = row
    if Failure.INCIDENT in causes:
        incidents = case.incidents()
        linked = link_incidents(rows, incidents, case.definition)
        for incident in incidents:
            if incident.incident_id in linked:
                failed.setdefault(linked[incident.incident_id], []).append(incident)
    return failed


def _recovery(case: _Case) -> Number:
    unknown = _unknown_failures(case)
    if unknown and case.definition.recovery is not Recovery.INCIDENT_TO_RESOLVED:
        return Number(None, 0, unknown)
    if _needs_incidents(case) and case.tables.incident is None:
        return Number(None, 0, "no incidents were given")
    match case.definition.recovery:
        case Recovery.FAILED_TO_SUCCESS:
            ended, lasting = _first_failed_to_success(case), list[float]()
        case Recovery.INCIDENT_TO_RESOLVED:
            ended, lasting = _incident_times(case)
        case _:
            ended, lasting = _repair_times(case)
    n = len(ended) + len(lasting)
    if n < case.definition.minimum_failures:
        return Number(None, n, f"too few: {n} failed" if n else "no failure in this window")
    if case.definition.recovery_aggregate is Aggregate.KAPLAN_MEIER:
        value = statistics.kaplan_meier_median(ended, lasting).value
        return Number(value, n, "" if value is not None else "more than half are still open")
    if not ended:
        return Number(None, n, "none has ended")
    return Number(_aggregate(ended, case.definition.recovery_aggregate), len(ended))


def _incident_times(case: _Case) -> tuple[list[float], list[float]]:
    inside = [row for row in case.incidents() if case.window.holds(row.started_s)]
    ended = [float(r.resolved_s - r.started_s) for r in inside if not pd.isna(r.resolved_s)]
    return ended, [float(case.until_s - r.started_s) for r in inside if pd.isna(r.resolved_s)]


def _repair_times(case: _Case) -> tuple[list[float], list[float]]:
    rows = _judged_rows(case)
    failed = _failed(case, rows)
    by_repair = case.definition.recovery is Recovery.DEPLOYMENT_TO_REPAIR
    ended: list[float] = []
    lasting: list[float] = []
    good: dict[str, int] = {}
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        if index not in failed:
            good[row.service] = row.finished_s
            continue
        if not case.window.holds(row.finished_s):
            continue
        ends = [good[row.service]] if by_repair and row.service in good else []
        known = [incident.resolved_s for incident in failed[index]]
        if known and not any(pd.isna(end) for end in known):
            ends.append(int(max(known)))
        if ends:
            ended.append(
                _round_up(max(0, min(ends) - row.finished_s), case.definition.duration_step_s)
            )
        else:
            lasting.append(max(0, case.until_s - row.finished_s))
    return ended, lasting


def _first_failed_to_success(case: _Case) -> list[float]:
    """From the first failed attempt to the next success, for each success in the window."""
    failing: dict[str, int] = {}
    found: list[float] = []
    for row in case.deployments("succeeded", "failed"):
        if row.outcome == "failed":
            failing.setdefault(row.service, row.finished_s)
            continue
        begun = failing.pop(row.service, None)
        if begun is not None and case.window.holds(row.finished_s):
            found.append(float(row.finished_s - begun))
    return found


def _aggregate(values: Sequence[float], aggregate: Aggregate) -> float:
    return plain.fmean(values) if aggregate is Aggregate.MEAN else float(plain.median(values))


def _round_up(seconds: float, step_s: int) -> float:
    return math.ceil(seconds / step_s) * step_s if step_s else seconds


def _none(found: Sequence[object], noun: str) -> str:
    return "" if found else f"no {noun} in this window"
