"""Gates that every change has, and the decision over one plan.

Nothing evaluated means no: a gate that was asked for and has no verdict refuses, and so does a change
without any gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import (
    GITHUB_API,
    GITHUB_ISSUER,
    Approver,
    EnvironmentPolicy,
    FreezeWindow,
    Gates,
    Policy,
    Workflow,
)
from gitops_nb.catalog.trust import EVER, PersonKey, RunnerKey, Trust
from gitops_nb.model import Answer, Approval, Decision, Json, Plan, Verdict, parse_time

CLOCK_SKEW = timedelta(seconds=120)
"""How far two honest clocks may differ before an approval counts as future-dated."""


class RequesterKind(StrEnum):
    """Who started a run: a person, or automation without one."""

    PERSON = "person"
    AUTOMATION = "automation"


class Proof(StrEnum):
    """What proves who asks: nothing, a signature with their own key, or the identity that CI signs for its job."""

    NONE = ""
    KEY = "key"
    CI = "ci"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks. ``evidence`` says in words how we know ("Git user.email", "GitHub Actions actor")."""

    name: str
    kind: RequesterKind
    evidence: str
    proof: Proof = Proof.NONE


@dataclass(frozen=True, slots=True)
class Rules:
    """Fleet and policy as they apply to one environment.

    ``believes_told`` lets a runner count whose key notebooks could read; ``stopped`` says why nothing may begin or go on, "" when
    it may. ``trust`` has the runners of this environment only. ``once`` are the rules that these were made stricter from: who was
    believed by one of them still forbids, and allows nothing.
    """

    environment: str
    auto_deploy: bool
    approval_required: bool
    approvals: int
    lifetime: timedelta
    gates: Gates
    freeze_windows: tuple[FreezeWindow, ...]
    approvers: tuple[Approver, ...]
    trust: Trust
    workflows: tuple[Workflow, ...] = ()
    ci_issuer: str = GITHUB_ISSUER
    ci_api: str = GITHUB_API
    believes_told: bool = False
    stopped: str = ""
    once: tuple[Rules, ...] = ()

    @property
    def noes(self) -> frozenset[str]:
        """Who may say no: whoever may approve now, or might when this was asked for."""
        return frozenset(a.person for each in (self, *self.once) for a in each.approvers)


def rules_for(fleet: Fleet, policy: Policy, trust: Trust, environment: str) -> Rules:
    """The rules of one environment of the fleet."""
    declared = fleet.environments[environment]
    own = policy.environments.get(environment, EnvironmentPolicy())
    return Rules(
        environment=environment,
        auto_deploy=declared.auto_deploy,
        approval_required=declared.approval_required,
        approvals=own.approvals if declared.approval_required else 0,
        lifetime=policy.approval_lifetime,
        gates=own.gates,
        freeze_windows=tuple(w for w in policy.freeze_windows if environment in w.environments),
        approvers=tuple(a for a in policy.approvers if environment in a.environments),
        trust=trust.model_copy(
            update={"runners": tuple(r for r in trust.runners if r.is_trusted_in(environment))}
        ),
        workflows=tuple(w for w in policy.workflows if environment in w.environments),
        ci_issuer=policy.ci_issuer,
        ci_api=policy.ci_api,
        believes_told=own.runner_proof == "told",
        stopped="; ".join(s.reason for s in policy.stop if environment in s.environments),
    )


def stricter(one: Rules, other: Rules) -> Rules:
    """What both of two sets of rules for an environment allow: rules that became laxer since a request help it nothing.

    People, keys and workflows have to be in both; the greater number of approvals, the longer soak and the shorter lifetime
    count, and every freeze window. Where to ask CI, and whether everything is stopped, is what ``other`` says.
    """
    soaks = [g.soak for g in (one.gates, other.gates) if g.soak is not None]
    mine, theirs = one.gates, other.gates
    gates = theirs.model_copy(
        update={
            "source_healthy": mine.source_healthy or theirs.source_healthy,
            "soak": max(soaks, key=lambda soak: soak.at_least, default=None),
            "freeze": mine.freeze or theirs.freeze,
            "destructive_change": theirs.destructive_change.model_copy(
                update={"allow": mine.destructive_change.allow and theirs.destructive_change.allow}
            ),
        }
    )
    glass = {a.person for a in one.approvers if a.break_glass}
    before = {a.person for a in one.approvers}
    return replace(
        other,
        auto_deploy=one.auto_deploy and other.auto_deploy,
        approval_required=one.approval_required or other.approval_required,
        approvals=max(one.approvals, other.approvals),
        lifetime=min(one.lifetime, other.lifetime),
        gates=gates,
        freeze_windows=tuple(dict.fromkeys((*one.freeze_windows, *other.freeze_windows))),
        approvers=tuple(
            a.model_copy(update={"break_glass": a.break_glass and a.person in glass})
            for a in other.approvers
            if a.person in before
        ),
        trust=common_trust(one.trust, other.trust),
        workflows=tuple(w for w in other.workflows if w in one.workflows),
        believes_told=one.believes_told and other.believes_told,
        once=(one, other),
    )


