"""Why a run came to its end, and the records that say so where it could not say it itself."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gitops_nb import errors
from gitops_nb.errors import ExitCode
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState, StepState, fold
from gitops_nb.record.journal import Journal, Unwritten
from gitops_nb.session.aftermath import tell_aftermath
from gitops_nb.session.wire import NOTEBOOK_GONE

STATUS_OF = {
    ExitCode.SUCCEEDED: Status.SUCCEEDED,
    ExitCode.FAILED: Status.FAILED,
    ExitCode.WAITING: Status.WAITING,
    ExitCode.REFUSED: Status.REFUSED,
    ExitCode.NEEDS_ATTENTION: Status.NEEDS_ATTENTION,
    ExitCode.INTERRUPTED: Status.CANCELLED,
    ExitCode.TERMINATED: Status.CANCELLED,
}
"""Status of a run that ends with an exit code; every other code is a failure."""


ENDED_FOR_GOOD = (Status.SUCCEEDED, Status.REFUSED, Status.SKIPPED)
"""A run that ended so is over; any other can go on."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why the engine stopped a run: a signal or a timeout."""

    code: ExitCode
    sentence: str


@dataclass(frozen=True, slots=True)
class Death:
    """How the cells of a run came to their end, where its journal does not say it."""

    sentence: str
    code: ExitCode = ExitCode.INTERNAL
    hint: str = ""

    @classmethod
    def of_exception(cls, name: str, text: str, traceback: Sequence[str]) -> Death:
        """A cell raised something outside of a step, or could not record it.

        Only our own errors show their text and nothing else; others may have the same name.
        """
        kind = getattr(errors, name, None) if list(traceback) == text.splitlines() else None
        code = ExitCode.INTERNAL
        if isinstance(kind, type) and issubclass(kind, errors.GitOpsError):
            code = kind.exit_code
        if code is ExitCode.INTERNAL:
            return cls(errors.described(name, text), code)
        message, _, hint = text.partition("\n")
        return cls(message, code, hint.strip())

    @classmethod
    def of_process(
        cls, exit_code: int | None, last_words: str = "", *, who: str = "the kernel"
    ) -> Death:
        """A process of the run ended, or all cells ran and none of them finished the run."""
        if exit_code is None:
            return cls(
                "all cells ended and none of them finished the run",
                hint="The notebook's last cell has to call session.finish().",
            )
        number = -exit_code
        how = (
            f"was killed by {signal.Signals(number).name}"
            if number > 0
            else f"exited with {exit_code}"
        )
        return cls(f"{who} {how}" + (f": {last_words}" if last_words else ""))


def is_cut_short(state: RunState, cause: Cause | None) -> bool:
    """Whether a run has no end yet, or only the one that its notebook saw when the engine interrupted it.

    An executor whose notebook is gone records that; why it is gone the engine knows.
    """
    if not state.ended or state.reason.startswith(NOTEBOOK_GONE):
        return True
    interrupted = state.status in (Status.CANCELLED, Status.NEEDS_ATTENTION)
    return cause is not None and interrupted and state.outcome is None


def append_end(
    journal: Journal | Unwritten,
    *,
    cause: Cause | None = None,
    death: Death | None = None,
    was_witnessed: bool = True,
    has_begun: bool = False,
) -> None:
    """Records the end of a run that could not do it itself: its running step, then why, and what to do.

    Without cause or death the runner itself was killed. ``was_witnessed`` is False where nobody of ours saw how the run
    stopped: whatever end its journal has came from somebody else, and this one stands behind it.
    ``has_begun`` says that a runner signed that effects begin, and none that they ended: a journal that has none was cut, or its
    process died right then.
    """
    state = fold(journal.records)
    is_claimed = not was_witnessed and (bool(state.ended) or state.status is Status.WAITING)
    step = next((s for s in state.steps if s.status is Status.RUNNING), None)
    stopped = step or next((s for s in state.steps if _is_stopped(s)), None)
    where = f"during {stopped.name}" if stopped else "between two steps"
    resume = f"gitops-nb resume {state.run}"
    hint = f"Continue with `{resume}`."
    if cause is not None:
        code, sentence = cause.code, cause.sentence
    elif death is not None:
        code, sentence = death.code, death.sentence
        hint = death.hint or f"Read the notebook in the run directory, then `{resume}`."
    else:
        code, sentence = ExitCode.INTERNAL, "the runner was killed"
    status = STATUS_OF.get(code, Status.FAILED)
    if status is Status.SUCCEEDED:
        code, status = ExitCode.INTERNAL, Status.FAILED
    reason = sentence
    if where not in sentence and "timeout" not in sentence:
        reason += f", {where}" if ":" in sentence else f" {where}"
    if state.in_doubt:
        keys = ", ".join(effect.key for effect in state.in_doubt)
        code, status = ExitCode.NEEDS_ATTENTION, Status.NEEDS_ATTENTION
        reason = f"{reason}; whether this happened is not known: {keys}"
        hint = f"Run `{resume}`: it finds out, and does nothing twice."
    elif is_claimed and state.touched:
        code, status = ExitCode.NEEDS_ATTENTION, Status.NEEDS_ATTENTION
        hint = f"Run `{resume}`: it finds out what is there, and does nothing twice."
    is_unknown = has_begun and not state.touched
    if is_unknown:
        code, status = ExitCode.NEEDS_ATTENTION, Status.NEEDS_ATTENTION
        reason = f"{reason}; its effects had begun, and what it did is not known"
        hint = f"Run `{resume}`: it finds out what is there, and does nothing twice."
    if is_claimed:
        reason += f"; its journal says that it is {state.status}, and nobody saw that"
    if step is not None:
        journal.append("step", step=step.name, status=status, sentence=sentence)
    said = fold(journal.records)
    if not was_witnessed:
        said = replace(said, outcome=None, seen=None, aftermath={})
    reports = journal.path.parent.parent if isinstance(journal, Journal) else None
    tell_aftermath(journal.append, replace(said, unknown=is_unknown), status, reports=reports)
    journal.append(
        "ended", status=status, exit_code=int(code), reason=reason, hint=hint, command=resume,
        **({} if was_witnessed else {"witnessed": False}),
        **({"unknown": True} if is_unknown else {}),
    )  # fmt: skip


def _is_stopped(step: StepState) -> bool:
    """Whether a step was ended from outside, and its own process recorded that."""
    return step.status is Status.CANCELLED or step.sentence.startswith(NOTEBOOK_GONE)
