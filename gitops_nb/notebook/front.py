"""JupyterLab, papermill or a plain interpreter as the place where a session is shown."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.model import Decision, Mode, parse_time
from gitops_nb.notebook.cards import register_formatters
from gitops_nb.notebook.guard import guard_kernel
from gitops_nb.notebook.panel import Panel, SecondPerson, wait_for_decision
from gitops_nb.notebook.place import is_interactive, running_shell
from gitops_nb.notebook.progress import Progress
from gitops_nb.notebook.remote import RemoteSession, open_remote
from gitops_nb.policy import is_same_person
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import Record
from gitops_nb.record.signatures import key_of, public_key
from gitops_nb.redaction import process_redactor
from gitops_nb.session import Session
from gitops_nb.session import open_session as open_session_in
from gitops_nb.session.order import given


class NotebookFront:
    """Shows a session in the cells of a notebook; implements ``session.Front``."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def follow(self, session: Session) -> None:
        """Shows the steps of this session from now on."""
        self._progress = Progress(lambda: session.state, zone=session.workspace.time_zone)

    @property
    def is_interactive(self) -> bool:
        """True when a person sits in front and may be waited for."""
        return is_interactive()

    def on_record(self, record: Record) -> None:
        """Moves the progress on."""
        if self._progress is not None:
            self._progress.on_record(record)

    async def wait(
        self, session: Session, poll: Callable[[], Decision | None], timeout_s: float
    ) -> Decision | None:
        """Shows the panel until somebody answers or the request ends."""
        panel = Panel(
            session.state,
            zone=session.workspace.time_zone,
            second_person=second_person(session),
        )
        panel.show()
        return await wait_for_decision(panel, poll, timeout_s)


def open_session(runbook: str, **parameters: Any) -> Session:
    """Opens a run in this notebook; see ``gitops_nb.session.open_session`` for arguments and errors.

    From here on plans, decisions, outcomes and the run itself show themselves at the end of a cell.
    """
    front = NotebookFront()
    unknown = {name: None for name in injected_names() if name not in parameters}
    guard_kernel(running_shell(), process_redactor())
    session = open_session_in(
        runbook, front=front, elsewhere=partial(_open_elsewhere, front), **parameters, **unknown
    )
    front.follow(session)
    show_values(session)
    return session


def _open_elsewhere(
    front: NotebookFront, workspace: Workspace, mode: Mode, runbook: str, parameters: Any
) -> RemoteSession:
    return open_remote(workspace, mode, runbook, parameters, front=front)


def injected_names() -> tuple[str, ...]:
    """Names that papermill bound in its injected cell; a name that no runbook declares is a typing error.

    papermill itself only warns about one, and the run would go on with the default.
    """
    shell = running_shell()
    names: list[str] = []
    for source in shell.user_ns.get("In", ()) if shell else ():
        if source.startswith("# Parameters\n"):
            targets = [
                t for s in ast.parse(source).body if isinstance(s, ast.Assign) for t in s.targets
            ]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return tuple(names)


def show_values(session: Session | RemoteSession) -> None:
    """Registers the cards of the values that this session's cells return."""
    register_formatters(
        running_shell(),
        zone=session.workspace.time_zone,
        sessions=(Session, RemoteSession),
        state=lambda value: value.state,
        report=lambda run: report_link(session.directory, run),
    )


def report_link(directory: Path, run: RunState) -> str:
    """Link to the report from the folder of the running notebook; "" before there is a report.

    A headless run keeps its notebook beside the report, and the engine writes that when the kernel has ended.
    """
    comes_later = given().is_supervised and bool(run.ended)
    if run.run != directory.name or not (comes_later or (directory / "report.html").is_file()):
        return ""
    if not is_interactive():
        return "report.html"
    return Path(os.path.relpath(directory / "report.html")).as_posix()


def second_person(session: Session) -> SecondPerson | None:
    """Whom the panel's buttons sign for.

    In the sandbox that is its approver. In live mode it is whoever sits in front, and only with a key that asks for
    each use: any cell could make another one sign unseen. Else there are no buttons, and the panel shows the command.
    """
    platform = session.platform
    key = platform.signing_key
    name = platform.second_person or _present_person(session)
    if not name or key is None:
        return None

    def answer(kind: str, reason: str = "") -> None:
        state = session.state
        sign_answer(
            session.directory,
            processes=session.platform.processes,
            key=key,
            run=state.run,
            subject=state.request_digest,
            answer=kind,
            person=name,
            at=datetime.now(UTC),
            expires=parse_time(state.request["expires"]),
            reason=reason,
            realm=platform.trust.realm,
        )

    return SecondPerson(
        name,
        lambda: answer("approve"),
        lambda reason: answer("reject", reason=reason),
        asks_each_time=not platform.second_person,
    )


def _present_person(session: Session) -> str:
    """The approver in front of a live notebook, when their key asks for each use and they are not the requester."""
    platform, rules = session.platform, session.rules
    if platform.signing_key is None:
        return ""
    found = key_of(public_key(platform.signing_key, platform.processes), rules.trust.persons)
    if found is None or not found[1].asks_each_time:
        return ""
    person = found[0].person
    requester = str(session.state.opened["requester"]["name"])
    may = person in {approver.person for approver in rules.approvers}
    return person if may and not is_same_person(person, requester, rules.trust) else ""
