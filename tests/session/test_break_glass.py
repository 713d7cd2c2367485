"""A change without approval: only by whom the policy lets, always recorded, and reviewed by somebody else in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import review
from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import Status
from gitops_nb.record.audit import audit
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.verify import verify_run
from gitops_nb.session.stores import reports_store


def check(runner, run: str, *, later: timedelta):
    """What `gitops-nb verify` says about a run, some time later."""
    where = find_workspace(runner.workspace.root)
    key = RunnerKey(name="here", key=open_runner_key(where.root).public)
    now = datetime.now(UTC) + later
    ledger = audit(reports_store(where), "sandbox.production", runners=(key,), now=now)
    assert ledger.findings == ()
    return verify_run(
        where.reports / run,
        ledger=ledger,
        trust=runner.platform().trust,
        processes=LocalProcesses(),
        now=now,
    )


def test_broken_glass_is_recorded_and_has_to_be_reviewed(runner, monkeypatch):
    """The run goes on without approval; a day later verify fails until another person has reviewed it."""
    monkeypatch.setenv("GITOPS_NB_BREAK_GLASS", "the site is down")
    state, stop = runner.promote()
    assert stop is None
    assert state.status is Status.SUCCEEDED
    assert state.request["break_glass"]["reason"] == "the site is down"
    assert state.request_signature
    (early,) = [
        note for note in check(runner, state.run, later=timedelta(0)).notes if "glass" in note
    ]
    assert "to be reviewed until" in early
    overdue = check(runner, state.run, later=timedelta(hours=25))
    assert [finding.code for finding in overdue.problems] == ["review-due"]
    where = find_workspace(runner.workspace.root)
    first = runner.platform().requester_key
    with pytest.raises(Refused, match="cannot review it"):
        review(where, where.reports / state.run, key=first, reason="")
    review(where, where.reports / state.run, key=None, reason="looked at the diff")
    reviewed = check(runner, state.run, later=timedelta(hours=25))
    assert reviewed.problems == ()
    assert any("reviewed by tomasz.zielinski" in note for note in reviewed.notes)


def test_nobody_breaks_the_glass_of_a_request_that_waits(runner, monkeypatch):
    """Whoever resumes a waiting run cannot turn it into one without approval: its request says how it was asked."""
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    before = runner.tip()
    monkeypatch.setenv("GITOPS_NB_BREAK_GLASS", "let me through")
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval)
    assert state.effects == ()
    assert runner.tip() == before
    assert load_catalog(runner.workspace.root / "runbooks").policy.approvers == ()
