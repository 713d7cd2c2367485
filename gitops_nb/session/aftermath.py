"""What is true once a run's first effect happened, recorded with every end: by the run itself, or by whoever closes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Aftermath, Plan, Status, from_json, to_json
from gitops_nb.record.fold import RunState
from gitops_nb.session.earlier import replaced_by
from gitops_nb.session.slices import slice_of


def tell_aftermath(
    append: Callable[..., Any], state: RunState, status: Status, *, reports: Path | None
) -> None:
    """Records what a run that ends with this status leaves behind; nothing where it touched nothing, or it is said.

    Args:
        append: Writes the record.
        state: The run.
        status: How it ends.
        reports: Where other runs may tell that one of them went on since; None where nobody can look.
    """
    if (state.touched or state.unknown) and not state.aftermath:
        later = replaced_by(reports, state) if reports is not None else None
        told = aftermath_of(replace(state, status=status), later)
        append("aftermath", **to_json(told))


def aftermath_of(state: RunState, later: RunState | None = None) -> Aftermath:
    """What the slice says about the plan in the journal; where it cannot, what the runbook says about going back.

    Where a ``later`` run changed the same, what this one left behind is not there any more, and its way back would undo the later one.
    """
    if later is not None:
        title = str((later.outcome or {}).get("title") or later.reason).rstrip(".")
        what = f"{later.opened.get('subject')} in {later.environment}"
        return Aftermath(
            asks=f"What {later.run} brought: it changed {what} after this run{f' ({title})' if title else ''}.",
            by_itself=f"Nothing of this run; `gitops-nb report {later.run}` says what that one left behind.",
            back=f"Nothing of this run is left to take back. The way back from what is there now is that of {later.run}.",
            later=later.run,
        )
    if state.unknown:
        return Aftermath(
            "What this run did is not known: it began, nobody saw how it ended, and its journal has no effect.",
            "Whatever the outside systems do about it.",
            f"`gitops-nb resume {state.run}` says first what there is to take back.",
            "",
        )
    undo = str((state.outcome or state.seen or {}).get("undo", ""))
    done = ", ".join(effect.key for effect in state.touched)
    unknown = Aftermath(
        f"This run did, or began: {done}. What Git asks for now has to be looked up.",
        "Whatever the outside systems do about it.",
        str(state.opened.get("rollback") or "The runbook declares no way back."),
        undo,
    )
    try:
        say = slice_of(state.runbook).aftermath
        plan = from_json(Plan, state.plan)
        return say(plan, state) if say is not None else unknown
    except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError):
        # A journal of another package: a run has to be closed all the same.
        return unknown
