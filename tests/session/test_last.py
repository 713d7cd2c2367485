"""``last`` among several runs that wait."""

from __future__ import annotations

from unittest import mock

import pytest

from gitops_nb.cli import checking
from gitops_nb.cli.answering import withdraw
from gitops_nb.errors import RecordError, UsageError
from gitops_nb.record.runs import run_ids, scan_run
from tests.session.test_promotion import earlier_version


def test_last_passes_over_a_run_that_this_person_has_answered(runner):
    """Of two runs that wait the older one is approved next, once the newer one has this person's answer."""
    workspace = runner.workspace
    first, _ = runner.promote()
    second, _ = runner.promote(application="catalog", revision=earlier_version(runner, "catalog"))
    assert (first.status, second.status) == ("waiting", "waiting")
    for run in run_ids(workspace.reports):
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


def test_a_hint_of_an_error_stands_on_a_line_of_its_own(workspace, capsys, monkeypatch):
    """Verify tells why the index is not rebuilt in lines that a person reads; what would steer a terminal is shown as an escape."""
    error = RecordError("cannot write\x1b[0m", hint="Free disk space.")
    monkeypatch.setattr(checking, "_rebuild_index", mock.Mock(side_effect=error))
    with pytest.raises(UsageError):
        checking.verify_runs(
            None, as_json=False, full=False, online=False, workspace=workspace.root, reports=None
        )
    assert "cannot write\\x1b[0m\n  Free disk space." in capsys.readouterr().err
