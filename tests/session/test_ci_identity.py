"""Who asks from CI is proven by an identity that its issuer signed for exactly this request; variables prove nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from jwt.utils import base64url_encode

from gitops_nb.adapters import oidc
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError, RecordError, Refused, UnavailableError, WaitingForApproval
from gitops_nb.model import Status, digest
from gitops_nb.policy import Proof, Requester, RequesterKind, Rules
from gitops_nb.record.files import sha256_file
from gitops_nb.redaction import process_redactor
from gitops_nb.session import notary, serving
from gitops_nb.session.consent import Consent
from gitops_nb.session.identity import REQUEST_TOKEN as TOKEN_VARIABLE
from gitops_nb.session.identity import REQUEST_URL
from gitops_nb.session.requester import ci_identity, proof_hint
from tests.engine.stops import prepare as without_approval
from tests.issuer import CLAIMS, REQUEST_TOKEN, SHA, LocalIssuer, local_issuer
from tests.session.test_approval_table import PLAN, RUN, Table, keys  # noqa: F401  a fixture

CI = {
    "repository": "acme/platform", "run_id": "77", "run_attempt": "1", "sha": SHA,
    "actor": "priya", "triggering_actor": "priya",
}  # fmt: skip
WORKFLOW = {
    "repository": "acme/platform", "repository_id": "4711", "workflow": ".github/workflows/runbook.yml",
    "ref": "refs/heads/main", "environments": ["production"],
}  # fmt: skip
AUDIENCE = "gitops-nb:sha256:00"


@pytest.fixture(scope="module")
def _running():
    with local_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(_running) -> LocalIssuer:
    """The issuer, honest again."""
    _running.claims, _running.asked, _running.listed = dict(CLAIMS), [], ["current"]
    _running.issuer, _running.jwks_uri = _running.url, f"{_running.url}/jwks"
    _running.drips, _running.answers_token = False, None
    return _running


class Asked(Table):
    """A run in GitHub Actions that asks for approval."""

    issuer: LocalIssuer
    where: Workspace | None = None
    ci_api = "http://127.0.0.1:1"
    workflows: tuple[dict[str, Any], ...] = (WORKFLOW,)

    @property
    def rules(self) -> Rules:
        made = super().rules
        policy = Policy.model_validate(
            {"workflows": list(self.workflows), "ci_issuer": self.issuer.url}
        )
        here = tuple(w for w in policy.workflows if "production" in w.environments)
        return Rules(
            **{name: getattr(made, name) for name in made.__slots__}
            | {"workflows": here, "ci_issuer": policy.ci_issuer}
        )

    @property
    def consent(self) -> Consent:
        made = super().consent
        made._platform.prove = notary.prove
        made._platform.check_identity = lambda identity, request: notary.check_identity(
            self.where, identity, request, issuer=self.issuer.url, ci_api=self.ci_api
        )
        return made


@pytest.fixture
def asked(keys, issuer, tmp_path, monkeypatch) -> Asked:  # noqa: F811
    """Started by priya, with the permission to prove it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    for name, value in CI.items():
        monkeypatch.setenv(f"GITHUB_{name.upper()}", value)
    monkeypatch.setenv(REQUEST_URL, issuer.request_url)
    monkeypatch.setenv(TOKEN_VARIABLE, REQUEST_TOKEN)
    made = Asked(tmp_path / "reports" / RUN, keys)
    made.issuer = issuer
    made.requester = ci_identity()
    return made


def test_an_identity_is_bound_to_the_request(asked, issuer):
    """Claims and key id are recorded with the request whose digest they are for; the token is nowhere."""
    issuer.answers_token = None
    asked.begin()
    state = asked.state
    assert issuer.asked == [f"gitops-nb:{state.request_digest}"]
    identity = state.request_identity
    assert (identity["kid"], identity["issuer"]) == ("current", issuer.url)
    assert identity["claims"]["aud"] == f"gitops-nb:{state.request_digest}"
    assert {name: identity["claims"][name] for name in CI if name != "triggering_actor"} == {
        name: value for name, value in CI.items() if name != "triggering_actor"
    }
    asked.answer("tomas")
    assert asked.outcome() == "allowed"


