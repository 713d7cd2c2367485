"""A notebook that writes into the record of its own run: neither what was asked for nor how it ended is its word."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.engine.witness import Witness
from gitops_nb.model import Status, canonical
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.session.held import open_here
from tests.engine.test_executor import insert
from tests.samples import few
from tests.session.conftest import Runner
from tests.session.test_ci_identity import without_approval
from tests.session.test_recovered import signed

FORGES = """\
import hashlib as _hashlib, json as _json, os as _os, pathlib as _pathlib
from gitops_nb.model import canonical as _canonical
_run = sorted(p for p in _pathlib.Path(_os.environ["GITOPS_NB_REPORTS"]).iterdir() if p.name[:2] == "20")[-1]
_note = _pathlib.Path(_os.environ["GITOPS_NB_WORKSPACE"]) / ".gitops-nb/runs" / _run.name
def forge(change):
    rows = [_json.loads(line) for line in (_run / "journal.jsonl").read_text().splitlines()]
    change(rows)
    prev = "0" * 64
    for number, row in enumerate(rows):
        row.update(seq=number, prev=prev)
        row["hash"] = prev = _hashlib.sha256(_canonical({k: v for k, v in row.items() if k != "hash"})).hexdigest()
    new = _run / ".new"
    new.write_bytes(b"".join(_canonical(row) + b"\\n" for row in rows))
    new.replace(_run / "journal.jsonl")
    said = _note.read_text().split("\\n")
    said[0], said[1] = rows[-1]["hash"] if len(rows) > 1 else "", rows[0]["hash"]
    _note.write_text("\\n".join(said))
"""
ANOTHER = f"""\
{FORGES}
forge(lambda rows: rows[0]["body"].update(subject="payments") or rows[0]["body"]["parameters"].update(application="payments"))
application = "payments"
"""
ENDED = (
    FORGES
    + """\
session.step(observe)
session.step(plan)
try:
    await session.gate(gates)
except BaseException:
    forge(lambda rows: rows[-1]["body"].update(status="succeeded", exit_code=0, reason="checkout runs in production"))
    """
)
KILLS = "import signal; _os.kill(_os.getppid(), signal.SIGKILL)"
"""The engine, before it can close the run: the next command does."""


@pytest.fixture
def key(tmp_path) -> dict[str, str]:
    """The runner's key as CI has it: no file that a notebook can read."""
    path = tmp_path / "runner"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)), check=True)
    return {"GITOPS_NB_RUNNER_KEY": path.read_text()}


def only_run(workspace):
    (directory,) = run_directories(workspace.reports)
    return directory


def test_a_run_is_what_its_command_was_told(workspace, key):
    """The first cell makes it a run about another application, note and all: refused, no request, nothing signed or changed."""
    runner = Runner(workspace)
    before = runner.tip()
    insert(workspace, ANOTHER, at_begin=True)
    done = workspace.run("run", "promotion", "-p", "application=checkout", **key)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "somebody wrote it since" in done.stdout + done.stderr
    state = read_run(only_run(workspace))
    assert (state.request, state.attempts) == (None, ())
    assert runner.tip() == before
    assert signed(runner, state.run, Phase.REQUESTED) == []


def refused_and_forged(workspace, key, then: str):
    """A promotion that a gate refuses, and whose notebook writes that it succeeded; what the command came to."""
    workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 9999h")
    insert(workspace, ENDED + then)
    return workspace.run("run", "promotion", "-p", "application=checkout", **key)


def test_a_run_ends_as_the_process_that_calls_the_verbs_says(workspace, key):
    """Refused, and written as succeeded by a cell, note and all: it is closed as an end that nobody saw."""
    done = refused_and_forged(workspace, key, "raise")
    assert done.returncode == 70, done.stdout + done.stderr
    state = read_run(only_run(workspace))
    assert (state.status, state.witnessed) == (Status.FAILED, False)
    assert "its journal says that it is succeeded, and nobody saw that" in state.reason
    (end,) = signed(Runner(workspace), state.run, Phase.END)
    assert (end.predicate["status"], end.predicate["witnessed"]) == ("failed", False)


