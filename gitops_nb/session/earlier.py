"""Other runs with the same run key: one that is active forbids a twin, one that succeeded explains.

The run key is runbook, parameters, environment, mode and plan digest. What an earlier run did is never an answer: a commit
may have been reverted since, an object deleted, a sandbox built anew. Only what is observed now says whether something is
left to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from gitops_nb.errors import GitOpsError, Refused
from gitops_nb.model import Json, Plan, Status, digest, from_json, to_json
from gitops_nb.ports import View
from gitops_nb.record.files import read_regular
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE
from gitops_nb.record.runs import is_run_held, run_ids, scan_run
from gitops_nb.session.slices import slice_of


def run_key(state: RunState, plan_digest: str) -> str:
    """What makes two runs the same undertaking."""
    opened = {
        name: state.opened.get(name) for name in ("runbook", "parameters", "environment", "mode")
    }
    return digest({**opened, "plan": plan_digest})


def earlier_success(reports: Path, state: RunState, plan: Plan, view: View) -> RunState | None:
    """The run that did exactly this, if it was the last one that changed this subject in this environment.

    A run in between, a promotion back for instance, makes the same plan a new undertaking. An empty plan has its own key
    only by chance: there the last run that changed the subject is named where it brought what is there now.
    """
    for other in _with_effects(reports, state):
        if other.opened.get("subject") != state.opened.get("subject"):
            continue
        if not any(not effect.failed for effect in other.effects):
            continue
        is_same = run_key(other, _changes(other.plan)) == run_key(state, _changes(to_json(plan)))
        did_it = other.status is Status.SUCCEEDED and (
            _brought(view, plan, other) if plan.is_empty else is_same
        )
        return other if did_it else None
    return None


def unsettled(reports: Path, state: RunState, view: View) -> RunState | None:
    """Another run about the same subject whose first effect got no answer and may still arrive; None where there is none.

    What is observed now is not what stands there a minute later.
    """
    for other in _with_effects(reports, state):
        same = ("subject", "mode")
        if any(other.opened.get(name) != state.opened.get(name) for name in same):
            continue
        try:
            parts, plan = slice_of(other.runbook), from_json(Plan, other.plan)
            key = parts.first_effect(plan) if parts.first_effect is not None else ""
        except (GitOpsError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a journal that is none of ours says nothing
        effect = other.effect(key)
        if effect is None or parts.lost is None:
            continue
        if not effect.is_open:
            return None  # what was sent before that one found its place taken
        try:
            if not parts.lost(view, plan, effect):
                return other
        except GitOpsError:
            return other  # nobody can say that it will not arrive
    return None


def _changes(plan: Json) -> str:
    """What makes two plans the same change, whatever happens to run before it, and whatever comes along with it."""
    materials, changes = ((plan or {}).get(name) or () for name in ("materials", "changes"))
    own = [change for change in changes if change.get("address") in materials]
    return digest({"materials": materials, "changes": own or changes})


def _brought(view: View, plan: Plan, other: RunState) -> bool:
    """Whether the slice says so; where nobody answers, or the journal is none of ours, nothing is claimed."""
    try:
        say = slice_of(other.runbook).brought
        return say is not None and say(view, plan, other)
    except (GitOpsError, ValueError, KeyError, TypeError, AttributeError):
        return False


def refuse_same_key(reports: Path, state: RunState, plan: Plan) -> None:
    """Refuses while a run of the same key, begun before this one, still runs; it may not have planned yet.

    Raises:
        Refused: It names that run.
    """
    for run in _others(reports, state):
        if not is_run_held(reports, run):
            continue
        other = scan_run(reports / run)
        key = run_key(other, other.plan_digest or plan.digest)
        if (
            # Their names only tell the second.
            (other.started, other.run) < (state.started, state.run)
            and other.status is Status.RUNNING
            and key == run_key(state, plan.digest)
        ):
            raise Refused(
                f"{other.run} runs and is about to do exactly this",
                hint=f"Wait for it; `gitops-nb report {other.run}` says how it ended.",
            )


def _others(reports: Path, state: RunState) -> Iterator[str]:
    """Other runs of the runbook in the environment, newest first; their names tell which."""
    part = f"-{state.runbook}-{state.environment}-"
    return (run for run in run_ids(reports) if part in f"{run}-" and run != state.run)


def _with_effects(reports: Path, state: RunState) -> Iterator[RunState]:
    """Those of the others that began an effect, newest first; their names tell the second, their journals the rest."""
    for _, names in groupby(_others(reports, state), lambda run: run.partition("-")[0]):
        found = [
            scan_run(reports / run) for run in names if _has_effects(f"{reports}/{run}/{FILE}")
        ]
        yield from sorted(found, key=lambda other: other.started, reverse=True)


def _has_effects(path: str) -> bool:
    """Whether a journal tells of an effect, looked up without reading it record by record: there may be thousands."""
    try:
        return b'"kind":"intent"' in read_regular(path)
    except OSError:
        return False
