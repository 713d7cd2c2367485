"""Whoever signs reads what a runner signed: a writer of the record makes no gate green."""

from __future__ import annotations

import shutil

from tests.record.test_tampering import rewrite_journal


def waiting(runner):
    """A run that waits, and its directory."""
    state, _ = runner.promote()
    return state, runner.workspace.reports / state.run


def make_green(rows) -> None:
    """What somebody writes who wants a signature."""
    for row in rows:
        for verdict in (
            row["body"].get("verdicts") or (row["body"].get("value") or {}).get("verdicts") or ()
        ):
            verdict |= {"passed": True, "asked": True, "reason": "9 d in staging; all is well"}


def test_gates_that_no_runner_signed_are_signed_by_nobody(runner):
    """Verdicts changed, the chain made anew: refused before anything is signed; the untouched run beside it is approved."""
    state, directory = waiting(runner)
    kept = directory.with_name("kept")
    shutil.copytree(directory, kept)
    rewrite_journal(directory, make_green)
    done = runner.workspace.run("approve", state.run, "--yes")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "says of its gates is not what the runner signed; nothing was signed" in done.stderr
    assert "all is well" not in done.stdout
    assert not list(directory.glob("approvals/*"))

    shutil.rmtree(directory)
    kept.rename(directory)
    done = runner.workspace.run("approve", state.run, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no runner signed" not in done.stdout


def test_gates_of_a_record_without_a_runners_word_are_named_so(runner):
    """Who may write the record may remove the ledger too: whoever signs reads that nobody answers for the gates."""
    state, directory = waiting(runner)
    rewrite_journal(directory, make_green)
    shutil.rmtree(runner.workspace.reports / "ledger")
    done = runner.workspace.run("approve", state.run, "--yes")
    said = done.stdout + done.stderr
    assert "no runner signed what this record says of its gates" in said
