"""A file that is no notebook is refused before anything is begun, and the message says why."""

from __future__ import annotations

import json

import pytest

from gitops_nb.errors import ConfigurationError
from gitops_nb.session.notebooks import notebook_digest, read_notebook

CELL = {"cell_type": "code", "metadata": {}, "source": ["x = 1"], "id": "a", "outputs": []}


def text(**changed) -> str:
    whole = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps({name: value for name, value in {**whole, **changed}.items() if value != ...})


WRONG = {
    "half a file": (text()[:-20], "it is not JSON"),
    "nested without end": ("[" * 100_000, "it is not JSON"),
    "a list": ("[1]", "it has no metadata"),
    "an older format": (text(nbformat=3), "its nbformat is 3"),
    "no cells": (text(cells=...), "it has no list of cells"),
    "a cell without metadata": (text(cells=[CELL, {"cell_type": "code"}]), "cell 2 has no metadata"),
    "a cell of another type": (text(cells=[CELL | {"cell_type": "heading"}]), "cell 1 is of type 'heading'"),
    "a source that is no text": (text(cells=[CELL | {"source": [1]}]), "the source of cell 1 is not text"),
    "a cell without a source": (text(cells=[{"cell_type": "code", "metadata": {}}]), "the source of cell 1"),
    "tags that are no list": (text(cells=[CELL | {"metadata": {"tags": 1}}]), "the tags of cell 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_notebook_is_said(tmp_path, name):
    """Each with its own reason; never an exception of the parser."""
    content, reason = WRONG[name]
    path = tmp_path / "promotion.ipynb"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as raised:
        read_notebook(path)
    assert reason in raised.value.message
    assert f"{tmp_path.name}/promotion.ipynb" in raised.value.message
    assert "init DIR --update" in raised.value.hint


def test_the_digest_is_of_the_code_alone(tmp_path):
    """Lines or one text, outputs or none: the same code has the same digest."""
    first, second = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    first.write_text(text())
    second.write_text(text(cells=[CELL | {"source": "x = 1", "outputs": [{"x": 1}]}]))
    assert notebook_digest(first) == notebook_digest(second)


def test_a_run_of_a_damaged_notebook_is_not_begun(workspace):
    """Exit code 78, by run and by a matrix, and no run directory."""
    path = workspace.root / "notebooks" / "promotion.ipynb"
    path.write_text(path.read_text()[:200])
    workspace.write("m.yaml", "- {application: catalog}\n")
    for how in (("-p", "application=catalog"), ("--matrix", "m.yaml")):
        done = workspace.run("run", "promotion", *how)
        assert done.returncode == 78, done.stdout + done.stderr
        assert (
            "notebooks/promotion.ipynb is not a notebook of format 4" in done.stdout + done.stderr
        )
    assert not list(workspace.reports.glob("2*"))
