"""Ends external commands whose starter was killed. Run as a script by ``process``, never imported.

Standard input tells what runs: ``begin GROUP GRACE_S`` and ``end GROUP``, a line each. When it closes, the starter is gone:
what still runs gets SIGINT, once and not its group, after its grace TERM, then KILL, both to the whole process group.
"""

import contextlib
import os
import signal
import sys
import time

TERM_S = 3.0


def lives(group: int) -> bool:
    """Whether anything is left of a process group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def tell(group: int, number: int) -> None:
    """Signals a group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait(groups: dict[int, float]) -> dict[int, float]:
    """Waits until the groups are gone or their moment has come; returns those that are left."""
    left = dict(groups)
    while left and time.monotonic() < max(left.values()):
        left = {group: until for group, until in left.items() if lives(group)}
        time.sleep(0.05)
    return {group: until for group, until in left.items() if lives(group)}


def main() -> None:
    """Listens until the starter is gone, then ends what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    running: dict[int, float] = {}
    for line in sys.stdin:
        word, group, *rest = line.split()
        if word == "begin":
            running[int(group)] = float(rest[0])
        else:
            running.pop(int(group), None)
    for group in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGINT)
    now = time.monotonic()
    left = wait({group: now + grace for group, grace in running.items()})
    for group in left:
        tell(group, signal.SIGTERM)
    for group in wait(dict.fromkeys(left, time.monotonic() + TERM_S)):
        tell(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
