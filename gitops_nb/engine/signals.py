"""SIGINT, SIGTERM and SIGHUP of a supervised run: remembered once, whenever they come."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Self

from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.errors import ExitCode
from gitops_nb.session.endings import Cause

_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.TERMINATED,
}


class Signals:
    """Remembers the first signal from the moment it is entered, so that none falls between two stages.

    A second signal adds nothing: what handles an interrupt must not be interrupted twice.
    """

    def __init__(self) -> None:
        self.received: Cause | None = None
        self._then: Callable[[Cause], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _CODES:
            self._before[number] = signal.signal(number, self._handle)
        if os.environ.get("CI"):
            # A CI system signals the step's shell, which forwards nothing; its end has to be ours.
            die_with_parent(signal.SIGTERM)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def when_received(self, then: Callable[[Cause], None] | None) -> None:
        """What to do at the first signal; at once if there was one already."""
        self._then = then
        if self.received is not None and then is not None:
            then(self.received)

    def _handle(self, number: int, _frame: object) -> None:
        if self.received is None:
            name = signal.Signals(number)
            self.received = Cause(_CODES[name], f"cancelled by {name.name}")
            if self._then is not None:
                self._then(self.received)
