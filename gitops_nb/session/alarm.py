"""Timeouts of step and run where no engine watches: in JupyterLab and behind plain papermill.

The kernel has itself interrupted by an alarm signal. Between two steps nothing is watched: there a person reads.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gitops_nb.catalog.durations import format_duration
from gitops_nb.catalog.runbooks import Timeouts
from gitops_nb.errors import Failed


class StepInterrupted(KeyboardInterrupt):
    """The alarm went off inside a step. Like Ctrl-C it is no error of what it interrupts; nothing catches it by chance."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Alarm:
    """Interrupts a step whose time is over.

    Args:
        timeouts: Of the runbook.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._left_s = timeouts.run.total_seconds()

    @contextmanager
    def watch(self, step: str) -> Iterator[None]:
        """Watches the block; a thread other than the main one cannot be interrupted and is not watched.

        Raises:
            Failed: The time of the step is over, or that of all steps of the run.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        step_s = self._timeouts.step.total_seconds()
        if step_s <= self._left_s:
            limit = format_duration(self._timeouts.step)
            sentence = f"step timeout: {step} did not end within {limit}"
        else:
            limit = format_duration(self._timeouts.run)
            sentence = f"run timeout: its steps did not end within {limit} (during {step})"

        def interrupt(*_: object) -> NoReturn:
            raise StepInterrupted(sentence)

        before = signal.signal(signal.SIGALRM, interrupt)
        begun = time.monotonic()
        # Zero would mean never.
        signal.setitimer(signal.ITIMER_REAL, max(0.001, min(step_s, self._left_s)))
        try:
            yield
        except StepInterrupted as end:
            raise Failed(end.sentence, hint="Resume the run.") from end
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self._left_s -= time.monotonic() - begun