K = TypeVar("K", PersonKey, RunnerKey)


def common_trust(one: Trust, other: Trust) -> Trust:
    """The people and keys that two trust files have in common; a key counts while it does in both."""
    before = {p.person: p for p in one.persons}
    runners = {r.key.split(" ")[1]: r for r in one.runners}
    return other.model_copy(
        update={
            "persons": tuple(
                person.model_copy(
                    update={
                        "aliases": tuple(
                            dict.fromkeys((*person.aliases, *before[person.person].aliases))
                        ),
                        "keys": _common_keys(before[person.person].keys, person.keys),
                    }
                )
                for person in other.persons
                if person.person in before
            ),
            "runners": _common_keys(tuple(runners.values()), other.runners),
        }
    )


def trust_then(then: Trust, now: Trust) -> Trust:
    """People and keys as they were, without what was revoked since: how a record of then is judged now."""
    known = {key.key.split(" ")[1]: key for person in now.persons for key in person.keys}
    runners = {runner.key.split(" ")[1]: runner for runner in now.runners}

    gone_for_good = now.revoked_keys

    def judged(key: K, listed: Mapping[str, K]) -> K:
        present = listed.get(key.key.split(" ")[1])
        gone = [
            one.revoked_since for one in (key, present) if one is not None and one.revoked_since
        ]
        gone += [EVER] if gone_for_good.holds(key.key) else []
        return key.model_copy(update={"revoked_since": min(gone, default=None)})

    return then.model_copy(
        update={
            "persons": tuple(
                person.model_copy(update={"keys": tuple(judged(k, known) for k in person.keys)})
                for person in then.persons
            ),
            "runners": tuple(judged(runner, runners) for runner in then.runners),
            "revoked": now.revoked or then.revoked,
        }
    )


def _common_keys(before: Sequence[K], now: Sequence[K]) -> tuple[K, ...]:
    """Keys of both, each with the narrower of its two times."""
    known = {key.key.split(" ")[1]: key for key in before}
    found: list[K] = []
    for key in now:
        other = known.get(key.key.split(" ")[1])
        if other is None:
            continue
        begins = [m for m in (key.valid_from, other.valid_from) if m is not None]
        ends = [m for m in (key.valid_until, other.valid_until) if m is not None]
        gone = [m for m in (key.revoked_since, other.revoked_since) if m is not None]
        found.append(
            key.model_copy(
                update={
                    "valid_from": max(begins, default=None),
                    "valid_until": min(ends, default=None),
                    "revoked_since": min(gone, default=None),
                }
            )
        )
    return tuple(found)


def freeze(rules: Rules, now: datetime) -> Verdict:
    """Passes when no freeze window of the environment is open."""
    if not rules.gates.freeze:
        return not_asked("freeze", rules)
    open_now = [w for w in rules.freeze_windows if w.start <= now < w.end]
    if open_now:
        last = max(open_now, key=lambda w: w.end)
        ends = last.end.isoformat(sep=" ", timespec="minutes")
        return Verdict(
            "freeze",
            passed=False,
            reason=f"“{last.name}” is open until {ends}",
            clears_at=last.end,
        )
    coming = min(
        (w for w in rules.freeze_windows if w.start > now), key=lambda w: w.start, default=None
    )
    if coming is None:
        return Verdict("freeze", passed=True, reason="no freeze now, and none is planned")
    starts = coming.start.isoformat(sep=" ", timespec="minutes")
    return Verdict("freeze", passed=True, reason=f"no freeze now; “{coming.name}” starts {starts}")


def not_asked(gate: str, rules: Rules) -> Verdict:
    """The answer of a gate that policy.yaml switches off for an environment; the record shows that it did."""
    reason = f"policy.yaml does not ask this in {rules.environment}"
    return Verdict(gate, passed=True, reason=reason, asked=False)


