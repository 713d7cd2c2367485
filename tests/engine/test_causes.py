"""A cell that raises says what, in the run's reason, however it came to raise."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from gitops_nb.model import Status
from gitops_nb.record.runs import read_run, run_directories
from tests.samples import few

RAISED = {
    "a value that cannot show itself": (
        "class X:\n    def _repr_html_(self):\n        raise ValueError('boom')\n\nX()",
        "ValueError: boom",
    ),
    "a value whose text fails": (
        "class X:\n    def __repr__(self):\n        raise OSError('no text')\n\nX()",
        "OSError: no text",
    ),
    "no text at all": ("raise KeyError", "KeyError"),
    "a text that begins with a blank line": ("raise ValueError('\\nboom\\nmore')", "ValueError: boom"),
    "a syntax error": ("x = = 1", "SyntaxError: invalid syntax"),
    "a group": ("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])", "ExceptionGroup: two"),
}  # fmt: skip


@pytest.mark.parametrize("name", few(RAISED, keep=2))
def test_a_raising_cell_says_its_exception(workspace, name):
    """The run's reason begins with the exception's name and first line, and no step after the cell began."""
    source, expected = RAISED[name]
    path = workspace.root / "notebooks" / "promotion.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3:3] = [new_code_cell(source)]
    nbformat.write(notebook, path)
    done = workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode == 70, done.stdout + done.stderr
    state = read_run(run_directories(workspace.reports)[0])
    assert state.status is Status.FAILED
    assert state.reason.startswith(expected), state.reason
    assert "NoneType" not in state.reason
    assert all(step.status is Status.PENDING for step in state.steps)
