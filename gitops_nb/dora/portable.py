"""The aggregates as Ibis expressions on the fact tables: DuckDB by default, Spark and BigQuery unchanged.

The portable core is int64, joins, window functions and group by, and nothing else: no timestamp, no quantile,
no as-of join, no division of integers but by constants, so that every engine gives the same integers. An
engine that has no exact quantile needs none: ``quantiles`` is the one function in its place.

All tables are those of ``fact_tables``. Values are integers: quantiles come multiplied by 4, since linear
interpolation between two integers at a quarter is a quarter of an integer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from gitops_nb.dora import windows
from gitops_nb.dora.definition import DAY_S, WEEK_S
from gitops_nb.dora.fact_tables import CHANGE, CHANGE_DEPLOYMENT, DEPLOYMENT, INCIDENT
from gitops_nb.dora.windows import Window

QUARTERS = (1, 2, 3)
_TYPES = {"str": "string", "int64": "int64", "Int64": "int64", "bool": "boolean"}


def table(name: str, columns: Mapping[str, str]) -> ir.Table:
    """An unbound table with the columns of ``fact_tables``, for expressions before there is an engine."""
    return ibis.table({column: _TYPES[kind] for column, kind in columns.items()}, name=name)


def unbound() -> Mapping[str, ir.Table]:
    """The four fact tables, by name, bound to no engine."""
    return {
        "change": table("change", CHANGE),
        "deployment": table("deployment", DEPLOYMENT),
        "incident": table("incident", INCIDENT),
        "change_deployment": table("change_deployment", CHANGE_DEPLOYMENT),
    }


def week_terms(window: Window, *, zone: ZoneInfo) -> tuple[int, tuple[tuple[int, int], ...]]:
    """What weeks are counted with: the first week's start, and (moment, seconds to subtract from then on).

    Weeks with a change of daylight saving time are an hour longer or shorter; the shift is applied from the
    middle of such a week on, which moves no moment into another week.
    """
    borders = windows.week_borders(window.start_s, window.end_s, zone=zone)
    terms = []
    drift = 0
    for index, border in enumerate(borders):
        here = border - borders[0] - index * WEEK_S
        if here != drift:
            terms.append((border - WEEK_S // 2, here - drift))
            drift = here
    return borders[0], tuple(terms)


def week_of(moment_s: ir.IntegerValue, window: Window, *, zone: ZoneInfo) -> ir.IntegerValue:
    """The index of the ISO week since the week of the window's start, in the zone; exact within the window."""
    first_s, terms = week_terms(window, zone=zone)
    elapsed = moment_s - first_s
    for since_s, seconds in terms:
        elapsed -= (moment_s >= since_s).ifelse(seconds, 0)
    return (elapsed // WEEK_S).cast("int64")


def counted(deployment: ir.Table, *, environment: str) -> ir.Table:
    """Deployments that count: they reached the environment, and are neither resync, self-heal nor seed."""
    return deployment.filter(
        deployment.environment == environment,
        deployment.outcome.isin(("succeeded", "degraded")),
        ~deployment.trigger.isin(("resync", "heal")),
        ~deployment.is_seed,
    )


def weekly_deployments(
    deployment: ir.Table, window: Window, *, environment: str, zone: ZoneInfo
) -> ir.Table:
    """Deployments and rollbacks per service and week of the window.

    Returns:
        Columns: service, week (index from the window's first week), deployments, rollbacks.
    """
    rows = _inside(counted(deployment, environment=environment), window)
    rows = rows.mutate(
        week=week_of(rows.finished_s, window, zone=zone),
        back=(rows.trigger == "rollback").ifelse(1, 0),
    )
    return rows.group_by(["service", "week"]).agg(
        deployments=rows.count(), rollbacks=rows.back.sum().cast("int64")
    )


def lead_times(
    change_deployment: ir.Table, deployment: ir.Table, window: Window, *, environment: str
) -> ir.Table:
    """One row per change that arrived in the window: service, deployment_id, finished_s, lead_s.

    Changes of seeds and with a negative time are not in it.
    """
    arrived = change_deployment.filter(change_deployment.environment == environment)
    known = counted(deployment, environment=environment)
    known = known.select("deployment_id").distinct()
    rows = _inside(arrived, window).inner_join(known, "deployment_id")
    rows = rows.mutate(lead_s=rows.finished_s - rows.authored_s)
    return rows.filter(rows.lead_s >= 0).select("service", "deployment_id", "finished_s", "lead_s")


def quantiles(rows: ir.Table, value: str, by: Sequence[str]) -> ir.Table:
    """Quartiles of an integer column per group, times 4, by rank and count: exact on every engine.

    Args:
        rows: Any table.
        value: An int64 column without nulls.
        by: Columns that make the groups; none for one group.

    Returns:
        Columns: those of ``by``, n, q1_x4, q2_x4, q3_x4; the quantiles interpolate linearly (type 7).
    """
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


def weekly_lead_times(
    change_deployment: ir.Table,
    deployment: ir.Table,
    window: Window,
    *,
    environment: str,
    zone: ZoneInfo,
) -> ir.Table:
    """Quartiles of change lead time per service and week: service, week, n, q1_x4, q2_x4, q3_x4."""
    rows = lead_times(change_deployment, deployment, window, environment=environment)
    rows = rows.mutate(week=week_of(rows.finished_s, window, zone=zone))
    return quantiles(rows, "lead_s", ("service", "week"))


def overall_lead_time(
    change_deployment: ir.Table, deployment: ir.Table, window: Window, *, environment: str
) -> ir.Table:
    """Quartiles of change lead time over everything: one row of n, q1_x4, q2_x4, q3_x4."""
    rows = lead_times(change_deployment, deployment, window, environment=environment)
    return quantiles(rows, "lead_s", ())


def linked_incidents(
    incident: ir.Table, deployment: ir.Table, *, environment: str, attribution_window_s: int = DAY_S
) -> ir.Table:
    """The deployment of each incident: explicit, or the last of the same service within the window.

    Returns:
        Columns: incident_id, deployment_id, started_s, resolved_s; incidents that fit nowhere are not in it.
    """
    mine = incident.filter(incident.environment == environment)
    known = counted(deployment, environment=environment)
    explicit = mine.inner_join(known.select("deployment_id"), "deployment_id").select(
        "incident_id", "deployment_id", "started_s", "resolved_s"
    )
    others = mine.anti_join(known, "deployment_id")
    timeline = known.select(
        service=known.service,
        at_s=known.finished_s,
        is_incident=ibis.literal(0, type="int64"),
        finished_s=known.finished_s,
    ).union(
        others.select(
            service=others.service,
            at_s=others.started_s,
            is_incident=ibis.literal(1, type="int64"),
            finished_s=ibis.null("int64"),
        ).distinct()
    )
    # A running maximum is an as-of join that every engine has; at equal times deployments come first.
    timeline = timeline.mutate(
        last_s=timeline.finished_s.max().over(
            ibis.window(
                group_by=timeline.service,
                order_by=[timeline.at_s, timeline.is_incident],
                preceding=(None, 0),
            )
        )
    )
    asked = timeline.filter(
        timeline.is_incident == 1,
        timeline.last_s.notnull(),
        timeline.at_s - timeline.last_s <= attribution_window_s,
    )
    asked = asked.select(service=asked.service, started_s=asked.at_s, last_s=asked.last_s)
    # Of deployments in the same second the last id is the one; which of them it is changes no rate.
    latest = known.group_by(["service", "finished_s"]).agg(latest_id=known.deployment_id.max())
    placed = asked.inner_join(latest.rename(last_s="finished_s"), ["service", "last_s"])
    placed = placed.select("service", "started_s", "latest_id")
    implicit = others.drop("deployment_id").inner_join(placed, ["service", "started_s"])
    implicit = implicit.select(
        "incident_id", deployment_id="latest_id", started_s="started_s", resolved_s="resolved_s"
    )
    return explicit.union(implicit)


def failed_deployments(
    deployment: ir.Table,
    incident: ir.Table,
    window: Window,
    *,
    environment: str,
    attribution_window_s: int = DAY_S,
) -> ir.Table:
    """Deployments of the window per service, and those that were rolled back or led to an incident.

    Returns:
        Columns: service, deployments, failed, rolled_back; a deployment fails once.
    """
    rows = counted(deployment, environment=environment)
    following = rows.trigger.lead().over(
        group_by=rows.service, order_by=[rows.finished_s, rows.deployment_id]
    )
    rows = rows.mutate(rolled_back=(following == "rollback").fill_null(False).ifelse(1, 0))
    links = linked_incidents(
        incident, deployment, environment=environment, attribution_window_s=attribution_window_s
    )
    hit = links.select(hit_id=links.deployment_id).distinct()
    judged = _inside(rows, window).left_join(hit, rows.deployment_id == hit.hit_id)
    judged = judged.mutate(
        failed=((judged.rolled_back == 1) | judged.hit_id.notnull()).ifelse(1, 0)
    )
    return judged.group_by("service").agg(
        deployments=judged.count(),
        failed=judged.failed.sum().cast("int64"),
        rolled_back=judged.rolled_back.sum().cast("int64"),
    )


def link_by_time(change: ir.Table, deployment: ir.Table, *, environment: str) -> ir.Table:
    """The first deployment at or after each change's committed time, for services without a commit graph.

    Returns:
        Columns: service, sha, authored_s, finished_s. Changes that were never followed are not in it.
    """
    known = counted(deployment, environment=environment)
    timeline = change.select(
        service=change.service,
        at_s=change.committed_s,
        is_deployment=ibis.literal(0, type="int64"),
        sha=change.sha,
        authored_s=change.authored_s,
        done_s=ibis.null("int64"),
    ).union(
        known.select(
            service=known.service,
            at_s=known.finished_s,
            is_deployment=ibis.literal(1, type="int64"),
            sha=ibis.null("string"),
            authored_s=ibis.null("int64"),
            done_s=known.finished_s,
        )
    )
    timeline = timeline.mutate(
        finished_s=timeline.done_s.min().over(
            ibis.window(
                group_by=timeline.service,
                order_by=[timeline.at_s, timeline.is_deployment],
                following=(0, None),
            )
        )
    )
    linked = timeline.filter(timeline.is_deployment == 0, timeline.finished_s.notnull())
    return linked.select("service", "sha", "authored_s", "finished_s")


def expressions(window: Window, *, environment: str, zone: ZoneInfo) -> Mapping[str, ir.Table]:
    """Every expression on unbound tables, by name: what is compiled for an engine or run on one."""
    change, deployment, incident, arrived = unbound().values()
    return {
        "weekly_deployments": weekly_deployments(
            deployment, window, environment=environment, zone=zone
        ),
        "weekly_lead_times": weekly_lead_times(
            arrived, deployment, window, environment=environment, zone=zone
        ),
        "overall_lead_time": overall_lead_time(
            arrived, deployment, window, environment=environment
        ),
        "linked_incidents": linked_incidents(incident, deployment, environment=environment),
        "failed_deployments": failed_deployments(
            deployment, incident, window, environment=environment
        ),
        "link_by_time": link_by_time(change, deployment, environment=environment),
    }


def _inside(rows: ir.Table, window: Window) -> ir.Table:
    return rows.filter(rows.finished_s >= window.start_s, rows.finished_s < window.end_s)
