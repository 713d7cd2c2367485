"""What every expression on the fact tables is made of: a question, calendar weeks, counted deployments, quantiles.

Expressions are Ibis: DuckDB by default, Spark and BigQuery unchanged. The portable core is int64, joins, window
functions and group by, and nothing else: no timestamp, no division of integers but by constants, so that every engine
gives the same integers. Two things some engines do much faster with their own means: exact quantiles, and links by time.
``Question.is_native`` says so; a test holds both ways to the same rows.

All tables are those of ``fact_tables``. Quantiles come multiplied by 4, since linear interpolation between two
integers at a quarter is a quarter of an integer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from gitops_nb.dora import windows
from gitops_nb.dora.definition import DAY_S, WEEK_S, DoraDefinition, Failure, Included
from gitops_nb.dora.fact_tables import FACTS
from gitops_nb.dora.windows import Window

QUARTERS = (1, 2, 3)
_TYPES = {"str": "string", "int64": "int64", "Int64": "int64", "bool": "boolean"}
_NO_CHANGE = ("resync", "heal")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the facts, but for the time: ``is_native`` engines have exact quantiles and ranges that become rows.

    ``first_environments`` are those where versions enter on the way to ``environment``; ``has_commits`` says that
    the facts know commits of applications; ``until_s`` is the last moment that facts are known of.
    """

    environment: str
    until_s: int = 0
    definition: DoraDefinition = field(default_factory=DoraDefinition)
    first_environments: tuple[str, ...] = ()
    has_commits: bool = True
    freezes: tuple[Window, ...] = ()
    is_native: bool = False


@cache
def unbound() -> Mapping[str, ir.Table]:
    """The fact tables by name, bound to no engine."""
    return {
        name: ibis.table({column: _TYPES[kind] for column, kind in columns.items()}, name=name)
        for name, columns in FACTS.items()
    }


