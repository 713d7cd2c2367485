"""The engine's side of a run's notebook: what its process asks, and what the engine signs or says for it.

What is asked about is read from the run's journal, which has to go on from what the command saw of it: mode, parameters and who
asks are the command's word, and no file's that the notebook's process can write.
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
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Json
from gitops_nb.record import journal
from gitops_nb.record.commits import (
    TRAILER_JOURNAL,
    TRAILER_LEDGER,
    TRAILER_PLAN,
    TRAILER_RUN,
    TRAILER_START,
    signed_trailers,
)
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.keys import open_runner_key
from gitops_nb.session.held import refuse_other_beginning, saw_end
from gitops_nb.session.notary import ANSWER_S, prove_for, refuse_unallowed, sign_start

CLOSED_S = 1.0
_QUESTION_BYTES = 1 << 20


@contextmanager
def notary(
    workspace: Workspace,
    directory: Path,
    private: Path,
    *,
    head: str,
    is_author: bool,
) -> Iterator[Path]:
    """Serves the run's notebook for the block; yields the socket's path.

    Args:
        workspace: Of the run.
        directory: Its run directory.
        private: A folder of mode 0700 with a short path.
        head: Hash of the newest record that the command saw of the run; what is asked about has to go on from there.
        is_author: The notebook's process writes the journal itself, and so says how the run stopped.
    """
    address = private / "notary"
    served = _Served(workspace, directory, head, is_author)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(address))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):  # shut down: the run is over
                while True:
                    connection, _ = listening.accept()
                    # A notebook that asks in no known form gets no answer; the next question does.
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), connection:
                        _serve(connection, served)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(CLOSED_S)


def _serve(connection: socket.socket, served: _Served) -> None:
    """Answers the one question of a connection."""
    connection.settimeout(ANSWER_S)
    line = connection.makefile("rb").readline(_QUESTION_BYTES)
    question = json.loads(line or b"{}")
    asked = question if isinstance(question, dict) else {}
    connection.sendall(json.dumps(_answer(served, asked)).encode() + b"\n")


@dataclass
class _Served:
    """A run whose notebook is served, and what was begun for it: the register's start, the plan, and the ledger's head then."""

    workspace: Workspace
    directory: Path
    head: str
    is_author: bool
    start: str = ""
    plan: str = ""
    ledger: str = ""
    realm: str = ""

    def state(self) -> RunState:
        """What the journal says now.

        Raises:
            Refused: It is not the one that the command saw, gone on with.
        """
        records, _ = journal.read(self.directory / journal.FILE)
        refuse_other_beginning(self.directory.name, records, self.head)
        return fold(records)


def _begin(served: _Served) -> Mapping[str, Json]:
    """Begins a run whose effects its notebook's process brings about; the engine asks everything itself.

    Raises:
        Refused: Its environment needs approval, or something else does not hold.
    """
    from gitops_nb.model import Decision, Plan, from_json
    from gitops_nb.session.consent import Consent
    from gitops_nb.session.warrant import Warrant

    workspace, directory = served.workspace, served.directory
    if not served.is_author:
        raise Refused(
            "this notebook's process brings about no effects; another one does, and signs"
        )
    state = served.state()
    platform, request, parts = _asked(workspace, state)
    beyond = parts.beyond
    if beyond is None:
        raise Refused(f"{state.runbook} does not say what it may reach; nothing was begun")
    consent = Consent(workspace, platform, directory, _record_nothing)
    warrant = Warrant(
        workspace,
        platform,
        consent,
        served.state,
        environment=request.environment,
        beyond=lambda plan: beyond(request, plan),
    )
    refuse_unallowed(state)
    plan, decision = from_json(Plan, state.plan), from_json(Decision, dict(state.decision))
    if warrant.standing(plan).rules.approvals:
        raise Refused(
            f"{request.environment} needs approval: its effects are not brought about by a notebook's process"
        )
    told = warrant.begin(plan, decision.verdicts)
    signed = sign_start(workspace, directory, signer="engine", head=state.head)
    served.start, served.plan = str(told["start"]), plan.digest
    served.ledger = ":".join(str(signed[part]) for part in ("size", "head", "genesis"))
    served.realm = platform.trust.realm
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


def _identify(served: _Served, request: Json) -> Mapping[str, Json]:
    """CI's identity for a request of this run, in an environment that needs no approval.

    Raises:
        Refused: It is about something else, or needs approval: then the executor asks for itself.
    """
    from gitops_nb.policy import rules_for

    state = served.state()
    platform, asked, _ = _asked(served.workspace, state)
    rules = rules_for(platform.fleet, platform.policy, platform.trust, asked.environment)
    due = {
        "run": served.directory.name,
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
    return prove_for(request, rules.ci_issuer)


def _anchor(served: _Served, question: Mapping[str, Json]) -> Mapping[str, Json]:
    """Signs the trailers of the commit that a run begun here makes; all but its parent the engine knows itself."""
    parent = str(question["parent"])
    if not served.start or not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", parent):
        raise Refused("nothing was begun here that makes a commit on such a parent")
    said = {
        TRAILER_RUN: served.directory.name,
        TRAILER_PLAN: served.plan,
        TRAILER_JOURNAL: served.state().head,
        TRAILER_LEDGER: served.ledger,
        TRAILER_START: served.start,
    }
    signer = open_runner_key(served.workspace.root)
    return {"trailers": signed_trailers(said, parent, signer=signer, realm=served.realm)}


def _stopped(served: _Served, head: Json) -> Mapping[str, Json]:
    """Notes how a run stopped that its notebook's process writes itself.

    Raises:
        Refused: Another process writes it, and says so by a way of its own.
    """
    if not served.is_author:
        raise Refused(
            "this notebook's process does not write the record; another one says how it ends"
        )
    saw_end(served.workspace, served.directory.name, str(head))
    return {}


def _record_nothing(*_: Any, **__: Any) -> NoReturn:
    raise RecordError("the engine only checks what a notebook recorded")


def _answer(served: _Served, question: Mapping[str, Json]) -> Mapping[str, Json]:
    try:
        match question.get("ask"):
            case "start":
                return _begin(served)
            case "anchor":
                return _anchor(served, question)
            case "key":
                return {"public": open_runner_key(served.workspace.root).public}
            case "identity":
                return _identify(served, question["request"])
            case "stopped":
                return _stopped(served, question["head"])
            case _:
                return {"error": "RecordError", "message": "no such question", "hint": ""}
    except errors.GitOpsError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
