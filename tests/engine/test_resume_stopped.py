"""A resume that is stopped before its kernel opened the run: the command says so, and the run is as it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.record.verify import verify_run
from gitops_nb.session.lifecycle import recover
from tests.conftest import COMMAND, SEED

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


def content(directory) -> dict[str, bytes]:
    """Every file of a run."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def waiting(workspace):
    """A promotion that waits for an approval, made headlessly."""
    assert workspace.run("run", "promotion", "-p", "application=checkout").returncode == 2
    return run_directories(workspace.reports)[0]


def hold_back(workspace) -> None:
    """The notebook's first cell takes so long that a signal surely comes before the run is opened."""
    path = workspace.root / "sitecustomize.py"
    path.write_text(
        "import sys, time\nif 'gitops_nb.kernel' in ' '.join(sys.orig_argv):\n    time.sleep(20)\n",
        encoding="utf-8",
    )


@pytest.mark.parametrize("number", list(CODES))
def test_a_signal_before_the_run_is_opened_ends_with_its_code(workspace, waiting, number):
    """130 or 143 and not the old status's 2; the run waits as before, and every byte of it is as it was."""
    hold_back(workspace)
    before = content(waiting)
    process = subprocess.Popen(
        (str(COMMAND), "resume", "last"),
        cwd=workspace.root,
        env={**os.environ, "PYTHONPATH": str(workspace.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The heading is printed when signals are handled and the kernel is about to be waited for.
    assert process.stdout is not None
    for line in process.stdout:
        if waiting.name in line:
            break
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CODES[number], said
    assert f"cancelled by {signal.Signals(number).name}, before {waiting.name} went on" in said
    assert "waiting, as before" in said
    assert content(waiting) == before
    assert workspace.run("verify", "last").returncode == 0


def test_a_kernel_that_dies_before_the_run_is_opened_is_the_commands_error(workspace, waiting):
    """The end of the kernel is told with its own code: a run that waits is no excuse for exit code 2."""
    path = workspace.root / "sitecustomize.py"
    path.write_text(
        "import os, sys\nif 'gitops_nb.kernel' in ' '.join(sys.orig_argv):\n    os._exit(3)\n",
        encoding="utf-8",
    )
    before = content(waiting)
    done = workspace.run("resume", "last", PYTHONPATH=str(workspace.root))
    assert done.returncode == 70
    assert f"the kernel exited with 3, before {waiting.name} went on: it is waiting" in done.stderr
    assert content(waiting) == before


def kill_and_look(workspace, directory, after_s: float) -> list[str]:
    """Kill -9 of a resume after a time, then what `verify` finds before any other command has closed the run."""
    process = subprocess.Popen(
        (str(COMMAND), "resume", directory.name),
        cwd=workspace.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + after_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()  # nothing where it has ended by itself
    process.wait()
    return [str(finding) for finding in verify_run(directory).problems]


def look_after_kills(workspace, directory, count: int) -> None:
    """Kills at moments all over a resume; none leaves a record that looks edited, and the run goes on each time."""
    chance = random.Random(SEED)
    where = find_workspace(workspace.root)
    for _ in range(count):
        found = kill_and_look(workspace, directory, chance.uniform(0.05, 2.5))
        assert found == []
        checked = workspace.run("verify", directory.name)
        # 69 where its last word was sealed, and the signature of that was cut off.
        assert checked.returncode == 0 or "interrupted" in checked.stdout, checked.stdout
        assert "MISMATCH" not in checked.stdout
        recover(where)
        assert verify_run(directory).problems == ()
        assert read_run(directory).status in ("waiting", "failed")


@pytest.mark.slow
def test_a_killed_resume_looks_interrupted_and_not_edited(workspace, waiting):
    """A sample of moments; the whole is among the long suites."""
    look_after_kills(workspace, waiting, 4)


@pytest.mark.torture
def test_a_killed_resume_looks_interrupted_at_every_moment(workspace, waiting, record_property):
    """Sixty moments."""
    record_property("cases", 60)
    look_after_kills(workspace, waiting, 60)
