"""Rules, and two sets of them at once: what became laxer helps nothing, and what both allow goes through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.trust import Trust
from gitops_nb.model import Action, Answer, Approval, Plan, ResourceChange, Verdict
from gitops_nb.policy import (
    CLOCK_SKEW,
    Proof,
    Requester,
    RequesterKind,
    Rules,
    check_approval,
    common_trust,
    decide,
    destructive_change,
    expires_of,
    freeze,
    is_same_person,
    no_glass,
    not_asked,
    rules_for,
    stands_after,
    stricter,
    trust_then,
    unknown_person,
    workflow_problem,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HERE, THERE = ["production"], ["staging"]


def public(number: int) -> str:
    """One of several public keys."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def rules(
    *,
    auto: bool = False,
    approval: bool = True,
    own: dict[str, Any] | None = None,
    trust: dict[str, Any] | None = None,
    **policy: Any,
) -> Rules:
    """Rules of production; ``own`` is what policy.yaml says of it."""
    policy.setdefault("approvers", [{"person": "tomas", "environments": HERE}])
    return rules_for(
        Fleet.model_validate(
            {"environments": {"production": {"auto_deploy": auto, "approval_required": approval}}}
        ),
        Policy.model_validate({"environments": {"production": own or {}}, **policy}),
        Trust.model_validate(trust or {}),
        "production",
    )


def both_ways(one: Rules, other: Rules) -> tuple[Rules, Rules]:
    """What became laxer, and what became stricter."""
    return stricter(one, other), stricter(other, one)


GATES = {
    "source_healthy": ({"source_healthy": False}, {"source_healthy": True}),
    "freeze": ({"freeze": False}, {"freeze": True}),
    "destructive_change": (
        {"destructive_change": {"allow": True}},
        {"destructive_change": {"allow": False}},
    ),
    "soak": ({"soak": {"at_least": "1h"}}, {"soak": {"at_least": "2h"}}),
    "any soak": ({}, {"soak": {"at_least": "1h"}}),
}


@pytest.mark.parametrize(("lax", "strict"), GATES.values(), ids=GATES)
def test_a_gate_holds_as_in_the_stricter_rules(lax: dict[str, Any], strict: dict[str, Any]) -> None:
    """In whichever of the two it is, and it stays open where both leave it open."""
    open_, closed = (rules(own={"gates": gates}) for gates in (lax, strict))
    for found in both_ways(open_, closed):
        assert found.gates == closed.gates
    assert stricter(open_, open_).gates == open_.gates


def test_numbers_and_switches_are_the_stricter_ones() -> None:
    """Approvals, lifetime, automation, whether approval is needed, and which runners are believed."""
    lax = rules(auto=True, approval=False, own={"runner_proof": "told"}, approval_lifetime="2h")
    strict = rules(own={"approvals": 2}, approval_lifetime="1h")
    assert (lax.approvals, strict.approvals) == (0, 2)
    for found in both_ways(lax, strict):
        assert found.auto_deploy is found.believes_told is False
        assert found.approval_required
        assert (found.approvals, found.lifetime) == (2, HOUR)
    same = stricter(lax, lax)
    assert same.auto_deploy
    assert same.believes_told
    assert not same.approval_required
    assert (same.approvals, same.lifetime) == (0, 2 * HOUR)


def window(name: str, days: int = 1, environment: str = "production") -> dict[str, Any]:
    """A freeze of an hour that begins some days from now."""
    begin = NOW + timedelta(days=days)
    return {
        "name": name,
        "environments": [environment],
        "start": begin.isoformat(),
        "end": (begin + HOUR).isoformat(),
    }


def test_every_freeze_window_of_both_counts_once() -> None:
    """One that was taken away since still holds."""
    one = rules(freeze_windows=[window("a"), window("b")])
    other = rules(freeze_windows=[window("b"), window("c")])
    assert [w.name for w in stricter(one, other).freeze_windows] == ["a", "b", "c"]


def test_only_who_may_approve_in_both_may_approve() -> None:
    """And break the glass where both say so; who might once may still say no."""

    def of(**people: bool) -> Rules:
        return rules(
            approvers=[
                {"person": name, "environments": HERE, "break_glass": glass}
                for name, glass in people.items()
            ]
        )

    one, other = of(ana=True, tomas=True, eve=False), of(tomas=True, eve=True, new=True)
    for found in both_ways(one, other):
        assert {a.person: a.break_glass for a in found.approvers} == {"tomas": True, "eve": False}
        assert found.noes == {"ana", "tomas", "eve", "new"}
    assert one.noes == {"ana", "tomas", "eve"}


