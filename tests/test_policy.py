"""Gates and the decision: every combination of automation and approval, and no yes without an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.trust import Trust
from gitops_nb.model import Action, Answer, Approval, Plan, ResourceChange, Verdict
from gitops_nb.policy import (
    Proof,
    Requester,
    RequesterKind,
    check_approval,
    decide,
    destructive_change,
    freeze,
    rules_for,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PERSON = Requester("priya", RequesterKind.PERSON, "test", Proof.KEY)
ROBOT = Requester("ci", RequesterKind.AUTOMATION, "test", Proof.CI)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmQ0Yx1yTqvbSlKkPVQ8n0mJ0Jm0yQv7C6dD0wq0u1a"


def rules(*, auto=False, approval=True, count=1, **policy):
    """Rules of an environment called production."""
    fleet = Fleet.model_validate(
        {"environments": {"production": {"auto_deploy": auto, "approval_required": approval}}}
    )
    return rules_for(
        fleet,
        Policy.model_validate(
            {
                "environments": {"production": {"approvals": count}},
                "approvers": [{"person": "tomas", "environments": ["production"]}],
                **policy,
            }
        ),
        Trust.model_validate({"persons": [{"person": "tomas", "keys": [{"key": KEY}]}]}),
        "production",
    )


def a_plan(*actions):
    """A plan with these actions."""
    changes = tuple(ResourceChange(f"x{i}", action) for i, action in enumerate(actions))
    return Plan("promotion", "production", "summary", changes)


PASSED = (Verdict("soak", passed=True, reason="ok"),)
UPDATE = a_plan(Action.UPDATE)


def approval(person="tomas", **changes):
    """An approval that is right in every respect, or changed."""
    values = {
        "run": "r", "subject": "s", "answer": "approve", "person": person, "key": "SHA256:x", "at": NOW, "expires": NOW + timedelta(hours=1), **changes,
    }  # fmt: skip
    return Approval(**values)


@pytest.mark.parametrize(
    ("auto", "needed", "requester", "approved", "answer"),
    [
        # development: automation, no approval
        (True, False, ROBOT, False, Answer.ALLOWED),
        (True, False, PERSON, False, Answer.ALLOWED),
        # staging: automation may propose, a person approves
        (True, True, ROBOT, False, Answer.WAITING),
        (True, True, ROBOT, True, Answer.ALLOWED),
        (True, True, PERSON, False, Answer.WAITING),
        # production: a person starts, another approves
        (False, True, ROBOT, False, Answer.REFUSED),
        (False, True, ROBOT, True, Answer.REFUSED),
        (False, True, PERSON, False, Answer.WAITING),
        (False, True, PERSON, True, Answer.ALLOWED),
        # a person starts, nobody approves
        (False, False, ROBOT, False, Answer.REFUSED),
        (False, False, PERSON, False, Answer.ALLOWED),
    ],
)
def test_auto_deploy_and_approval_are_independent(auto, needed, requester, approved, answer):
    """All four combinations, for a person and for automation."""
    decision = decide(
        UPDATE,
        PASSED,
        rules=rules(auto=auto, approval=needed),
        gates=["soak"],
        requester=requester,
        approvals=[approval()] if approved else [],
    )
    assert decision.answer is answer
    assert decision.reasons


def test_a_gate_without_an_answer_refuses():
    """Nothing evaluated means no."""
    for gates, verdicts in ((["soak", "freeze"], PASSED), ([], ()), (["soak"], ())):
        decision = decide(
            UPDATE, verdicts, rules=rules(approval=False), gates=gates, requester=PERSON
        )
        assert decision.answer is Answer.REFUSED


def test_nothing_to_do_needs_no_gate_and_no_approval():
    """An empty plan is neither waiting nor refused."""
    decision = decide(a_plan(), (), rules=rules(), gates=["soak"], requester=ROBOT)
    assert decision.answer is Answer.NOTHING


def test_a_request_that_nobody_can_answer_is_refused_at_once():
    """Fewer approvers than approvals, the requester not counted: it would wait for ever."""
    approvers = [{"person": n, "environments": ["production"]} for n in (PERSON.name, "tomas")]
    decision = decide(
        UPDATE,
        PASSED,
        rules=rules(count=2, approvers=approvers),
        gates=["soak"],
        requester=PERSON,
    )
    assert decision.answer is Answer.REFUSED
    assert f"may answer where {PERSON.name} asks" in decision.reasons[0]
    one = decide(UPDATE, PASSED, rules=rules(approvers=approvers), gates=["soak"], requester=PERSON)
    assert one.answer is Answer.WAITING


def test_one_person_counts_once():
    """Two approvals by one person are one."""
    approvers = [{"person": name, "environments": ["production"]} for name in ("tomas", "ana")]
    decision = decide(
        UPDATE,
        PASSED,
        rules=rules(count=2, approvers=approvers),
        gates=["soak"],
        requester=PERSON,
        approvals=[approval(), approval(key="SHA256:y")],
    )
    assert decision.answer is Answer.WAITING
    decision = decide(
        UPDATE,
        PASSED,
        rules=rules(count=2),
        gates=["soak"],
        requester=PERSON,
        approvals=[approval(), approval("ana")],
    )
    assert decision.answer is Answer.ALLOWED


@given(
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([PERSON, ROBOT]),
    st.booleans(),
)
def test_a_closed_gate_or_a_rejection_never_allows(passed, auto, needed, requester, rejected):
    """Whatever else holds, one no is a no; closing a gate never opens anything."""
    verdicts = [Verdict(f"g{i}", passed=p, reason="r") for i, p in enumerate(passed)]
    decision = decide(
        UPDATE,
        verdicts,
        rules=rules(auto=auto, approval=needed),
        gates=[v.gate for v in verdicts],
        requester=requester,
        approvals=[approval()],
        rejections=[approval("ana", answer="reject")] if rejected else [],
    )
    if rejected or not all(passed):
        assert decision.answer is Answer.REFUSED


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"subject": "other"}, "another request"),
        ({"run": "other"}, "belongs to run other"),
        ({"at": NOW + timedelta(seconds=121)}, "future"),
        ({"at": NOW + timedelta(seconds=119)}, ""),
        ({"at": NOW - timedelta(hours=1)}, "older than the request"),
        ({"expires": NOW + timedelta(hours=3)}, "longer than the request"),
        ({"expires": NOW}, "expired"),
        ({"person": "priya"}, "cannot answer it"),
        ({"person": "eve"}, "may not approve in production"),
    ],
)
def test_an_approval_is_checked_in_every_respect(changes, problem):
    """The first thing that is wrong is said; a right one has no problem."""
    found = check_approval(
        approval(**changes),
        subject="s",
        run="r",
        created=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(hours=2),
        rules=rules(),
        requesters=("priya",),
        now=NOW,
    )
    assert (problem in found) if problem else found == ""


WINDOW = {
    "name": "peak",
    "environments": ["production"],
    "start": "2026-11-26T12:00:00+01:00",
    "end": "2026-11-30T08:00:00+01:00",
}


@pytest.mark.parametrize(
    ("moment", "passed"),
    [
        ("2026-11-26T10:59:59+00:00", True),
        ("2026-11-26T11:00:00+00:00", False),
        ("2026-11-30T06:59:59+00:00", False),
        ("2026-11-30T07:00:00+00:00", True),
    ],
)
def test_a_freeze_begins_and_ends_to_the_second(moment, passed):
    """Closed from the first moment to the last; a closed gate says when it opens."""
    verdict = freeze(rules(freeze_windows=[WINDOW]), datetime.fromisoformat(moment))
    assert verdict.passed is passed
    assert (verdict.clears_at is None) is passed
    assert "peak" in verdict.reason or passed


def test_what_nobody_can_tell_is_no_nothing():
    """It closes the gate where the policy lets nothing be deleted; what lies elsewhere is named beside the answer."""
    closed = destructive_change(rules(), UPDATE, ("a.tpl cannot be read",))
    assert not closed.passed
    assert (
        closed.reason
        == "cannot be told whether something is deleted or replaced: a.tpl cannot be read"
    )
    allowing = {"production": {"gates": {"destructive_change": {"allow": True}}}}
    assert destructive_change(rules(environments=allowing), UPDATE, ("a.tpl",)).passed
    beside = destructive_change(rules(), UPDATE, (), ("https://charts.example web at 1.2.3",))
    assert beside.passed
    assert beside.reason.endswith(
        "nothing is deleted or replaced; not looked at: https://charts.example web at 1.2.3"
    )


def test_destructive_changes_need_the_policy():
    """Deletions and replacements are refused unless policy.yaml allows them."""
    plan = a_plan(Action.UPDATE, Action.DELETE, Action.REPLACE)
    assert not destructive_change(rules(), plan).passed
    assert destructive_change(rules(), UPDATE).passed
    allowing = {"production": {"gates": {"destructive_change": {"allow": True}}}}
    assert destructive_change(rules(environments=allowing), plan).passed
