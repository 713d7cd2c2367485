"""Others went on while a run was away: it brings nothing that would undo what they did."""

from __future__ import annotations

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConflictError
from gitops_nb.model import Status
from gitops_nb.session.lifecycle import recover
from tests.session.platform_edits import commit, patch_application, settle
from tests.session.test_bound import synced_of
from tests.session.test_interruptions import cut_off
from tests.session.test_promotion_edits import PRODUCTION, change
from tests.session.test_threats import take_back


@pytest.fixture
def pushed(runner, monkeypatch):
    """A run that was approved, pushed its commit and died then; returns the runner and the run."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    cut_off(runner, monkeypatch, waiting.run, where="after")
    recover(find_workspace(runner.workspace.root))
    return runner, waiting


def scaled(runner, before: bytes, after: bytes) -> str:
    change(
        runner, PRODUCTION, lambda text: text.replace(b"replicas: " + before, b"replicas: " + after)
    )
    return runner.tip()


def test_a_commit_that_was_taken_back_and_set_again_is_not_brought(pushed):
    """Reverted by hand, then the same version by somebody else, with more beside it: what Git asks for is theirs."""
    runner, waiting = pushed
    ours = runner.tip()
    take_back(runner)
    reverted, after = runner.tip(), waiting.plan["arguments"]["version_after"]
    before = waiting.plan["arguments"]["version_before"]

    def again(text: bytes) -> bytes:
        return text.replace(before.encode(), after.encode()).replace(b"replicas: 3", b"replicas: 4")

    change(runner, PRODUCTION, again)
    theirs = runner.tip()
    settle(runner, "production")
    count = synced_of(runner)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConflictError)
    assert f"at {reverted[:8]}, and commit {theirs[:8]} set it again" in stop.message
    assert synced_of(runner) == count
    said = state.aftermath["asks"]
    assert f"Git asks for checkout {after} in production, and not by commit {ours[:8]}" in said


def test_what_was_pushed_behind_our_commit_is_not_left_out(pushed):
    """Somebody pushed to the same folder, and nobody synced it: a sync to our commit is not what Git asks for."""
    runner, waiting = pushed
    ours = runner.tip()
    scaled(runner, b"3", b"5")
    count = synced_of(runner)
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConflictError)
    assert f"files of apps/checkout/production changed since commit {ours[:8]}" in stop.message
    assert synced_of(runner) == count


def test_a_part_that_somebody_synced_is_not_taken_back(pushed):
    """A sync of a part leaves no history: the operation's result tells, though the branch is as it was."""
    runner, waiting = pushed
    theirs = scaled(runner, b"3", b"5")
    scaled(runner, b"5", b"3")
    operation = {"phase": "Succeeded", "startedAt": "2099-01-01T00:00:00Z"}
    operation["syncResult"] = {"revision": theirs}
    patch_application(runner, "production", {"status": {"operationState": operation}})
    count = synced_of(runner)
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConflictError)
    assert f"was synced to commit {theirs[:8]}" in stop.message
    assert synced_of(runner) == count


def test_a_push_elsewhere_changes_nothing(pushed):
    """Another application's folder: the run goes on, and its commit is brought."""
    runner, waiting = pushed
    commit(runner, {"apps/payments/production/note.txt": "beside\n"})
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
