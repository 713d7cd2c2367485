"""Steps and effects of a run over time: the rail of the first screen, and the rows with their bars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from gitops_nb.model import Status, format_time, parse_time
from gitops_nb.record.fold import EffectState, RunState, StepState
from gitops_nb.report import story
from gitops_nb.report.document import last_sign
from gitops_nb.report.words import Times, milliseconds


@dataclass(frozen=True, slots=True)
class Stop:
    """One station of the rail."""

    name: str
    status: str
    note: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the steps; ``left`` and ``width`` are percent of the run's length, as text."""

    name: str
    status: str
    word: str
    sentence: str
    started: str = ""
    took_ms: int = 0
    took: str = ""
    effect: bool = False
    left: str = ""
    width: str = ""


def rail(run: RunState, known: story.Parts) -> list[Stop]:
    """The declared steps in order, with the approval where a person was needed."""
    stops = []
    for step in run.steps:
        stops.append(
            Stop(
                step.name,
                step.status.value,
                milliseconds(step.took_ms) if step.ended and step.took_ms else "",
            )
        )
        if step.name != "decide" or step.status in (Status.WAITING, Status.REFUSED):
            continue
        if known.decision and known.decision.approvals_needed:
            stops.append(_approval_stop(run, known))
    return stops


def rows(run: RunState, known: story.Parts, times: Times) -> list[Row]:
    """Steps in their order, the wait for a person after decide, effects below their step.

    After a resume the bars show when a step last ran, which is after the approval that it waited for.
    """
    found = []
    wait = _wait_row(run, known, times)
    for step in run.steps:
        found += [_step_row(step), *_effect_rows(run, step)]
        if step.name == "decide" and wait is not None:
            found.append(wait)
    return [_placed(row, run) for row in found]


def _approval_stop(run: RunState, known: story.Parts) -> Stop:
    if story.rejections(known):
        return Stop("approval", "refused", "rejected")
    if not story.consents(known):
        return Stop("approval", "pending", "")
    return Stop("approval", "succeeded", milliseconds(run.waited_ms) if run.waited_ms else "")


def _step_row(step: StepState) -> Row:
    row = Row(
        step.name, step.status.value, story.WORDS[step.status], step.sentence, started=step.started
    )
    if step.status is Status.RUNNING:
        return replace(row, word="running, or killed")
    if not step.started:
        return row
    return replace(row, took_ms=step.took_ms, took=milliseconds(step.took_ms))


def _effect_rows(run: RunState, step: StepState) -> list[Row]:
    return [_effect_row(effect) for effect in run.effects if effect.step == step.name]


def _effect_row(effect: EffectState) -> Row:
    if effect.is_open:
        sentence = f"{effect.sentence}; no result is recorded"
        return Row(
            effect.key, "needs_attention", "in doubt", sentence, started=effect.started, effect=True
        )
    if effect.failed:
        sentence = f"{effect.sentence}; {effect.failed}"
        return Row(
            effect.key, "failed", "did not happen", sentence, started=effect.started, effect=True
        )
    sentence = f"{effect.sentence}; found done by a probe" if effect.adopted else effect.sentence
    took_ms = _ms(parse_time(effect.ended) - parse_time(effect.started))
    return Row(
        effect.key,
        "succeeded",
        "done",
        sentence,
        started=effect.started,
        took_ms=took_ms,
        took=milliseconds(took_ms),
        effect=True,
    )


def _wait_row(run: RunState, known: story.Parts, times: Times) -> Row | None:
    """The time a run waited; the fold keeps its length, and the answer that ended it its end."""
    answers = (*story.consents(known), *story.rejections(known))
    if not run.waited_ms or not answers:
        return None
    last = max(answers, key=lambda answer: answer.at)
    started = format_time(last.at - timedelta(milliseconds=run.waited_ms))
    status = "waiting" if last.answer == "approve" else "refused"
    verb = "signed" if last.answer == "approve" else "rejected it"
    text = f"{last.person} {verb} at {times.clock(last.at)}"
    return Row(
        "approval",
        status,
        "waited",
        text,
        started=started,
        took_ms=run.waited_ms,
        took=milliseconds(run.waited_ms),
    )


def _placed(row: Row, run: RunState) -> Row:
    total_ms = _ms(parse_time(run.ended or last_sign(run)) - parse_time(run.started))
    if not row.started or not row.took or total_ms <= 0:
        return row
    begin_ms = _ms(parse_time(row.started) - parse_time(run.started))
    left = min(max(begin_ms / total_ms * 100, 0), 99)
    width = min(max(row.took_ms / total_ms * 100, 1), 100 - left)
    return replace(row, left=f"{left:.1f}%", width=f"{width:.1f}%")


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
