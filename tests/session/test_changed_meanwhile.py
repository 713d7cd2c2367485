"""Somebody changes in Git what a promotion wrote, while it is being delivered or watched: nothing is brought, nothing is green."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
from datetime import timedelta

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.adapters.git import Git
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import (
    ConflictError,
    Failed,
    GitOpsError,
    NeedsAttention,
    Refused,
    TimedOut,
    UnavailableError,
)
from gitops_nb.model import Status
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import read_run
from gitops_nb.session import warrant
from gitops_nb.session.guarded import GuardedGit
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.warrant import Warrant
from tests.samples import few
from tests.session.test_interruptions import Killed, cut_off
from tests.session.test_threats import PATH, take_back

promotion_verify = importlib.import_module("gitops_nb.promotion.verify")


@pytest.fixture
def free(runner):
    """Promotions to production that nobody has to approve."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    return runner


def then(monkeypatch, runner, name: str, *, behind: bool = True) -> list[str]:
    """Reverts our commit once, right behind (or before) a call to Argo CD; returns the calls of ``sync`` that went through."""
    real, synced, done = getattr(ArgoCD, name), [], []
    sync = ArgoCD.sync

    def called(self, *arguments, **named):
        if not done and not behind:
            done.append(take_back(runner))
        real(self, *arguments, **named)
        if not done:
            done.append(take_back(runner))

    monkeypatch.setattr(ArgoCD, name, called)
    if name != "sync":
        monkeypatch.setattr(ArgoCD, "sync", lambda *a, **n: (synced.append(a[1]), sync(*a, **n)))
    return synced


def held_by(runner) -> str:
    """What the branch's file says."""
    platform = runner.platform()
    return platform.git.read("platform-config", runner.tip(), PATH).content.decode()


@pytest.mark.parametrize("behind", few([True, False], keep=1))
def test_what_was_reverted_before_the_sync_is_not_synced(free, monkeypatch, behind):
    """The same attempt that pushed looks again right before it syncs."""
    synced = then(monkeypatch, free, "refresh", behind=behind)
    state, stop = free.promote()
    assert isinstance(stop, ConflictError)
    assert synced == []
    assert state.status is Status.REFUSED
    assert "was taken back: " in state.reason
    after = state.plan["arguments"]["version_after"]
    assert after not in held_by(free)
    assert f"does not ask for checkout {after} in production any more" in state.aftermath["asks"]
    assert "gets what Git asks for now with the next sync" in state.aftermath["by_itself"]
    assert state.aftermath["command"] == ""
    checked = free.workspace.run("verify", state.run)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_was_reverted_behind_the_sync_is_not_green(free, monkeypatch):
    """The version runs, healthy and stable: Git does not ask for it any more, and the run says that instead."""
    then(monkeypatch, free, "sync")
    state, stop = free.promote()
    assert isinstance(stop, Failed)
    assert state.status is Status.FAILED
    arguments = state.plan["arguments"]
    before, after = arguments["version_before"], arguments["version_after"]
    assert f"Git does not ask for checkout {after} in production any more" in state.reason
    assert f"has {before}, not {after}" in state.outcome["sentence"]
    assert f"Commit {free.tip()[:8]} changed it meanwhile" in state.outcome["sentence"]
    assert "does not ask" in state.aftermath["asks"]
    assert f"{after} may run there until the next sync" in state.aftermath["by_itself"]
    # The way back that is told brings what Git asks for.
    pairs = [part.partition("=") for part in state.aftermath["command"].split(" -p ")[1:]]
    done, stop = free.promote(**{name: value for name, _, value in pairs})
    assert stop is None
    assert done.outcome["title"] == f"checkout {before} runs in production"


def test_a_revert_ends_the_watch(free, monkeypatch):
    """A watch that would go on for its whole time ends when the branch does not hold the version any more."""
    monkeypatch.setattr(promotion_verify, "ASKS_GIT_EVERY", promotion_verify.timedelta(0))
    then(monkeypatch, free, "sync")
    state, stop = free.promote(stable_for="10m", timeout="15m")
    assert isinstance(stop, Failed)
    assert "Git does not ask for" in state.outcome["title"]


