"""How a run begins and how its record is closed, by whoever is left to do it."""

from __future__ import annotations

import contextlib
import json
import platform as machine
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gitops_nb import __version__
from gitops_nb.catalog.load import Catalog
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import (
    ConfigurationError,
    GitOpsError,
    RecordError,
    Refused,
    UsageError,
)
from gitops_nb.model import Mode, Status, format_time, parse_time, to_json
from gitops_nb.policy import Requester
from gitops_nb.record.evidence import restore_copies
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import ledger_name
from gitops_nb.record.runs import (
    Lock,
    create_run,
    engine_lock,
    holder,
    is_run_held,
    new_run_id,
    run_directories,
    scan_run,
    seal,
    sealed_at,
    try_lock,
)
from gitops_nb.session.aftermath import tell_aftermath
from gitops_nb.session.beginnings import (
    has_open_start,
    has_started,
    is_believed_here,
    is_signed,
    was_begun,
)
from gitops_nb.session.copies import fetch_runs
from gitops_nb.session.endings import Death, append_end
from gitops_nb.session.held import began_with, cause_of, forget, hold, is_seen, open_here, saw_end
from gitops_nb.session.notary import expect, settle
from gitops_nb.session.notebooks import notebook_digest
from gitops_nb.session.private import remove_left
from gitops_nb.session.slices import Surroundings, slice_of

CLOCKS_DIFFER = timedelta(minutes=2)
"""How far the clocks of two machines that keep time may be apart; `verify` allows as much."""

JUNK = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError)
"""What may come of a directory that somebody else filled, where no type of it says that it is wrong."""


def runbook_of(catalog: Catalog, name: str) -> Runbook:
    """A runbook of the catalog that this package can run.

    Raises:
        UsageError: There is none of that name.
        ConfigurationError: It asks for another version of the package.
    """
    runbook = catalog.runbooks.get(name)
    if runbook is None:
        known = ", ".join(catalog.runbooks) or "none"
        raise UsageError(
            f"unknown runbook {name!r}; there are {known}", hint="See `gitops-nb list`."
        )
    from packaging.specifiers import SpecifierSet

    needed = runbook.requires.removeprefix("gitops_nb")
    if __version__ not in SpecifierSet(needed):
        raise ConfigurationError(
            f"{name} requires {runbook.requires}, and gitops_nb {__version__} is installed",
            hint="Install a fitting version, or run `gitops-nb init DIR --update`.",
        )
    return runbook


def create(
    workspace: Workspace,
    catalog: Catalog,
    runbook: Runbook,
    parameters: Mapping[str, Any],
    *,
    mode: Mode,
    requester: Requester,
    plan_only: bool = False,
) -> tuple[Path, Lock]:
    """Makes the run directory with its first journal record, after everything about the request was checked.

    Returns:
        The directory, and the engine's lock on it, taken before the directory appeared: no other command
        ever sees a new run that nobody holds.

    Raises:
        UsageError: The parameters do not fit together.
        RecordError: The reports folder cannot be written.
    """
    notebook = workspace.notebooks / runbook.notebook
    if not notebook.is_file():
        raise ConfigurationError(
            f"no notebook {notebook.name} in {workspace.notebooks}",
            hint="Run `gitops-nb init DIR --update`.",
        )
    now = datetime.now(UTC)
    parts = slice_of(runbook.name)
    around = Surroundings(workspace.root, workspace.reports, now, None, workspace.time_zone)
    request = parts.request(catalog.fleet, parameters, around)
    run = new_run_id(runbook.name, request.environment, now)
    try:
        lock = try_lock(workspace.reports, engine_lock(run), holder(requester.name))
    except RecordError as error:
        raise RecordError(
            error.message, hint=f"{error.hint.rstrip('.')}; nothing was run."
        ) from error
    if lock is None:
        raise RecordError(f"somebody holds the new run {run}", hint="Run the command again.")
    is_sandbox = mode is Mode.SANDBOX
    expect(workspace, run, ledger_name(request.environment, is_sandbox=is_sandbox))
    hold(workspace, run)
    directory, begun = create_run(
        workspace.reports,
        run,
        {
            "runbook": runbook.name,
            "title": runbook.title,
            "owner": runbook.owner,
            "risk": runbook.risk,
            "rollback": runbook.rollback,
            "notebook_digest": notebook_digest(notebook),
            "package": __version__,
            "python": machine.python_version(),
            "mode": mode,
            "environment": request.environment,
            "source": getattr(request, "source", ""),
            "subject": request.subject,
            "parameters": parameters,
            "requester": requester,
            "steps": parts.steps,
            "workspace": workspace.root.name,
            # A run that was to change nothing changes nothing when it is resumed either.
            "plan_only": plan_only,
        },
    )
    hold(workspace, run, begun)
    return directory, lock


