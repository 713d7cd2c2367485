"""After the first effect every end says what Git asks for, what happens by itself, and the exact way back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.github import step_summary
from gitops_nb.cli.show import show_end
from gitops_nb.errors import ExitCode, NeedsAttention, RecordError, Refused, UnavailableError
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.session.aftermath import aftermath_of
from gitops_nb.session.endings import Cause, Death, append_end
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.recorder import Recorder
from tests.bootstrap.conftest import Bootstrapper


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it, and nothing is recorded after it."""


@pytest.fixture
def free(runner):
    """Promotions to production that nobody has to approve."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    return runner


def versions(state: RunState) -> tuple[str, str]:
    """What production had, and what it gets."""
    arguments = state.plan["arguments"]
    return arguments["version_before"], arguments["version_after"]


def assert_told(state: RunState, *, itself: str) -> None:
    """The run's last word names commit and version, what comes, and the command that promotes the version before."""
    before, after = versions(state)
    commit = next(e for e in state.effects if e.key == "commit").result["revision"]
    said = state.aftermath
    assert f"Git asks for checkout {after} in production: commit {commit[:8]}" in said["asks"]
    assert itself in said["by_itself"]
    # A stopped or frozen environment refuses that command; what does not sync by itself needs a person.
    (placement,) = state.plan["arguments"]["placements"]
    by_hand = "push it to main, and sync checkout-production on production in Argo CD."
    assert (
        f"While production is stopped or frozen that is refused: revert {commit[:8]} in a clone of platform-config then, "
        + ("and push it to main." if placement["automated"] else by_hand)
    ) in said["back"]
    assert said["command"] == (
        "gitops-nb run promotion -p application=checkout -p source=staging -p target=production "
        f"-p revision={before}"
    )


def away(*_: object, **__: object) -> None:
    raise UnavailableError("Argo CD did not take up the refresh", hint="Check the controller.")


def test_a_controller_that_is_away_leaves_no_end_without_a_way_back(free, monkeypatch, capsys):
    """The commit is there and nobody compared it: terminal, summary, report.html and report.json all say so."""
    monkeypatch.setattr(ArgoCD, "refresh", away)
    state, stop = free.promote()
    assert isinstance(stop, UnavailableError)
    assert state.status is Status.FAILED
    assert_told(state, itself="the next sync, whoever asks for it, brings")
    directory = free.workspace.reports / state.run
    show_end(state, directory, plan_only=False, extra=" --workspace w")
    command = state.aftermath["command"]
    assert f"{command} --workspace w\n" in capsys.readouterr().out
    assert f"`{command}`" in step_summary(state)
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert command in page
    assert "What is true now" in page
    document = json.loads((directory / "report.json").read_bytes())
    assert document["aftermath"] == dict(state.aftermath)
    assert document["undo"]["command"] == command


def test_the_way_back_that_is_told_goes_back(free, monkeypatch):
    """After the controller is back the printed command brings the version before, by a commit of its own."""
    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "refresh", away)
        state, _ = free.promote()
    before, _ = versions(state)
    pairs = [part.partition("=") for part in state.aftermath["command"].split(" -p ")[1:]]
    done, stop = free.promote(**{name: value for name, _, value in pairs})
    assert stop is None
    assert done.outcome["title"] == f"checkout {before} runs in production"


def test_an_automated_application_moves_after_the_run(free, monkeypatch):
    """Where Argo CD syncs by itself the end says that production may move later."""
    platform = free.platform()
    (cluster,) = platform.fleet.clusters_of("production")
    ref = platform.view.argo[cluster]._ref("checkout-production")
    platform.view.clusters[platform.fleet.clusters[cluster].argocd.cluster or cluster].merge_patch(
        ref, {"spec": {"syncPolicy": {"automated": {"selfHeal": True}}}}
    )
    monkeypatch.setattr(ArgoCD, "refresh", away)
    state, _ = free.promote()
    assert_told(state, itself="Argo CD syncs checkout-production on")
    assert "production may move after this run has ended" in state.aftermath["by_itself"]


