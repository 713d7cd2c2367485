"""Which deployments failed, why, when the service was well again, and what was not planned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ibis
import ibis.expr.types as ir

from gitops_nb.dora.definition import DoraDefinition, Failure, Link, Recovery
from gitops_nb.dora.expressions import (
    Question,
    by_period,
    counted,
    in_order,
    unbound,
    wants_attempts,
)
from gitops_nb.dora.windows import Window

NEVER_S = 1 << 60
"""Later than any moment: stands for "not yet" where engines differ about the least of a value and nothing."""


@cache
def linked_incidents(question: Question) -> ir.Table:
    """The deployment of each incident: the one it names, or the last of its service within the window.

    Returns:
        Columns: incident_id, deployment_id, started_s, resolved_s; incidents that fit nowhere are not in it.
    """
    definition = question.definition
    incident = unbound()["incident"]
    mine = incident.filter(incident.environment == question.environment)
    known = counted(question, attempts=wants_attempts(question))
    wanted = ("incident_id", "deployment_id", "started_s", "resolved_s")
    explicit = mine.inner_join(known.select("deployment_id"), "deployment_id").select(*wanted)
    if definition.incident_link is Link.EXPLICIT:
        return explicit
    others = mine.anti_join(known, "deployment_id")
    if definition.incident_link is Link.PROJECT:
        known = known.mutate(service=ibis.literal(""))
        others = others.mutate(service=ibis.literal(""))
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
    asked = timeline.filter(timeline.is_incident == 1, timeline.last_s.notnull())
    if definition.attribution_window_s:
        asked = asked.filter(asked.at_s - asked.last_s <= definition.attribution_window_s)
    asked = asked.select(service=asked.service, started_s=asked.at_s, last_s=asked.last_s)
    # Of deployments in one second the last is the one.
    nth = ibis.row_number().over(
        group_by=[known.service, known.finished_s],
        order_by=[known.position.desc(), known.deployment_id.desc()],
    )
    latest = known.mutate(nth=nth)
    latest = latest.filter(latest.nth == 0)
    latest = latest.select("service", last_s="finished_s", latest_id="deployment_id")
    placed = asked.inner_join(latest, ["service", "last_s"])
    placed = placed.select("service", "started_s", "latest_id")
    implicit = others.drop("deployment_id").inner_join(placed, ["service", "started_s"])
    implicit = implicit.select(
        "incident_id", deployment_id="latest_id", started_s="started_s", resolved_s="resolved_s"
    )
    return explicit.union(implicit)


@cache
def unlinked_incidents(question: Question) -> ir.Table:
    """Incidents that belong to no deployment: incident_id, service, environment, finished_s (when they began), known.

    ``known`` is 1 when their service has deployments in the environment.
    """
    incident = unbound()["incident"]
    links = linked_incidents(question).select("incident_id").distinct()
    rows = incident.anti_join(links, "incident_id")
    services = counted(question).select(known_service="service").distinct()
    joined = rows.left_join(services, rows.service == services.known_service)
    return joined.select(
        "incident_id",
        "service",
        "environment",
        finished_s=joined.started_s,
        known=joined.known_service.notnull().ifelse(1, 0).cast("int64"),
    )


@cache
def previous_successes() -> ir.Table:
    """The successful deployment before each successful one of a service and environment: deployment_id, previous_id."""
    deployment = unbound()["deployment"]
    done = deployment.filter(deployment.outcome == "succeeded", deployment.environment != "")
    previous = done.deployment_id.lag().over(
        group_by=[done.service, done.environment], order_by=[done.finished_s, done.deployment_id]
    )
    rows = done.select("deployment_id", previous_id=previous)
    return rows.filter(rows.previous_id.notnull())


@cache
def restorations(question: Question) -> ir.Table:
    """From the first failed attempt to the next success of its service: service, finished_s, took_s."""
    rows = counted(question, attempts=True)
    rows = rows.filter(rows.outcome != "degraded")
    rows = rows.mutate(is_success=(rows.outcome == "succeeded").ifelse(1, 0))
    so_far = ibis.window(group_by=rows.service, order_by=in_order(rows), preceding=(None, 0))
    # Attempts up to and including a success belong together: they share the number of successes before them.
    rows = rows.mutate(line=rows.is_success.sum().over(so_far) - rows.is_success)
    begun_s = (rows.outcome == "failed").ifelse(rows.finished_s, NEVER_S)
    done_s = (rows.is_success == 1).ifelse(rows.finished_s, -1)
    lines = rows.group_by(["service", "line"]).agg(began_s=begun_s.min(), finished_s=done_s.max())
    ended = lines.filter(lines.began_s < NEVER_S, lines.finished_s >= 0)
    return ended.select("service", "finished_s", took_s=ended.finished_s - ended.began_s)


@cache
def reverts(question: Question) -> ir.Table:
    """Pairs of deployments: one brought a change, a later one its revert within the window.

    Returns:
        Columns: deployment_id (what failed), repair_id; each pair once.
    """
    change, arrived = (unbound()[name] for name in ("change", "change_deployment"))
    mine = arrived.filter(arrived.environment == question.environment)
    undone = change.filter(change.is_revert_of != "").select(
        "service", "repository", repair_sha="sha", sha="is_revert_of"
    )
    came = mine.select("service", "repository", "sha", "deployment_id", came_s="finished_s")
    went = mine.select(
        "service", "repository", repair_sha="sha", repair_id="deployment_id", went_s="finished_s"
    )
    pairs = undone.inner_join(came, ["service", "repository", "sha"])
    pairs = pairs.select("service", "repository", "repair_sha", "deployment_id", "came_s")
    pairs = pairs.inner_join(went, ["service", "repository", "repair_sha"])
    pairs = pairs.filter(
        pairs.deployment_id != pairs.repair_id,
        pairs.went_s >= pairs.came_s,
        pairs.went_s - pairs.came_s <= question.definition.revert_window_s,
    )
    return pairs.select("deployment_id", "repair_id").distinct()


@cache
def hotfixes(question: Question) -> ir.Table:
    """Deployments with a change from a hotfix branch or pull request: deployment_id."""
    change, arrived = (unbound()[name] for name in ("change", "change_deployment"))
    mine = arrived.filter(arrived.environment == question.environment)
    named = _is_hotfix(question, change.branch, change.labels)
    fixes = change.filter(named).select("service", "repository", "sha")
    return (
        mine.inner_join(fixes, ["service", "repository", "sha"]).select("deployment_id").distinct()
    )


def _is_hotfix(question: Question, *texts: ir.StringValue) -> ir.BooleanValue:
    found: ir.BooleanValue = ibis.literal(False)
    for text in texts:
        for word in question.definition.hotfix_words:
            found |= text.lower().contains(word)
    return found


@cache
def judged(question: Question) -> ir.Table:
    """Every counted deployment with what became of it.

    Returns:
        Columns: service, deployment_id, version, revision, finished_s, position, is_rollback, is_comparable,
        rolled_back (it was), failed_by (rolled back | reverted | incident | degraded | attempt | ""),
        recovery_s (null: it did not fail), is_open, rework_by (rollback | hotfix | revert | fix | "");
        counts are int64.
    """
    definition = question.definition
    rows = counted(question, attempts=wants_attempts(question))
    links = linked_incidents(question)
    hit = links.group_by(hit_id=links.deployment_id).agg(
        lasting=links.resolved_s.isnull().sum().cast("int64"), ended_s=links.resolved_s.max()
    )
    rows = rows.left_join(hit, rows.deployment_id == hit.hit_id)
    rows = _mark(rows, reverts(question).select("deployment_id"), "was_reverted", question)
    rows = _mark(rows, reverts(question).select(deployment_id="repair_id"), "is_revert", question)
    rows = _mark(rows, hotfixes(question), "has_hotfix", question)
    over = {"group_by": rows.service, "order_by": in_order(rows)}
    rows = rows.mutate(
        is_rollback=(rows.trigger == "rollback").ifelse(1, 0).cast("int64"),
        rolled_back=(rows.trigger.lead().over(**over) == "rollback").fill_null(False).ifelse(1, 0),
        lasting_before=rows.lasting.lag().over(**over).fill_null(0),
        ended_before_s=rows.ended_s.lag().over(**over).fill_null(0),
    )
    rows = rows.mutate(failed_by=_cause(rows, definition))
    rows = rows.mutate(rework_by=_rework(rows, question))
    well = (rows.failed_by == "").ifelse(rows.finished_s, NEVER_S)
    following = ibis.window(group_by=rows.service, order_by=in_order(rows), following=(1, None))
    repaired_s = well.min().over(following).fill_null(NEVER_S)
    if definition.recovery is not Recovery.DEPLOYMENT_TO_REPAIR:
        repaired_s = ibis.literal(NEVER_S)
    over_s = (rows.lasting == 0).fill_null(False).ifelse(rows.ended_s, NEVER_S)
    rows = rows.mutate(end_s=ibis.least(repaired_s, over_s))
    is_open = (rows.failed_by != "") & (rows.end_s == NEVER_S)
    until_s = is_open.ifelse(question.until_s, rows.end_s)
    took_s = ibis.greatest(until_s - rows.finished_s, 0)
    return rows.select(
        "service",
        "deployment_id",
        "version",
        "revision",
        "finished_s",
        "position",
        "is_rollback",
        is_comparable=rows.is_comparable.ifelse(1, 0).cast("int64"),
        rolled_back=rows.rolled_back.cast("int64"),
        failed_by=rows.failed_by,
        recovery_s=(rows.failed_by == "").ifelse(ibis.null("int64"), took_s).cast("int64"),
        is_open=is_open.ifelse(1, 0).cast("int64"),
        rework_by=rows.rework_by,
    )


def _mark(rows: ir.Table, ids: ir.Table, name: str, question: Question) -> ir.Table:
    """Rows with a column that says whether their deployment is among ``ids``."""
    if not question.has_commits:
        return rows.mutate(**{name: ibis.literal(False)})
    marks = ids.distinct().select(marked_id="deployment_id")
    joined = rows.left_join(marks, rows.deployment_id == marks.marked_id)
    return joined.mutate(**{name: joined.marked_id.notnull()}).drop("marked_id")


def _cause(rows: ir.Table, definition: DoraDefinition) -> ir.StringValue:
    """Why a deployment failed, the first in the order of certainty; "" when nothing says so."""
    holds = {
        Failure.ATTEMPT: rows.outcome != "succeeded",
        Failure.ROLLBACK: rows.rolled_back == 1,
        Failure.REVERT: rows.was_reverted,
        Failure.INCIDENT: rows.hit_id.notnull(),
        Failure.DEGRADED: (rows.outcome == "degraded")
        & (
            rows.degraded_s.isnull()
            | rows.synced_s.isnull()
            | (rows.degraded_s - rows.synced_s <= definition.health_window_s)
        ),
    }
    branches = [(holds[cause], cause.value) for cause in Failure if cause in definition.failures]
    return ibis.cases(*branches, else_="") if branches else ibis.literal("")


def _rework(rows: ir.Table, question: Question) -> ir.StringValue:
    """Why a deployment was not planned, in the order of certainty; "" when nothing says so."""
    # Incidents are linked to the last deployment before them, so the next one came after they began.
    during = (rows.lasting_before > 0) | (rows.finished_s <= rows.ended_before_s)
    reverted = (
        rows.is_revert if Failure.REVERT in question.definition.failures else ibis.literal(False)
    )
    return ibis.cases(
        (rows.is_rollback == 1, "rollback"),
        (rows.has_hotfix | _is_hotfix(question, rows.version), "hotfix"),
        (reverted, "revert"),
        (during, "fix"),
        else_="",
    )


def tallied(rows: ir.Table, periods: Sequence[Window]) -> ir.Table:
    """Judged deployments per period and service.

    Returns:
        Columns: period, service, deployments, failed, rollbacks, unplanned, incomparable, still_open.
    """
    rows = by_period(rows, periods)
    return rows.group_by(["period", "service"]).agg(
        deployments=rows.count(),
        failed=(rows.failed_by != "").sum().cast("int64"),
        rollbacks=rows.is_rollback.sum().cast("int64"),
        unplanned=(rows.rework_by != "").sum().cast("int64"),
        incomparable=(1 - rows.is_comparable).sum().cast("int64"),
        still_open=rows.is_open.sum().cast("int64"),
    )


def causes(rows: ir.Table, periods: Sequence[Window]) -> ir.Table:
    """Why deployments failed and were not planned: period, failed_by, rework_by, deployments."""
    rows = by_period(rows, periods)
    return rows.group_by(["period", "failed_by", "rework_by"]).agg(deployments=rows.count())


def recoveries(rows: ir.Table, periods: Sequence[Window]) -> ir.Table:
    """Failed deployments: period, service, finished_s, recovery_s, is_open."""
    rows = by_period(rows, periods)
    wanted = ("period", "service", "finished_s", "recovery_s", "is_open")
    return rows.filter(rows.failed_by != "").select(*wanted)
