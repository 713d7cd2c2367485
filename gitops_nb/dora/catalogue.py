"""Every expression by name, for one question and window: what is compiled for an engine or compared between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

import ibis.expr.types as ir

from gitops_nb.dora import expressions, judging, leading, numbers, steps
from gitops_nb.dora.definition import Arrival, Failure, Included, Recovery, Start, Unit
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.windows import Window


def expressions_of(question: Question) -> Mapping[str, ir.Table]:
    """Those that are about all of time."""
    other = replace(
        question.definition,
        lead_time_start=Start.MERGED,
        bots=Included.LEFT_OUT,
        coalesce_s=300,
        duration_step_s=60,
        failures=(Failure.ATTEMPT,),
        recovery=Recovery.FAILED_TO_SUCCESS,
    )
    by_version = replace(question.definition, lead_time_start=Start.FIRST_ENVIRONMENT)
    oldest = replace(question.definition, lead_time_unit=Unit.DEPLOYMENT)
    heads = replace(question.definition, lead_time_arrival=Arrival.HEAD_ONLY)
    return {
        "spans": expressions.spans(question.environment),
        "judged": judging.judged(question),
        "judged_by_attempt": judging.judged(replace(question, definition=other)),
        "linked_incidents": judging.linked_incidents(question),
        "unlinked_incidents": judging.unlinked_incidents(question),
        "reverts": judging.reverts(question),
        "hotfixes": judging.hotfixes(question),
        "restorations": judging.restorations(question),
        "previous_successes": judging.previous_successes(),
        "leads": leading.leads(question),
        "leads_from_merge": leading.leads(replace(question, definition=other)),
        "leads_of_deployments": leading.leads(replace(question, definition=oldest)),
        "leads_of_heads": leading.leads(replace(question, definition=heads)),
        "version_leads": leading.version_leads(replace(question, definition=by_version)),
        "link_by_time": leading.link_by_time(question),
        "stages": leading.stages(question),
        "without_commits": leading.without_commits(question),
    }


def expressions_in(question: Question, window: Window, *, zone: ZoneInfo) -> Mapping[str, ir.Table]:
    """Those that are about a window."""
    judged, leads = judging.judged(question), leading.leads(question)
    native = question.is_native
    first = question.first_environments[0]
    return {
        "weekly_deployments": numbers.weekly(judged, window, zone=zone),
        "service_counts": judging.tallied(judged, (window,)),
        "causes": judging.causes(judged, (window,)),
        "recoveries": judging.recoveries(judged, (window,)),
        "lead_steps": numbers.lead_steps(leads, window, zone=zone, stayed=None),
        "last_deployments": numbers.last(judged, window.end_s),
        "weekly_lead_times": numbers.weekly_leads(
            leads, window, zone=zone, by=("service",), is_native=native
        ),
        "overall_lead_time": expressions.quantiles(
            expressions.inside(leads, window), "lead_s", (), is_native=native
        ),
        "median_bounds": expressions.at_ranks(
            expressions.inside(leads, window), "lead_s", (3, 7), is_native=native
        ),
        "promotions": leading.promotions(first, question.environment, window),
        "sync_status": steps.sync_status(question, window, zone=zone),
        "not_counted": numbers.not_counted(question, window),
    }


def all_expressions(
    question: Question, window: Window, *, zone: ZoneInfo
) -> Mapping[str, ir.Table]:
    """Both."""
    return {**expressions_of(question), **expressions_in(question, window, zone=zone)}
