"""JupyterLab, papermill or a plain interpreter as the place where a session is shown."""

from __future__ import annotations

import ast
import asyncio
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import WaitingForApproval
from gitops_nb.model import Decision, Mode
from gitops_nb.notebook.cards import NO_REPORT, Report, macro, register_formatters
from gitops_nb.notebook.guard import guard_kernel
from gitops_nb.notebook.panel import Panel, SecondPerson, wait_for_decision
from gitops_nb.notebook.place import is_interactive, new_place, running_shell
from gitops_nb.notebook.progress import Progress
from gitops_nb.notebook.remote import RemoteSession, open_remote
from gitops_nb.policy import is_same_person
from gitops_nb.record.approvals import keep_answer
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import Record
from gitops_nb.record.runs import read_run
from gitops_nb.record.signatures import key_of, public_key
from gitops_nb.redaction import process_redactor
from gitops_nb.report.text import Whole
from gitops_nb.session import Session
from gitops_nb.session import open_session as open_session_in
from gitops_nb.session.answering import (
    answer_to,
    refuse_other,
    refuse_second,
    refuse_unbound,
    refuse_unfit,
)
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
            look=lambda: read_run(session.directory),
            present=lambda: session.state,
        )
        panel.show()
        try:
            return await wait_for_decision(panel, poll, timeout_s)
        except (asyncio.CancelledError, KeyboardInterrupt):
            # The person stopped the cell; a traceback through our files would tell them nothing.
            run = session.state.run
            raise WaitingForApproval(
                f"this cell has stopped waiting; the card above says how {run} stands"
            ) from None


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
    _tell_new_run(session.run)
    return session


_SHOWN: list[str] = []
"""Runs that this kernel has shown, oldest first: one notebook may be run again and again."""


def _tell_new_run(run: str) -> None:
    """Says which run the cells show from here on, where this kernel has shown another one before."""
    before = _SHOWN[-1] if _SHOWN else ""
    _SHOWN.append(run)
    if before and is_interactive():
        text = f"From here on this notebook shows {run}. Cells that are not run again still show {before}."
        new_place()(macro("note_line", text=text), text)


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
        report=lambda run: report_of(session.directory, run),
    )


def report_of(directory: Path, run: RunState) -> Report:
    """The report of a run, as the reader of the running notebook can open it; nothing before there is one.

    A headless run keeps its notebook beside the report, and the engine writes that when the kernel has ended. JupyterLab
    follows a link only to what lies below the folder that it was started in, and to no hidden folder: elsewhere the card
    holds the page itself.
    """
    comes_later = given().is_supervised and bool(run.ended)
    path = directory / "report.html"
    if run.run != directory.name or not (comes_later or path.is_file()):
        return NO_REPORT
    if not is_interactive():
        return Report(link="report.html")
    root = server_root(running_shell())
    if root is not None and is_served(path, root):
        return Report(link=Path(os.path.relpath(path)).as_posix())
    return Report(path=str(path), page=Whole(path.read_text(encoding="utf-8")))


def is_served(path: Path, root: Path) -> bool:
    """Whether a server with this root folder gives a file to its readers."""
    try:
        inside = path.resolve().relative_to(root.resolve())
    except ValueError:
        return False
    return not any(part.startswith(".") for part in inside.parts)


def server_root(shell: Any) -> Path | None:
    """The folder that the Jupyter server of this kernel was started in, None where it does not say.

    Source: jupyter_server writes ``jpserver-PID.json`` beside the connection files of its kernels, and its process
    id into their environment as JPY_PARENT_PID.
    """
    kernel = getattr(shell, "kernel", None)
    file = getattr(getattr(kernel, "parent", None), "connection_file", "")
    number = os.environ.get("JPY_PARENT_PID", "")
    if not file or not number.isdecimal():
        return None
    try:
        said = json.loads((Path(file).parent / f"jpserver-{number}.json").read_bytes())
        return Path(said["root_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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

    def answer(shown: RunState, kind: str, reason: str = "") -> None:
        """As the commands answer: for what was shown, and only where that is still what the run asks for."""
        refuse_other(shown, session.directory)
        refuse_unbound(session.workspace, shown, platform)
        refuse_unfit(shown, platform, name, kind)
        refuse_second(shown, platform, session.directory, name, kind)
        content = answer_to(shown, platform, key=key, kind=kind, person=name, reason=reason)
        keep_answer(session.directory, kind, name, content)

    return SecondPerson(
        name,
        lambda shown: answer(shown, "approve"),
        lambda shown, reason: answer(shown, "reject", reason=reason),
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
