"""The process that calls the verbs of a run that needs approval. Started as ``python -P -m gitops_nb.executor``.

A notebook's process shows the run and asks for its steps; plan, gates and apply run here, with the runner's key and the
operator's credentials, which the notebook never gets. The engine starts it beside a headless run's kernel; JupyterLab's kernel
and plain papermill's start one of their own. It obeys one order, serves one connection, and ends with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gitops_nb.adapters.process import prepare
from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.ahead import ProcessAhead
from gitops_nb.errors import GitOpsError, ProcessGone, UsageError
from gitops_nb.imports import skip_headless_imports, uncollected
from gitops_nb.model import Decision, Json, to_json
from gitops_nb.record.journal import Record
from gitops_nb.record.keys import give_key
from gitops_nb.session.order import Order, given, obey
from gitops_nb.session.origins import hold_to
from gitops_nb.session.wire import NOTEBOOK_GONE, Wire, said_error

NEEDED = ("gitops_nb.session", "gitops_nb.promotion", "gitops_nb.sandbox")


class ExecutorProcess(ProcessAhead):
    """An executor started ahead. The runner's key is in its order, and not in its environment.

    ``said`` is where it tells its engine, and nobody else, of each record that it wrote (see ``serve_order``).
    """

    def __init__(self) -> None:
        self.said, theirs = socket.socketpair()
        with theirs:
            super().__init__(
                "gitops_nb.executor", without={"GITOPS_NB_RUNNER_KEY"}, output=theirs.fileno()
            )

    def __exit__(self, *ended: object) -> None:
        super().__exit__(*ended)
        self.said.close()


def order_text(
    *, address: Path, log: Path, environment: Mapping[str, str], told: Mapping[str, Json], key: str
) -> str:
    """What an executor is told.

    Args:
        address: Where its socket will be.
        log: Where its own words go.
        environment: All its variables.
        told: What decides about the run, see ``session.order.Order``.
        key: The runner's private key, where it is not a file; "" otherwise.
    """
    return json.dumps(
        {
            "address": str(address),
            "log": str(log),
            "environment": dict(environment),
            "order": dict(told),
            "key": key,
        }
    )


def main() -> None:
    """Waits for an order on standard input, and never lives longer than who started this."""
    die_with_parent(signal.SIGKILL, parent=int(sys.argv[1]))
    skip_headless_imports()
    with uncollected(), contextlib.suppress(ImportError):
        for name in NEEDED:
            importlib.import_module(name)
    # What is printed from here on belongs into its log.
    serve_order(0, os.dup(1))


def serve_order(pipe: int, engine: int) -> None:
    """Reads the order from a pipe, serves its connection, and ends.

    Args:
        pipe: Descriptor of the JSON of ``order_text``; when nothing comes there is no run, and this process ends.
        engine: Descriptor of a socket of the engine's. It is told the hash of each record of the journal, one a line: what the
            notebook's process writes into the file meanwhile is none of them. Closed where no engine stands behind the run.
    """
    prepare()
    with open(pipe, encoding="utf-8", closefd=False) as file:
        content = file.read()
    os.close(pipe)
    if not content:
        os._exit(0)
    order = json.loads(content)
    os.environ.clear()
    os.environ.update(order["environment"])
    _redirect(order["log"])
    give_key(order["key"])
    obey(Order(**order["order"]))
    said = socket.socket(fileno=engine)
    if given().is_supervised:
        hold_to(Path(given().workspace), given().pin)
    else:
        said.close()
    address = Path(order["address"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        building = address.with_name(f".{address.name}")
        listening.bind(str(building))
        listening.listen(1)
        building.rename(address)
        connection, _ = listening.accept()
    wire = Wire(connection, gone=NOTEBOOK_GONE, hint="Resume the run.")
    with contextlib.suppress(ProcessGone):
        _Served(wire, said).serve()


class _Told(io.TextIOBase):
    """What a verb prints goes to the notebook."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def write(self, text: str) -> int:
        self._wire.send(text=text)
        return len(text)

    def writable(self) -> bool:
        return True


