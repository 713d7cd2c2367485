"""The saved notebook of a headless run: statuses, parameters, and how often it is written."""

from __future__ import annotations

import itertools
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gitops_nb.engine import document
from gitops_nb.engine.document import CellStatus, Document
from gitops_nb.errors import RecordError
from gitops_nb.record import files


@pytest.fixture
def made(tmp_path):
    """A document of three code cells, one of them with an old output."""
    old = new_output("stream", name="stdout", text="from another run")
    cells = [
        new_markdown_cell("# x"),
        new_code_cell("a = None", metadata={"tags": ["parameters"]}),
        new_code_cell("print(a)", outputs=[old], execution_count=7),
        new_code_cell("1"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "in.ipynb")
    return Document(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"a": "it's"})


def saved(made) -> dict:
    """What is on the disk."""
    return json.loads(made._output.read_bytes())


def test_parameters_come_after_the_tagged_cell_and_old_outputs_go(made):
    """The injected cell binds Python values; nothing of an earlier run is left."""
    made.save()
    code = [cell for cell in saved(made)["cells"] if cell["cell_type"] == "code"]
    assert "".join(code[1]["source"]) == '# Parameters of this run\na = "it\'s"'
    assert [cell["outputs"] for cell in code] == [[], [], [], []]
    assert {cell["metadata"]["gitops_nb"]["status"] for cell in code} == {"pending"}


def test_a_notebook_without_the_tag_gets_its_parameters_first(tmp_path):
    """A team that lost the tag still gets its values, before everything else."""
    nbformat.write(new_notebook(cells=[new_code_cell("print(a)")]), tmp_path / "in.ipynb")
    made = Document(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"a": 1})
    assert made.notebook.cells[0].source.endswith("a = 1")


def test_a_cell_that_ran_at_the_end_did_not_complete(made):
    """Running becomes failed; completed and pending stay."""
    cells = [cell for cell in made.notebook.cells if cell.cell_type == "code"]
    made.mark(cells[0], CellStatus.COMPLETED)
    made.mark(cells[1], CellStatus.RUNNING)
    made.end_running()
    assert [str(made.status(cell)) for cell in cells] == [
        "completed",
        "failed",
        "pending",
        "pending",
    ]


def test_a_growing_notebook_is_written_once_a_second_and_thrice_its_size_at_most(made, monkeypatch):
    """200 outputs of 10 kB in 40 s: saves are a second apart, and all bytes together stay below three documents."""
    now, writes = [made._saved], []
    monkeypatch.setattr(document.time, "monotonic", lambda: now[0])
    real = files.replace_file

    def replace_file(path, content):
        writes.append((now[0], len(content)))
        real(path, content)

    monkeypatch.setattr(document, "replace_file", replace_file)
    cell = made.notebook.cells[-1]
    for number in range(200):
        now[0] += 0.2
        cell.outputs.append(new_output("stream", name="stdout", text=f"{number} " + "x" * 10_000))
        made.touch(cell)
        made.save_if_due()
    made.save()
    times = [at for at, _ in writes[:-1]]
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(times))
    assert len(times) >= 3
    assert sum(size for _, size in writes) <= 3 * writes[-1][1]


def test_a_save_that_fails_leaves_the_older_notebook(made, monkeypatch):
    """The file is whole at every moment: the old one or the new one."""
    made.save()
    before = made._output.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RecordError, match="No space"):
        made.save()
    assert made._output.read_bytes() == before
    assert list(made._output.parent.glob(".*.tmp")) == []
