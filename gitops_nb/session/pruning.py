"""Removes old runs and leaves a signed tombstone for each: gone, not missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.model import parse_time
from gitops_nb.record import journal
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase, ledger_name
from gitops_nb.record.runs import is_run_held, run_directories, scan_run
from gitops_nb.session.copies import remove_run
from gitops_nb.session.held import pending
from gitops_nb.session.notary import open_ledger

PER_RECORD = 200


def old_runs(workspace: Workspace, kept: Callable[[str], timedelta | None]) -> tuple[RunState, ...]:
    """Runs that ended longer ago, oldest first; what waits, runs, is in doubt or not yet signed stays.

    Args:
        workspace: Whose runs they are.
        kept: How long runs of an environment are kept; None for ever. An environment is "" for a run in none.
    """
    now = datetime.now(UTC)
    unsigned = set(pending(workspace))
    found: list[RunState] = []
    for directory in reversed(run_directories(workspace.reports)):
        state = scan_run(directory)
        if not state.ended or not state.files or state.in_doubt or state.run in unsigned:
            continue
        age = kept(state.environment)
        if age is None or parse_time(state.ended) >= now - age:
            continue
        if not is_run_held(workspace.reports, state.run):
            found.append(state)
    return tuple(found)


def prune(workspace: Workspace, runs: Sequence[RunState]) -> None:
    """Signs a tombstone for these runs, then removes them here and in the bucket.

    Raises:
        RecordError: The ledger cannot be written; nothing was removed.
    """
    by_ledger: dict[str, list[RunState]] = {}
    for state in runs:
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        by_ledger.setdefault(name, []).append(state)
    for name, states in by_ledger.items():
        ledger = open_ledger(workspace, name)
        for begin in range(0, len(states), PER_RECORD):
            part = states[begin : begin + PER_RECORD]
            ledger.append(
                Phase.PRUNED,
                run="",
                attempt=0,
                subjects={
                    state.run: _journal_digest(workspace.reports / state.run) for state in part
                },
                body={"reason": "retention"},
            )
            for state in part:
                remove_run(workspace, state.run)
                shutil.rmtree(workspace.reports / state.run)
    if runs:
        from gitops_nb.report.files import write_index

        write_index(workspace.reports, now=datetime.now(UTC), zone=workspace.time_zone)


def _journal_digest(directory: Path) -> str:
    return sha256_file(directory / journal.FILE).removeprefix("sha256:")
