"""Runs that are stopped at a chosen step in a chosen way, and what has to be true afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import is_run_held, read_run
from gitops_nb.record.verify import verify_run
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.private import left_by
from tests.conftest import COMMAND, Workspace

STOPPER = Path(__file__).with_name("stopper")
STEPS = {
    "promotion": ("observe", "plan", "decide", "apply", "effect", "verify"),
    "bootstrap": ("observe", "plan", "decide", "apply", "effect", "verify"),
    "dora": ("observe", "measure", "verify"),
}
ARGUMENTS = {
    "promotion": ("-p", "application=checkout", "-p", "stable_for=0s"),
    "bootstrap": ("-p", "cluster=newcomer"),
    "dora": (),
}
CODES = {
    "exception": 70,
    "SystemExit 0": 70,
    "SystemExit 1": 70,
    "os._exit": 70,
    "kernel SIGKILL": 70,
    "cell timeout": 1,
    "step timeout": 1,
    "run timeout": 1,
    "SIGINT": 130,
    "SIGTERM": 143,
    "runner SIGKILL": -9,
    "disk full": 74,
    "record store unavailable": 74,
}
"""Exit code of ``gitops-nb run`` by stop mode, where no effect is in doubt."""
SAYS = {
    "exception": "the lights went out",
    "SystemExit 0": "SystemExit: 0",
    "SystemExit 1": "SystemExit: 1",
    "os._exit": "the kernel exited with 0",
    "kernel SIGKILL": "the kernel was killed by SIGKILL",
    "cell timeout": "cell timeout",
    "step timeout": "step timeout",
    "run timeout": "run timeout",
    "SIGINT": "cancelled by SIGINT",
    "SIGTERM": "cancelled by SIGTERM",
    "runner SIGKILL": "the runner was killed",
    "disk full": "the runner was killed",
    "record store unavailable": "the runner was killed",
}
TIMEOUTS = {
    "cell timeout": "{step: 15s, run: 1h}",
    "step timeout": "{step: 15s, run: 1h}",
    "run timeout": "{step: 1h, run: 40s}",
}
"""Long enough for every step before the one that hangs, on a busy machine too."""


@dataclass(frozen=True)
class Stopped:
    """A run that was stopped: its process's end and its record after the next command."""

    returncode: int
    printed: str
    directory: Path
    state: RunState
    notebook: dict


def prepare(workspace: Workspace) -> None:
    """Nobody has to approve, so that one run comes to every step."""
    text = (workspace.root / "runbooks/fleet.yaml").read_text(encoding="utf-8")
    workspace.write(
        "runbooks/fleet.yaml", text.replace("approval_required: true", "approval_required: false")
    )


