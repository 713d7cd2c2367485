"""Reviews on GitHub: which of them count, as one approval, and that every field is one that GitHub describes."""

from __future__ import annotations

import json
import os
import time
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.policies import Policy
from gitops_nb.errors import Refused, UnavailableError
from gitops_nb.model import digest, to_json
from gitops_nb.policy import Proof, Requester, RequesterKind, Rules
from gitops_nb.ports import Page
from gitops_nb.record.consents import _count
from gitops_nb.record.verify import verify_run
from gitops_nb.session.consent import Consent
from gitops_nb.session.reviews import GitHubReviews, Review, recheck
from tests.conftest import REPOSITORY
from tests.session.test_approval_table import RUN, Table, keys  # noqa: F401  a fixture

SHA = "a" * 40
CI = {
    "repository": "acme/platform", "run_id": "77", "run_attempt": "1", "sha": SHA,
    "actor": "priya", "triggering_actor": "priya",
}  # fmt: skip
WORKFLOW = {
    "id": 77, "head_sha": SHA, "run_attempt": 1, "status": "in_progress",
    "actor": {"login": "priya"}, "triggering_actor": {"login": "priya"},
}  # fmt: skip


QUOTED = "{digest of the request}"
"""Stands in a review's text where people put the digest of the request that they mean."""


def environment_review(
    login="tomas", state="approved", environment="production", comment=f"I mean {QUOTED}"
):
    return {
        "state": state,
        "comment": comment,
        "user": {"login": login, "id": 5},
        "environments": [{"name": environment, "id": 3}],
    }