def test_a_crash_does_not_say_that_git_asks_for_it(free, monkeypatch):
    """The version crashes and was reverted meanwhile: Argo CD does not keep trying because of Git."""
    free.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    crashing(free)
    then(monkeypatch, free, "sync")
    state, _ = free.promote(patience="1s")
    assert "Git does not ask for checkout v2.34.0-crash in production any more" in state.reason
    assert "keeps trying" not in str(state.outcome)


@pytest.mark.torture
def test_a_sync_alone_brings_what_was_planned(free, monkeypatch):
    """Git asked for it before, and the file changed since the plan: the sync that nobody planned is refused."""
    with monkeypatch.context() as patched:
        patched.setattr(
            ArgoCD, "refresh", lambda *_: (_ for _ in ()).throw(UnavailableError("away"))
        )
        free.promote()
    synced = then(monkeypatch, free, "refresh")
    state, stop = free.promote()
    assert state.plan["arguments"]["edits"] == []
    assert isinstance(stop, ConflictError)
    assert "is another file than the plan was made of" in stop.message
    assert synced == []


def edit_by_hand(runner, before: str, after: str) -> None:
    """Somebody pushes another version to production's file."""
    platform, tip = runner.platform(), runner.tip()
    content = platform.git.read("platform-config", tip, PATH).content
    assert before.encode() in content
    platform.git.commit(
        "platform-config", branch="main", parent=tip, message="By hand",
        files={PATH: content.replace(before.encode(), after.encode())},
    )  # fmt: skip


def commits_of(runner, run: str) -> list[str]:
    """Commits of the branch, in any line of its history, that say that a run made them."""
    log = runner.platform().git.log("platform-config", runner.tip(), limit=50)
    return [one.sha for one in log if one.trailers.get("Gitops-Nb-Run") == run]


@pytest.mark.torture
def test_a_push_that_never_came_is_settled_though_the_plan_went_stale(runner, monkeypatch):
    """Killed before the push, the file edited by hand, resumed: refused for good, nothing in doubt, and the record holds."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="before")
    recover(find_workspace(runner.workspace.root))
    assert [one.key for one in read_run(runner.workspace.reports / run).in_doubt] == ["commit"]
    edit_by_hand(runner, "v2.32.2", "v2.32.9")
    state, stop = runner.promote(run=run)
    assert isinstance(stop, Refused)
    assert (state.status, state.in_doubt, commits_of(runner, run)) == (Status.REFUSED, (), [])
    assert "it is not there" in state.effects[0].failed
    checked = runner.workspace.run("verify", run)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # And the next one goes through.
    done, stop = runner.promote(run=approved_run(runner))
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_push_that_may_still_come_is_not_settled(runner, monkeypatch):
    """The same while nothing proves that whoever began it is gone: it stays in doubt."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="before")
    recover(find_workspace(runner.workspace.root))
    edit_by_hand(runner, "v2.32.2", "v2.32.9")
    monkeypatch.setattr(Warrant, "is_over", lambda _: False)
    state, _ = runner.promote(run=run)
    assert (state.status, len(state.in_doubt)) == (Status.NEEDS_ATTENTION, 1)


