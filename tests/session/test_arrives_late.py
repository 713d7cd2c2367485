"""A push whose answer is missing may arrive later: until it cannot, no end is final, and no other run says that nothing is to do."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import withdraw
from gitops_nb.errors import (
    ConflictError,
    Failed,
    NeedsAttention,
    Refused,
    Unanswered,
    UnavailableError,
)
from gitops_nb.model import Status
from gitops_nb.promotion import overtaken
from gitops_nb.record.runs import read_run
from gitops_nb.session.verifying import verify_records
from tests.session.platform_edits import commit
from tests.session.test_brought import scale
from tests.session.test_late_cells import freeze


class Held:
    """A server that takes the next push, cuts the answer off, and goes on with it when it is told to."""

    def __init__(self, monkeypatch) -> None:
        self._taken = []
        self.is_holding = True
        real = Git.commit

        def take(git, *arguments, **named):
            if not self.is_holding:
                return real(git, *arguments, **named)
            self._taken.append(lambda: real(git, *arguments, **named))
            raise Unanswered("platform-config did not answer the push to main: cut off")

        monkeypatch.setattr(Git, "commit", take)

    def go_on(self) -> str:
        """The push arrives; returns the commit."""
        self.is_holding = False
        return self._taken[0]()


@pytest.fixture
def unanswered(runner, monkeypatch):
    """An approved promotion whose push got no answer; returns the runner, the run and the server."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    server = Held(monkeypatch)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, NeedsAttention)
    assert state.status is Status.NEEDS_ATTENTION
    server.is_holding = False
    return runner, waiting.run, server


def take_back_request(runner, run) -> None:
    key = runner.platform().requester_key
    root = runner.workspace.root
    withdraw(run, key=key, reason="stop it", workspace=root, reports=None)


def assert_holds(runner, run) -> None:
    where = find_workspace(runner.workspace.root)
    (checked,) = verify_records(where, [where.reports / run]).runs
    assert (checked.problems, checked.unchecked) == ((), ())


@pytest.mark.parametrize("refusal", ["withdrawn", "frozen"])
def test_a_refusal_before_the_push_arrives_is_not_the_end(unanswered, refusal):
    """Withdrawn, or frozen, while the push is on its way: said with what may come; a later resume finds the commit and holds."""
    runner, run, server = unanswered
    before = runner.tip()
    if refusal == "withdrawn":
        take_back_request(runner, run)
    else:
        freeze(runner, -0.1)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, Refused)
    assert (state.status, [one.key for one in state.in_doubt]) == (
        Status.NEEDS_ATTENTION,
        ["commit"],
    )
    assert "whether this happened is not known: commit" in state.reason
    assert "got no answer that was recorded, and may still arrive" in state.aftermath["asks"]
    assert state.aftermath["by_itself"].startswith("If the commit is there, or comes:")
    assert state.aftermath["command"] == f"gitops-nb resume {run}"
    assert runner.tip() == before
    assert_holds(runner, run)
    arrived = server.go_on()
    assert_holds(runner, run)
    state, stop = runner.promote(run=run)
    effect = state.effect("commit")
    assert (effect.result["revision"], effect.adopted) == (arrived, True)
    assert f"commit {arrived[:8]}" in state.aftermath["asks"]
    # A withdrawal lets nothing more begin; a freeze is not asked again once the first effect is there.
    assert isinstance(stop, Refused | Failed) is (refusal == "withdrawn")
    assert_holds(runner, run)


def test_a_push_that_cannot_arrive_any_more_is_over(unanswered):
    """Somebody pushed meanwhile, so the server refuses what was made on the commit before: the refusal is final."""
    runner, run, server = unanswered
    commit(runner, {"apps/payments/production/note.txt": "beside\n"})
    take_back_request(runner, run)
    state, _ = runner.promote(run=run)
    assert state.status is Status.REFUSED
    assert "main has moved on to" in state.effects[0].failed
    with pytest.raises(ConflictError):
        server.go_on()


def test_nothing_is_waited_for_longer_than_a_day(unanswered, monkeypatch):
    """No server works on one push for a day."""
    runner, run, _ = unanswered
    take_back_request(runner, run)

    class Tomorrow(datetime):
        """The wall clock, a day on."""

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=25)

    monkeypatch.setattr(overtaken, "datetime", Tomorrow)
    state, _ = runner.promote(run=run)
    assert state.status is Status.REFUSED
    assert "a day has passed" in state.effects[0].failed


def test_what_is_stopped_again_stays_open(unanswered, monkeypatch):
    """The next attempt's own push is refused for sure; that of the attempt before may arrive all the same."""
    runner, run, server = unanswered

    def refuse(*_, **__):
        raise UnavailableError("platform-config refuses the push to main: protected")

    with monkeypatch.context() as patched:
        patched.setattr(Git, "commit", refuse)
        state, stop = runner.promote(run=run)
    assert isinstance(stop, UnavailableError)
    assert [one.key for one in state.in_doubt] == ["commit"]
    arrived = server.go_on()
    state, stop = runner.promote(run=run)
    assert (stop, state.effect("commit").result["revision"]) == (None, arrived)


def test_another_plan_meanwhile_hides_no_commit(unanswered):
    """What a resume would plan on something else that stands there now is not what was begun: the commit is found all the same."""
    runner, run, server = unanswered
    scale(runner, 5)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, Refused)
    assert state.status is Status.NEEDS_ATTENTION
    assert_holds(runner, run)
    arrived = server.go_on()
    state, stop = runner.promote(run=run)
    assert (stop, state.effect("commit").result["revision"]) == (None, arrived)


def test_the_way_back_is_not_green_before_the_push_arrives(unanswered):
    """Nothing to do now, and something to do a moment later: a promotion of the version before is told of the open run."""
    runner, run, server = unanswered
    before = read_run(runner.workspace.reports / run).plan["arguments"]["version_before"]
    state, stop = runner.promote(revision=before)
    assert isinstance(stop, Refused)
    assert state.status is Status.REFUSED
    assert f"what {run} began for checkout in production got no answer" in state.reason
    assert f"gitops-nb resume {run}" in state.hint
    server.go_on()
    state, stop = runner.promote(revision=before)
    assert state.status is Status.WAITING


def test_a_new_promotion_beside_an_open_run_goes_on_and_is_told(unanswered):
    """It changes the branch itself, which leaves no room for the push: it may go on, and its approver sees the open run."""
    runner, run, server = unanswered
    fleet = "runbooks/fleet.yaml"
    runner.workspace.replace(fleet, "approval_required: true", "approval_required: false")
    state, stop = runner.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert any(run in reason for reason in state.decision["reasons"])
    with pytest.raises(ConflictError):
        server.go_on()
    again, stop = runner.promote()
    assert (stop, again.status) == (None, Status.SUCCEEDED)
