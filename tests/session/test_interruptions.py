"""A run that is cut off: what is known, what is in doubt, and that nothing is done twice."""

from __future__ import annotations

import importlib
import os
from datetime import datetime, timedelta

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ExitCode, Refused, UnavailableError
from gitops_nb.model import Status
from gitops_nb.record.ledger import ledger_names, read_entry, slots
from gitops_nb.record.runs import read_run
from gitops_nb.record.verify import verify_run
from gitops_nb.session import gate, lifecycle, recorder
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.verifying import verify_records


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it, and nothing is recorded after it."""


@pytest.fixture
def approved(runner):
    """A promotion that waits with a good approval."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    return waiting.run


def cut_off(runner, monkeypatch, run, *, where):
    """Kills the run at a point of its commit; leaves the record as a killed process does."""
    module = importlib.import_module(
        "gitops_nb.promotion.apply"
    )  # the package's `apply` is the verb
    real = module._commit

    def commit(writers, plan):
        if where == "before":
            raise Killed
        real(writers, plan)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, "_commit", commit)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote(run=run)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_killed_commit_is_found_out_and_never_repeated(runner, approved, monkeypatch, where):
    """Killed before or after the push: the run is in doubt, resume asks Git, and there is one commit."""
    before = runner.tip()
    cut_off(runner, monkeypatch, approved, where=where)
    assert recover(find_workspace(runner.workspace.root)) == (approved,)
    state = read_run(runner.workspace.reports / approved)
    assert state.status is Status.NEEDS_ATTENTION
    assert state.exit_code == ExitCode.NEEDS_ATTENTION
    assert [effect.key for effect in state.in_doubt] == ["commit"]
    assert "commit" in state.reason
    done, stop = runner.promote(run=approved)
    assert stop is None
    assert done.status is Status.SUCCEEDED
    log = runner.platform().git.log("platform-config", runner.tip(), limit=5)
    ours = [commit.sha for commit in log if commit.trailers.get("Gitops-Nb-Run") == approved]
    assert len(ours) == 1
    assert log[1].sha == before
    assert next(e for e in done.effects if e.key == "commit").adopted is (where == "after")


class Later(datetime):
    """The wall clock, five hours on."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=5)


@pytest.mark.parametrize("is_late", [False, True])
def test_an_effect_that_did_not_happen_needs_an_approval_that_still_holds(
    runner, approved, monkeypatch, is_late
):
    """The push surely failed, so nothing was begun: later the approval has expired, and nothing is pushed by it."""
    before = runner.tip()
    module = importlib.import_module("gitops_nb.promotion.apply")
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> None:
            raise UnavailableError("the branch refuses pushes")

        patched.setattr(module, "_commit", refuse)
        failed, stop = runner.promote(run=approved)
    assert isinstance(stop, UnavailableError)
    assert [bool(effect.failed) for effect in failed.effects] == [True]
    if is_late:
        monkeypatch.setattr(gate, "datetime", Later)
    done, stop = runner.promote(run=approved)
    assert (stop is None) is not is_late
    assert (runner.tip() == before) is is_late
    if is_late:
        assert isinstance(stop, Refused)
        assert done.status is Status.REFUSED


def test_after_the_first_intent_the_plan_comes_from_the_journal(runner, approved, monkeypatch):
    """The world moved meanwhile; what was approved and begun is what is finished."""
    cut_off(runner, monkeypatch, approved, where="after")
    planned = read_run(runner.workspace.reports / approved).plan_digest
    recover(find_workspace(runner.workspace.root))
    done, stop = runner.promote(run=approved)
    assert stop is None
    assert done.plan_digest == planned
    assert done.outcome["result"] == "deployed"


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_run_killed_before_its_record_was_closed_is_closed(runner, monkeypatch, attempt):
    """It waits, or ended in a later attempt than the one that was sealed: reports, seal and ledger are made by the next command."""
    where = find_workspace(runner.workspace.root)
    run = None
    if attempt == 2:
        waiting, _ = runner.promote()
        runner.answer(waiting.run)
        run = waiting.run

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "close_run", killed)
        with pytest.raises(Killed):
            runner.promote(run=run)
    (directory,) = runner.workspace.reports.glob("2*")
    expected = Status.WAITING if attempt == 1 else Status.SUCCEEDED
    assert read_run(directory).status is expected
    assert recover(where) == (directory.name,)
    state = read_run(directory)
    assert state.status is expected
    assert verify_run(directory).problems == ()
    assert str(expected) in (directory / "report.json").read_text(encoding="utf-8")
    store = Folder(runner.workspace.reports)
    phases = {
        read_entry(store, key).phase for name in ledger_names(store) for key in slots(store, name)
    }
    assert phases == ({"requested"} if attempt == 1 else {"requested", "start", "end"})
    assert recover(where) == ()


def test_what_is_sealed_is_not_read_again(runner, monkeypatch):
    """A command looks at the end of each older journal; only one that does not end with its seal is read."""
    runner.promote()
    where = find_workspace(runner.workspace.root)
    (directory,) = runner.workspace.reports.glob("2*")
    read = []
    real = lifecycle.scan_run
    monkeypatch.setattr(lifecycle, "scan_run", lambda path: read.append(path) or real(path))
    assert recover(where) == ()
    assert read == []
    with (directory / "journal.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert recover(where) == (directory.name,)
    assert read == [directory]


def test_the_index_catches_up_with_a_run_that_was_sealed_later(runner):
    """Its process was killed between seal and index; the next command lists the run, the one after that writes nothing."""
    runner.promote()
    where = find_workspace(runner.workspace.root)
    (directory,) = runner.workspace.reports.glob("2*")
    index = runner.workspace.reports / "index.html"
    index.write_text("as it was before this run")
    os.utime(index, (1, 1))
    assert recover(where) == ()
    assert directory.name in index.read_text()
    written = index.stat().st_mtime_ns
    assert recover(where) == ()
    assert index.stat().st_mtime_ns == written


def test_a_killed_run_that_nobody_closed_is_not_checked(runner, approved, monkeypatch):
    """Its commit is in Git and nobody is at it any more: that is no green word, before the next command closes it or after."""
    where = find_workspace(runner.workspace.root)
    directory = runner.workspace.reports / approved
    module = importlib.import_module("gitops_nb.promotion.verify")
    real, told = module._watch, []

    def watch(*given):
        told.append(verify_records(where, [directory]).runs[0])
        return real(*given)

    cut_off(runner, monkeypatch, approved, where="after")
    for close in (lambda: None, lambda: recover(where)):
        close()
        checked = verify_records(where, [directory])
        assert not checked.is_wrong
        assert not checked.holds
        (run,) = checked.runs
        assert any("nobody saw how they ended" in str(text) for text in run.unchecked)
    monkeypatch.setattr(module, "_watch", watch)
    state, stop = runner.promote(run=approved)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert told
    assert not any("nobody saw" in str(text) for run in told for text in run.unchecked)
    assert verify_records(where, [directory]).holds