def test_the_token_is_kept_as_proof_and_what_opens_the_door_nowhere(asked, issuer):
    """The token, for this request alone, stays in the record in its parts; whole it is masked, and its door always."""
    sent: list[str] = []
    honest = issuer.token

    def remember(*arguments: Any, **changes: Any) -> str:
        sent.append(honest(*arguments, **changes))
        return sent[-1]

    issuer.token = remember
    try:
        asked.begin()
    finally:
        del issuer.token
    (token,) = sent
    written = b"".join(p.read_bytes() for p in asked.directory.rglob("*") if p.is_file())
    for secret in (token, REQUEST_TOKEN):
        assert secret.encode() not in written
    assert dict(asked.state.request_identity["token"]) == dict(
        zip(("protected", "payload", "signature"), token.split("."), strict=True)
    )
    shown = process_redactor().text(f"curl -H 'Authorization: Bearer {token}' {REQUEST_TOKEN}")
    assert token not in shown
    assert REQUEST_TOKEN not in shown
    assert "[secret the token that asks for CI's identity]" in shown


TOKENS: dict[str, tuple[Callable[[LocalIssuer], str], type[GitOpsError]]] = {}


def token(refusal: type[GitOpsError] = Refused):
    """Registers an identity that does not count."""

    def add(function):
        TOKENS[function.__name__] = (function, refusal)
        return function

    return add


def now() -> int:
    return int(time.time())


@token()
def another_audience(issuer):
    return issuer.token("gitops-nb")


@token()
def several_audiences(issuer):
    return issuer.token([AUDIENCE, "sts.amazonaws.com"])


@token()
def the_audience_of_another_request(issuer):
    return issuer.token("gitops-nb:sha256:01")


@token()
def another_issuer(issuer):
    return issuer.token(AUDIENCE, iss="https://token.actions.githubusercontent.com")


@token()
def expired(issuer):
    return issuer.token(AUDIENCE, iat=now() - 600, nbf=now() - 600, exp=now() - 120)


@token()
def issued_in_the_future(issuer):
    return issuer.token(AUDIENCE, iat=now() + 600, exp=now() + 900)


@token()
def not_valid_yet(issuer):
    return issuer.token(AUDIENCE, nbf=now() + 600)


@token()
def valid_for_a_day(issuer):
    return issuer.token(AUDIENCE, exp=now() + 86_400)


@token()
def without_expiry(issuer):
    return issuer.token(AUDIENCE, exp=None)


@token()
def without_a_run(issuer):
    return issuer.token(AUDIENCE, run_id=None)


@token()
def without_an_actor(issuer):
    return issuer.token(AUDIENCE, actor=None)


@token()
def without_signature(issuer):
    return issuer.token(AUDIENCE, algorithm="none", key="")


@token()
def signed_with_the_public_key_as_a_secret(issuer):
    """HS256 with what everybody knows: the classic confusion of algorithms."""
    from cryptography.hazmat.primitives import serialization

    public = issuer.keys["current"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    payload = issuer.token(AUDIENCE).split(".")[1]
    header = base64url_encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "current"}).encode())
    message = header + b"." + payload.encode()
    signature = base64url_encode(hmac.new(public, message, hashlib.sha256).digest())
    return f"{message.decode()}.{signature.decode()}"


@token()
def signed_by_an_unknown_key(issuer):
    return issuer.token(AUDIENCE, kid="strange")


@token()
def signed_by_another_key_under_a_known_name(issuer):
    return issuer.token(AUDIENCE, key=issuer.keys["strange"])


@token()
def without_a_key_name(issuer):
    return jwt.encode(
        jwt.decode(issuer.token(AUDIENCE), options={"verify_signature": False}),
        issuer.keys["current"], algorithm="RS256",
    )  # fmt: skip


@token()
def with_its_own_key_in_the_header(issuer):
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(issuer.keys["strange"].public_key()))
    return issuer.token(AUDIENCE, key=issuer.keys["strange"], headers={"jwk": jwk})


@token()
def with_a_key_address_in_the_header(issuer):
    return issuer.token(
        AUDIENCE, key=issuer.keys["strange"], headers={"jku": "https://evil.example/jwks"}
    )


