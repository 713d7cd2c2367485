"""What may be answered, and with which words: the same for a command and for a button beside a card.

An answer is about the request that was shown. Whoever shows one keeps its state and signs for that one alone: the journal can be
another one by the time somebody says yes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ExitCode, Refused
from gitops_nb.model import (
    Answer,
    Approval,
    Status,
    canonical,
    format_time,
    parse_time,
    to_json,
)
from gitops_nb.policy import (
    CLOCK_SKEW,
    check_approval,
    expires_of,
    rules_for,
    stands_after,
)
from gitops_nb.record.approvals import askers, read_answers, request_problem, signed_answer
from gitops_nb.record.consents import contradictions
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import holder, missing_answers, read_run, try_lock
from gitops_nb.redaction import process_redactor
from gitops_nb.session.counting import sandbox_built_s
from gitops_nb.session.lifecycle import close_run
from gitops_nb.session.platform import Platform
from gitops_nb.session.runners import is_runner_of


def answer_to(
    shown: RunState,
    platform: Platform,
    *,
    key: Path,
    kind: str,
    person: str,
    reason: str,
    expires: datetime | None = None,
) -> bytes:
    """A signed answer to the request that was shown, as a file or an entry of the register holds it.

    Args:
        shown: The run as it was shown; its ``request_digest`` is what is signed.
        platform: Its handles.
        key: The person's private key, or the public one of a key in an agent.
        kind: approve, reject, withdraw or review.
        person: Who signs.
        reason: Why, in their words.
        expires: Until when it counts; by default as long as the request.

    Raises:
        UsageError: The key cannot sign, or the reason holds a secret.
    """
    return canonical(
        signed_answer(
            processes=platform.processes,
            key=key,
            run=shown.run,
            subject=shown.request_digest,
            answer=kind,
            person=person,
            at=datetime.now(UTC),
            expires=expires or parse_time(shown.request["expires"]),
            reason=reason,
            realm=platform.trust.realm,
        )
    )


def refuse_other(shown: RunState, directory: Path) -> None:
    """Refuses to answer a run that asks for something else by now than somebody was shown.

    Raises:
        Refused: It does, or it does not wait any more; nothing was signed.
        RecordError: Its journal cannot be read.
    """
    problem = other_request(shown, read_run(directory))
    if problem:
        raise Refused(
            f"{problem}; nothing was signed",
            hint=f"Look at it with `gitops-nb approve {shown.run}`.",
        )


def other_request(shown: RunState, now: RunState) -> str:
    """What differs between the request that was shown and the one that a run's journal has now; "" when they are one."""
    if now.run == shown.run and now.request_digest == shown.request_digest:
        return ""
    asked = now.request_digest.removeprefix("sha256:")[:12] or "nothing"
    before = shown.request_digest.removeprefix("sha256:")[:12]
    return (
        f"{shown.run} asks for another request ({asked}) than the one that is shown here ({before})"
    )


def refuse_unbound(where: Workspace, state: RunState, platform: Platform) -> None:
    """Refuses to have something signed that is not what is shown, or that nobody proves to have asked for.

    Raises:
        Refused: It says what does not fit; nothing was signed.
        UnavailableError: Who signed CI's identity cannot be asked.
    """
    if state.is_sandbox and parse_time(state.started).timestamp() < sandbox_built_s(where):
        raise Refused(
            f"the sandbox was built anew since {state.run} asked: who asked then is not known there; nothing was signed",
            hint=f"End it with `gitops-nb withdraw {state.run} --reason TEXT`, then run the runbook again.",
        )
    unlimited = ""
    if platform.policy_source.get("commit") and not (state.request.get("policy") or {}).get(
        "commit"
    ):
        unlimited = "the request does not name the commit of the rules that it was made with"
    problem = (
        "; ".join(contradictions(state))
        or unlimited
        or request_problem(
            state,
            trust=platform.trust,
            processes=platform.processes,
            check_identity=platform.check_identity,
        )
    )
    if problem:
        raise Refused(f"{problem}; nothing was signed", hint="The runbook is run again.")


