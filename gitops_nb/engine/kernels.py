"""The kernel process of one run: started, interrupted once, and gone in the end, with everything it started.

It talks over IPC; connection file and sockets lie in the run's private folder. It is a session and process group of its
own and dies with the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from gitops_nb.adapters import warden
from gitops_nb.session.order import Order

CLOSED_S = 2.0
"""How long an executor may take to let go of a run that nobody asks about any more."""
KILLED_S = 5.0
"""How long the end of a killed process is waited for."""
EXECUTOR = "executor"
"""The executor's socket in the private folder; its name appears when it listens."""
_CHANNELS = ("shell", "iopub", "stdin", "hb", "control")


class Child(Protocol):
    """A child process of ours."""

    @property
    def pid(self) -> int:
        """Its process id, also that of its group."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""


class Waiting(Protocol):
    """A kernel's process that waits for its order."""

    @property
    def child(self) -> Child:
        """The process."""

    def order(self, content: str) -> None:
        """Says what to serve, see ``kernel.obey``."""


class Telling(Waiting, Protocol):
    """A process that writes a journal, and tells its engine of each record."""

    @property
    def said(self) -> socket.socket:
        """Where it does so, see ``executor.serve_order``."""


class Kernel:
    """A kernel and its connection.

    Args:
        child: Its process.
        connection: The connection file that it was started with.
        log: What it wrote to its own standard error, mostly nothing.
        executor: The process that calls the verbs for it, where it does not do so itself.
    """

    def __init__(
        self, child: Child, connection: Path, log: Path, executor: Child | None = None
    ) -> None:
        self._child = child
        self._executor = executor
        self.connection = connection
        self._log = log

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it lives."""
        return self._child.poll()

    def listens(self) -> bool:
        """Whether its sockets are there."""
        return all(
            self.connection.with_name(f"k-{number}").exists()
            for number in range(1, len(_CHANNELS) + 1)
        )

    def last_words(self) -> str:
        """The last line that it wrote to its own standard error."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def executor_exit_code(self) -> int | None:
        """How the process that calls the verbs ended, where it is known to be gone; as ``exit_code``."""
        if self._executor is None:
            return None
        _await_end(self._executor.pid, KILLED_S)
        return self._executor.poll()

    def lacks_executor(self) -> bool:
        """Whether the process that calls the verbs ended before its socket was there: nobody would ever answer the notebook."""
        if self._executor is None or self._executor.poll() is None:
            return False
        return not self.connection.with_name(EXECUTOR).exists()

    def interrupt(self) -> None:
        """Sends SIGINT to the kernel alone: a command that it runs hears of it from its adapter, once."""
        if self.exit_code is None:
            os.kill(self._child.pid, signal.SIGINT)

    def runs_commands(self) -> bool:
        """Whether external commands of it still live; False where the system cannot tell."""
        pids = [child.pid for child in (self._child, self._executor) if child is not None]
        return any(_is_busy(command) for pid in pids for command in _children(pid))

    def kill(self) -> None:
        """Ends the kernel and what shares its process group, and waits for it.

        An executor ends by itself when nobody asks any more; one that does not is ended likewise.
        """
        _kill(self._child)
        if self._executor is not None:
            _await_end(self._executor.pid, CLOSED_S)
            _kill(self._executor)


def _kill(child: Child) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    _await_end(child.pid, KILLED_S)
    deadline = time.monotonic() + KILLED_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def _await_end(pid: int, patience_s: float) -> None:
    """Waits for the end of a child, where the system can tell it."""
    if sys.platform != "linux":
        return
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return  # somebody has waited for it already
    try:
        select.select((descriptor,), (), (), patience_s)
    finally:
        os.close(descriptor)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _is_busy(pid: int) -> bool:
    """Whether a child of the kernel is a command, or a warden with one.

    A warden that has ended left its command, and is waited for when that has ended too.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    name, _, rest = stat.rpartition(")")
    is_warden = name.partition("(")[2] == warden.NAME
    return not is_warden or rest.split()[0] == "Z" or bool(_children(pid))


def give_order(
    waiting: Waiting,
    private: Path,
    environment: Mapping[str, str],
    *,
    cwd: Path,
    told: Order,
    executor: Waiting | None = None,
) -> Kernel:
    """Has a waiting process serve a new connection.

    Args:
        waiting: The process; it gets one order.
        private: An empty folder of mode 0700, shorter than a socket's path may be.
        environment: All its variables.
        cwd: Its working directory; nobody else's changes.
        told: What decides about its run.
        executor: The process that calls the verbs for it; it has its order.
    """
    connection, log = _write_connection(private), private / "kernel.log"
    order = {
        "connection": str(connection),
        "log": str(log),
        "cwd": str(cwd),
        "environment": dict(environment),
        "order": asdict(told),
    }
    waiting.order(json.dumps(order))
    return Kernel(waiting.child, connection, log, executor.child if executor else None)


def _write_connection(private: Path) -> Path:
    """Writes the connection file of a new kernel; only this user can read it."""
    path = private / "kernel.json"
    ports = {f"{name}_port": number for number, name in enumerate(_CHANNELS, start=1)}
    content = {
        **ports,
        "transport": "ipc",
        "ip": str(private / "k"),
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        "kernel_name": "gitops_nb",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor with its mode
        json.dump(content, file)
    return path
