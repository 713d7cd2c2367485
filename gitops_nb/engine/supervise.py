"""One supervised run, from its kernel's start to its record's end."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops_nb import errors
from gitops_nb.catalog.runbooks import Timeouts
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.engine.closing import close
from gitops_nb.engine.document import CellStatus, Document
from gitops_nb.engine.kernels import EXECUTOR, Kernel, Telling, Waiting, give_order
from gitops_nb.engine.limits import Limits
from gitops_nb.engine.signals import Signals
from gitops_nb.engine.witness import Witness
from gitops_nb.errors import ConflictError, ExitCode, NotContinued, RecordError, Stop
from gitops_nb.executor import order_text
from gitops_nb.imports import skip_headless_imports
from gitops_nb.kernel import NOT_FOR_NOTEBOOKS
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE
from gitops_nb.record.journal import read as read_records
from gitops_nb.record.keys import held_key
from gitops_nb.record.runs import is_held, lock_holder, read_run
from gitops_nb.session.endings import Cause, Death
from gitops_nb.session.held import (
    hold,
    refuse_other_beginning,
)
from gitops_nb.session.order import Order as Told
from gitops_nb.session.origins import pin_text
from gitops_nb.session.private import private_folder
from gitops_nb.session.serving import notary

if TYPE_CHECKING:
    from gitops_nb.engine.client import Client

GRACE_S = 10.0
"""How long a kernel may take to end its cell after an interrupt, beside the grace of commands that it runs."""
LONGEST_GRACE_S = 900.0
WATCHED_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """What to execute.

    Args:
        notebook: The notebook; it is not changed.
        parameters: Checked parameters, injected after the cell tagged ``parameters``.
        timeouts: Of the runbook.
        mode: sandbox or live, handed to the kernel.
        requester: Shown as holder of the lock while the record is closed.
        head: Hash of the newest record of the run, as the command saw it before anything of the notebook ran.
        plan_only: Stop after decide.
        again: Do again what an earlier run did.
        break_glass: Why the requester goes on without approval, "" when they do not.
        shows_index: Bring the index of all runs up to date at the end.
    """

    notebook: Path
    parameters: Mapping[str, Any]
    timeouts: Timeouts
    mode: str
    requester: str
    head: str
    plan_only: bool = False
    again: bool = False
    break_glass: str = ""
    shows_index: bool = True


def execute(
    workspace: Workspace,
    directory: Path,
    order: Order,
    *,
    signals: Signals,
    waiting: Waiting,
    executor: Telling | None = None,
    executed: Callable[[], None] | None = None,
) -> RunState:
    """Runs a notebook to its end in the run directory and closes the run's record.

    Args:
        workspace: The workspace of the run.
        directory: Its run directory, made before.
        order: What to execute.
        signals: Entered before the run directory was made.
        waiting: A process for the kernel, with no order yet.
        executor: A process for the verbs, with no order yet; None where nobody has to approve.
        executed: Called when the kernel is gone, and only the record is left to close.

    Raises:
        ConflictError: The run is open in another process.
        Unrecorded: The record cannot be written or sent; the next command does what is left.
        RecordError: Nothing of the run can be read either.
        NotContinued: A run that was there before did not go on, and its record is as it was.
    """
    skip_headless_imports()
    attempts = len(read_run(directory).attempts)
    if is_held(workspace.reports, directory.name):
        other = lock_holder(workspace.reports, directory.name)
        raise ConflictError(
            f"{directory.name} is open in process {other.get('pid', '?')} since {other.get('since', '?')}",
            hint="Wait for that process to end, or close its notebook; one that waits for an approval goes on by itself.",
        )
    if signals.received is not None:
        state = close(workspace, directory, order, before=attempts, cause=signals.received)
        return _continued(state, attempts, signals.received)
    with (
        private_folder(directory) as private,
        notary(
            workspace, directory, private, head=order.head, is_author=executor is None
        ) as address,
    ):
        told = Told(
            run=directory.name,
            head=order.head,
            plan_only=order.plan_only,
            again=order.again,
            break_glass=order.break_glass,
            is_supervised=True,
            notary=str(address),
            workspace=str(workspace.root),
            mode=order.mode,
            pin=pin_text(workspace.root),
        )
        witness = None
        if executor is None:
            records, _ = read_records(directory / FILE)
            refuse_other_beginning(directory.name, records, order.head)
            hold(workspace, directory.name, records[0].hash)
        else:
            witness = Witness(executor.said, order.head)
            executor.order(
                order_text(
                    address=private / EXECUTOR,
                    log=private / "executor.log",
                    environment={**os.environ, **_place(workspace, order)},
                    told=asdict(
                        replace(
                            told,
                            notary="",
                            reports=workspace.bucket or str(workspace.reports),
                        )
                    ),
                    key=held_key(),
                )
            )
            told = replace(told, executor=str(private / EXECUTOR))
        kernel = give_order(
            waiting,
            private,
            _environment(workspace, order),
            executor=executor,
            # Never a folder of the record: what somebody puts there is neither imported nor executed nor obeyed.
            cwd=workspace.notebooks,
            told=told,
        )
        problem: RecordError | None = None
        try:
            document = Document(order.notebook, directory / "notebook.ipynb", order.parameters)
            supervision = _Supervision(
                kernel,
                document,
                Limits(order.timeouts, directory),
                signals,
                _Begun(directory) if attempts else None,
            )
            try:
                supervision.run()
            except RecordError as error:
                problem = error
            death = supervision.death(kernel.exit_code)
        finally:
            kernel.kill()
    if executed is not None:
        executed()
    if problem is not None:
        death = Death(problem.message, problem.exit_code, problem.hint)
    state = close(
        workspace,
        directory,
        order,
        before=attempts,
        cause=supervision.cause,
        death=death,
        document=document,
        written=witness.head() if witness is not None else "",
    )
    return _continued(state, attempts, supervision.cause, death)


def _environment(workspace: Workspace, order: Order) -> dict[str, str]:
    return {
        # The notebook has no part in signing and in proving who asks: the engine does it.
        **{name: value for name, value in os.environ.items() if name not in NOT_FOR_NOTEBOOKS},
        **_place(workspace, order),
    }


def _place(workspace: Workspace, order: Order) -> dict[str, str]:
    return {
        "GITOPS_NB_WORKSPACE": str(workspace.root),
        "GITOPS_NB_REPORTS": workspace.bucket or str(workspace.reports),
        "GITOPS_NB_MODE": order.mode,
    }


def _preload_pages() -> None:
    from gitops_nb.report.layout import preload_templates

    preload_templates("run.html.j2", "run_sections.html.j2", "index.html.j2", "index_row.html.j2")


_AHEAD: tuple[Callable[[], object], ...] = (
    partial(importlib.import_module, "gitops_nb.report.files"),
    _preload_pages,
    partial(importlib.import_module, "cryptography.hazmat.primitives.serialization"),
)
"""What the end of a run needs; the engine is idle while its kernel begins."""


class _Begun:
    """Whether the kernel has recorded an attempt of its own in a journal that was there before."""

    def __init__(self, directory: Path) -> None:
        self._journal = directory / FILE
        self._before_bytes = self._journal.stat().st_size

    def is_true(self) -> bool:
        return self._journal.stat().st_size > self._before_bytes


class _Stopped(Exception):
    """No further cell begins, and the one that runs is not waited for."""


class _Supervision:
    """Executes all cells, or as many as come before a failure, a timeout or a signal."""

    def __init__(
        self,
        kernel: Kernel,
        document: Document,
        limits: Limits,
        signals: Signals,
        begun: _Begun | None,
    ) -> None:
        self._begun = begun
        self.cause: Cause | None = None
        self._kernel = kernel
        self._document = document
        self._limits = limits
        self._signals = signals
        self._error: Mapping[str, Any] = {}
        self._client: Client | None = None
        self._looks_at_s = 0.0
        self._runs_cell = False
        self._stopped_s = 0.0
        self._patience_s = GRACE_S

    def run(self) -> None:
        """Returns when no cell runs any more, or none will.

        Raises:
            RecordError: Nothing more can be saved, so nothing more may be done.
        """
        from gitops_nb.engine.client import Client, KernelGone

        client = self._client = Client(self._document, self._kernel, self._turn, meanwhile=_AHEAD)
        # A failing cell, a dead kernel and one that never became ready all end here; what they mean stands in the journal.
        with contextlib.suppress(KernelGone, _Stopped), client.connected():
            for index, cell in enumerate(self._document.notebook.cells):
                if client.executes(cell) and not self._goes_well(client, cell, index):
                    return

    def death(self, exit_code: int | None) -> Death:
        """What is known about the end of the cells, for a journal that does not say it."""
        if self._kernel.lacks_executor():
            code = self._kernel.executor_exit_code()
            return Death.of_process(code, who="the process that calls the verbs")
        if self._error:
            error = self._error
            if error["ename"] == errors.ProcessGone.__name__:
                code = self._kernel.executor_exit_code()
                if code is not None:
                    return Death.of_process(code, who="the process that calls the verbs")
            return Death.of_exception(error["ename"], error["evalue"], error["traceback"])
        return Death.of_process(exit_code, self._kernel.last_words())

    def _goes_well(self, client: Client, cell: Any, index: int) -> bool:
        """Executes one cell; whether the next one may begin."""
        self._turn()
        self._document.mark(cell, CellStatus.RUNNING)
        self._limits.cell_begins()
        self._runs_cell = True
        reply = client.run_cell(cell, index)
        self._runs_cell = False
        self._limits.cell_ends()
        is_well = reply["status"] == "ok"
        if is_well:
            self._document.mark(cell, CellStatus.COMPLETED)
        else:
            self._error = reply
            self._document.mark(cell, _status_of(reply.get("ename", "")))
        self._save_if_due()
        return is_well or client.may_raise(cell)

    def _save_if_due(self) -> None:
        """Leaves the notebook of an earlier attempt alone until this one stands in the journal: it is sealed there."""
        if self._begun is None or self._begun.is_true():
            self._document.save_if_due()

    def _turn(self) -> None:
        """Looks at signals and the clock; after an interrupt ends the waiting when that does not help in time.

        Raises:
            _Stopped: The kernel was interrupted, and had its time; or what it waits for can never come.
            RecordError: The notebook cannot be saved.
        """
        if self.cause is None and self._signals.received is not None:
            self._stop(self._signals.received)
        if self.cause is not None and not self._runs_cell:
            # An idle kernel, or one that only begins, takes no notice of an interrupt and has nothing to finish.
            raise _Stopped
        now = time.monotonic()
        if now < self._looks_at_s:
            return
        self._looks_at_s = now + WATCHED_EVERY_S
        if self._kernel.lacks_executor():
            raise _Stopped
        if self.cause is None:
            self._save_if_due()
            over = self._limits.over()
            if over is not None:
                self._stop(over)
            return
        since_s = now - self._stopped_s
        if self._kernel.runs_commands():
            # Its adapter ends a command after the grace it declared; the kernel's own grace begins then.
            self._patience_s = min(since_s + GRACE_S, LONGEST_GRACE_S)
        if since_s >= self._patience_s:
            raise _Stopped

    def _stop(self, cause: Cause) -> None:
        """Interrupts the kernel, once, whatever else comes."""
        self.cause = cause
        self._stopped_s = time.monotonic()
        self._kernel.interrupt()
        if self._client is not None:
            self._client.probe()


def _continued(
    state: RunState, attempts: int, cause: Cause | None, death: Death | None = None
) -> RunState:
    """The run, if an attempt of this command stands in its journal.

    Raises:
        NotContinued: None does: what stopped the command is no part of the run, whose status says nothing of it.
    """
    if not attempts or len(state.attempts) > attempts:
        return state
    code = cause.code if cause else death.code if death else ExitCode.INTERNAL
    sentence = cause.sentence if cause else death.sentence if death else "it stopped"
    raise NotContinued(
        f"{sentence}, before {state.run} went on: it is {state.status}, as before",
        hint=(death.hint if death and not cause else "")
        or f"Run `gitops-nb resume {state.run}` again.",
        exit_code=code,
    )


def _status_of(exception: str) -> CellStatus:
    kind = getattr(errors, exception, None)
    is_stop = isinstance(kind, type) and issubclass(kind, Stop)
    stopped = is_stop and kind not in (errors.Failed, errors.NeedsAttention)
    return CellStatus.STOPPED if stopped else CellStatus.FAILED
