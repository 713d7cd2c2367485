"""gitops-nb unlock: a person's word where no machine can ask, and nowhere else."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli import unlocking
from gitops_nb.cli.unlocking import free
from gitops_nb.errors import Refused, UsageError
from gitops_nb.model import Mode, Status, canonical
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import Phase, read_entry, slots
from gitops_nb.record.locks import SharedLocks, this_process
from gitops_nb.record.runs import create_run, read_run, try_lock
from gitops_nb.record.unlocks import SUBJECT, read_unlock
from gitops_nb.session import platform as platforms
from gitops_nb.session import stores
from gitops_nb.session.platform import open_platform
from gitops_nb.session.private import _parent, _prefix
from gitops_nb.session.verifying import verify_records
from tests.record.record_factories import ssh_key

NAME = "production--checkout"
RUN = "20261123T120000Z-promotion-production-0001"


def platform(workspace):
    """The sandbox's handles."""
    where = find_workspace(workspace.root)
    return open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)


def unlock(workspace, name, key=None):
    free(name, reason="the runner was lost", key=key, workspace=workspace.root, reports=None)


def unlocked(workspace):
    """Records of unlocks in production's ledger."""
    store = Folder(workspace.reports)
    entries = [read_entry(store, key) for key in slots(store, "sandbox.production")]
    return [entry for entry in entries if entry.phase is Phase.UNLOCKED]


@pytest.fixture
def locks(workspace, tmp_path, monkeypatch):
    """Locks that other machines see, and the workspace that names them."""
    store = Folder(tmp_path / "locks")
    monkeypatch.setattr(stores, "open_store", lambda url: store)
    workspace.write("gitops-nb.yaml", "kind: Workspace\nmode: sandbox\nlocks: gs://locks/here\n")
    return SharedLocks(store)


def test_locks_of_this_machine_are_not_for_hands(workspace):
    """Without a bucket of locks there is nothing to free: the operating system does."""
    with pytest.raises(UsageError, match="free themselves"):
        unlock(workspace, "production--checkout")


def test_a_lock_of_a_lost_machine_is_freed_and_a_living_ones_is_not(workspace, locks):
    """A holder whose life this machine can see is asked; another one is freed on a person's signed word, in the ledger."""
    alive = this_process("run-1", "test")
    held = locks.take(NAME, alive)
    with pytest.raises(Refused, match="lives"):
        unlock(workspace, NAME)
    assert locks.holder(NAME) == alive
    assert unlocked(workspace) == []
    locks.release(held)
    locks.take(NAME, dataclasses.replace(alive, boot="another"))
    _, _, digest = locks.held_by(NAME)
    unlock(workspace, NAME)
    assert locks.holder(NAME) is None
    (entry,) = unlocked(workspace)
    trust = platform(workspace).trust
    said, problem = read_unlock(entry, trust=trust, processes=LocalProcesses())
    assert problem == ""
    assert (said["what"], said["digest"], said["reason"]) == (NAME, digest, "the runner was lost")
    assert said["person"] == platform(workspace).second_person
    where = find_workspace(workspace.root)
    (ledger,) = verify_records(where, ()).ledgers
    assert ledger.problems == ()
    assert any(f"{NAME} freed by the word of {said['person']}" in note for note in ledger.notes)


@pytest.mark.parametrize("whose", ["stranger", "not an approver"])
def test_nobody_elses_word_frees_a_lock(whose, workspace, locks, tmp_path, monkeypatch):
    """A key that is nobody's, and a person who may not approve there, free nothing and leave no record."""
    locks.take(NAME, dataclasses.replace(this_process("run-1", "test"), boot="another"))
    key = ssh_key(tmp_path, "stranger")
    if whose == "not an approver":
        key = platform(workspace).signing_key
        monkeypatch.setattr(unlocking, "rules_for", lambda *_: SimpleNamespace(approvers=()))
    with pytest.raises((Refused, UsageError)):
        unlock(workspace, NAME, key)
    assert locks.holder(NAME) is not None
    assert unlocked(workspace) == []


@pytest.mark.parametrize(
    "change", [{"reason": "another"}, {"digest": "0" * 64}, {"person": "priya.raghavan"}, {"what": "staging--cart"}]
)  # fmt: skip
def test_an_edited_word_is_found(change, workspace, locks):
    """The statement is signed by the person: whoever has the runner's key cannot put words into their mouth."""
    locks.take(NAME, dataclasses.replace(this_process("run-1", "test"), boot="another"))
    unlock(workspace, NAME)
    (entry,) = unlocked(workspace)
    outer = entry.predicate["unlock"]
    inner = {**json.loads(outer["statement"]), **change}
    edited = {**outer, "statement": canonical(inner).decode()}
    trust = platform(workspace).trust
    changed = dataclasses.replace(entry, predicate={**entry.predicate, "unlock": edited})
    assert read_unlock(changed, trust=trust, processes=LocalProcesses())[1] != ""
    moved = dataclasses.replace(entry, subjects={SUBJECT: "0" * 64})
    said = read_unlock(moved, trust=trust, processes=LocalProcesses())[1]
    assert said == "it is about another holder"
    for rubbish in ({}, {"unlock": None}, {"unlock": {"statement": "[]", "signature": ""}}):
        broken = dataclasses.replace(entry, predicate=rubbish)
        assert read_unlock(broken, trust=trust, processes=LocalProcesses())[1] != ""


