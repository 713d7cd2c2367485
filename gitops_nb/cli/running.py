"""``gitops-nb run`` and ``resume``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from gitops_nb import engine
from gitops_nb.catalog.load import Catalog, load_catalog
from gitops_nb.catalog.parameters import check, merge
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.choosing import recorded, to_resume
from gitops_nb.cli.github import tell_github
from gitops_nb.cli.progress import Progress
from gitops_nb.cli.show import options
from gitops_nb.errors import ExitCode, GitOpsError, Refused, UsageError
from gitops_nb.executor import ExecutorProcess
from gitops_nb.kernel import KernelProcess
from gitops_nb.model import Mode, Risk, Status
from gitops_nb.policy import Requester
from gitops_nb.ports import View
from gitops_nb.record import journal
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.runs import engine_lock, find_run, holder, is_held, locked
from gitops_nb.report.story import rules_sentence
from gitops_nb.session.beginnings import refuse_unknown
from gitops_nb.session.endings import ENDED_FOR_GOOD
from gitops_nb.session.held import refuse_rewritten
from gitops_nb.session.lifecycle import create, recover, refuse_changed, runbook_of
from gitops_nb.session.opening import asks_somebody, choose_mode, refuse_unfit
from gitops_nb.session.platform import open_platform


def run_runbook(
    name: str,
    *,
    typed: Mapping[str, Any],
    texts: Mapping[str, str],
    mode: str | None,
    plan_only: bool,
    again: bool,
    break_glass: str,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
    process: KernelProcess,
) -> int:
    """Checks everything, runs the notebook, prints what happened; returns the exit code of the journal."""
    where = find_workspace(workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    runbook = runbook_of(catalog, name)
    parsed = merge(runbook, catalog.fleet, typed, texts)
    recover(where)
    with (
        engine.Signals() as signals,
        begun_run(
            where, runbook, parsed, beginning(where, catalog, mode), plan_only=plan_only
        ) as directory,
    ):
        return _execute(
            where,
            directory,
            order_of(
                where,
                runbook,
                directory,
                again=again,
                break_glass=break_glass,
            ),
            signals,
            process,
            as_json=as_json,
            extra=options(workspace, reports),
        )


@dataclass(frozen=True, slots=True)
class Beginning:
    """What new runs begin with: the catalog as the platform has it, its mode, and who asks."""

    where: Workspace
    catalog: Catalog
    mode: Mode
    requester: Requester
    rules: Mapping[str, str] = field(default_factory=dict)
    view: View | None = None

    def check(self, runbook: Runbook, parameters: Mapping[str, Any]) -> None:
        """Checks parameters, known to fit the workspace, against the platform.

        Raises:
            UsageError: They do not fit.
        """
        if self.mode is Mode.LIVE:
            try:
                check(runbook, self.catalog.fleet, parameters)
            except UsageError as error:
                # They fit the workspace's files, so the reader has to know that those are not asked.
                said = rules_sentence(self.rules)
                raise UsageError(
                    error.message, hint=f"A live run has {said}. {error.hint}"
                ) from error
        refuse_unfit(self.where, self.catalog, runbook, parameters, self.view, mode=self.mode)

    def needs_approval(self, runbook: Runbook, parameters: Mapping[str, Any]) -> bool:
        """Whether somebody has to approve a run with these parameters."""
        return asks_somebody(self.where, self.catalog, runbook, parameters)


def beginning(where: Workspace, catalog: Catalog, mode: str | None) -> Beginning:
    """Looks up what new runs begin with; live, the protected branch says which environments there are."""
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    seen = replace(catalog, fleet=platform.fleet, policy=platform.policy, trust=platform.trust)
    return Beginning(where, seen, chosen, platform.requester, platform.policy_source, platform.view)


@contextmanager
def begun_run(
    where: Workspace,
    runbook: Runbook,
    parameters: Mapping[str, Any],
    begins: Beginning,
    *,
    plan_only: bool = False,
) -> Iterator[Path]:
    """The directory of a new run, held for as long as the block lasts.

    Raises:
        UsageError: The parameters do not fit the platform.
    """
    begins.check(runbook, parameters)
    directory, lock = create(
        where,
        begins.catalog,
        runbook,
        parameters,
        mode=begins.mode,
        requester=begins.requester,
        plan_only=plan_only,
    )
    try:
        yield directory
    finally:
        lock.release()


def order_of(
    where: Workspace,
    runbook: Runbook,
    directory: Path,
    *,
    again: bool = False,
    break_glass: str = "",
    shows_index: bool = True,
) -> engine.Order:
    """What the engine has to execute for a run, as its record says.

    Raises:
        Refused: The record does not begin as this machine began it.
    """
    known = _own_record(where, directory)
    opened = known.opened
    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in opened["parameters"].items()
    }
    return engine.Order(
        notebook=where.notebooks / runbook.notebook,
        parameters=parameters,
        timeouts=runbook.timeouts,
        mode=opened["mode"],
        requester=opened["requester"]["name"],
        head=known.head,
        plan_only=bool(opened.get("plan_only")),
        again=again,
        break_glass=break_glass,
        shows_index=shows_index,
    )


def resume_run(name: str, *, as_json: bool, workspace: Path | None, reports: Path | None) -> int:
    """Runs the notebook of an existing run once more, in its directory."""
    where = find_workspace(workspace, reports=reports)
    recover(where)
    directory = find_run(where.reports, name, to_resume(where), wanted="can be resumed")
    if is_held(where.reports, directory.name):
        raise Refused(
            f"{directory.name} is open in another process",
            hint="Wait for that process to end, or close its notebook; one that waits for an approval goes on by itself.",
        )
    who = holder("gitops-nb resume")
    with (
        locked(where.reports, engine_lock(directory.name), who),
        KernelProcess() as process,
        engine.Signals() as signals,
    ):
        # Read under the lock: another resume may just have finished it.
        state = recorded(directory)
        if where.bucket and state.status is Status.RUNNING:
            last = state.attempts[-1] if state.attempts else {}
            raise Refused(
                f"{state.run} is open in process {last.get('pid', '?')} on {last.get('host', '?')}; this machine cannot tell whether that still lives",
                hint=f"When it is gone for certain, run `gitops-nb unlock {state.run} --reason TEXT`.",
            )
        if state.status in ENDED_FOR_GOOD:
            raise Refused(
                f"{state.run} has ended: {state.status}; {state.reason}",
                hint="Start a new run with `gitops-nb run`.",
            )
        runbook = runbook_of(load_catalog(where.runbooks), state.runbook)
        if runbook.risk is not Risk.READ:
            # Before anything is opened in the mode that its record names.
            refuse_unknown(where, journal.read(directory / journal.FILE)[0])
        refuse_changed(where, runbook, state.opened["parameters"], state)
        return _execute(
            where,
            directory,
            order_of(where, runbook, directory),
            signals,
            process,
            as_json=as_json,
            extra=options(workspace, reports),
        )


def _execute(
    where: Workspace,
    directory: Path,
    order: engine.Order,
    signals: engine.Signals,
    process: KernelProcess,
    *,
    as_json: bool,
    extra: str,
) -> int:
    unrecorded: engine.Unrecorded | None = None
    with Progress(directory, quiet=as_json) as progress:
        known = _own_record(where, directory)
        progress.heading(known)
        with executor_of(where, known) as executor:
            try:
                state = engine.execute(
                    where, directory, order, signals=signals, waiting=process, executor=executor
                )
            except engine.Unrecorded as error:
                unrecorded, state = error, error.state
    code = unrecorded.exit_code if unrecorded else exit_code(state)
    tell_github(state, code)
    try:
        _print_end(
            state,
            directory,
            as_json=as_json,
            plan_only=order.plan_only,
            extra=extra,
            unrecorded=unrecorded,
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; the exit code still comes from the journal.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _own_record(where: Workspace, directory: Path) -> RunState:
    """A run of this machine, by a journal that begins as this machine began it."""
    records = journal.read(directory / journal.FILE)[0]
    refuse_rewritten(where, directory.name, records)
    return fold(records)


@contextmanager
def executor_of(where: Workspace, state: RunState) -> Iterator[ExecutorProcess | None]:
    """A process for the verbs of a run that needs approval; none for the others."""
    if not needs_approval(where, state):
        yield None
        return
    with ExecutorProcess() as process:
        yield process


def needs_approval(where: Workspace, state: RunState) -> bool:
    """Whether somebody has to approve a run, by its runbook, its parameters and the rules that count now.

    What else its record says of it, risk and environment, whoever may write there could have changed.
    """
    catalog = load_catalog(where.runbooks)
    runbook = catalog.runbooks.get(state.runbook)
    if runbook is None:
        return True  # its notebook says what is wrong; nothing of it is done here
    platform = open_platform(where, catalog, Mode(state.opened["mode"]))
    seen = replace(catalog, fleet=platform.fleet, policy=platform.policy, trust=platform.trust)
    try:
        return asks_somebody(where, seen, runbook, state.opened["parameters"])
    except GitOpsError:
        return True  # parameters that do not fit any more are refused where they are opened


def _print_end(
    state: RunState,
    directory: Path,
    *,
    as_json: bool,
    plan_only: bool,
    extra: str,
    unrecorded: engine.Unrecorded | None,
) -> None:
    """The whole end of a run; and behind it what its record lacks, where it could not be completed."""
    if as_json:
        from gitops_nb.report.document import summary
        from gitops_nb.report.text import json_text

        told = summary(state)
        if unrecorded is not None:
            told |= {"error": unrecorded.message, "hint": unrecorded.hint}
        click.echo(json_text(told))
        return
    from gitops_nb.cli.show import show_end, show_problem

    show_end(state, directory, plan_only=plan_only, extra=extra)
    if unrecorded is not None:
        show_problem(unrecorded)


def exit_code(state: RunState) -> int:
    """The exit code of a run, from its journal."""
    if state.status is Status.WAITING:
        return ExitCode.WAITING
    return ExitCode.INTERNAL if state.exit_code is None else state.exit_code