def destructive_change(
    rules: Rules, plan: Plan, untold: Sequence[str] = (), unseen: Sequence[str] = ()
) -> Verdict:
    """Passes when nothing is deleted or replaced, or the policy allows that.

    Args:
        rules: Of the plan's environment.
        plan: What would be done.
        untold: What may delete or replace something, and nobody can tell: that is no "nothing".
        unseen: What lies where nobody here looks; it is named beside the answer.
    """
    lost = [change.address for change in plan.changes if change.is_destructive]
    count = len(plan.changes)
    counted = f"{count} change{'' if count == 1 else 's'}"

    def some(words: Sequence[str]) -> str:
        return ", ".join(words[:3]) + (" …" if len(words) > 3 else "")

    if not lost and not untold:
        beside = f"; not looked at: {some(unseen)}" if unseen else ""
        return Verdict(
            "destructive_change",
            passed=True,
            reason=f"{counted}, nothing is deleted or replaced{beside}",
        )

    said = [f"{len(lost)} deleted or replaced: {some(lost)}"] if lost else []
    said += (
        [f"cannot be told whether something is deleted or replaced: {some(untold)}"]
        if untold
        else []
    )
    if rules.gates.destructive_change.allow:
        reason = f"policy.yaml allows this in {rules.environment}: {'; '.join(said)}"
        return Verdict("destructive_change", passed=True, reason=reason, asked=False)
    return Verdict("destructive_change", passed=False, reason="; ".join(said))


def decide(
    plan: Plan,
    verdicts: Sequence[Verdict],
    *,
    rules: Rules,
    gates: Sequence[str],
    requester: Requester,
    approvals: Sequence[Approval] = (),
    rejections: Sequence[Approval] = (),
    break_glass: str = "",
) -> Decision:
    """Allowed, waiting, refused or nothing to do, for exactly this plan.

    Args:
        plan: What would be done.
        verdicts: The gates' answers.
        rules: Of the plan's environment.
        gates: Names of the gates that have to be answered.
        requester: Who started the run.
        approvals: Checked approvals (see ``check_approval``).
        rejections: Checked rejections; one is enough.
        break_glass: Why the requester goes on without approval, "" when they do not. Gates hold all the same.
    """

    def answer(kind: Answer, *reasons: str, needed: int = rules.approvals) -> Decision:
        return Decision(
            answer=kind,
            plan_digest=plan.digest,
            environment=plan.environment,
            reasons=reasons,
            verdicts=tuple(verdicts),
            approvals=tuple(approvals),
            rejections=tuple(rejections),
            approvals_needed=needed,
        )

    if plan.is_empty:
        return answer(Answer.NOTHING, plan.summary)
    if rules.stopped:
        text = f"{rules.environment} is stopped by policy.yaml: {rules.stopped}"
        return answer(Answer.REFUSED, text)
    missing = [name for name in gates if name not in {v.gate for v in verdicts}]
    if missing or not gates:
        return answer(Answer.REFUSED, f"no answer from {', '.join(missing) or 'any gate'}")
    closed = [f"{v.gate.replace('_', ' ')}: {v.reason}" for v in verdicts if not v.passed]
    if closed:
        return answer(Answer.REFUSED, *closed)
    if rejections:
        word = {"withdraw": "withdrew"}
        return answer(
            Answer.REFUSED,
            *(f"{r.person} {word.get(r.answer, 'rejected')} it: {r.reason}" for r in rejections),
        )
    if not rules.auto_deploy and requester.kind is RequesterKind.AUTOMATION:
        return answer(
            Answer.REFUSED,
            f"{rules.environment} is started by a person, and {requester.name} is automation",
        )
    if requester.proof is Proof.NONE:
        return answer(
            Answer.REFUSED,
            f"{rules.environment} needs to know who asks: {requester.name}, {requester.evidence}",
        )
    if break_glass and rules.approvals:
        allowed = {a.person for a in rules.approvers if a.break_glass}
        if requester.proof is not Proof.KEY or requester.name not in allowed:
            return answer(Answer.REFUSED, no_glass(requester, rules))
        text = f"{requester.name} broke the glass: {break_glass}"
        return answer(Answer.ALLOWED, text, needed=0)
    persons = {approval.person for approval in approvals}
    if len(persons) < rules.approvals:
        able = [
            a.person
            for a in rules.approvers
            if not is_same_person(a.person, requester.name, rules.trust)
        ]
        if len({*able, *persons}) < rules.approvals:
            return answer(Answer.REFUSED, _too_few(able, requester, rules))
        lacking = rules.approvals - len(persons)
        return answer(Answer.WAITING, f"{lacking} of {rules.approvals} approvals missing")
    if rules.approvals == 0:
        return answer(Answer.ALLOWED, f"{rules.environment} needs no approval")
    return answer(Answer.ALLOWED, f"approved by {', '.join(sorted(persons))}")


def _too_few(able: Sequence[str], requester: Requester, rules: Rules) -> str:
    """Why a request would wait for ever, and what to change."""
    count = f"{rules.approvals} approval{'' if rules.approvals == 1 else 's'}"
    who = f"of `approvers` in policy.yaml {', '.join(able) if able else 'nobody'} may answer where {requester.name} asks"
    return f"{rules.environment} needs {count}, and {who}: let somebody else ask, or add approvers of {rules.environment}"