def git(runner, *arguments: str) -> str:
    folder = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    return subprocess.run(
        ("git", "-C", str(folder), "-c", "user.name=e", "-c", "user.email=e@x.org", *arguments),
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def test_a_merge_that_does_not_take_our_commit_is_a_revert(runner, monkeypatch):
    """Killed after the push; a merge keeps the other side's file: the commit is found in its line, and not made again."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="after")
    recover(find_workspace(runner.workspace.root))
    ours = runner.tip()
    side = git(runner, "commit-tree", f"{ours}~1^{{tree}}", "-p", f"{ours}~1", "-m", "side")
    merge = git(runner, "commit-tree", f"{ours}~1^{{tree}}", "-p", side, "-p", ours, "-m", "merge")
    git(runner, "update-ref", "refs/heads/main", merge)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, ConflictError)
    assert "was taken back" in stop.message
    assert commits_of(runner, run) == [ours]
    assert state.status is Status.REFUSED
    checked = runner.workspace.run("verify", run)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("the commit before", marks=pytest.mark.torture),
        "a copy of it on another parent",
    ],
)
def test_a_branch_that_was_reset_takes_our_commit_back(runner, monkeypatch, to):
    """Killed after the push, then the branch is set back by force: the repository witnesses the push, nothing is pushed again."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="after")
    recover(find_workspace(runner.workspace.root))
    ours = runner.tip()
    target = git(runner, "rev-parse", f"{ours}~1")
    if to != "the commit before":
        side = git(runner, "commit-tree", f"{ours}~1^{{tree}}", "-p", target, "-m", "side")
        target = git(
            runner, "commit-tree", f"{ours}^{{tree}}", "-p", side, "-m", "Promote, by hand"
        )
    git(runner, "update-ref", "refs/heads/main", target)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, ConflictError)
    assert "its history was rewritten" in stop.message
    assert runner.tip() == target
    assert state.status is Status.REFUSED
    assert "does not ask" in state.aftermath["asks"]
    checked = runner.workspace.run("verify", run)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.torture
def test_what_ended_is_not_done_again_from_an_older_copy(runner, monkeypatch):
    """Carried out and in doubt, the branch set back by force, the reports put back: the register knows what was done."""
    run = approved_run(runner)
    directory = runner.workspace.reports / run
    copy = runner.workspace.root / "copy"
    shutil.copytree(directory, copy)
    with monkeypatch.context() as patched:
        patched.setattr(
            ArgoCD, "refresh", lambda *_: (_ for _ in ()).throw(UnavailableError("away"))
        )
        runner.promote(run=run)
    git(runner, "update-ref", "refs/heads/main", f"{runner.tip()}~1")
    git(runner, "update-ref", "-d", f"refs/gitops-nb/pushed/{run}")
    before = runner.tip()
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, NeedsAttention)
    assert "nothing in the world shows it" in stop.message
    assert runner.tip() == before
    assert "does not ask" in state.aftermath["asks"]
    checked = runner.workspace.run("verify", run)
    assert checked.returncode == 1
    assert "two starts of its attempt" in checked.stdout


