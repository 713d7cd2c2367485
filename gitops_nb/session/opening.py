"""Opens a session: a new run, or the next attempt of one that the engine names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gitops_nb.catalog.load import Catalog, load_catalog
from gitops_nb.catalog.parameters import check
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.workspace import FILE, Workspace, find_workspace
from gitops_nb.errors import ConfigurationError, ConflictError, Refused, UnavailableError
from gitops_nb.model import Decision, Mode, Risk, Status
from gitops_nb.policy import rules_for
from gitops_nb.ports import View
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal, Record
from gitops_nb.record.runs import find_run, holder, lock_holder, try_lock
from gitops_nb.session.alarm import Alarm
from gitops_nb.session.beginnings import refuse_unknown
from gitops_nb.session.endings import ENDED_FOR_GOOD
from gitops_nb.session.facts import engine_for
from gitops_nb.session.gate import Gate
from gitops_nb.session.held import refuse_another, refuse_rewritten
from gitops_nb.session.lifecycle import (
    create,
    other_code,
    refuse_changed,
    refuse_earlier,
    runbook_of,
)
from gitops_nb.session.notary import note_open
from gitops_nb.session.order import Order, given
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.provenance import may_of, source_of, tools_of
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.run import Front, Session
from gitops_nb.session.runners import refuse_unlisted_runner, refuse_unpinned
from gitops_nb.session.slices import Surroundings, slice_of
from gitops_nb.session.warrant import Warrant

Elsewhere = Callable[[Workspace, Mode, str, Mapping[str, Any]], Any]
"""Opens a run, with its mode, runbook and checked parameters, in another process; returns what stands for its session here."""


class Headless:
    """A front without a person: it shows nothing and never waits."""

    is_interactive = False

    def on_record(self, record: Record) -> None:
        """Nobody looks."""

    async def wait(self, *_: Any) -> Decision | None:
        """Nobody is here to answer."""
        return None


def open_session(
    runbook: str,
    *,
    workspace: str | Path | None = None,
    reports: str | Path | None = None,
    mode: Mode | str | None = None,
    front: Front | None = None,
    order: Order | None = None,
    elsewhere: Elsewhere | None = None,
    **parameters: Any,
) -> Session:
    """Checks everything that can be checked, then opens the run.

    Args:
        runbook: Name of the runbook.
        workspace: Its folder, if not what a command told this process; see ``find_workspace`` for the order of sources.
        reports: Where run directories go, if not where the workspace says.
        mode: sandbox or live, if not what the command or the workspace says; see ``choose_mode``.
        front: Where the session is shown.
        order: What decides about the run beside its parameters; by default what this process was told.
        elsewhere: Opens a run that needs approval in a process that the notebook has no part in; without it all is done here.
        parameters: As declared in the runbook's YAML.

    Raises:
        ConfigurationError: Workspace, catalog or mode are wrong; nothing was written.
        UsageError: A parameter is wrong; nothing was written.
    """
    where = find_workspace(workspace or given().workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    declared = runbook_of(catalog, runbook)
    checked = check(declared, catalog.fleet, parameters)
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    if chosen is Mode.LIVE:
        # What a name means is said by the protected branch; a change of fleet.yaml counts once it is merged.
        checked = check(declared, platform.fleet, parameters)
    told = order or given()
    if elsewhere is not None and asks_somebody(where, _of(platform, catalog), declared, checked):
        found: Session = elsewhere(where, chosen, runbook, checked)
        return found
    shown = front or Headless()
    if told.run:
        directory = find_run(where.reports, told.run)
        return _attach(
            where, platform, declared, checked, directory=directory, front=shown, order=told
        )
    refuse_unfit(where, _of(platform, catalog), declared, checked, platform.view, mode=chosen)
    directory, lock = create(
        where, _of(platform, catalog), declared, checked, mode=chosen, requester=platform.requester
    )
    try:
        return _attach(
            where, platform, declared, checked, directory=directory, front=shown, order=told
        )
    finally:
        lock.release()


def asks_somebody(
    workspace: Workspace, catalog: Catalog, runbook: Runbook, parameters: Mapping[str, Any]
) -> bool:
    """Whether somebody has to approve what is asked for, by the rules of a catalog as the platform has it."""
    if runbook.risk is Risk.READ:
        return False
    around = Surroundings(
        workspace.root, workspace.reports, datetime.now(UTC), None, workspace.time_zone
    )
    request = slice_of(runbook.name).request(catalog.fleet, parameters, around)
    if request.environment not in catalog.fleet.environments:
        return False
    rules = rules_for(catalog.fleet, catalog.policy, catalog.trust, request.environment)
    return bool(rules.approvals)


def refuse_unfit(
    workspace: Workspace,
    catalog: Catalog,
    runbook: Runbook,
    parameters: Mapping[str, Any],
    view: View | None,
    *,
    mode: Mode,
) -> None:
    """Refuses parameters that the outside world shows to be wrong; where it does not answer, the run itself says so.

    Raises:
        UsageError: They name what is not there.
    """
    parts = slice_of(runbook.name)
    if view is None or parts.fits is None:
        return
    around = Surroundings(
        workspace.root,
        workspace.reports,
        datetime.now(UTC),
        None,
        workspace.time_zone,
        engine=engine_for(workspace, mode),
    )
    with contextlib.suppress(UnavailableError):
        parts.fits(view, parts.request(catalog.fleet, parameters, around))


def choose_mode(workspace: Workspace, mode: Mode | str | None) -> Mode:
    """The mode of a run; there is no default.

    A command says it, or what a command told this process; a variable only where the workspace's file leaves it open.

    Raises:
        ConfigurationError: Nobody named one, it is none, or a variable says something else than the file.
    """
    said, variable = mode or given().mode, os.environ.get("GITOPS_NB_MODE")
    if not said and variable and workspace.mode is not None and variable != workspace.mode:
        raise ConfigurationError(
            f"GITOPS_NB_MODE says {variable!r}, and {FILE} says {str(workspace.mode)!r}; nothing was run",
            hint=f"Unset it, or say it to the command: --mode {variable}.",
        )
    text = said or variable or workspace.mode
    if not text:
        raise ConfigurationError(
            "nobody said whether this is the sandbox or live",
            hint="Write `mode: sandbox` or `mode: live` into gitops-nb.yaml, or give --mode.",
        )
    try:
        return Mode(text)
    except ValueError:
        raise ConfigurationError(f"mode {text!r}; allowed: sandbox, live") from None


def _of(platform: Platform, catalog: Catalog) -> Catalog:
    """The catalog as the platform sees it; the sandbox puts its own addresses in place of the fleet's."""
    return Catalog(platform.fleet, platform.policy, catalog.runbooks, platform.trust)


