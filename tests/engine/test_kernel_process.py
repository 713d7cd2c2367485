"""Kernels that are started ahead: what they may know, and their end when no run comes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitops_nb.kernel import NOT_FOR_NOTEBOOKS, KernelProcess
from gitops_nb.record import keys
from gitops_nb.session import identity


def test_a_kernel_never_gets_what_only_the_engine_may_use(monkeypatch):
    """Neither the runner's key nor the right to ask for the job's identity, not even before its order."""
    assert {keys.VARIABLE, *identity.VARIABLES} == NOT_FOR_NOTEBOOKS
    for name in NOT_FOR_NOTEBOOKS:
        monkeypatch.setenv(name, "canary-5b1d")
    with KernelProcess() as process:
        environment = environment_of(process.child.pid)
    assert b"PATH=" in environment
    assert b"canary-5b1d" not in environment


def environment_of(pid: int) -> bytes:
    """What a process was started with; the system shows nothing for a moment while its program is being loaded."""
    deadline = time.monotonic() + 30
    path = Path(f"/proc/{pid}/environ")
    while not (found := path.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_a_kernel_without_an_order_is_gone_with_its_context():
    """A command that ends before its run begins leaves no process."""
    with KernelProcess() as process:
        assert process.child.poll() is None
    assert process.child.returncode is not None


@pytest.mark.parametrize("module", ["gitops_nb.kernel", "gitops_nb.executor"])
def test_one_whose_engine_died_before_it_could_notice_ends_by_itself(module):
    """The engine can be killed while the process still loads: no signal comes then, and its pipe may be held by others."""
    gone = subprocess.Popen((sys.executable, "-c", ""))
    gone.wait()
    with subprocess.Popen(
        (sys.executable, "-P", "-m", module, str(gone.pid)), stdin=subprocess.PIPE
    ) as child:
        assert child.wait(timeout=60) == 1