def test_a_run_that_died_elsewhere_is_closed_and_a_living_one_is_not(workspace, monkeypatch):
    """The run's record says who said that its process is gone, whose sockets go too; a held one is left alone."""
    where = find_workspace(workspace.root)
    opened = {
        "runbook": "promotion", "title": "Promote", "risk": "change", "owner": "x", "rollback": "",
        "notebook_digest": "sha256:1", "package": "0.1.0", "python": "3.11", "mode": "sandbox",
        "environment": "production", "source": "", "subject": "checkout", "parameters": {}, "steps": ["observe"],
        "requester": {"name": "priya", "kind": "person", "evidence": "test"}, "workspace": "w",
    }  # fmt: skip
    directory, _ = create_run(where.reports, RUN, opened)
    journal = Journal.open(directory)
    journal.append("attempt", number=1, front="gitops-nb run", who="priya", host="elsewhere", pid=7)
    journal.close()
    lock = try_lock(where.reports, RUN, {"who": "priya"})
    with pytest.raises(Refused, match="lives on this machine"):
        unlock(workspace, RUN)
    assert read_run(directory).status is Status.RUNNING
    lock.release()
    true = unlocking.try_lock

    def goes_on(reports, run, who):
        Journal.open(directory).append("attempt", number=2, front="gitops-nb run", who="priya")
        return true(reports, run, who)

    # Where nobody would believe what is signed here nothing is, in the ledger or in the register.
    other = Ed25519PrivateKey.generate().public_key()
    listed = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with monkeypatch.context() as patched:
        patched.setattr(platforms, "runner_key", lambda _: listed)
        with pytest.raises(Refused, match="this machine is no runner of production"):
            unlock(workspace, RUN)
    assert unlocked(workspace) == []
    # What was looked at is what is signed: a run that went on in between is none that died.
    with monkeypatch.context() as patched:
        patched.setattr(unlocking, "try_lock", goes_on)
        with pytest.raises(Refused, match="went on meanwhile"):
            unlock(workspace, RUN)
    assert unlocked(workspace) == []
    assert read_run(directory).status is Status.RUNNING
    private = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=_parent()))
    (private / "kernel.json").write_text("a key")
    unlock(workspace, RUN)
    assert not private.exists()
    state = read_run(directory)
    assert state.status is Status.FAILED
    assert "the runner was lost" in state.reason
    (entry,) = unlocked(workspace)
    said, problem = read_unlock(entry, trust=platform(workspace).trust, processes=LocalProcesses())
    assert (said["what"], problem) == (RUN, "")
    assert said["person"] in state.reason
    with pytest.raises(Refused, match="is not open"):
        unlock(workspace, RUN)


def test_an_edit_that_nobody_merged_makes_nobody_an_approver(workspace, locks, monkeypatch):
    """Who may free a lock is read where effects read it: from the protected branch, not from the folder."""
    locks.take(NAME, dataclasses.replace(this_process("run-1", "test"), boot="another"))
    real = platform(workspace)
    merged = real.look_again()
    without = merged.policy.model_copy(update={"approvers": ()})
    ground = dataclasses.replace(merged, policy=without)
    edited = dataclasses.replace(real, look_again=lambda: ground)
    monkeypatch.setattr(unlocking, "open_platform", lambda *_: edited)
    with pytest.raises(Refused, match="may not approve in production"):
        unlock(workspace, NAME)
    assert locks.holder(NAME) is not None


def test_who_may_free_a_lock_may_approve_wherever_it_can_be_of(workspace):
    """`eu--prod--checkout` is of `eu` or of `eu--prod`: hyphens are for names too."""
    fleet = platform(workspace).fleet
    some = next(iter(fleet.environments.values()))
    both = fleet.model_copy(update={"environments": {"eu": some, "eu--prod": some, "prod": some}})
    assert unlocking._environments_of("eu--prod--checkout", both) == ("eu--prod", "eu")
    assert unlocking._environments_of("prod--checkout", both) == ("prod",)
    with pytest.raises(UsageError, match="a lock of no environment"):
        unlocking._environments_of("euro--checkout", both)
