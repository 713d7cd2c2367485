"""Standard output and error of a headless run's kernel: a flush with nothing to send asks no other thread."""

from __future__ import annotations

import threading
from typing import Any

from ipykernel import iostream

OutStream: Any = iostream.OutStream


class Stream(OutStream):  # type: ignore[misc]  # ipykernel's has no types
    """As ipykernel's, which for each flush wakes its sending thread twice and waits for it, four times a cell.

    What was written counts as sent only when the sending thread has handed it on: then the redactor has seen it, too.
    """

    def __init__(self, *positional: Any, **named: Any) -> None:
        self._counting = threading.Lock()
        self._written = self._sent = 0
        super().__init__(*positional, **named)

    def write(self, string: str) -> int | None:
        """Buffers text."""
        count: int | None = super().write(string)
        # Behind the text: whoever reads the number finds that much in the buffer.
        with self._counting:
            self._written += 1
        return count

    def flush(self) -> None:
        """Returns when everything that this thread wrote before was sent."""
        if self._written != self._sent:
            super().flush()

    def _flush(self) -> None:
        written = self._written
        super()._flush()
        self._sent = written
