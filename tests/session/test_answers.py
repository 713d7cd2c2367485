"""What a person signs is what they were shown: a journal that shows one thing and asks for another gets no signature."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import answer
from gitops_nb.cli.choosing import to_answer
from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import Status, digest
from gitops_nb.record.consents import contradictions
from gitops_nb.record.runs import find_run, read_run
from gitops_nb.session import answering
from tests.record.test_tampering import rewrite_journal
from tests.session.test_interruptions import Later

Rows = list[dict]


def body(rows: Rows, kind: str) -> dict:
    return next(row["body"] for row in rows if row["kind"] == kind)


def a_harmless_plan_in_place_of_the_real_one(rows: Rows) -> None:
    """The diff on the screen is harmless; what is signed covers another."""
    body(rows, "planned")["plan"]["changes"][0]["diff"] = []


def a_harmless_plan_with_its_own_digest(rows: Rows) -> None:
    planned = body(rows, "planned")
    planned["plan"]["summary"] = "a comment in a README"
    planned["digest"] = digest(planned["plan"])


def the_digest_of_another_request(rows: Rows) -> None:
    """The request that is shown is well signed; its digest is another one's."""
    body(rows, "requested")["digest"] = "sha256:" + "1" * 64


def a_second_request_behind_the_first(rows: Rows) -> None:
    """Each is well made, and the newest is shown: which one somebody saw before nobody could tell."""
    first = body(rows, "requested")
    second = {**first["request"], "nonce": "another"}
    added = {**first, "request": second, "digest": digest(second)}
    rows.append({**rows[-1], "kind": "requested", "body": added})


def another_environment_on_the_screen(rows: Rows) -> None:
    body(rows, "opened")["environment"] = "staging"


def other_parameters_on_the_screen(rows: Rows) -> None:
    body(rows, "opened")["parameters"] = {"application": "something else"}


@pytest.mark.parametrize(
    "change",
    [
        a_harmless_plan_in_place_of_the_real_one,
        a_harmless_plan_with_its_own_digest,
        the_digest_of_another_request,
        a_second_request_behind_the_first,
        another_environment_on_the_screen,
        other_parameters_on_the_screen,
    ],
)
@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_nothing_is_signed_that_was_not_shown(runner, change: Callable[[Rows], None], kind):
    """Refused before the key is used, and no answer lies there afterwards."""
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    directory = find_run(runner.workspace.reports, waiting.run)
    rewrite_journal(directory, change)
    with pytest.raises(Refused, match="nothing was signed"):
        answer(
            waiting.run, kind, key=None, reason="x", yes=True,
            workspace=runner.workspace.root, reports=None,
        )  # fmt: skip
    assert not (directory / "approvals").exists()


def test_with_one_of_two_approvals_the_next_command_is_the_other_ones(runner):
    """Two people have to say yes: after the first, list and hints name `approve`, which is what is missing."""
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "destructive_change: {allow: false}}\n    approvals: 1",
        "destructive_change: {allow: false}}\n    approvals: 2",
    )
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    done = runner.workspace.run("approve", "last", "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 more is needed, of somebody else" in done.stdout
    assert f"gitops-nb approve {waiting.run}" in done.stdout
    assert "resume" not in done.stdout.splitlines()[-1]
    (row,) = json.loads(runner.workspace.run("list", "runs", "--json").stdout)
    assert row["command"] == f"gitops-nb approve {waiting.run}"
    assert "an answer is there, and 1 more is needed" in row["reason"]
    again = runner.workspace.run("approve", waiting.run, "--yes")
    assert again.returncode == 3
    assert f"Somebody else runs `gitops-nb approve {waiting.run}`" in again.stderr
    other = runner.workspace.root / ".gitops-nb/sandbox/keys/amina.diallo"
    second = runner.workspace.run("approve", waiting.run, "--yes", "--key", str(other))
    assert second.returncode == 0, second.stderr
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_an_expired_request_can_be_answered_by_nobody(runner, monkeypatch):
    """Neither another person nor anybody else: the hint is to ask anew."""
    waiting, _ = runner.promote()
    monkeypatch.setattr(answering, "datetime", Later)
    with pytest.raises(Refused, match="cannot be answered any more: its request expired") as stop:
        answer(waiting.run, "approve", key=None, reason="", yes=True, workspace=runner.workspace.root, reports=None)  # fmt: skip
    assert stop.value.hint == "Run the runbook again with a new request."


def test_a_run_asks_once(runner):
    """Two requests in one journal, each as good as the other: nobody answers them, and it is said why."""
    waiting, _ = runner.promote()
    directory = find_run(runner.workspace.reports, waiting.run)
    assert contradictions(read_run(directory)) == []
    rewrite_journal(directory, a_second_request_behind_the_first)
    (problem,) = contradictions(read_run(directory))
    assert "the journal has 2 of them, and a run asks once" in problem


@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_a_sandbox_that_was_built_anew_knows_nobody_of_before(runner, _pristine, kind):  # noqa: PT019  the untouched copy
    """The true cause is said, and the command that ends the run; nothing is signed."""
    waiting, _ = runner.promote()
    sandbox = runner.workspace.root / ".gitops-nb" / "sandbox"
    shutil.rmtree(sandbox)
    shutil.copytree(_pristine[1] / ".gitops-nb" / "sandbox", sandbox, symlinks=True)
    (sandbox / "origin").touch()
    with pytest.raises(Refused, match="the sandbox was built anew since") as stop:
        answer(waiting.run, kind, key=None, reason="x", yes=True, workspace=runner.workspace.root, reports=None)  # fmt: skip
    assert f"gitops-nb withdraw {waiting.run}" in stop.value.hint
    assert not (find_run(runner.workspace.reports, waiting.run) / "approvals").exists()


@pytest.mark.parametrize("command", ["reject", "withdraw", "unlock"])
def test_a_reason_that_says_nothing_is_none(runner, command):
    """A no is kept with its reason: blanks are refused, and nothing is signed."""
    waiting, _ = runner.promote()
    done = runner.workspace.run(command, waiting.run, "--reason", " ")
    assert done.returncode == 64
    assert "this one says nothing" in done.stderr
    assert not (find_run(runner.workspace.reports, waiting.run) / "approvals").exists()


def test_an_approval_of_a_clock_that_was_ahead_is_named_and_can_be_given_again(runner):
    """It does not count yet: whoever goes on reads why, and the same person signs again with the right time."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run, at=datetime.now(UTC) + timedelta(minutes=10))
    again, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval)
    said = " ".join(again.decision["reasons"])
    assert "does not count: it is dated in the future" in said
    done = runner.workspace.run("approve", waiting.run, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    state, stop = runner.promote(run=waiting.run)
    assert stop is None, stop
    assert state.status is Status.SUCCEEDED


def test_who_approved_may_still_say_no_to_the_last_run(runner):
    """`reject last` means a run that somebody approved before, and `approve last` one whose approval they took back."""
    waiting, _ = runner.promote()
    where = find_workspace(runner.workspace.root)

    def means() -> dict[str, bool]:
        return {kind: to_answer(where, kind, None)(waiting) for kind in ("approve", "reject")}

    assert means() == {"approve": True, "reject": True}
    runner.answer(waiting.run)
    assert means() == {"approve": False, "reject": True}
    runner.answer(waiting.run, "withdraw", at=datetime.now(UTC) + timedelta(seconds=1))
    assert means() == {"approve": True, "reject": True}
