"""Timeouts of a step and of a run, watched from outside the kernel."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from gitops_nb.catalog.durations import format_duration
from gitops_nb.catalog.runbooks import Timeouts
from gitops_nb.errors import ExitCode
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.session.endings import Cause


class Limits:
    """Knows which step or cell runs since when, and says when its time is over.

    Args:
        timeouts: Of the runbook.
        directory: The run directory; its journal says which step runs.
    """

    def __init__(self, timeouts: Timeouts, directory: Path) -> None:
        self._timeouts = timeouts
        self._begun = time.monotonic()
        self._tail = _Tail(directory / journal.FILE)
        self._tail.new_records()  # those of earlier attempts
        self._step = ""
        self._since = self._begun
        self._cell_runs = False

    def cell_begins(self) -> None:
        """A cell was sent to the kernel."""
        self._cell_runs = True
        self._since = time.monotonic()

    def cell_ends(self) -> None:
        """Its answer is here."""
        self._cell_runs = False

    def over(self) -> Cause | None:
        """The timeout that has fired, with what it hit; None while there is time."""
        now = time.monotonic()
        for record in self._tail.new_records():
            if record["kind"] == "step":
                body = record["body"]
                self._step = body["step"] if body["status"] == Status.RUNNING else ""
                self._since = now
        if now - self._begun > self._timeouts.run.total_seconds():
            limit = format_duration(self._timeouts.run)
            where = f" (during {self._step})" if self._step else ""
            return Cause(ExitCode.FAILED, f"run timeout: it did not end within {limit}{where}")
        if self._cell_runs and now - self._since > self._timeouts.step.total_seconds():
            limit = format_duration(self._timeouts.step)
            which = (
                f"step timeout: {self._step}"
                if self._step
                else "cell timeout: a cell between steps"
            )
            return Cause(ExitCode.FAILED, f"{which} did not end within {limit}")
        return None


class _Tail:
    """Reads what was appended to a journal since the last look, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_records(self) -> list[dict[str, Any]]:
        """Records since the last call; what is no record is left to those who judge journals."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            return []