def cut(free, monkeypatch, *, at: str) -> str:
    """Kills a promotion before or after the push, or after the commit is recorded; returns the run."""
    module = __import__("gitops_nb.promotion.apply", fromlist=["_commit"])
    real = module._commit

    def commit(*arguments):
        if at == "before":
            raise Killed
        found = real(*arguments)
        if at == "after":
            raise Killed
        return found

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, "_commit", commit)
        patched.setattr(module, "_deliver", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            free.promote()
    return run_directories(free.workspace.reports)[0].name


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_killed_push_is_said_to_be_unknown(free, monkeypatch, at):
    """The next command that closes the run says that nobody knows what Git asks for, and how to go back if it does."""
    run = cut(free, monkeypatch, at=at)
    assert recover(find_workspace(free.workspace.root)) == (run,)
    state = read_run(free.workspace.reports / run)
    before, after = versions(state)
    assert state.status is Status.NEEDS_ATTENTION
    assert f"Whether Git asks for checkout {after}" in state.aftermath["asks"]
    assert state.aftermath["by_itself"].startswith("If the commit is there")
    # A promotion would find nothing to take back while nobody knows whether the commit is there.
    assert state.aftermath["command"] == f"gitops-nb resume {run}"
    assert f"-p revision={before}`" in state.aftermath["back"]


ENDS = {
    "the runner was killed": {},
    "the kernel was killed": {"death": Death.of_process(-9)},
    "a cell raised": {"death": Death.of_exception("ValueError", "boom", [])},
    "a timeout": {"cause": Cause(ExitCode.FAILED, "step timeout: apply did not end within 1h")},
    "SIGTERM": {"cause": Cause(ExitCode.TERMINATED, "cancelled by SIGTERM")},
    "SIGINT": {"cause": Cause(ExitCode.INTERRUPTED, "cancelled by SIGINT")},
    "the store is away": {"death": Death("the record store: away", ExitCode.CANNOT_RECORD)},
}


def test_whoever_closes_a_run_says_it(free, monkeypatch):
    """Runner and kernel killed, exceptions, timeouts, signals, a store away: each end that the engine writes has all three."""
    run = cut(free, monkeypatch, at="later")
    where, base = find_workspace(free.workspace.root), free.workspace.reports / run
    for name, how in ENDS.items():
        directory = free.workspace.root / "copies" / name.replace(" ", "-") / run
        shutil.copytree(base, directory)
        journal = Journal.open(directory)
        append_end(journal, **how)
        journal.close()
        state = read_run(directory)
        assert state.ended, name
        assert state.status in (Status.FAILED, Status.CANCELLED), name
        assert_told(state, itself="the next sync, whoever asks for it, brings")
    assert recover(where) == (run,)
    assert_told(read_run(base), itself="the next sync")


def test_a_store_that_goes_away_after_the_commit(free, monkeypatch):
    """The next effect is not begun; what the first one did is said."""

    def append(self: Recorder, kind: str, /, **body: object):
        if kind == "intent" and body["key"] != "commit":
            raise RecordError("the record store: away; the effect was not begun")
        return original(self, kind, **body)

    original = Recorder.append
    monkeypatch.setattr(Recorder, "append", append)
    state, stop = free.promote()
    assert isinstance(stop, RecordError)
    assert_told(state, itself="the next sync, whoever asks for it, brings")


def test_a_resumed_run_that_is_refused_says_it(free, monkeypatch):
    """The target is no longer the fleet's after the first effect: no further effect, and the end says the way back."""
    run = cut(free, monkeypatch, at="later")
    recover(find_workspace(free.workspace.root))
    session = free.open(run)

    def refuse(*_: object, **__: object) -> str:
        raise Refused("cluster production is https://x, and fleet.yaml says https://y")

    monkeypatch.setattr(type(session._recorder), "hold_target", refuse)
    state, stop = free.go_through(session)
    assert isinstance(stop, Refused)
    # Something was changed before: whoever refuses the rest leaves it to a person.
    assert state.status is Status.NEEDS_ATTENTION
    assert [effect.key for effect in state.touched] == ["commit"]
    assert_told(state, itself="the next sync, whoever asks for it, brings")


def test_a_run_that_touched_nothing_says_nothing_of_it(free, monkeypatch):
    """Refused by the remote: the effect surely did not happen, and there is no way back to tell."""
    module = __import__("gitops_nb.promotion.apply", fromlist=["_commit"])
    monkeypatch.setattr(module, "_commit", away)
    state, stop = free.promote()
    assert isinstance(stop, UnavailableError)
    assert state.aftermath == {}
    assert '"aftermath": null' in (free.workspace.reports / state.run / "report.json").read_text()


def test_every_attempt_says_it_anew(free, monkeypatch):
    """The end of the attempt that succeeds tells of what runs, not of what the one before it left."""
    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "refresh", away)
        failed, _ = free.promote()
    done, stop = free.promote(run=failed.run)
    assert stop is None
    assert_told(done, itself="Nothing more:")
    assert sum(r.kind == "aftermath" for r in records(free, failed.run)) == 2