def calendar_drifts(borders: Sequence[int], length_s: int) -> tuple[tuple[int, int], ...]:
    """How far days or weeks are from equal lengths: (moment, seconds ahead until then), the last without end.

    Those with a change of daylight saving time are an hour longer or shorter; the shift counts from the
    middle of such a one on, which moves no moment into another.
    """
    found = []
    drift = 0
    for index, border in enumerate(borders):
        here = border - borders[0] - index * length_s
        if here != drift:
            found.append((border - length_s // 2, drift))
            drift = here
    return (*found, (borders[-1] + length_s, drift))


def week_of(moment_s: ir.IntegerValue, window: Window, *, zone: ZoneInfo) -> ir.IntegerValue:
    """The index of the ISO week since the week of the window's start, in the zone; exact within the window."""
    borders = windows.week_borders(window.start_s, window.end_s, zone=zone)
    return _index(moment_s, borders, WEEK_S)


def day_of(moment_s: ir.IntegerValue, window: Window, *, zone: ZoneInfo) -> ir.IntegerValue:
    """The index of the day since the window's first, in the zone; exact within the window."""
    borders = windows.day_borders(window.start_s, window.end_s, zone=zone)
    return _index(moment_s, borders, DAY_S)


def _index(moment_s: ir.IntegerValue, borders: Sequence[int], length_s: int) -> ir.IntegerValue:
    *drifts, (_, last) = calendar_drifts(borders, length_s)
    elapsed = moment_s - borders[0]
    if drifts:
        elapsed -= ibis.cases(*((moment_s < until_s, s) for until_s, s in drifts), else_=last)
    return (elapsed // length_s).cast("int64")


def inside(rows: ir.Table, window: Window) -> ir.Table:
    """Rows whose ``finished_s`` lies in the window."""
    return rows.filter(rows.finished_s >= window.start_s, rows.finished_s < window.end_s)


def by_period(rows: ir.Table, periods: Sequence[Window]) -> ir.Table:
    """Rows in one of the windows, with its index as ``period``; windows do not overlap."""
    period: ir.IntegerValue = ibis.literal(-1, type="int64")
    for index, window in enumerate(periods):
        here = (rows.finished_s >= window.start_s) & (rows.finished_s < window.end_s)
        period = here.ifelse(ibis.literal(index, type="int64"), period)
    rows = rows.mutate(period=period)
    return rows.filter(rows.period >= 0)


def ran(environment: str) -> ir.Table:
    """Everything that reached the environment, resyncs and seeds included; removals did not."""
    deployment = unbound()["deployment"]
    return deployment.filter(
        deployment.environment == environment,
        deployment.outcome.isin(("succeeded", "degraded")),
        deployment.trigger != "removal",
    )


def counted(question: Question, *, attempts: bool = False) -> ir.Table:
    """Deployments that the definition counts; failed attempts too where they are asked for."""
    definition = question.definition
    deployment = unbound()["deployment"]
    outcomes = ("succeeded", "degraded", *(("failed",) if attempts else ()))
    none = ("removal", *(() if definition.resyncs is Included.COUNTED else _NO_CHANGE))
    rows = deployment.filter(
        deployment.environment == question.environment,
        deployment.outcome.isin(outcomes),
        ~deployment.trigger.isin(none),
    )
    if definition.seeds is not Included.COUNTED:
        rows = rows.filter(~rows.is_seed)
    if definition.freezes is not Included.COUNTED:
        for freeze in question.freezes:
            rows = rows.filter(
                (rows.finished_s < freeze.start_s) | (rows.finished_s >= freeze.end_s)
            )
    if definition.coalesce_s:
        earlier_s = rows.finished_s.lag().over(group_by=rows.service, order_by=in_order(rows))
        rows = rows.mutate(earlier_s=earlier_s)
        apart = rows.earlier_s.isnull() | (rows.finished_s - rows.earlier_s > definition.coalesce_s)
        rows = rows.filter(apart).drop("earlier_s")
    return rows


def wants_attempts(question: Question) -> bool:
    """Whether failed attempts are judged as deployments are."""
    return Failure.ATTEMPT in question.definition.failures


def in_order(rows: ir.Table) -> list[ir.Value]:
    """The order of history: the source's own where it has one, else time."""
    return [rows.position, rows.finished_s, rows.deployment_id]


def spans(environment: str) -> ir.Table:
    """When each service was in an environment: service, first_s, removed_s (null: it is still there)."""
    deployment = unbound()["deployment"]
    rows = deployment.filter(deployment.environment == environment, deployment.outcome != "failed")
    last = ibis.row_number().over(
        group_by=rows.service, order_by=[column.desc() for column in in_order(rows)]
    )
    rows = rows.mutate(
        gone_s=((last == 0) & (rows.trigger == "removal")).ifelse(
            rows.finished_s, ibis.null("int64")
        )
    )
    return rows.group_by("service").agg(first_s=rows.finished_s.min(), removed_s=rows.gone_s.max())


def quantiles(rows: ir.Table, value: str, by: Sequence[str], *, is_native: bool) -> ir.Table:
    """Quartiles of an integer column per group, times 4, exact on every engine.

    Args:
        rows: Any table.
        value: An int64 column without nulls.
        by: Columns that make the groups; none for one group.
        is_native: The engine has an exact quantile; else rank and count are in its place.

    Returns:
        Columns: those of ``by``, n, q1_x4, q2_x4, q3_x4; the quantiles interpolate linearly (type 7). Without
        groups and rows a native engine gives one row of n 0, the other none.
    """
    if is_native:
        return _native_quantiles(rows, value, by)
    groups = {name: rows[name] for name in by} or {"everything": ibis.literal(0)}
    base = rows.select(**groups, value=rows[value])
    ranked = base.mutate(
        place=ibis.row_number().over(group_by=list(groups), order_by=base.value).cast("int64"),
        n=base.count().over(group_by=list(groups)).cast("int64"),
    )
    sums = {}
    for quarter in QUARTERS:
        # 4 * (n - 1) * q is quarter * (n - 1): its whole part is a rank, its rest the weight of the next.
        position = (ranked.n - 1) * quarter
        below = (position // 4).cast("int64")
        rest = position - below * 4
        weight = (ranked.place == below).ifelse(4 - rest, 0) + (ranked.place == below + 1).ifelse(
            rest, 0
        )
        sums[f"q{quarter}_x4"] = (weight * ranked.value).sum().cast("int64")
    found = ranked.group_by(list(groups)).agg(n=ranked.n.max(), **sums)
    return found.select(*by, "n", *sums)


def _native_quantiles(rows: ir.Table, value: str, by: Sequence[str]) -> ir.Table:
    # Half the bytes to move; durations are below 68 years, and the engine refuses what is not.
    base = rows.select(*by, value=rows[value].cast("int32"))
    sums = {"n": base.count(), "all": base.value.quantile([q / 4 for q in QUARTERS])}
    found = base.group_by(list(by)).agg(**sums) if by else base.agg(**sums)
    # Quarters as floats are exact below 2^51, which any duration is.
    quartiles = {f"q{q}_x4": (found["all"][q - 1] * 4).cast("int64") for q in QUARTERS}
    return found.select(*by, n=found.n.cast("int64"), **quartiles)


def at_ranks(
    rows: ir.Table, value: str, ranks: Sequence[int], *, is_native: bool, n: int = 0
) -> ir.Table:
    """The values at ranks (from 1) of an integer column over all rows: rank, value.

    A native engine needs to know how many rows there are (``n``) to find them without sorting all.
    """
    base = rows.select(value=rows[value])
    if is_native and n:
        base = base.mutate(value=base.value.cast("int32"))
        shares = [(rank - 0.5) / n for rank in ranks]
        found = base.agg(all=discrete_quantiles(base.value, shares))
        parts = [
            found.select(
                rank=ibis.literal(rank, type="int64"), value=found["all"][place].cast("int64")
            )
            for place, rank in enumerate(ranks)
        ]
        return parts[0].union(*parts[1:])
    ranked = base.mutate(rank=(ibis.row_number().over(order_by=base.value) + 1).cast("int64"))
    return ranked.filter(ranked.rank.isin(tuple(ranks))).select("rank", "value")


@ibis.udf.agg.builtin(name="quantile_disc")  # type: ignore[untyped-decorator]  # Ibis's own
def discrete_quantiles(value: int, shares: list[float]) -> list[int]:  # type: ignore[empty-body]  # the engine's
    """DuckDB's exact quantiles without interpolation."""