@token()
def with_a_longer_algorithm(issuer):
    return issuer.token(AUDIENCE, algorithm="PS256")


@token()
def with_a_changed_claim(issuer):
    header, _, signature = issuer.token(AUDIENCE).split(".")
    claims = jwt.decode(issuer.token(AUDIENCE), options={"verify_signature": False})
    body = base64url_encode(json.dumps({**claims, "actor": "tomas"}).encode()).decode()
    return f"{header}.{body}.{signature}"


@token()
def a_claim_that_is_no_text(issuer):
    return issuer.token(AUDIENCE, workflow_ref=["a"])


@token()
def rubbish(issuer):
    return "x" * 64


@token()
def of_an_issuer_that_describes_another(issuer):
    made = issuer.token(AUDIENCE)
    issuer.issuer = "https://elsewhere.example"
    return made


@token()
def of_an_issuer_whose_keys_are_elsewhere(issuer):
    issuer.jwks_uri = "https://evil.example/jwks"
    return issuer.token(AUDIENCE)


@token(UnavailableError)
def of_an_issuer_that_sends_us_on(issuer):
    issuer.jwks_uri = f"{issuer.url}/moved"
    return issuer.token(AUDIENCE)


def test_an_honest_identity_counts(issuer):
    """Signature, audience, issuer and times hold: the claims are what was signed."""
    found = oidc.verify(issuer.token(AUDIENCE), audience=AUDIENCE, issuer=issuer.url)
    assert found["kid"] == "current"
    assert found["claims"]["actor"] == "priya"


@pytest.mark.parametrize("name", TOKENS)
def test_an_identity_that_does_not_count(name, issuer):
    """What is not signed by the issuer, now, and for this request, is none."""
    make, refusal = TOKENS[name]
    made = make(issuer)
    with pytest.raises(refusal):
        oidc.verify(made, audience=AUDIENCE, issuer=issuer.url)


