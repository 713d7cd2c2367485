"""Stops a kernel at a chosen step, for tests: Python imports this file where PYTHONPATH names its folder.

STOP is ``step:mode``. Nothing of this is in the package; the kernel is the real one, and so is the way it ends.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path


def install(wanted: str, mode: str) -> None:
    """Puts the stop behind the step's first record, or, for ``effect``, behind the first effect and before its result."""
    from gitops_nb.record import effects
    from gitops_nb.session import recorder

    if wanted == "effect":
        perform = effects.JournalEffects.perform

        def cut(self, key, *, act, **rest):
            def act_and_stop():
                result = act()
                stop(mode)
                return result

            return perform(self, key, act=act_and_stop, **rest)

        effects.JournalEffects.perform = cut
        return
    real = recorder.Recorder.step

    @contextmanager
    def step(self, name, kind):
        if name == wanted and mode == "cell timeout":
            time.sleep(120)
        with real(self, name, kind) as took:
            if name == wanted:
                stop(mode)
            yield took

    recorder.Recorder.step = step


def stop(mode) -> None:
    """The ways to go."""
    runner = os.getppid()
    match mode:
        case "exception":
            raise RuntimeError("the lights went out")
        case "SystemExit 0":
            sys.exit(0)
        case "SystemExit 1":
            sys.exit(1)
        case "os._exit":
            os._exit(0)
        case "kernel SIGKILL":
            kill(os.getpid(), signal.SIGKILL)
            linger()
        case "SIGINT" | "SIGTERM" | "runner SIGKILL":
            kill(runner, getattr(signal, mode.removeprefix("runner ")))
            linger()
        case "cell timeout" | "step timeout" | "run timeout":
            linger()
        case "bucket unavailable":
            Path(os.environ["STOP_FLAG"]).touch()
        case "disk full" | "record store unavailable":
            break_disk(errno.ENOSPC if mode == "disk full" else errno.EIO)


def kill(process, number) -> None:
    """At once, or when the external command runs."""
    if "STOP_COMMAND" not in os.environ:
        os.kill(process, number)
        return

    def when_it_runs() -> None:
        log = Path(os.environ["STOP_COMMAND"].split(":")[1])
        while not log.exists():
            time.sleep(0.02)
        os.kill(process, number)

    threading.Thread(target=when_it_runs, daemon=True).start()


def linger() -> None:
    """Sleeps, or runs an external command as a step does."""
    if "STOP_COMMAND" not in os.environ:
        time.sleep(120)
        return
    from gitops_nb.adapters.process import LocalProcesses

    manner, log = os.environ["STOP_COMMAND"].split(":")
    script = str(Path(__file__).with_name("command.py"))
    LocalProcesses().run((sys.executable, script, manner, log), timeout_s=120, grace_s=2.0)


def break_disk(number) -> None:
    """From here on nothing of the record can be written; the runner finds the same (the flag)."""
    Path(os.environ["STOP_FLAG"]).write_text(str(number))
    install_broken_disk()


def install_broken_disk() -> None:
    """Every durable write of the record fails while the flag is there."""
    real = os.fsync

    def fsync(descriptor):
        try:
            number = int(Path(os.environ["STOP_FLAG"]).read_text())
        except FileNotFoundError:
            return real(descriptor)
        raise OSError(number, os.strerror(number))

    os.fsync = fsync


if "STOP" in os.environ:
    command = " ".join(sys.orig_argv)
    where = os.environ.get("STOP_IN", "gitops_nb.kernel")
    if where in command or "ipykernel_launcher" in command:
        install(*os.environ["STOP"].split(":"))
    elif "gitops-nb" in command and "bucket" not in os.environ["STOP"]:
        install_broken_disk()
