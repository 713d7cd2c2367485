"""Outputs of our engine against papermill's, cell by cell: type, data, text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from tests.engine.outputs import ARGUMENTS, differences, run_both

SHELL = """
import builtins, os, pickle, sys, __main__
shell = get_ipython()
class Own: pass
print({k: os.environ.get(k) for k in ("TERM", "PAGER", "GIT_PAGER", "CLICOLOR", "FORCE_COLOR", "CLICOLOR_FORCE")})
print(type(pickle.loads(pickle.dumps(Own()))) is Own, sys.modules["__main__"] is shell.user_module, sys.ps1, sys.ps2)
print(vars(__main__) is shell.user_ns, globals() is shell.user_ns, builtins.display is display, __IPYTHON__)
print(shell.kernel.shell is shell, shell.parent is shell.kernel, type(shell.compile), [type(c) for c in shell.configurables if c is not shell.kernel.parent])
print(os.path.basename(shell.profile_dir.location), shell.starting_dir == os.getcwd(), sorted(shell.user_ns_hidden))
print(shell.displayhook.topic.startswith(b"kernel."), shell.display_pub.pub_socket is shell.kernel.iopub_socket)
"""

KINDS = {
    "stdout": "print('a'); print('b', end='')",
    "both streams": "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); print('out again')",
    "carriage returns": "print('10 %\\r20 %\\rdone')",
    "expression": "{'a': 1}",
    "display": "from IPython.display import display; display('x', [1], None)",
    "html": "from IPython.display import HTML; HTML('<b>x</b>')",
    "markdown": "from IPython.display import Markdown; Markdown('# x')",
    "json": "from IPython.display import JSON; JSON({'a': [1]})",
    "latex": "from IPython.display import Latex; Latex('$x^2$')",
    "svg": "from IPython.display import SVG; SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
    "javascript": "from IPython.display import Javascript; Javascript('1')",
    "png": "from IPython.display import Image; import base64; Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='))",
    "own mime types": "class B:\n    def _repr_mimebundle_(self, **_):\n        return {'text/plain': 'b', 'application/x-own+json': {'k': [1, 2]}}\nB()",
    "metadata": "display('x', metadata={'m': 1})",
    "updated display": "h = display('before', display_id=True); h.update('after')",
    "cleared output": "from IPython.display import clear_output; print('gone'); clear_output(); print('kept')",
    "clear later": "print('gone'); clear_output(wait=True); print('kept')",
    "child process": "import subprocess; _ = subprocess.run(['echo', 'from a child'])",
    "shell": "!echo shell",
    "magic": "%precision 3",
    "await": "import asyncio; await asyncio.sleep(0); print('awaited')",
    "warning": "import warnings; warnings.warn('w', stacklevel=1)",
    "data frame": "import pandas as pd; pd.DataFrame({'a': [1], 'b': ['<x>']})",
    "figure": "import plotly.graph_objects as go; go.Figure(go.Bar(x=['a'], y=[1]))",
    "large": "print('x' * 200_000)",
    "many messages": "for i in range(300):\n    print(i, flush=True)",
    "surrogates": "print('\\ud800 é 🚀'.encode('utf-8', 'replace').decode())",
    "display in another cell": "h.update('later still')",
    "the shell": SHELL,
    "nothing": "x = 1",
}


OUTPUT_WIDGET = "import ipywidgets\no = ipywidgets.Output()\nwith o:\n    print('caught')\n    display('shown')\nprint('outside', len(o.outputs))"
"""Not among the kinds: papermill itself waits for ever, now and then, for what such a widget says."""


def with_every_kind(path: Path) -> None:
    """Puts a cell for each kind of output before the session opens."""
    notebook = nbformat.read(path, as_version=4)
    cells = [new_code_cell(source) for source in KINDS.values()]
    notebook.cells[3:3] = cells
    nbformat.write(notebook, path)


@pytest.mark.slow
@pytest.mark.torture
def test_every_kind_of_output_is_that_of_papermill(workspace):
    """Streams, results, displays and their updates, every MIME type, children, warnings, large and many outputs."""
    with_every_kind(workspace.root / "notebooks/promotion.ipynb")
    assert differences(*run_both(workspace.root, "promotion")) == []


@pytest.mark.slow
def test_an_output_widget_ends_no_run(workspace):
    """What is printed in one is the widget's, which is not stored; what is printed beside it is the cell's."""
    path = workspace.root / "notebooks/promotion.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3:3] = [new_code_cell(OUTPUT_WIDGET)]
    nbformat.write(notebook, path)
    done = workspace.run("run", "promotion", "-p", "application=catalog")
    assert done.returncode == 0, done.stdout + done.stderr
    (newest,) = workspace.reports.glob("2*")
    ours = nbformat.read(newest / "notebook.ipynb", as_version=4)
    cell = next(c for c in ours.cells if "ipywidgets.Output" in c.source)
    texts = [o.text for o in cell.outputs if o.output_type == "stream"]
    assert "".join(texts).splitlines()[-1].startswith("outside")
    assert "caught" not in "".join(texts)


@pytest.mark.torture
@pytest.mark.parametrize("runbook", sorted(ARGUMENTS))
def test_every_shipped_notebook_shows_what_papermill_shows(workspace, runbook):
    """Cell by cell, but for times, run ids and digests."""
    assert differences(*run_both(workspace.root, runbook)) == []


@pytest.mark.torture
def test_a_failing_cell_shows_what_papermill_shows(workspace, tmp_path):
    """Name and text of an exception, and the output before it; papermill's banners are its own."""
    path = workspace.root / "notebooks/promotion.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3:3] = [new_code_cell("print('before')\n1 / 0")]
    nbformat.write(notebook, path)
    done = workspace.run("run", "promotion", "-p", "application=catalog")
    assert done.returncode == 70
    assert "ZeroDivisionError: division by zero" in done.stdout
    newest = next(workspace.reports.glob("2*"))
    ours = nbformat.read(newest / "notebook.ipynb", as_version=4)
    theirs = tmp_path / "out.ipynb"
    subprocess.run(
        (str(Path(sys.executable).with_name("papermill")), str(path), str(theirs), "-p", "application", "catalog"),
        cwd=workspace.root, capture_output=True, check=False,
    )  # fmt: skip

    def shown(notebook):
        cell = next(c for c in notebook.cells if "1 / 0" in c.source and c.cell_type == "code")
        return [
            (o.output_type, o.get("text"), o.get("ename"), o.get("evalue")) for o in cell.outputs
        ]

    assert shown(ours) == shown(nbformat.read(theirs, as_version=4)) == [
        ("stream", "before\n", None, None),
        ("error", None, "ZeroDivisionError", "division by zero"),
    ]  # fmt: skip
