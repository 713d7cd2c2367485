"""Workspaces for tests: what `gitops-nb init` writes, with a sandbox that is built once per worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitops_nb.cli.initialising import create_workspace

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
COMMAND = Path(sys.executable).with_name("gitops-nb")
SEED = int(os.environ.get("GITOPS_NB_SEED", "20261123"))
"""What chooses among cases; the variable of that name repeats a run with another one."""


def pytest_report_header() -> str:
    """The seed, so that a run can be repeated."""
    return f"seed: {SEED} (GITOPS_NB_SEED)"


def pytest_terminal_summary(terminalreporter) -> None:
    """How many cases stood behind tests that try many in one."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "cases" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(f"{value} cases, {report.outcome}: {report.nodeid}")


def _forget_surroundings(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Takes the person's settings, CI's identity and another run's variables away."""
    for name in list(os.environ):
        if name.startswith(("GITOPS_NB_", "GITHUB_")) or name == "CI":
            monkeypatch.delenv(name)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _environment_of_shared_fixtures(tmp_path_factory):
    """What is made once for many tests is made before any test's own environment is there."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _forget_surroundings(monkeypatch, tmp_path_factory.mktemp("person") / "home")
        yield


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    """A home of its own for each test, and nothing that a test before it left in the environment or in the process."""
    _forget_surroundings(monkeypatch, tmp_path / "home")
    # A workspace of another test may have lain in the same place: what a process remembers of it is not this one's.
    for name, memory in (("origins", "_SEEN"), ("held", "_BEGAN")):
        if (module := sys.modules.get(f"gitops_nb.session.{name}")) is not None:
            monkeypatch.setattr(module, memory, {})


@dataclass(frozen=True)
class Workspace:
    """A workspace folder, and the command line in it."""

    root: Path

    @property
    def reports(self) -> Path:
        """Where its runs are."""
        return self.root / "reports"

    def run(
        self, *arguments: str, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs gitops-nb as a process of its own."""
        return subprocess.run(
            (str(COMMAND), *arguments),
            cwd=self.root,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def write(self, name: str, text: str) -> None:
        """Replaces one file."""
        (self.root / name).write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces a text that has to be in the file."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        self.write(name, text.replace(old, new))


@pytest.fixture(scope="session")
def _pristine(tmp_path_factory) -> tuple[Path, Path]:
    """One workspace with a built sandbox, and an untouched copy of it; a sandbox stays where it was built."""
    from gitops_nb.catalog.load import load_catalog
    from gitops_nb.sandbox import open_sandbox

    base = tmp_path_factory.mktemp("workspace")
    root, copy = base / "platform", base / "untouched"
    create_workspace(root)
    open_sandbox(root / ".gitops-nb" / "sandbox", load_catalog(root / "runbooks").fleet)
    shutil.copytree(root, copy, symlinks=True)
    return root, copy


@pytest.fixture
def workspace(_pristine) -> Workspace:
    """A new workspace whose sandbox is as built."""
    root, copy = _pristine
    shutil.rmtree(root)
    shutil.copytree(copy, root, symlinks=True)
    return Workspace(root)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared: tests on real data are skipped")
    return SHARED