def _open_journal(
    workspace: Workspace,
    platform: Platform,
    runbook: Runbook,
    parameters: dict[str, Any],
    *,
    directory: Path,
    head: str,
) -> tuple[Journal, RunState]:
    """The journal of a run that may go on, here.

    Raises:
        Refused: It has ended, or it is not the same run any more, or another runner has to go on with it, or it is not what the
            command saw whose newest record is ``head``.
    """
    journal = Journal.open(directory)
    try:
        refuse_rewritten(workspace, directory.name, journal.records)
        refuse_another(directory.name, journal.records, head)
        refuse_earlier(journal.records[-1].at)
        state = fold(journal.records)
        refuse_changed(workspace, runbook, parameters, state)
        _refuse_ended(state)
        if slice_of(runbook.name).writers is not None:
            if not head:  # else the command that saw it has asked that
                refuse_unknown(workspace, journal.records)
            _refuse_here(workspace, platform, state)
    except BaseException:
        journal.close()
        raise
    return journal, state


def _refuse_here(workspace: Workspace, platform: Platform, state: RunState) -> None:
    """Refuses before the run knows of it: that nobody would believe this machine ends no run that waits for a person.

    A run that changed something is gone on with all the same: what happened is found out, and nothing more is changed.
    """
    if state.status is Status.WAITING and not state.effects:
        rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
        refuse_unlisted_runner(workspace, rules)
        refuse_unpinned(platform, rules)


def _refuse_ended(state: RunState) -> None:
    if state.ended and state.status in ENDED_FOR_GOOD:
        raise Refused(f"{state.run} has ended: {state.status}", hint="Start a new run.")


def _attach(
    workspace: Workspace,
    platform: Platform,
    runbook: Runbook,
    parameters: dict[str, Any],
    *,
    directory: Path,
    front: Front,
    order: Order,
) -> Session:
    lock = try_lock(workspace.reports, directory.name, holder(platform.requester.name))
    if lock is None:
        other = lock_holder(workspace.reports, directory.name)
        raise ConflictError(
            f"{directory.name} is open in process {other.get('pid', '?')} since {other.get('since', '?')}",
            hint="Wait for that process to end, or close its notebook; one that waits for an approval goes on by itself.",
        )
    try:
        journal, state = _open_journal(
            workspace, platform, runbook, parameters, directory=directory, head=order.head
        )
    except BaseException:
        # A notebook's kernel keeps its last traceback, and with it this frame: the lock would stay held.
        lock.release()
        raise
    parts = slice_of(runbook.name)
    around = Surroundings(
        workspace.root,
        directory,
        datetime.now(UTC),
        platform.incidents,
        workspace.time_zone,
        platform.policy.freeze_windows,
        engine_for(workspace, platform.mode),
    )
    supervised = order.is_supervised
    recorder = Recorder(
        workspace,
        directory,
        journal=journal,
        lock=lock,
        on_record=front.on_record,
        is_supervised=supervised,
        alarm=None if supervised else Alarm(runbook.timeouts),
        who=platform.requester.name,
    )
    gate = Gate(
        recorder,
        platform,
        names=runbook.gates,
        plan_only=order.plan_only,
        again=order.again,
        break_glass=order.break_glass,
    )
    request = parts.request(platform.fleet, parameters, around)
    beyond = parts.beyond
    session = Session(
        recorder,
        platform,
        parts=parts,
        request=request,
        gate=gate,
        warrant=Warrant(
            workspace,
            platform,
            gate.consent,
            lambda: recorder.state,
            environment=request.environment,
            beyond=(lambda plan: beyond(request, plan))
            if beyond is not None
            else (lambda _: "its runbook does not say what it may reach"),
            other_code=other_code(workspace, runbook, state),
        ),
        front=front,
    )
    note_open(workspace, directory.name, journal.records[0].hash)
    name = "gitops-nb run" if supervised else "JupyterLab" if front.is_interactive else "papermill"
    recorder.append(
        "attempt",
        number=len(state.attempts) + 1,
        front=name,
        policy=platform.policy_source,
        source=source_of(workspace.root, platform.processes),
        # Versions cost two processes: where nothing real is changed they are left out.
        tools=tools_of(platform.processes) if platform.mode is Mode.LIVE else {},
        may=may_of(session.rules),
        **holder(platform.requester.name),
    )
    return session
