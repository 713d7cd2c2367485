"""What the metrics of a report are made of: small tables, asked of the engine in the fewest questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import numpy as np

from gitops_nb.dora import judging, leading, statistics
from gitops_nb.dora.definition import Included
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import (
    Question,
    at_ranks,
    by_period,
    inside,
    quantiles,
    spans,
    unbound,
    week_of,
)
from gitops_nb.dora.reassigning import BINS_PER_E
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

NOW, BEFORE = 0, 1
"""The periods: the window, and the window before."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a service was in the environment: from its first record to its removal, or to now (None)."""

    first_s: int
    removed_s: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Deployments of one service in one period."""

    deployments: int = 0
    failed: int = 0
    rollbacks: int = 0
    unplanned: int = 0
    incomparable: int = 0
    still_open: int = 0


@dataclass(frozen=True, slots=True)
class Leads:
    """Lead times of one period: the fleet's median with its interval, each service's middle and n, what has none.

    ``compared`` is the median of the services that changes compare, where these are not all.
    """

    median: Estimate = field(default_factory=Estimate)
    services: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    compared: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Recoveries:
    """Durations of failures in seconds: those that ended, and how long those that last have lasted."""

    ended: tuple[int, ...] = ()
    lasting: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """How many failed."""
        return len(self.ended) + len(self.lasting)

    def __add__(self, other: Recoveries) -> Recoveries:
        return Recoveries(self.ended + other.ended, self.lasting + other.lasting)


@dataclass(frozen=True, slots=True)
class WeekCounts:
    """One service in one week."""

    deployments: int = 0
    failed: int = 0
    rollbacks: int = 0
    unplanned: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed deployment: when, and how long it took to a good one, or lasts so far."""

    service: str
    finished_s: int
    took_s: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """Everything that the metrics, the charts and the table of services are computed from.

    Sequences by period have ``NOW`` first. ``weeks`` is by (service, week), ``lead_weeks`` by week: n and quartiles in
    seconds. ``last_s`` is each service's last deployment before the window's end. ``lead_steps`` counts lead times by week and
    step of ``reassigning.step_of``: of all services, and of those that changes compare. ``failures`` are those of both periods.
    """

    spans: Mapping[str, Span]
    counts: Sequence[Mapping[str, Counts]]
    failed_by: Sequence[Mapping[str, int]]
    rework_by: Sequence[Mapping[str, int]]
    recoveries: Sequence[Mapping[str, Recoveries]]
    leads: Sequence[Leads]
    lead_values: Mapping[str, Sequence[Sequence[int]]]
    weeks: Mapping[tuple[str, int], WeekCounts]
    lead_weeks: Mapping[int, tuple[int, float, float, float]]
    last_s: Mapping[str, int]
    lead_steps: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    failures: Sequence[Failed] = ()


def ask(
    engine: Engine,
    question: Question,
    periods: Sequence[Window],
    weeks: Window,
    zone: ZoneInfo,
    *,
    stayed: frozenset[str] | None = None,
) -> Numbers:
    """Asks for everything that a report needs.

    Args:
        engine: Where the facts are.
        question: What is asked.
        periods: The window, and the window before where there is one.
        weeks: What the charts over time show.
        zone: Where weeks begin.
        stayed: The services that changes compare; all when it is None.
    """
    judged = engine.keep("judged", judging.judged(question))
    leads = engine.keep("leads", leading.leads(question)) if knows_leads(question) else None
    counts: list[dict[str, Counts]] = [{} for _ in periods]
    for period, service, *numbers in engine.rows(judging.tallied(judged, periods)):
        counts[period][service] = Counts(*numbers)
    recoveries, failures = _recoveries(engine, judged, periods)
    failed: list[Counter[str]] = [Counter() for _ in periods]
    rework: list[Counter[str]] = [Counter() for _ in periods]
    for period, failed_by, rework_by, deployments in engine.rows(judging.causes(judged, periods)):
        failed[period][failed_by] += deployments
        rework[period][rework_by] += deployments
    return Numbers(
        spans=known_spans(engine, question.environment),
        counts=counts,
        failed_by=[_known(found) for found in failed],
        rework_by=[_known(found) for found in rework],
        recoveries=recoveries,
        leads=_leads(engine, question, leads, periods, stayed=stayed),
        lead_values={} if leads is None else _values(engine, inside(leads, periods[NOW])),
        lead_weeks={}
        if leads is None
        else {
            week: (n, q1 / 4, q2 / 4, q3 / 4)
            for week, n, q1, q2, q3 in engine.rows(
                weekly_leads(leads, weeks, zone=zone, by=(), is_native=question.is_native)
            )
        },
        weeks={
            (service, week): WeekCounts(*numbers)
            for service, week, *numbers in engine.rows(weekly(judged, weeks, zone=zone))
        },
        last_s=dict(engine.rows(last(judged, periods[NOW].end_s))),
        lead_steps={}
        if leads is None
        else {
            (week, step): (n, compared)
            for week, step, n, compared in engine.rows(
                lead_steps(leads, weeks, zone=zone, stayed=stayed)
            )
        },
        failures=failures,
    )


