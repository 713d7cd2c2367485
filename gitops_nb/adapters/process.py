"""Runs external commands: argument lists, own process group, a total deadline, no inherited secrets, no orphans.

A command is started by a *warden*, a small process beside us that runs one command at a time (``warden``). A command that has
to stop is left by its warden: it gets SIGINT once, itself and not its group (OpenTofu below Terragrunt loses its state at the
second one); after the grace that its adapter declares the group gets TERM, then KILL. The same happens when we are killed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gitops_nb.adapters import warden
from gitops_nb.errors import TimedOut, UnavailableError
from gitops_nb.ports import Completed

_PASSED_ON = ("HOME", "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_RUNTIME_DIR", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")  # fmt: skip
"""Who vouches for a server is not among them: a proxy may carry what Git says, and not answer it."""
_CHUNK_BYTES = 64 * 1024
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_START = "import sys; sys.path.append(sys.argv[1]); import warden; warden.main()"
"""An imported module is there in compiled form, a script is compiled each time."""


class LocalProcesses:
    """Runs programs on this machine; implements ``ports.Processes``."""

    def __init__(self) -> None:
        self._kept_open: tuple[int, ...] = ()

    def keep_open(self, *descriptors: int) -> None:
        """See ``ports.Processes.keep_open``."""
        self._kept_open = descriptors

    def run(
        self,
        argv: tuple[str, ...],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        grace_s: float = 5.0,
        silence_s: float | None = None,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Completed:
        """See ``ports.Processes.run``. ``environment`` is added to a short list of inherited variables."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        request = {
            "argv": argv,
            "env": {**passed, **(environment or {})},
            "cwd": None if cwd is None else str(cwd),
            "grace_s": grace_s,
            "files": tuple(files),
        }
        kept = tuple(fd for fd in self._kept_open if _is_open(fd))
        deadline = time.monotonic() + timeout_s
        name = shown(argv)
        with _sealed(files.values()) as sealed, _free_warden() as free:
            inherited = (*sealed, *kept)
            with closing(_Command(free.socket, request, inherited, stdin=stdin)) as command:
                try:
                    command.follow(deadline, silence_s)
                finally:
                    command.stop()
            if command.is_late:
                raise TimedOut(
                    f"command timeout: {name} said nothing for {silence_s:g} s"
                    if silence_s is not None and time.monotonic() < deadline
                    else f"command timeout: {name} did not end within {timeout_s:g} s",
                    hint="Try again; it was stopped.",
                )
            if command.exit_code is None:
                raise UnavailableError(
                    f"{name} was interrupted: its warden was killed",
                    hint="Try again; it was stopped.",
                )
        if command.errno:
            raise UnavailableError(
                f"cannot start {argv[0]}: {os.strerror(command.errno)}",
                hint=f"Install {argv[0]}; see `gitops-nb doctor`.",
            )
        return Completed(
            argv=argv,
            exit_code=command.exit_code,
            output=bytes(command.output),
            stderr=command.stderr.decode(errors="replace"),
        )


def shown(argv: tuple[str, ...]) -> str:
    """A command in a sentence: its program and what that is asked for, without options, settings and paths.

    >>> shown(("git", "-c", "gc.auto=0", "--git-dir", "/x.git", "fetch", "origin"))
    'git fetch'
    """
    words = (word for word in argv[1:] if not word.startswith(("-", "/")) and "=" not in word)
    return " ".join((argv[0].rpartition("/")[2], *islice(words, 1)))


