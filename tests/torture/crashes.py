"""Kills a forked process at its n-th failpoint, as `kill -9` does, and goes on in another one.

Failpoints are every side of every durable write (before it, half written, written and not yet durable, durable, its name not
yet there, there, there for good), of every effect, and of every external command. They are put in here, in the tests.
"""

from __future__ import annotations

import os
import pickle
import signal
import stat
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gitops_nb.adapters import process
from gitops_nb.record import effects, files


class Failpoints:
    """Counts the failpoints that a process passes, and kills it at one of them; 0 kills never."""

    def __init__(self, kill_at: int = 0) -> None:
        self.passed = 0
        self._kill_at = kill_at

    def hit(self, last: Callable[[], object] = bool) -> None:
        """One failpoint is passed, or ``last`` is done and then the process is killed."""
        self.passed += 1
        if self.passed == self._kill_at:
            last()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Puts them into this process: it is a fork and ends soon."""
        self._around_durable_files()
        self._around_names()
        self._around_effects()
        self._around_commands()

    def _around_durable_files(self) -> None:
        """The journal is written with ``os.write``, every other file by ``_write_temporary``; all are made durable by fsync."""
        hit, write, fsync, temporary = self.hit, os.write, os.fsync, files._write_temporary

        def failing_write(descriptor, content):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return write(descriptor, content)
            hit()
            hit(lambda: write(descriptor, content[: len(content) // 2]))
            return write(descriptor, content)

        def failing_fsync(descriptor):
            hit()
            fsync(descriptor)
            hit()

        def failing_temporary(path, content):
            half = path.with_name(f".{path.name}.00000000.tmp")
            hit(lambda: half.write_bytes(content[: len(content) // 2]))
            return temporary(path, content)

        os.write, os.fsync, files._write_temporary = failing_write, failing_fsync, failing_temporary

    def _around_names(self) -> None:
        """A name appears by link or rename; a temporary one goes by unlink."""
        hit, link, replace, unlink = self.hit, os.link, Path.replace, Path.unlink

        def failing_link(*names):
            link(*names)
            hit()

        def failing_replace(own, target):
            found = replace(own, target)
            hit()
            return found

        def failing_unlink(own, **options):
            hit()
            unlink(own, **options)

        os.link, Path.replace, Path.unlink = failing_link, failing_replace, failing_unlink

    def _around_effects(self) -> None:
        hit, perform = self.hit, effects.JournalEffects.perform

        def failing_perform(own, key, *, act, **rest):
            def act_between():
                hit()
                result = act()
                hit()
                return result

            return perform(own, key, act=act_between, **rest)

        effects.JournalEffects.perform = failing_perform

    def _around_commands(self) -> None:
        """A command that runs while its starter is killed is interrupted, or ends before that."""
        hit, follow = self.hit, process._Command.follow

        def failing_follow(own, *given):
            hit()
            follow(own, *given)
            hit()

        process._Command.follow = failing_follow


def in_fork(action: Callable[[], Any]) -> tuple[int, Any]:
    """Runs an action in a forked process.

    Returns:
        Its exit status (negative for a signal), and what the action returned.
    """
    with tempfile.NamedTemporaryFile(prefix="crash-") as answer:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                result = action()
                Path(answer.name).write_bytes(pickle.dumps(result))
                code = 0
            except BaseException:  # noqa: BLE001  a fork must not return into the test runner
                Path(answer.name).write_bytes(pickle.dumps(traceback.format_exc()))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        content = Path(answer.name).read_bytes()
        return os.waitstatus_to_exitcode(status), pickle.loads(content) if content else None


def killed_at(point: int, action: Callable[[], Any]) -> bool:
    """Runs an action in a fork that dies at a failpoint; whether it came that far."""

    def with_failpoints():
        Failpoints(point).install()
        action()

    code, said = in_fork(with_failpoints)
    assert code in (0, -signal.SIGKILL), said
    return code == -signal.SIGKILL


def count(action: Callable[[], Any]) -> int:
    """How many failpoints an action passes when nothing kills it."""

    def counted():
        points = Failpoints()
        points.install()
        action()
        return points.passed

    code, passed = in_fork(counted)
    assert code == 0, passed
    return int(passed)
