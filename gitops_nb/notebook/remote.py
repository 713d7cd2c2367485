"""A session whose verbs are called in another process: what a notebook holds of a run that needs approval."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ProcessGone, RecordError, Refused
from gitops_nb.executor import ExecutorProcess, order_text
from gitops_nb.model import Decision, Json, Mode, from_json, to_json
from gitops_nb.policy import Rules, rules_for
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE, Record
from gitops_nb.record.keys import taken_key
from gitops_nb.record.runs import read_run
from gitops_nb.session import Front
from gitops_nb.session.order import Order, given
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.private import private_folder
from gitops_nb.session.wire import Wire, raised

T = TypeVar("T")
STARTED_S = 60.0
VERBS_GONE = "the process that calls the verbs is gone"


class RemoteSession:
    """One run that another process holds; has what ``session.Session`` has for the cells of a notebook.

    Args:
        wire: The connection to that process.
        workspace: Of the run.
        mode: Sandbox or live.
        front: Where the run is shown.
        kept: Let go of when the session is closed.
    """

    def __init__(
        self,
        wire: Wire,
        workspace: Workspace,
        *,
        mode: Mode,
        front: Front,
        kept: contextlib.ExitStack,
    ) -> None:
        self.workspace = workspace
        self.mode = mode
        self._wire = wire
        self._front = front
        self._kept = kept
        self._run = ""
        self._read: tuple[tuple[int, ...], RunState] = ((), RunState())
        self._platform: Platform | None = None
        self._is_closed = False
        atexit.register(self.close)

    def open(self, runbook: str, parameters: Mapping[str, Any]) -> None:
        """Opens the run there.

        Raises:
            GitOpsError: What ``session.open_session`` raises.
        """
        opened = self._ask(
            call="open",
            runbook=runbook,
            parameters=to_json(parameters),
            is_interactive=self._front.is_interactive,
        )
        self._run = str(opened["run"])

    @property
    def run(self) -> str:
        """Id of the run."""
        return self._run

    @property
    def directory(self) -> Path:
        """Its run directory."""
        return self.workspace.reports / self._run

    @property
    def state(self) -> RunState:
        """What the journal says now."""
        if self._run:
            # A file of the same size may be another one.
            found = (self.directory / FILE).stat()
            mark = (found.st_ino, found.st_size, found.st_mtime_ns)
            if mark != self._read[0]:
                self._read = mark, read_run(self.directory)
        return self._read[1]

    @property
    def platform(self) -> Platform:
        """Handles that read, for the panel; opened when it is shown."""
        if self._platform is None:
            catalog = load_catalog(self.workspace.runbooks)
            self._platform = open_platform(self.workspace, catalog, self.mode)
        return self._platform

    @property
    def rules(self) -> Rules:
        """Fleet and policy for the environment of this run."""
        known = self.platform
        return rules_for(known.fleet, known.policy, known.trust, self.state.environment)

    def step(self, verb: Callable[..., T]) -> T:
        """Has one verb of the runbook called there; see ``session.Session.step``.

        Raises:
            Refused: It is a notebook's own callable.
        """
        self._refuse_strange(verb)
        value = self._ask(call="step", verb=verb.__name__)
        kind = typing.get_type_hints(verb)["return"]
        found: T = from_json(kind, value)
        return found

    async def gate(self, gates: Callable[..., Any]) -> Decision:
        """Has the gates asked there, and shows the panel while a person may answer; see ``session.Session.gate``."""
        self._refuse_strange(gates)
        self._wire.send(call="gate", verb=gates.__name__, is_interactive=self._front.is_interactive)
        said = self._listen()
        if "waiting" in said:
            try:
                answered = await self._front.wait(self, self._poll, float(said["waiting"]))  # type: ignore[arg-type]  # has what a front asks of a session
            except BaseException:
                # The person stopped the cell: the request stays open.
                self._wire.send(call="interrupt")
                self._listen()
                raise
            if answered is None:
                self._wire.send(call="give up")
            said = self._listen()
        return from_json(Decision, self._value(said))

    def finish(self) -> RunState:
        """Ends the run; see ``session.Session.finish``."""
        self._ask(call="finish")
        return self.state

    def secret(self, parameter: str) -> NoReturn:
        """Secrets of a run that needs approval are for its verbs.

        Raises:
            Refused: Always.
        """
        raise Refused(
            f"the value of {parameter} is not for a cell: this run needs approval, and its verbs get it elsewhere",
            hint="Let a verb of the runbook ask for `secrets`.",
        )

    def close(self) -> None:
        """Lets go of the run without ending it; the other process ends."""
        if not self._is_closed:
            self._is_closed = True
            atexit.unregister(self.close)
            with contextlib.suppress(OSError, RecordError, ProcessGone):
                self._ask(call="close")
            self._wire.close()
            self._kept.close()

    def _poll(self) -> Decision | None:
        self._wire.send(call="poll")
        said = self._listen()
        if "error" in said:
            raise raised(said)
        found = said.get("decision")
        return None if found is None else from_json(Decision, found)

    def _refuse_strange(self, verb: Callable[..., Any]) -> None:
        if not verb.__module__.startswith("gitops_nb."):
            raise Refused(
                f"{verb.__name__} is this notebook's own: the run needs approval, and calls nothing but its runbook's verbs",
                hint="Import it from the package, as the shipped notebook does.",
            )

    def _ask(self, **asked: Any) -> Any:
        self._wire.send(**asked)
        return self._value(self._listen())

    @staticmethod
    def _value(said: Mapping[str, Json]) -> Any:
        if said.get("error") == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if "error" in said:
            raise raised(said)
        return said.get("value")

    def _listen(self) -> Mapping[str, Json]:
        """The answer to what was asked; records and words that come before it are shown.

        An interrupt is passed on, and the other process says what it recorded of it.
        """
        is_interrupted = False
        while True:
            try:
                said = self._wire.receive()
            except KeyboardInterrupt:
                if is_interrupted:
                    raise
                is_interrupted = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._wire.peer, signal.SIGINT)
                continue
            if said is None:
                raise ProcessGone(
                    VERBS_GONE,
                    hint=f"Run `gitops-nb resume {self._run or 'last'}`: it finds out, and does nothing twice.",
                )
            if "record" in said:
                self._front.on_record(Record(**said["record"]))
            elif "text" in said:
                print(said["text"], end="")  # noqa: T201  what the verb printed
            elif is_interrupted and "error" not in said:
                raise KeyboardInterrupt
            else:
                return said


def open_remote(
    workspace: Workspace,
    mode: Mode,
    runbook: str,
    parameters: Mapping[str, Any],
    *,
    front: Front,
) -> RemoteSession:
    """Opens a run in the engine's executor, or in one of this process's own where no engine stands behind it.

    Raises:
        GitOpsError: What ``session.open_session`` raises.
        ProcessGone: It served somebody else before.
        RecordError: It does not come.
    """
    kept = contextlib.ExitStack()
    try:
        if given().executor:
            wire = _connect(Path(given().executor))
        else:
            _refuse_supervised()
            address, process = _own_executor(workspace, mode, kept)
            wire = _connect(address, process.child.poll)
        session = RemoteSession(wire, workspace, mode=mode, front=front, kept=kept)
        session.open(runbook, parameters)
    except BaseException:
        kept.close()
        raise
    return session


def _refuse_supervised() -> None:
    """Refuses an executor of one's own behind an engine that knew of nobody who has to approve: it would sign with its own key.

    Raises:
        Refused: An engine stands behind this process.
    """
    if given().is_supervised:
        raise Refused(
            "this run needs approval, and the command behind it was told of one that needs none",
            hint="Look at its record with `gitops-nb verify`, and start a new run.",
        )


def _own_executor(
    workspace: Workspace, mode: Mode, kept: contextlib.ExitStack
) -> tuple[Path, ExecutorProcess]:
    """Starts an executor for this process; it gets the runner's key, and this process forgets it."""
    private = kept.enter_context(private_folder(workspace.root))
    process = kept.enter_context(ExecutorProcess())
    address = private / "executor"
    process.order(
        order_text(
            address=address,
            log=private / "executor.log",
            environment=os.environ,
            told=asdict(_order_of_nobody(workspace, mode)),
            key=taken_key(),
        )
    )
    return address, process