def test_a_notebook_that_kills_its_engine_does_not_end_its_run(workspace, key):
    """The next command finds journal and note of the cell's making: it signs neither, shows no success, and verify names it."""
    done = refused_and_forged(workspace, key, KILLS)
    assert done.returncode < 0, done.stdout + done.stderr
    directory = only_run(workspace)
    assert read_run(directory).status is Status.SUCCEEDED
    workspace.run("report", "last", **key)
    listed = workspace.run("list", "runs", **key)
    assert "no runner signed" in listed.stdout
    assert signed(Runner(workspace), directory.name, Phase.END) == []
    checked = workspace.run("verify", "last", **key)
    assert checked.returncode == 1, checked.stdout
    assert "nobody began it here" in checked.stdout


def test_a_refused_run_with_a_key_in_memory_is_signed_as_refused(workspace, key):
    """The same cell that forges nothing: the end is the run's own, and it is witnessed."""
    runner = Runner(workspace)
    workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 9999h")
    done = workspace.run("run", "promotion", "-p", "application=checkout", **key)
    assert done.returncode == 3, done.stdout + done.stderr
    state = read_run(only_run(workspace))
    assert (state.status, state.witnessed) == (Status.REFUSED, True)
    (end,) = signed(runner, state.run, Phase.END)
    assert end.predicate["status"] == "refused"
    assert open_here(find_workspace(workspace.root)) == {}
    assert workspace.run("verify", "last", **key).returncode == 0


def test_a_witness_hears_hashes_and_nothing_else():
    """What is no hash is no word of the journal's writer; the last one before it is gone counts."""
    ours, theirs = socket.socketpair()
    witness = Witness(ours, "f" * 64)
    with theirs:
        os.write(theirs.fileno(), f"{'a' * 64}\nprinted by a module\n{'b' * 63}\n".encode())
        os.write(theirs.fileno(), f"{'c' * 64}\n{'d' * 40}".encode())
    assert witness.head() == "c" * 64
    ours.close()


def test_a_witness_of_a_process_that_wrote_nothing_knows_what_the_command_saw():
    """It died before its first record."""
    ours, theirs = socket.socketpair()
    witness = Witness(ours, "f" * 64)
    theirs.close()
    assert witness.head() == "f" * 64
    ours.close()


def test_a_run_that_nobody_approves_ends_by_what_its_notebook_tells_the_engine(workspace, key):
    """Its process has no key to note an end with: the engine does, nothing is left open, and all of it holds."""
    without_approval(workspace)
    arguments = ("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    done = workspace.run(*arguments, **key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkout v2.33.0 runs in production" in done.stdout
    assert not (workspace.root / ".gitops-nb/keys/runner").exists()
    assert list((workspace.root / ".gitops-nb/runs").iterdir()) == []
    checked = workspace.run("verify", "last", **key)
    assert checked.returncode == 0, checked.stdout


def test_a_run_that_nobody_approves_is_the_one_that_was_asked_for(workspace, key):
    """Its own process writes the journal; the engine begins nothing of another application for it."""
    without_approval(workspace)
    before = Runner(workspace).tip()
    insert(workspace, ANOTHER, at_begin=True)
    done = workspace.run("run", "promotion", "-p", "application=checkout", **key)
    assert done.returncode == 3, done.stdout + done.stderr
    assert Runner(workspace).tip() == before


@pytest.mark.parametrize("said", few([{"risk": "read"}, {"environment": "development"}], keep=1))
def test_what_a_record_says_of_its_risk_decides_nothing(workspace, said):
    """A waiting run whose first record was rewritten: no other run begins, and no key of its own signs anything."""
    runner = Runner(workspace)
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    journal = workspace.reports / waiting.run / "journal.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    rows[0]["body"] |= said
    head = "0" * 64
    for row in rows:
        row["prev"] = head
        row["hash"] = head = hashlib.sha256(
            canonical({key: value for key, value in row.items() if key != "hash"})
        ).hexdigest()
    journal.write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    keys = sorted(path.name for path in (workspace.root / ".gitops-nb/keys").iterdir())
    tip = runner.tip()
    done = workspace.run("resume", waiting.run)

    # Its risk is nobody's word, so the approval counts as ever; of its environment more than that rests on it.
    is_done = "risk" in said
    assert (done.returncode == 0) is is_done, done.stderr
    assert [directory.name for directory in run_directories(workspace.reports)] == [waiting.run]
    assert sorted(path.name for path in (workspace.root / ".gitops-nb/keys").iterdir()) == keys
    assert (runner.tip() != tip) is is_done