def pull_review(login="tomas", state="APPROVED", commit=SHA):
    return {
        "id": 1, "user": {"login": login, "id": 5}, "state": state, "commit_id": commit, "body": f"fine, {QUOTED}",
        "submitted_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip


LISTED = {
    "repository": "acme/platform", "workflow": ".github/workflows/runbook.yml",
    "ref": "refs/heads/main", "environments": ["production"],
}  # fmt: skip
JOB = {
    **{name: value for name, value in CI.items() if name != "triggering_actor"},
    "event_name": "workflow_dispatch", "ref": "refs/heads/main",
    "workflow_ref": "acme/platform/.github/workflows/runbook.yml@refs/heads/main",
}  # fmt: skip


class Api:
    """GitHub's answers to the four questions."""

    def __init__(self, run=WORKFLOW, approvals=(), pulls=(), reviews=()) -> None:
        base = "repos/acme/platform"
        self.answers = {
            f"{base}/actions/runs/77": run,
            f"{base}/actions/runs/77/approvals": list(approvals),
            f"{base}/commits/{SHA}/pulls": list(pulls),
            f"{base}/pulls/7/reviews": list(reviews),
        }

    def pages(self, path, parameters=None, *, start=""):
        if path not in self.answers:
            raise UnavailableError(f"GitHub answers 404 to {path}")
        yield Page(self.answers[path], "", 'W/"1"')


PULL = {"number": 7, "user": {"login": "priya"}}


def found(api, *, asked=CI, present=CI):
    return [r.login for r in GitHubReviews(api, present).find(asked, "production")]


def test_a_review_of_the_environment_counts():
    """Its reviewer and the attempt it was given for are known."""
    api = Api(approvals=[environment_review()])
    assert GitHubReviews(api, CI).find(CI, "production") == (Review("tomas", "environment/77/1"),)


def test_a_review_of_the_pull_request_counts():
    """An approval of exactly the commit that runs."""
    assert found(Api(pulls=[PULL], reviews=[pull_review()])) == ["tomas"]


@pytest.mark.parametrize(
    ("name", "api"),
    [
        ("nobody", Api()),
        ("a rejection", Api(approvals=[environment_review(state="rejected")])),
        ("a pending one", Api(approvals=[environment_review(state="pending")])),
        ("another environment", Api(approvals=[environment_review(environment="staging")])),
        ("who started it", Api(approvals=[environment_review("priya")])),
        ("a deleted user", Api(approvals=[{**environment_review(), "user": None}])),
        ("another commit", Api(run={**WORKFLOW, "head_sha": "b" * 40}, approvals=[environment_review()])),
        ("a later attempt", Api(run={**WORKFLOW, "run_attempt": 2}, approvals=[environment_review()])),
        ("who started the attempt", Api(run={**WORKFLOW, "triggering_actor": {"login": "tomas"}}, approvals=[environment_review()])),
        ("a review of an older commit", Api(pulls=[PULL], reviews=[pull_review(commit="b" * 40)])),
        ("a comment", Api(pulls=[PULL], reviews=[pull_review(state="COMMENTED")])),
        ("a yes taken back", Api(pulls=[PULL], reviews=[pull_review(), pull_review(state="CHANGES_REQUESTED")])),
        ("a dismissed yes", Api(pulls=[PULL], reviews=[pull_review(), pull_review(state="DISMISSED")])),
        ("the author of the change", Api(pulls=[{"number": 7, "user": {"login": "tomas"}}], reviews=[pull_review()])),
    ],
)  # fmt: skip
def test_what_does_not_count(name, api):
    """A review that is not another person's yes to exactly this attempt, commit and environment is none."""
    assert found(api) == []


@pytest.mark.parametrize(
    "change",
    [{"run_id": "78"}, {"run_attempt": "2"}, {"sha": "b" * 40}, {"repository": "acme/other"}],
)
def test_another_run_or_attempt_has_no_reviews(change):
    """A re-run by another person, or any other run, cannot use what was said to the first; nobody is asked."""
    api = Api(approvals=[environment_review()])
    api.answers = {}
    assert found(api, present={**CI, **change}) == []
    assert found(api, asked={}) == []


def test_github_has_to_confirm_who_asks():
    """Environment variables alone prove nothing: GitHub names the actor, attempt and commit of the run."""
    GitHubReviews(Api(), CI).confirm("priya")
    for name, run in (
        ("tomas", WORKFLOW),
        ("priya", {**WORKFLOW, "head_sha": "b" * 40}),
        ("priya", {**WORKFLOW, "run_attempt": 2}),
        ("priya", {**WORKFLOW, "triggering_actor": {"login": "lena"}}),
    ):
        with pytest.raises(Refused, match="does not confirm"):
            GitHubReviews(Api(run=run), CI).confirm(name)


def test_a_request_is_made_only_for_whom_github_names(table):
    """The token names who started the run first; who started this attempt is GitHub's to say, before anybody is asked."""
    before = (table.directory / "journal.jsonl").read_bytes()
    table.api = Api(run={**WORKFLOW, "triggering_actor": {"login": "lena"}})
    with pytest.raises(Refused, match="does not confirm"):
        table.consent.request(table.state, table.plan, rules=table.rules, requester=table.requester)
    assert (table.directory / "journal.jsonl").read_bytes() == before


class Reviewed(Table):
    """A waiting run of a workflow, with GitHub beside it."""

    api = Api()

    @property
    def consent(self) -> Consent:
        made = super().consent
        quoted = copy(self.api)
        if self.state.request_digest:
            text = json.dumps(self.api.answers).replace(QUOTED, self.state.request_digest)
            quoted.answers = json.loads(text)
        made._platform.reviews = GitHubReviews(quoted, CI)
        made._platform.prove = self.prove
        return made

    @property
    def rules(self) -> Rules:
        here = Policy.model_validate({"workflows": [LISTED]})
        return replace(super().rules, workflows=here.workflows)

    @staticmethod
    def prove(request, issuer):
        """An identity that fits, as it comes verified."""
        audience = f"gitops-nb:{digest(request)}"
        now = int(time.time())
        return {
            "issuer": issuer,
            "kid": "1",
            "claims": {**JOB, "iss": issuer, "aud": audience, "iat": now},
        }


@pytest.fixture
def table(keys, tmp_path, monkeypatch):  # noqa: F811
    """Asked for by priya in GitHub Actions."""
    for name, value in CI.items():
        monkeypatch.setenv(f"GITHUB_{name.upper()}", value)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    made = Reviewed(tmp_path / "reports" / RUN, keys)
    made.requester = Requester("priya", RequesterKind.PERSON, "GitHub Actions", Proof.CI)
    made.begin()
    return made


@pytest.mark.parametrize(
    ("approvals", "logins", "expected"),
    [
        (1, [], "waiting"),
        (1, ["tomas"], "allowed"),
        (1, ["tomas@example.com"], "allowed"),
        (1, ["stranger"], "waiting"),
        (1, ["stranger", "lena"], "allowed"),
        (2, ["tomas", "lena"], "waiting"),
    ],
)
def test_reviews_count_as_one_approval(table, approvals, logins, expected):
    """A reviewer whom trust.yaml and policy.yaml know is one approval; two reviewers are no more than that."""
    table.approvals = approvals
    table.api = Api(approvals=[environment_review(login) for login in logins])
    assert table.outcome() == expected
    assert table.state.effects == ()


def test_a_review_that_does_not_quote_the_request_is_none(table):
    """Beside GitHub's button stands no plan: a yes that names no request, or another one, is no consent to this one."""
    for comment in ("", "looks good", f"sha256:{'0' * 64}", "{digest}"):
        table.api = Api(approvals=[environment_review(comment=comment)])
        assert table.outcome() == "waiting"
    table.api = Api(pulls=[PULL], reviews=[{**pull_review(), "body": "fine"}])
    assert table.outcome() == "waiting"
    table.api = Api(pulls=[PULL], reviews=[pull_review()])
    assert table.outcome() == "allowed"


def test_a_review_and_a_signature_are_two(table):
    """Where two are needed, the second is a signature of another person."""
    table.approvals = 2
    table.api = Api(approvals=[environment_review("tomas")])
    table.answer("tomas")
    assert table.outcome() == "waiting"
    table.answer("lena")
    assert table.outcome() == "allowed"


def test_a_changed_plan_voids_a_review(table):
    """GitHub's review has no digest of ours: the request that it stands for has."""
    table.api = Api(approvals=[environment_review("tomas")])
    table.plan = replace(table.plan, summary="another")
    assert table.outcome() == "refused"


def test_what_was_read_is_kept_with_the_approval(table):
    """Review, commit, time, a digest of its text and GitHub's ETag stand in the record, so that it can be asked again."""
    review = pull_review()
    table.api = Api(pulls=[PULL], reviews=[review])
    now = table.now
    approvals, _ = table.consent.answers(table.state, table.rules, now=now)
    (approval,) = approvals
    assert approval.evidence == {
        "kind": "pull-request", "repository": "acme/platform", "number": 7, "review_id": 1, "commit_id": SHA,
        "submitted_at": review["submitted_at"], "login": "tomas", "user_id": 5, "text_digest": digest(f"fine, {table.state.request_digest}"),
        "etag": 'W/"1"',
    }  # fmt: skip
    table.api = Api(approvals=[environment_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=now)
    assert approval.evidence["kind"] == "environment"
    assert approval.evidence["environment_ids"] == [3]


def test_a_review_of_the_environment_from_before_the_request_is_none(keys, tmp_path, table):  # noqa: F811
    """GitHub says no time: what was there when the request was made is known again, and only what came later counts."""
    early = Reviewed(tmp_path / "early" / RUN, keys)
    early.requester = table.requester
    before = environment_review("tomas", comment="go")
    early.api = Api(approvals=[before])
    early.begin()
    assert len(early.state.reviewed_before) == 1
    assert early.outcome() == "waiting"
    early.api = Api(approvals=[before, environment_review("tomas")])
    assert early.outcome() == "allowed"
    early.api = Api(approvals=[before, environment_review("lena")])
    assert early.outcome() == "allowed"


def test_a_review_from_before_the_request_is_none(table):
    """The pull request's ordinary review of last week was no yes to this plan; neither is one without a time."""
    early = f"{datetime.now(UTC) - timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}"
    for submitted, expected in ((early, "waiting"), (None, "waiting"), ("", "allowed")):
        review = pull_review() if submitted == "" else {**pull_review(), "submitted_at": submitted}
        table.api = Api(pulls=[PULL], reviews=[review])
        assert table.outcome() == expected, submitted


AGAIN = "repos/acme/platform/pulls/7/reviews/1"


def told(table, approval, asks=None):
    """What `verify` says of a review that counted: problems, what it did not check, notes."""
    table.journal.append("approval", **to_json(approval))
    checked = verify_run(table.directory, recheck=asks)
    problems = [str(one) for one in checked.problems if one.code == "approval"]
    return problems, [text for text in checked.unchecked if "review" in text], checked.notes


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({}, "notes", "rechecked, it is as it was read"),
        ({"state": "DISMISSED"}, "notes", "rechecked, dismissed since"),
        ({"body": f"fine then, {QUOTED}"}, "notes", "rechecked, its text was changed since"),
        ({"body": "not so fine"}, "unchecked", "its text was changed since, and does not quote the request"),
        ({"user": {"login": "eve", "id": 6}}, "problems", "is by eve"),
        ({"user": {"login": "tomas", "id": 6}}, "problems", "is by tomas"),
        ({"user": None}, "problems", "rechecked, and GitHub's review 1 is by"),
        ({"commit_id": "b" * 40}, "problems", "of bbbb"),
        ({"submitted_at": "2026-11-23T13:00:00Z"}, "problems", "at 2026-11-23T13:00:00Z"),
        ({"state": "CHANGES_REQUESTED"}, "problems", "says CHANGES_REQUESTED"),
        (None, "unchecked", "not rechecked; GitHub answers 404"),
    ],
)  # fmt: skip
def test_a_review_is_rechecked(table, change, where, said):
    """`verify --online` asks GitHub again: what contradicts the record is found, what changed is told, what nobody tells is not checked."""
    review = pull_review()
    table.api = Api(pulls=[PULL], reviews=[review])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    if change is not None:
        quoted = json.dumps({**review, **change}).replace(QUOTED, table.state.request_digest)
        table.api.answers[AGAIN] = json.loads(quoted)
    problems, unchecked, notes = told(table, approval, partial(recheck, table.api))
    found = {"problems": problems, "unchecked": unchecked, "notes": notes}
    assert any(said in text for text in found[where]), found
    assert [bool(problems), bool(unchecked)] == [where == "problems", where == "unchecked"]


