"""How long changes take: to an environment, from one environment to the next, and stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ibis
import ibis.expr.types as ir

from gitops_nb.dora.definition import DAY_S, Arrival, Included, Start, Unit
from gitops_nb.dora.expressions import Question, counted, in_order, ran, unbound
from gitops_nb.dora.windows import Window

REASONS = (
    "",
    "version had been there before (rollback or repeat)",
    "first recorded deployment of the service (seed)",
    "version was never seen in {first}",
    "version was in {first} when its history begins (seed)",
    "version reached {target} before {first} (negative)",
)
"""Why a deployment's version has no lead time, by the number that ``version_leads`` gives."""
_COLUMNS = {
    Start.AUTHORED: "authored_s",
    Start.COMMITTED: "committed_s",
    Start.OPENED: "opened_s",
    Start.MERGED: "merged_s",
}


def is_by_version(question: Question) -> bool:
    """Whether a version stands for the change, as it has to where no commits of applications are known."""
    start = question.definition.lead_time_start
    return start is Start.FIRST_ENVIRONMENT or not question.has_commits


@cache
def arrivals(environment: str) -> ir.Table:
    """When each version first reached an environment: service, version, deployment_id, finished_s, is_censored."""
    rows = _numbered(environment)
    return rows.filter(rows.nth == 0).select(
        "service", "version", "deployment_id", "finished_s", "is_censored"
    )


def _numbered(environment: str) -> ir.Table:
    """Everything that reached the environment, with the how manyeth time it was for its version, from 0."""
    rows = ran(environment)
    nth = ibis.row_number().over(group_by=[rows.service, rows.version], order_by=in_order(rows))
    return rows.mutate(nth=nth)


@cache
def entries(first_environments: tuple[str, ...]) -> ir.Table:
    """When each version entered the platform: service, version, entered_s, entry_censored."""
    found = arrivals(first_environments[0])
    for environment in first_environments[1:]:
        found = found.union(arrivals(environment))
    nth = ibis.row_number().over(
        group_by=[found.service, found.version], order_by=[found.finished_s, found.is_censored]
    )
    found = found.mutate(nth=nth)
    return found.filter(found.nth == 0).select(
        "service", "version", entered_s="finished_s", entry_censored="is_censored"
    )


@cache
def version_leads(question: Question) -> ir.Table:
    """Each counted deployment with the time of its version from its first environment, or why there is none.

    Returns:
        Columns: service, deployment_id, version, revision, finished_s, lead_s (0 with a reason), reason (a place
        in ``REASONS``; 0 is none).
    """
    rows = counted(question)
    first = _numbered(question.environment).select(numbered_id="deployment_id", nth="nth")
    rows = rows.inner_join(first, rows.deployment_id == first.numbered_id)
    entered = entries(question.first_environments).rename(
        entry_service="service", entry_version="version"
    )
    rows = rows.left_join(
        entered,
        (rows.service == entered.entry_service) & (rows.version == entered.entry_version),
    )
    reason = ibis.cases(
        (rows.nth > 0, 1),
        (rows.is_censored, 2),
        (rows.entered_s.isnull(), 3),
        (rows.entry_censored, 4),
        (rows.finished_s < rows.entered_s, 5),
        else_=0,
    ).cast("int64")
    rows = rows.mutate(reason=reason)
    lead_s = (rows.reason == 0).ifelse(rows.finished_s - rows.entered_s, 0)
    return rows.select(
        "service",
        "deployment_id",
        "version",
        "revision",
        "finished_s",
        lead_s=lead_s.cast("int64"),
        reason=rows.reason,
    )


