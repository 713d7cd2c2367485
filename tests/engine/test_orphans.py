"""External commands of a run that is stopped: one SIGINT, their grace, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.engine.supervise import GRACE_S
from gitops_nb.errors import ExitCode, TimedOut
from gitops_nb.model import Status
from gitops_nb.record.runs import is_held, read_run, try_lock
from tests.conftest import COMMAND
from tests.engine.stops import CODES, STOPPER, left_of, prepare, stop_run

MODES = ["kernel SIGKILL", "step timeout", "run timeout", "SIGINT", "SIGTERM", "runner SIGKILL"]
PIPE = '"$@" | cat; exit ${PIPESTATUS[0]}'


def signals(log) -> list[str]:
    """What the command noted, its own lines and its child's."""
    return sorted(line for line in log.read_text().splitlines() if "begins" not in line)


def check_orphans(workspace, mode, manner, shell=""):
    """Nothing is left within 10 s, and a polite command heard exactly one SIGINT, its child none of its own."""
    stopped = stop_run(workspace, "promotion", "apply", mode, command=manner, shell=shell)
    assert stopped.returncode == CODES[mode], stopped.printed
    heard = signals(next(workspace.root.glob("signals-*")))
    if manner == "polite":
        assert heard.count("parent SIGINT") == 1, heard
        assert "child SIGINT" not in heard
        assert "parent SIGTERM" not in heard
    else:
        assert heard == ["child SIGTERM", "parent SIGINT", "parent SIGTERM"]


def test_a_stopped_run_leaves_no_command_behind(workspace):
    """Started through bash and behind a pipe, as CI does, and terminated (a sample)."""
    check_orphans(workspace, "SIGTERM", "polite", PIPE)


@pytest.mark.torture
@pytest.mark.parametrize("shell", ["", PIPE], ids=["bash", "pipe"])
@pytest.mark.parametrize("manner", ["polite", "stubborn"])
@pytest.mark.parametrize("mode", MODES)
def test_no_stop_leaves_a_command_behind(workspace, mode, manner, shell):
    """The same for every way to stop, for a command that ends when asked and for one that does not."""
    check_orphans(workspace, mode, manner, shell)


@pytest.mark.torture
def test_in_ci_the_end_of_the_shell_is_the_end_of_the_run(workspace):
    """GitHub signals the step's shell only; when that is gone the run is cancelled and closed, and nothing is left."""
    prepare(workspace)
    mark = uuid.uuid4().hex
    shell = subprocess.Popen(
        ("bash", "-c", '"$@" | cat; exit 0', "bash", str(COMMAND), "run", "promotion", "-p", "application=checkout"),
        cwd=workspace.root,
        env={**os.environ, "CI": "true", "MARK": mark},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(workspace.reports.glob("2*/notebook.ipynb")) and time.monotonic() < deadline:
        if list(workspace.reports.glob("2*/evidence/observe.json")):
            break
        time.sleep(0.02)  # waits for another process, no test of time
    shell.terminate()
    shell.wait(timeout=10)
    assert left_of(mark, within_s=10) == []
    state = read_run(next(workspace.reports.glob("2*")))
    assert state.status in (Status.CANCELLED, Status.NEEDS_ATTENTION)
    assert "SIGTERM" in state.reason


LOSES_ITS_REPLY = """
import os, pathlib, signal, time
session = get_ipython().kernel.session
send = session.send
def lost(stream, kind, *rest, **more):
    if kind != "execute_reply":
        return send(stream, kind, *rest, **more)
    session.send = send
    pathlib.Path("signalled").touch()
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)  # until the engine's interrupt
session.send = lost
"""


def test_an_interrupt_that_takes_the_reply_away_is_no_wait(workspace):
    """The cell has ended and nobody says so: the engine asks, and does not wait out the grace of a cell that runs."""
    path = workspace.root / "notebooks" / "promotion.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = {
        "cell_type": "code",
        "id": "lost",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    notebook["cells"].insert(-1, cell | {"source": LOSES_ITS_REPLY})
    path.write_text(json.dumps(notebook), encoding="utf-8")
    done = workspace.run("run", "promotion", "-p", "application=catalog")
    ended = time.time()
    assert done.returncode == ExitCode.TERMINATED, done.stdout + done.stderr
    directory = next(workspace.reports.glob("2*"))
    assert ended - (workspace.root / "notebooks" / "signalled").stat().st_mtime < GRACE_S
    assert "SIGTERM" in read_run(directory).reason


def test_a_command_that_is_over_its_time_hears_one_interrupt(tmp_path):
    """Only the process itself gets SIGINT, once; ending in its grace it is neither terminated nor killed."""
    log = tmp_path / f"signals-{uuid.uuid4().hex}"
    script = str(STOPPER / "command.py")
    with pytest.raises(TimedOut, match=r"command timeout: .* did not end within 1 s"):
        LocalProcesses().run((sys.executable, script, "polite", str(log)), timeout_s=1, grace_s=1)
    assert [line for line in signals(log) if line.startswith("parent")] == ["parent SIGINT"]
    assert left_of(log.name, within_s=5) == []


@pytest.mark.torture
def test_a_lock_is_held_as_long_as_the_command_that_a_killed_process_left(tmp_path):
    """The command inherits the lock's descriptor: nobody else changes the same thing before it has ended."""
    log = tmp_path / f"signals-{uuid.uuid4().hex}"
    holder = f"""
import sys
from pathlib import Path
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.record.runs import try_lock
lock = try_lock(Path({str(tmp_path)!r}), "production--checkout", {{}})
processes = LocalProcesses()
processes.keep_open(lock.descriptor)
processes.run((sys.executable, {str(STOPPER / "command.py")!r}, "stubborn", {str(log)!r}), timeout_s=60, grace_s=1.0)
"""
    process = subprocess.Popen((sys.executable, "-c", holder), env={**os.environ})
    deadline = time.monotonic() + 30
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # waits for another process, no test of time
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert is_held(tmp_path, "production--checkout")
    assert try_lock(tmp_path, "production--checkout", {}) is None
    assert left_of(log.name, within_s=10) == []
    lock = try_lock(tmp_path, "production--checkout", {})
    assert lock is not None
    lock.release()
    assert signals(log) == ["child SIGTERM", "parent SIGINT", "parent SIGTERM"]
