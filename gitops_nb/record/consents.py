"""Whether a record proves consent: what was asked for is what was done, and enough people who may said yes in time.

A record can fit itself and be signed by a runner, and still tell of a change that nobody approved. What a runner cannot make
is a person's signature, so everything here is held against those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gitops_nb.catalog.trust import Trust
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Approval, Json, Status, digest, format_time, parse_time
from gitops_nb.ports import Processes
from gitops_nb.record.approvals import (
    GITHUB,
    IdentityCheck,
    askers,
    check_answer,
    read_answers,
    request_problem,
    review_due,
)
from gitops_nb.record.audit import Audit
from gitops_nb.record.findings import Code, Finding, Unasked
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE, Record
from gitops_nb.record.ledger import CLOCK_SKEW, Phase
from gitops_nb.record.reviewed import review_problem
from gitops_nb.record.runs import APPROVALS

_SAME = (
    "run", "runbook", "mode", "notebook_digest", "package", "parameters", "environment", "requester",
)  # fmt: skip
"""What a request says about its run, and the run's first record too."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many have to say yes in an environment, and who may; ``glass`` are those who may go on without.

    ``lifetime`` is how long a request lasts there, where that is known. ``source`` says in words whose word this is.
    """

    needed: int
    approvers: frozenset[str]
    glass: frozenset[str]
    source: str
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the policy that a run says it read was none."""

    text: str


AllowanceAt = Callable[[Mapping[str, Json], str], Sequence[Allowance | Doubt | Unasked | str]]
"""Who may say yes by the policy that an attempt read (its ``policy``), in an environment; or why that cannot be told.

It always answers something: what whoever verifies reads for itself, never what the record says about the rules.
"""


def contradictions(state: RunState) -> list[str]:
    """Why plan and request are not what their digests say, or the request is not about this run and its plan.

    An answer to such a request would be consent to something else than what is shown.
    """
    found: list[str] = []
    if state.plan is not None and digest(state.plan) != state.plan_digest:
        found.append("plan: its digest does not fit its content")
    request = state.request
    if request is None:
        return found
    if digest(request) != state.request_digest:
        found.append("request: its digest does not fit its content")
    if len(state.requests) > 1:
        found.append(f"request: the journal has {len(state.requests)} of them, and a run asks once")
    opened = {**state.opened, "run": state.run}
    found += [
        f"request: it is about another {name.replace('_', ' ')}"
        for name in _SAME
        if request.get(name) != opened.get(name)
    ]
    is_due = bool(state.changed) or state.status is Status.WAITING
    if is_due and request.get("plan_digest") != state.plan_digest:
        found.append("request: it is about another plan")
    return found


def consent_findings(
    directory: Path,
    state: RunState,
    records: Sequence[Record],
    *,
    trust: Trust | None,
    processes: Processes | None,
    allowance_at: AllowanceAt | None = None,
    check_identity: IdentityCheck | None = None,
) -> list[Finding | str | Unasked]:
    """Checks who asked and who said yes again, from the signatures.

    Args:
        directory: Of the run.
        state: Fold of its journal.
        records: The journal.
        trust: Whose signatures count; None leaves them out, and counts what the journal says.
        processes: To check signatures with.
        allowance_at: Who may say yes there, beside what the journal says about that.
        check_identity: Asks who signed CI's identity; None asks nobody.
    """
    found: list[Finding | str | Unasked] = []
    first = _first_effect(records)
    counted = {str(one.get("person")) for one in state.approvals if one.get("answer") == "approve"}
    if trust is not None and processes is not None and state.request is not None:
        unasked = check_identity is None and state.request["requester"].get("proof") == "ci"
        problem = ""
        try:
            problem = request_problem(
                state,
                trust=trust,
                processes=processes,
                check_identity=check_identity or (lambda *_: ""),
            )
        except UnavailableError as error:
            found.append(Unasked(f"who asked, by CI: {error.message}"))
        if unasked:
            found.append(Unasked("who asked, by CI: nobody asked its issuer"))
        if problem:
            found.append(Finding(Code.APPROVAL, "request.json", problem))
        counted, wrong = _count(directory, state, trust, processes, first)
        found += wrong
    if first is not None:
        known = allowances_of(state, records, allowance_at)
        found += _check_enough(
            state, records, counted, [one for one in known if isinstance(one, Allowance)]
        )
        found += [Finding(Code.APPROVAL, FILE, o.text) for o in known if isinstance(o, Doubt)]
        found += [one for one in known if isinstance(one, Unasked)]
        found += [one for one in known if isinstance(one, str) and one]
        if state.request is None:
            found.append(Finding(Code.APPROVAL, FILE, "effects, and nobody asked for them"))
    return found


