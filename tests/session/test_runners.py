"""A protected environment is changed by runners that trust.yaml lists, and only they vouch for CI's identity."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Status, to_json
from gitops_nb.policy import decide
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Phase
from gitops_nb.session import notary
from gitops_nb.session.gate import Gate
from gitops_nb.session.notary import attest
from gitops_nb.session.runners import refuse_unattested, refuse_unlisted_runner
from gitops_nb.session.stores import reports_store
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
    refuse_unlisted_runner(where, asked.state, listed(asked, where))
    with pytest.raises(Refused, match="lists no runner with this key") as caught:
        refuse_unlisted_runner(where, asked.state, asked.rules)
    assert open_runner_key(where.root).public in caught.value.hint
    for limits in (
        {"valid_until": now - timedelta(days=1)},
        {"valid_from": now + timedelta(days=1)},
        {"revoked_since": now - timedelta(days=1)},
    ):
        with pytest.raises(Refused, match="does not count now"):
            refuse_unlisted_runner(where, asked.state, listed(asked, where, **limits))
    refuse_unlisted_runner(where, asked.state, replace(asked.rules, approvals=0))
    assert asked.state.effects == ()


def test_an_unlisted_runner_begins_no_effect(runner, monkeypatch):
    """The whole way: the run ends refused at the gate, before it asks anybody, and Git is as it was."""
    # The sandbox's own rules, judged as a live platform's.
    monkeypatch.setattr(RunState, "is_sandbox", False)
    before = runner.tip()
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert "lists no runner with this key" in stop.message
    assert (state.status, state.effects, state.request) == (Status.REFUSED, (), None)
    assert runner.tip() == before


def test_an_identity_counts_once_a_listed_runner_signed_it(asked, where):  # noqa: F811
    """Without the ledger's record, with another runner's, or with other claims than were signed, it is none."""
    asked.begin()
    rules = listed(asked, where)
    with pytest.raises(Refused, match="signed into the ledger"):
        refuse_unattested(where, asked.state, rules)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    refuse_unattested(where, asked.state, rules)
    with pytest.raises(Refused, match="signed into the ledger"):
        refuse_unattested(where, asked.state, asked.rules)
    claims = {**asked.state.request_identity["claims"], "actor": "lena"}
    edited = replace(
        asked.state, request_identity={**asked.state.request_identity, "claims": claims}
    )
    with pytest.raises(Refused, match="signed into the ledger"):
        refuse_unattested(where, edited, rules)
    other = replace(asked.state, request_digest="sha256:" + "0" * 64)
    with pytest.raises(Refused, match="signed into the ledger"):
        refuse_unattested(where, other, rules)


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


def test_the_gate_asks_for_it_just_before_apply(asked, where):  # noqa: F811
    """A journal that says "proven", without the ledger's word for it, ends at the last check and at the next decision."""
    asked.begin()
    asked.answer("tomas")
    rules = listed(asked, where)
    platform = asked.consent._platform
    recorder = SimpleNamespace(
        state=asked.state, workspace=where, directory=asked.directory, append=asked.journal.append
    )
    gate = Gate(recorder, platform, names=("soak",), plan_only=False, again=False)
    approvals, _ = asked.consent.answers(asked.state, rules, now=datetime.now(UTC))
    decision = decide(
        PLAN, OPEN, rules=rules, gates=("soak",), requester=asked.requester, approvals=approvals
    )
    with pytest.raises(Refused, match="signed into the ledger"):
        gate.still_holds(decision, rules)
    with pytest.raises(Refused, match="signed into the ledger"):
        gate._refuse_by_record(PLAN, rules)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    gate.still_holds(decision, rules)
    gate._refuse_by_record(PLAN, rules)
    assert asked.state.effects == ()


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
