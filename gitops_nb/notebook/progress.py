"""Live progress of a run in a notebook cell, redrawn from its journal's records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from gitops_nb.model import Status, parse_time
from gitops_nb.notebook.cards import macro
from gitops_nb.notebook.place import Show, new_place
from gitops_nb.record.fold import RunState, StepState, fold
from gitops_nb.record.journal import Record
from gitops_nb.report import story
from gitops_nb.report.text import terminal
from gitops_nb.report.timeline import rows
from gitops_nb.report.words import Times, duration, listed, milliseconds


class Progress:
    """Follows a run record by record, each step in a place of its own.

    While a step runs, its place shows all steps and effects so far; when it has ended, one line.

    Args:
        state: The fold of the whole journal, also of what was recorded before anybody followed.
        places: Opens a new place; the default is the running cell, or standard output outside of IPython.
        zone: IANA name of the reader's time zone.
        now: Present wall time.
    """

    def __init__(
        self,
        state: Callable[[], RunState],
        *,
        places: Callable[[], Show] | None = None,
        zone: str = "UTC",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._state = state
        self._places = places or new_place
        self._show: Show | None = None
        self._waiting: tuple[str, Show] | None = None
        self._zone = zone
        self._now = now

    def _tell(self, text: str) -> None:
        self._places()(macro("note_line", text=text), text)

    def _tell_left(self) -> None:
        """Names the cells that a run which ended early leaves, and how to go on."""
        run = self._state()
        left = [step.name for step in run.steps if step.status is Status.PENDING]
        if left:
            self._tell(f"Not run: {listed([*left, 'finish'])}. {how_to_go_on(run)}")

    def _tell_after(self) -> None:
        """What a run that was stopped after its first effect leaves behind; one that verified has its outcome's card."""
        run = self._state()
        if run.outcome is None:
            html = macro(
                "after_card", rows=story.after(run), command_text=run.aftermath.get("command", "")
            )
            self._places()(html, after_text(run))

    def on_record(self, record: Record) -> None:
        """Takes one record, just appended, and redraws what it changes."""
        if record.kind == "aftermath":
            self._tell_after()
        if record.kind == "attempt" and record.body.get("front") == "notebook, cell run again":
            self._tell(
                f"Attempt {record.body['number']} of {self._state().run}, which had ended; this cell shows that run."
            )
        if record.kind == "ended":
            self._tell_left()
        if record.kind not in ("step", "intent", "done", "void"):
            return
        # The record says what happened; the journal may be further on where another process writes it.
        step = fold([record]).steps[0] if record.kind == "step" else None
        is_begun = step is not None and step.status is Status.RUNNING
        if is_begun:
            self._show, self._waiting = self._places(), None
        elif step is not None and self._waiting is not None and self._waiting[0] == step.name:
            # Its cell still waits: the answer takes the place of the question.
            self._show, self._waiting = self._waiting[1], None
        if self._show is None:
            return
        if step is not None and not is_begun:
            self._show(line_card(step), line(step))
            self._waiting = (step.name, self._show) if step.status is Status.WAITING else None
            self._show = None
        else:
            self._show(card(self._state(), self._now(), self._zone), "")


def how_to_go_on(run: RunState) -> str:
    """What a person does about a run that ended before its last cell."""
    if run.status in (Status.REFUSED, Status.SKIPPED, Status.SUCCEEDED):
        return "This run is over; run all cells again for a new one."
    return f"Run this cell again, or `gitops-nb resume {run.run}` in a terminal."


def after_text(run: RunState) -> str:
    """What is true after the first effect, as lines of text."""
    lines = [f"{label}: {terminal(sentence)}" for label, sentence in story.after(run)]
    command = run.aftermath.get("command")
    return "\n".join([*lines, f"  {terminal(command)}"] if command else lines)


def card(run: RunState, now: datetime, zone: str) -> str:
    """The steps of a run so far, as a card."""
    known = story.parts(run)
    since = duration((parse_time(run.ended) if run.ended else now) - parse_time(run.started))
    return macro(
        "progress_card",
        run=run,
        title=story.subject(run),
        note=since,
        steps=[row for row in rows(run, known, Times(now, zone)) if row.name],
    )


def line_card(step: StepState) -> str:
    """A step that has ended, in one line of HTML."""
    word, took = story.WORDS[step.status], milliseconds(step.took_ms)
    return macro("step_line", step=step, word=word, took=took)


def line(step: StepState) -> str:
    """A step that has ended, in one line of text: status, name, finding, duration."""
    text = terminal(f"{story.WORDS[step.status]:<10} {step.name}: {step.sentence}")
    return f"{text} ({milliseconds(step.took_ms)})"