def allowances_of(
    state: RunState, records: Sequence[Record], allowance_at: AllowanceAt | None
) -> list[Allowance | Doubt | Unasked | str]:
    """Who may say yes, as the attempt that decided knew it, and as the policies have it: the request's, and the attempt's."""
    found: list[Allowance | Doubt | Unasked | str] = []
    # An attempt of a cell run again says nothing of it.
    attempt = next((a for a in _before_effects(records, "attempt") if a.get("may")), {})
    if attempt:
        may = attempt["may"]
        found.append(
            Allowance(
                int(may.get("approvals", 0)),
                frozenset(may.get("approve") or ()),
                frozenset(may.get("break_glass") or ()),
                "the policy that the run read",
            )
        )
    if allowance_at is not None:
        read = attempt.get("policy") or {}
        found += allowance_at(read, state.environment)
        asked = (state.request or {}).get("policy") or {}
        if asked.get("commit") and asked.get("commit") != read.get("commit"):
            found += allowance_at(asked, state.environment)
    return found


def _first_effect(records: Sequence[Record]) -> datetime | None:
    return next((parse_time(r.at) for r in records if r.kind == "intent"), None)


def _before_effects(records: Sequence[Record], kind: str) -> Iterator[Mapping[str, Json]]:
    """Bodies of the records of a kind that stand before the first effect, newest first."""
    first = next((i for i, r in enumerate(records) if r.kind == "intent"), len(records))
    return (record.body for record in reversed(records[:first]) if record.kind == kind)


def _count(
    directory: Path, state: RunState, trust: Trust, processes: Processes, first: datetime | None
) -> tuple[set[str], list[Finding]]:
    """Everybody whose yes counts, and what is wrong with answers that counted."""
    found: list[Finding] = []
    if not state.approvals:
        return set(), found
    signed = {
        (a.approval.person, a.approval.subject, a.approval.answer, a.approval.key): a.approval
        for a in read_answers(directory, processes=processes, trust=trust)
        if a.approval
    }
    counted: set[str] = set()
    reviewers = set()
    for approval in state.approvals:
        person, key = str(approval.get("person")), str(approval.get("key"))
        given = signed.get((person, approval.get("subject"), approval.get("answer"), key))  # type: ignore[arg-type]  # any JSON: what is no text is no key
        if key.startswith(GITHUB):
            reviewers.add(person)  # read from GitHub at the time: see `verify.Recheck`
            problem = review_problem(approval, state.request, trust)
        else:
            problem = _problem(given, person, state, trust, first)
        if problem:
            found.append(Finding(Code.APPROVAL, APPROVALS, f"{person}'s answer {problem}"))
        elif approval.get("answer") == "approve":
            counted.add(person)
    if len(reviewers) > 1:
        text = f"reviews of {len(reviewers)} people on GitHub counted, and they are one approval"
        found.append(Finding(Code.APPROVAL, APPROVALS, text))
    return counted, found


def _problem(
    given: Approval | None, person: str, state: RunState, trust: Trust, first: datetime | None
) -> str:
    """What is wrong with a signed answer that counted, or the empty text."""
    if given is None:
        return "counted, and no valid signature of it is there"
    if given.run != state.run:
        return "counted, and it belongs to another run"
    if given.expires > parse_time(state.request["expires"]):
        return "claims to last longer than the request"
    if given.at < _earliest(state):
        return "is older than the request"
    if given.answer == "approve" and first is not None:
        if given.at > first + CLOCK_SKEW:
            return "was given after the first effect"
        if given.expires <= first:
            return "had expired when the first effect began"
    # Nobody needs another person to take back or reject what they asked for themselves.
    return _problem_of_asker(person, state, trust) if given.answer == "approve" else ""


def _earliest(state: RunState) -> datetime:
    """Before this nothing can have been said about the request."""
    return parse_time(state.request["created"]) - CLOCK_SKEW


def _problem_of_asker(person: str, state: RunState, trust: Trust) -> str:
    known = trust.person(person)
    if known is None or any(map(known.is_called, askers(state.request))):
        return "counted, and it is the requester's own"
    return ""


