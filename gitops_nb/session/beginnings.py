"""What runners signed about a run, for whoever closes it without having seen it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError, Refused, UnavailableError
from gitops_nb.model import Json, Mode, Status, digest, parse_time
from gitops_nb.record import dsse, journal
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Record
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Entry, Phase, find_entries, ledger_name
from gitops_nb.record.runs import is_run_held
from gitops_nb.session.allowances import LiveRules
from gitops_nb.session.held import began_with
from gitops_nb.session.stores import reports_store


def was_begun(workspace: Workspace, state: RunState) -> bool:
    """Whether a runner signed that a run asked for something or began effects; a run written from nothing has neither.

    One in a bucket may be at work on another machine: it is never this one's to close.

    Raises:
        RecordError: Its ledger is damaged.
    """
    return not workspace.bucket and any(_signed(workspace, state))


def is_believed_here(workspace: Workspace, state: RunState) -> bool:
    """Whether what this machine's key signs about a run's environment is believed: a record of another key is a finding for good.

    Where nobody can be asked it is not: whoever comes later signs.
    """
    if state.is_sandbox:
        return True
    own = open_runner_key(workspace.root).public.split(" ")[1]
    try:
        trust = LiveRules(workspace, load_catalog(workspace.runbooks)).now.trust
    except (ConfigurationError, UnavailableError):
        return False
    return any(
        one.key.split(" ")[1] == own and one.is_trusted_in(state.environment)
        for one in trust.runners
    )


def has_started(workspace: Workspace, state: RunState) -> bool:
    """Whether a runner signed that effects of its newest attempt begin.

    Raises:
        RecordError: Its ledger is damaged.
    """
    attempt = len(state.attempts)
    return any(
        entry.phase is Phase.START and entry.attempt == attempt
        for entry in _signed(workspace, state)
    )


def has_open_start(workspace: Workspace, state: RunState) -> bool:
    """Whether a runner signed that effects of some attempt begin, and none how that attempt ended.

    Raises:
        RecordError: Its ledger is damaged.
    """
    begun, ended = set[int](), set[int]()
    for entry in _signed(workspace, state):
        if entry.phase is Phase.START:
            begun.add(entry.attempt)
        elif entry.phase is Phase.END:
            ended.add(entry.attempt)
    return bool(begun - ended)


def was_started(workspace: Workspace, state: RunState) -> bool:
    """Whether a runner signed that effects of the run's own request begin, in any attempt.

    Raises:
        RecordError: Its ledger is damaged.
    """
    return any(
        entry.phase is Phase.START and entry.predicate.get("request_digest") == state.request_digest
        for entry in _signed(workspace, state)
    )


def was_asked(
    workspace: Workspace, identity: Mapping[str, Json], request: Mapping[str, Json]
) -> bool:
    """Whether a runner that counts in its environment signed that CI asked for exactly this, with this identity.

    It did so when it had verified the identity: with the request, or with a start where nobody has to approve.

    Raises:
        RecordError: Its ledger is damaged.
    """
    environment = str(request.get("environment"))
    return any(
        entry.phase in (Phase.REQUESTED, Phase.START)
        and entry.predicate.get("request_digest") == digest(dict(request))
        and entry.predicate.get("identity") == dict(identity)
        for entry in _signed_of(
            workspace,
            environment,
            str(request.get("run")),
            is_sandbox=request.get("mode") == Mode.SANDBOX,
            since=parse_time(str(request["created"])),
        )
    )


def is_signed(workspace: Workspace, state: RunState) -> bool:
    """Whether a runner signed how a run came to stop, with its newest record.

    Raises:
        RecordError: Its ledger is damaged.
    """
    due = Phase.REQUESTED if state.status is Status.WAITING else Phase.END
    return any(
        entry.phase is due and (entry.predicate.get("journal") or {}).get("head") == state.head
        for entry in _signed(workspace, state)
    )


def unsigned_gates(workspace: Workspace, directory: Path, state: RunState) -> str:
    """Why nobody answers for what a waiting run's record says of its gates, as a sentence; "" where a runner signed that.

    Raises:
        Refused: A runner signed another record of it than the one that is there.
        RecordError: Journal or ledger is damaged.
    """
    signed = [one for one in _signed(workspace, state) if one.phase is not Phase.END]
    if not signed:
        return (
            "no runner signed what this record says of its gates: whoever can write to it may have"
        )
    records, _ = journal.read(directory / journal.FILE)
    decided = max((n for n, one in enumerate(records) if one.kind == "decision"), default=0)
    known = {one.hash for one in records[decided:]}
    if any((one.predicate.get("journal") or {}).get("head") in known for one in signed):
        return ""
    if is_run_held(workspace.reports, state.run):
        return "the run is at work, and what it says of its gates is not signed yet"
    raise Refused(
        f"what {state.run} says of its gates is not what the runner signed; nothing was signed",
        hint=f"Somebody wrote into its record: look at it with `gitops-nb verify {state.run}`, and run the runbook again.",
    )


def is_by_runner(workspace: Workspace, state: RunState, entry: Entry) -> bool:
    """Whether a runner that counts in the run's environment signed a record of it.

    Raises:
        RecordError: Its ledger is damaged.
    """
    return any(one.hash == entry.hash for one in _signed(workspace, state))


def refuse_unknown(workspace: Workspace, records: Sequence[Record]) -> None:
    """Refuses to go on with a run that asked nobody yet, and of which nothing but its own record says how it began.

    Going on means to sign what it asks for in the name of whoever goes on. A request that is there is signed already.

    Args:
        workspace: Of the run.
        records: Its journal.

    Raises:
        Refused: Neither this machine nor a runner's signed record knows it, or this machine knows another beginning.
    """
    state = fold(records)
    if state.request is not None:
        return
    noted = began_with(workspace, state.run)
    if noted == records[0].hash:
        return
    hashes = {record.hash for record in records}
    if not noted and any(
        (entry.predicate.get("journal") or {}).get("head") in hashes
        for entry in _signed(workspace, state)
    ):
        return
    why = (
        "its record does not begin as this machine began it"
        if noted
        else "neither this machine nor a runner's signature knows how it began"
    )
    raise Refused(
        f"{state.run} asked nobody yet, and {why}: going on would ask for it in your name",
        hint="Look at it with `gitops-nb verify`; what you want yourself is a new run.",
    )


def _signed(workspace: Workspace, state: RunState) -> Iterator[Entry]:
    return _signed_of(
        workspace,
        state.environment,
        state.run,
        is_sandbox=state.is_sandbox,
        since=parse_time(state.started),
    )


def _signed_of(
    workspace: Workspace, environment: str, run: str, *, is_sandbox: bool, since: datetime
) -> Iterator[Entry]:
    """Records of a run that runners signed whose word counts in its environment."""
    name = ledger_name(environment, is_sandbox=is_sandbox)
    entries = find_entries(reports_store(workspace), name, run, since=since)
    if not entries:
        return
    runners = _runners(workspace, environment, is_sandbox=is_sandbox)
    known = {dsse.fingerprint(one.key): one for one in runners}
    for entry in entries:
        runner = known.get(entry.keyid)
        if runner is None or not runner.counts_at(entry.at):
            continue
        if dsse.is_signed_by(entry.envelope, dsse.raw_ed25519(runner.key)):
            yield entry


def _runners(workspace: Workspace, environment: str, *, is_sandbox: bool) -> tuple[RunnerKey, ...]:
    """This runner, and those that count in an environment by what the protected branch says; this one alone where that cannot be asked.

    One that is listed counts where it is listed, this runner as well; in the sandbox this one counts everywhere.
    """
    own = RunnerKey(name="this-runner", key=open_runner_key(workspace.root).public)
    try:
        catalog = load_catalog(workspace.runbooks)
        trust = catalog.trust if is_sandbox else LiveRules(workspace, catalog).now.trust
    except (ConfigurationError, UnavailableError):
        return (own,)
    body = own.key.split(" ")[1]
    is_listed = any(one.key.split(" ")[1] == body for one in trust.runners)
    trusted = tuple(one for one in trust.runners if one.is_trusted_in(environment))
    return trusted if is_listed and not is_sandbox else (*trusted, own)
