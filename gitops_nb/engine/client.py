"""The notebook client of a headless run: sends cells to a kernel that the engine started, and takes their outputs.

What an output message does to a notebook is nbclient's. Its loop is not used: it makes several tasks for every message, and
it answers a signal by killing the kernel. This one has a single thread and takes one message after the other.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zmq
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat import NotebookNode

from gitops_nb.engine.document import Document
from gitops_nb.engine.kernels import Kernel

READY_S = 120.0
WOKEN_EVERY_S = 0.05
LATE_OUTPUTS_S = 4.0
"""How long the outputs of a cell whose reply is here are waited for; nbclient's own patience."""
_KEPT = {
    "stream": ("name", "text"),
    "display_data": ("metadata", "data"),
    "execute_result": ("metadata", "data", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}
"""What a notebook keeps of each kind of output message."""
_TIMES = {"busy": "iopub.status.busy", "idle": "iopub.status.idle"}


class KernelGone(Exception):
    """The kernel ended, never became ready, or lost a reply to an interrupt; journal and exit code say more."""


class Connection:
    """Shell and output channel of a kernel, without threads of our own.

    Args:
        file: The kernel's connection file.
    """

    def __init__(self, file: Path) -> None:
        found = json.loads(file.read_text(encoding="utf-8"))
        self.session = Session(key=found["key"].encode())
        self._context = zmq.Context()
        self._shell = self._context.socket(zmq.DEALER)
        self._shell.identity = self.session.bsession
        self._output = self._context.socket(zmq.SUB)
        self._output.subscribe(b"")
        self._poller = zmq.Poller()
        for socket, port in ((self._shell, "shell_port"), (self._output, "iopub_port")):
            socket.linger = 0
            socket.connect(f"ipc://{found['ip']}-{found[port]}")
            self._poller.register(socket, zmq.POLLIN)

    def ask(self, kind: str, content: dict[str, Any] | None = None) -> str:
        """Sends a request; returns its id, by which its answers are known."""
        message = self.session.msg(kind, content or {})
        self.send(message)
        return str(message["header"]["msg_id"])

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message that the session made."""
        self.session.send(self._shell, message)

    def receive(self, wait_s: float) -> Iterator[tuple[bool, dict[str, Any]]]:
        """What has arrived, after waiting for the first of it; whether it is a reply (or an output), and the message."""
        ready = dict(self._poller.poll(int(wait_s * 1000)))
        for socket in (self._output, self._shell):
            if socket in ready:
                yield socket is self._shell, self._read(socket.recv_multipart())

    def close(self) -> None:
        """Closes both channels."""
        self._context.destroy(linger=0)

    def _read(self, frames: Any) -> dict[str, Any]:
        # What Session.deserialize does, but for the reading of dates, which costs as much as all the rest.
        found: Any = self.session.feed_identities(frames)[1]
        signature, *parts = found
        if not hmac.compare_digest(self.session.sign(parts[:4]), signature):
            raise KernelGone("a message of the kernel is not signed with its key")
        header, parent, metadata, content = map(self.session.unpack, parts[:4])
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": parent,
            "metadata": metadata,
            "content": content,
            "buffers": parts[4:],
        }


class Client(NotebookClient):
    """Executes cells of a document. Signals, timeouts and the kernel's life are the engine's.

    Args:
        document: Where outputs go.
        kernel: Serves its connection file already, or will.
        turn: Called many times a second, whatever is waited for; what it raises ends the waiting.
        meanwhile: Done one after the other while the kernel is not there yet.
    """

    def __init__(
        self,
        document: Document,
        kernel: Kernel,
        turn: Callable[[], None],
        meanwhile: Sequence[Callable[[], object]] = (),
    ) -> None:
        super().__init__(
            document.notebook,
            timeout=None,
            store_widget_state=False,
            record_timing=False,
            # By default it takes an application's logger, which makes a record of every message before it is dropped.
            log=logging.getLogger(__name__),
        )
        self._document = document
        self._kernel = kernel
        self._turn = turn
        self._meanwhile = iter(meanwhile)
        self._connection: Connection | None = None
        self._probe = ""
        self._shown_error: dict[str, Any] = {}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Context of a ready kernel.

        Raises:
            KernelGone: It ended, or did not answer in time.
        """
        deadline = time.monotonic() + READY_S
        # A connection that comes too early is tried again after 100 ms only.
        while not self._kernel.listens():
            self._go_on(deadline)
            next(self._meanwhile, _rest)()
        self.reset_execution_trackers()
        self._connection = Connection(self._kernel.connection)
        # Output widgets, which nbclient plays the frontend of, answer the kernel and write their state here.
        channel = SimpleNamespace(send=self._connection.send)
        self.kc: Any = SimpleNamespace(session=self._connection.session, shell_channel=channel)
        self.widget_state = defaultdict(dict)
        try:
            info = self._become_ready(self._connection, deadline)
            self.nb.metadata["language_info"] = info["language_info"]
            yield
        finally:
            self._connection.close()

    def executes(self, cell: Any) -> bool:
        """Whether there is something to execute in a cell."""
        is_skipped = self.skip_cells_with_tag in cell.metadata.get("tags", [])
        return bool(cell.cell_type == "code" and cell.source.strip() and not is_skipped)

    def run_cell(self, cell: Any, index: int) -> dict[str, Any]:
        """Executes a code cell; returns the content of the kernel's reply.

        Raises:
            KernelGone: The kernel ended meanwhile.
        """
        assert self._connection is not None
        cell.outputs = []
        self._shown_error = {}
        self.clear_before_next_output = False
        cell.metadata["execution"] = {}
        request = self._connection.ask(
            "execute_request",
            {
                "code": cell.source,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": not self.may_raise(cell),
            },
        )
        self.code_cells_executed += 1
        content = self._follow(self._connection, request, cell, index)
        cell["execution_count"] = self.code_cells_executed
        return content if content["status"] == "ok" else self._named(content)

    def _named(self, content: dict[str, Any]) -> dict[str, Any]:
        """A reply that tells of a failure, with the exception that its cell showed where the reply itself names none.

        What is raised while a value shows itself (``_repr_html_``) reaches a reply as "NoneType: None".
        """
        unnamed = {"ename": "the cell was not executed", "evalue": "", "traceback": []}
        if content.get("ename", "NoneType") == "NoneType":
            return {**unnamed, **content, **(self._shown_error or unnamed)}
        return {**unnamed, **content}

    def probe(self) -> None:
        """Asks an interrupted kernel something easy: its answer says that the cell is over, whether that was answered or not.

        An interrupt that comes when the code has ended and its reply is not sent takes the reply away.
        """
        if self._connection is not None:
            self._probe = self._connection.ask("kernel_info_request")

    @staticmethod
    def may_raise(cell: Any) -> bool:
        """Whether a cell says that its exception ends nothing."""
        return "raises-exception" in cell.metadata.get("tags", [])

    def _follow(
        self, connection: Connection, request: str, cell: Any, index: int
    ) -> dict[str, Any]:
        """Takes everything that belongs to a request until its reply is here and its outputs are complete."""
        reply: dict[str, Any] | None = None
        is_idle = False
        until = float("inf")
        while reply is None or (not is_idle and time.monotonic() < until):
            is_quiet = True
            for is_reply, message in connection.receive(WOKEN_EVERY_S):
                is_quiet = False
                asked = message["parent_header"].get("msg_id")
                if is_reply and asked == self._probe:
                    if reply is None:
                        raise KernelGone
                    is_idle = True
                if asked != request:
                    continue
                self._document.touch(cell)
                if is_reply:
                    reply = message["content"]
                    until = time.monotonic() + LATE_OUTPUTS_S
                    cell.metadata["execution"]["shell.execute_reply"] = message["header"]["date"]
                else:
                    is_idle = self._take(message, cell, index) or is_idle
            # What a kernel sent before it ended comes first.
            self._go_on(float("inf"), looks=is_quiet)
        return reply

    def _take(self, message: dict[str, Any], cell: Any, index: int) -> bool:
        """Takes one message on the output channel; whether it was the last one of its cell."""
        kind, content = message["msg_type"], message["content"]
        name = _TIMES.get(content.get("execution_state", "")) if kind == "status" else ""
        if kind == "error":
            self._shown_error = {k: content[k] for k in _KEPT["error"] if k in content}
        if name or kind == "execute_input":
            cell.metadata["execution"][name or "iopub.execute_input"] = message["header"]["date"]
        try:
            self.process_message(message, cell, index)
        except CellExecutionComplete:
            return True
        return False

    def _go_on(self, deadline: float, *, looks: bool = True) -> None:
        """Raises when there is nothing to wait for any more."""
        self._turn()
        if looks and (self._kernel.exit_code is not None or time.monotonic() > deadline):
            raise KernelGone

    def _become_ready(self, connection: Connection, deadline: float) -> dict[str, Any]:
        """Waits until the kernel has answered on both channels; the answer.

        One that subscribed too late for the first answer asks again.
        """
        info: dict[str, Any] | None = None
        while True:
            connection.ask("kernel_info_request")
            until = time.monotonic() + 1
            has_output = False
            while time.monotonic() < until:
                for is_reply, message in connection.receive(WOKEN_EVERY_S):
                    if is_reply:
                        info = message["content"]
                        until = min(until, time.monotonic() + 0.1)
                    has_output = has_output or not is_reply
                if info is not None and has_output:
                    return info
                self._go_on(deadline)

    def output(self, outs: Any, msg: Any, display_id: str | None, cell_index: int) -> Any:
        """Appends an output. Nbclient's own way checks each against a schema, at the price of everything else together."""
        if self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            return super().output(outs, msg, display_id, cell_index)
        found = _node(msg)
        if found is None:
            return None
        if self.clear_before_next_output:
            outs[:] = []
            self.clear_display_id_mapping(cell_index)
            self.clear_before_next_output = False
        if display_id:
            places = self._display_id_map.setdefault(display_id, {}).setdefault(cell_index, [])
            places.append(len(outs))
        outs.append(found)
        return found

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        """Puts what a display shows now in place of what it showed, in whichever cells it stands."""
        content = msg["content"]
        for index, places in self._display_id_map.get(display_id, {}).items():
            cell = self.nb["cells"][index]
            self._document.touch(cell)
            for place in places:
                cell["outputs"][place]["data"] = content["data"]
                cell["outputs"][place]["metadata"] = content["metadata"]


def _rest() -> None:
    time.sleep(0.005)  # files tell no event


def _node(message: dict[str, Any]) -> NotebookNode | None:
    kind, content = message["msg_type"], message["content"]
    if kind not in _KEPT:
        return None
    kept = {name: content[name] for name in _KEPT[kind] if name in content}
    return NotebookNode(output_type=kind, **kept)