def known_spans(engine: Engine, environment: str) -> dict[str, Span]:
    """When each service was in an environment."""
    return {row[0]: Span(row[1], row[2]) for row in engine.rows(spans(environment))}


def incident_starts(engine: Engine, environment: str) -> list[int]:
    """When each incident of an environment began."""
    incident = unbound()["incident"]
    mine = incident.filter(incident.environment == environment)
    return [started_s for (started_s,) in engine.rows(mine.select("started_s"))]


def knows_leads(question: Question) -> bool:
    """Whether the facts can tell lead times at all: versions may enter the platform right there."""
    return bool(question.first_environments) or not leading.is_by_version(question)


def weekly(judged: ir.Table, window: Window, *, zone: ZoneInfo) -> ir.Table:
    """Judged deployments per service and week: service, week (from the window's first), and those of ``WeekCounts``."""
    rows = inside(judged, window)
    rows = rows.mutate(week=week_of(rows.finished_s, window, zone=zone))
    return rows.group_by(["service", "week"]).agg(
        deployments=rows.count(),
        failed=(rows.failed_by != "").sum().cast("int64"),
        rollbacks=rows.is_rollback.sum().cast("int64"),
        unplanned=(rows.rework_by != "").sum().cast("int64"),
    )


def lead_steps(
    leads: ir.Table, window: Window, *, zone: ZoneInfo, stayed: frozenset[str] | None
) -> ir.Table:
    """Lead times counted by week and step of ``reassigning.step_of``: week, step, n, and those of some services (all: None)."""
    rows = inside(leads, window)
    is_compared = ibis.literal(True) if stayed is None else rows.service.isin(sorted(stayed))
    step = ((rows.lead_s + 1).cast("float64").ln() * BINS_PER_E).floor().cast("int64")
    rows = rows.mutate(
        week=week_of(rows.finished_s, window, zone=zone),
        step=step,
        compared=is_compared.ifelse(1, 0).cast("int64"),
    )
    return rows.group_by(["week", "step"]).agg(n=rows.count(), compared=rows.compared.sum())


def last(judged: ir.Table, end_s: int) -> ir.Table:
    """Each service's last deployment before a moment: service, last_s."""
    rows = judged.filter(judged.finished_s < end_s)
    return rows.group_by("service").agg(last_s=rows.finished_s.max())


def weekly_leads(
    leads: ir.Table, window: Window, *, zone: ZoneInfo, by: Sequence[str], is_native: bool
) -> ir.Table:
    """Quartiles of lead time per week and the columns of ``by``: those, week, n, q1_x4, q2_x4, q3_x4."""
    rows = inside(leads, window)
    rows = rows.mutate(week=week_of(rows.finished_s, window, zone=zone))
    return quantiles(rows, "lead_s", [*by, "week"], is_native=is_native)


def median_of(engine: Engine, rows: ir.Table, value: str, *, is_native: bool) -> Estimate:
    """The median of all rows with its interval by order statistics."""
    found = engine.rows(quantiles(rows, value, (), is_native=is_native))
    n = found[0][0] if found else 0
    if not n:
        return Estimate()
    middle = found[0][2] / 4
    low, high = statistics.median_ranks(n)
    if not low:
        return Estimate.of(middle, n=n)
    bounds = dict(engine.rows(at_ranks(rows, value, (low, high), is_native=is_native, n=n)))
    return Estimate.of(middle, bounds[low], bounds[high], n=n)


