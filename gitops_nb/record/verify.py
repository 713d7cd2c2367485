"""Checks a run's record: chain, files, approval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gitops_nb.errors import RecordError
from gitops_nb.model import digest
from gitops_nb.record import journal
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.runs import APPROVALS, CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and what is wrong; ``problems`` is empty when the record holds."""

    run: str
    records: int
    files: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def verify_run(directory: Path) -> Verification:
    """Checks one run directory.

    The chain shows edits, removals inside and reordering; the digests of the last ``sealed`` record show
    edited, missing and added files. A record that was rewritten as a whole fits itself: that takes an anchor outside.
    """
    try:
        records, problems = journal.read(directory / journal.FILE)
    except RecordError as error:
        return Verification(directory.name, 0, 0, (error.message,))
    found = [f"{journal.FILE}: {problem}" for problem in problems]
    state = fold(records)
    if state.run != directory.name:
        found.append(f"{journal.FILE}: it is the journal of {state.run or 'no run'}")
    notes: list[str] = []
    sealed = bool(records) and records[-1].kind == "sealed"
    if sealed:
        found += _check_files(directory, state)
    else:
        notes.append("not closed yet: files are checked once the run has ended")
    if (directory / CHECKPOINTS).exists():
        notes.append(f"{CHECKPOINTS} is JupyterLab's and no part of the record")
    found += _check_statements(state)
    return Verification(directory.name, len(records), len(state.files), tuple(found), tuple(notes))


def _check_files(directory: Path, state: RunState) -> list[str]:
    found: list[str] = []
    present = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if (path.is_file() or path.is_symlink())
        and path.name != journal.FILE
        and CHECKPOINTS not in path.parts
    }
    for name, expected in state.files.items():
        path = directory / name
        if name not in present:
            found.append(f"{name}: missing")
        elif path.is_symlink():
            found.append(f"{name}: a link where a file was")
        elif sha256_file(path) != expected:
            found.append(f"{name}: edited, its digest differs from the journal's")
    # Answers arrive while a run waits; once it has ended, nothing is added any more.
    is_open = not state.ended
    late = {
        name
        for name in present - set(state.files)
        if not (is_open and name.startswith(f"{APPROVALS}/"))
    }
    found += [f"{name}: added after the run was closed" for name in sorted(late)]
    return found


def _check_statements(state: RunState) -> list[str]:
    """Digests inside the journal that have to fit each other."""
    found: list[str] = []
    if state.request is not None and digest(state.request) != state.request_digest:
        found.append("request: its digest does not fit its content")
    if state.plan is not None and digest(state.plan) != state.plan_digest:
        found.append("plan: its digest does not fit its content")
    found += [
        f"approval of {approval.get('person')}: it answers another request"
        for approval in state.approvals
        if approval.get("subject") != state.request_digest
    ]
    if state.effects and state.decision is not None:
        decision = state.decision
        if decision.get("answer") not in ("allowed", "nothing to do"):
            found.append(f"effects without an allowing decision ({decision.get('answer')})")
        if decision.get("plan_digest") != state.plan_digest:
            found.append("decision: it is about another plan")
    return found
