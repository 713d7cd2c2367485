"""One SIGINT for an external command, whoever of those who run it is killed, in whatever order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from gitops_nb.adapters import warden
from gitops_nb.adapters.process import LocalProcesses
from tests.engine.stops import STOPPER, left_of

STARTER = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UnavailableError
for _ in range(8):
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
try:
    LocalProcesses().run((sys.executable, *sys.argv[1:]), timeout_s=300, grace_s=1.0)
except UnavailableError as error:
    sys.exit(error.exit_code)
"""
"""With many threads, as a kernel: Linux tells a child of the death of each of them."""
KILLED = {
    "starter": ("starter",),
    "warden": ("warden",),
    "starter, then warden": ("starter", "warden"),
    "warden, then starter": ("warden", "starter"),
}


class Command:
    """A command that notes its signals, run by a starter in another process."""

    def __init__(self, folder: Path, manner: str) -> None:
        self.log = folder / f"signals-{uuid.uuid4().hex}"
        self.starter = subprocess.Popen(
            (sys.executable, "-c", STARTER, str(STOPPER / "command.py"), manner, str(self.log)),
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: len(self.notes()) == 2)
        self.warden = warden_of(self.starter.pid)

    def notes(self) -> list[str]:
        """What it and its child wrote so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def heard(self) -> list[str]:
        """The signals that it and its child got."""
        return sorted(line for line in self.notes() if "begins" not in line)

    def kill(self, whom: str) -> None:
        """SIGKILL to one of those who run it."""
        os.kill(self.starter.pid if whom == "starter" else self.warden, signal.SIGKILL)

    def end(self) -> None:
        """Ends what nobody is left to end."""
        self.starter.kill()
        self.starter.wait(timeout=10)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if self.log.name.encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue
        assert left_of(self.log.name, within_s=5) == []


def wait_for(condition) -> None:
    """Polls other processes."""
    deadline = time.monotonic() + 120  # a busy machine takes its time
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def wardens_of(pid: int) -> list[int]:
    """The wardens among the children of a process, the newest last."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/comm").read_text().strip() for child in children}
    return sorted(child for child, name in names.items() if name == warden.NAME)


def warden_of(pid: int) -> int:
    """The one warden among the children of a process."""
    (found,) = wardens_of(pid)
    return found


@pytest.fixture
def command(tmp_path):
    """Starts commands, and leaves none behind."""
    commands: list[Command] = []

    def start(manner: str) -> Command:
        commands.append(Command(tmp_path, manner))
        return commands[-1]

    yield start
    for one in commands:
        one.end()


def check(command: Command, *kills: str) -> None:
    """After the kills the command has heard one SIGINT and its child none."""
    for whom in kills:
        command.kill(whom)
    command.starter.wait(timeout=120)
    wait_for(lambda: "parent SIGINT" in command.heard())
    # Whoever is left gives it its grace, then TERM, then KILL; with both gone it is on its own.
    left = left_of(command.log.name, within_s=60 if len(kills) < 2 else 1)
    assert not left or len(kills) == 2, left
    assert command.heard().count("parent SIGINT") == 1
    assert "child SIGINT" not in command.heard()


@pytest.mark.parametrize("kills", KILLED.values(), ids=KILLED)
def test_whoever_is_killed_a_command_hears_one_interrupt(command, kills):
    """Starter, warden, or both at the same moment; where one is left nothing of the command is."""
    check(command("polite"), *kills)


@pytest.mark.torture
@pytest.mark.parametrize("kills", KILLED.values(), ids=KILLED)
@pytest.mark.parametrize("_round", range(10))
def test_a_stubborn_command_hears_one_interrupt_too(command, kills, _round):
    """The same for one that ends by nothing but KILL, many times: whose death comes first is chance."""
    check(command("stubborn"), *kills)


def test_a_killed_warden_is_said_and_replaced(command):
    """The starter ends the command, says that it was interrupted, and its next command has another warden."""
    one = command("polite")
    one.kill("warden")
    assert one.starter.wait(timeout=20) == 69
    done = LocalProcesses().run(("true",), timeout_s=10)
    # Tests before this one, in the same process, may have left idle wardens: all of them die.
    killed = wardens_of(os.getpid())
    assert killed
    for one_of_them in killed:
        os.kill(one_of_them, signal.SIGKILL)
    wait_for(lambda: not any(warden.lives(one_of_them) for one_of_them in killed))
    assert LocalProcesses().run(("true",), timeout_s=10) == done


def test_ctrl_c_reaches_a_command_once(command):
    """The terminal signals the foreground group; the command is in none, its starter leaves it."""
    one = command("polite")
    os.killpg(one.starter.pid, signal.SIGINT)
    check(one)