def _leads(
    engine: Engine,
    question: Question,
    rows: ir.Table | None,
    periods: Sequence[Window],
    *,
    stayed: frozenset[str] | None,
) -> list[Leads]:
    """The lead times of each period; none where versions enter the platform and nothing else is known."""
    if rows is None:
        return [Leads() for _ in periods]
    native = question.is_native
    middles: list[dict[str, tuple[int, float]]] = [{} for _ in periods]
    for period, service, n, _, q2, _ in engine.rows(
        quantiles(by_period(rows, periods), "lead_s", ("period", "service"), is_native=native)
    ):
        middles[period][service] = (n, q2 / 4)
    missing = _missing(engine, question, periods)
    medians = [
        median_of(engine, inside(rows, window), "lead_s", is_native=native) for window in periods
    ]
    compared: list[Estimate | None] = [None for _ in periods]
    if stayed:
        same = rows.filter(rows.service.isin(sorted(stayed)))
        compared = [
            median_of(engine, inside(same, window), "lead_s", is_native=native)
            for window in periods
        ]
    return [
        Leads(medians[period], middles[period], missing[period], compared[period])
        for period in range(len(periods))
    ]


def _values(engine: Engine, rows: ir.Table) -> dict[str, list[list[int]]]:
    """Lead times by service, those of one deployment together: what the bootstrap draws."""
    names = ["service", "deployment_id", "lead_s"]
    ordered = engine.frame(rows.select(*names).order_by(names))
    found: dict[str, list[list[int]]] = {}
    for service, mine in ordered.groupby("service"):
        _, first = np.unique(mine["deployment_id"].to_numpy(dtype="str"), return_index=True)
        parts = np.split(mine["lead_s"].to_numpy(), np.sort(first)[1:])
        found[str(service)] = [part.tolist() for part in parts]
    return found


def _missing(engine: Engine, question: Question, periods: Sequence[Window]) -> list[dict[str, int]]:
    """What has no lead time, by reason, in each period."""
    found: list[Counter[str]] = [Counter() for _ in periods]
    if leading.is_by_version(question):
        rows = by_period(leading.version_leads(question), periods)
        rows = rows.filter(rows.reason > 0)
        texts = leading.reason_texts(question)
        for period, reason, n in engine.rows(
            rows.group_by(["period", "reason"]).agg(n=rows.count())
        ):
            found[period][texts[reason]] += n
    else:
        left_out = unbound()["exclusion"]
        mine = left_out.filter(
            left_out.environment == question.environment, left_out.left_out_of == LEAD_TIME
        )
        rows = by_period(mine, periods)
        for period, reason, n in engine.rows(
            rows.group_by(["period", "reason"]).agg(n=rows.count())
        ):
            found[period][reason] += n
        rows = by_period(leading.without_commits(question), periods)
        for period, n in engine.rows(rows.group_by("period").agg(n=rows.count())):
            found[period][leading.NO_REPOSITORY] += n
    return [dict(counter.most_common()) for counter in found]


LEAD_TIME = "change lead time"


def _recoveries(
    engine: Engine, judged: ir.Table, periods: Sequence[Window]
) -> tuple[list[dict[str, Recoveries]], list[Failed]]:
    found: list[dict[str, Recoveries]] = [{} for _ in periods]
    failures = []
    for period, service, finished_s, took_s, is_open in engine.rows(
        judging.recoveries(judged, periods)
    ):
        more = Recoveries(lasting=(took_s,)) if is_open else Recoveries(ended=(took_s,))
        found[period][service] = found[period].get(service, Recoveries()) + more
        failures.append(Failed(service, finished_s, took_s, bool(is_open)))
    return found, failures


def _known(counter: Mapping[str, int]) -> dict[str, int]:
    """Counts without those of no cause."""
    return {cause: count for cause, count in sorted(counter.items()) if cause}


def count(engine: Engine, rows: ir.Table) -> int:
    """How many rows there are."""
    return int(engine.rows(rows.agg(n=rows.count()))[0][0])


def seen(question: Question, window: Window) -> ir.Table:
    """Records of the environment in the window, of every kind but failed attempts."""
    deployment = unbound()["deployment"]
    return inside(
        deployment.filter(
            deployment.environment == question.environment, deployment.outcome != "failed"
        ),
        window,
    )


def not_counted(question: Question, window: Window) -> ir.Table:
    """Records of the window that are no deployments: service, environment, version, revision, finished_s, kind."""
    rows = seen(question, window)
    kind = ibis.cases(
        (rows.trigger == "removal", "removal"),
        (rows.is_seed, "seed"),
        *(
            (rows.trigger == name, name)
            for name in ("heal", "resync")
            if question.definition.resyncs is not Included.COUNTED
        ),
        else_="",
    )
    rows = rows.mutate(kind=kind)
    return rows.filter(rows.kind != "").select(
        "service", "environment", "version", "revision", "finished_s", "kind"
    )
