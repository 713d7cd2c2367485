"""The wheel alone: installed into an empty environment it makes a workspace and runs there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        (str(uv), "build", "--wheel", "--quiet", "--out-dir", str(folder), str(REPOSITORY)),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_notebooks_and_runbooks(wheel):
    """Everything that `init` writes is in it, and nothing that runs at interpreter start."""
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("notebooks/promotion.ipynb", "runbooks/fleet.yaml", "runbooks/dora.yaml"):
        assert f"gitops_nb/shipped/{wanted}" in names
    assert "gitops_nb/cli/workspace/runbook.yml" in names
    assert [name for name in names if name.endswith(".pth") or "tests/" in name] == []


@pytest.mark.slow
def test_install_init_and_run_in_an_empty_environment(wheel, tmp_path):
    """Only the base dependencies, no JupyterLab: init, run, verify."""
    uv = str(Path(sys.executable).with_name("uv"))
    environment = tmp_path / "venv"
    subprocess.run(
        (uv, "venv", "--quiet", "--python", sys.executable, str(environment)),
        check=True,
        timeout=120,
    )
    python = environment / "bin" / "python"
    lock = REPOSITORY / "requirements.lock"
    subprocess.run(
        (uv, "pip", "install", "--quiet", "--python", str(python), "--constraint", str(constraints(lock, tmp_path)), str(wheel)),
        check=True, timeout=600,
    )  # fmt: skip
    listed = subprocess.run(
        (uv, "pip", "list", "--python", str(python)), capture_output=True, text=True, check=True
    )
    assert "jupyterlab" not in listed.stdout
    assert "ipywidgets" not in listed.stdout
    command = str(environment / "bin" / "gitops-nb")
    inside = {
        "cwd": tmp_path,
        "capture_output": True,
        "text": True,
        "timeout": 180,
        "env": dict(os.environ),
    }
    assert subprocess.run((command, "init", "team"), check=False, **inside).returncode == 0
    inside["cwd"] = tmp_path / "team"
    ran = subprocess.run(
        (command, "run", "promotion", "-p", "application=checkout"), check=False, **inside
    )
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert subprocess.run((command, "verify"), check=False, **inside).returncode == 0


def constraints(lock: Path, folder: Path) -> Path:
    """The lock's versions without hashes, as constraints for a wheel that is not in the lock."""
    lines = [line.split(" \\")[0] for line in lock.read_text().splitlines() if line[:1].isalnum()]
    path = folder / "constraints.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