class _Warden:
    """Our end of the socket to a process that starts commands for us, one at a time."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-S", "-B", "-c", _START, str(Path(warden.__file__).parent)),
                env={},
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def is_there(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def close(self) -> None:
        """Lets it end; only now, for until then its command may be about to end."""
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)


def prepare() -> None:
    """Starts a warden ahead of the first command, which then need not wait for it."""
    _idle(os.getpid()).append(_Warden())


@contextmanager
def _sealed(contents: Iterable[bytes]) -> Iterator[tuple[int, ...]]:
    """Files without a name, which nobody can change any more: not even who may open what this user's processes have open."""
    with ExitStack() as kept:
        descriptors: list[int] = []
        for content in contents:
            descriptor = os.memfd_create("gitops-nb", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            kept.callback(os.close, descriptor)
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            if os.pread(descriptor, len(content) + 1, 0) != content:
                raise UnavailableError("a file of this process was changed while it was written")
            descriptors.append(descriptor)
        yield tuple(descriptors)


@cache
def _idle(_pid: int) -> list[_Warden]:
    """The wardens of this process that run no command; a forked child has its own."""
    idle: list[_Warden] = []

    def close() -> None:
        for one in idle:
            one.close()

    atexit.register(close)
    return idle


@contextmanager
def _free_warden() -> Iterator[_Warden]:
    """A warden for one command, an idle one or a new one."""
    idle = _idle(os.getpid())
    one = idle.pop() if idle else _Warden()
    if not one.is_there:  # somebody killed it meanwhile
        one.close()
        one = _Warden()
    try:
        yield one
    except BaseException:
        one.close()
        raise
    idle.append(one)


class _Command:
    """One running command: what goes into it and what comes out.

    Args:
        starter: The socket of its warden.
        request: What to run, see ``warden``.
        kept: Descriptors that it inherits beside its standard streams: its files first.
        stdin: Its standard input.
    """

    def __init__(
        self,
        starter: socket.socket,
        request: Mapping[str, Any],
        kept: tuple[int, ...],
        *,
        stdin: bytes,
    ) -> None:
        self.exit_code: int | None = None
        self.errno = 0
        self.is_late = False
        self.output, self.stderr, self._said = bytearray(), bytearray(), bytearray()
        self._pid = 0
        self._heard_s = time.monotonic()
        self._grace_s = float(request["grace_s"])
        self._starter = starter
        self._left = memoryview(stdin)
        theirs_in, self._stdin = os.pipe()
        output, theirs_out = os.pipe()
        stderr, theirs_err = os.pipe()
        self._sources = {output: self.output, stderr: self.stderr, starter.fileno(): self._said}
        self._selector = selectors.DefaultSelector()
        for source in self._sources:
            self._selector.register(source, selectors.EVENT_READ)
        os.set_blocking(self._stdin, False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        theirs = (theirs_in, theirs_out, theirs_err)
        message = warden.framed(dict(request))
        try:
            # A warden that somebody kills just now says nothing, which is noticed below.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sent = socket.send_fds(starter, [message], (*theirs, *kept))
                starter.sendall(message[sent:])
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def follow(self, deadline: float, silence_s: float | None = None) -> None:
        """Serves its streams until it has ended and closed them, its time is over, or it was silent for too long."""
        while self._selector.get_map() and not self.is_late and not self._is_left():
            until = deadline if silence_s is None else min(deadline, self._heard_s + silence_s)
            self.is_late = not self._serve(until)

    def stop(self) -> None:
        """Ends what has not ended: its warden leaves it and sees to its end; if that was killed, we do."""
        if self.exit_code is None:
            with contextlib.suppress(OSError):
                self._starter.shutdown(socket.SHUT_WR)
            until = time.monotonic() + self._grace_s + warden.TERM_S + 1
            while not self._is_left() and self._serve(until):
                """Its pipes are read: a command that blocks on a full one could not end in good order."""
        if self._pid and (self.exit_code is None or self._selector.get_map()):
            warden.end_group(self._pid, self._grace_s if self.exit_code is None else 0)

    def close(self) -> None:
        """Closes our ends of its streams."""
        for descriptor in (self._stdin, *self._sources):
            if descriptor in self._selector.get_map():
                self._end(descriptor)
        self._selector.close()

    def _is_left(self) -> bool:
        """Whether its warden is gone and did not say how it ended."""
        return self.exit_code is None and self._starter.fileno() not in self._selector.get_map()

    def _serve(self, until: float) -> bool:
        """Waits for the next thing to happen and takes it; whether it happened in time."""
        ready = self._selector.select(max(0.0, until - time.monotonic()))
        for key, _ in ready:
            if key.fd == self._stdin:
                self._write()
            else:
                self._read(key.fd)
        return bool(ready) and time.monotonic() < until

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                self._left = self._left[os.write(self._stdin, self._left[:_CHUNK_BYTES]) :]
            except BrokenPipeError:
                self._left = self._left[:0]
        if not self._left:
            self._end(self._stdin)

    def _read(self, source: int) -> None:
        content = os.read(source, _CHUNK_BYTES)
        self._sources[source] += content
        self._heard_s = time.monotonic()
        if source == self._starter.fileno():
            self._listen()
        if not content:
            self._end(source)

    def _listen(self) -> None:
        """What the warden said."""
        *lines, rest = self._said.split(b"\n")
        self._said[:] = rest
        for word, number in (line.split() for line in lines):
            match word:
                case b"began":
                    self._pid = int(number)
                case b"failed":
                    self.errno = int(number)
                case _:
                    self.exit_code = int(number)
                    self._selector.unregister(self._starter)

    def _end(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        if descriptor != self._starter.fileno():
            os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
