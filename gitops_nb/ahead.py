"""A process of a run that is started ahead of it: it imports while the run is being made, and gets its order through a pipe."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection
from typing import Self


class ProcessAhead:
    """A module of this package in a process of its own, that waits for one order on standard input.

    A context: one that got no order is gone when that ends.

    Args:
        module: Started as ``python -P -m MODULE PID``, with the process id of whoever it must not outlive.
        without: Variables that it does not get.
        output: Descriptor of its standard output; nowhere by default.
    """

    def __init__(
        self, module: str, *, without: Collection[str], output: int = subprocess.DEVNULL
    ) -> None:
        read, self._pipe = os.pipe()
        self.child = subprocess.Popen(
            # -P: nothing is imported from the folder that the command happens to be called in.
            (sys.executable, "-P", "-m", module, str(os.getpid())),
            env={name: value for name, value in os.environ.items() if name not in without},
            stdin=read,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)

    def order(self, content: str) -> None:
        """Says what to serve, once."""
        # One that died already is noticed by its exit code.
        with (
            contextlib.suppress(BrokenPipeError),
            open(self._pipe, "w", encoding="utf-8") as pipe,  # noqa: PTH123  a descriptor
        ):
            self._pipe = -1
            pipe.write(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self.child.kill()
        self.child.wait()