def refuse_changed(
    workspace: Workspace, runbook: Runbook, parameters: Mapping[str, Any], state: RunState
) -> None:
    """A resumed run has to be the same run: notebook, package and parameters.

    One that began effects is looked at by other code too; the warrant lets that begin nothing more.

    Raises:
        Refused: One of them changed since the run began.
    """
    changed = other_code(workspace, runbook, state)
    if runbook.name != state.runbook:
        changed = (*changed, "the runbook")
    if to_json(parameters) != state.opened["parameters"]:
        changed = (*changed, "a parameter")
    elif state.begun and runbook.name == state.runbook:
        return
    if changed:
        raise Refused(
            f"{' and '.join(changed)} changed since {state.run} began",
            hint="Take the change back, or start a new run; what this one did is in its report.",
        )


def other_code(workspace: Workspace, runbook: Runbook, state: RunState) -> tuple[str, ...]:
    """What of a run's code is not what it began with, in words."""
    notebook = notebook_digest(workspace.notebooks / runbook.notebook)
    return tuple(
        name
        for name, differs in (
            ("the notebook", notebook != state.opened["notebook_digest"]),
            ("the package", __version__ != state.opened["package"]),
        )
        if differs
    )


def close_run(
    workspace: Workspace,
    directory: Path,
    journal: Journal,
    *,
    signer: str = "engine",
    shows_index: bool = True,
) -> RunState:
    """Stamps the notebook, writes reports and index, seals the run's files, and signs that into the ledger.

    The journal's last status record has to be there already ("ended" or "waiting"). Without ``shows_index`` somebody who
    waits for many runs writes the index for all of them.
    """
    from gitops_nb.report.files import write, write_index

    # A run that has an end said this before it; one that waits, or ended by another hand, did not.
    said = fold(journal.records)
    tell_aftermath(journal.append, said, said.status, reports=workspace.reports)
    saw_end(workspace, directory.name, journal.head)
    state = fold(journal.records)
    stamp_notebook(directory / "notebook.ipynb", state)
    now, zone = datetime.now(UTC), workspace.time_zone
    write(directory, state, now=now, zone=zone, pages=_own_pages(state, directory, now, zone))
    _remove_half_written(directory)
    restore_copies(directory, journal.records)
    seal(directory, journal)
    if shows_index:
        write_index(workspace.reports, now=now, zone=zone, cache=workspace.index_cache)
    closed = fold(journal.records)
    settle(workspace, directory, closed, signer=signer)
    return closed


def _remove_half_written(directory: Path) -> None:
    """What a killed attempt left; a name in ``approvals`` may be somebody's answer that is just being written."""
    for folder in (directory, directory / "evidence"):
        if folder.is_symlink():
            continue  # what lies where it leads is nobody's half of ours
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def _own_pages(state: RunState, directory: Path, now: datetime, zone: str) -> dict[str, str]:
    """The pages, by file name, of a runbook whose readers are not engineers; none for the usual report."""
    observed, measured = state.step("observe"), state.step("measure")
    if state.runbook != "dora" or state.status is not Status.SUCCEEDED:
        return {}  # a run that was stopped has to say so first
    if not (observed and observed.value and measured and measured.value):
        return {}
    from gitops_nb.dora import DoraState, Measured
    from gitops_nb.dora.document import CSV_FILE, metrics_csv
    from gitops_nb.model import from_json
    from gitops_nb.report.dora import render_dora, render_interactive

    numbers = from_json(Measured, measured.value)
    report = render_dora(
        state,
        numbers,
        from_json(DoraState, observed.value),
        directory=directory,
        now=now,
        zone=zone,
    )
    return {
        "report.html": report,
        "interactive.html": render_interactive(state, numbers, directory=directory),
        CSV_FILE: metrics_csv(numbers),
    }


