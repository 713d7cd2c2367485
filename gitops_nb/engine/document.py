"""The notebook of a headless run: parameters injected, statuses of cells, saved whole and not too often."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from gitops_nb.engine.texts import cell_text, notebook_text
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState
from gitops_nb.session.lifecycle import stamp
from gitops_nb.session.notebooks import read_notebook

INJECTED = "injected-parameters"
SAVED_EVERY_S = 1.0


class CellStatus(StrEnum):
    """What became of a code cell; ``stopped`` ended the run on purpose, as waiting for an approval does."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


class Document:
    """A notebook that is being executed into a file.

    Args:
        source: The notebook to execute; it is not changed.
        output: Where the executed one goes.
        parameters: Values that a cell after the one tagged ``parameters`` binds.
    """

    def __init__(self, source: Path, output: Path, parameters: Mapping[str, Any]) -> None:
        # Not as `nbformat.read` does: building its validator takes as long as a small run, and says no more than this.
        from nbformat import v4

        self.notebook: Any = v4.to_notebook(read_notebook(source))
        self._output = output
        self._saved = time.monotonic()
        self._written_bytes = 0
        self._texts: dict[int, str] = {}
        for cell in self._code_cells():
            # What a cell shows after this run was shown by this run.
            cell.outputs = []
            cell.execution_count = None
        inject_parameters(self.notebook, parameters)
        for cell in self._code_cells():
            self.mark(cell, CellStatus.PENDING)

    def touch(self, cell: Any) -> None:
        """Says that a cell is not what it was when it was last written."""
        self._texts.pop(id(cell), None)

    def mark(self, cell: Any, status: CellStatus) -> None:
        """Writes the status of a code cell into its metadata."""
        if cell.cell_type == "code":
            cell.metadata["gitops_nb"] = {"status": str(status)}
            self.touch(cell)

    def status(self, cell: Any) -> CellStatus | None:
        """The status of a code cell; None for Markdown."""
        stamped = cell.metadata.get("gitops_nb", {}).get("status")
        return CellStatus(stamped) if stamped else None

    def end_running(self) -> None:
        """A cell that was still running when the kernel ended did not complete."""
        for cell in self._code_cells():
            if self.status(cell) is CellStatus.RUNNING:
                self.mark(cell, CellStatus.FAILED)

    def save_if_due(self) -> None:
        """Saves what changed, at most once a second and never more than the document's own size in all.

        A document that grows cell by cell would otherwise be written again and again: quadratic in its length.

        Raises:
            RecordError: It cannot be written; the older one is untouched.
        """
        if len(self._texts) == len(self.notebook.cells):
            return
        now = time.monotonic()
        if now - self._saved < SAVED_EVERY_S:
            return
        content = self._content()
        self._saved = now
        if self._written_bytes <= len(content):
            self._write(content)

    def save(self, state: RunState | None = None) -> None:
        """Saves the final document, stamped with what the journal says.

        Raises:
            RecordError: It cannot be written; the older one is untouched.
        """
        if state is not None:
            stamp(self.notebook, state)
        self._write(self._content())

    def _write(self, content: bytes) -> None:
        replace_file(self._output, content)
        self._written_bytes += len(content)

    def _content(self) -> bytes:
        # Without validation: it costs more than everything else here, and the kernel's messages were typed already.
        cells = self.notebook.cells
        for cell in cells:
            if id(cell) not in self._texts:
                self._texts[id(cell)] = cell_text(cell)
        head = {name: value for name, value in self.notebook.items() if name != "cells"}
        return notebook_text([self._texts[id(cell)] for cell in cells], head).encode(
            "utf-8", "backslashreplace"
        )

    def _code_cells(self) -> list[Any]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]


def inject_parameters(notebook: Any, parameters: Mapping[str, Any]) -> None:
    """Puts a cell that binds the parameters after the cell tagged ``parameters``, or first, as papermill does.

    Values are text, whole numbers, booleans, None, and tuples of text; their ``repr`` is Python.
    """
    from nbformat import from_dict

    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    cell = from_dict(
        {
            "id": secrets.token_hex(4),
            "cell_type": "code",
            "metadata": {"tags": [INJECTED]},
            "execution_count": None,
            "source": "\n".join(["# Parameters of this run", *lines]),
            "outputs": [],
        }
    )
    tagged = (
        i
        for i, c in enumerate(notebook.cells)
        if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])
    )
    position = next(tagged, -1)
    notebook.cells.insert(position + 1, cell)
