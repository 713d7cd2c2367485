"""The lock on what an apply changes: one holder, wherever it is asked for, who says since when and why."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace

import pytest

from gitops_nb import promotion
from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import Refused
from gitops_nb.model import Decision, Plan, Status
from gitops_nb.record.locks import SharedLocks, this_process
from gitops_nb.record.runs import lock_holder
from gitops_nb.session import stores
from gitops_nb.session.order import Order
from gitops_nb.session.targets import TargetLock, take_target
from tests.dora.test_github import server  # noqa: F401  a fixture
from tests.session.test_break_glass import lets_break_glass

API = "https://api.github.com"


def test_of_100_contenders_on_one_machine_one_holds(workspace):
    """Everybody else is told the same run."""
    where = find_workspace(workspace.root)
    taken: list[TargetLock | str] = []
    barrier = threading.Barrier(100)

    def contend(number: int) -> None:
        barrier.wait()
        taken.append(take_target(where, "production--checkout", f"run-{number}", ci_api=API))

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (held,) = (one for one in taken if isinstance(one, TargetLock))
    assert len(taken) == 100
    assert len({one for one in taken if isinstance(one, str) and "run-" in one}) <= 1
    held.release()


def test_a_run_inside_another_honours_its_lock(runner, monkeypatch):
    """What apply starts about the same target is refused as any other run is; the outer one goes on."""
    lets_break_glass(runner.workspace)
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    inner: list[tuple[object, object]] = []
    real = promotion.apply

    def apply(
        writers: promotion.PromotionWriters, plan: Plan, decision: Decision
    ) -> promotion.Applied:
        runner.order = Order(break_glass="no need to wait")
        inner.append(runner.promote(stable_for="1s"))
        runner.order = Order()
        return real(writers, plan, decision)

    monkeypatch.setattr(promotion, "apply", apply)
    outer, stop = runner.promote(run=waiting.run)
    ((state, refusal),) = inner
    assert isinstance(refusal, Refused)
    assert refusal.message.startswith(f"{waiting.run} (process ")
    assert "is changing checkout in production" in refusal.message
    assert (state.status, state.effects) == (Status.REFUSED, ())
    assert stop is None
    assert outer.status is Status.SUCCEEDED


def test_runs_with_other_reports_see_each_others_lock(runner, monkeypatch, tmp_path):
    """The lock on a target belongs to the workspace, wherever the record goes; a run inside another one honours it."""
    one = find_workspace(runner.workspace.root, reports=tmp_path / "one")
    other = find_workspace(runner.workspace.root, reports=tmp_path / "other")
    held = take_target(one, "production--checkout", "run-1", ci_api=API)
    assert isinstance(held, TargetLock)
    said = take_target(other, "production--checkout", "run-2", ci_api=API)
    assert isinstance(said, str)
    assert re.fullmatch(rf"run-1 \(process {os.getpid()} on .+\) since 20\d\d-.+", said)
    kept = lock_holder(one.own, "production--checkout")
    assert kept["reason"] == "changes production--checkout"
    before = runner.tip()
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert re.match(r"run-1 \(.+\) since .+ is changing checkout in production", stop.message)
    assert runner.tip() == before
    held.release()
    taken = take_target(other, "production--checkout", "run-2", ci_api=API)
    assert isinstance(taken, TargetLock)
    taken.release()


@pytest.mark.parametrize("status", ["completed", "in_progress"])
def test_a_lock_of_another_ci_run_is_asked_about(
    workspace,
    server,  # noqa: F811
    tmp_path,
    monkeypatch,
    status,
):
    """The whole way to GitHub's API: over, the lock is taken and the slot says why; running, it is its holder's."""
    store = Folder(tmp_path / "locks")
    monkeypatch.setattr(stores, "open_store", lambda url: store)
    workspace.write("gitops-nb.yaml", "kind: Workspace\nmode: sandbox\nlocks: gs://locks/here\n")
    monkeypatch.setenv("GITHUB_TOKEN", "t0ken")
    attempt = {"id": 77, "run_attempt": 2, "status": status, "repository": {"full_name": "acme/x"}}
    server.answer = lambda path, query: (200, {}, attempt)
    away = replace(
        this_process("run-1", "test"),
        boot="elsewhere",
        ci="GitHub run acme/x/77/2",
        machine="github-hosted",
    )
    SharedLocks(store).take("production--checkout", away)
    # Who is asked is policy's: a variable that names somebody else changes nothing.
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    where = find_workspace(workspace.root)
    taken = take_target(where, "production--checkout", "run-2", ci_api=server.url)
    ((path, headers),) = server.asked
    assert path.startswith("/repos/acme/x/actions/runs/77/attempts/2?")
    assert headers["Authorization"] == "Bearer t0ken"
    if status == "completed":
        assert isinstance(taken, TargetLock)
        taken.release()
        assert b"its attempt is completed" in store.read(store.list("locks/")[1])
    else:
        assert isinstance(taken, str)
        assert taken.startswith("run-1 (GitHub run acme/x/77/2) since ")
        assert len(store.list("locks/")) == 1