def stop_run(
    workspace: Workspace, runbook: str, step: str, mode: str, *, command: str = "", shell: str = ""
) -> Stopped:
    """Runs a runbook, stops it, lets the next command close it if the runner could not.

    Args:
        workspace: Where.
        runbook: What.
        step: The step that it is stopped in.
        mode: How.
        command: The manner of an external command that runs meanwhile, if one does.
        shell: What bash runs; it forwards no signal, as CI's does not.
    """
    prepare(workspace)
    if mode in TIMEOUTS:
        path = workspace.root / f"runbooks/{runbook}.yaml"
        path.write_text(path.read_text(encoding="utf-8") + f"\ntimeouts: {TIMEOUTS[mode]}\n")
    mark = uuid.uuid4().hex
    temporary = workspace.root / "tmp"
    temporary.mkdir()
    flag = workspace.root / "disk-is-full"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(STOPPER), os.environ.get("PYTHONPATH", ""))).rstrip(":"),
        "STOP": f"{step}:{mode}",
        "STOP_FLAG": str(flag),
        "STOP_MARK": mark,
        "TMPDIR": str(temporary),
    }
    if command:
        environment["STOP_COMMAND"] = f"{command}:{workspace.root / f'signals-{mark}'}"
    process = subprocess.Popen(
        (
            "bash",
            "-c",
            shell or '"$@"; exit $?',
            "bash",
            str(COMMAND),
            "run",
            runbook,
            *ARGUMENTS[runbook],
        ),
        cwd=workspace.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    printed, _ = process.communicate(timeout=180)
    code = process.returncode - 256 if process.returncode > 200 else process.returncode
    code = -signal.SIGKILL if code == 128 + signal.SIGKILL else code
    left = left_of(mark, within_s=10)
    assert left == [], f"still running: {left}"
    flag.unlink(missing_ok=True)
    directory = next(workspace.reports.glob("2*"))
    wait_until_free(workspace, directory.name)
    with mock.patch.object(tempfile, "tempdir", str(temporary)):
        there = left_by(directory)
        recover(find_workspace(workspace.root))
        assert left_by(directory) == [], "connection file and sockets are left by the next command"
    assert there == [] or mode == "runner SIGKILL", "connection file and sockets are left"
    path = directory / "notebook.ipynb"
    notebook = json.loads(path.read_bytes()) if path.is_file() else {"cells": []}
    return Stopped(code, printed, directory, read_run(directory), notebook)


def left_of(mark: str, *, within_s: float) -> list[str]:
    """Command lines of processes that carry the mark in their environment, when the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes()
                if mark.encode() in (path / "environ").read_bytes() + command:
                    found.append(command.replace(b"\0", b" ").decode())
            except OSError:
                continue
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)  # waits for other processes


def wait_until_free(workspace: Workspace, run: str) -> None:
    """Until no process holds the run: one that ends loses its environment before it loses its locks."""
    deadline = time.monotonic() + 20
    while is_run_held(workspace.reports, run) and time.monotonic() < deadline:
        time.sleep(0.05)  # waits for another process, no test of time


def check(stopped: Stopped, step: str, mode: str) -> None:
    """The record tells the truth: what did not finish is not done, why, and what to do."""
    state = stopped.state
    in_doubt = step == "effect" and mode != "cell timeout"
    expected = CODES[mode]
    # A runner that is killed, or cannot write, has no chance to say that something is in doubt.
    can_tell = mode not in ("runner SIGKILL", "disk full", "record store unavailable")
    assert stopped.returncode == (4 if in_doubt and can_tell else expected), stopped.printed
    assert state.ended, state
    name = "apply" if step == "effect" else step
    names = [s.name for s in state.steps]
    by_name = {s.name: s.status for s in state.steps}
    assert by_name[name] not in (Status.SUCCEEDED, Status.RUNNING, Status.SKIPPED), by_name
    for later in names[names.index(name) + 1 :]:
        assert by_name[later] is Status.PENDING, by_name
    for earlier in names[: names.index(name)]:
        assert by_name[earlier] is Status.SUCCEEDED, by_name
    if in_doubt:
        assert state.status is Status.NEEDS_ATTENTION
        assert state.exit_code == 4
        assert state.in_doubt
    else:
        assert state.status in (Status.FAILED, Status.CANCELLED)
    assert f"gitops-nb resume {state.run}" in f"{state.hint} {state.command}"
    assert SAYS[mode] in state.reason, state.reason
    check_notebook(stopped)
    page = (stopped.directory / "report.html").read_text(encoding="utf-8")
    assert f"gitops-nb resume {state.run}" in page
    assert SAYS[mode].casefold() in page.casefold()
    assert verify_run(stopped.directory).problems == ()


def check_notebook(stopped: Stopped) -> None:
    """No cell that did not finish reads as completed, and none as running."""
    statuses = [
        cell["metadata"]["gitops_nb"]["status"]
        for cell in stopped.notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    assert "running" not in statuses
    if statuses:
        done = statuses.index("failed") if "failed" in statuses else statuses.count("completed")
        assert statuses[:done] == ["completed"] * done
        assert set(statuses[done + 1 :]) <= {"pending"}, statuses
        assert statuses.count("completed") < len(statuses)
