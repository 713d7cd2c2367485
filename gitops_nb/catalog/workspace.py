"""The workspace: the folder with gitops-nb.yaml, and where its runbooks, notebooks and reports are.

Standard library and PyYAML only: ``gitops-nb list`` opens a workspace in a few milliseconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gitops_nb.catalog import strict_yaml
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Mode

FILE = "gitops-nb.yaml"
_KEYS = ("kind", "mode", "reports", "runbooks", "notebooks", "time_zone")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths are absolute. ``mode`` is None when the file leaves it open; a run then has to name it."""

    root: Path
    mode: Mode | None
    reports: Path
    runbooks: Path
    notebooks: Path
    time_zone: str = "UTC"

    @property
    def sandbox(self) -> Path:
        """Where the embedded platform keeps its state."""
        # A link shares one sandbox between two workspaces; its state names the folder it was built in.
        return (self.root / ".gitops-nb" / "sandbox").resolve()

    def notebook(self, runbook: str) -> Path:
        """The notebook of a runbook."""
        return self.notebooks / f"{runbook}.ipynb"


def find_workspace(
    given: str | Path | None = None, *, reports: str | Path | None = None
) -> Workspace:
    """Opens the workspace that is named, or the one that the current folder lies in.

    Order: ``given``, then GITOPS_NB_WORKSPACE, then the nearest folder upwards that has a gitops-nb.yaml.
    ``reports``, then GITOPS_NB_REPORTS, take the place of the file's reports folder.

    Raises:
        ConfigurationError: There is none, or its file is wrong.
    """
    named = given or os.environ.get("GITOPS_NB_WORKSPACE")
    if named:
        root = Path(named).resolve()
        if not (root / FILE).is_file():
            raise ConfigurationError(f"no {FILE} in {root}", hint=f"Run `gitops-nb init {named}`.")
    else:
        here = Path.cwd()
        root_or_none = next((p for p in (here, *here.parents) if (p / FILE).is_file()), None)
        if root_or_none is None:
            raise ConfigurationError(
                f"no {FILE} in {here} or above it",
                hint="Run `gitops-nb init DIR`, or name a workspace with --workspace.",
            )
        root = root_or_none
    return _read(root, reports or os.environ.get("GITOPS_NB_REPORTS"))


def _read(root: Path, reports: str | Path | None) -> Workspace:
    document = strict_yaml.load(root / FILE, name=FILE)
    value = document.value
    problems: list[str] = []
    if not isinstance(value, dict) or value.get("kind") != "Workspace":
        raise ConfigurationError(document.problem(("kind",), "'kind: Workspace' is due"))
    problems += [document.problem((key,), "unknown key") for key in value if key not in _KEYS]
    texts = {key: value.get(key) for key in ("reports", "runbooks", "notebooks", "time_zone")}
    problems += [
        document.problem((key,), f"text is due, not {text!r}")
        for key, text in texts.items()
        if text is not None and not isinstance(text, str)
    ]
    mode = value.get("mode")
    if mode not in (None, *Mode):
        problems.append(document.problem(("mode",), f"{mode!r}; allowed: sandbox, live"))
    if problems:
        raise ConfigurationError("\n".join(problems), hint="Mend the file; nothing was run.")
    where = Path(reports) if reports else root / (texts["reports"] or "reports")
    return Workspace(
        root=root,
        mode=Mode(mode) if mode else None,
        reports=where.resolve(),
        runbooks=root / (texts["runbooks"] or "runbooks"),
        notebooks=root / (texts["notebooks"] or "notebooks"),
        time_zone=texts["time_zone"] or "UTC",
    )
