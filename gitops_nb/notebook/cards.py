"""Cards for the values of a runbook: HTML for a notebook cell, plain text for everything else.

A card is a pure function of its value. It carries no script, its styles are attributes, its colours follow
JupyterLab's theme, and every text in it is made visible and escaped by the report's Jinja2 environment.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gitops_nb.model import Answer, Applied, Decision, Json, Outcome, Plan, Result, Status, to_json
from gitops_nb.record.fold import RunState
from gitops_nb.report import diff, story
from gitops_nb.report.layout import fragment
from gitops_nb.report.text import clip, one_line, plain
from gitops_nb.report.views import Pair, decision_gates
from gitops_nb.report.words import Times, count, milliseconds

MOST_FIELDS = 24
"""A card of a value shows so many fields; the rest is counted."""

_ANSWERS = {
    Answer.ALLOWED: "succeeded",
    Answer.WAITING: "waiting",
    Answer.REFUSED: "refused",
    Answer.NOTHING: "succeeded",
}
_RESULTS = {
    Result.DEPLOYED: "succeeded",
    Result.FAILED: "failed",
    Result.IN_DOUBT: "needs_attention",
    Result.NOTHING: "succeeded",
    Result.REPORTED: "succeeded",
}


def macro(name: str, /, **values: Any) -> str:
    """Renders one macro of ``cards.html.j2``."""
    return fragment("cards.html.j2", name, **values)


def plan_card(plan: Plan) -> str:
    """A plan: what would change, in context, and its digest."""
    views = [diff.view(change) for change in plan.changes]
    return macro("plan_card", plan=plan, views=views, size=diff.size(plan.changes))


def decision_card(decision: Decision, zone: str = "UTC") -> str:
    """A decision: the answer, its reasons, each gate, who approved; times in ``zone``."""
    times = Times(datetime.now(UTC), zone)
    people = [
        (
            f"{approval.person} {approval.answer}s",
            times.full(approval.at) + (f": {approval.reason}" if approval.reason else ""),
        )
        for approval in decision.approvals
    ]
    return macro(
        "decision_card",
        decision=decision,
        status=_ANSWERS[decision.answer],
        items=decision_gates(decision, times),
        people=people,
    )


def applied_card(applied: Applied) -> str:
    """What apply did, effect by effect."""
    results = [[key, _flat(result)] for key, result in applied.results.items()]
    return macro("applied_card", results=results)


def outcome_card(outcome: Outcome) -> str:
    """What verify found, with its evidence, the next step and the way back."""
    facts = [(fact.label, fact.text) for fact in outcome.facts]
    return macro("outcome_card", outcome=outcome, status=_RESULTS[outcome.result], facts=facts)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Where a run's report is for the reader of a card: a ``link`` that opens, or its ``path`` and the ``page`` itself.

    A link helps only where JupyterLab serves the file; elsewhere the card holds the page.
    """

    link: str = ""
    path: str = ""
    page: str = ""


NO_REPORT = Report()


def run_card(run: RunState, report: Report = NO_REPORT) -> str:
    """A run as it stands now, with its report once there is one."""
    return macro("run_card", run=run, told=story.tell(run), facts=_run_facts(run), report=report)


def session_card(run: RunState, report: Report = NO_REPORT) -> str:
    """A run as the session that holds it shows it: while it goes on, it is open and not unfinished."""
    if run.status is not Status.RUNNING:
        return run_card(run, report)
    told = replace(story.tell(run), word="open", title=_session_title(run), sentence="", command="")
    return macro("run_card", run=run, told=told, facts=_run_facts(run), report=NO_REPORT)


def value_card(value: Any) -> str:
    """Any dataclass: its fields in order, long ones cut."""
    shown, more = _fields(value)
    return macro("value_card", name=type(value).__name__, items=shown, more=more)


def text_card(value: Any) -> str:
    """The plain text of any card: a few lines, safe for a terminal and a log."""
    match value:
        case Plan():
            whole = [f"plan: {value.summary}", *(f"  {_change(c)}" for c in value.changes)]
            return "\n".join(map(one_line, [*whole, f"  digest {value.digest}"]))
        case Decision():
            lines = [f"{value.answer.value}: {'; '.join(value.reasons)}"]
            lines += [
                f"  {('passed' if v.passed else 'says no') if v.asked else 'not asked'}  {v.gate}: {v.reason}"
                for v in value.verdicts
            ]
        case Outcome():
            lines = [f"{value.result.value}: {value.title}", f"  {value.sentence}"]
            lines += [f"  {fact.label}: {fact.text}" for fact in value.facts]
            lines += [f"  next: {value.next_step} {value.command}"] if value.next_step else []
        case Applied():
            lines = [f"applied: {count(len(value.results), 'effect')}"]
            lines += [f"  {key}: {_flat(result)}" for key, result in value.results.items()]
        case RunState():
            told = story.tell(value)
            lines = [f"{told.word}: {told.title}", f"  run {value.run}"]
            lines += [f"  next: {told.command}"] if told.command else []
        case _:
            shown, more = _fields(value)
            lines = [type(value).__name__, *(f"  {label}: {text}" for label, text in shown)]
            lines += [f"  and {count(more, 'field')} more"] if more else []
    return "\n".join(one_line(clip(line, 500)) for line in lines if line.strip())


