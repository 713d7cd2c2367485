"""A runner's word counts in the environments that trust.yaml lists it for, wherever it is asked for."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.listing import list_runs
from gitops_nb.dora.collectors.runs import collect_runs
from gitops_nb.dora.store import FactStore
from gitops_nb.model import Mode
from gitops_nb.record.findings import Code
from gitops_nb.record.journal import FILE, read
from gitops_nb.record.keys import RunnerSigner
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import run_directories, scan_run
from gitops_nb.session import notary
from gitops_nb.session.beginnings import is_signed, was_begun
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.notary import attest
from gitops_nb.session.signed_ends import unsigned_ends
from gitops_nb.session.verifying import verify_records
from gitops_nb.session.witnesses import trusted_for
from tests.record.test_tampering import rewrite_journal


def new_signer() -> RunnerSigner:
    """A runner with a key of its own."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return RunnerSigner(public, key)


@pytest.fixture
def other(runner):
    """Another machine's runner, listed in trust.yaml for the environments that a test says."""
    signer = new_signer()

    def listed(environments: str) -> RunnerSigner:
        runner.workspace.replace(
            "runbooks/trust.yaml",
            "runners: []",
            f'runners:\n  - {{name: other-ci, key: "{signer.public}", environments: [{environments}]}}',
        )
        return signer

    return listed


def planted(where, run: str):
    """A copy of a run under another id, its chain made anew."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-promotion-production-beef")
    directory = where.reports / name
    shutil.copytree(where.reports / run, directory)
    for path in directory.rglob("*"):
        if path.is_file() and path.name != FILE:
            path.write_bytes(path.read_bytes().replace(run.encode(), name.encode()))
    rewrite_journal(directory, lambda rows: rows[0]["body"].update(run=name))
    return directory


@pytest.mark.parametrize(("environments", "counts"), [("staging", False), ("production", True)])
def test_a_runner_signs_records_of_its_environments_only(
    runner, other, environments, counts, monkeypatch
):
    """A key that is listed for staging signs an end in production: it is nobody's there, to verify and to whoever closes runs."""
    where = find_workspace(runner.workspace.root)
    waiting, _ = runner.promote()
    signer = other(environments)
    directory = planted(where, waiting.run)
    monkeypatch.setattr(notary, "open_runner_key", lambda _: signer)
    attest(where, directory, Phase.REQUESTED, signer="engine")
    monkeypatch.undo()
    state = scan_run(directory)
    assert (was_begun(where, state), is_signed(where, state)) == (counts, counts)
    checked = verify_records(where, run_directories(where.reports))
    (ledger,) = checked.ledgers
    codes = {finding.code for finding in ledger.problems}
    assert codes == (set() if counts else {Code.UNTRUSTED_KEY})
    if not counts:
        assert "does not list the key of other-ci for production" in str(ledger.problems)


def test_a_run_that_another_environments_runner_began_is_not_closed(runner, other, monkeypatch):
    """What it signed makes no run of production one that somebody began: nothing closes it, and it stays as it is."""
    where = find_workspace(runner.workspace.root)
    waiting, _ = runner.promote()
    signer = other("staging")
    directory = planted(where, waiting.run)
    rewrite_journal(directory, lambda rows: rows.pop())
    monkeypatch.setattr(notary, "open_runner_key", lambda _: signer)
    attest(where, directory, Phase.REQUESTED, signer="engine")
    monkeypatch.undo()
    before = read(directory / FILE)[0]
    assert recover(where) == ()
    assert read(directory / FILE)[0] == before


def test_a_commits_runner_counts_by_the_environment_of_its_run():
    """Trailers of a run are signed by a runner of its environment; of an environment that nobody has, by one without limits."""
    public = new_signer().public
    limited = RunnerKey(name="a", key=public, environments=("staging",))
    free = RunnerKey(name="b", key=public)
    both, fleet = (limited, free), ("staging", "eu-staging", "production")
    for environment, expected in (
        ("staging", (limited, free)), ("eu-staging", (free,)), ("production", (free,)), ("gone", (free,)),
    ):  # fmt: skip
        run = f"20261123T174954Z-promotion-{environment}-1887"
        assert trusted_for(run, both, fleet) == expected


def test_list_does_not_believe_an_end_that_nobody_signed(runner, capsys):
    """A run that is written from nothing is not green; the true one beside it is, and so is one whose end is still to be signed."""
    where = find_workspace(runner.workspace.root)
    done, _ = runner.promote(source="development", target="staging", application="catalog")
    directory = planted(where, done.run)

    def rows():
        list_runs(where.root, None, environment=None, since=None, limit=None, as_json=True)
        return {row["run"]: row for row in json.loads(capsys.readouterr().out)}

    assert unsigned_ends(where, [scan_run(p) for p in run_directories(where.reports)]) == {
        directory.name
    }
    store = FactStore(where.root / "facts")
    wanted = {"environments": ("staging",), "mode": Mode.SANDBOX}
    collect_runs(where.reports, store, unsigned=partial(unsigned_ends, where), **wanted)
    assert store.resume_point("runs sandbox")["runs"] == [done.run]
    found = rows()
    assert found[done.run]["status"] == "succeeded"
    forged = found[directory.name]
    assert forged["status"] == "needs_attention"
    assert "no runner signed how it ended" in forged["reason"]
    assert forged["command"] == f"gitops-nb verify {directory.name}"
    # Junk among the ledger's records makes nobody believe it.
    (slot,) = list((where.reports / "ledger/sandbox.staging").glob("*.json"))[:1]
    odd = slot.with_name("000000000099.json")
    for plant in (lambda: os.mkfifo(odd), lambda: odd.symlink_to(odd), odd.mkdir):
        plant()
        assert rows()[directory.name]["status"] == "needs_attention"
        odd.rmdir() if odd.is_dir() else odd.unlink()
