"""A protected environment is changed by runners that trust.yaml lists, and only they vouch for CI's identity."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Mode, Status, digest, format_time, parse_time, to_json
from gitops_nb.policy import decide
from gitops_nb.record.keys import RunnerSigner, open_runner_key
from gitops_nb.record.ledger import Ledger, Phase, ledger_name
from gitops_nb.record.runs import read_run
from gitops_nb.session import notary, opening, platform, serving
from gitops_nb.session.notary import attest
from gitops_nb.session.runners import refuse_unlisted_runner
from gitops_nb.session.stores import reports_store
from tests.dora.test_github import server  # noqa: F401  a fixture
from tests.session.platform_edits import without_approval
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
    """Another key, one of another environment, and one out of its time, is refused with the line to add; also where nobody approves."""
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
    with pytest.raises(Refused, match="does not count there"):
        refuse_unlisted_runner(where, listed(asked, where, environments=("elsewhere",)))
    with pytest.raises(Refused, match="lists no runner with this key"):
        refuse_unlisted_runner(where, replace(asked.rules, approvals=0))
    refuse_unlisted_runner(where, replace(listed(asked, where), approvals=0))
    assert asked.state.effects == ()


@pytest.mark.parametrize("approvals", [True, False])
def test_an_unlisted_runner_begins_no_effect(runner, monkeypatch, approvals):
    """The whole way: the run ends refused at the gate, before it asks anybody, and Git and register are as they were."""
    if not approvals:
        without_approval(runner)
    other = Ed25519PrivateKey.generate().public_key()
    listed_key = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    monkeypatch.setattr(platform, "runner_key", lambda _: listed_key)
    before = runner.tip()
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert "lists no runner with this key" in stop.message
    assert (state.status, state.effects, state.request) == (Status.REFUSED, (), None)
    assert runner.tip() == before
    assert not list(find_workspace(runner.workspace.root).root.rglob("refs/gitops-nb/register/*"))


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


def host_says(asked, **changes):  # noqa: F811
    """GitHub's answer about the run that asked, which goes on; changed as a test wants it."""
    claims = asked.state.request_identity["claims"]
    created = parse_time(asked.state.request["created"])
    return {
        "id": 77, "run_attempt": 1, "repository": {"full_name": "acme/platform"}, "status": "in_progress",
        "head_sha": claims["sha"], "event": "workflow_dispatch", "actor": {"login": "priya"},
        "triggering_actor": {"login": "priya"}, "path": ".github/workflows/runbook.yml",
        "run_started_at": format_time(created - timedelta(minutes=5)),
        "updated_at": format_time(created - timedelta(minutes=4)), **changes,
    }  # fmt: skip


@pytest.fixture
def gone(asked, where, issuer, server, monkeypatch):  # noqa: F811
    """CI asked, a runner signed that, and the issuer has changed its keys since; says what the host is asked, and to what end."""
    asked.begin()
    asked.where = where
    listed(asked, where)
    attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    monkeypatch.setattr(notary, "_PROVEN", [])
    issuer.listed = ["strange"]
    questions: list[str] = []

    def problem(identity=None, request=None, **changes):
        def answer(path, query):
            questions.append(path)
            return 200, {}, host_says(asked, **changes)

        server.answer = answer
        state = asked.state
        return notary.check_identity(
            where,
            state.request_identity if identity is None else identity,
            state.request if request is None else request,
            issuer=issuer.url,
            ci_api=server.url,
        )

    problem.questions = questions
    return problem


def test_where_the_issuers_key_is_gone_the_host_is_asked(asked, gone):  # noqa: F811
    """Keys change within months: then GitHub says by run id what of it the request and its identity tell, and when it was going on."""
    created = parse_time(asked.state.request["created"])
    assert gone() == ""
    over = {"status": "completed", "updated_at": format_time(created + timedelta(minutes=1))}
    assert gone(**over) == ""
    for changes, said in (
        ({"actor": {"login": "eve"}}, "has actor eve, not priya"),
        ({"triggering_actor": {"login": "eve"}}, "has triggering actor eve, not priya"),
        ({"run_attempt": 2}, "has attempt 2, not 1"),
        ({"id": 78}, "has id 78, not 77"),
        ({"head_sha": "b" * 40}, "has sha"),
        ({"repository": {"full_name": "eve/platform"}}, "has repository eve/platform"),
        ({"run_started_at": format_time(created + timedelta(hours=1))}, "the request is of"),
        (
            {**over, "updated_at": format_time(created - timedelta(hours=1))},
            "the request is of",
        ),
        ({"run_started_at": None}, "does not say when"),
    ):
        assert said in gone(**changes)


def test_a_token_of_a_key_that_never_was_proves_nothing(asked, gone, where):  # noqa: F811
    """A run that is known to everybody fits a request that nobody made: without a runner's signature of that very request it is none."""
    state = asked.state
    identity = state.request_identity
    made_up = {**state.request, "nonce": "another"}
    audience = f"gitops-nb:{digest(made_up)}"
    claims = {**identity["claims"], "aud": audience}
    token = jwt.encode(claims, "nobody" * 8, algorithm="HS256", headers={"kid": "rotated-away"})
    parts = dict(zip(("protected", "payload", "signature"), token.split("."), strict=True))
    header = base64url_encode(b'{"alg":"RS256","kid":"rotated-away"}').decode()
    forged = {
        **identity, "kid": "rotated-away", "claims": claims,
        "token": {**parts, "protected": header},
    }  # fmt: skip
    assert "no runner that counts signed that this was asked for" in gone(forged, made_up)
    assert gone.questions == []
    # What somebody writes into the ledger's folder without a key is no signature.
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    stranger = RunnerSigner(public, key)
    body = {"request_digest": digest(made_up), "identity": forged}
    Ledger(reports_store(where), "production", stranger).append(
        Phase.REQUESTED, run=state.run, attempt=1, subjects={"request": "0" * 64}, body=body
    )
    assert "no runner that counts signed that this was asked for" in gone(forged, made_up)
    # A payload that says something else than the claims is none, whatever key it names.
    other = {**forged, "claims": {**forged["claims"], "actor": "lena"}}
    assert "something else than its token" in gone(other, made_up)
    assert gone() == ""


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
        serving.notary(where, tmp_path / "run", Path(short), head="", is_author=True) as address,
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect(str(address))
            connection.sendall(asked_for)
            connection.recv(4096)
        answer = notary._ask_engine(str(address), {"ask": "key"})
    assert answer["public"] == open_runner_key(where.root).public


def test_a_record_that_nobody_signed_takes_no_runners_place(asked, where):  # noqa: F811
    """Whoever may write there puts an end of that attempt into the ledger first: the runner's own comes behind it."""
    asked.begin()
    asked.journal.append("attempt", number=1)
    made = Ed25519PrivateKey.generate()
    public = made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    stranger = RunnerSigner(public, made)
    name = ledger_name(asked.state.environment, is_sandbox=asked.state.is_sandbox)
    planted = Ledger(reports_store(where), name, stranger).append(
        Phase.REQUESTED, run=asked.state.run, attempt=1, subjects={"journal": "0" * 64}, body={}
    )
    own = attest(where, asked.directory, Phase.REQUESTED, signer="engine")
    assert own.seq == planted.seq + 1
    assert attest(where, asked.directory, Phase.REQUESTED, signer="engine") == own
