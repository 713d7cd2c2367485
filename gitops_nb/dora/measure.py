"""measure: from facts to metrics, findings and the tables beside the report. It reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from gitops_nb.dora import (
    changepoints,
    comparing,
    findings,
    goals,
    metrics,
    numbers,
    patterns,
    steps,
    tables,
    tallies,
    trends,
    whatif,
    windows,
)
from gitops_nb.dora.definition import WEEK_S, Failure, Included, Start
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.engines import engine_of
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import Freeze, Measured, Service, Week
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError


def measure(request: DoraRequest, state: DoraState) -> Measured:
    """Computes all metrics from the facts, and writes the tables per service beside them.

    Raises:
        UsageError: The definition is one for the what-if table only.
    """
    with _engine(request) as engine:
        found = _known(engine, request, state)
        return _whole(engine, request, state, found)


def measure_metrics(request: DoraRequest, state: DoraState) -> Measured:
    """The metrics and the title alone, by the same code: without tables, steps and other definitions.

    Raises:
        UsageError: See ``measure``.
    """
    with _engine(request) as engine:
        measured = _known(engine, request, state).measured
        return replace(measured, title=findings.title(measured))


@contextmanager
def _engine(request: DoraRequest) -> Iterator[Engine]:
    if not request.definition.is_for_reports:
        raise UsageError(
            f"definition {request.definition.hash[:12]} is for comparing and not for a report's own numbers",
            hint="Change only the options that `definition` takes.",
        )
    with engine_of(request) as engine:
        yield engine


def question_of(request: DoraRequest, state: DoraState, *, is_native: bool) -> Question:
    """What is asked of the facts. Where no application's commits are known, a version stands for the change."""
    definition = request.definition
    if not state.commits:
        definition = replace(definition, lead_time_start=Start.FIRST_ENVIRONMENT)
    return Question(
        environment=request.environment,
        until_s=state.until_s,
        definition=definition,
        first_environments=request.first_environments,
        has_commits=state.commits > 0,
        freezes=()
        if definition.freezes is Included.COUNTED
        else tuple(Window(f.start_s, f.end_s) for f in request.freezes),
        is_native=is_native,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What the engine was asked first: the numbers behind all metrics, and these."""

    question: Question
    scope: Scope
    caveats: tuple[str, ...]
    numbers: numbers.Numbers
    weeks: tuple[Week, ...]
    services: tuple[Service, ...]
    measured: Measured


def _known(engine: Engine, request: DoraRequest, state: DoraState) -> _Known:
    zone = ZoneInfo(request.time_zone)
    question = question_of(request, state, is_native=engine.is_native)
    scope, caveats = _scope(engine, request, state, question, zone)
    known = numbers.ask(engine, question, scope.periods, scope.shown, zone, stayed=scope.stayed)
    moved = trends.moved_metrics(known, scope)
    weeks = tallies.weekly(known, scope)
    services = tallies.services(known, scope, weeks)
    measured = Measured(
        environment=request.environment,
        first_environment=scope.first_environment,
        window=scope.window,
        before=scope.before,
        complete_weeks=windows.complete_weeks(scope.window, zone=zone),
        time_zone=request.time_zone,
        definition=question.definition.hash,
        options=question.definition,
        metrics=tuple(
            goals.held_against(metric, request.targets)
            for metric in (
                metrics.frequency(known, scope, moved),
                metrics.lead_time(known, scope, moved),
                metrics.fail_rate(known, scope, moved),
                metrics.recovery(known, scope, moved),
                metrics.rework(known, scope, moved),
            )
        ),
        team=request.team,
        rollbacks=metrics.rollbacks(known, scope, moved),
        sync=state.sync,
        weeks=weeks,
        services=sum(service.deployments > 0 for service in services),
        seen=0,
        excluded=(),
        is_last=request.is_last,
        freezes=tuple(
            Freeze(freeze.name, freeze.start_s, freeze.end_s)
            for freeze in request.freezes
            if freeze.start_s < scope.shown.end_s and scope.shown.start_s < freeze.end_s
        ),
        shifts=changepoints.shifts(
            [
                (week.start_s, week.deployments)
                for week in weeks
                if week.period != "partial"
                and not any(f.start_s < week.end_s and week.start_s < f.end_s for f in scope.pauses)
            ],
            minimum_weeks=question.definition.minimum_weeks,
            worth=findings.MUCH,
        ),
    )
    return _Known(question, scope, caveats, known, weeks, services, measured)


def _whole(engine: Engine, request: DoraRequest, state: DoraState, found: _Known) -> Measured:
    """All that a report has beside its metrics."""
    question, scope, services = found.question, found.scope, found.services
    ledger = tables.ledger(engine, question, scope.window)
    year = patterns.year(scope.window.end_s, scope.zone)
    # One query for what the page lists and for the twelve months.
    wide = Window(min(year.start_s, scope.shown.start_s), max(year.end_s, scope.shown.end_s))
    of_year = tables.deployments(engine, question, wide, has_leads=numbers.knows_leads(question))
    moments = of_year["finished_s"]
    deployed = of_year[(moments >= scope.shown.start_s) & (moments < scope.shown.end_s)]
    failures = scope.knows_failures
    measured = replace(
        found.measured,
        teams=() if request.team else goals.teams(found.numbers, scope, services, request.teams),
        hours=patterns.hours(deployed, scope.window, scope.zone),
        sizes=patterns.sizes(deployed, scope.window, knows_failures=failures)
        if state.commits
        else (),
        causes=patterns.causes(deployed, scope.window) if failures else (),
        months=patterns.months(
            of_year, year, scope.zone, since_s=state.first_s, knows_failures=failures
        ),
        seen=numbers.count(engine, numbers.seen(question, scope.window)),
        excluded=tables.summary(ledger),
        files=tables.write(services, deployed, ledger, request.workdir),
        stages=steps.promotions(
            engine, request.promotions, scope.periods, is_native=engine.is_native
        ),
        split=steps.split(engine, question, scope.periods),
        sync_weeks=steps.sync_weeks(engine, question, scope.shown, zone=scope.zone),
    )
    measured = replace(
        measured,
        compared=whatif.compare(
            engine, question, measured, zone=scope.zone, has_incidents=state.incidents is not None
        ),
    )
    return replace(
        measured,
        title=findings.title(measured),
        sentence=findings.sentence(measured),
        look_at=findings.look_at(measured, services, zone=scope.zone),
        caveats=(
            *findings.caveats(
                measured,
                asked=(request.before, request.window),
                until=(state.until_s, state.behind),
                zone=scope.zone,
            ),
            *found.caveats,
        ),
        notes=findings.notes(measured, zone=scope.zone),
    )


def _scope(
    engine: Engine,
    request: DoraRequest,
    state: DoraState,
    question: Question,
    zone: ZoneInfo,
) -> tuple[Scope, tuple[str, ...]]:
    """Clips the windows to what is known, says why a trend cannot be told, and what the windows do not share."""
    end_s = max(request.window.start_s, min(request.window.end_s, state.until_s + 1))
    window = Window(request.window.start_s, end_s)
    spans = numbers.known_spans(engine, request.environment)
    begins_s = min((span.first_s for span in spans.values()), default=None)
    before = request.before
    if before is not None and begins_s is not None and begins_s > before.start_s:
        # Rates are per week, so a shorter earlier window compares as well; its weeks have to be whole.
        monday = windows.week_borders(begins_s, begins_s + 1, zone=zone)[1]
        before = Window(min(monday, before.end_s), before.end_s)
    least = request.definition.minimum_weeks
    counts = [windows.complete_weeks(w, zone=zone) for w in (window, before or window)]
    no_trend = f"a trend needs {least} complete weeks in each window" if min(counts) < least else ""
    shown_end_s = max(window.end_s, min(state.until_s, window.end_s + WEEK_S))
    fleet = comparing.fleet_of(spans, window, before)
    odd = no_failures = ""
    if state.incidents is not None and Failure.INCIDENT in request.definition.failures:
        starts = numbers.incident_starts(engine, request.environment)
        odd, no_failures = comparing.incident_caveat(
            starts, window, before, zone=zone, until_s=state.incidents_until_s
        )
    caveats = (fleet.caveat(), comparing.frozen_caveat(request.freezes, window, before), odd)
    scope = Scope(
        environment=request.environment,
        window=window,
        before=before,
        zone=zone,
        definition=question.definition,
        no_trend=no_trend,
        has_incidents=state.incidents is not None,
        is_last=request.is_last,
        shown=Window(before.start_s if before else window.start_s, shown_end_s),
        first_environment=" or ".join(request.first_environments),
        freezes=question.freezes,
        pauses=tuple(Window(f.start_s, f.end_s) for f in request.freezes),
        stayed=None if fleet.is_same else fleet.stayed,
        no_failures=no_failures,
    )
    return scope, tuple(caveat for caveat in caveats if caveat)
