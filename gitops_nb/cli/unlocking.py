"""``gitops-nb unlock``: a person says, and signs, that a holder which no machine can ask is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.errors import ExitCode, Refused, UsageError
from gitops_nb.model import Mode, Status, canonical
from gitops_nb.policy import rules_for
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import Phase, ledger_name
from gitops_nb.record.locks import Owner
from gitops_nb.record.register import Chain
from gitops_nb.record.runs import (
    RUN_ID,
    find_run,
    holder,
    is_run_held,
    read_run,
    try_lock,
    was_here,
)
from gitops_nb.record.unlocks import SUBJECT, signed_unlock
from gitops_nb.report.text import terminal
from gitops_nb.session.allowances import rules_now
from gitops_nb.session.beginnings import has_open_start
from gitops_nb.session.copies import fetch_runs
from gitops_nb.session.endings import Death, append_end
from gitops_nb.session.lifecycle import close_run
from gitops_nb.session.notary import open_ledger
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.private import remove_left
from gitops_nb.session.protected import Ground
from gitops_nb.session.registers import register_under
from gitops_nb.session.requester import find_signer
from gitops_nb.session.runners import is_runner_of
from gitops_nb.session.targets import shared_locks


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says: why, and with which key (None: their usual one)."""

    reason: str
    key: Path | None


def free(
    name: str, *, reason: str, key: Path | None, workspace: Path | None, reports: Path | None
) -> None:
    """Frees the lock of a target, or closes a run that died on another machine.

    Raises:
        Refused: Its holder lives on this machine, nobody holds it, or this person may not say so; nothing was freed.
        UsageError: There is neither such a run nor a store of locks, or no key to sign with.
    """
    where, word = find_workspace(workspace, reports=reports), Word(reason, key)
    if RUN_ID.fullmatch(name):
        _close(where, name, word)
        return
    # Who says that a holder is gone frees its lock: that is not for an edit which nobody merged.
    locks = shared_locks(where, rules_now(where).policy.ci_api)
    if locks is None:
        raise UsageError(
            "locks of this machine free themselves when their holder ends",
            hint="Only locks in a bucket (`locks: gs://…` in gitops-nb.yaml) are freed by hand.",
        )
    held, held_by, digest = locks.held_by(name)
    if held_by.is_here and (not held_by.is_proven_dead or held_by.left_commands()):
        raise Refused(f"{held_by} lives", hint="Wait for it to end, or end it.")
    person = _sign(
        where,
        choose_mode(where, None),
        partial(_environments_of, name),
        word,
        what=name,
        holder=str(held_by),
        digest=digest,
    )
    locks.unlock(held, by=person, reason=reason)
    click.echo(
        f"{terminal(name)} is free by the word of {person}; {terminal(str(held_by))} held it"
    )


def _environments_of(name: str, fleet: Fleet) -> tuple[str, ...]:
    """Those that a lock can be of, the likeliest first: names of environments and of subjects may have hyphens themselves.

    Raises:
        UsageError: It is of none.
    """
    found = sorted((one for one in fleet.environments if name.startswith(f"{one}--")), key=len)
    if not found:
        raise UsageError(
            f"{name!r} is a lock of no environment", hint="Locks are called ENVIRONMENT--SUBJECT."
        )
    return tuple(reversed(found))


def _only(environment: str, fleet: Fleet) -> tuple[str, ...]:
    """A run's environment, as the fleet still has it."""
    if environment not in fleet.environments:
        raise UsageError(
            f"{environment!r} is no environment of the fleet any more",
            hint="Nobody may approve there; start a new run.",
        )
    return (environment,)


def _sign(
    where: Workspace,
    mode: Mode,
    environments: Callable[[Fleet], tuple[str, ...]],
    word: Word,
    **about: str,
) -> str:
    """Signs the word into the ledger of the first environment; returns who signed.

    Raises:
        Refused: This person may not approve in one of the environments, or this machine's key counts nowhere.
    """
    platform = open_platform(where, load_catalog(where.runbooks), mode)
    # As for effects: an edit that nobody merged makes nobody an approver.
    ground = platform.look_again()
    names = environments(ground.fleet)
    person, key = _signer(platform, ground, names, word)
    _refuse_no_runner(where, ground, names[0])
    signed: Mapping[str, str] = signed_unlock(
        **about,
        person=person,
        at=datetime.now(UTC),
        reason=word.reason,
        key=key,
        processes=platform.processes,
        realm=ground.trust.realm,
    )
    ledger = open_ledger(where, ledger_name(names[0], is_sandbox=mode is Mode.SANDBOX))
    ledger.append(
        Phase.UNLOCKED,
        run="",
        attempt=0,
        subjects={SUBJECT: about["digest"]},
        body={"unlock": signed},
    )
    return person


