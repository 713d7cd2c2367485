"""A reason is kept for ever, so a secret in one is refused as in a parameter."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UsageError
from gitops_nb.record.unlocks import signed_unlock

TOKEN = "ghp_" + "a1B2" * 9


def files_with(root, text: str) -> list[str]:
    """Every file below a folder that holds a text."""
    return [
        str(path)
        for path in root.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_secret_in_a_reason_is_refused(runner, verb):
    """Neither is signed, the run goes on waiting, and the token stands in no file and no message."""
    waiting, _ = runner.promote()
    yes = ("--yes",) if verb == "approve" else ()
    done = runner.workspace.run(verb, "last", *yes, "--reason", f"see {TOKEN}")
    assert done.returncode == 64
    assert "looks like a secret (GitHub token); nothing was signed" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert not (runner.workspace.reports / waiting.run / "approvals").exists()
    assert files_with(runner.workspace.root, TOKEN) == []


def test_a_secret_as_the_reason_for_broken_glass_is_refused(workspace):
    """No run begins."""
    done = workspace.run(
        "run", "promotion", "-p", "application=checkout", "--break-glass", f"token {TOKEN}"
    )
    assert done.returncode == 64
    assert "looks like a secret" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert list(workspace.reports.glob("2*")) == []


def test_the_panel_refuses_it_too(runner):
    """Whoever signs by a button meets the same check: it stands where answers are made."""
    waiting, _ = runner.promote()
    with pytest.raises(UsageError, match="looks like a secret") as caught:
        runner.answer(waiting.run, "reject", reason=TOKEN)
    assert TOKEN not in str(caught.value)
    assert not (runner.workspace.reports / waiting.run / "approvals").exists()


def test_an_unlock_with_a_secret_is_not_signed(runner):
    """The word that frees a lock is kept in the ledger."""
    platform = runner.platform()
    with pytest.raises(UsageError, match="looks like a secret"):
        signed_unlock(
            what="production--checkout",
            holder="h",
            digest="0" * 64,
            person="tomasz.zielinski",
            at=datetime.now(UTC),
            reason=TOKEN,
            key=platform.signing_key,
            processes=LocalProcesses(),
        )


def test_an_ordinary_reason_is_kept(runner):
    """A ticket and a sentence go through."""
    waiting, _ = runner.promote()
    done = runner.workspace.run("approve", "last", "--yes", "--reason", "CHG-4711: ok, see #42")
    assert done.returncode == 0, done.stderr
    state, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert state.approvals[0]["reason"] == "CHG-4711: ok, see #42"
