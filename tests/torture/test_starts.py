"""The same run started many times at once, and a disk that fills up for real."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.running import resume_run
from gitops_nb.errors import GitOpsError, WaitingForApproval
from gitops_nb.model import Status
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.record.verify import verify_run
from gitops_nb.session.lifecycle import recover
from tests.engine.stops import prepare
from tests.torture.flows import Flow

STARTS = [2, pytest.param(20, marks=pytest.mark.torture)]


def together(count: int, action: Callable[[], int]) -> Counter[int]:
    """Does something in many processes at the same moment; how often each exit code came."""
    waits, begins = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.close(begins)
                os.read(waits, 1)
                with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                    code = action()
            except GitOpsError as error:
                code = int(error.exit_code)
            finally:
                os._exit(code)
        children.append(child)
    os.close(waits)
    os.close(begins)
    return Counter(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def own_commits(flow: Flow) -> int:
    """How many commits runs have made."""
    commits = flow.world()["commits"]
    assert isinstance(commits, int)
    return commits


@pytest.mark.parametrize("starts", STARTS)
def test_many_starts_of_one_undertaking_make_one_commit(workspace, tmp_path, starts):
    """Exactly one run changes something; every other one is refused, or comes later and finds that there is nothing to do."""
    prepare(workspace)
    flow = Flow("promotion", workspace, tmp_path)
    codes = together(starts, lambda: flow.cells() or 0)
    where = find_workspace(workspace.root)
    recover(where)
    states = [read_run(path) for path in run_directories(where.reports)]
    assert len(states) == starts
    assert set(codes) <= {0, 3}, codes
    assert sum(bool(state.effects) for state in states) == 1
    (done,) = (state for state in states if state.effects)
    assert done.status is Status.SUCCEEDED
    for other in states:
        if other is not done:
            is_refused = other.status is Status.REFUSED
            assert is_refused or other.outcome["result"] == "nothing", other.reason
    assert own_commits(flow) == 1


@pytest.mark.parametrize("starts", STARTS)
def test_many_resumes_of_one_run_are_one(workspace, tmp_path, starts):
    """One goes on with the run; all others are refused with 3, and change nothing."""
    flow = Flow("approval", workspace, tmp_path)
    with pytest.raises(WaitingForApproval):
        flow.cells()
    (directory,) = run_directories(workspace.reports)
    flow.approve(directory)

    def resume() -> int:
        return resume_run(directory.name, as_json=True, workspace=workspace.root, reports=None)

    assert together(starts, resume) == {0: 1, 3: starts - 1}
    state = read_run(directory)
    assert state.status is Status.SUCCEEDED
    assert len(state.attempts) == 2
    assert own_commits(flow) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)), capture_output=True, check=False
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("this user may not mount a tmpfs: nothing was tried on a really full disk")
    yield folder
    subprocess.run(("umount", "-l", str(folder)), check=True)


@pytest.mark.torture
@pytest.mark.parametrize("free_kib", [12, 24, 36, 48, 64, 80, 100, 120, 150, 200])
def test_a_disk_that_is_really_full(workspace, small_disk, free_kib):
    """74, nothing that did not finish reads as done, and with room the next command closes the run."""
    prepare(workspace)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (1024 - free_kib) * 1024)
    done = workspace.run(
        "run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s", "--reports", str(small_disk)
    )  # fmt: skip
    assert done.returncode in (0, 74), done.stdout + done.stderr
    filler.unlink()
    where = find_workspace(workspace.root, reports=small_disk)
    recover(where)
    for directory in run_directories(where.reports):
        state = read_run(directory)
        assert state.ended
        assert (state.status is Status.SUCCEEDED) == bool(state.outcome), state.reason
        assert verify_run(directory).problems == ()
        assert not list(directory.rglob("*.tmp"))
        if done.returncode == 0:
            assert state.status is Status.SUCCEEDED
