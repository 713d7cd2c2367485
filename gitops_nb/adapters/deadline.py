"""One deadline over a call, however slowly its answer drips."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(act: Callable[[], T], seconds: float) -> T | Exception:
    """What ``act`` returns or raises, at the latest after some seconds.

    A socket's timeout starts anew with each byte; only another thread can end the wait for a slow drip.
    """
    answers: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(act())
        except Exception as error:  # noqa: BLE001  handed to the caller, who judges it
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answers.get(timeout=max(0.0, seconds))
    except queue.Empty:
        return TimeoutError(f"no answer within {seconds:.0f} s")
