"""The same undertaking twice: refused while it runs, and what is observed decides after it succeeded."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from gitops_nb.cli.show import show_plan
from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import Status
from gitops_nb.report import run_page
from gitops_nb.report.story import parts
from gitops_nb.report.words import Times
from gitops_nb.session import lifecycle
from gitops_nb.session.order import Order
from tests.engine.stops import prepare


@pytest.fixture
def free(runner):
    """A workspace in which nobody has to approve."""
    prepare(runner.workspace)
    return runner


def take_back(runner, run):
    """Somebody reverts a run's commit by hand; the plan of the next promotion is the same again."""
    platform = runner.platform()
    path = "apps/checkout/production/deployment.yaml"
    tip = runner.tip()
    commit = platform.git.log("platform-config", tip, limit=1)[0]
    assert commit.trailers["Gitops-Nb-Run"] == run
    before = platform.git.read("platform-config", commit.parents[0], path)
    platform.git.commit(
        "platform-config", branch="main", parent=tip, files={path: before.content}, message="Revert"
    )


def test_a_second_time_is_nothing_to_do_and_names_the_first(free):
    """After success the plan is empty; the decision says which run brought it."""
    first, stop = free.promote()
    assert stop is None
    tip = free.tip()
    again, stop = free.promote()
    assert stop is None
    assert again.status is Status.SUCCEEDED
    assert again.outcome["result"] == "nothing to do"
    assert first.run in " ".join(again.decision["reasons"])
    assert free.tip() == tip


def test_a_commit_that_was_reverted_is_promoted_again(free):
    """Git asks for the version before: what an earlier run of the same key did explains, and answers nothing."""
    first, _ = free.promote()
    take_back(free, first.run)
    tip = free.tip()
    done, stop = free.promote()
    assert stop is None
    own, drift = done.plan["changes"]
    assert [own] == first.plan["changes"]
    assert drift["before"] == "cannot be told apart from what comes into force"
    assert done.outcome["result"] == "deployed"
    assert f"{first.run} did exactly this" in " ".join(done.decision["reasons"])
    assert free.tip() != tip


