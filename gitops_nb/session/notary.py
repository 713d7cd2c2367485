"""Signs what a run did into its environment's ledger.

In a headless run the engine's process signs: the notebook's process asks it over a socket (see ``serving``), and what is
signed is what the engine reads from the run's journal itself. In JupyterLab and behind plain papermill nobody stands behind the
notebook: its own process signs, and the record says so (``signer``).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gitops_nb import errors
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import (
    ConfigurationError,
    ConflictError,
    GitOpsError,
    RecordError,
    Refused,
    UnavailableError,
)
from gitops_nb.model import Answer, Json, Status, digest, parse_time
from gitops_nb.record import journal
from gitops_nb.record.consents import contradictions
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.identity import audience_of
from gitops_nb.record.keys import custody, open_runner_key
from gitops_nb.record.ledger import Entry, Ledger, Phase, ledger_name, size
from gitops_nb.record.statement import body_of, subjects_of
from gitops_nb.session.beginnings import was_asked
from gitops_nb.session.copies import send_run
from gitops_nb.session.held import forget, hold, saw_end
from gitops_nb.session.identity import prove_here
from gitops_nb.session.order import given
from gitops_nb.session.registers import register_end
from gitops_nb.session.signed_ends import is_signed, runner_keys
from gitops_nb.session.stores import reports_store

ANSWER_S = 120.0
ASKED_S = 30.0
_PROVEN: list[Mapping[str, Json]] = []
"""Identities of this CI job that this process verified."""
_SIZES: dict[str, int] = {}
"""By run: how many records its ledger had when this process made it. None of those is about it."""


def attest(
    workspace: Workspace, directory: Path, phase: Phase, *, signer: str, head: str = ""
) -> Entry:
    """Appends what a run's journal says to its ledger; a phase of an attempt that is there already is returned.

    Args:
        workspace: Of the run.
        directory: Its run directory.
        phase: What is signed.
        signer: Whose process signs, see ``record.statement.body_of``.
        head: Hash of the newest record that whoever asks wrote or read: the file may be another one by now. "" asks for
            whatever the file says.

    Raises:
        Refused: A start was asked for, and the journal holds no decision that allows the plan.
        RecordError: Journal or ledger cannot be read or written.
        UnavailableError: The store of the ledger does not answer.
    """
    records, problems = journal.read(directory / journal.FILE)
    if problems:
        raise RecordError(f"{directory.name}: {problems[0]}", hint="Run `gitops-nb verify` on it.")
    if head and (not records or records[-1].hash != head):
        raise RecordError(
            f"the journal of {directory.name} was written by somebody else meanwhile; it was not signed",
            hint="Look at it with `gitops-nb verify`.",
        )
    state = fold(records)
    if phase is Phase.START:
        refuse_unallowed(state)
    name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
    ledger = open_ledger(workspace, name)
    attempt = len(state.attempts)
    since = parse_time(state.started) if state.started else datetime.now(UTC)
    earlier = ledger.find(state.run, since=since, after=_SIZES.get(state.run, 0))
    same = [entry for entry in earlier if (entry.phase, entry.attempt) == (phase, attempt)]
    if same:
        # Whoever may write there can put a record of that name there; it stands for no runner's word.
        key_of = runner_keys(workspace)(state.environment)
        for entry in same:
            if is_signed(entry, key_of):
                return entry
    if phase is Phase.REQUESTED:
        _refuse_unproven(workspace, state)
    return ledger.append(
        phase,
        run=state.run,
        attempt=attempt,
        subjects=subjects_of(phase, state, directory),
        body=body_of(phase, state, signer=signer, key_held=custody()),
    )


def expect(workspace: Workspace, run: str, name: str) -> None:
    """Notes the size of a ledger for a run that is about to be made: many others may end before its own end is signed."""
    if not workspace.bucket:
        _SIZES[run] = size(reports_store(workspace), name)


def open_ledger(workspace: Workspace, name: str) -> Ledger:
    """A ledger of the workspace, with this runner's key."""
    return Ledger(reports_store(workspace), name, open_runner_key(workspace.root))


def _refuse_unproven(workspace: Workspace, state: RunState) -> None:
    """CI's identity is signed by the process that verified it, or when it was signed before; a journal can say anything."""
    identity = dict(state.request_identity)
    if not identity or identity in _PROVEN:
        return
    # What lies in a ledger's folder is not yet a runner's word.
    if not was_asked(workspace, identity, state.request or {}):
        raise RecordError(
            f"{state.run} names an identity of CI's that this process did not verify; it was not signed",
            hint="Run the workflow again.",
        )


def refuse_unallowed(state: RunState) -> None:
    """Refuses to begin what no recorded decision allows, or what is about another plan than was asked for.

    Raises:
        Refused: It says which.
    """
    decision = state.decision or {}
    if decision.get("answer") != Answer.ALLOWED or decision["plan_digest"] != state.plan_digest:
        raise Refused("the journal holds no decision that allows the plan; nothing was begun")
    # The first effect is not there yet, and with it the plan has to be the one that was asked for.
    problems = contradictions(state)
    if state.request is not None and state.request["plan_digest"] != state.plan_digest:
        problems.append("request: it is about another plan")
    if problems:
        raise Refused(f"{'; '.join(problems)}; nothing was begun")