class _Front:
    """The place where the session is shown is another process; implements ``session.Front``."""

    def __init__(self, wire: Wire, engine: socket.socket) -> None:
        self._wire = wire
        self._engine = engine
        self.is_interactive = False

    def on_record(self, record: Record) -> None:
        """Sends each record, its hash to the engine first: the notebook's process may be gone."""
        if self._engine.fileno() >= 0:
            with contextlib.suppress(OSError):  # the engine is gone, and this process follows it
                self._engine.sendall(f"{record.hash}\n".encode())
        self._wire.send(
            record={"seq": record.seq, "at": record.at, "kind": record.kind, "body": record.body,
                    "prev": record.prev, "hash": record.hash}
        )  # fmt: skip

    async def wait(
        self, _: Any, poll: Callable[[], Decision | None], timeout_s: float
    ) -> Decision | None:
        """Lets the notebook show its panel, and answers when it asks whether there is a decision."""
        self._wire.send(waiting=timeout_s)
        while True:
            asked = self._wire.receive()
            call = asked.get("call") if asked is not None else "interrupt"
            if call == "give up":
                return None
            if call != "poll":
                raise KeyboardInterrupt
            decision = poll()
            self._wire.send(decision=to_json(decision))
            if decision is not None:
                return decision


class _Served:
    """One notebook's session."""

    def __init__(self, wire: Wire, engine: socket.socket) -> None:
        self._wire = wire
        self._front = _Front(wire, engine)
        self._session: Any = None

    def serve(self) -> None:
        """Answers until the notebook's process closes the connection."""
        sys.stdout = _Told(self._wire)
        try:
            while (asked := self._wire.receive()) is not None:
                self._answer(asked)
        finally:
            if self._session is not None:
                self._session.close()

    def _answer(self, asked: Mapping[str, Json]) -> None:
        try:
            value = self._call(asked)
        except GitOpsError as error:
            self._wire.send(**said_error(error))
        except KeyboardInterrupt:
            self._wire.send(error="KeyboardInterrupt", message="interrupted", hint="")
        except Exception as error:  # noqa: BLE001  recorded by the step; the notebook shows it
            text = f"{type(error).__name__}: {error}"
            self._wire.send(error="GitOpsError", message=text, hint="See the run's report.")
        else:
            self._wire.send(value=to_json(value))

    def _call(self, asked: Mapping[str, Json]) -> Any:
        from gitops_nb.session.opening import open_session

        match asked.get("call"):
            case "open":
                told = given()
                if self._session is not None or not told.workspace:
                    raise UsageError("one run is opened here, in the workspace that was told")
                self._front.is_interactive = bool(asked["is_interactive"])
                parameters: dict[str, Any] = {
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in asked["parameters"].items()
                }
                self._session = open_session(
                    asked["runbook"],
                    # Where it works is told by who started this process, never by who asks it.
                    workspace=told.workspace,
                    reports=told.reports,
                    mode=told.mode,
                    front=self._front,
                    **parameters,
                )
                return {"run": self._session.run}
            case "step":
                return self._session.step(self._verb(str(asked["verb"])))
            case "gate":
                self._front.is_interactive = bool(asked["is_interactive"])
                return asyncio.run(self._session.gate(self._verb(str(asked["verb"]))))
            case "finish":
                self._session.finish()
                return None
            case "close":
                self._session.close()
                return None
        raise UsageError(f"{asked.get('call')!r} is no call")

    def _verb(self, name: str) -> Any:
        """A verb of the session's own slice, by its name: no other callable is ever called here."""
        found = {verb.__name__: verb for verb in self._session.verbs}
        if name not in found:
            raise UsageError(
                f"{name!r} is no verb of this runbook; there are {', '.join(found)}",
                hint="Use the cells of the shipped notebook.",
            )
        return found[name]


def _redirect(log: str) -> None:
    """Standard input from nowhere, standard output and error into a file."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, number in ((nowhere, 0), (output, 1), (output, 2)):
        if descriptor != number:
            os.dup2(descriptor, number)
            os.set_inheritable(number, True)


if __name__ == "__main__":
    main()