def stamp_notebook(path: Path, state: RunState) -> None:
    """Stamps a saved notebook whose engine died; one that the engine saved says it already."""
    if not path.is_file():
        return
    try:
        notebook = json.loads(path.read_bytes())
    except ValueError:
        return  # a person put something else there; the journal stands without it
    if notebook.get("metadata", {}).get("gitops_nb", {}).get("journal") == state.head:
        return
    for cell in notebook["cells"]:
        mark = cell["metadata"].get("gitops_nb", {})
        if mark.get("status") == "running":
            mark["status"] = "failed"
    stamp(notebook, state)
    replace_file(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def stamp(notebook: Any, state: RunState) -> None:
    """Writes the journal's verdict into a notebook's metadata, where papermill's own may be untrue."""
    notebook["metadata"]["gitops_nb"] = {
        "run": state.run,
        "status": str(state.status),
        "steps": {step.name: str(step.status) for step in state.steps},
        "journal": state.head,
    }


def recover(workspace: Workspace) -> tuple[str, ...]:
    """Closes every run whose process died before it could; returns their ids.

    Where records are in a bucket the newest runs are brought here first, and what could not be sent is sent.

    A run counts as dead only when its lock can be taken: the operating system frees it with its holder. One that neither this
    machine worked on nor a runner signed the beginning of is left alone, and `verify` names it. No run keeps others from being
    closed: what cannot be closed or signed now stays as it is, and `verify` says what is missing.
    """
    fetch_runs(workspace)
    recovered: list[str] = []
    newest_seal = 0
    noted = open_here(workspace)
    for directory in run_directories(workspace.reports):
        sealed = sealed_at(directory)
        newest_seal = max(newest_seal, sealed or 0)
        run = directory.name
        if (sealed is not None and run not in noted) or is_run_held(workspace.reports, run):
            continue
        with contextlib.suppress(GitOpsError, *JUNK):
            if _close_left(workspace, directory, noted.get(run)):
                recovered.append(run)
    _catch_up_index(workspace, newest_seal)
    return tuple(recovered)


def refuse_earlier(newest: str) -> None:
    """Refuses to write behind a record of the future: its place in time could never be mended.

    Raises:
        RecordError: This machine's clock is behind the record by more than clocks differ.
    """
    now = datetime.now(UTC)
    if parse_time(newest) - now > CLOCKS_DIFFER:
        raise RecordError(
            f"this machine's clock says {format_time(now)}, and the record's newest line is of {newest}; nothing was written",
            hint="Set the clock, then try again.",
        )


def _close_left(workspace: Workspace, directory: Path, noted: str | None) -> bool:
    """Closes a run that nobody holds, or signs what its closing left to do; returns whether it had to be closed.

    Args:
        workspace: Of the run.
        directory: Its run directory.
        noted: What this machine noted of it (see ``held``), None for nothing.
    """
    state = scan_run(directory)
    if not state.opened:
        return False  # damaged: `verify` names it, and nothing is written on top of it
    if noted is None and not (was_begun(workspace, state) and is_believed_here(workspace, state)):
        return False
    lock = try_lock(workspace.reports, directory.name, holder("gitops-nb, closing a dead run"))
    if lock is None:
        return False
    try:
        is_torn = sealed_at(directory) is None
        journal = Journal.open(directory)
        try:
            refuse_earlier(journal.records[-1].at)
            first = began_with(workspace, directory.name)
            if first and first != journal.records[0].hash:
                return False  # it does not begin as this machine began it: `verify` names it, and nothing signs it
            return _close_dead(workspace, directory, journal, noted) or is_torn
        finally:
            journal.close()
            remove_left(directory)
    finally:
        lock.release()


def _close_dead(workspace: Workspace, directory: Path, journal: Journal, noted: str | None) -> bool:
    """Closes it, unless its newest record is a seal already that somebody answers for; returns whether it did."""
    state = fold(journal.records)
    is_ours = is_seen(noted or "", journal.records)
    if journal.records[-1].kind == "sealed":  # its own process may have sealed it meanwhile
        if is_ours:
            settle(workspace, directory, state, signer="engine")
            return False
        if is_signed(workspace, state):
            forget(workspace, state.run)  # another machine went on with it, and closed it
            return False
        if noted is None:
            return False  # whatever that end is worth: it is none of this machine's, and `verify` names it
    # A journal can be written by others: an end, or a request in the middle of effects, that this machine did not see, is none.
    waits = state.status is Status.WAITING and not state.begun and not state.touched
    if not is_ours and not (waits and not has_started(workspace, state)):
        cause = cause_of(workspace, state.run)
        append_end(
            journal,
            death=Death(cause) if cause else None,
            was_witnessed=False,
            has_begun=has_open_start(workspace, state),
        )
    close_run(workspace, directory, journal)
    return True


def _catch_up_index(workspace: Workspace, newest_seal: int) -> None:
    """Writes the index when a run was sealed after it, by a process that was killed before it came to that.

    The index of a bucket is written when a run is sent there.
    """
    from gitops_nb.report.files import INDEX, write_index

    path = workspace.reports / INDEX
    if workspace.bucket or newest_seal <= (path.stat().st_mtime_ns if path.is_file() else 0):
        return
    write_index(
        workspace.reports,
        now=datetime.now(UTC),
        zone=workspace.time_zone,
        cache=workspace.index_cache,
    )