def no_glass(requester: Requester, rules: Rules) -> str:
    """Why somebody may not go on without approval, and where the policy would say that they may."""
    allowed = any(a.break_glass and a.person == requester.name for a in rules.approvers)
    why = (
        f"{requester.evidence} proves no key of theirs"
        if allowed
        else "`break_glass: true` of `approvers` in policy.yaml says who may"
    )
    return f"{requester.name} may not break the glass in {rules.environment}: {why}"


def is_same_person(one: str, other: str, trust: Trust) -> bool:
    """Whether two names are one person's, as far as trust.yaml knows; a second name is no second person."""
    known = trust.person(one)
    return one.casefold() == other.casefold() or (known is not None and known.is_called(other))


BOT = "[bot]"
"""How GitHub ends the logins of its applications; no person can have such a one."""


def unknown_person(requester: Requester, names: Sequence[str], rules: Rules) -> str:
    """Why nobody could tell an approver from who asks, or the empty text.

    Args:
        requester: Who asks.
        names: Everybody with a part in asking (see ``approvals.askers``): also of automation a person may have started it again.
        rules: Of the environment.
    """
    is_automation = requester.kind is RequesterKind.AUTOMATION
    unknown = [
        name
        for name in names
        if rules.trust.person(name) is None and not (is_automation and name.endswith(BOT))
    ]
    if not unknown or not rules.approvals:
        return ""
    return f"{unknown[0]} asks, and is nobody in trust.yaml: an approver could be the same person"


def workflow_problem(claims: Mapping[str, Json], rules: Rules) -> str:
    """Why the CI job of verified claims may not ask in an environment, or the empty text.

    Claims are GitHub's; one workflow of policy.yaml has to fit all of them.
    """
    repository, ref = claims.get("repository"), claims.get("ref")
    named = claims.get("environment")
    job_of = f", in the GitHub environment {named}" if named is not None else ""
    said = f"{claims.get('workflow_ref')}, started by {claims.get('event_name')}{job_of}"
    for one in rules.workflows:
        job = one.job_environment or (rules.environment if named is not None else None)
        if (
            (repository, ref) == (one.repository, one.ref)
            and claims.get("workflow_ref") == f"{one.repository}/{one.workflow}@{one.ref}"
            and one.repository_id in (None, claims.get("repository_id"))
            and claims.get("event_name") in one.events
            and named == job
        ):
            return ""
    return f"policy.yaml lists no workflow for {rules.environment} that is {said}"


def expires_of(request: Mapping[str, Json], rules: Rules) -> datetime:
    """When a request is void: when it says so, and at the latest when the policy lets none last longer."""
    by_policy = parse_time(str(request["created"])) + rules.lifetime
    return min(parse_time(str(request["expires"])), by_policy)


def stands_after(approval: Approval, withdrawn: Mapping[str, datetime]) -> bool:
    """Whether an approval was surely given after its person's last withdrawal; clocks may differ by ``CLOCK_SKEW``."""
    taken = withdrawn.get(approval.person)
    return taken is None or approval.at > taken + CLOCK_SKEW


def check_approval(
    approval: Approval,
    *,
    subject: str,
    run: str,
    created: datetime,
    expires: datetime,
    rules: Rules,
    requesters: Sequence[str],
    now: datetime,
    moment: datetime | None = None,
) -> str:
    """What is wrong with a correctly signed approval or rejection, or the empty text.

    Args:
        approval: As its file says; the signature was checked before.
        subject: Digest of the request that waits.
        run: Id of the run that waits.
        created: When the request was made.
        expires: When the request ends.
        rules: Of the environment.
        requesters: Who asked, or had a part in it (see ``approvals.askers``); these people cannot approve.
        now: Wall time of the check.
        moment: When the answer has to last, if not now: what was begun in time may be finished later.
    """
    problem = ""
    if approval.subject != subject:
        problem = "it answers another request"
    elif approval.run != run:
        problem = f"it belongs to run {approval.run}"
    elif approval.at > now + CLOCK_SKEW:
        problem = f"it is dated in the future ({approval.at.isoformat()})"
    elif approval.at < created - CLOCK_SKEW:
        problem = "it is older than the request"
    elif approval.expires > expires:
        problem = "it claims to last longer than the request"
    elif (moment or now) >= (ends := min(approval.expires, created + rules.lifetime)):
        problem = f"it expired at {ends.isoformat()}"
    elif own := [one for one in requesters if is_same_person(approval.person, one, rules.trust)]:
        problem = f"{own[0]} asked for this change and cannot answer it"
    elif approval.person not in {a.person for a in rules.approvers}:
        problem = f"{approval.person} may not approve in {rules.environment}"
    return problem