def _refuse_no_runner(where: Workspace, ground: Ground, environment: str) -> None:
    """Refuses to put a word into a ledger with a key that nobody believes there: it would be a finding for good.

    Raises:
        Refused: Nothing was freed.
    """
    rules = rules_for(ground.fleet, ground.policy, ground.trust, environment)
    if not is_runner_of(where, rules):
        raise Refused(
            f"this machine is no runner of {environment}, so what it signs into the ledger counts nowhere; nothing was freed",
            hint="Say it on a machine that `runners` in trust.yaml lists.",
        )


def _signer(
    platform: Platform, ground: Ground, environments: Sequence[str], word: Word
) -> tuple[str, Path]:
    """Who signs, with which key, by the rules that are in force now.

    Raises:
        UsageError: There is no key.
        Refused: It is nobody's, or whose it is may not approve in one of the environments.
    """
    named = word.key or platform.signing_key
    if named is None:
        raise UsageError("there is no SSH key to sign with", hint="Name one with --key.")
    key = Path(named).expanduser().absolute()
    person = find_signer(key, platform.processes, ground.trust)
    for environment in environments:
        rules = rules_for(ground.fleet, ground.policy, ground.trust, environment)
        if person not in {one.person for one in rules.approvers}:
            raise Refused(
                f"{person} may not approve in {environment}, and so not free its locks; nothing was freed",
                hint="Somebody whom policy.yaml lists there does it.",
            )
    return person, key


def _free_start(where: Workspace, state: RunState, word: Word) -> str:
    """Says in the register that whoever began a run's effects is gone; returns who said so, "" where nobody began any.

    Raises:
        Refused: It lives on this machine, or this person may not say so.
    """
    if state.request is None:
        return ""
    mode = Mode(state.opened["mode"])
    platform = open_platform(where, load_catalog(where.runbooks), mode)
    ground = platform.look_again()
    if state.environment not in ground.fleet.environments:
        return ""
    rules = rules_for(ground.fleet, ground.policy, ground.trust, state.environment)
    register = register_under(where, ground, rules, platform.processes, is_sandbox=state.is_sandbox)
    held = register.chain(state.request_digest).open_start
    if held is None:
        return ""
    owner = Owner(**held.body["holder"])
    if owner.is_here and (not owner.is_proven_dead or owner.left_commands()):
        raise Refused(f"{owner} lives", hint="Wait for it to end, or end it.")
    person, key = _signer(platform, ground, (state.environment,), word)
    signed = signed_unlock(
        what=state.run,
        holder=str(owner),
        digest=held.digest,
        person=person,
        at=datetime.now(UTC),
        reason=word.reason,
        key=key,
        processes=platform.processes,
        realm=ground.trust.realm,
    )

    def write(chain: Chain) -> bytes:
        if chain.open_start is None or chain.open_start.digest != held.digest:
            raise Refused(f"{state.run} changed hands meanwhile", hint="Look again who holds it.")
        return canonical(signed)

    register.append(state.request_digest, write)
    return person


def _close(where: Workspace, name: str, word: Word) -> None:
    fetch_runs(where)
    directory = find_run(where.reports, name)
    state = read_run(directory)
    if was_here(where.reports, directory.name) and is_run_held(where.reports, directory.name):
        raise Refused(f"{directory.name} lives on this machine", hint="Wait for it to end.")
    if state.status is Status.RUNNING:
        mode = Mode(state.opened["mode"])
        ground = open_platform(where, load_catalog(where.runbooks), mode).look_again()
        if state.environment in ground.fleet.environments:
            _refuse_no_runner(where, ground, state.environment)
    begun = _free_start(where, state, word)
    if state.status is not Status.RUNNING:
        if not begun:
            raise Refused(f"{directory.name} is not open: it is {state.status}")
        remove_left(directory)
        click.echo(f"{directory.name} is free by the word of {begun}")
        click.echo(f"  gitops-nb resume {directory.name}")
        return
    lock = try_lock(where.reports, directory.name, holder("gitops-nb unlock"))
    if lock is None:
        raise Refused(f"{directory.name} lives on this machine", hint="Wait for it to end.")
    try:
        if read_run(directory).head != state.head:
            raise Refused(f"{directory.name} went on meanwhile", hint="Look again how it stands.")
        last = state.attempts[-1] if state.attempts else {}
        person = _sign(
            where,
            Mode(state.opened["mode"]),
            partial(_only, state.environment),
            word,
            what=state.run,
            holder=f"{last.get('who', '?')} on {last.get('host', '?')}",
            digest=state.head,
        )
        journal = Journal.open(directory)
        said = f"closed by {person}, who says that its process is gone: {word.reason}"
        append_end(
            journal,
            death=Death(said, ExitCode.FAILED),
            was_witnessed=False,
            has_begun=bool(begun) or has_open_start(where, state),
        )
        close_run(where, directory, journal)
        journal.close()
        remove_left(directory)
    finally:
        lock.release()
    click.echo(f"{directory.name} is closed by the word of {person}")
    click.echo(f"  gitops-nb resume {directory.name}")
