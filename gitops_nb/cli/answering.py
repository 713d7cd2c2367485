"""``gitops-nb approve`` and ``reject``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.choosing import recorded, to_answer, to_withdraw
from gitops_nb.cli.show import options, show_plan
from gitops_nb.errors import ExitCode, Refused, UsageError
from gitops_nb.model import (
    Answer,
    Approval,
    Mode,
    Status,
    canonical,
    format_time,
    parse_time,
    to_json,
)
from gitops_nb.policy import (
    CLOCK_SKEW,
    Rules,
    check_approval,
    expires_of,
    is_same_person,
    rules_for,
    stands_after,
)
from gitops_nb.record.approvals import (
    askers,
    keep_answer,
    read_answers,
    request_problem,
    sign_answer,
    signed_answer,
)
from gitops_nb.record.consents import contradictions
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import Phase, ledger_name
from gitops_nb.record.register import Register
from gitops_nb.record.runs import find_run, holder, missing_answers, read_run, try_lock
from gitops_nb.redaction import process_redactor, refuse_secret
from gitops_nb.report.story import signed
from gitops_nb.report.text import terminal
from gitops_nb.session.copies import send_answer
from gitops_nb.session.counting import sandbox_built_s
from gitops_nb.session.glass import is_reviewed
from gitops_nb.session.lifecycle import close_run, recover
from gitops_nb.session.notary import open_ledger
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.registers import register_of
from gitops_nb.session.requester import find_signer


def answer(
    name: str,
    kind: str,
    *,
    key: Path | None,
    reason: str,
    yes: bool,
    workspace: Path | None,
    reports: Path | None,
) -> None:
    """Signs an approval or a rejection of a waiting run.

    Raises:
        Refused: The run does not wait, its request expired, or this person may not answer it.
        UsageError: There is no key, or the environment's name was not typed right.
    """
    refuse_secret("--reason", reason)
    where = find_workspace(workspace, reports=reports)
    recover(where)
    directory = find_run(
        where.reports, name, to_answer(where, kind, key), wanted="waits for your answer"
    )
    state = recorded(directory)
    if kind == "approve" and _is_to_review(state):
        review(where, directory, key=key, reason=reason, yes=yes)
        return
    waits = state.status is Status.WAITING and state.request is not None
    if not waits and (kind == "approve" or state.request is None):
        raise Refused(
            f"{state.run} does not wait; its status is {state.status}",
            hint="See `gitops-nb list runs`.",
        )
    platform = open_platform(where, load_catalog(where.runbooks), Mode(state.opened["mode"]))
    signing_key = _signing_key(platform, key)
    person = find_signer(signing_key, platform.processes, platform.trust)
    if not waits:
        _refuse_over(where, platform, state)
    _refuse_unbound(where, state, platform)
    _refuse_unfit(state, platform, person, kind)
    _refuse_second(state, platform, directory, person, kind)
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    _show_request(state, person, rules)
    if kind == "approve" and not yes:
        _confirm(state, person)
    request = state.request
    said: dict[str, Any] = {
        "processes": platform.processes,
        "key": signing_key,
        "run": state.run,
        "subject": state.request_digest,
        "answer": kind,
        "person": person,
        "at": datetime.now(UTC),
        "expires": parse_time(request["expires"]),
        "reason": reason,
        "realm": platform.trust.realm,
    }
    if not waits:
        # Its folder is sealed, and whatever its journal says: the no counts in the register.
        click.echo(f"{_DONE[kind]} by {person}")
        _register(where, platform, state, canonical(signed_answer(**said)))
        return
    if kind == "approve":
        path = sign_answer(directory, **said)
    else:
        # In the register first: a no that cannot be put there is not said to be given.
        content = canonical(signed_answer(**said))
        _register(where, platform, state, content)
        path = keep_answer(directory, kind, person, content)
    send_answer(where, path)
    click.echo(f"{_DONE[kind]} by {person}: {path.relative_to(where.reports)}")
    if kind == "reject":
        signed = read_answers(directory, processes=platform.processes, trust=platform.trust)
        mine = next(a.approval for a in signed if a.file == path.name and a.approval)
        _close_rejected(where, directory, mine)
    else:
        missing = missing_answers(directory, state)
        if missing:
            click.echo(
                f"  {missing} more {'is' if missing == 1 else 'are'} needed, of somebody else:"
            )
        verb = "approve" if missing else "resume"
        click.echo(f"  gitops-nb {verb} {state.run}{options(workspace, reports)}")


def _confirm(state: RunState, person: str) -> None:
    """Asks whoever signs for the environment's name; anything else signs nothing."""
    typed = click.prompt(f"Type the environment's name to sign as {person}")
    if typed != state.environment:
        raise UsageError(f"{typed!r} is not {state.environment}; nothing was signed")