def test_a_review_that_nobody_rechecked_is_not_checked(table):
    """A runner alone says that it was given: without --online such a run does not hold, and is not wrong."""
    table.api = Api(approvals=[environment_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    problems, unchecked, _ = told(table, approval)
    assert (problems, len(unchecked)) == ([], 1)
    assert "not rechecked; --online asks again" in unchecked[0]


def test_a_review_whose_text_quotes_nothing_is_found(table):
    """The record says which text was read: GitHub still has it, and it names no request."""
    review = {**pull_review(), "body": "lgtm"}
    table.api = Api(pulls=[PULL], reviews=[pull_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    table.api.answers[AGAIN] = review
    evidence = {**approval.evidence, "text_digest": digest("lgtm"), "submitted_at": review["submitted_at"]}  # fmt: skip
    problems, _, _ = told(table, replace(approval, evidence=evidence), partial(recheck, table.api))
    assert any("its text does not quote the request" in text for text in problems)


@pytest.mark.parametrize("login", ["tomas", "eve"])
def test_a_review_of_an_environment_is_rechecked(table, login):
    """GitHub's history of the run has it still, or the record claims what never was."""
    table.api = Api(approvals=[environment_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    quoted = environment_review(login, comment=f"I mean {table.state.request_digest}")
    api = Api(approvals=[quoted, environment_review(login, comment="and once more")])
    problems, unchecked, notes = told(table, approval, partial(recheck, api))
    if login == "tomas":
        assert (problems, unchecked) == ([], [])
        assert any("rechecked, it is as it was read" in note for note in notes)
    else:
        assert any("knows no approval of production by tomas" in text for text in problems)


EVIL = [
    ("environment", {"evidence": {"repository": "evil/own"}}, "another repository"),
    ("environment", {"evidence": {"run_id": "78"}}, "another run"),
    ("environment", {"evidence": {"run_attempt": "2"}}, "another run attempt"),
    ("environment", {"evidence": {"environment": "staging"}}, "another environment"),
    ("environment", {"key": "github:environment/78/1"}, "names another review"),
    ("environment", {"evidence": {"login": "evil-bot"}}, "is a review by evil-bot"),
    ("environment", {"person": "nobody"}, "is a review by tomas"),
    ("environment", {"at": "2020-01-01T00:00:00Z"}, "older than the request"),
    ("environment", {"evidence": {"kind": "star"}}, "no review that is known here"),
    ("environment", {"evidence": None}, "does not hold what was read"),
    ("pull-request", {"evidence": {"repository": "evil/own"}}, "another repository"),
    ("pull-request", {"evidence": {"commit_id": "e" * 40}}, "another commit"),
    ("pull-request", {"evidence": {"number": 8}}, "names another review"),
    ("pull-request", {"evidence": {"login": "evil-bot"}}, "is a review by evil-bot"),
    ("pull-request", {"evidence": {"submitted_at": "2020-01-01T00:00:00Z"}}, "older than the request"),
    ("pull-request", {"evidence": {"submitted_at": "soon"}}, "has no time"),
    ("pull-request", {"person": "priya", "evidence": {"login": "priya"}}, "the requester's own"),
]  # fmt: skip


@pytest.fixture(params=["environment", "pull-request"])
def reviewed(request, table):
    """A review of each kind that counted, as the journal has it."""
    table.api = Api(approvals=[environment_review()])
    if request.param == "pull-request":
        table.api = Api(pulls=[PULL], reviews=[pull_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    return request.param, to_json(approval)


def counts(table, approval, **request):
    """Whether `verify` counts a review, and what it finds."""
    asked = {**table.state.request, **request}
    state = replace(table.state, approvals=(approval,), request=asked)
    counted, found = _count(table.directory, state, table.rules.trust, LocalProcesses(), None)
    return counted, " ".join(map(str, found))


def test_verify_holds_a_review_against_the_signed_request(table, reviewed):
    """Another repository, run, attempt, commit, environment, person or time is a finding and no yes; so is what nobody knows."""
    kind, good = reviewed
    assert counts(table, good) == ({"tomas"}, "")
    cases = [(change, said) for one, change, said in EVIL if one == kind]
    for change, said in cases:
        evidence = change.get("evidence", {})
        bad = {**good, **change, "evidence": evidence and {**good["evidence"], **evidence}}
        if "evidence" not in change:
            bad["evidence"] = good["evidence"]
        counted, found = counts(table, bad)
        assert (counted, said in found) == (set(), True), (change, found)
    counted, found = counts(table, good, ci={})
    assert (counted, "no CI run asked" in found) == (set(), True)


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [(kind, change["evidence"]) for kind, change, _ in EVIL if change.get("evidence")],
)
def test_a_review_of_something_else_does_not_count_when_it_is_used(
    table, monkeypatch, kind, evidence
):
    """Whatever reads reviews: what is not about the signed request is no approval of it."""
    table.api = Api(approvals=[environment_review()])
    if kind == "pull-request":
        table.api = Api(pulls=[PULL], reviews=[pull_review()])
    real = GitHubReviews.find

    def find(self, asked, environment):
        return tuple(
            replace(one, evidence={**one.evidence, **evidence})
            for one in real(self, asked, environment)
        )

    monkeypatch.setattr(GitHubReviews, "find", find)
    assert table.consent.answers(table.state, table.rules, now=table.now) == ((), ())


USED = {
    "/repos/{owner}/{repo}/actions/runs/{run_id}": ("head_sha", "run_attempt", "actor.login", "triggering_actor.login"),
    "/repos/{owner}/{repo}/actions/runs/{run_id}/approvals": ("state", "comment", "user.login", "user.id", "environments.name", "environments.id"),
    "/repos/{owner}/{repo}/commits/{commit_sha}/pulls": ("number", "user.login"),
    "/repos/{owner}/{repo}/pulls/{pull_number}/reviews": ("id", "state", "commit_id", "submitted_at", "body", "user.login", "user.id"),
    "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}": ("state", "commit_id", "submitted_at", "body", "user.login"),
}  # fmt: skip


@pytest.fixture(scope="module")
def described():
    """GitHub's public description of its API: npm @octokit/openapi, where it is installed."""
    named = os.environ.get("OCTOKIT_OPENAPI") or (
        REPOSITORY / "node_modules/@octokit/openapi/generated/api.github.com.json"
    )
    if not Path(named).is_file():
        pytest.skip(
            "npm @octokit/openapi is not installed, GitHub's shapes were NOT checked against it"
        )
    return json.loads(Path(named).read_text())


@pytest.mark.parametrize("path", USED)
def test_every_field_that_is_read_is_in_githubs_description(described, path):
    """Nothing that is read was invented: path and field by field."""
    from tests.dora.test_github import _resolved

    answer = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    for name in USED[path]:
        schema = answer["schema"]
        for part in name.split("."):
            schema = _resolved(described, schema)
            while schema.get("type") == "array":
                schema = _resolved(described, schema["items"])
            assert part in schema["properties"], f"{path}: {name}"
            schema = schema["properties"][part]


def test_the_words_are_githubs(described):
    """The words that let something through, or take it back, are GitHub's own."""
    schemas = described["components"]["schemas"]
    assert "approved" in schemas["environment-approvals"]["properties"]["state"]["enum"]
    reviews = {
        name: json.dumps(example)
        for name, example in described["components"]["examples"].items()
        if name.startswith("pull-request-review")
    }
    for word in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
        assert any(f'"state": "{word}"' in text for text in reviews.values()), word


def test_reviews_of_several_people_are_one_approval(table):
    """A record that counts two people's reviews on GitHub as two is found; one person's is none."""
    table.api = Api(approvals=[environment_review()])
    ((approval,), _) = table.consent.answers(table.state, table.rules, now=table.now)
    for others, found in (((), False), (({"person": "lena"},), True)):
        approvals = (to_json(approval), *({**to_json(approval), **more} for more in others))
        state = replace(table.state, approvals=approvals)
        _, said = _count(table.directory, state, table.rules.trust, LocalProcesses(), None)
        assert any("they are one approval" in str(one) for one in said) is found