_CARDS: Mapping[type, Callable[[Any], str]] = {
    Plan: plan_card,
    Decision: decision_card,
    Outcome: outcome_card,
    Applied: applied_card,
    RunState: run_card,
}


def register_formatters(
    ipython: Any,
    *,
    zone: str = "UTC",
    sessions: tuple[type, ...] = (),
    state: Callable[[Any], RunState] | None = None,
    report: Callable[[RunState], Report] = lambda _: NO_REPORT,
) -> None:
    """Lets values show themselves as cards at the end of a cell.

    Registers the cards above, a card for every other dataclass of the gitops_nb modules that are imported
    by now (those with a ``_repr_html_`` of their own keep it), and one for the session.

    Args:
        ipython: The running shell; None (no IPython) does nothing.
        zone: IANA name of the reader's time zone.
        sessions: Classes of the session object.
        state: Returns the fold of a session's journal.
        report: Where the report of a run is.
    """
    if ipython is None:
        return
    own: dict[type, Callable[[Any], str]] = {
        **_CARDS,
        Decision: lambda value: decision_card(value, zone),
        RunState: lambda value: run_card(value, report(value)),
    }
    for kind in _other_values():
        own[kind] = value_card
    for kind, card in own.items():
        _register(ipython, kind, card, text_card)
    if state is None:
        return
    known = state
    for kind in sessions:
        _register(
            ipython,
            kind,
            lambda value: session_card(known(value), report(known(value))),
            lambda value: _session_text(known(value)),
        )


def preload_values() -> None:
    """Looks up what there is to be registered, for a process that will be forked."""
    _other_values()


def _register(
    ipython: Any, kind: type, card: Callable[[Any], str], text: Callable[[Any], str]
) -> None:
    formatters = ipython.display_formatter.formatters
    formatters["text/html"].for_type(kind, card)
    formatters["text/plain"].for_type(
        kind, lambda value, printer, cycle: printer.text("…" if cycle else text(value))
    )


def _other_values() -> list[type]:
    return _values_in(tuple(name for name in sys.modules if name.startswith("gitops_nb.")))


@functools.cache
def _values_in(modules: tuple[str, ...]) -> list[type]:
    """Dataclasses of modules; a process that was forked finds what its parent looked up."""
    kinds = {
        value
        for module in modules
        for value in vars(sys.modules[module]).values()
        if isinstance(value, type)
        and value.__module__.startswith("gitops_nb.")
        and dataclasses.is_dataclass(value)
        and value not in _CARDS
        and not hasattr(value, "_repr_html_")
    }
    return sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__))


def _fields(value: Any) -> tuple[list[Pair], int]:
    names = [field.name for field in dataclasses.fields(value) if field.repr]
    shown = [(name.replace("_", " "), _short(getattr(value, name))) for name in names[:MOST_FIELDS]]
    return shown, max(len(names) - MOST_FIELDS, 0)


def _short(value: Any) -> str:
    """One field in a line or two: texts as they are, other values as JSON, what has no JSON as its type."""
    if isinstance(value, str):
        return clip(value, 300)
    try:
        return clip(json.dumps(to_json(value), ensure_ascii=False), 300)
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"


def _run_facts(run: RunState) -> list[Pair]:
    asked = story.requester(run)
    facts = [
        ("Run", run.run),
        ("Runbook", run.runbook),
        ("Environment", run.environment),
        ("Asked by", asked),
        ("Rules", "" if run.is_sandbox else story.rules_sentence(story.rules_of(run))),
    ]
    facts += [
        (step.name, step.sentence + (f" ({milliseconds(step.took_ms)})" if step.took_ms else ""))
        for step in run.steps
        if step.ended
    ]
    return [fact for fact in facts if fact[1]]


def _session_title(run: RunState) -> str:
    where = f" in {run.environment}" if run.environment else ""
    return f"{run.opened.get('title') or run.runbook}: {story.subject(run)}{where}"


def _session_text(run: RunState) -> str:
    if run.status is not Status.RUNNING:
        return text_card(run)
    return f"open: {one_line(_session_title(run))}\n  run {one_line(run.run)}"


def _flat(result: Mapping[str, Json]) -> str:
    return ", ".join(f"{key}: {plain(str(value))}" for key, value in result.items()) or "nothing"


def _change(change: Any) -> str:
    arrow = f": {change.before} -> {change.after}" if change.before or change.after else ""
    return f"{change.action.value} {change.address}{arrow}"