def refuse_unfit(state: RunState, platform: Platform, person: str, kind: str) -> None:
    """Says before signing what would make the answer worthless.

    Raises:
        Refused: Nothing was signed.
    """
    request = state.request
    now = datetime.now(UTC)
    trial = Approval(
        run=state.run,
        subject=state.request_digest,
        answer=kind,
        person=person,
        key="",
        at=now,
        expires=parse_time(request["expires"]),
    )
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    if rules.stopped and kind == "approve":
        raise Refused(
            f"{rules.environment} is stopped by policy.yaml: {rules.stopped}; nothing was signed",
            hint="When the line is taken out of the protected branch, the run can be approved.",
        )
    problem = check_approval(
        trial,
        subject=state.request_digest,
        run=state.run,
        created=parse_time(request["created"]),
        expires=parse_time(request["expires"]),
        rules=rules,
        requesters=askers(request),
        now=now,
    )
    if now >= expires_of(request, rules):
        # Whoever asks now gets a new request; this one nobody's answer saves.
        raise Refused(
            f"{state.run} cannot be answered any more: its request expired at {format_time(expires_of(request, rules))}; nothing was signed",
            hint="Run the runbook again with a new request.",
        )
    if problem:
        raise Refused(
            f"{person} cannot answer {state.run}: {problem}; nothing was signed",
            hint="Another person answers, or the runbook is run again with a new request.",
        )


def refuse_second(
    state: RunState, platform: Platform, directory: Path, person: str, kind: str
) -> None:
    """One person counts once; a second answer would only look like progress.

    Raises:
        Refused: They answered already, or took that back a moment ago.
    """
    answers = read_answers(directory, processes=platform.processes, trust=platform.trust)
    own = [a.approval for a in answers if a.approval and a.approval.person == person]
    moments = [one.at for one in own if one.answer == "withdraw"]
    taken = {person: max(moments)} if moments else {}
    for given in own:
        is_answer = given.answer != "withdraw" and given.subject == state.request_digest
        # One of a clock that was ahead does not count yet: another one may be given.
        is_early = given.at > datetime.now(UTC) + CLOCK_SKEW
        if is_answer and not is_early and stands_after(given, taken):
            missing = missing_answers(directory, state)
            hint = (
                f"Somebody else runs `gitops-nb approve {state.run}`: {missing} more needed."
                if missing
                else f"Go on with `gitops-nb resume {state.run}`."
            )
            if given.answer == "approve" and kind == "reject":
                # In the sandbox another person asks, and without a key the command signs as that one.
                mine = f" --key {platform.signing_key}" if state.is_sandbox else ""
                hint = f"Take the approval back with `gitops-nb withdraw {state.run} --reason TEXT{mine}`."
            raise Refused(f"{person} has answered {state.run} already: {given.answer}", hint=hint)
    clears = taken[person] + CLOCK_SKEW if person in taken else None
    if kind == "approve" and clears is not None and datetime.now(UTC) <= clears:
        raise Refused(
            f"{person} took an approval of {state.run} back at {taken[person]:%H:%M:%S} UTC; nothing was signed",
            hint=f"Clocks may differ: from {clears:%H:%M:%S} UTC on it is surely a later one, and can be signed.",
        )


def close_rejected(
    where: Workspace,
    platform: Platform,
    directory: Path,
    rejection: Approval,
    text: str = "",
) -> str:
    """Ends a run that somebody said no to, and returns who does where this machine does not; "" where it did.

    A notebook that holds it sees the rejection by itself. On a machine that is no runner there nothing is signed but the
    person's own answer: its key counts nowhere, and a record with it would be a finding for good.
    """
    lock = try_lock(where.reports, directory.name, holder(rejection.person))
    if lock is None:
        return "whoever holds the run sees it and ends it"
    try:
        state = read_run(directory)
        rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
        if not is_runner_of(where, rules):
            return f"this machine is no runner of {state.environment}: `gitops-nb resume {state.run}` on one that is ends the run"
        journal = Journal.open(directory)
        now = fold(journal.records)
        if now.status is Status.WAITING and now.request_digest == rejection.subject:
            said = text or f"{rejection.person} rejected it: {rejection.reason}"
            _record_rejection(journal, rejection, said)
            close_run(where, directory, journal)
        journal.close()
        return ""
    finally:
        lock.release()


def _record_rejection(journal: Journal, rejection: Approval, text: str) -> None:
    """The same records that a notebook writes when it sees the rejection."""
    # The reason may be signed elsewhere, by a version that looks for no secrets.
    masked = process_redactor()
    text, said = masked.text(text), masked.json(to_json(rejection))
    decided = dict(fold(journal.records).decision)
    refused = {**decided, "answer": Answer.REFUSED, "reasons": [text], "rejections": [said]}
    journal.append("approval", **said)
    journal.append("decision", **to_json(refused))
    journal.append("step", step="decide", status=Status.REFUSED, sentence=text, value=refused)
    journal.append(
        "ended",
        status=Status.REFUSED,
        exit_code=int(ExitCode.REFUSED),
        reason=text,
        hint="Mend what the reason names, then run it again.",
    )