def _order_of_nobody(workspace: Workspace, mode: Mode) -> Order:
    """What an executor is told where no command stands behind this process: where it works, and nothing that decides.

    Whatever lies in this process is the notebook's word. Breaking the glass, doing it again and going on with a run are a
    person's, who says so to a command.
    """
    return Order(
        workspace=str(workspace.root),
        reports=workspace.bucket or str(workspace.reports),
        mode=str(mode),
    )


def _connect(address: Path, ended: Callable[[], int | None] = lambda: None) -> Wire:
    """Waits for the socket; ``ended`` tells the exit code of who should make it, None while it lives or nobody here can tell."""
    deadline = time.monotonic() + STARTED_S
    with contextlib.ExitStack() as kept:
        connection = kept.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        while True:
            try:
                connection.connect(str(address))
            except ConnectionRefusedError as error:
                # It listens before its name is there, so nobody listens any more.
                raise ProcessGone(
                    "the process that calls the verbs served somebody else, and has ended",
                    hint="Only the cell that opens the session may ask it; run it again.",
                ) from error
            except OSError as error:
                _refuse_dead(ended())
                if time.monotonic() > deadline:
                    raise RecordError(
                        f"the process that calls the verbs does not answer: {error.strerror}",
                        hint="Run it again; nothing was begun.",
                    ) from error
                time.sleep(0.005)
            else:
                kept.pop_all()
                return Wire(connection, gone=VERBS_GONE)


def _refuse_dead(code: int | None) -> None:
    """Raises when the process that should listen has ended."""
    if code is None:
        return
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    raise ProcessGone(
        f"the process that calls the verbs {how} before it answered",
        hint="Run the cell again; nothing was begun.",
    )
