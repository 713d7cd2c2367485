"""``last`` is the newest run that a command can act on."""

from __future__ import annotations

import pytest

from gitops_nb.record.runs import read_run, run_ids


def test_last_is_the_newest_run_that_a_command_can_act_on(workspace):
    """A later run that ended hides none that waits: approve, reject, resume and report each find theirs."""
    first = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert first.returncode == 2
    (waiting,) = run_ids(workspace.reports)
    planned = workspace.run("run", "promotion", "-p", "application=payments", "--plan")
    assert planned.returncode == 0
    newest = run_ids(workspace.reports)[0]
    assert newest != waiting
    approved = workspace.run("approve", "last", "--yes")
    assert approved.returncode == 0, approved.stderr
    listed = workspace.run("list", "runs").stdout
    assert "an answer is there, and resume checks it" in listed
    assert f"gitops-nb resume {waiting}" in listed
    assert f"approved by tomasz.zielinski: {waiting}/" in approved.stdout
    # Nothing waits for this person any more: the command says so, and signs nothing.
    again = workspace.run("approve", "last", "--yes")
    assert again.returncode == 64
    assert "no run" in again.stderr
    assert "waits for your answer" in again.stderr
    assert newest in again.stderr
    assert len(list((workspace.reports / waiting / "approvals").iterdir())) == 1
    resumed = workspace.run("resume", "last")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert read_run(workspace.reports / waiting).status == "succeeded"
    assert newest in workspace.run("report", "last").stdout
    over = workspace.run("resume", "last")
    assert over.returncode == 64
    assert "can be resumed" in over.stderr


@pytest.mark.parametrize(
    "command", [("resume",), ("approve", "--yes"), ("withdraw", "--reason", "x")]
)
def test_a_run_without_a_record_is_named(workspace, command):
    """An empty journal in a folder that looks like a run's: its name is said, and that nothing is recorded there."""
    run = "20261129T194154Z-promotion-production-0000"
    (workspace.reports / run).mkdir(parents=True)
    (workspace.reports / run / "journal.jsonl").touch()
    done = workspace.run(command[0], run, *command[1:])
    assert done.returncode == 64, done.stderr
    assert f"{run} has no record: its journal is empty" in done.stderr