WORKFLOW = {
    "repository": "shop/platform",
    "workflow": ".github/workflows/promote.yml",
    "ref": "refs/heads/main",
    "environments": HERE,
}


def test_only_workflows_of_both_may_ask() -> None:
    """One that was added since asks nothing with an older request."""
    other = {**WORKFLOW, "ref": "refs/heads/other"}
    one, more = rules(workflows=[WORKFLOW]), rules(workflows=[WORKFLOW, other])
    for found in both_ways(one, more):
        assert found.workflows == one.workflows
    assert stricter(one, rules()).workflows == ()


def test_what_is_asked_now_is_what_the_rules_of_now_say() -> None:
    """Whether everything is stopped, and where CI is asked."""
    stopped = rules(
        stop=[
            {"environments": HERE, "reason": "incident 7"},
            {"environments": THERE, "reason": "other"},
            {"environments": HERE, "reason": "incident 8"},
        ]
    )
    assert stricter(rules(), stopped).stopped == "incident 7; incident 8"
    assert stricter(stopped, rules()).stopped == ""


def person(name: str, *keys: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A person of trust.yaml."""
    return {"person": name, "keys": list(keys), **more}


def test_a_key_counts_while_it_does_in_both() -> None:
    """The later begin and the earlier ends; aliases of both, as a second name is no second person."""

    def times(begin: int, end: int, gone: int) -> dict[str, Any]:
        named = {"valid_from": begin, "valid_until": end, "revoked_since": gone}
        return {name: (NOW + days * 24 * HOUR).isoformat() for name, days in named.items()}

    one = Trust.model_validate(
        {
            "persons": [
                person("tomas", {"key": public(1), **times(1, 9, 8)}, aliases=["t"]),
                person("gone", {"key": public(2)}),
            ]
        }
    )
    other = Trust.model_validate(
        {
            "persons": [
                person("tomas", {"key": public(1), **times(2, 7, 9)}, {"key": public(3)}, aliases=["u"]),
                person("new", {"key": public(4)}),
            ]
        }
    )  # fmt: skip
    for found in (common_trust(one, other), common_trust(other, one)):
        (tomas,) = found.persons
        (key,) = tomas.keys
        assert (tomas.person, set(tomas.aliases)) == ("tomas", {"t", "u"})
        assert key.key == public(1)
        assert key.valid_from == NOW + 48 * HOUR
        assert key.valid_until == NOW + 7 * 24 * HOUR
        assert key.revoked_since == NOW + 8 * 24 * HOUR
    bare = Trust.model_validate({"persons": [person("tomas", {"key": public(1)})]})
    (key,) = common_trust(bare, bare).persons[0].keys
    assert (key.valid_from, key.valid_until, key.revoked_since) == (None, None, None)


def runner(name: str, number: int, **more: Any) -> dict[str, Any]:
    """A runner of trust.yaml."""
    return {"name": name, "key": public(number), "environments": HERE, **more}


def test_runners_of_both_count_in_their_environment() -> None:
    """One that was added since, or belongs elsewhere, signs nothing here."""
    elsewhere = {**runner("c", 7), "environments": THERE}
    one = rules(trust={"runners": [runner("a", 5), runner("b", 6), elsewhere]})
    other = rules(trust={"runners": [runner("a", 5), runner("new", 8), elsewhere]})
    assert [r.name for r in one.trust.runners] == ["a", "b"]
    for found in both_ways(one, other):
        assert [r.name for r in found.trust.runners] == ["a"]


def test_a_record_of_then_is_judged_without_what_was_revoked_since() -> None:
    """People and keys stay as they were, also those that are gone now; the earlier revocation counts."""
    early, late = (NOW + days * 24 * HOUR for days in (1, 2))

    def trust(first: datetime | None, second: datetime | None, *others: str) -> Trust:
        return Trust.model_validate(
            {
                "persons": [
                    person("tomas", {"key": public(1), "revoked_since": first}),
                    *(person(name, {"key": public(9)}) for name in others),
                ],
                "runners": [runner("a", 5, revoked_since=second)],
            }
        )

    def revoked(then: Trust, now: Trust) -> tuple[datetime | None, datetime | None]:
        found = trust_then(then, now)
        return found.persons[0].keys[0].revoked_since, found.runners[0].revoked_since

    assert revoked(trust(None, None), trust(None, None)) == (None, None)
    assert revoked(trust(None, None), trust(early, late)) == (early, late)
    assert revoked(trust(early, late), trust(None, None)) == (early, late)
    assert revoked(trust(early, early), trust(late, late)) == (early, early)
    assert revoked(trust(late, late), trust(early, early)) == (early, early)
    kept = trust_then(trust(None, None, "gone"), Trust.model_validate({}))
    assert [p.person for p in kept.persons] == ["tomas", "gone"]
    assert kept.persons[1].keys[0].revoked_since is None
    assert [r.name for r in kept.runners] == ["a"]


CLAIMS = {
    "repository": "shop/platform",
    "repository_id": "42",
    "ref": "refs/heads/main",
    "workflow_ref": "shop/platform/.github/workflows/promote.yml@refs/heads/main",
    "event_name": "workflow_dispatch",
}


@pytest.mark.parametrize(
    ("changes", "listed", "fits"),
    [
        ({}, {}, True),
        ({}, {"repository_id": "42"}, True),
        ({"environment": "production"}, {}, True),
        ({"environment": "review"}, {"job_environment": "review"}, True),
        ({}, {"job_environment": "review"}, False),
        ({"environment": "staging"}, {}, False),
        ({"environment": "production"}, {"job_environment": "review"}, False),
        ({}, {"repository_id": "43"}, False),
        ({"repository": "eve/platform"}, {}, False),
        ({"ref": "refs/heads/eve"}, {}, False),
        ({"workflow_ref": "shop/platform/.github/workflows/promote.yml@refs/heads/eve"}, {}, False),
        ({"workflow_ref": "shop/platform/.github/workflows/eve.yml@refs/heads/main"}, {}, False),
        ({"event_name": "pull_request"}, {}, False),
        ({}, {"environments": THERE}, False),
    ],
)
def test_one_workflow_has_to_fit_every_claim(
    changes: dict[str, str], listed: dict[str, Any], *, fits: bool
) -> None:
    """Repository, its number, branch, file, event and GitHub environment; what fits none is told as it was."""
    claims = {**CLAIMS, **changes}
    problem = workflow_problem(claims, rules(workflows=[{**WORKFLOW, **listed}]))
    assert (problem == "") is fits
    if not fits:
        named = claims.get("environment")
        job = f", in the GitHub environment {named}" if named else ""
        said = f"{claims['workflow_ref']}, started by {claims['event_name']}{job}"
        assert problem == f"policy.yaml lists no workflow for production that is {said}"


def test_a_request_ends_when_it_says_and_when_the_policy_says() -> None:
    """The earlier of both."""
    created, own = NOW.isoformat(), (NOW + 2 * HOUR).isoformat()
    request = {"created": created, "expires": own}
    assert expires_of(request, rules(approval_lifetime="1h")) == NOW + HOUR
    assert expires_of(request, rules(approval_lifetime="3h")) == NOW + 2 * HOUR


def test_an_approval_stands_only_surely_after_a_withdrawal() -> None:
    """Clocks may differ: within their difference it does not stand; somebody else's withdrawal takes nothing."""
    given = Approval(
        run="r", subject="s", answer="approve", person="tomas", key="k", at=NOW, expires=NOW + HOUR
    )
    assert stands_after(given, {})
    assert stands_after(given, {"ana": NOW + HOUR})
    assert not stands_after(given, {"tomas": NOW - CLOCK_SKEW})
    assert stands_after(given, {"tomas": NOW - CLOCK_SKEW - timedelta(seconds=1)})


PLAN = Plan("promotion", "production", "summary", (ResourceChange("x", Action.UPDATE),))
PASSED = (Verdict("soak", passed=True, reason="ok"),)
TOMAS = Requester("tomas", RequesterKind.PERSON, "Git user.email", Proof.KEY)


@pytest.mark.parametrize(
    ("glass", "requester", "allowed"),
    [
        (True, TOMAS, True),
        (False, TOMAS, False),
        (True, Requester("eve", RequesterKind.PERSON, "told", Proof.KEY), False),
        (True, Requester("tomas", RequesterKind.PERSON, "told", Proof.CI), False),
    ],
)
def test_the_glass_breaks_for_whom_the_policy_names_with_their_key(
    *, glass: bool, requester: Requester, allowed: bool
) -> None:
    """Anybody else is refused and told why; gates hold for everybody."""
    own = rules(approvers=[{"person": "tomas", "environments": HERE, "break_glass": glass}])
    asked = {"rules": own, "gates": ["soak"], "requester": requester, "break_glass": "outage"}
    decision = decide(PLAN, PASSED, **asked)
    assert decision.answer is (Answer.ALLOWED if allowed else Answer.REFUSED)
    if allowed:
        assert decision.reasons == ("tomas broke the glass: outage",)
        assert decision.approvals_needed == 0
    else:
        assert decision.reasons == (no_glass(requester, own),)
        assert requester.name in decision.reasons[0]
        listed = glass and requester.name == "tomas"
        assert ("proves no key of theirs" in decision.reasons[0]) is listed
        assert ("`break_glass: true` of `approvers`" in decision.reasons[0]) is not listed
    closed = (Verdict("soak", passed=False, reason="too short"),)
    assert decide(PLAN, closed, **asked).reasons == ("soak: too short",)


def test_who_asks_without_proof_is_refused_and_a_stop_says_why() -> None:
    """Both before anybody's approval counts; an answer holds what it was decided on."""
    nobody = Requester("tomas", RequesterKind.PERSON, "Git user.email", Proof.NONE)
    yes = Approval(
        run="r", subject="s", answer="approve", person="ana", key="k", at=NOW, expires=NOW + HOUR
    )
    own = rules(approvers=[{"person": "ana", "environments": HERE}])
    asked = {"gates": ["soak"], "approvals": [yes]}
    refused = decide(PLAN, PASSED, rules=own, requester=nobody, **asked)
    assert refused.answer is Answer.REFUSED
    assert refused.reasons == ("production needs to know who asks: tomas, Git user.email",)
    stopped = rules(stop=[{"environments": HERE, "reason": "incident 7"}])
    refused = decide(PLAN, PASSED, rules=stopped, requester=TOMAS, **asked)
    assert refused.answer is Answer.REFUSED
    assert refused.reasons == ("production is stopped by policy.yaml: incident 7",)
    allowed = decide(PLAN, PASSED, rules=own, requester=TOMAS, **asked)
    assert allowed.answer is Answer.ALLOWED
    assert allowed.reasons == ("approved by ana",)
    assert (allowed.plan_digest, allowed.environment) == (PLAN.digest, "production")
    assert (allowed.verdicts, allowed.approvals, allowed.rejections) == (PASSED, (yes,), ())
    assert allowed.approvals_needed == 1
    waiting = decide(PLAN, PASSED, rules=own, gates=["soak"], requester=TOMAS)
    assert waiting.reasons == ("1 of 1 approvals missing",)


def test_a_rejection_says_whose_it_is_and_why() -> None:
    """A withdrawal is called one; no gate that did not answer is passed over."""
    no, gone = (
        Approval(
            run="r", subject="s", answer=kind, person=name, key="k", at=NOW, expires=NOW + HOUR, reason="late"
        )
        for kind, name in (("reject", "ana"), ("withdraw", "tomas"))
    )  # fmt: skip
    decision = decide(
        PLAN, PASSED, rules=rules(), gates=["soak"], requester=TOMAS, rejections=[no, gone]
    )
    assert decision.answer is Answer.REFUSED
    assert decision.reasons == ("ana rejected it: late", "tomas withdrew it: late")
    assert decision.rejections == (no, gone)
    decision = decide(PLAN, PASSED, rules=rules(), gates=["soak", "freeze", "x"], requester=TOMAS)
    assert decision.reasons == ("no answer from freeze, x",)


def test_who_asks_and_is_nobody_could_be_the_approver() -> None:
    """Everybody with a part in asking has to be known; a bot of GitHub's may be unknown, where automation asks."""
    own = rules(trust={"persons": [person("tomas", {"key": public(1)})]})
    robot = Requester("ci", RequesterKind.AUTOMATION, "CI", Proof.CI)
    assert unknown_person(TOMAS, ["tomas"], own) == ""
    assert unknown_person(TOMAS, ["tomas", "eve"], own).startswith("eve asks, and is nobody")
    assert unknown_person(robot, ["dependabot[bot]"], own) == ""
    assert unknown_person(robot, ["dependabot"], own).startswith("dependabot asks")
    assert unknown_person(TOMAS, ["dependabot[bot]"], own).startswith("dependabot[bot] asks")
    assert unknown_person(TOMAS, ["eve"], rules(approval=False)) == ""


def test_a_freeze_names_the_window_that_ends_last_and_the_one_that_comes_next() -> None:
    """The gate's own name stands in each answer; where the policy does not ask, that is told."""
    long = {**window("long", -1), "end": (NOW + 5 * HOUR).isoformat()}
    short = {**window("short", -1), "end": (NOW + HOUR).isoformat()}
    found = freeze(rules(freeze_windows=[short, long, window("next", 1)]), NOW)
    assert (found.gate, found.passed, found.clears_at) == ("freeze", False, NOW + 5 * HOUR)
    assert found.reason == "“long” is open until 2026-11-23 17:00+00:00"
    later = [window("far", 9), window("next", 2), window("past", -3)]
    found = freeze(rules(freeze_windows=later), NOW)
    assert found == Verdict(
        "freeze", passed=True, reason="no freeze now; “next” starts 2026-11-25 12:00+00:00"
    )
    none = freeze(rules(freeze_windows=[window("there", 1, "staging")]), NOW)
    assert none == Verdict("freeze", passed=True, reason="no freeze now, and none is planned")
    off = rules(own={"gates": {"freeze": False}}, freeze_windows=[long])
    assert freeze(off, NOW) == not_asked("freeze", off)
    assert not_asked("freeze", off) == Verdict(
        "freeze",
        passed=True,
        reason="policy.yaml does not ask this in production",
        asked=False,
    )


@pytest.mark.parametrize(
    ("actions", "untold", "reason"),
    [
        ((Action.UPDATE,), (), "1 change, nothing is deleted or replaced"),
        ((Action.UPDATE, Action.CREATE), (), "2 changes, nothing is deleted or replaced"),
        ((Action.DELETE,), (), "1 deleted or replaced: x0"),
        ((Action.DELETE,) * 3, (), "3 deleted or replaced: x0, x1, x2"),
        ((Action.DELETE,) * 4, (), "4 deleted or replaced: x0, x1, x2 …"),
        (
            (Action.REPLACE,),
            ("a", "b"),
            "1 deleted or replaced: x0; cannot be told whether something is deleted or replaced: a, b",
        ),
    ],
)
def test_the_gate_of_deletions_counts_and_names_them(
    actions: tuple[Action, ...], untold: tuple[str, ...], reason: str
) -> None:
    """Up to three by name; it passes only where there is none and nothing is untold."""
    changes = tuple(ResourceChange(f"x{n}", action) for n, action in enumerate(actions))
    found = destructive_change(rules(), Plan("p", "production", "s", changes), untold)
    assert found.gate == "destructive_change"
    assert found.reason == reason
    assert found.passed is ("nothing" in reason)


def test_a_second_name_is_no_second_person() -> None:
    """Names in any case, and every alias that trust.yaml knows; a stranger is somebody else."""
    trust = Trust.model_validate({"persons": [person("tomas", aliases=["t.novak"])]})
    assert is_same_person("tomas", "TOMAS", trust)
    assert is_same_person("tomas", "t.novak", trust)
    assert is_same_person("eve", "Eve", trust)
    assert not is_same_person("tomas", "eve", trust)


def test_two_honest_clocks_may_differ_at_both_ends() -> None:
    """By ``CLOCK_SKEW`` before the request and after now, and by no second more."""

    def problem(at: datetime) -> str:
        given = Approval(
            run="r", subject="s", answer="approve", person="tomas", key="k", at=at, expires=NOW + HOUR
        )  # fmt: skip
        return check_approval(
            given,
            subject="s",
            run="r",
            created=NOW - HOUR,
            expires=NOW + HOUR,
            rules=rules(),
            requesters=("ana",),
            now=NOW,
        )

    second = timedelta(seconds=1)
    assert problem(NOW + CLOCK_SKEW) == problem(NOW - HOUR - CLOCK_SKEW) == ""
    assert "future" in problem(NOW + CLOCK_SKEW + second)
    assert problem(NOW - HOUR - CLOCK_SKEW - second) == "it is older than the request"


def test_where_ci_is_asked_is_what_the_policy_says() -> None:
    """Its issuer and its API."""
    own = rules(ci_issuer="https://issuer.example", ci_api="https://api.example")
    assert (own.ci_issuer, own.ci_api) == ("https://issuer.example", "https://api.example")
