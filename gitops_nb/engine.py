"""Executes a runbook's notebook headlessly and closes the run, however it ended.

The kernel talks over IPC with its connection file in a private folder. The kernel writes the journal;
the engine writes the notebook into the run directory, reaps the kernel, and only then closes the record. The
exit code comes from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConflictError, ExitCode
from gitops_nb.imports import skip_slow_imports
from gitops_nb.model import Status
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import is_held, lock_holder, try_lock
from gitops_nb.session.lifecycle import close_run, end_of, holder

GRACE_S = 10.0
"""How long a kernel may take to end after an interrupt before it is killed."""
READY_S = 120


def execute(
    workspace: Workspace,
    directory: Path,
    *,
    notebook: Path,
    parameters: Mapping[str, Any],
    mode: str,
    requester: str,
    signals: Signals,
    plan_only: bool = False,
) -> RunState:
    """Runs a notebook to its end in the run directory and closes the run's record.

    Args:
        workspace: The workspace of the run.
        directory: Its run directory, made before.
        notebook: The notebook to execute; it is not changed.
        parameters: Checked parameters, injected after the cell tagged ``parameters``.
        mode: sandbox or live, handed to the kernel.
        requester: Shown as holder of the lock while the record is closed.
        signals: Entered before the run directory was made.
        plan_only: Stop after decide.

    Raises:
        ConflictError: The run is open in another process.
        RecordError: The record cannot be written.
    """
    skip_slow_imports()
    environment = {
        **os.environ,
        "GITOPS_NB_RUN": directory.name,
        "GITOPS_NB_WORKSPACE": str(workspace.root),
        "GITOPS_NB_REPORTS": str(workspace.reports),
        "GITOPS_NB_MODE": mode,
        "GITOPS_NB_SUPERVISED": "1",
        "GITOPS_NB_STOP_AFTER": "decide" if plan_only else "",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    _refuse_held(workspace, directory.name)
    if signals.received is None:
        asyncio.run(
            _execute(
                notebook, directory, parameters, environment, cwd=workspace.root, signals=signals
            )
        )
    return _close(workspace, directory, signals.received, requester)


def _refuse_held(workspace: Workspace, run: str) -> None:
    if is_held(workspace.reports, run):
        other = lock_holder(workspace.reports, run)
        raise ConflictError(
            f"{run} is open in process {other.get('pid', '?')} since {other.get('since', '?')}",
            hint="It goes on by itself when the approval arrives; or close that notebook first.",
        )


async def _execute(
    notebook: Path,
    directory: Path,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    cwd: Path,
    signals: Signals,
) -> None:
    """Runs all cells, or as many as come before a failure or a signal."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from gitops_nb.client import Client

    document = nbformat.read(notebook, as_version=4)
    _clear(document)
    inject_parameters(document, parameters)
    output = directory / "notebook.ipynb"
    saved = 0.0

    def save(*, at_once: bool = False) -> None:
        nonlocal saved
        if at_once or time.monotonic() - saved >= 1.0:
            replace_file(output, nbformat.writes(document).encode("utf-8", "backslashreplace"))
            saved = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="gitops-nb-") as private:
        manager = AsyncKernelManager(
            transport="ipc",
            connection_file=str(Path(private, "kernel.json")),
            ip=str(Path(private, "k")),
        )
        manager._kernel_spec = KernelSpec(  # noqa: SLF001  jupyter_client has no public way to give one
            argv=[sys.executable, "-m", "gitops_nb.kernel", "-f", "{connection_file}"],
            display_name="gitops_nb",
            language="python",
        )
        client = Client(
            document,
            km=manager,
            timeout=None,
            startup_timeout=READY_S,
            store_widget_state=False,
            shutdown_kernel="immediate",
            on_cell_start=lambda **_: signals.refuse_more(),
            on_cell_executed=lambda **_: save(),
            resources={"metadata": {"path": str(cwd)}},
        )
        task = asyncio.ensure_future(client.async_execute(env=dict(environment)))
        _stop_at_signal(signals, manager, task)
        try:
            # A failing cell, a timeout, a dead kernel and one that never became ready (RuntimeError) all end
            # here; what they mean stands in the journal.
            with contextlib.suppress(
                CellExecutionError,
                CellTimeoutError,
                DeadKernelError,
                RuntimeError,
                asyncio.CancelledError,
                _Cancelled,
            ):
                await task
        finally:
            signals.when_received(None)
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)
            save(at_once=True)


class _Cancelled(Exception):
    """A signal came; no further cell begins."""


class Signals:
    """Remembers the first SIGINT or SIGTERM from the moment it is entered, so that none falls between two stages.

    A second signal adds nothing: what handles an interrupt must not be interrupted twice.
    """

    def __init__(self) -> None:
        self.received: ExitCode | None = None
        self._then: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _CODES:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def when_received(self, then: Callable[[], None] | None) -> None:
        """What to do at the first signal; at once if there was one already."""
        self._then = then
        if self.received is not None and then is not None:
            then()

    def refuse_more(self) -> None:
        """Raises before a further cell once there was a signal: an idle kernel takes no notice of an interrupt."""
        if self.received is not None:
            raise _Cancelled

    def _handle(self, number: int, _frame: object) -> None:
        if self.received is None:
            self.received = _CODES[signal.Signals(number)]
            if self._then is not None:
                self._then()


_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def _stop_at_signal(signals: Signals, manager: Any, task: asyncio.Task[Any]) -> None:
    """At the first signal interrupts the kernel once; ends the task when that does not help in time."""
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Task[None]] = set()

    async def stop() -> None:
        if manager.has_kernel and await manager.is_alive():
            await manager.interrupt_kernel()
            await asyncio.sleep(GRACE_S)
        task.cancel()

    def begin() -> None:
        waiting = loop.create_task(stop())
        pending.add(waiting)
        task.add_done_callback(lambda _: waiting.cancel())

    def from_handler() -> None:
        loop.call_soon_threadsafe(begin)

    signals.when_received(from_handler)


def _close(
    workspace: Workspace, directory: Path, interrupted: ExitCode | None, requester: str
) -> RunState:
    """Closes the record after the kernel is gone."""
    deadline = time.monotonic() + GRACE_S
    while (lock := try_lock(workspace.reports, directory.name, holder(requester))) is None:
        if time.monotonic() > deadline:
            raise ConflictError(
                f"{directory.name} is still held", hint="Run any gitops-nb command later."
            )
        time.sleep(0.05)
    journal = Journal.open(directory)
    try:
        state = fold(journal.records)
        cancelled = state.status is Status.CANCELLED and state.exit_code != interrupted
        if state.status is not Status.WAITING and (not state.ended or cancelled):
            status, code, reason, hint = end_of(state, interrupted=interrupted)
            journal.append("ended", status=status, exit_code=int(code), reason=reason, hint=hint)
        return close_run(workspace, directory, journal)
    finally:
        journal.close()
        lock.release()


def _clear(document: Any) -> None:
    """Drops saved outputs: what a cell shows after this run was shown by this run."""
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None


def inject_parameters(document: Any, parameters: Mapping[str, Any]) -> None:
    """Puts a cell that binds the parameters after the cell tagged ``parameters``, as papermill does.

    Values are text, whole numbers, booleans, None, and tuples of text; their ``repr`` is Python.
    """
    from nbformat.v4 import new_code_cell

    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    cell = new_code_cell(
        "# Parameters of this run\n" + "\n".join(lines), metadata={"tags": ["injected-parameters"]}
    )
    position = next(
        i
        for i, c in enumerate(document.cells)
        if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])
    )
    document.cells.insert(position + 1, cell)
