"""Many runs from one preloaded process: a fresh fork for each run, and one for its kernel; none is used twice.

The process that forks has imported what a run needs and has started no threads of its own. Nothing stays when it ends: its
forks die with it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from gitops_nb import executor, kernel
from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.engine.signals import Signals
from gitops_nb.errors import ExitCode
from gitops_nb.imports import skip_headless_imports, uncollected
from gitops_nb.model import Decision, Mode, Outcome, Plan, reader
from gitops_nb.policy import Requester
from gitops_nb.record.keys import forget_given_key
from gitops_nb.report.layout import preload_templates
from gitops_nb.session.endings import Cause
from gitops_nb.session.slices import slice_of

LOOKED_AT_EVERY_S = 0.5
"""How late a fork that was killed is noticed when something else holds its pipe."""
_NEEDED = (
    *kernel.NEEDED,
    "IPython.core.completerlib",
    "IPython.core.logger",
    "IPython.core.magics",
    "IPython.extensions.storemagic",
    "pydantic.type_adapter",
    "sqlite3",
    "IPython.core.completer",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "nbformat.v4",
    "gitops_nb.engine.client",
    "gitops_nb.report.files",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.serialization",
)
_NEEDED_LIVE = ("gitops_nb.adapters.kubernetes",)
_READ = (Plan, Decision, Outcome, Requester)
_NEEDED_BY = {"dora": ("pandas", "plotly.graph_objects", "duckdb", "ibis", "pyarrow.parquet")}


def preload(runbook: str, mode: Mode) -> None:
    """Imports what a run of this runbook imports, once for all forks."""
    skip_headless_imports()
    needed_here = _NEEDED_LIVE if mode is Mode.LIVE else ()
    with uncollected():
        slice_of(runbook)
        for name in (*_NEEDED, *_NEEDED_BY.get(runbook, ()), *needed_here):
            importlib.import_module(name)
        preload_templates()
        for kind in _READ:
            reader(kind)
        _preload_signatures()
        kernel.application()
        # By name, as the other modules: it is above this one.
        importlib.import_module("gitops_nb.notebook.cards").preload_values()


def _preload_signatures() -> None:
    """OpenSSL sets itself up at the first key that it is given; this one signs nothing."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(b"")