_DONE = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}


def _register(where: Workspace, platform: Platform, state: RunState, content: bytes) -> None:
    """Puts a no where deleting its file undoes nothing.

    Raises:
        UnavailableError: The register does not let us write; the file counts as long as it is there.
    """
    register = _open_register(where, platform, state)
    entry = register.append(state.request_digest, lambda _: content)
    where_to = "the register" if register.is_shared else "the register of this machine"
    click.echo(f"  in {where_to}, entry {entry.number}: it counts although the file be removed")


def _open_register(where: Workspace, platform: Platform, state: RunState) -> Register:
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    return register_of(
        where, platform.fleet, rules, platform.processes, is_sandbox=state.is_sandbox
    )


def _refuse_over(where: Workspace, platform: Platform, state: RunState) -> None:
    """A no comes too late where the register says that the request was carried out; what a journal says of its end is no word.

    Raises:
        Refused: It was; nothing was signed.
    """
    done = _open_register(where, platform, state).chain(state.request_digest).success
    if done is not None:
        raise Refused(
            f"{state.run} was carried out: nothing is left that could begin, and nothing was signed",
            hint=f"What it did is in `gitops-nb report {state.run}`, with the way back.",
        )


def withdraw(
    name: str, *, key: Path | None, reason: str, workspace: Path | None, reports: Path | None
) -> None:
    """Takes back a request, or one's own approval of it; from then on no further effect is begun by it.

    Raises:
        Refused: This person neither asked for it nor approved it.
        UsageError: There is no key.
    """
    where = find_workspace(workspace, reports=reports)
    recover(where)
    directory = find_run(where.reports, name, to_withdraw, wanted="can be withdrawn")
    state = recorded(directory)
    if state.request is None:
        raise Refused(f"{state.run} asked nobody", hint="See `gitops-nb list runs`.")
    platform = open_platform(where, load_catalog(where.runbooks), Mode(state.opened["mode"]))
    if state.status is not Status.WAITING:
        _refuse_over(where, platform, state)
    signing_key = _signing_key(platform, key) if key else _own_key(platform)
    person = find_signer(signing_key, platform.processes, platform.trust)
    asks = is_same_person(person, str(state.request["requester"]["name"]), platform.trust)
    answered = read_answers(directory, processes=platform.processes, trust=platform.trust)
    gave = any(
        a.approval and a.approval.person == person and a.approval.answer == "approve"
        for a in answered
    )
    if not (asks or gave):
        raise Refused(f"{person} neither asked for {state.run} nor approved it; nothing was signed")
    said: dict[str, Any] = {
        "processes": platform.processes,
        "key": signing_key,
        "run": state.run,
        "subject": state.request_digest,
        "answer": "withdraw",
        "person": person,
        "at": datetime.now(UTC),
        "expires": parse_time(state.request["expires"]),
        "reason": reason,
        "realm": platform.trust.realm,
    }
    if state.status is not Status.WAITING:
        # Its folder is sealed, and nothing is added to it; what counts is in the register.
        click.echo(f"withdrawn by {person}")
        _register(where, platform, state, canonical(signed_answer(**said)))
        return
    content = canonical(signed_answer(**said))
    _register(where, platform, state, content)
    path = keep_answer(directory, "withdraw", person, content)
    send_answer(where, path)
    click.echo(f"withdrawn by {person}: {path.relative_to(where.reports)}")
    if asks:
        signed = read_answers(directory, processes=platform.processes, trust=platform.trust)
        mine = next(a.approval for a in signed if a.file == path.name and a.approval)
        _close_rejected(where, directory, mine, f"{person} withdrew it: {reason}")


def _own_key(platform: Platform) -> Path:
    """The key that this person asks with; in the sandbox that is the first one's."""
    if platform.requester_key is None:
        raise UsageError("there is no SSH key to sign with", hint="Name one with --key.")
    return platform.requester_key


def _signing_key(platform: Platform, key: Path | None) -> Path:
    chosen = key or platform.signing_key
    if chosen is None:
        raise UsageError("there is no SSH key to sign with", hint="Name one with --key.")
    # The program that signs runs elsewhere.
    return Path(chosen).expanduser().absolute()