def test_somebody_elses_operation_is_waited_out(free, monkeypatch):
    """After our commit another sync runs: the run needs attention and goes on later; it has not ended for good."""
    with monkeypatch.context() as patched:
        patched.setattr(
            ArgoCD,
            "sync",
            lambda *_, **__: (_ for _ in ()).throw(ConflictError("an operation of olga runs")),
        )
        state, _ = free.promote()
    assert state.status is Status.NEEDS_ATTENTION
    done, stop = free.promote(run=state.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_push_without_an_answer_stays_in_doubt(free, monkeypatch):
    """The push ends at its time limit and lands later: it was never said not to have happened, and is found."""
    real = Git.commit

    def late(self, *arguments, **named):
        waiting.append(lambda: real(self, *arguments, **named))
        raise TimedOut("git push did not end within 120 s")

    waiting: list = []
    with monkeypatch.context() as patched:
        patched.setattr(Git, "commit", late)
        state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert [one.key for one in state.in_doubt] == ["commit"]
    assert "is not known" in state.aftermath["asks"]
    pushed = waiting[0]()
    done, stop = free.promote(run=state.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert commits_of(free, state.run) == [pushed]


@pytest.mark.torture
def test_a_first_push_that_lands_during_the_second_is_ours(runner, monkeypatch):
    """Resumed while the server still works on the first push: the second loses the race against it, and finds it."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="before")
    recover(find_workspace(runner.workspace.root))
    real = Git.commit

    def slow(self, *arguments, **named):
        monkeypatch.setattr(Git, "commit", real)
        real(self, *arguments, **named)
        return real(self, *arguments, **named)

    monkeypatch.setattr(Git, "commit", slow)
    done, stop = runner.promote(run=run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert len(commits_of(runner, run)) == 1


def test_a_start_of_somebody_who_may_live_is_waited_for(runner, monkeypatch):
    """Another machine began the request and nothing says that it ended: the run is not over, and goes on when that one is gone."""
    run = approved_run(runner)
    copy = runner.workspace.root / "copy"
    shutil.copytree(runner.workspace.reports / run, copy)
    cut_off(runner, monkeypatch, run, where="before")
    shutil.rmtree(runner.workspace.reports / run)
    shutil.copytree(copy, runner.workspace.reports / run)
    with monkeypatch.context() as patched:
        patched.setattr(warrant, "gone", lambda *_: "")
        state, stop = runner.promote(run=run)
    assert isinstance(stop, NeedsAttention)
    assert "gitops-nb unlock" in stop.hint
    assert state.status is Status.NEEDS_ATTENTION
    with monkeypatch.context() as patched:
        patched.setattr(warrant, "gone", lambda *_: "its process is gone")
        done, stop = runner.promote(run=run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_refresh_leaves_nothing_in_doubt(runner, monkeypatch):
    """Interrupted while Argo CD was asked to look, taken back meanwhile: resume ends for good, and asks for no other resume."""
    run = approved_run(runner)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "refresh", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.promote(run=run)
    take_back(runner)
    state, _ = runner.promote(run=run)
    assert (state.status, state.in_doubt) == (Status.REFUSED, ())


@pytest.mark.torture
def test_what_can_never_go_on_ends_for_good(runner, monkeypatch):
    """Killed after the push and found more than a day later: failed with the way back, not asked to resume for ever."""
    run = approved_run(runner)
    cut_off(runner, monkeypatch, run, where="after")
    recover(find_workspace(runner.workspace.root))
    monkeypatch.setattr(warrant, "WAIVED_FOR", timedelta(hours=-1))
    state, stop = runner.promote(run=run)
    assert isinstance(stop, Refused)
    assert state.status is Status.FAILED
    assert "resume" not in f"{state.hint} {state.command}"
    assert state.aftermath["command"].startswith("gitops-nb run promotion")
    checked = runner.workspace.run("verify", run)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_sync_that_stands_is_not_refused(runner, monkeypatch):
    """Killed in the watch, reverted by hand, resumed: the version still runs there, so the run failed and says so."""
    run = approved_run(runner)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(promotion_verify, "_watch", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote(run=run)
    recover(find_workspace(runner.workspace.root))
    take_back(runner)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, ConflictError)
    assert (state.status, state.exit_code) == (Status.FAILED, 1)
    assert "may run there until the next sync" in state.aftermath["by_itself"]


def test_an_approver_who_takes_it_back_stops_the_push(runner, monkeypatch):
    """Between the check before the commit and the push: the register's word ends it, and nothing is pushed."""
    run = approved_run(runner)
    before = runner.tip()
    monkeypatch.setattr(GuardedGit, "commit", withdrawing(runner, run, GuardedGit.commit))
    _, stop = runner.promote(run=run)
    assert isinstance(stop, Refused)
    assert "took the approval back" in stop.message
    assert runner.tip() == before


def withdrawing(runner, run: str, real):
    """A commit before which the approver takes the approval back."""

    def commit(self, *arguments, **named):
        done = runner.workspace.run(
            "withdraw", run, "--reason", "STOP", "--key", str(runner.platform().signing_key)
        )
        assert done.returncode == 0, done.stderr
        return real(self, *arguments, **named)

    return commit


@pytest.mark.parametrize("status", ["succeeded", "refused"])
@pytest.mark.parametrize("verb", ["withdraw", "reject"])
def test_a_no_counts_whatever_the_journal_says_of_an_end(runner, status, verb):
    """Somebody writes an end into the journal, and puts the folder back later: the no is in the register all the same."""
    run = approved_run(runner)
    directory = runner.workspace.reports / run
    copy = runner.workspace.root / "copy"
    shutil.copytree(directory, copy)
    journal = Journal.open(directory)
    journal.append("ended", status=status, exit_code=0, reason="done", hint="", command="")
    journal.append("sealed", files={})
    journal.close()
    key = str(
        runner.platform().requester_key if verb == "withdraw" else runner.platform().signing_key
    )
    if verb == "reject":
        shutil.rmtree(directory / "approvals")
    done = runner.workspace.run(verb, run, "--reason", "STOP", "--key", key)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    before = runner.tip()
    with contextlib.suppress(Refused):
        runner.promote(run=run)
    assert runner.tip() == before


def approved_run(runner) -> str:
    """A promotion that waits with a good approval."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    return waiting.run


def crashing(runner) -> None:
    """Staging asks for a version that crashes."""
    platform = runner.platform()
    tip, path = runner.tip(), PATH.replace("production", "staging")
    content = platform.git.read("platform-config", tip, path).content
    at = content.index(b"checkout:v") + len(b"checkout:")
    end = min(i for i in (content.find(b"\n", at), content.find(b'"', at)) if i > 0)
    changed = content[:at] + b"v2.34.0-crash" + content[end:]
    platform.git.commit(
        "platform-config", branch="main", parent=tip, files={path: changed}, message="A new version"
    )


def test_a_later_promotion_that_replaced_it_is_named(free, monkeypatch):
    """A run of this tool replaced what the watched one wrote: its commit and its name are told, and no stranger."""
    real = promotion_verify._watch
    later: list[str] = []

    def watched(*arguments):
        if not later:
            later.append("")
            before = arguments[2].arguments["version_before"]
            later.append(replaced_by_promotion(free, before))
        return real(*arguments)

    monkeypatch.setattr(promotion_verify, "_watch", watched)
    state, stop = free.promote()
    assert isinstance(stop, Failed)
    assert f"of {later[1]}, changed it meanwhile" in state.outcome["sentence"]
    assert f"gitops-nb report {later[1]}" in state.outcome["next_step"]
    assert "somebody else" not in state.aftermath["asks"]


def replaced_by_promotion(runner, version: str) -> str:
    """A commit as a later promotion makes it; returns the run that its trailer names."""
    run = "20990101T000000Z-promotion-production-0000"
    git, tip = runner.platform().git, runner.tip()
    text = held_by(runner)
    image = next(line for line in text.splitlines() if "shop/checkout:" in line)
    back = f"{image.rpartition(':')[0]}:{version}"
    message = f"Promote checkout {version}\n\nGitops-Nb-Run: {run}\n"
    files = {PATH: text.replace(image, back).encode()}
    git.commit("platform-config", branch="main", parent=tip, files=files, message=message)
    return run


def test_a_reference_that_leaves_no_room_for_the_witness_is_named(runner):
    """Somebody who guessed the run's name made one below it: nothing is pushed, and without it the run goes on."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    folder = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    planted, before = f"refs/gitops-nb/pushed/{waiting.run}/x", runner.tip()
    subprocess.run(("git", "-C", str(folder), "update-ref", planted, before), check=True)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, UnavailableError)
    assert f"it has {planted}, which no run makes" in stop.message
    assert f"Have {planted} removed there" in stop.hint
    assert (runner.tip(), state.in_doubt) == (before, ())
    subprocess.run(("git", "-C", str(folder), "update-ref", "-d", planted), check=True)
    done, stop = runner.promote(run=waiting.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_server_that_is_behind_ends_nothing_for_good(runner):
    """A replica shows what stood there before our push: nothing is synced, and resume goes on when it has caught up."""
    run = approved_run(runner)
    before = runner.tip()
    repository = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    hook = repository / "hooks/post-receive"
    hook.parent.mkdir(exist_ok=True)
    late = "git update-ref refs/heads/late refs/heads/main"
    back = f"git update-ref refs/heads/main {before}"
    hook.write_text(f'#!/bin/sh\n[ "$(git rev-parse main)" = {before} ] || {{ {late}; {back}; }}\n')
    hook.chmod(0o755)
    state, stop = runner.promote(run=run)
    assert isinstance(stop, GitOpsError)
    assert "the server is behind" in stop.message
    assert state.status is not Status.REFUSED
    hook.unlink()
    git(runner, "update-ref", "refs/heads/main", "refs/heads/late")
    state, stop = runner.promote(run=run)
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
