"""A change without approval: only by whom the policy lets, always recorded, and reviewed by somebody else in time."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from gitops_nb import promotion
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import review
from gitops_nb.cli.listing import list_runs
from gitops_nb.cli.show import show_end
from gitops_nb.errors import Refused, UsageError, WaitingForApproval
from gitops_nb.model import Status, canonical
from gitops_nb.record.audit import audit
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import slots
from gitops_nb.record.verify import verify_run
from gitops_nb.report import run_page
from gitops_nb.report.story import after, parts, tell
from gitops_nb.report.words import Times
from gitops_nb.session import warrant
from gitops_nb.session.glass import is_reviewed
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.stores import reports_store
from tests.session.test_interruptions import Killed, Later
from tests.session.test_late_cells import Cells, freeze

promotion_apply = importlib.import_module("gitops_nb.promotion.apply")


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


def times() -> Times:
    return Times(datetime.now(UTC), "UTC")


def lets_break_glass(workspace) -> None:
    """policy.yaml lets somebody break the glass in production; in the sandbox that is for its people to play."""
    workspace.replace(
        "runbooks/policy.yaml",
        "approvers: []",
        "approvers: [{person: mara, environments: [production], break_glass: true}]",
    )
    workspace.replace("runbooks/trust.yaml", "persons: []", "persons: [{person: mara}]")


def test_the_sandbox_obeys_the_policy_on_breaking_the_glass(runner):
    """Where nobody may break it by policy.yaml, nobody may in the sandbox, and nothing changes."""
    before = runner.tip()
    runner.order = Order(break_glass="the site is down")
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert (
        "may not break the glass in production: `break_glass: true` of `approvers`" in stop.message
    )
    assert (state.effects, runner.tip()) == ((), before)


def test_a_variable_breaks_no_glass(runner, monkeypatch):
    """What anybody can set in the environment is no permission: the run waits as it would without it."""
    lets_break_glass(runner.workspace)
    before = runner.tip()
    for name, value in (
        ("GITOPS_NB_BREAK_GLASS", "x"), ("GITOPS_NB_AGAIN", "1"), ("GITOPS_NB_SUPERVISED", "1"),
        ("GITOPS_NB_STOP_AFTER", "decide"), ("GITOPS_NB_NOTARY", "/nowhere"), ("GITOPS_NB_RUN", "x"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    done = runner.workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode == 2, done.stderr
    assert runner.tip() == before


def test_broken_glass_is_recorded_and_has_to_be_reviewed(runner, capsys):
    """The run goes on without approval; a day later verify fails until another person has reviewed it."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, stop = runner.promote()
    assert stop is None
    assert state.status is Status.SUCCEEDED
    assert state.request["break_glass"]["reason"] == "the site is down"
    assert state.request_signature
    due = dict(after(state))["Review"]
    assert state.request["break_glass"]["review_due"] in due
    assert f"gitops-nb approve {state.run}" in due
    facts = {fact.label: fact for fact in run_page.facts(state, parts(state), times())}
    assert "mara.lindqvist broke the glass: “the site is down”" in facts["Approved by"].note
    assert tell(state).command == f"gitops-nb approve {state.run}"
    listed = runner.workspace.run("list", "runs").stdout
    assert "broken glass, to be reviewed until" in listed
    assert f"gitops-nb approve {state.run}" in listed
    show_end(state, runner.workspace.reports / state.run, plan_only=False)
    end = capsys.readouterr().out
    assert "Nothing to do" not in end
    assert f"gitops-nb approve {state.run}" in end
    (early,) = [
        note for note in check(runner, state.run, later=timedelta(0)).notes if "glass" in note
    ]
    assert "to be reviewed until" in early
    overdue = check(runner, state.run, later=timedelta(hours=25))
    assert [finding.code for finding in overdue.problems] == ["review-due"]
    where = find_workspace(runner.workspace.root)
    first = runner.platform().requester_key
    with pytest.raises(Refused, match="cannot review it"):
        review(where, where.reports / state.run, key=first, reason="", yes=True)
    directory = where.reports / state.run
    with mock.patch("click.prompt", return_value="staging"), pytest.raises(UsageError):
        review(where, directory, key=None, reason="blind", yes=False)
    review(where, directory, key=None, reason="looked at the diff", yes=True)
    with pytest.raises(Refused, match="is reviewed already"):
        review(where, directory, key=None, reason="once more", yes=True)
    reviewed = check(runner, state.run, later=timedelta(hours=25))
    assert reviewed.problems == ()
    assert any("reviewed by tomasz.zielinski" in note for note in reviewed.notes)
    assert "glass" not in runner.workspace.run("list", "runs").stdout


