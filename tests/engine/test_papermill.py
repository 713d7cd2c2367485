"""`papermill --engine gitops_nb`: a supervised run behind papermill's command, and what it costs everybody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAPERMILL = str(Path(sys.executable).with_name("papermill"))


def papermill(workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Our engine behind papermill's command, in the workspace."""
    return subprocess.run(
        (PAPERMILL, "--engine", "gitops_nb", *arguments),
        cwd=workspace.root, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "CI": ""},
    )  # fmt: skip


def statuses(path: Path) -> list[str]:
    """The status, in papermill's words, of each code cell."""
    cells = json.loads(path.read_bytes())["cells"]
    return [c["metadata"]["papermill"]["status"] for c in cells if c["cell_type"] == "code"]


def test_the_module_that_papermill_always_imports_is_tiny():
    """Whatever engine papermill is asked for, ours costs it two modules and nothing heavy."""
    code = "import sys; before = set(sys.modules); import gitops_nb.papermill; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith("gitops_nb")] == [
        "gitops_nb",
        "gitops_nb.papermill",
    ]
    assert not {"papermill", "pydantic", "nbclient", "nbformat", "click", "yaml"} & set(loaded)


def test_a_run_that_waits_ends_with_1_and_true_statuses(workspace):
    """The copy says which cells did not run, the journal that the run waits; the gate's sentence is printed."""
    done = papermill(
        workspace, "notebooks/promotion.ipynb", "out.ipynb", "-p", "application", "checkout"
    )
    assert done.returncode == 1
    assert "waiting for 1 approval" in done.stderr
    assert "Traceback" not in done.stderr
    copy = workspace.root / "out.ipynb"
    assert statuses(copy) == ["completed"] * 6 + ["failed"] + ["pending"] * 3
    directory = next(workspace.reports.glob("2*"))
    document = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    assert document["status"] == "waiting"
    assert json.loads(copy.read_bytes())["metadata"]["gitops_nb"]["run"] == directory.name


@pytest.mark.torture
def test_a_run_that_succeeds_ends_with_0(workspace):
    """All cells are completed, and the outputs are in papermill's file."""
    done = papermill(
        workspace, "notebooks/promotion.ipynb", "out.ipynb", "-p", "application", "catalog"
    )
    assert done.returncode == 0, done.stderr
    assert set(statuses(workspace.root / "out.ipynb")) == {"completed"}
    assert "already runs in production" in (workspace.root / "out.ipynb").read_text(
        encoding="utf-8"
    )


@pytest.mark.torture
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-p", "aplication", "checkout"), "aplication: unknown parameter"),
        (("-p", "application", "007"), "application"),
    ],
)
def test_wrong_parameters_start_nothing(workspace, arguments, says):
    """What papermill only warns about is refused before a run exists."""
    done = papermill(workspace, "notebooks/promotion.ipynb", "out.ipynb", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(workspace.reports.glob("2*")) == []


@pytest.mark.torture
def test_another_notebook_is_refused(workspace):
    """The engine runs what the workspace's catalog knows, and nothing that was changed beside it."""
    path = workspace.root / "notebooks" / "promotion.ipynb"
    changed = json.loads(path.read_bytes())
    changed["cells"].append(
        {
            "cell_type": "code",
            "source": "x = 1",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": "x",
        }
    )
    other = workspace.root / "promotion.ipynb"
    other.write_text(json.dumps(changed), encoding="utf-8")
    done = papermill(workspace, str(other), "out.ipynb", "-p", "application", "checkout")
    assert done.returncode == 1
    assert "is not the notebook of a runbook" in done.stderr
    assert list(workspace.reports.glob("2*")) == []
