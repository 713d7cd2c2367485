"""kill -9 of the engine while it closes a run: the next command closes it, and the record tells the same."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from gitops_nb import engine
from gitops_nb.catalog.runbooks import Timeouts
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.engine import closing
from gitops_nb.engine.document import CellStatus, Document
from gitops_nb.errors import WaitingForApproval
from gitops_nb.model import Status
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.runs import read_run, run_directories, sealed_at
from gitops_nb.session.endings import Death
from gitops_nb.session.held import pending
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order, obey
from gitops_nb.session.verifying import verify_records
from tests.engine.stops import prepare
from tests.torture.crashes import count, in_fork, killed_at
from tests.torture.flows import Flow

ENDS = {
    "succeeded": Status.SUCCEEDED,
    "waits": Status.WAITING,
    "kernel died": Status.NEEDS_ATTENTION,
}
LEAST = 45
"""Failpoints while one run is closed."""


class Closing:
    """A run whose kernel has ended in a chosen way, and whose record nobody has closed; as often as it is wanted."""

    def __init__(self, workspace, folder: Path, end: str) -> None:
        self.end = end
        if end != "waits":
            prepare(workspace)
        self._flow = Flow("promotion", workspace, folder)
        code, said = in_fork(self._work)
        assert code == (9 if end == "kernel died" else 0), said
        self.where = find_workspace(workspace.root)
        (self.directory,) = run_directories(self.where.reports)
        self._document().save()
        self._untouched = folder / "reports"
        shutil.copytree(self.where.reports, self._untouched)

    def _work(self) -> None:
        """What the kernel does: it leaves the end of the record to the engine."""
        obey(Order(is_supervised=True))
        if self.end == "kernel died":
            JournalEffects._done = lambda *_, **__: os._exit(9)
        with contextlib.suppress(WaitingForApproval):
            self._flow.cells("")

    def reset(self) -> None:
        """The reports as the kernel left them."""
        shutil.rmtree(self.where.reports)
        shutil.copytree(self._untouched, self.where.reports)
        # What `verify` remembers is of reports that are no more.
        (self.where.root / ".gitops-nb" / "verified.json").unlink(missing_ok=True)

    def close(self) -> None:
        """What the engine does then."""
        notebook = self.where.notebooks / "promotion.ipynb"
        order = engine.Order(notebook, {}, Timeouts(), "sandbox", "somebody", "")
        death = Death("the kernel exited with 9") if self.end == "kernel died" else None
        closing.close(
            self.where, self.directory, order, before=0, death=death, document=self._document()
        )

    def _document(self) -> Document:
        """The notebook with its fourth cell running."""
        document = Document(
            self.where.notebooks / "promotion.ipynb", self.directory / "notebook.ipynb", {}
        )
        code = [cell for cell in document.notebook.cells if cell.cell_type == "code"]
        for cell in code[:3]:
            document.mark(cell, CellStatus.COMPLETED)
        document.mark(code[3], CellStatus.RUNNING)
        return document

    def left(self) -> dict[str, object]:
        """What there is when the next command has looked at it."""
        recover(self.where)
        state = read_run(self.directory)
        notebook = json.loads((self.directory / "notebook.ipynb").read_bytes())
        statuses = [c["metadata"].get("gitops_nb", {}).get("status") for c in notebook["cells"]]
        return {
            "status": str(state.status),
            "in doubt": [effect.key for effect in state.in_doubt],
            "sealed": sealed_at(self.directory) is not None,
            "findings": self._findings(),
            "pending": pending(self.where),
            "cells": sorted({status for status in statuses if status}),
            "listed": self.directory.name in (self.where.reports / "index.html").read_text(),
            "half written": [path.name for path in self.directory.rglob("*.tmp")],
            "stamp": notebook["metadata"]["gitops_nb"]["status"],
        }

    def _findings(self) -> list[str]:
        """What does not hold, of the run and of its ledger."""
        checked = verify_records(self.where, [self.directory])
        return [
            str(problem) for part in (*checked.ledgers, *checked.runs) for problem in part.problems
        ]


def crashes(closing: Closing, points: Iterable[int]) -> int:
    """Kills the engine at these points; how many there were."""
    closing.reset()
    closing.close()
    whole = closing.left()
    assert whole["status"] == ENDS[closing.end]
    assert (whole["sealed"], whole["findings"], whole["listed"]) == (True, [], True), whole
    cases = 0
    for point in points:
        closing.reset()
        if not killed_at(point, closing.close):
            break
        code, left = in_fork(closing.left)
        assert code == 0, left
        assert left == whole, (closing.end, point)
        cases += 1
    return cases


def test_an_engine_that_is_killed_while_it_closes_a_run(workspace, tmp_path):
    """At some points of an end that leaves an effect in doubt (a sample)."""
    assert crashes(Closing(workspace, tmp_path, "kernel died"), (3, 17, 29, 41)) == 4


@pytest.mark.torture
@pytest.mark.parametrize("end", ENDS)
def test_every_point_of_every_end(workspace, tmp_path, end, record_property):
    """At each of them, for a run that succeeded, that waits, and whose kernel died behind an effect."""
    closing = Closing(workspace, tmp_path, end)
    assert count(closing.close) >= LEAST
    cases = crashes(closing, itertools.count(1))
    record_property("cases", cases)
    assert cases >= LEAST
