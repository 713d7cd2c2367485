"""measure: from facts to metrics, findings and the tables beside the report. It reads nothing else."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import (
    changepoints,
    fact_tables,
    facts,
    findings,
    history,
    ladder,
    metrics,
    tables,
    tallies,
    whatif,
    windows,
)
from gitops_nb.dora.facts import Facts
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import Measured
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError


def measure(request: DoraRequest, state: DoraState) -> Measured:
    """Computes all metrics from the facts, and writes the tables per service beside them.

    Raises:
        UsageError: The definition is one for the what-if table only.
    """
    if not request.definition.is_for_reports:
        raise UsageError(
            f"definition {request.definition.hash[:12]} is for comparing and not for a report's own numbers",
            hint="Change only its windows and minimums.",
        )
    zone = ZoneInfo(request.time_zone)
    collected = _select(
        facts.read(request.workdir, has_incidents=state.incidents is not None), request
    )
    found = history.read_history(
        collected,
        environment=request.environment,
        first_environments=request.first_environments,
        until_s=state.until_s,
        definition=request.definition,
    )
    scope = _scope(request, state, found, zone)
    weeks = tallies.weekly(found, scope, until_s=state.until_s)
    services = tallies.services(found, scope, weeks)
    ledger = tables.ledger(collected, found, scope)
    measured = Measured(
        environment=request.environment,
        first_environment=" or ".join(request.first_environments),
        window=scope.window,
        before=scope.before,
        complete_weeks=windows.complete_weeks(scope.window, zone=zone),
        time_zone=request.time_zone,
        definition=request.definition.hash,
        metrics=(
            metrics.frequency(found, scope),
            metrics.lead_time(found, scope),
            metrics.fail_rate(found, scope),
            metrics.recovery(found, scope),
            metrics.rework(found, scope),
        ),
        rollbacks=metrics.rollbacks(found, scope),
        sync=state.sync,
        weeks=weeks,
        services=sum(service.deployments > 0 for service in services),
        seen=tables.count_seen(collected, scope),
        excluded=tables.summary(ledger),
        files=tables.write(services, ledger, request.workdir),
        is_last=request.is_last,
        stages=ladder.ladder(
            collected, request.promotions, window=scope.window, before=scope.before
        ),
        shifts=changepoints.shifts(
            [(week.start_s, week.deployments) for week in weeks if week.period != "partial"],
            minimum_weeks=request.definition.minimum_weeks,
            worth=findings.MUCH,
        ),
        compared=whatif.compare(
            fact_tables.from_versions(collected, first_environments=request.first_environments),
            scope.window,
            environment=request.environment,
            zone=zone,
            until_s=state.until_s,
        ),
    )
    return replace(
        measured,
        title=findings.title(measured),
        sentence=findings.sentence(measured),
        look_at=findings.look_at(measured, services, zone=zone),
        notes=findings.notes(
            measured, asked=(request.before, request.window), until_s=state.until_s, zone=zone
        ),
    )


def _select(collected: Facts, request: DoraRequest) -> Facts:
    if not request.services:
        return collected

    def mine(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["service"].isin(request.services)]

    return Facts(
        mine(collected.events),
        None if collected.incidents is None else mine(collected.incidents),
        mine(collected.exclusions),
    )


def _scope(
    request: DoraRequest, state: DoraState, found: history.History, zone: ZoneInfo
) -> metrics.Scope:
    """Clips the windows to what is known, and says why a trend cannot be told."""
    end_s = max(request.window.start_s, min(request.window.end_s, state.until_s + 1))
    window = Window(request.window.start_s, end_s)
    begins_s = min((span.first_s for span in found.spans.values()), default=window.start_s)
    before = request.before
    if before is not None and begins_s > before.start_s:
        # Rates are per week, so a shorter earlier window compares as well; its weeks have to be whole.
        monday = windows.week_borders(begins_s, begins_s + 1, zone=zone)[1]
        before = Window(min(monday, before.end_s), before.end_s)
    least = request.definition.minimum_weeks
    counts = [windows.complete_weeks(w, zone=zone) for w in (window, before or window)]
    no_trend = f"a trend needs {least} complete weeks in each window" if min(counts) < least else ""
    return metrics.Scope(
        environment=request.environment,
        window=window,
        before=before,
        zone=zone,
        definition=request.definition,
        no_trend=no_trend,
        has_incidents=state.incidents is not None,
        is_last=request.is_last,
    )
