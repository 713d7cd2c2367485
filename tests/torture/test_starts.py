"""The same run started many times at once, and a disk that fills up for real."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from gitops_nb import promotion
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Mode, Status
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.record.verify import verify_run
from gitops_nb.session import open_session
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.platform import open_platform
from tests.engine.stops import prepare

pytestmark = pytest.mark.torture


def promote(root: Path) -> None:
    """All cells of the promotion's notebook."""
    session = open_session("promotion", workspace=root, application="checkout", stable_for="0s")
    try:
        session.step(promotion.observe)
        session.step(promotion.plan)
        asyncio.run(session.gate(promotion.gates))
        session.step(promotion.apply)
        session.step(promotion.verify)
        session.finish()
    finally:
        session.close()


@pytest.mark.parametrize("starts", [2, 20])
def test_many_starts_of_one_undertaking_make_one_commit(workspace, starts):
    """Exactly one run changes something; every other one is refused, or finds that there is nothing to do."""
    prepare(workspace)
    children = []
    for _ in range(starts):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                promote(workspace.root)
                code = 0
            except GitOpsError as error:
                code = int(error.exit_code)
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    where = find_workspace(workspace.root)
    recover(where)
    states = [read_run(path) for path in run_directories(where.reports)]
    assert len(states) == starts
    assert set(codes) <= {0, 3}, codes
    assert sum(bool(state.effects) for state in states) == 1
    assert {str(state.status) for state in states} <= {"succeeded", "refused"}
    platform = open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)
    tip = platform.git.tip("platform-config", "main")
    log = platform.git.log("platform-config", tip, limit=5)
    assert sum("Gitops-Nb-Run" in commit.trailers for commit in log) == 1


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
