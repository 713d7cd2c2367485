"""A protected environment is changed by runners that trust.yaml lists, and only they vouch for CI's identity."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Mode, Status, to_json
from gitops_nb.policy import decide
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import read_run
from gitops_nb.session import notary, opening, platform
from gitops_nb.session.notary import attest
from gitops_nb.session.runners import refuse_unlisted_runner
from gitops_nb.session.stores import reports_store
from tests.dora.test_github import server  # noqa: F401  a fixture
from tests.session.test_approval_table import OPEN, PLAN, keys  # noqa: F401  a fixture
from tests.session.test_ci_identity import _running, asked, issuer  # noqa: F401  fixtures


@pytest.fixture
def where(asked, workspace):  # noqa: F811
    """A workspace whose reports hold the run that CI asks about."""
    return replace(find_workspace(workspace.root), reports=asked.directory.parent)


def listed(asked, where, **limits):  # noqa: F811
    """The rules, with this workspace's runner in trust.yaml."""
    runner = RunnerKey(name="ci", key=open_runner_key(where.root).public, **limits)
    rules = asked.rules
    return replace(rules, trust=Trust(persons=rules.trust.persons, runners=(runner,)))


def test_only_a_listed_runner_changes_production(asked, where):  # noqa: F811
    """Another key, and one out of its time, is refused with the line to add; where nobody approves nobody asks."""
    asked.begin()
    now = datetime.now(UTC)
    refuse_unlisted_runner(where, listed(asked, where))
    with pytest.raises(Refused, match="lists no runner with this key") as caught:
        refuse_unlisted_runner(where, asked.rules)
    assert open_runner_key(where.root).public in caught.value.hint
    for limits in (
        {"valid_until": now - timedelta(days=1)},
        {"valid_from": now + timedelta(days=1)},
        {"revoked_since": now - timedelta(days=1)},
    ):
        with pytest.raises(Refused, match="does not count now"):
            refuse_unlisted_runner(where, listed(asked, where, **limits))
    refuse_unlisted_runner(where, replace(asked.rules, approvals=0))
    assert asked.state.effects == ()


def test_an_unlisted_runner_begins_no_effect(runner, monkeypatch):
    """The whole way: the run ends refused at the gate, before it asks anybody, and Git is as it was."""
    other = Ed25519PrivateKey.generate().public_key()
    listed_key = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    monkeypatch.setattr(platform, "runner_key", lambda _: listed_key)
    before = runner.tip()
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert "lists no runner with this key" in stop.message
    assert (state.status, state.effects, state.request) == (Status.REFUSED, (), None)
    assert runner.tip() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"origin": "https://git.example/x", "commit": "ab" * 20}, "nobody said on this machine"),
        ({"from": "workspace"}, "has no origin whose branch says who may give it"),
    ],
)
def test_nobody_is_asked_where_no_origin_is_trusted(runner, source, said):
    """On a machine without the pin the run ends refused at the gate: no request, and no approval that apply refuses."""
    session = runner.open()
    gate = session._gate
    gate._platform = replace(gate._platform, mode=Mode.LIVE, is_pinned=False, policy_source=source)
    before = runner.tip()
    state, stop = runner.go_through(session)
    assert isinstance(stop, Refused)
    assert said in stop.message
    assert "gitops-nb trust origin" in stop.hint
    assert (state.status, state.effects, state.request) == (Status.REFUSED, (), None)
    assert runner.tip() == before