JOBS: dict[str, dict[str, Any]] = {
    "another repository": {"repository": "eve/platform", "workflow_ref": "eve/platform/.github/workflows/runbook.yml@refs/heads/main"},
    "a repository made anew": {"repository_id": "4712"},
    "another branch": {"ref": "refs/heads/change", "workflow_ref": "acme/platform/.github/workflows/runbook.yml@refs/heads/change"},
    "another workflow": {"workflow_ref": "acme/platform/.github/workflows/other.yml@refs/heads/main"},
    "a workflow of another branch": {"workflow_ref": "acme/platform/.github/workflows/runbook.yml@refs/heads/change"},
    "a pull request": {"event_name": "pull_request", "ref": "refs/pull/7/merge"},
    "a pull request from a fork": {"event_name": "pull_request_target"},
    "a comment": {"event_name": "issue_comment"},
    "a schedule": {"event_name": "schedule"},
    "another GitHub environment": {"environment": "staging"},
    "another run": {"run_id": "78"},
    "another attempt": {"run_attempt": "2"},
    "another commit": {"sha": "b" * 40},
    "another actor": {"actor": "tomas"},
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_an_honest_identity_of_another_job(job, asked, issuer):
    """An identity that is not this job's, or not one that policy.yaml lists, asks for nothing."""
    issuer.claims |= JOBS[job]
    before = [sha256_file(p) for p in asked.directory.rglob("*") if p.is_file()]
    with pytest.raises(Refused, match="nothing was asked for"):
        asked.begin()
    assert asked.state.request is None
    assert not (asked.directory / "request.json").exists()
    assert before == []


@pytest.mark.parametrize(
    ("workflows", "claims", "fits"),
    [
        ((), {}, False),
        (({**WORKFLOW, "environments": ["staging"]},), {}, False),
        (({**WORKFLOW, "repository_id": None},), {"repository_id": "1"}, True),
        ((WORKFLOW,), {"environment": "production"}, True),
        (({**WORKFLOW, "job_environment": "prod"},), {"environment": "prod"}, True),
        (({**WORKFLOW, "job_environment": "prod"},), {}, False),
        (({**WORKFLOW, "job_environment": "prod"},), {"environment": "production"}, False),
    ],
)
def test_policy_says_which_workflow_may_ask(workflows, claims, fits, asked, issuer):
    """Only a workflow that policy.yaml lists for the environment; no list is no."""
    asked.workflows = workflows
    issuer.claims |= claims
    if fits:
        asked.begin()
        assert asked.state.request is not None
    else:
        with pytest.raises(Refused, match="lists no workflow"):
            asked.begin()
        assert asked.state.request is None


def test_what_may_start_it_is_listed_too(asked, issuer, monkeypatch):
    """Automation asks only where the policy names its event, and never in a person's name."""
    monkeypatch.setenv("GITHUB_EVENT_NAME", "schedule")
    issuer.claims["event_name"] = "schedule"
    asked.requester = ci_identity()
    with pytest.raises(Refused, match="lists no workflow"):
        asked.begin()
    asked.workflows = ({**WORKFLOW, "events": ["schedule"]},)
    person = Requester("priya", RequesterKind.PERSON, "GitHub Actions", Proof.CI)
    for requester in (person, asked.requester):
        ask = partial(asked.consent.request, asked.state, PLAN, rules=asked.rules)
        if requester is person:
            with pytest.raises(Refused, match="says that schedule started the run"):
                ask(requester=requester)
            assert asked.state.request is None
        else:
            ask(requester=requester)
    assert asked.state.request["requester"]["kind"] == "automation"


def test_there_are_enough_cases():
    """The table does not shrink unseen."""
    assert len(TOKENS) >= 25
    assert len(JOBS) >= 14


def test_a_workflow_taken_from_the_list_while_the_run_waits(asked):
    """The list counts again just before apply."""
    asked.begin()
    asked.answer("tomas")
    assert asked.outcome() == "allowed"
    asked.workflows = ()
    assert asked.outcome() == "refused"


@pytest.mark.parametrize("name", ["tomas", "tomas@example.com"])
@pytest.mark.parametrize("starter", ["actor", "triggering_actor"])
def test_whoever_started_the_ci_run_approves_nothing(starter, name, asked, issuer, monkeypatch):
    """A re-run by another person: neither who started first nor who did now may approve, by any name."""
    monkeypatch.setenv(f"GITHUB_{starter.upper()}", name)
    issuer.claims["actor"] = name if starter == "actor" else "priya"
    asked.requester = ci_identity()
    asked.begin()
    asked.answer("tomas")
    assert asked.outcome() == "waiting"
    asked.answer("lena")
    assert asked.outcome() == "allowed"


def test_ci_breaks_no_glass(asked):
    """That takes a person's own key, whatever policy.yaml gives them."""
    asked.approvers["priya"]["break_glass"] = True
    asked.break_glass = "the site is down"
    asked.begin()
    assert asked.outcome() == "refused"


def test_without_the_permission_nothing_is_proven(asked, monkeypatch):
    """Variables that anybody could set are no proof: refused, with the permission to add."""
    monkeypatch.delenv(REQUEST_URL)
    asked.requester = ci_identity()
    assert asked.requester.proof is Proof.NONE
    asked.begin()
    asked.answer("tomas")
    assert asked.outcome() == "refused"
    assert "id-token: write" in proof_hint(asked.requester)
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.setenv("CI", "true")
    assert ci_identity().proof is Proof.NONE


def test_an_identity_edited_into_the_journal_is_none(asked):
    """A request that claims to be CI's, without claims that fit it, is refused."""
    asked.requester = Requester("priya", RequesterKind.PERSON, "GitHub Actions", Proof.CI)
    asked.begin()
    asked.answer("tomas")
    found = asked.state
    for change in ({"claims": {}}, {"kid": ""}, {"issuer": "https://evil.example"}):
        from dataclasses import replace

        edited = replace(found, request_identity={**found.request_identity, **change})
        with pytest.raises(Refused):
            asked.consent.refuse_unproven(edited, asked.rules)
    with pytest.raises(Refused, match="not proven"):
        asked.consent.refuse_unproven(replace(found, request_identity={}), asked.rules)


def test_an_issuer_that_drips_ends_at_the_deadline(issuer, monkeypatch):
    """One byte now and then holds nobody up."""
    monkeypatch.setattr(oidc, "DEADLINE_S", 0.5)
    issuer.drips = True
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="no answer within"):
        oidc.prove(issuer.request_url, REQUEST_TOKEN, audience=AUDIENCE, issuer=issuer.url)
    assert time.monotonic() - begun < 3