def settle(workspace: Workspace, directory: Path, state: RunState, *, signer: str) -> None:
    """Signs the end of a closed run, or that it waits, and sends its record where that is kept in a bucket.

    Register and ledger get it. Of a run whose process died the register says that nobody witnessed it.

    Raises:
        RecordError: Ledger or store cannot be written; nothing is lost, and the next command tries again.
    """
    try:
        if state.status is Status.WAITING:
            attest(workspace, directory, Phase.REQUESTED, signer=signer, head=state.head)
        elif state.ended:
            register_end(workspace, state, processes=LocalProcesses())
            attest(workspace, directory, Phase.END, signer=signer, head=state.head)
        send_run(workspace, directory)
    except (UnavailableError, ConflictError, ConfigurationError) as error:
        raise RecordError(
            f"{state.run} is {state.status}, and its record is complete only on this machine: {error.message}",
            hint="The next gitops-nb command in this workspace sends it.",
        ) from error
    forget(workspace, state.run)


def sign_start(
    workspace: Workspace, directory: Path, *, signer: str, head: str
) -> Mapping[str, Json]:
    """Has the ledger say that a run's effects begin; returns its name, ``size``, ``head`` and ``genesis``.

    Only a process that holds the runner's key does this itself; a notebook's asks the engine (see ``begin``). ``signer`` and
    ``head`` are those of ``attest``.
    """
    entry = attest(workspace, directory, Phase.START, signer=signer, head=head)
    name = str(entry.predicate["ledger"]["name"])
    return {
        "ledger": name,
        "size": entry.seq + 1,
        "head": entry.hash,
        "genesis": open_ledger(workspace, name).genesis,
    }


def begin(address: str) -> Mapping[str, Json]:
    """Has the engine begin a run that needs no approval: ``start`` is the register's, the rest the ledger's."""
    return _ask_engine(address, {"ask": "start"})


def note_open(workspace: Workspace, run: str, first: str = "") -> None:
    """Notes that this machine works on a run (see ``held.hold``); where an engine stands behind this process it did so."""
    if not given().notary:
        hold(workspace, run, first)


def note_stop(workspace: Workspace, run: str, head: str) -> None:
    """Notes how a run stopped (see ``held.saw_end``); a notebook's process, which cannot sign, asks the engine.

    Raises:
        RecordError: It cannot be written, or the engine does not answer.
    """
    if given().notary:
        _ask_engine(given().notary, {"ask": "stopped", "head": head})
    else:
        saw_end(workspace, run, head)


def anchor(address: str, parent: str) -> str:
    """The signed trailers of a commit with this parent, from the engine that began the run."""
    return str(_ask_engine(address, {"ask": "anchor", "parent": parent})["trailers"])


def prove(request: Mapping[str, Json], issuer: str) -> Mapping[str, Json]:
    """The identity of this CI job, for exactly this request.

    Where an engine stands behind this process it asks, and for requests of its own run only: a token for another audience
    would open other doors.
    """
    address = given().notary
    if not address:
        return prove_for(request, issuer)
    return _ask_engine(address, {"ask": "identity", "request": dict(request)})


def prove_for(request: Mapping[str, Json], issuer: str) -> Mapping[str, Json]:
    """The same, asked by this process, which remembers that it verified it."""
    found = prove_here(audience_of(digest(dict(request))), issuer)
    _PROVEN.append(found)
    return found


def check_identity(
    workspace: Workspace,
    identity: Mapping[str, Json],
    request: Mapping[str, Json],
    *,
    issuer: str,
    ci_api: str,
) -> str:
    """Whether CI's identity is what its issuer signed for a request; "" when it is.

    A runner's word alone proves nothing: the kept token is checked with the issuer's key. Where the issuer does not have that key
    any more, a runner has to have signed, when it verified it, that exactly this was asked for, and the host is asked by run id
    whether that run was going on then and is the same in all that the request says of it.

    Raises:
        UnavailableError: Neither answers.
    """
    if identity in _PROVEN:
        return ""
    from gitops_nb.adapters.github_runs import GitHubRuns
    from gitops_nb.adapters.oidc import KeyGoneError, verify_kept
    from gitops_nb.session.github import github_api

    try:
        return verify_kept(identity, issuer=issuer)
    except KeyGoneError:
        if not was_asked(workspace, identity, request):
            return (
                f"{issuer} does not have the key any more that CI's identity names, and no runner that counts signed that "
                "this was asked for"
            )
        host = GitHubRuns(github_api(ci_api, deadline_s=ASKED_S))
        return host.contradicts(identity["claims"], request)


def runner_key(workspace: Workspace) -> str:
    """The public key of whoever signs the ledger for this process."""
    address = given().notary
    if not address:
        return open_runner_key(workspace.root).public
    return str(_ask_engine(address, {"ask": "key"})["public"])


def _ask_engine(address: str, question: Mapping[str, Json]) -> Mapping[str, Json]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(address)
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(connection.makefile("rb").readline())
    except (OSError, ValueError) as error:
        raise RecordError(
            f"the engine does not answer when asked for {question['ask']}; nothing was begun",
            hint="Resume the run.",
        ) from error
    if "error" in answer:
        kind: type[GitOpsError] = getattr(errors, answer["error"])
        raise kind(answer["message"], hint=answer["hint"])
    return answer