class Fork:
    """A forked child of this process; implements ``kernels.Child``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self) -> None:
        """Waits for its end."""
        if self._code is None:
            _, status = os.waitpid(self._pid, 0)
            self._code = os.waitstatus_to_exitcode(status)


class KernelFork:
    """A kernel process forked ahead, before this process has threads. Implements ``kernels.Waiting``."""

    def __init__(self) -> None:
        read, self.pipe = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(self.pipe)
            _serve_kernel(read)
        os.close(read)
        self.child = Fork(pid)

    def order(self, content: str) -> None:
        """See ``kernels.Waiting``."""
        with open(self.pipe, "w", encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
            pipe.write(content)


class ExecutorFork:
    """The same for the process that calls the verbs. Implements ``kernels.Telling``.

    Args:
        beside: The kernel's process; this one lets go of its pipe, or its order would never end.
    """

    def __init__(self, beside: KernelFork) -> None:
        read, self._pipe = os.pipe()
        self.said, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            os.close(self._pipe)
            os.close(beside.pipe)
            self.said.close()
            _serve(read, partial(executor.serve_order, engine=theirs.detach()))
        os.close(read)
        theirs.close()
        self.child = Fork(pid)

    def order(self, content: str) -> None:
        """See ``kernels.Waiting``."""
        with open(self._pipe, "w", encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
            pipe.write(content)


def _serve_kernel(pipe: int) -> NoReturn:
    """The life of a forked kernel, until somebody ends it; it has nothing to sign."""
    forget_given_key()
    _serve(pipe, kernel.obey)


def _serve(pipe: int, obey: Callable[[int], None]) -> NoReturn:
    """The life of a forked process of a run."""
    os.setsid()
    die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        obey(pipe)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True, slots=True)
class Place:
    """What a fork works with.

    Args:
        kernel: The process for its kernel.
        executor: The process for its verbs, where somebody has to approve.
        signals: Those of the fork, entered.
        leave: Leaves the fork's place to the next one while it comes to its end.
    """

    kernel: KernelFork
    executor: ExecutorFork | None
    signals: Signals
    leave: Callable[[], None]


Work = Callable[[int, Place], str]
_BEGIN, _LEFT = b"!", b"\n"


def run_each(
    count: int, work: Work, *, workers: int, signals: Signals, executes: bool = False
) -> Iterator[tuple[int, str]]:
    """Calls ``work`` once for each number below ``count``, each in a fork of its own.

    The next fork waits ready with its kernel while there is no place for it yet.

    Args:
        count: How many.
        work: Runs in the fork; returns a short text.
        workers: How many forks have a place at once; no more than that have left theirs and not ended.
        executes: Whether each needs a process for its verbs.
        signals: Entered by the caller; the first one is passed on to the forks once, and no further one begins.

    Yields:
        Number and text, in the order of their ends; "" for a fork that died.
    """
    waiting = list(range(count))
    forks: dict[int, _Worker] = {}
    ready: dict[int, _Worker] = {}

    def pass_on(cause: Cause) -> None:
        waiting.clear()
        number = signal.SIGINT if cause.code is ExitCode.INTERRUPTED else signal.SIGTERM
        for worker in forks.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def has_place() -> bool:
        placed = sum(1 for worker in forks.values() if not worker.has_left)
        return placed < workers and len(forks) < 2 * workers

    signals.when_received(pass_on)
    try:
        while waiting or forks:
            if waiting and waiting[0] not in ready:
                ready[waiting[0]] = _fork(waiting[0], work, signals, executes=executes)
            if waiting and has_place():
                number = waiting.pop(0)
                forks[number] = ready.pop(number)
                forks[number].begin()
                continue
            answers = [worker.answer for worker in forks.values()]
            speaking, _, _ = select.select(answers, (), (), LOOKED_AT_EVERY_S)
            for number, worker in list(forks.items()):
                if worker.answer in speaking:
                    worker.listen()
                if worker.poll() is not None:
                    del forks[number]
                    yield number, worker.text()
    finally:
        signals.when_received(None)
        for worker in ready.values():
            worker.dismiss()


class _Worker(Fork):
    """A fork that begins when it is told to, says when its place is free, and then its text.

    One that says nothing more is about to be gone.
    """

    def __init__(self, pid: int, told: int, answer: int) -> None:
        super().__init__(pid)
        self.answer = answer
        self.has_left = False
        self._told = told
        self._said = b""

    def begin(self) -> None:
        """Lets it work."""
        _say(self._told, _BEGIN)
        os.close(self._told)

    def dismiss(self) -> None:
        """Lets one that was not told to begin end."""
        os.close(self._told)
        os.close(self.answer)
        self.wait()

    def listen(self) -> None:
        """Takes what it says, and waits for its end when that was all."""
        said = os.read(self.answer, select.PIPE_BUF)
        self._said += said
        self.has_left = self.has_left or said.startswith(_LEFT)
        if not said:
            self.wait()

    def text(self) -> str:
        """Its text, once it has ended."""
        with open(self.answer, "rb") as file:  # noqa: PTH123  a descriptor
            return (self._said + file.read()).removeprefix(_LEFT).decode()


def _fork(number: int, work: Work, signals: Signals, *, executes: bool) -> _Worker:
    heard, told = os.pipe()
    read, write = os.pipe()
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signals.when_received(None)
            os.close(told)
            os.close(read)
            # A session of its own: what Ctrl-C sends to the terminal's group comes from the parent, once.
            os.setsid()
            die_with_parent(signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(code)  # it died before that was asked for
            with Signals() as own:
                beside = KernelFork()
                place = Place(
                    beside,
                    ExecutorFork(beside) if executes else None,
                    own,
                    lambda: _say(write, _LEFT),
                )
                if os.read(heard, 1):
                    _say(write, work(number, place).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(heard)
    os.close(write)
    return _Worker(pid, told, read)


def _say(pipe: int, text: bytes) -> None:
    """Nobody listens when the process that forked this one was killed; a run closes its record all the same."""
    with contextlib.suppress(BrokenPipeError):
        while text:
            text = text[os.write(pipe, text) :]
