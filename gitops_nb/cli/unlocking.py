"""``gitops-nb unlock``: a person says that a holder which no machine can ask is gone."""

from __future__ import annotations

from pathlib import Path

import click

from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.errors import ExitCode, Refused, UsageError
from gitops_nb.model import Status
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import RUN_ID, find_run, is_run_held, read_run, try_lock, was_here
from gitops_nb.report.text import terminal
from gitops_nb.session.copies import fetch_runs
from gitops_nb.session.lifecycle import Death, append_end, close_run, holder
from gitops_nb.session.requester import this_person
from gitops_nb.session.targets import shared_locks


def free(name: str, *, reason: str, workspace: Path | None, reports: Path | None) -> None:
    """Frees the lock of a target, or closes a run that died on another machine.

    Raises:
        Refused: Its holder lives on this machine, or nobody holds it.
        UsageError: There is neither such a run nor a store of locks.
    """
    where = find_workspace(workspace, reports=reports)
    if RUN_ID.fullmatch(name):
        _close(where, name, reason)
        return
    locks = shared_locks(where)
    if locks is None:
        raise UsageError(
            "locks of this machine free themselves when their holder ends",
            hint="Only locks in a bucket (`locks: gs://…` in gitops-nb.yaml) are freed by hand.",
        )
    held_by = locks.holder(name)
    if held_by is not None and held_by.is_here and not held_by.is_proven_dead:
        raise Refused(f"{held_by} lives", hint="Wait for it to end, or end it.")
    was = locks.unlock(name, by=this_person(), reason=reason)
    click.echo(f"{terminal(name)} is free; {terminal(str(was))} held it")


def _close(where: Workspace, name: str, reason: str) -> None:
    fetch_runs(where)
    directory = find_run(where.reports, name)
    state = read_run(directory)
    if was_here(where.reports, directory.name) and is_run_held(where.reports, directory.name):
        raise Refused(f"{directory.name} lives on this machine", hint="Wait for it to end.")
    if state.status is not Status.RUNNING:
        raise Refused(f"{directory.name} is not open: it is {state.status}")
    lock = try_lock(where.reports, directory.name, holder(this_person()))
    if lock is None:
        raise Refused(f"{directory.name} lives on this machine", hint="Wait for it to end.")
    try:
        journal = Journal.open(directory)
        said = f"closed by {this_person()}, who says that its process is gone: {reason}"
        append_end(journal, death=Death(said, ExitCode.FAILED))
        close_run(where, directory, journal)
        journal.close()
    finally:
        lock.release()
    click.echo(f"{directory.name} is closed")
    click.echo(f"  gitops-nb resume {directory.name}")