def test_a_door_without_https_is_not_used():
    """The job's own token goes nowhere in the clear."""
    with pytest.raises(Refused, match="http://ci"):
        oidc.prove("http://ci.example/token", REQUEST_TOKEN, audience=AUDIENCE, issuer="https://x")


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example",
        "https://",
        "https://a/?x=1",
        "https://user@a",
        "ftp://a",
        "https://a/",
    ],
)
def test_an_issuer_that_could_be_tricked_with_is_refused(address):
    """policy.yaml names an https address, nothing else."""
    with pytest.raises(ValueError, match="ci_issuer"):
        Policy.model_validate({"ci_issuer": address})


def test_a_notebook_gets_an_identity_for_its_own_request_alone(runner, issuer, monkeypatch):
    """The engine makes audience and issuer itself: for another run, plan or environment, or one that needs approval, it asks nobody."""
    from gitops_nb import promotion
    from gitops_nb.catalog.workspace import find_workspace

    policy = runner.workspace.root / "runbooks/policy.yaml"
    policy.write_text(f"{policy.read_text(encoding='utf-8')}\nci_issuer: {issuer.url}\n")
    where = find_workspace(runner.workspace.root)
    monkeypatch.setenv(REQUEST_URL, issuer.request_url)
    monkeypatch.setenv(TOKEN_VARIABLE, REQUEST_TOKEN)
    for target, source, expected in (
        ("production", "staging", False),
        ("staging", "development", True),
    ):
        if expected:
            without_approval(runner.workspace)
        session = runner.open(source=source, target=target)
        session.step(promotion.observe)
        session.step(promotion.plan)
        state, directory = session.state, session.directory
        session.close()
        own = {
            "run": state.run, "runbook": "promotion", "parameters": state.opened["parameters"],
            "environment": target, "plan_digest": state.plan_digest,
            "requester": state.opened["requester"], "nonce": "x",
        }  # fmt: skip
        with (
            tempfile.TemporaryDirectory() as short,
            serving.notary(
                where, directory, Path(short), head=state.head, is_author=True
            ) as address,
        ):

            def ask(request, at=str(address)):
                return notary._ask_engine(at, {"ask": "identity", "request": request})

            others = [{**own, name: "other"} for name in own if name != "nonce"]
            for wrong in others if expected else (*others, own):
                with pytest.raises(Refused, match="CI's identity was not asked for"):
                    ask(wrong)
            door = {"ask": "identity", "audience": "sts.amazonaws.com", "issuer": issuer.url}
            with pytest.raises(RecordError):
                notary._ask_engine(str(address), door)
            assert issuer.asked == []
            if expected:
                found = ask(own)
                assert issuer.asked == [f"gitops-nb:{digest(own)}"]
                assert found["issuer"] == issuer.url


def test_a_kernel_gets_neither_the_door_nor_the_runners_key(workspace, tmp_path, monkeypatch):
    """What the engine's environment holds for itself does not reach the notebook; the rest does."""
    from gitops_nb.catalog.workspace import find_workspace
    from gitops_nb.engine.supervise import Order, _environment

    held = {
        REQUEST_URL: "https://ci.example", TOKEN_VARIABLE: REQUEST_TOKEN,
        "GITOPS_NB_RUNNER_KEY": "-----BEGIN OPENSSH PRIVATE KEY-----",
    }  # fmt: skip
    for name, value in {**held, "GITHUB_RUN_ID": "77"}.items():
        monkeypatch.setenv(name, value)
    asked_for = Order(tmp_path / "n.ipynb", {}, None, "live", "priya", "")
    given = _environment(find_workspace(workspace.root), asked_for)
    assert not set(held) & set(given)
    assert not set(held.values()) & set(given.values())
    assert given["GITHUB_RUN_ID"] == "77"