@cache
def leads(question: Question) -> ir.Table:
    """One row per change that arrived, by the definition's clock and its idea of arriving.

    Returns:
        Columns: service, deployment_id, finished_s, lead_s (never negative); without a deployment that is known
        by name deployment_id is empty.
    """
    definition = question.definition
    match definition.lead_time_arrival:
        case Arrival.CONTAINING:
            rows = _containing(question)
        case Arrival.HEAD_ONLY:
            rows = _head_only(question)
        case Arrival.NEXT_IN_TIME:
            rows = link_by_time(question).mutate(deployment_id=ibis.literal(""))
    rows = rows.filter(rows.finished_s >= rows.start_s)
    lead_s = rows.finished_s - rows.start_s
    step_s = definition.duration_step_s
    if step_s:
        lead_s = ((lead_s + (step_s - 1)) // step_s).cast("int64") * step_s
    found = rows.select("service", "deployment_id", "finished_s", lead_s=lead_s)
    if definition.lead_time_unit is Unit.DEPLOYMENT:
        one = found.group_by(["service", "deployment_id", "finished_s"])
        found = one.agg(lead_s=found.lead_s.max())
    return found


@cache
def starts(question: Question) -> ir.Table:
    """When each change began, by the definition's clock: service, repository, sha, start_s."""
    if is_by_version(question):
        entered = entries(question.first_environments)
        return entered.filter(~entered.entry_censored).select(
            "service", repository=ibis.literal(""), sha="version", start_s="entered_s"
        )
    change = unbound()["change"]
    if question.definition.bots is not Included.COUNTED:
        change = change.filter(~change.is_bot)
    column = _COLUMNS[question.definition.lead_time_start]
    known = change.filter(change[column].notnull())
    return known.select("service", "repository", "sha", start_s=column)


def _containing(question: Question) -> ir.Table:
    if is_by_version(question):
        rows = version_leads(question)
        rows = rows.filter(rows.reason == 0)
        return rows.select(
            "service", "deployment_id", "finished_s", start_s=rows.finished_s - rows.lead_s
        )
    arrived = unbound()["change_deployment"]
    rows = arrived.filter(arrived.environment == question.environment)
    definition = question.definition
    if definition.freezes is not Included.COUNTED and question.freezes:
        rows = rows.semi_join(counted(question), "deployment_id")
    # Rows of change_deployment name deployments that count, so nothing has to be joined for the usual clock.
    if definition.lead_time_start is Start.AUTHORED and definition.bots is Included.COUNTED:
        return rows.select("service", "deployment_id", "finished_s", start_s="authored_s")
    begun = starts(question)
    return rows.inner_join(begun, ["service", "repository", "sha"]).select(
        "service", "deployment_id", "finished_s", "start_s"
    )


def _head_only(question: Question) -> ir.Table:
    """Only the change that a deployment's revision, or else its version, names."""
    begun, rows = starts(question), counted(question)
    wanted = ("service", "deployment_id", "finished_s", "start_s")
    by_revision = rows.inner_join(
        begun, [rows.service == begun.service, rows.revision == begun.sha]
    ).select(*wanted)
    rest = rows.anti_join(by_revision, "deployment_id")
    by_version = rest.inner_join(
        begun, [rest.service == begun.service, rest.version == begun.sha]
    ).select(*wanted)
    return by_revision.union(by_version)


@cache
def link_by_time(question: Question) -> ir.Table:
    """The first deployment at or after each change's time, whether it contains it or not.

    Returns:
        Columns: service, sha, start_s, finished_s. Changes that were never followed are not in it.
    """
    begun = starts(question).select("service", "sha", "start_s")
    known = counted(question).select("service", "finished_s")
    if question.is_native:
        return _link_by_day(begun, known)
    timeline = begun.select(
        "service", "sha", "start_s", at_s="start_s", is_deployment=ibis.literal(0, type="int64"),
        done_s=ibis.null("int64"),
    ).union(
        known.select(
            service=known.service,
            sha=ibis.null("string"),
            start_s=ibis.null("int64"),
            at_s=known.finished_s,
            is_deployment=ibis.literal(1, type="int64"),
            done_s=known.finished_s,
        )
    )  # fmt: skip
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
    return linked.select("service", "sha", "start_s", "finished_s")


def _link_by_day(begun: ir.Table, known: ir.Table) -> ir.Table:
    """The same by equality: the time from one deployment to the next is cut into days, and changes look up theirs.

    Nothing has to be sorted but the deployments, so it takes less than an as-of join, and its memory does not grow with
    the changes. A day has few deployments of one service; each costs a comparison.
    """
    first_s = known.agg(first_s=known.finished_s.min()).as_scalar()
    earlier_s = known.finished_s.lag().over(group_by=known.service, order_by=known.finished_s)
    spans = known.mutate(after_s=earlier_s.fill_null(-1), from_s=earlier_s.fill_null(first_s))
    # Of deployments in one second the first leaves no time to the others.
    spans = spans.filter(spans.finished_s > spans.after_s)
    days = ibis.range(spans.from_s // DAY_S, spans.finished_s // DAY_S + 1).unnest()
    spans = spans.select("after_s", "finished_s", known_service="service", known_day=days)
    # However old a change is, it waits from the first deployment on.
    begun = begun.mutate(day=ibis.greatest(begun.start_s, first_s) // DAY_S)
    found = begun.inner_join(
        spans,
        [
            begun.service == spans.known_service,
            begun.day == spans.known_day,
            begun.start_s > spans.after_s,
            begun.start_s <= spans.finished_s,
        ],
    )
    return found.select("service", "sha", "start_s", "finished_s")


@cache
def promotions(source: str, target: str, window: Window) -> ir.Table:
    """Versions that first reached ``target`` in the window: lead_s from their first in ``source``, and reason.

    Returns:
        Columns: lead_s (0 with a reason), reason (0 none, 1 seed, 2 never in the source, 3 negative).
    """
    came = arrivals(target)
    came = came.filter(came.finished_s >= window.start_s, came.finished_s < window.end_s)
    begun = arrivals(source).select(
        begun_service="service", begun_version="version", begun_s="finished_s", begun_censored="is_censored"
    )  # fmt: skip
    rows = came.left_join(
        begun, (came.service == begun.begun_service) & (came.version == begun.begun_version)
    )
    reason = ibis.cases(
        (rows.is_censored | rows.begun_censored.fill_null(False), 1),
        (rows.begun_s.isnull(), 2),
        (rows.finished_s < rows.begun_s, 3),
        else_=0,
    ).cast("int64")
    rows = rows.mutate(reason=reason)
    lead_s = (rows.reason == 0).ifelse(rows.finished_s - rows.begun_s, 0).cast("int64")
    return rows.select(lead_s=lead_s, reason=rows.reason)


STAGES = ("code", "review", "delivery", "sync", "health")
"""From writing a change to its pull request, to its merge, to its deployment's commit, to its sync, to health."""


@cache
def stages(question: Question) -> ir.Table:
    """How long each stage of a change took: stage (a place in ``STAGES``), finished_s, lead_s.

    Only stages whose both ends are known, and none that ends before it begins.
    """
    arrived, change = (unbound()[name] for name in ("change_deployment", "change"))
    rows = arrived.filter(arrived.environment == question.environment)
    rows = rows.inner_join(
        change.select("service", "repository", "sha", "opened_s", "merged_s", "is_bot"),
        ["service", "repository", "sha"],
    )
    if question.definition.bots is not Included.COUNTED:
        rows = rows.filter(~rows.is_bot)
    done = counted(question).select("deployment_id", "started_s", "synced_s", "healthy_s")
    rows = rows.inner_join(done, "deployment_id")
    pairs = (
        (rows.authored_s, rows.opened_s),
        (rows.opened_s, rows.merged_s),
        (rows.merged_s, rows.started_s),
        (rows.started_s, rows.synced_s),
        (rows.synced_s, rows.healthy_s),
    )
    parts = [
        rows.select(
            stage=ibis.literal(place, type="int64"),
            finished_s=rows.finished_s,
            lead_s=(end - begin).cast("int64"),
        )
        for place, (begin, end) in enumerate(pairs)
    ]
    found = parts[0].union(*parts[1:])
    return found.filter(found.lead_s.notnull(), found.lead_s >= 0)


@cache
def without_commits(question: Question) -> ir.Table:
    """Counted deployments of services whose application repository is not in the facts: nobody knows their changes.

    Returns:
        Columns: those of ``version_leads`` but lead_s and reason.
    """
    rows = counted(question)
    known = unbound()["change"].select(known_service="service").distinct()
    rows = rows.anti_join(known, rows.service == known.known_service)
    return rows.select("service", "deployment_id", "version", "revision", "finished_s")


NO_REPOSITORY = "no application repository of the service was collected"


def reason_texts(question: Question) -> Sequence[str]:
    """``REASONS`` with the names of the environments."""
    first = " or ".join(question.first_environments)
    return [text.format(first=first, target=question.environment) for text in REASONS]
