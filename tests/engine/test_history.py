"""IPython's history, which keeps the source of cells unmasked, does not exist where we start the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

MARK = "typed-into-a-cell-4711"


def test_a_headless_run_leaves_no_history(workspace, tmp_path):
    """What a cell says stands in no file of the person's home, and there is no history at all."""
    path = workspace.root / "notebooks" / "promotion.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3:3] = [new_code_cell(f"secret = {MARK!r}")]
    nbformat.write(notebook, path)
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--plan")
    assert done.returncode == 0, done.stdout + done.stderr
    home = Path(os.environ["HOME"])
    files = [found for found in home.rglob("*") if found.is_file()]
    assert [str(found) for found in files if MARK.encode() in found.read_bytes()] == []
    assert not list(home.rglob("history.sqlite"))


def test_the_docs_say_where_a_history_is_kept():
    """JupyterLab's and plain papermill's kernels are not ours: the page about secrets names the file and how to switch it off."""
    page = (Path(__file__).parents[2] / "docs" / "secrets.md").read_text(encoding="utf-8")
    for wanted in ("history.sqlite", "JupyterLab and plain papermill", "HistoryManager.enabled"):
        assert wanted in page
