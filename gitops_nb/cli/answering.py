"""``gitops-nb approve`` and ``reject``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.choosing import recorded, to_answer, to_withdraw
from gitops_nb.cli.show import options, show_plan
from gitops_nb.errors import Refused, UsageError
from gitops_nb.model import (
    Mode,
    Status,
    digest,
    format_time,
)
from gitops_nb.policy import (
    Rules,
    expires_of,
    is_same_person,
    rules_for,
)
from gitops_nb.record.approvals import (
    keep_answer,
    read_answers,
)
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase, ledger_name
from gitops_nb.record.register import Register
from gitops_nb.record.runs import find_run, missing_answers, read_run
from gitops_nb.redaction import refuse_secret
from gitops_nb.report.story import signed
from gitops_nb.report.text import terminal
from gitops_nb.session.answering import (
    answer_to,
    close_rejected,
    refuse_second,
    refuse_unbound,
    refuse_unfit,
)
from gitops_nb.session.beginnings import unsigned_gates
from gitops_nb.session.copies import send_answer
from gitops_nb.session.glass import is_reviewed
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.notary import open_ledger
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.registers import register_of
from gitops_nb.session.requester import find_signer
from gitops_nb.session.runners import is_runner_of


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
    refuse_unbound(where, state, platform)
    refuse_unfit(state, platform, person, kind)
    refuse_second(state, platform, directory, person, kind)
    doubt = unsigned_gates(where, directory, state) if kind == "approve" else ""
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    _show_request(state, person, rules, doubt=doubt)
    if kind == "approve" and not yes:
        _confirm(state, person)
    content = answer_to(state, platform, key=signing_key, kind=kind, person=person, reason=reason)
    if not waits:
        # Its folder is sealed, and whatever its journal says: the no counts in the register.
        click.echo(f"{_DONE[kind]} by {person}")
        _register(where, platform, state, content)
        return
    if kind != "approve":
        # In the register first: a no that cannot be put there is not said to be given.
        _register(where, platform, state, content)
    path = keep_answer(directory, kind, person, content)
    send_answer(where, path)
    click.echo(f"{_DONE[kind]} by {person}: {path.relative_to(where.reports)}")
    if kind == "reject":
        signed = read_answers(directory, processes=platform.processes, trust=platform.trust)
        mine = next(a.approval for a in signed if a.file == path.name and a.approval)
        _tell_open(close_rejected(where, platform, directory, mine))
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
    _refuse_untold(state)
    content = answer_to(
        state, platform, key=signing_key, kind="withdraw", person=person, reason=reason
    )
    if state.status is not Status.WAITING:
        # Its folder is sealed, and nothing is added to it; what counts is in the register.
        click.echo(f"withdrawn by {person}")
        _register(where, platform, state, content)
        return
    _register(where, platform, state, content)
    path = keep_answer(directory, "withdraw", person, content)
    send_answer(where, path)
    click.echo(f"withdrawn by {person}: {path.relative_to(where.reports)}")
    if asks:
        signed = read_answers(directory, processes=platform.processes, trust=platform.trust)
        mine = next(a.approval for a in signed if a.file == path.name and a.approval)
        _tell_open(
            close_rejected(where, platform, directory, mine, f"{person} withdrew it: {reason}")
        )


def _tell_open(why: str) -> None:
    """Says who ends the run, where this machine did not."""
    if why:
        click.echo(f"  {why}")


def _refuse_untold(state: RunState) -> None:
    """Shows which request is taken back; one that does not fit its journal may be another one than is meant.

    Who asked for it is not asked again: a request that counts nowhere any more can still be taken out of the way.
    """
    if digest(state.request) != state.request_digest or len(state.requests) > 1:
        raise Refused(
            f"the journal of {state.run} does not have one request with its digest; nothing was signed",
            hint=f"Look at it with `gitops-nb verify {state.run}`.",
        )
    click.echo(f"digest       {state.request_digest}")


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
    refuse_unbound(where, state, platform)
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
    is_runner = is_runner_of(where, rules)
    register = _open_register(where, platform, state)
    if not is_runner and not register.is_shared:
        raise Refused(
            f"this machine is no runner of {state.environment}, and the register is its own: nobody would see the review; "
            "nothing was signed",
            hint="Review it on a machine that `runners` in trust.yaml lists.",
        )
    content = answer_to(
        state,
        platform,
        key=signing_key,
        kind="review",
        person=person,
        reason=reason,
        expires=datetime.now(UTC) + rules.lifetime,
    )
    if is_runner:
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        open_ledger(where, name).append(
            Phase.REVIEWED,
            run=state.run,
            attempt=len(state.attempts),
            subjects={"request": state.request_digest.removeprefix("sha256:")},
            body={"review": json.loads(content)},
        )
        where_to = ""
    else:
        # What this machine's key signs counts nowhere; the person's own signature does.
        entry = register.append(state.request_digest, lambda _: content)
        where_to = f": in the register, entry {entry.number}"
    click.echo(f"{state.run}, done with broken glass, reviewed by {person}{where_to}")


def _show_request(state: RunState, person: str, rules: Rules, *, doubt: str = "") -> None:
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
    show_plan(state, doubt=doubt)
    click.echo("everything that the signature covers, beside the change above:")
    for label, text in signed(state):
        click.echo(f"  {terminal(label)}: {terminal(text)}")
