"""``last`` among several runs that wait."""

from __future__ import annotations

from unittest import mock

import pytest

from gitops_nb.cli import checking
from gitops_nb.cli.answering import withdraw
from gitops_nb.errors import RecordError, UsageError
from gitops_nb.record import journal
from gitops_nb.record.runs import find_run, scan_run
from tests.session.test_promotion import earlier_version


def test_last_passes_over_a_run_that_this_person_has_answered(runner):
    """Of two runs that wait the older one is approved next, once the newer one has this person's answer."""
    workspace = runner.workspace
    first, _ = runner.promote()
    second, _ = runner.promote(application="catalog", revision=earlier_version(runner, "catalog"))
    assert (first.status, second.status) == ("waiting", "waiting")
    for run in (second.run, first.run):
        done = workspace.run("approve", "last", "--yes")
        assert f"{run}/approvals/" in done.stdout, done.stdout + done.stderr


def test_last_to_withdraw_asked_for_something(runner):
    """A newer run that was refused since the first waits has nothing to take back: the waiting one is withdrawn."""
    first, _ = runner.promote()
    second, _ = runner.promote()
    assert (first.status, second.status, second.request) == ("waiting", "refused", None)
    withdraw("last", key=None, reason="mistaken", workspace=runner.workspace.root, reports=None)
    assert scan_run(runner.workspace.reports / first.run).status == "refused"
    with pytest.raises(UsageError, match="can be withdrawn"):
        withdraw("last", key=None, reason="x", workspace=runner.workspace.root, reports=None)


def test_last_of_one_second_is_the_one_that_began_last(workspace):
    """The runs of a matrix begin in the same second, and their names tell no more: their journals do."""
    for name, at in (("f", 100), ("0", 300), ("8", 200)):
        run = f"20261130T120000Z-dora-staging-{name * 4}"
        directory = workspace.reports / run
        directory.mkdir(parents=True)
        with mock.patch.object(
            journal, "format_time", lambda _, at=at: f"2026-11-30T12:00:00.{at}Z"
        ):
            opened = journal.Journal.open(directory)
            opened.append("opened", run=run, steps=[])
            opened.close()
    assert find_run(workspace.reports, "last").name.endswith("-0000")
    assert find_run(workspace.reports, "last", lambda state: state.run[-1] != "0").name.endswith(
        "8"
    )


def test_a_hint_of_an_error_stands_on_a_line_of_its_own(workspace, capsys, monkeypatch):
    """Verify tells why the index is not rebuilt in lines that a person reads; what would steer a terminal is shown as an escape."""
    error = RecordError("cannot write\x1b[0m", hint="Free disk space.")
    monkeypatch.setattr(checking, "_rebuild_index", mock.Mock(side_effect=error))
    with pytest.raises(UsageError):
        checking.verify_runs(
            None, as_json=False, full=False, online=False, workspace=workspace.root, reports=None
        )
    assert "cannot write\\x1b[0m\n  Free disk space." in capsys.readouterr().err
