"""What limits a request and its record is not the word of who asks, or of who may write into reports/."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import review
from gitops_nb.errors import GitOpsError, Refused, WaitingForApproval
from gitops_nb.model import Mode, Status, parse_time
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import read_run
from gitops_nb.session import consent, held
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order
from gitops_nb.session.recorder import Recorder
from tests.record.test_tampering import rewrite_journal
from tests.session.test_break_glass import check, lets_break_glass
from tests.session.test_interruptions import Killed
from tests.session.test_origins import Asked
from tests.session.test_resumed import add_code, change_notebook
from tests.session.test_threats import world

LATER = datetime(2099, 1, 1, tzinfo=UTC)


def asks_with(monkeypatch, **words) -> None:
    """The requester signs a request with other words in it than the package puts there."""
    real = consent.new_request
    monkeypatch.setattr(consent, "new_request", lambda **said: real(**{**said, **words}))


def test_a_request_lasts_no_longer_than_the_policy_lets_it(runner, monkeypatch):
    """Signed to last until 2099 and approved until then: after the policy's lifetime it is void."""
    runner.workspace.replace(
        "runbooks/policy.yaml", "approval_lifetime: 4h", "approval_lifetime: 3s"
    )
    before = world(runner)
    with monkeypatch.context() as patched:
        asks_with(patched, expires=LATER)
        waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    assert waiting.request["expires"].startswith("2099")
    runner.answer(waiting.run)
    created = parse_time(waiting.request["created"])
    while datetime.now(UTC) < created + timedelta(seconds=3):
        pass  # the clock of this machine is what is asked
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "expired" in stop.message
    assert world(runner) == before
    answered = runner.workspace.run("approve", waiting.run, "--yes", "--reason", "late")
    assert answered.returncode == 3


def test_a_review_is_due_within_a_day_whatever_the_request_says(runner, monkeypatch):
    """Broken glass, to be reviewed in a hundred years by its own words: a day later it is overdue."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    with monkeypatch.context() as patched:
        asks_with(
            patched,
            break_glass={"reason": "the site is down", "review_due": "2126-01-01T00:00:00Z"},
        )
        state, stop = runner.promote()
    assert stop is None
    overdue = check(runner, state.run, later=timedelta(hours=25))
    assert [finding.code for finding in overdue.problems] == ["review-due"]


def test_a_reviewer_is_shown_the_plan_that_was_asked_for(runner):
    """Somebody rewrites the ended run's plan and takes its effects out: the review of that is not signed."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, _ = runner.promote()
    directory = runner.workspace.reports / state.run

    def harmless(rows) -> None:
        from gitops_nb.model import digest

        rows[:] = [row for row in rows if row["kind"] not in ("intent", "done")]
        for row in rows:
            if row["kind"] == "planned":
                row["body"]["plan"]["summary"] = "a typo"
                row["body"]["digest"] = digest(row["body"]["plan"])

    rewrite_journal(directory, harmless)
    where = find_workspace(runner.workspace.root)
    with pytest.raises(Refused, match="shows another plan than was asked for"):
        review(where, directory, key=None, reason="looked", yes=True)


