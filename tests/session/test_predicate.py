"""What a ledger record says about a run: every field, of the right shape, from a real run."""

from __future__ import annotations

import re
import subprocess

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status
from gitops_nb.policy import rules_for
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase, read_entry, slots
from gitops_nb.record.statement import body_of
from gitops_nb.redaction import process_redactor
from gitops_nb.session.stores import reports_store

ALWAYS = {
    "phase", "run", "attempt", "ledger", "at", "signer", "key_held", "environment", "mode", "subject", "runbook",
    "parameters", "parameters_digest", "secret_references", "source", "requester", "identity", "executor", "may",
    "policy", "tools", "journal", "clock", "plan", "request_digest", "break_glass", "ci",
}  # fmt: skip
FROM_START = {"decision", "approvals", "targets"}
AT_END = {
    "status",
    "witnessed",
    "exit_code",
    "reason",
    "attempts",
    "waited_ms",
    "redactions",
    "steps",
    "effects",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def git(root, *arguments):
    done = subprocess.run(
        ("git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def _earlier():
    """What an earlier run of the same kernel masked is not this run's."""
    process_redactor().text("git clone https://bot:hunter22@git.example/x")


@pytest.fixture
def records(runner, _earlier):
    """The three records of a run that waited and succeeded, in a workspace under Git."""
    root = runner.workspace.root
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "Begin")
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    runner.workspace.replace("runbooks/policy.yaml", "kind: Policy", "kind: Policy  # edited")
    state, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert state.status is Status.SUCCEEDED
    store = reports_store(find_workspace(root))
    return [read_entry(store, key) for key in slots(store, "sandbox.production")], state


def test_the_predicate_has_its_shape(records, runner):
    """Exactly the documented fields in each phase, none of them empty where the run knows it."""
    (requested, start, end), state = records
    assert set(requested.predicate) == ALWAYS
    assert set(start.predicate) == ALWAYS | FROM_START
    assert set(end.predicate) == ALWAYS | FROM_START | AT_END
    root, said = runner.workspace.root, end.predicate
    assert requested.predicate["source"] == {
        "commit": git(root, "rev-parse", "HEAD"), "branch": "main", "dirty": False,
    }  # fmt: skip
    assert said["source"]["dirty"] is True
    platform = runner.platform()
    rules = rules_for(platform.fleet, platform.policy, platform.trust, "production")
    people = sorted(one.person for one in rules.approvers)
    assert said["may"] == {
        "environment": "production", "automation_starts": False, "approvals": 1,
        "approve": people, "break_glass": [], "workflows": [],
    }  # fmt: skip
    tools = {tool["name"]: tool["version"] for tool in said["tools"]}
    assert set(tools) == {"gitops_nb", "python"}
    assert all(re.match(r"\d+\.\d+", version) for version in tools.values())
    assert said["clock"] == {"tolerance_s": 120}
    assert said["plan"]["digest"] == state.plan_digest
    assert said["plan"]["materials"] == state.plan["materials"]
    assert all(re.fullmatch(r"[0-9a-f]{40,64}|sha256:.*", v.split("@")[-1]) for v in said["plan"]["materials"].values())  # fmt: skip
    assert said["plan"]["changes"] == {"update": 1}
    assert said["key_held"] == "file of this user"
    assert said["signer"] == "session"
    assert (said["attempts"], said["status"], said["exit_code"]) == (2, "succeeded", 0)
    assert said["approvals"][0]["person"] == platform.second_person
    for step in said["steps"]:
        assert TIME.fullmatch(step["started"])
        assert TIME.fullmatch(step["ended"])
    by_name = {step["name"]: step for step in said["steps"]}
    evidence = runner.workspace.reports / state.run / "evidence" / "plan.json"
    assert by_name["plan"]["evidence"] == sha256_file(evidence)
    assert [effect["status"] for effect in said["effects"]] == ["done"] * len(said["effects"])
    assert all(effect["result_digest"].startswith("sha256:") for effect in said["effects"])
    assert said["redactions"] == {}
    assert end.subjects == {
        name: sha256_file(runner.workspace.reports / state.run / name).removeprefix("sha256:")
        for name in (*state.files, "journal.jsonl")
    }
    assert set(end.subjects) >= {"request.json", "report.html", "report.json", "evidence/plan.json"}


def test_the_ledgers_head_is_in_the_commit(records, runner):
    """The trailer names the record that was signed before the first effect: how many, its hash, and which ledger."""
    (requested, start, _), _ = records
    git_of = runner.platform().git
    (commit,) = git_of.log("platform-config", runner.tip(), limit=1)
    assert commit.trailers["Gitops-Nb-Ledger"] == f"2:{start.hash}:{requested.hash[:12]}"


def test_the_tools_of_a_live_attempt_are_named():
    """What the attempt found on the machine stands beside the package's own."""
    state = RunState(
        opened={"package": "0.1.0", "python": "3.12.1"},
        attempts=({"tools": {"openssh": "9.2p1", "git": "2.39.5"}},),
        request_identity={"clock_ahead_s": -2},
    )
    body = body_of(Phase.START, state, signer="engine", key_held="memory")
    assert body["tools"] == [
        {"name": "gitops_nb", "version": "0.1.0"},
        {"name": "python", "version": "3.12.1"},
        {"name": "git", "version": "2.39.5"},
        {"name": "openssh", "version": "9.2p1"},
    ]
    assert body["clock"] == {"tolerance_s": 120, "ahead_of_issuer_s": -2}


def test_references_to_secrets_are_named_and_finds_counted():
    """Parameters that are references stand there by name; so does how often something was masked."""
    state = RunState(
        opened={"parameters": {"token": "env://TOKEN", "application": "cart"}},
        redactions={"secret env://TOKEN": 3},
    )
    body = body_of(Phase.END, state, signer="engine", key_held="memory")
    assert body["secret_references"] == ["token"]
    assert body["redactions"] == {"secret env://TOKEN": 3}
