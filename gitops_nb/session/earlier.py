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
from gitops_nb.model import Answer, Json, Plan, Status, digest, from_json, parse_time, to_json
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


def replaced_by(reports: Path, state: RunState) -> RunState | None:
    """The newest other run that changed the same subject in the same environment after this one's last effect, or None.

    Its effects tell, whatever became of it: what is there now is its doing, and a way back of this one would undo it.
    """
    # What a resume found done says when it was looked at, not when it was done.
    own = [effect.started for effect in state.changed if not effect.adopted]
    last = max(own, default=state.started)
    since_s = parse_time(last).timestamp()
    for other in _with_effects(reports, state, since_s=since_s):
        if not _is_same_subject(other, state):
            continue
        made = [one for one in other.changed if one.ended and not one.adopted]
        if any(effect.started > last for effect in made):
            return other
    return None


def is_settled(reports: Path, state: RunState) -> bool:
    """Whether a later run of the same subject made it pointless to go on with one: it changed it, or found that nothing is to be done.

    One that waits for people is theirs to end.
    """
    if state.status is Status.WAITING or not state.opened:
        return False
    if replaced_by(reports, state) is not None:
        return True
    for run in _others(reports, state):
        if run.partition("-")[0] < state.run.partition("-")[0]:
            return False
        other = scan_run(reports / run)
        is_later = other.status is Status.SUCCEEDED and other.started > state.started
        is_done = (other.decision or {}).get("answer") == Answer.NOTHING
        if is_later and is_done and _is_same_subject(other, state):
            return True
    return False


def unsettled(reports: Path, state: RunState, view: View) -> RunState | None:
    """Another run about the same subject whose first effect got no answer and may still arrive; None where there is none.

    What is observed now is not what stands there a minute later.
    """
    for other in _with_effects(reports, state):
        if not _is_same_subject(other, state):
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


def _is_same_subject(one: RunState, other: RunState) -> bool:
    return all(one.opened.get(name) == other.opened.get(name) for name in ("subject", "mode"))


def _others(reports: Path, state: RunState) -> Iterator[str]:
    """Other runs of the runbook in the environment, newest first; their names tell which."""
    part = f"-{state.runbook}-{state.environment}-"
    return (run for run in run_ids(reports) if part in f"{run}-" and run != state.run)


def _with_effects(reports: Path, state: RunState, *, since_s: float = 0.0) -> Iterator[RunState]:
    """Those of the others that began an effect, newest first; their names tell the second, their journals the rest.

    With ``since_s`` journals that nobody wrote into since then (epoch seconds) are left out unread.
    """
    for _, names in groupby(_others(reports, state), lambda run: run.partition("-")[0]):
        found = [
            scan_run(reports / run)
            for run in names
            if _has_effects(f"{reports}/{run}/{FILE}", since_s)
        ]
        yield from sorted(found, key=lambda other: other.started, reverse=True)


def _has_effects(path: str, since_s: float) -> bool:
    """Whether a journal tells of an effect, looked up without reading it record by record: there may be thousands."""
    try:
        if since_s and Path(path).stat().st_mtime < since_s:
            return False
        return b'"kind":"intent"' in read_regular(path)
    except OSError:
        return False