def test_the_notebook_that_runs_is_the_one_that_was_asked_for(runner):
    """Changed after the approval, with the attempts taken out of the journal: nothing of it runs."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    before = world(runner)
    directory = runner.workspace.reports / waiting.run
    rewrite_journal(
        directory,
        lambda rows: rows.__setitem__(slice(None), [r for r in rows if r["kind"] != "attempt"]),
    )
    change_notebook(runner, add_code)
    with pytest.raises(Refused, match="the notebook changed"):
        runner.promote(run=waiting.run)
    assert world(runner) == before


@pytest.mark.parametrize(
    "words", [{"policy": {}}, {"policy": {"from": "origin/main", "origin": "x"}}]
)
def test_a_live_request_names_the_rules_that_it_was_made_with(workspace, words):
    """Without their commit the rules of today would be the only ones, however lax they became."""
    asked = Asked(workspace)
    state = RunState(request={"created": "2026-11-29T00:00:00Z", **words})
    asked.warrant._state = lambda: state
    ground = replace(asked.ground, at=lambda _: (None, "never asked"))
    with pytest.raises(Refused, match="does not name the commit of the rules"):
        asked.warrant._rules(ground)
    asked.warrant._state = RunState
    assert asked.warrant._rules(ground).environment == "production"


def test_a_live_request_names_its_targets(workspace):
    """Nothing named is nothing compared: a request for no cluster and no repository is refused, a whole one is not."""
    asked = Asked(workspace)
    now = tuple(
        SimpleNamespace(system=name, address=f"https://{name}", uid="")
        for name in ("cluster production", "cluster development", "repository platform-config")
    )
    asked.warrant._platform = SimpleNamespace(mode=Mode.LIVE, check_targets=lambda *_: now)
    whole = {one.system: {"address": one.address, "uid": ""} for one in now}

    def state(targets) -> RunState:
        return RunState(
            opened={"environment": "production", "mode": "live"}, request={"targets": targets}
        )

    asked.warrant._refuse_other_target(state(whole), asked.ground)
    foreign = {name: said for name, said in whole.items() if name != "cluster development"}
    asked.warrant._refuse_other_target(state(foreign), asked.ground)
    for missing in ("cluster production", "repository platform-config"):
        some = {name: said for name, said in whole.items() if name != missing}
        for targets in (some, {}):
            with pytest.raises(Refused, match="does not say which"):
                asked.warrant._refuse_other_target(state(targets), asked.ground)


# How a run began


def unasked(runner, monkeypatch, *, plan_only: bool = False) -> str:
    """A run of this person that was killed before it asked anybody; returns it, closed."""

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        module = importlib.import_module("gitops_nb.promotion.observe")
        patched.setattr(module, "refuse_shared", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        runner.order = Order(plan_only=plan_only)
        with pytest.raises(Killed):
            runner.promote()
    runner.order = Order()
    (run,) = recover(find_workspace(runner.workspace.root))
    return run


def other_beginning(rows) -> None:
    """Another version is wanted, and by somebody else."""
    for row in rows:
        if row["kind"] == "opened":
            row["body"]["parameters"]["revision"] = "v2.32.0"


def test_a_run_written_from_nothing_asks_for_nothing_in_my_name(runner, monkeypatch):
    """Only a first record, of a run that this machine never began: `resume` signs no request of it, my own goes on."""
    own = unasked(runner, monkeypatch)
    reports = runner.workspace.reports
    forged = own[:-4] + "f0f0"
    (reports / forged).mkdir()
    first = json.loads((reports / own / "journal.jsonl").read_text().splitlines()[0])
    (reports / forged / "journal.jsonl").write_text(json.dumps(first) + "\n")

    def rename(rows) -> None:
        rows[0]["body"]["run"] = forged
        other_beginning(rows)

    rewrite_journal(reports / forged, rename)
    before = world(runner)
    with pytest.raises(Refused, match="going on would ask for it in your name"):
        runner.promote(run=forged, revision="v2.32.0")
    done = runner.workspace.run("resume", forged)
    assert done.returncode == 3, done.stdout + done.stderr
    assert read_run(reports / forged).request is None
    assert world(runner) == before
    state, stop = runner.promote(run=own)
    assert isinstance(stop, WaitingForApproval)
    assert state.request is not None


def test_my_own_run_with_another_beginning_is_not_gone_on_with(runner, monkeypatch):
    """Its parameters rewritten after it was closed: neither the signed end nor this machine knows that beginning."""
    run = unasked(runner, monkeypatch)
    monkeypatch.setattr(held, "_BEGAN", {})  # the next command is another process
    rewrite_journal(runner.workspace.reports / run, other_beginning)
    with pytest.raises(GitOpsError, match=r"in your name|a parameter changed"):
        runner.promote(run=run)
    assert read_run(runner.workspace.reports / run).request is None


def test_a_plan_does_not_become_a_change(runner, monkeypatch):
    """A run that was to change nothing, whose first record now says otherwise: refused."""
    run = unasked(runner, monkeypatch, plan_only=True)
    monkeypatch.setattr(held, "_BEGAN", {})  # the next command is another process

    def change(rows) -> None:
        rows[0]["body"]["plan_only"] = not rows[0]["body"]["plan_only"]

    rewrite_journal(runner.workspace.reports / run, change)
    with pytest.raises(Refused, match="in your name"):
        runner.promote(run=run)


def test_a_dead_run_with_another_beginning_is_not_closed(runner, monkeypatch):
    """Killed, and its first record rewritten before anybody closed it: nothing is signed of it, and verify names it."""

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        module = importlib.import_module("gitops_nb.promotion.observe")
        patched.setattr(module, "refuse_shared", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote()
    (directory,) = runner.workspace.reports.glob("2*")
    rewrite_journal(directory, other_beginning)
    assert recover(find_workspace(runner.workspace.root)) == ()
    assert read_run(directory).status is Status.RUNNING


@pytest.mark.parametrize("answers", [0, 1])
def test_the_requests_own_number_of_approvals_counts_in_the_sandbox(runner, answers):
    """Made where one has to approve, resumed where nobody has to any more: it waits on, and with the approval it goes through."""
    waiting, _ = runner.promote()
    before = runner.tip()
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        "auto_deploy: false, approval_required: true",
        "auto_deploy: false, approval_required: false",
    )
    if answers:
        runner.answer(waiting.run)
    state, _ = runner.promote(run=waiting.run)
    assert state.status is (Status.SUCCEEDED if answers else Status.WAITING)
    assert (runner.tip() == before) is not bool(answers)