def _is_to_review(state: RunState) -> bool:
    """Whether a run ended that went on without approval."""
    return bool(state.ended and state.request is not None and state.request.get("break_glass"))


def review(where: Workspace, directory: Path, *, key: Path | None, reason: str, yes: bool) -> None:
    """Signs afterwards that somebody else has looked at what was done with broken glass.

    Raises:
        Refused: It is the requester, nobody who may approve there, or it is reviewed already.
        UsageError: The environment's name was not typed right.
    """
    state = read_run(directory)
    platform = open_platform(where, load_catalog(where.runbooks), Mode(state.opened["mode"]))
    signing_key = _signing_key(platform, key)
    person = find_signer(signing_key, platform.processes, platform.trust)
    _refuse_unbound(where, state, platform)
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    requester = str(state.request["requester"]["name"])
    if is_same_person(person, requester, rules.trust):
        raise Refused(f"{requester} broke the glass and cannot review it; nothing was signed")
    if person not in {a.person for a in rules.approvers}:
        raise Refused(f"{person} may not approve in {state.environment}; nothing was signed")
    if state.plan_digest != state.request["plan_digest"]:
        raise Refused(
            f"the record of {state.run} shows another plan than was asked for; nothing was signed",
            hint="Look at it with `gitops-nb verify`.",
        )
    if is_reviewed(where, state):
        raise Refused(f"{state.run} is reviewed already; nothing was signed")
    _show_request(state, person, rules)
    click.echo("this was done with broken glass; your signature says that you have looked at it")
    if not yes:
        _confirm(state, person)
    now = datetime.now(UTC)
    signed = signed_answer(
        processes=platform.processes,
        key=signing_key,
        run=state.run,
        subject=state.request_digest,
        answer="review",
        person=person,
        at=now,
        expires=now + rules.lifetime,
        reason=reason,
        realm=platform.trust.realm,
    )
    name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
    open_ledger(where, name).append(
        Phase.REVIEWED,
        run=state.run,
        attempt=len(state.attempts),
        subjects={"request": state.request_digest.removeprefix("sha256:")},
        body={"review": signed},
    )
    click.echo(f"{state.run}, done with broken glass, reviewed by {person}")


def _refuse_unbound(where: Workspace, state: RunState, platform: Platform) -> None:
    """Refuses to have something signed that is not what is shown, or that nobody proves to have asked for."""
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


def _refuse_unfit(state: RunState, platform: Platform, person: str, kind: str) -> None:
    """Says before signing what would make the answer worthless."""
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


def _refuse_second(
    state: RunState, platform: Platform, directory: Path, person: str, kind: str
) -> None:
    """One person counts once; a second answer would only look like progress."""
    answers = read_answers(directory, processes=platform.processes, trust=platform.trust)
    own = [a.approval for a in answers if a.approval and a.approval.person == person]
    moments = [one.at for one in own if one.answer == "withdraw"]
    taken = {person: max(moments)} if moments else {}
    for given in own:
        is_answer = given.answer != "withdraw" and given.subject == state.request_digest
        if is_answer and stands_after(given, taken):
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


def _show_request(state: RunState, person: str, rules: Rules) -> None:
    request = state.request
    if state.is_sandbox:
        click.echo("SANDBOX  nothing real is touched")
    click.echo(f"run          {state.run}")
    click.echo(
        f"asked for by {terminal(str(request['requester']['name']))} ({terminal(str(request['requester']['evidence']))})"
    )
    click.echo(f"environment  {state.environment}")
    click.echo(f"expires      {format_time(expires_of(request, rules))}")
    click.echo(f"digest       {state.request_digest}")
    click.echo(f"signing as   {person}")
    show_plan(state)
    click.echo("everything that the signature covers, beside the change above:")
    for label, text in signed(state):
        click.echo(f"  {terminal(label)}: {terminal(text)}")


def _close_rejected(where: Workspace, directory: Path, rejection: Approval, text: str = "") -> None:
    """Ends the run, unless a notebook holds it: that one sees the rejection by itself."""
    lock = try_lock(where.reports, directory.name, holder(rejection.person))
    if lock is None:
        return
    try:
        journal = Journal.open(directory)
        if fold(journal.records).status is Status.WAITING:
            said = text or f"{rejection.person} rejected it: {rejection.reason}"
            _record_rejection(journal, rejection, said)
            close_run(where, directory, journal)
        journal.close()
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