def test_an_approver_reads_that_it_was_taken_back(runner, capsys):
    """Where somebody has to approve, the run waits, and its decision names the earlier run."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    first, stop = runner.promote(run=waiting.run)
    assert stop is None
    take_back(runner, first.run)
    tip = runner.tip()
    again, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    assert f"{first.run} did exactly this" in " ".join(again.decision["reasons"])
    show_plan(again)
    assert f"note    {first.run} did exactly this" in capsys.readouterr().out
    assert runner.tip() == tip


def test_automation_that_nobody_stops_is_asked(free, monkeypatch):
    """A CI job would undo a revert for ever: without anybody who approves it needs --again, and changes nothing."""
    free.workspace.replace(
        "runbooks/fleet.yaml", "production: {auto_deploy: false", "production: {auto_deploy: true"
    )
    monkeypatch.setenv("CI", "true")
    first, stop = free.promote()
    assert stop is None
    take_back(free, first.run)
    tip = free.tip()
    refused, stop = free.promote()
    assert isinstance(stop, Refused)
    assert first.run in stop.message
    assert "--again" in stop.message
    assert (refused.status, refused.effects) == (Status.REFUSED, ())
    assert free.tip() == tip
    free.order = Order(again=True)
    done, stop = free.promote()
    assert (stop, done.outcome["result"]) == (None, "deployed")


def test_git_tells_of_a_revert_that_no_record_has(free, monkeypatch):
    """A CI job begins without records, and whoever reverted wrote a comment too: it needs --again all the same."""
    free.workspace.replace(
        "runbooks/fleet.yaml", "production: {auto_deploy: false", "production: {auto_deploy: true"
    )
    monkeypatch.setenv("CI", "true")
    first, stop = free.promote()
    assert stop is None
    take_back(free, first.run)
    path = "apps/checkout/production/deployment.yaml"
    git = free.platform().git
    reverted = free.tip()
    content = git.read("platform-config", reverted, path).content
    git.commit(
        "platform-config",
        branch="main",
        parent=reverted,
        files={path: b"# it broke the checkout\n" + content},
        message="Say why",
    )
    tip = free.tip()
    shutil.rmtree(free.workspace.reports / first.run)
    refused, stop = free.promote()
    assert isinstance(stop, Refused)
    assert f"somebody took this back by commit {reverted[:8]}" in stop.message
    assert "--again" in stop.message
    assert (refused.status, refused.effects, free.tip()) == (Status.REFUSED, (), tip)
    free.order = Order(again=True)
    done, stop = free.promote()
    assert (stop, done.outcome["result"]) == (None, "deployed")


def test_a_sandbox_built_anew_is_promoted_in_again(free, _pristine):  # noqa: PT019  where the untouched copy is
    """Reports tell of a promotion, the platform does not: it is done."""
    first, stop = free.promote()
    assert stop is None
    sandbox = free.workspace.root / ".gitops-nb" / "sandbox"
    shutil.rmtree(sandbox)
    shutil.copytree(_pristine[1] / ".gitops-nb" / "sandbox", sandbox, symlinks=True)
    done, stop = free.promote()
    assert stop is None
    assert done.run != first.run
    assert done.outcome["result"] == "deployed"


@pytest.mark.torture
def test_a_promotion_back_in_between_makes_it_a_new_undertaking(free):
    """Forth, back and forth again: the third run is no repetition of the first."""
    first, _ = free.promote()
    before = first.plan["arguments"]["version_before"]
    back, stop = free.promote(revision=before)
    assert (stop, back.outcome["result"]) == (None, "deployed")
    third, stop = free.promote()
    assert (stop, third.outcome["result"]) == (None, "deployed")


@pytest.mark.torture
def test_runs_of_one_second_have_the_order_of_their_journals(free, monkeypatch):
    """Forth, back and forth within a second, when names alone would say that the first was the last."""
    ends = iter(("ffff", "8888", "0000"))
    monkeypatch.setattr(
        lifecycle, "new_run_id", lambda *_: f"20261127T120000Z-promotion-production-{next(ends)}"
    )
    first, _ = free.promote()
    assert first.run.endswith("ffff")
    back, _ = free.promote(revision=first.plan["arguments"]["version_before"])
    third, stop = free.promote()
    assert [back.outcome["result"], stop, third.outcome["result"]] == ["deployed", None, "deployed"]


def test_an_earlier_run_of_the_same_key_that_still_runs_refuses_this_one(free):
    """Two CI jobs for one change: the one that began first goes on, the other is refused and names it."""
    first = free.open()
    try:
        tip = free.tip()
        second, stop = free.promote()
        assert isinstance(stop, Refused)
        assert first.run in stop.message
        assert second.status is Status.REFUSED
        assert second.effects == ()
        assert free.tip() == tip
    finally:
        first.close()


def test_what_began_later_does_not_refuse_the_first(free):
    """Only the earlier of two equal runs is the one to wait for, or both would refuse each other."""
    first, later = free.open(), free.open()
    try:
        done, stop = free.go_through(first)
        assert (stop, done.outcome["result"]) == (None, "deployed")
    finally:
        later.close()


def test_steps_say_what_kind_they_are(free):
    """read, idempotent or effect stands in the record of each step."""
    state, _ = free.promote()
    assert {step.name: step.kind for step in state.steps} == {
        "observe": "read",
        "plan": "read",
        "decide": "read",
        "apply": "effect",
        "verify": "read",
    }


def test_a_run_that_brought_another_version_is_not_named(free, _pristine):  # noqa: PT019  as above
    """In a sandbox that was built anew the version of before runs: the earlier promotion brought another one, elsewhere."""
    first, _ = free.promote()
    sandbox = free.workspace.root / ".gitops-nb" / "sandbox"
    shutil.rmtree(sandbox)
    shutil.copytree(_pristine[1] / ".gitops-nb" / "sandbox", sandbox, symlinks=True)
    again, stop = free.promote(revision=first.plan["arguments"]["version_before"])
    assert (stop, again.outcome["result"]) == (None, "nothing to do")
    assert first.run not in " ".join(again.decision["reasons"])


def test_the_run_that_brought_it_last_is_named(free):
    """Taken back and made again by hand, then synced: the run that synced it is named, not the one that committed it once."""
    first, _ = free.promote()
    tip = free.tip()
    path = "apps/checkout/production/deployment.yaml"
    git = free.platform().git
    ours = git.read("platform-config", tip, path).content
    take_back(free, first.run)
    git.commit(
        "platform-config", branch="main", parent=free.tip(), files={path: ours}, message="Again"
    )
    synced, _ = free.promote()
    assert "commit" not in {effect.key for effect in synced.effects}
    again, stop = free.promote()
    assert (stop, again.outcome["result"]) == (None, "nothing to do")
    assert first.run not in " ".join(again.decision["reasons"])
    assert f"{synced.run} brought it" in again.decision["reasons"]


def test_git_and_what_runs_are_told_apart(free):
    """Git was taken back and nobody synced: whoever approves reads both versions, and the report does not claim a change."""
    first, _ = free.promote()
    before, after = (first.plan["arguments"][f"version_{when}"] for when in ("before", "after"))
    take_back(free, first.run)
    done, stop = free.promote()
    assert stop is None
    assert f"production has {before} in Git and runs {after}" in done.step("observe").sentence
    assert done.plan["summary"].endswith(f"in production, which runs {after}")
    assert f"Git asked for {before}, and {after} ran all the same." in done.outcome["sentence"]


def test_a_sync_alone_says_what_ran_and_how_to_go_back(free):
    """Nothing is committed, and the containers move: what ran is named, with the command that brings it back."""
    first, _ = free.promote()
    before, after = (first.plan["arguments"][f"version_{when}"] for when in ("before", "after"))
    take_back(free, first.run)
    done, stop = free.promote(revision=before)
    assert stop is None
    assert done.plan["summary"] == f"sync checkout {before} in production, which runs {after}"
    assert f"It replaced {after}." in done.outcome["sentence"]
    assert f"{after} ran before" in done.aftermath["back"]
    assert done.aftermath["command"].endswith(f"-p target=production -p revision={after}")
    (changed,) = [
        fact
        for fact in run_page.facts(done, parts(done), Times(datetime.now(UTC), "UTC"))
        if fact.label == "What changed"
    ]
    assert changed.code == ""
    back, stop = free.promote(revision=after)
    assert (stop, back.outcome["result"]) == (None, "deployed")
