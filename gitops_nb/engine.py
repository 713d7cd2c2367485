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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConflictError, ExitCode
from gitops_nb.imports import skip_slow_imports
from gitops_nb.model import Status
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import lock_holder, try_lock
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
    _refuse_held(workspace, directory)
    interrupted = asyncio.run(
        _execute(notebook, directory, parameters, environment, workspace.root)
    )
    return _close(workspace, directory, interrupted, requester)


def _refuse_held(workspace: Workspace, directory: Path) -> None:
    lock = try_lock(workspace.reports, directory.name, holder("gitops-nb"))
    if lock is None:
        other = lock_holder(workspace.reports, directory.name)
        raise ConflictError(
            f"{directory.name} is open in process {other.get('pid', '?')} since {other.get('since', '?')}",
            hint="It goes on by itself when the approval arrives; or close that notebook first.",
        )
    lock.release()


async def _execute(
    notebook: Path,
    directory: Path,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    cwd: Path,
) -> ExitCode | None:
    """Runs all cells; returns the signal's exit code when the run was cancelled."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    document = nbformat.read(notebook, as_version=4)
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
        client = NotebookClient(
            document,
            km=manager,
            timeout=None,
            startup_timeout=READY_S,
            store_widget_state=False,
            shutdown_kernel="immediate",
            on_cell_executed=lambda **_: save(),
            resources={"metadata": {"path": str(cwd)}},
        )
        task = asyncio.ensure_future(client.async_execute(env=dict(environment), cleanup_kc=True))
        cancelled = _on_signals(manager, task)
        try:
            # A failing cell, a timeout and a dead kernel all end here; what they mean stands in the journal.
            with contextlib.suppress(
                CellExecutionError, CellTimeoutError, DeadKernelError, asyncio.CancelledError
            ):
                await task
        finally:
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)
            save(at_once=True)
        return cancelled[0] if cancelled else None


def _on_signals(manager: Any, task: asyncio.Task[Any]) -> list[ExitCode]:
    """On SIGINT or SIGTERM interrupts the kernel once; ends the task when that does not help in time."""
    loop = asyncio.get_running_loop()
    received: list[ExitCode] = []
    pending: set[asyncio.Task[None]] = set()

    async def stop() -> None:
        if manager.has_kernel:
            await manager.interrupt_kernel()
        await asyncio.sleep(GRACE_S)
        task.cancel()

    def handle(code: ExitCode) -> None:
        if not received:
            received.append(code)
            waiting = loop.create_task(stop())
            pending.add(waiting)
            task.add_done_callback(lambda _: waiting.cancel())

    loop.add_signal_handler(signal.SIGINT, handle, ExitCode.INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, handle, ExitCode.TERMINATED)
    return received


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
        if state.status is not Status.WAITING and (not state.ended or interrupted is not None):
            status, code, reason, hint = end_of(state, interrupted=interrupted)
            journal.append("ended", status=status, exit_code=int(code), reason=reason, hint=hint)
        return close_run(workspace, directory, journal)
    finally:
        journal.close()
        lock.release()


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