def test_a_sync_that_was_asked_for_is_said_to_come(free, monkeypatch):
    """The watch ends in doubt: the sync of ours is Argo CD's to carry out."""

    def gone(*_: object, **__: object) -> None:
        raise UnavailableError("the API server does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "watch", gone)
        state, stop = free.promote()
    assert isinstance(stop, UnavailableError | NeedsAttention)
    assert_told(state, itself="The sync of checkout-production on")


def test_another_key_of_the_same_version_is_reverted_in_git(free, monkeypatch):
    """Where the version says too little the way back is the revert of exactly that commit."""
    monkeypatch.setattr(ArgoCD, "refresh", away)
    state, _ = free.promote()
    plan = {**state.plan, "arguments": {**state.plan["arguments"]}}
    plan["arguments"]["version_before"] = plan["arguments"]["version_after"]
    said = aftermath_of(replace(state, plan=plan))
    commit = state.effect("commit").result["revision"]
    assert said.command == f"git revert --no-edit {commit}"


def test_a_plan_of_another_package_closes_nothing_wrongly(free, monkeypatch):
    """A journal whose plan this package cannot read is closed all the same, with the runbook's own words."""
    run = cut(free, monkeypatch, at="later")
    directory = free.workspace.reports / run
    state = read_run(directory)
    said = aftermath_of(replace(state, plan=None))
    assert "commit" in said.asks
    assert said.back.startswith("Promote the version before")


def test_a_bootstrap_that_stops_half_way_says_it(workspace, monkeypatch):
    """Installed and not yet handed over to Git: no application comes, and the way back is named."""
    module = __import__("gitops_nb.bootstrap.steps", fromlist=["act_root"])
    bootstrapper = Bootstrapper(workspace)
    steps = tuple(
        type(step)(step.key, step.title, step.check, away) if step.key == "root" else step
        for step in module.STEPS
    )
    monkeypatch.setattr("gitops_nb.bootstrap.verbs.STEPS", steps)
    state, stop = bootstrapper.run()
    assert isinstance(stop, UnavailableError)
    said = state.aftermath
    assert said["asks"].startswith("Git asks for what it asked for before")
    assert "No application comes: the root application was not written." in said["by_itself"]
    assert "gitops-nb run bootstrap -p cluster=newcomer" in said["back"]
    assert said["command"] == "rm -rf .gitops-nb/sandbox"


def records(runner, run):
    """The journal of a run."""
    journal = Journal.open(runner.workspace.reports / run)
    try:
        return journal.records
    finally:
        journal.close()
