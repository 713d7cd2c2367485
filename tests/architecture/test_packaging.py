"""The files that say what is installed agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from tests.conftest import REPOSITORY

CONDA_NAMES = {
    "duckdb": "python-duckdb",
    "ibis-framework": "ibis-duckdb",
    "jupyter-client": "jupyter_client",
    "kubernetes": "python-kubernetes",
    "tzdata": "python-tzdata",
}
"""Where conda-forge calls a package otherwise than the package index."""
TOOLS = {"git", "openssh", "opentofu", "terragrunt", "kubernetes-client", "kubernetes-helm"}


def project() -> dict:
    """pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_environment_yml_is_pyproject_and_the_tools():
    """environment.yml holds the base and lab dependencies with the same bounds, and the workstation's tools."""
    declared = project()["project"]
    wanted = {"python" + declared["requires-python"]}
    for requirement in [*declared["dependencies"], *declared["optional-dependencies"]["lab"]]:
        name, bound = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[[a-z]+\])?(.*)", requirement).groups()
        wanted.add(CONDA_NAMES.get(name.lower(), name.lower()) + bound)
    listed = set(
        yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    )
    tools = {item for item in listed if re.split(r"[=<>]", item)[0] in TOOLS}
    assert listed - tools == wanted
    assert {re.split(r"[=<>]", item)[0] for item in tools} == TOOLS


def test_the_lock_has_hashes_and_no_addresses():
    """requirements.lock pins by hash, names no index, and leaves the slow import out."""
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
    assert "://" not in text
    assert "rfc3987-syntax" not in pinned
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert [
        b.splitlines()[0] for b in blocks if "==" in b.splitlines()[0] and "--hash=sha256:" not in b
    ] == []


def test_the_lock_fits_pyproject():
    """Every dependency of pyproject.toml is pinned in the lock."""
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
    toml = project()
    wanted = [
        *toml["project"]["dependencies"],
        *toml["project"]["optional-dependencies"]["lab"],
        *toml["dependency-groups"]["dev"],
    ]
    assert {re.match(r"[A-Za-z0-9-]+", r)[0].lower() for r in wanted} - pinned == set()


def loaded_by(*arguments: str, folder: Path = REPOSITORY) -> set[str]:
    """Top-level modules that a command has imported when it ends."""
    code = (
        "import sys, io, contextlib\n"
        f"sys.argv = ['gitops-nb', *{list(arguments)!r}]\n"
        "from gitops_nb.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_help_and_list_stay_light(workspace):
    """`--help`, `list` and `list runs` load neither pydantic nor rich nor pandas, with runs of this machine as well."""
    heavy = {
        "pydantic",
        "rich",
        "pandas",
        "papermill",
        "nbclient",
        "IPython",
        "duckdb",
        "plotly",
        "kubernetes",
    }
    assert loaded_by("--help") & heavy == set()
    assert loaded_by("list") & heavy == set()
    assert workspace.run("run", "promotion", "-p", "application=catalog").returncode == 0
    assert loaded_by("list", "runs", folder=workspace.root) & heavy == set()


def test_wrong_parameters_are_refused_before_anything_heavy():
    """An unknown parameter is answered without pydantic, kernel or sandbox."""
    heavy = {"pydantic", "rich", "pandas", "nbclient", "jupyter_client", "kubernetes"}
    assert loaded_by("run", "promotion", "-p", "aplication=checkout") & heavy == set()


def test_no_process_of_ours_imports_the_slow_grammar(tmp_path):
    """Where JupyterLab brought rfc3987_syntax, engine, kernel and notebooks do without it."""
    (tmp_path / "rfc3987_syntax.py").write_text("raise SystemExit('imported')\n")
    code = "import sys\nimport gitops_nb.notebook\nimport nbformat\nimport jsonschema._format\n"
    done = subprocess.run(
        (sys.executable, "-c", code), env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert loaded_without(tmp_path, "import jsonschema._format\n") == "imported"


def loaded_without(folder, code: str) -> str:
    """What the same interpreter prints without gitops_nb: the import would really happen."""
    done = subprocess.run(
        (sys.executable, "-c", code), env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    return done.stderr.strip()


def test_our_models_are_built_without_looking_for_plugins():
    """Pydantic looks for plugins in every installed package only when a notebook builds a model of its own."""
    code = """
import pydantic
import pydantic.plugin._loader as loader
asked = []
loader.entry_points = lambda **_: asked.append(1) or ()
import gitops_nb.catalog.load, gitops_nb.cli.matrix
from gitops_nb.model import Plan, reader
reader(Plan)
assert not asked
class Own(pydantic.BaseModel):
    a: int
assert asked
"""
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_no_pth_file():
    """Nothing in the package runs at interpreter start."""
    assert list((REPOSITORY / "gitops_nb").rglob("*.pth")) == []
