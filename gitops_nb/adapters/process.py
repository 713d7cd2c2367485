"""Runs external commands: argument lists, own process group, a total deadline, no inherited secrets, no orphans.

A command that has to stop gets SIGINT once, itself and not its group (OpenTofu below Terragrunt loses its state at the second
one); after the grace that its adapter declares the group gets TERM, then KILL. When we are killed, the warden, a small
process beside us, does the same. Linux could send that SIGINT itself (PDEATHSIG), but sends it once for each thread of
ours that dies: commands were seen to get two.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from gitops_nb.errors import TimedOut, UnavailableError
from gitops_nb.ports import Completed

_PASSED_ON = ("HOME", "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_RUNTIME_DIR", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip
TERM_S = 3.0
"""Between TERM and KILL."""
_PR_SET_PDEATHSIG = 1


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
    ) -> Completed:
        """See ``ports.Processes.run``. ``environment`` is added to a short list of inherited variables."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        passed |= environment or {}
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=passed,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[fd for fd in self._kept_open if _is_open(fd)],
            )
        except OSError as error:
            raise _not_started(argv[0], error.strerror) from error
        warden = _warden(os.getpid())
        warden.tell(f"begin {process.pid} {grace_s}")
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process, grace_s)
            raise TimedOut(
                f"command timeout: {' '.join(argv[:3])} did not end within {timeout_s:g} s",
                hint="Try again; it was stopped.",
            ) from error
        except BaseException:
            _end(process, grace_s)
            raise
        finally:
            warden.tell(f"end {process.pid}")
        return Completed(
            argv=argv,
            exit_code=process.returncode,
            output=stdout,
            stderr=stderr.decode(errors="replace"),
        )


def die_with_parent(number: signal.Signals) -> None:
    """Asks Linux to send this process a signal when its parent dies; elsewhere the parent has to be watched.

    The signal comes when the parent's thread ends that started us.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


class _Warden:
    """Our end of the pipe to the process that ends what we leave behind."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("warden.py")
        self._process = subprocess.Popen(
            (sys.executable, "-S", "-E", str(script)),
            env={},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tell(self, line: str) -> None:
        """Notes a begin or an end; a warden that somebody killed is no reason to stop."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._process.stdin.fileno(), f"{line}\n".encode())

    def close(self) -> None:
        """Lets go of the pipe."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)


@cache
def _warden(_pid: int) -> _Warden:
    """The warden of this process; a forked child has its own."""
    warden = _Warden()
    atexit.register(warden.close)
    return warden


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _not_started(program: str, reason: str | None) -> UnavailableError:
    return UnavailableError(
        f"cannot start {program}: {reason}", hint=f"Install {program}; see `gitops-nb doctor`."
    )


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ends a process and everything it started: SIGINT to it alone, TERM and KILL to its group."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    _drain(process, grace_s, lambda: process.poll() is None)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _tell_group(process.pid, number):
            break
        _drain(process, TERM_S, lambda: _tell_group(process.pid, 0))
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _drain(
    process: subprocess.Popen[bytes], patience_s: float, is_going_on: Callable[[], bool]
) -> None:
    """Waits, and reads the pipes meanwhile: a command that blocks on a full one could not end in good order."""
    until = time.monotonic() + patience_s
    while is_going_on() and time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.1)
            process.wait()
            time.sleep(0.02)


def _tell_group(group: int, number: int) -> bool:
    """Signals a process group; whether anything is left of it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
