"""A long external command with a child: notes every signal that it or the child gets.

``polite`` ends half a second after its first SIGINT, as OpenTofu writes its state; ``stubborn`` ends by nothing but KILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def run(manner: str, log: str) -> None:
    """Until a signal ends it."""
    who = "parent" if os.fork() else "child"

    def note(number: int, _frame: object) -> None:
        """One line per signal."""
        with Path(log).open("a") as file:
            file.write(f"{who} {signal.Signals(number).name}\n")
        if manner == "polite":
            time.sleep(0.5)
            os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    with Path(log).open("a") as file:
        file.write(f"{who} begins\n")
    while True:
        time.sleep(60)


# Guarded: `--doctest-modules` imports every file of the tests.
if __name__ == "__main__":
    run(*sys.argv[1:])
