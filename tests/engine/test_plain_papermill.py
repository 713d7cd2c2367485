"""Plain papermill, with its own engine: whatever its output file says, the journal is true."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status
from gitops_nb.record.runs import is_run_held, read_run
from gitops_nb.record.verify import verify_run
from gitops_nb.session.lifecycle import recover
from tests.engine.stops import STOPPER, prepare

MODES = {
    "exception": Status.FAILED,
    "SystemExit 0": Status.FAILED,
    "os._exit": Status.FAILED,
    "kernel SIGKILL": Status.FAILED,
    "SIGINT": Status.CANCELLED,
    "SIGTERM": Status.FAILED,
    "runner SIGKILL": Status.FAILED,
}
"""How the run reads; who was killed with SIGTERM or SIGKILL could not say why."""
STEPS = ("observe", "apply", "effect", "verify")


def check(workspace, step: str, mode: str) -> None:
    """Stops papermill at a step: the next command closes the run, and nothing that did not finish reads as done."""
    prepare(workspace)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(STOPPER), os.environ.get("PYTHONPATH", ""))).rstrip(":"),
        "STOP": f"{step}:{mode}",
        "STOP_FLAG": str(workspace.root / "flag"),
    }
    done = subprocess.run(
        (str(Path(sys.executable).with_name("papermill")), "notebooks/promotion.ipynb", "out.ipynb",
         "-p", "application", "checkout", "-p", "stable_for", "0s"),
        cwd=workspace.root, env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    (directory,) = workspace.reports.glob("2*")
    deadline = time.monotonic() + 20
    while is_run_held(workspace.reports, directory.name) and time.monotonic() < deadline:
        time.sleep(0.05)  # waits for the kernel, whose parent is gone
    recover(find_workspace(workspace.root))
    state = read_run(directory)
    by_name = {s.name: s.status for s in state.steps}
    stopped = "apply" if step == "effect" else step
    assert by_name[stopped] not in (Status.SUCCEEDED, Status.RUNNING), done.stderr
    expected = Status.NEEDS_ATTENTION if step == "effect" else MODES[mode]
    assert state.status is expected, (state.reason, done.stderr)
    # papermill takes SystemExit(0) for success; its exit code and its file are not evidence.
    assert done.returncode != 0 or mode == "SystemExit 0"
    assert f"gitops-nb resume {state.run}" in f"{state.hint} {state.command}"
    assert verify_run(directory).problems == ()


def test_a_kernel_killed_under_papermill(workspace):
    """Papermill's file says completed; the journal does not (a sample)."""
    check(workspace, "apply", "kernel SIGKILL")


@pytest.mark.torture
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", STEPS)
def test_every_stop_under_papermill(workspace, step, mode):
    """The same for every way to stop."""
    check(workspace, step, mode)
