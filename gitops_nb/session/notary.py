"""Signs what a run did into its environment's ledger.

In a headless run the engine's process signs: the notebook's process asks it over a socket, and what is signed is what
the engine reads from the run's journal itself. In JupyterLab and behind plain papermill nobody stands behind the
notebook: its own process signs, and the record says so (``signer``).
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

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
from gitops_nb.record.commits import (
    TRAILER_JOURNAL,
    TRAILER_LEDGER,
    TRAILER_PLAN,
    TRAILER_RUN,
    TRAILER_START,
    signed_trailers,
)
from gitops_nb.record.consents import contradictions
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.identity import audience_of
from gitops_nb.record.keys import custody, open_runner_key
from gitops_nb.record.ledger import Entry, Ledger, Phase, ledger_name, size
from gitops_nb.record.statement import body_of, subjects_of
from gitops_nb.session.beginnings import was_asked
from gitops_nb.session.copies import send_run
from gitops_nb.session.held import forget
from gitops_nb.session.identity import prove_here
from gitops_nb.session.order import given
from gitops_nb.session.registers import register_end
from gitops_nb.session.signed_ends import is_signed, runner_keys
from gitops_nb.session.stores import reports_store

ANSWER_S = 120.0
CLOSED_S = 1.0
ASKED_S = 30.0
_PROVEN: list[Mapping[str, Json]] = []
"""Identities of this CI job that this process verified."""
_SIZES: dict[str, int] = {}
"""By run: how many records its ledger had when this process made it. None of those is about it."""
_QUESTION_BYTES = 1 << 20


def attest(workspace: Workspace, directory: Path, phase: Phase, *, signer: str) -> Entry:
    """Appends what a run's journal says to its ledger; a phase of an attempt that is there already is returned.

    Raises:
        Refused: A start was asked for, and the journal holds no decision that allows the plan.
        RecordError: Journal or ledger cannot be read or written.
        UnavailableError: The store of the ledger does not answer.
    """
    records, problems = journal.read(directory / journal.FILE)
    if problems:
        raise RecordError(f"{directory.name}: {problems[0]}", hint="Run `gitops-nb verify` on it.")
    state = fold(records)
    if phase is Phase.START:
        _refuse_unallowed(state)
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


def _refuse_unallowed(state: RunState) -> None:
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
            attest(workspace, directory, Phase.REQUESTED, signer=signer)
        elif state.ended:
            register_end(workspace, state, processes=LocalProcesses())
            attest(workspace, directory, Phase.END, signer=signer)
        send_run(workspace, directory)
    except (UnavailableError, ConflictError, ConfigurationError) as error:
        raise RecordError(
            f"{state.run} is {state.status}, and its record is complete only on this machine: {error.message}",
            hint="The next gitops-nb command in this workspace sends it.",
        ) from error
    forget(workspace, state.run)


def ask(workspace: Workspace, directory: Path) -> Mapping[str, Json]:
    """Has the ledger say that a run's effects begin; returns size and head of the ledger.

    Only a process that holds the runner's key does this itself; a notebook's asks the engine (see ``begin``).
    """
    return _start(workspace, directory, signer="session")


def begin(address: str) -> Mapping[str, Json]:
    """Has the engine begin a run that needs no approval: ``start`` is the register's, the rest the ledger's."""
    return _ask_engine(address, {"ask": "start"})


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
        return _prove(audience_of(digest(request)), issuer)
    return _ask_engine(address, {"ask": "identity", "request": dict(request)})


def _prove(audience: str, issuer: str) -> Mapping[str, Json]:
    found = prove_here(audience, issuer)
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


@contextmanager
def notary(workspace: Workspace, directory: Path, private: Path) -> Iterator[Path]:
    """Serves the run's notebook for the block; yields the socket's path.

    Args:
        workspace: Of the run.
        directory: Its run directory.
        private: A folder of mode 0700 with a short path.
    """
    address = private / "notary"
    begun = _Begun()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(address))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):  # shut down: the run is over
                while True:
                    connection, _ = listening.accept()
                    # A notebook that asks in no known form gets no answer; the next question does.
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), connection:
                        _serve(workspace, directory, connection, begun)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(CLOSED_S)


def _serve(workspace: Workspace, directory: Path, connection: socket.socket, begun: _Begun) -> None:
    """Answers the one question of a connection."""
    connection.settimeout(ANSWER_S)
    line = connection.makefile("rb").readline(_QUESTION_BYTES)
    question = json.loads(line or b"{}")
    asked = question if isinstance(question, dict) else {}
    answer = _answer(workspace, directory, asked, begun)
    connection.sendall(json.dumps(answer).encode() + b"\n")


@dataclass
class _Begun:
    """What an engine began for its notebook: the register's start, the plan, and the ledger's head then."""

    start: str = ""
    plan: str = ""
    ledger: str = ""
    realm: str = ""


def _begin(workspace: Workspace, directory: Path, begun: _Begun) -> Mapping[str, Json]:
    """Begins a run whose effects its notebook's process brings about; the engine asks everything itself.

    Raises:
        Refused: Its environment needs approval, or something else does not hold.
    """
    from gitops_nb.model import Decision, Plan, from_json
    from gitops_nb.record.runs import read_run
    from gitops_nb.session.consent import Consent
    from gitops_nb.session.warrant import Warrant

    state = read_run(directory)
    platform, request, parts = _asked(workspace, state)
    beyond = parts.beyond
    if beyond is None:
        raise Refused(f"{state.runbook} does not say what it may reach; nothing was begun")
    consent = Consent(workspace, platform, directory, _record_nothing)
    warrant = Warrant(
        workspace,
        platform,
        consent,
        lambda: read_run(directory),
        environment=request.environment,
        beyond=lambda plan: beyond(request, plan),
    )
    _refuse_unallowed(state)
    plan, decision = from_json(Plan, state.plan), from_json(Decision, dict(state.decision))
    if warrant.standing(plan).rules.approvals:
        raise Refused(
            f"{request.environment} needs approval: its effects are not brought about by a notebook's process"
        )
    told = warrant.begin(plan, decision.verdicts)
    signed = _start(workspace, directory, signer="engine")
    begun.start, begun.plan = str(told["start"]), plan.digest
    begun.ledger = ":".join(str(signed[part]) for part in ("size", "head", "genesis"))
    begun.realm = platform.trust.realm
    return {**signed, **told}


def _asked(workspace: Workspace, state: RunState) -> tuple[Any, Any, Any]:
    """Platform, request and slice of a run, from its parameters and the fleet that counts now."""
    from gitops_nb.catalog.load import load_catalog
    from gitops_nb.catalog.parameters import check
    from gitops_nb.model import Mode
    from gitops_nb.session.lifecycle import runbook_of
    from gitops_nb.session.platform import open_platform
    from gitops_nb.session.slices import Surroundings, slice_of

    catalog = load_catalog(workspace.runbooks)
    platform = open_platform(workspace, catalog, Mode(state.opened["mode"]))
    given_now = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in state.opened["parameters"].items()
    }
    checked = check(runbook_of(catalog, state.runbook), platform.fleet, given_now)
    parts = slice_of(state.runbook)
    now = datetime.now(UTC)
    around = Surroundings(workspace.root, workspace.reports, now, None, workspace.time_zone)
    return platform, parts.request(platform.fleet, checked, around), parts


def _identify(workspace: Workspace, directory: Path, request: Json) -> Mapping[str, Json]:
    """CI's identity for a request of this run, in an environment that needs no approval.

    Raises:
        Refused: It is about something else, or needs approval: then the executor asks for itself.
    """
    from gitops_nb.policy import rules_for
    from gitops_nb.record.runs import read_run

    state = read_run(directory)
    platform, asked, _ = _asked(workspace, state)
    rules = rules_for(platform.fleet, platform.policy, platform.trust, asked.environment)
    due = {
        "run": directory.name,
        "runbook": state.runbook,
        "parameters": state.opened["parameters"],
        "environment": asked.environment,
        "plan_digest": state.plan_digest,
        "requester": state.opened["requester"],
    }
    other = [name for name, value in due.items() if request.get(name) != value]
    if other or rules.approvals:
        what = f"another {other[0]}" if other else "an environment that needs approval"
        raise Refused(f"the request is about {what}; CI's identity was not asked for")
    return _prove(audience_of(digest(request)), rules.ci_issuer)


def _anchor(
    workspace: Workspace, directory: Path, question: Mapping[str, Json], begun: _Begun
) -> Mapping[str, Json]:
    """Signs the trailers of the commit that a run begun here makes; all but its parent the engine knows itself."""
    from gitops_nb.record.runs import read_run

    parent = str(question["parent"])
    if not begun.start or not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", parent):
        raise Refused("nothing was begun here that makes a commit on such a parent")
    said = {
        TRAILER_RUN: directory.name,
        TRAILER_PLAN: begun.plan,
        TRAILER_JOURNAL: read_run(directory).head,
        TRAILER_LEDGER: begun.ledger,
        TRAILER_START: begun.start,
    }
    signer = open_runner_key(workspace.root)
    return {"trailers": signed_trailers(said, parent, signer=signer, realm=begun.realm)}


def _record_nothing(*_: Any, **__: Any) -> NoReturn:
    raise RecordError("the engine only checks what a notebook recorded")


def _answer(
    workspace: Workspace, directory: Path, question: Mapping[str, Json], begun: _Begun
) -> Mapping[str, Json]:
    try:
        match question.get("ask"):
            case "start":
                return _begin(workspace, directory, begun)
            case "anchor":
                return _anchor(workspace, directory, question, begun)
            case "key":
                return {"public": open_runner_key(workspace.root).public}
            case "identity":
                return _identify(workspace, directory, question["request"])
            case _:
                return {"error": "RecordError", "message": "no such question", "hint": ""}
    except errors.GitOpsError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def _start(workspace: Workspace, directory: Path, *, signer: str) -> Mapping[str, Json]:
    entry = attest(workspace, directory, Phase.START, signer=signer)
    name = str(entry.predicate["ledger"]["name"])
    return {
        "ledger": name,
        "size": entry.seq + 1,
        "head": entry.hash,
        "genesis": open_ledger(workspace, name).genesis,
    }
