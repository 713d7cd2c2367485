"""request.json and evidence/STEP.json say what the journal says, whoever wrote into them while the run went on."""

from __future__ import annotations

import json

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.findings import Code
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import run_directories, seal
from gitops_nb.session.verifying import verify_records
from tests.record.test_tampering import rewrite_journal


def rewritten(directory) -> None:
    """What somebody writes over the copies."""
    (directory / "request.json").write_text("{}")
    (directory / "evidence/plan.json").write_text('{"summary": "v7.7.7-lie"}')


def test_what_is_written_over_a_copy_is_not_sealed(runner):
    """Changed while the run waits: it ends with the journal's plan and request in the files, and holds."""
    waiting, _ = runner.promote()
    directory = runner.workspace.reports / waiting.run
    runner.answer(waiting.run)
    session = runner.open(run=waiting.run)
    rewritten(directory)
    state, stop = runner.go_through(session)
    assert stop is None
    assert json.loads((directory / "evidence/plan.json").read_text()) == state.step("plan").value
    assert json.loads((directory / "request.json").read_text()) == state.request
    where = find_workspace(runner.workspace.root)
    assert verify_records(where, run_directories(where.reports)).holds


def test_a_sealed_copy_that_says_something_else_is_found(runner):
    """Sealed and signed all the same, by whatever did that: the two files are named."""
    waiting, _ = runner.promote()
    where = find_workspace(runner.workspace.root)
    directory = where.reports / waiting.run
    rewrite_journal(directory, lambda rows: rows.pop())
    rewritten(directory)
    journal = Journal.open(directory)
    seal(directory, journal)
    journal.close()
    (checked,) = verify_records(where, run_directories(where.reports)).runs
    said = {one.file for one in checked.problems if "than the journal" in one.text}
    assert said == {"request.json", "evidence/plan.json"}
    assert {one.code for one in checked.problems} == {Code.EDITED}
