"""Parent of one external command at a time, with one thread: its death is the command's only SIGINT.

``process`` starts it in an interpreter of its own and talks to it over a Unix socket, its standard input. Every kernel has one, so
it imports nothing but what is compiled into Python: ``ctypes``, ``json``, ``signal`` and ``socket`` take three times as long as all
the rest.

Linux sends a command the SIGINT once its parent is gone (PDEATHSIG), once for each thread of that parent; so the parent has a
single one, and interrupting a command means to leave it: whoever else was killed, in whatever order, nobody can do that twice.

In: a request (argv, env, cwd, grace_s, files; see ``framed``) with descriptors: the command's standard input, output and error,
one for each of its files, then others that it inherits. Out: ``began PID``, then ``ended STATUS`` or ``failed ERRNO``. When our starter closes its side or dies, the
command is left; a fork of ours that is not its parent waits out its grace and sends its process group TERM, then KILL.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from pathlib import Path
    from typing import Any, NoReturn
else:
    import _signal as signal
    import _socket as socket

if sys.platform == "linux":
    import _ctypes

NAME = "gitops-warden"
"""As the system shows this process, even when it has ended and nobody has waited for it yet."""
TERM_S = 3.0
"""Between TERM and KILL."""
_PART_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 32
_DESCRIPTOR_BYTES = 4
_LENGTH_BYTES = 4
_SET_PDEATHSIG, _SET_NAME = 1, 15
_PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl") if sys.platform == "linux" else 0  # type: ignore[arg-type]  # this process
_KNOWN: dict[tuple[str, str], list[str]] = {}
_UNHEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


def die_with_parent(number: signal.Signals, *, parent: int | None = None) -> None:
    """Asks Linux to send this process a signal when its parent dies; elsewhere the parent has to be watched.

    The signal comes when the parent's thread ends that started us, and again when the thread ends that took us over.

    Args:
        number: Which signal.
        parent: Process id of the parent; where that is gone already no signal would ever come, and this process ends.
    """
    _prctl(_SET_PDEATHSIG, int(number))
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _prctl(what: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        _ctypes.call_function(_PRCTL, (what, value))


def end_group(group: int, grace_s: float) -> None:
    """Gives a process group that was interrupted its grace, then TERM, then KILL."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, TERM_S)):
        until = time.monotonic() + patience_s
        while lives(group) and time.monotonic() < until:
            time.sleep(0.02)
        if lives(group):
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                return


def lives(group: int) -> bool:
    """Whether anything of a process group still runs; what only waits to be reaped does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if sys.platform != "linux":
        return True
    from pathlib import Path  # a tenth of our start, and seldom needed

    return any(_runs_in(group, path) for path in Path("/proc").glob("[0-9]*/stat"))


def _runs_in(group: int, stat: Path) -> bool:
    try:
        state, _, found = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # it ended meanwhile
    return int(found) == group and state not in "ZX"


def main() -> None:
    """Runs commands one after the other until the starter is gone."""
    # Handled and not ignored, which a command would inherit.
    for number in (*_UNHEEDED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    _prctl(_SET_NAME, NAME.encode())
    # Where commands do not inherit it.
    starter = socket.socket(fileno=os.dup(0))
    while request := _receive(starter):
        _run(starter, *request)
    os._exit(0)  # without clearing up: there is nothing to clear


def framed(request: dict[str, Any]) -> bytes:
    """A request as it is sent: its length, then what ``marshal`` makes of it, which the same Python reads."""
    content = marshal.dumps(request)
    return len(content).to_bytes(_LENGTH_BYTES) + content


def _receive(starter: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request; None when the starter is gone."""
    content, descriptors = b"", []
    while len(content) < _LENGTH_BYTES or len(content) < _length(content):
        space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
        part, ancillary, _, _ = starter.recvmsg(_PART_BYTES, space)
        if not part:
            return None
        content += part
        for _, _, data in ancillary:
            descriptors += _numbers(data)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return marshal.loads(content[_LENGTH_BYTES:]), descriptors  # noqa: S302  from our starter


def _length(content: bytes) -> int:
    return _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES])


def _numbers(data: bytes) -> list[int]:
    """Descriptors as the system hands them over."""
    starts = range(0, len(data) - len(data) % _DESCRIPTOR_BYTES, _DESCRIPTOR_BYTES)
    return [int.from_bytes(data[at : at + _DESCRIPTOR_BYTES], sys.byteorder) for at in starts]


def _run(starter: socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a command and says how it ended, or leaves it."""
    ended, child_ended = os.pipe()
    os.set_blocking(child_ended, False)
    signal.set_wakeup_fd(child_ended)
    programs = _programs(request["argv"][0], request["env"].get("PATH", os.defpath))
    warden = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(starter, request, programs, descriptors, warden)
    for descriptor in descriptors:
        os.close(descriptor)
    _say(starter, f"began {pid}")
    ready, _, _ = select.select((ended, starter.fileno()), (), ())
    if ended not in ready:
        _leave(pid, request["grace_s"])
    _, status = os.waitpid(pid, 0)
    signal.set_wakeup_fd(-1)
    os.close(ended)
    os.close(child_ended)
    _say(starter, f"ended {os.waitstatus_to_exitcode(status)}")


def _programs(name: str, path: str) -> list[str]:
    """Where a program may be, first where it is now: each vain attempt costs a fork of ours time."""
    if "/" in name:
        return [name]
    if (name, path) not in _KNOWN:
        every = [f"{folder or '.'}/{name}" for folder in path.split(":")]
        # A relative folder is another one for each command.
        found = (
            [p for p in every if os.access(p, os.X_OK)] if all(p[0] == "/" for p in every) else []
        )
        _KNOWN[name, path] = found + every
    return _KNOWN[name, path]


def _become(
    starter: socket.socket,
    request: dict[str, Any],
    programs: list[str],
    descriptors: list[int],
    warden: int,
) -> NoReturn:
    """The life of a fork that turns into the command."""
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        die_with_parent(signal.SIGINT)
        if os.getppid() != warden:
            os._exit(1)  # left before it began
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
        for descriptor in descriptors[3:]:
            os.set_inheritable(descriptor, True)
        if request["cwd"] is not None:
            os.chdir(request["cwd"])
        files = {
            name: f"/dev/fd/{fd}"
            for name, fd in zip(request["files"], descriptors[3:], strict=False)
        }
        argv = [files.get(word, word) for word in request["argv"]]
        _exec(programs, argv, request["env"])
    except OSError as error:
        _say(starter, f"failed {error.errno}")
    finally:
        os._exit(127)


def _exec(programs: list[str], argv: list[str], environment: dict[str, str]) -> NoReturn:
    """What ``os.execvpe`` does, without the millisecond that its imports take in every fork.

    Raises:
        OSError: There is no such program, or it cannot be started.
    """
    denied: OSError | None = None
    for program in programs:
        try:
            os.execve(program, argv, environment)  # noqa: S606  an argument list
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])


def _leave(pid: int, grace_s: float) -> NoReturn:
    """Leaves the command, which interrupts it; a fork, not its parent, stays until its process group has ended."""
    if os.fork() == 0:
        end_group(pid, grace_s)
    elif sys.platform != "linux":
        os.kill(pid, signal.SIGINT)
    os._exit(0)


def _say(starter: socket.socket, line: str) -> None:
    try:  # noqa: SIM105  contextlib would have to be imported
        starter.sendall(f"{line}\n".encode())
    except BrokenPipeError:
        pass