def test_the_sandbox_needs_no_identity(runner, monkeypatch):
    """In CI without the permission: automation asks with the sandbox's own key, is approved, and the change arrives."""
    monkeypatch.setenv("CI", "true")
    assert runner.platform().requester.kind is RequesterKind.AUTOMATION
    runner.workspace.replace(
        "runbooks/fleet.yaml", "production: {auto_deploy: false", "production: {auto_deploy: true"
    )
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    assert waiting.request["requester"]["kind"] == "automation"
    assert waiting.request_signature
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert state.status is Status.SUCCEEDED


def started_by(asked, issuer, monkeypatch, login: str) -> None:
    """The same job, started by somebody else."""
    issuer.claims["actor"] = login
    for name in ("ACTOR", "TRIGGERING_ACTOR"):
        monkeypatch.setenv(f"GITHUB_{name}", login)
    asked.requester = ci_identity()


def test_a_login_that_nobody_knows_asks_for_nothing(asked, issuer, monkeypatch):
    """Tomas under a login that trust.yaml does not have could approve what he asked for himself."""
    started_by(asked, issuer, monkeypatch, "tomas-at-work")
    with pytest.raises(
        Refused, match=r"tomas-at-work asks, and is nobody in trust\.yaml"
    ) as caught:
        asked.begin()
    assert "alias" in caught.value.hint
    assert (asked.state.request, issuer.asked) == (None, [])
    assert not (asked.directory / "request.json").exists()


def test_a_login_counts_in_any_case(asked, issuer, monkeypatch):
    """GitHub shows a login as its owner spelled it; it is the same person who asked, and who approves."""
    asked.persons["tomas"]["aliases"] = ["tomas-at-work"]
    started_by(asked, issuer, monkeypatch, "Tomas-At-Work")
    asked.begin()
    asked.answer("tomas")
    assert asked.outcome() == "waiting"
    asked.answer("lena")
    assert asked.outcome() == "allowed"


def test_somebody_taken_out_of_trust_yaml_asks_no_more(asked):
    """The list is read again before an effect: who asked has to be in it still."""
    asked.begin()
    asked.answer("tomas")
    del asked.persons["priya"], asked.approvers["priya"]
    assert asked.outcome() == "refused"


def test_automation_has_no_person_to_tell_from(asked, issuer, monkeypatch):
    """A schedule's actor may be one of GitHub's applications, which approves nothing."""
    monkeypatch.setenv("GITHUB_EVENT_NAME", "schedule")
    issuer.claims["event_name"] = "schedule"
    asked.workflows = ({**WORKFLOW, "events": ["schedule"]},)
    started_by(asked, issuer, monkeypatch, "some-bot[bot]")
    asked.begin()
    assert asked.state.request is not None


@pytest.mark.parametrize("again", ["tomas-at-work", "some-machine-user"])
def test_a_person_may_stand_behind_automation(again, asked, issuer, monkeypatch):
    """Whoever starts a schedule's run again, by a login that nobody knows, could approve it under their own name."""
    monkeypatch.setenv("GITHUB_EVENT_NAME", "schedule")
    issuer.claims["event_name"] = "schedule"
    asked.workflows = ({**WORKFLOW, "events": ["schedule"]},)
    started_by(asked, issuer, monkeypatch, "some-bot[bot]")
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", again)
    asked.requester = ci_identity()
    with pytest.raises(Refused, match=f"{again} asks, and is nobody in trust"):
        asked.begin()


def test_a_person_who_asks_by_a_bot_is_the_requester(asked, issuer, monkeypatch):
    """Tomas dispatches by a bot that trust.yaml lists as his: it is he who asks, and his yes is none."""
    asked.persons["tomas"]["aliases"] = ["deploy-bot[bot]"]
    started_by(asked, issuer, monkeypatch, "deploy-bot[bot]")
    asked.begin()
    asked.answer("tomas")
    assert asked.outcome() == "waiting"
    asked.answer("lena")
    assert asked.outcome() == "allowed"


def test_a_bot_of_nobody_starts_nothing_in_a_persons_name(asked, issuer, monkeypatch):
    """Behind a bot that nobody is listed with could be the approver."""
    started_by(asked, issuer, monkeypatch, "deploy-bot[bot]")
    with pytest.raises(Refused, match="is nobody in trust"):
        asked.begin()