def killed(*_):
    raise Killed


def killed_behind_its_start(runner, monkeypatch) -> str:
    """A run that broke the glass and was killed before its push; somebody closes it."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    with monkeypatch.context() as patched:
        patched.setattr(promotion_apply, "_commit", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote()
    runner.order = Order()
    (run,) = recover(find_workspace(runner.workspace.root))
    return run


def test_broken_glass_expires_too(runner, monkeypatch):
    """Killed before the push, resumed after the request expired: nothing is pushed by it; in time it goes on."""
    before = runner.tip()
    run = killed_behind_its_start(runner, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(warrant, "datetime", Later)
        _, stop = runner.promote_again(run)
    assert isinstance(stop, Refused)
    assert "the request expired" in stop.message
    assert runner.tip() == before


def test_glass_that_no_command_broke_stays_whole(runner):
    """A signed request without approval that a notebook made, and that nothing was begun by: resume refuses it."""
    lets_break_glass(runner.workspace)
    before = runner.tip()
    runner.order = Order(break_glass="the notebook says so")
    session = runner.open()
    session.step(promotion.observe)
    session.step(promotion.plan)
    assert str(asyncio.run(session.gate(promotion.gates)).answer) == "allowed"
    session.close()
    runner.order = Order()
    recover(find_workspace(runner.workspace.root))
    state, stop = runner.promote(run=session.run)
    assert isinstance(stop, Refused)
    assert "no command that is known here did" in stop.message
    assert (state.effects, runner.tip()) == ((), before)


@pytest.mark.torture
def test_glass_that_a_command_broke_is_gone_on_with(runner, monkeypatch):
    """Killed behind its signed start: resume, which breaks no glass, finishes it."""
    before = runner.tip()
    run = killed_behind_its_start(runner, monkeypatch)
    done, stop = runner.promote(run=run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert runner.tip() != before


def test_nobody_breaks_the_glass_of_a_request_that_waits(runner):
    """Whoever resumes a waiting run cannot turn it into one without approval: its request says how it was asked."""
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    before = runner.tip()
    runner.order = Order(break_glass="let me through")
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval)
    assert state.effects == ()
    assert runner.tip() == before
    assert load_catalog(runner.workspace.root / "runbooks").policy.approvers == ()


def test_a_review_that_nobody_signed_is_none(runner, capsys):
    """Copied into the ledger's next slot without a key: list still names the review, approve takes the true one, which counts."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, _ = runner.promote()
    where = find_workspace(runner.workspace.root)
    store = reports_store(where)
    newest = slots(store, "sandbox.production")[-1]
    outer = json.loads(store.read(newest))
    statement = json.loads(base64.b64decode(outer["payload"]))
    statement["predicate"] |= {"phase": "reviewed", "review": {}}
    statement["predicate"]["ledger"]["seq"] += 1
    outer["payload"] = base64.b64encode(canonical(statement)).decode()
    number = int(newest.rpartition("/")[2].removesuffix(".json")) + 1
    assert store.create(f"ledger/sandbox.production/{number:012}.json", canonical(outer))
    rows = (where.root, None)
    list_runs(*rows, environment=None, since=None, limit=None, as_json=False)
    assert "to be reviewed until" in capsys.readouterr().out
    assert not is_reviewed(where, state)
    review(where, where.reports / state.run, key=None, reason="looked", yes=True)
    assert is_reviewed(where, state)
    list_runs(*rows, environment=None, since=None, limit=None, as_json=False)
    assert "to be reviewed until" not in capsys.readouterr().out
    with pytest.raises(Refused, match="is reviewed already"):
        review(where, where.reports / state.run, key=None, reason="looked", yes=True)


@pytest.mark.parametrize("later", [False, True])
def test_a_freeze_holds_where_the_glass_is_broken(runner, later):
    """It begins between gate and apply: approvals are waived, gates are not."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    before = runner.tip()
    cells = Cells(runner)
    cells.until("gate")
    freeze(runner, 1 if later else -1)
    if later:
        cells.later()
    with pytest.raises(Refused, match="“incident” is open until"):
        cells.session.step(promotion.apply)
    cells.session.close()
    assert runner.tip() == before
