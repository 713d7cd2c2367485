"""gitops-nb unlock: a person's word where no machine can ask, and nowhere else."""

from __future__ import annotations

import dataclasses

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.unlocking import free
from gitops_nb.errors import Refused, UsageError
from gitops_nb.model import Status
from gitops_nb.record.journal import Journal
from gitops_nb.record.locks import SharedLocks, this_process
from gitops_nb.record.runs import create_run, read_run, try_lock
from gitops_nb.session import stores

RUN = "20261123T120000Z-promotion-production-0001"


def unlock(workspace, name):
    free(name, reason="the runner was lost", workspace=workspace.root, reports=None)


def test_locks_of_this_machine_are_not_for_hands(workspace):
    """Without a bucket of locks there is nothing to free: the operating system does."""
    with pytest.raises(UsageError, match="free themselves"):
        unlock(workspace, "production--checkout")


def test_a_lock_of_a_lost_machine_is_freed_and_a_living_ones_is_not(
    workspace, tmp_path, monkeypatch
):
    """A holder whose life this machine can see is asked; another one is freed on a person's word."""
    store = Folder(tmp_path / "locks")
    monkeypatch.setattr(stores, "_open", lambda url: store)
    workspace.write("gitops-nb.yaml", "kind: Workspace\nmode: sandbox\nlocks: gs://locks/here\n")
    locks = SharedLocks(store)
    alive = this_process("run-1", "test")
    held = locks.take("production--checkout", alive)
    with pytest.raises(Refused, match="lives"):
        unlock(workspace, "production--checkout")
    assert locks.holder("production--checkout") == alive
    locks.release(held)
    locks.take("production--checkout", dataclasses.replace(alive, boot="another"))
    unlock(workspace, "production--checkout")
    assert locks.holder("production--checkout") is None


def test_a_run_that_died_elsewhere_is_closed_and_a_living_one_is_not(workspace):
    """The run's record says who said that its process is gone; a held one is left alone."""
    where = find_workspace(workspace.root)
    opened = {
        "runbook": "promotion", "title": "Promote", "risk": "change", "owner": "x", "rollback": "",
        "notebook_digest": "sha256:1", "package": "0.1.0", "python": "3.11", "mode": "sandbox",
        "environment": "production", "source": "", "subject": "checkout", "parameters": {}, "steps": ["observe"],
        "requester": {"name": "priya", "kind": "person", "evidence": "test"}, "workspace": "w",
    }  # fmt: skip
    directory = create_run(where.reports, RUN, opened)
    journal = Journal.open(directory)
    journal.append("attempt", number=1, front="gitops-nb run", who="priya", host="elsewhere", pid=7)
    journal.close()
    lock = try_lock(where.reports, RUN, {"who": "priya"})
    with pytest.raises(Refused, match="lives on this machine"):
        unlock(workspace, RUN)
    assert read_run(directory).status is Status.RUNNING
    lock.release()
    unlock(workspace, RUN)
    state = read_run(directory)
    assert state.status is Status.FAILED
    assert "the runner was lost" in state.reason
    with pytest.raises(Refused, match="is not open"):
        unlock(workspace, RUN)