def _check_enough(
    state: RunState,
    records: Sequence[Record],
    counted: set[str],
    allowances: Sequence[Allowance],
) -> list[Finding]:
    """Whether as many people said yes as policy asks for; broken glass needs none, and somebody who may break it."""
    decision = next(_before_effects(records, "decision"), None)
    if decision is None:
        return [Finding(Code.CONTRADICTION, FILE, "effects without a decision before them")]
    texts: list[str] = []
    needed = int(decision.get("approvals_needed") or 0)
    glass = bool((state.request or {}).get("break_glass"))
    first = _first_effect(records)
    created = parse_time(state.request["created"]) if state.request is not None else None
    for one in allowances:
        if one.lifetime and one.needed and first and created:
            ends = created + one.lifetime
            if first > ends + CLOCK_SKEW:
                texts.append(
                    f"by {one.source} the request ended at {format_time(ends)}, before the first effect"
                )
        if glass:
            requester = state.request["requester"]
            if requester.get("proof") != "key" or requester.get("name") not in one.glass:
                texts.append(
                    f"{requester.get('name')} broke the glass, and may not by {one.source}"
                )
            continue
        if needed < one.needed:
            texts.append(f"the decision needs {needed}, and {one.source} asks for {one.needed}")
        if one.needed:
            texts += [
                f"{p} may not approve by {one.source}" for p in sorted(counted - one.approvers)
            ]
    if not glass and len(counted) < needed:
        texts.append(f"{needed} needed, and {len(counted)} that count")
    return [Finding(Code.APPROVAL, FILE, f"approvals: {text}") for text in dict.fromkeys(texts)]


def review_findings(
    state: RunState,
    records: Sequence[Record],
    ledger: Audit,
    *,
    trust: Trust,
    processes: Processes,
    now: datetime,
    allowance_at: AllowanceAt | None = None,
    registered: Mapping[str, Json] | None = None,
) -> list[Finding | str]:
    """What was done with broken glass has to be reviewed by somebody else who may approve there, in time.

    A runner puts a review into the ledger; from a machine that is none it is in the register alone, signed by its person as well:
    ``registered``, by where it stands there.
    """
    glass = state.request.get("break_glass") or {}
    if not glass or not state.effects:
        return []
    requester = str(state.request["requester"]["name"])
    due = review_due(state.request)
    wrong: list[Finding | str] = []
    reviews = {
        entry.key: entry.predicate.get("review") or {}
        for entry in ledger.by_run.get(state.run, ())
        if entry.phase is Phase.REVIEWED
    }
    for where, review in {**reviews, **(registered or {})}.items():
        said = _review(
            state, records, where, review,
            trust=trust, processes=processes, allowance_at=allowance_at,
        )  # fmt: skip
        if isinstance(said, str):
            return [said]
        # One that somebody else wrote takes nothing from the true one.
        wrong.append(said)
    if wrong:
        return wrong[:1]
    text = (
        f"glass broken by {requester} ({glass['reason']}), to be reviewed until {format_time(due)}"
    )
    return [Finding(Code.REVIEW_DUE, state.run, text)] if now > due else [text]


def _review(
    state: RunState,
    records: Sequence[Record],
    where: str,
    review: Json,
    *,
    trust: Trust,
    processes: Processes,
    allowance_at: AllowanceAt | None,
) -> Finding | str:
    """What is wrong with a review, or who reviewed."""
    requester = str(state.request["requester"]["name"])
    due = review_due(state.request)
    answered = check_answer(where, review, processes=processes, trust=trust, now=None)
    given = answered.approval
    known = trust.person(requester)
    if given is None or given.answer != "review" or given.subject != state.request_digest:
        text = answered.problem or "it is about another request"
        return Finding(Code.APPROVAL, where, f"the review does not count: {text}")
    if given.person == requester or (known is not None and known.is_called(given.person)):
        return Finding(Code.APPROVAL, where, f"{requester} reviewed what they did")
    known_now = allowances_of(state, records, allowance_at)
    allowances = [one for one in known_now if isinstance(one, Allowance)]
    unfit = next((one for one in allowances if given.person not in one.approvers), None)
    if unfit is not None:
        text = f"{given.person} reviewed it, and may not approve by {unfit.source}"
        return Finding(Code.APPROVAL, where, text)
    late = f", after {format_time(due)} when it was due" if given.at > due else ""
    return f"glass broken by {requester}, reviewed by {given.person}{late}"