@pytest.mark.parametrize("what", ["the key is not listed", "nobody trusted the origin"])
def test_a_waiting_run_outlives_a_machine_that_may_not_go_on(runner, monkeypatch, what):
    """Resumed where nobody would believe the record: refused, the run waits as before, and the right machine goes on."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    before = runner.tip()
    with monkeypatch.context() as patched:
        if what == "the key is not listed":
            other = Ed25519PrivateKey.generate().public_key()
            key = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
            patched.setattr(platform, "runner_key", lambda _: key)
        else:
            real = opening.open_platform
            patched.setattr(
                opening,
                "open_platform",
                lambda *given: replace(real(*given), mode=Mode.LIVE, is_pinned=False),
            )
        with pytest.raises(Refused) as caught:
            runner.open(run=waiting.run)
    assert ("runners of trust.yaml" in caught.value.message) is (what == "the key is not listed")
    now = read_run(runner.workspace.reports / waiting.run)
    assert (now.status, now.records) == (Status.WAITING, waiting.records)
    assert runner.tip() == before
    done, stop = runner.promote(run=waiting.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_runners_word_for_an_identity_is_none(asked, where, issuer, monkeypatch):  # noqa: F811
    """In another process the kept token counts by its issuer's key alone, whatever the ledger has signed."""
    asked.begin()
    rules = listed(asked, where)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    monkeypatch.setattr(notary, "_PROVEN", [])
    asked.consent.refuse_unproven(asked.state, rules)
    identity = asked.state.request_identity
    forged = {
        "claims": {**identity["claims"], "ref": "refs/heads/main", "jti": "x"},
        "token": {**identity["token"], "signature": "AAAA"},
        "issuer": "https://evil.example",
    }
    for name, value in forged.items():
        edited = replace(asked.state, request_identity={**identity, name: value})
        with pytest.raises(Refused, match="CI's identity"):
            asked.consent.refuse_unproven(edited, rules)
    without = {name: value for name, value in identity.items() if name != "token"}
    with pytest.raises(Refused, match="was not kept"):
        asked.consent.refuse_unproven(replace(asked.state, request_identity=without), rules)


def test_where_the_issuers_key_is_gone_the_host_is_asked(asked, where, issuer, server, monkeypatch):  # noqa: F811
    """Keys change within months: then GitHub says by run id whether commit, event, actor and workflow were those."""
    asked.begin()
    monkeypatch.setattr(notary, "_PROVEN", [])
    identity, said = asked.state.request_identity, {}
    claims = identity["claims"]
    issuer.listed = ["strange"]
    run = {
        "head_sha": claims["sha"], "event": "workflow_dispatch", "actor": {"login": "priya"},
        "path": ".github/workflows/runbook.yml",
    }  # fmt: skip
    server.answer = lambda path, query: (200, {}, {**run, **said})

    def problem():
        return notary.check_identity(identity, issuer=issuer.url, ci_api=server.url)

    assert problem() == ""
    said["actor"] = {"login": "eve"}
    assert "has actor eve, not priya" in problem()


def test_an_identity_is_signed_by_who_verified_it(asked, where, monkeypatch):  # noqa: F811
    """A notebook that writes claims into the journal gets no signature for them; what was signed once stays so."""
    asked.begin()
    monkeypatch.setattr(notary, "_PROVEN", [])
    with pytest.raises(RecordError, match="did not verify"):
        attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    assert reports_store(where).list("ledger/") == ()
    monkeypatch.setattr(notary, "_PROVEN", [dict(asked.state.request_identity)])
    asked.journal.append("attempt", number=1)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    monkeypatch.setattr(notary, "_PROVEN", [])
    asked.journal.append("attempt", number=2)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    assert len(reports_store(where).list("ledger/")) == 2


def test_no_start_is_signed_for_another_plan_than_was_asked_for(asked, where):  # noqa: F811
    """A journal whose newest plan and decision fit each other, and not the request that people answered."""
    asked.begin()
    for plan, allowed in ((PLAN, True), (replace(PLAN, summary="cart v666"), False)):
        decision = decide(
            plan, OPEN, rules=replace(asked.rules, approvals=0), gates=("soak",), requester=asked.requester,
        )  # fmt: skip
        asked.journal.append("planned", plan=plan, digest=plan.digest)
        asked.journal.append("decision", **to_json(decision))
        asked.journal.append("attempt", number=1)
        if allowed:
            attest(where, asked.directory, Phase.START, signer="engine")
            continue
        asked.journal.append("attempt", number=2)
        with pytest.raises(Refused, match="about another plan"):
            attest(where, asked.directory, Phase.START, signer="engine")
    assert len(reports_store(where).list("ledger/")) == 1


@pytest.mark.parametrize(
    "asked_for", [b"\n", b"no json\n", b"[]\n", b'{"ask":"identity"}\n', b"{" * 4000 + b"\n"]
)
def test_rubbish_leaves_the_engine_answering(workspace, tmp_path, asked_for):
    """A notebook that asks in no known form stops nobody, itself included, from asking properly."""
    where = find_workspace(workspace.root)
    with (
        tempfile.TemporaryDirectory() as short,  # a socket's path has 108 bytes at most
        notary.notary(where, tmp_path / "run", Path(short)) as address,
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect(str(address))
            connection.sendall(asked_for)
            connection.recv(4096)
        answer = notary._ask_engine(str(address), {"ask": "key"})
    assert answer["public"] == open_runner_key(where.root).public
