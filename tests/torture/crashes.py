"""Kills a forked process at its n-th failpoint, as `kill -9` does, and goes on in another one.

Failpoints are every side of every durable write and of every effect. They are put in here, in the tests.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gitops_nb.record import effects, files, journal


class Failpoints:
    """Counts the failpoints that a process passes, and kills it at one of them; 0 kills never."""

    def __init__(self, kill_at: int = 0) -> None:
        self.passed = 0
        self._kill_at = kill_at

    def hit(self) -> None:
        """One failpoint is passed, or the end."""
        self.passed += 1
        if self.passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Puts them into this process: it is a fork and ends soon."""
        append, fsync = journal.Journal.append, os.fsync
        perform, replace = effects.JournalEffects.perform, Path.replace
        hit = self.hit

        def failing_append(own, kind, /, **body):
            hit()
            record = append(own, kind, **body)
            hit()
            return record

        def failing_fsync(descriptor):
            hit()
            fsync(descriptor)

        def failing_replace(own, target):
            hit()
            found = replace(own, target)
            hit()
            return found

        def failing_perform(own, key, *, act, **rest):
            def act_between():
                hit()
                result = act()
                hit()
                return result

            return perform(own, key, act=act_between, **rest)

        journal.Journal.append = failing_append
        os.fsync = failing_fsync
        files.Path.replace = failing_replace
        effects.JournalEffects.perform = failing_perform


def in_fork(action: Callable[[], Any]) -> tuple[int, Any]:
    """Runs an action in a forked process.

    Returns:
        Its exit status (negative for a signal), and what the action returned.
    """
    with tempfile.NamedTemporaryFile(prefix="crash-") as answer:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                result = action()
                Path(answer.name).write_bytes(pickle.dumps(result))
                code = 0
            except BaseException:  # noqa: BLE001  a fork must not return into the test runner
                Path(answer.name).write_bytes(pickle.dumps(traceback.format_exc()))
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
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
