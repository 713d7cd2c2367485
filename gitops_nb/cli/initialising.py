"""``gitops-nb init``: a workspace from what the package ships, and what a newer package would change in one."""

from __future__ import annotations

import difflib
import json
from pathlib import Path, PurePosixPath

import click

import gitops_nb
from gitops_nb import __version__
from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.workspace import FILE, find_workspace
from gitops_nb.errors import RecordError, UsageError
from gitops_nb.record.files import create_file, settled

_PACKAGE = Path(gitops_nb.__file__).parent
_OWN = Path(__file__).with_name("workspace")
_TEAM_FILES = frozenset(
    {"runbooks/fleet.yaml", "runbooks/policy.yaml", "runbooks/trust.yaml", "gitops-nb.yaml"}
)
"""Files that describe the team's own platform; an update shows their schema, never other values."""


def shipped() -> Path:
    """The folder with ``notebooks`` and ``runbooks``: in the wheel, or the repository one develops in."""
    packed = _PACKAGE / "shipped"
    return packed if packed.is_dir() else _PACKAGE.parent


def named_directory(directory: Path | None, workspace: Path | None, *, update: bool) -> Path:
    """The directory that ``init`` is about.

    Raises:
        UsageError: None is named, or two are.
        ConfigurationError: An update names none and no workspace lies upwards.
    """
    if directory and workspace:
        raise UsageError(
            "init got DIRECTORY and --workspace", hint="Give one: they name the same thing."
        )
    named = directory or workspace
    if named is None and not update:
        raise UsageError("init needs a directory", hint="Write `gitops-nb init platform-runbooks`.")
    return named or find_workspace().root


def workspace_files(reports: str | None = None) -> dict[str, bytes]:
    """Every file of a new workspace, by its path.

    ``reports`` is where its run records go, as gitops-nb.yaml says it; None is the folder ``reports``.
    """
    folder = _reports_folder(reports)
    described = (_OWN / "gitops-nb.yaml").read_bytes()
    if reports is not None:
        described += f"reports: {json.dumps(reports)}\n".encode()
    files = {
        "gitops-nb.yaml": described,
        ".gitignore": (_OWN / "gitignore").read_bytes(),
        **(
            {
                f"{folder}/README.md": (_OWN / "reports-README.md").read_bytes(),
                f"{folder}/.gitignore": (_OWN / "reports-gitignore").read_bytes(),
            }
            if folder
            else {}
        ),
        **{
            f".github/workflows/{name}": (_OWN / name)
            .read_bytes()
            .replace(b"VERSION", __version__.encode())
            for name in ("runbook.yml", "dora.yml")
        },
    }
    for folder, pattern in (("runbooks", "*.yaml"), ("notebooks", "*.ipynb")):
        for path in sorted((shipped() / folder).glob(pattern)):
            content = path.read_bytes()
            if folder == "runbooks":
                content = _schema_line(path.stem) + content
            files[f"{folder}/{path.name}"] = content
    return {**files, **schemas()}


def _reports_folder(reports: str | None) -> str:
    """The folder of the records inside the workspace; empty when they go elsewhere."""
    if reports is None:
        return "reports"
    folder = PurePosixPath(reports)
    inside = not folder.is_absolute() and ".." not in folder.parts and "://" not in reports
    return str(folder) if inside and folder.parts else ""


def schemas() -> dict[str, bytes]:
    """JSON Schemas for editors, generated from the models that check the files."""
    from gitops_nb.catalog.load import KINDS

    return {
        f"runbooks/schemas/{name.lower()}.schema.json": (
            json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        ).encode()
        for name, model in KINDS.items()
    }


def create_workspace(directory: Path, reports: str | None = None) -> None:
    """Writes a new workspace; see ``workspace_files`` for ``reports``.

    Raises:
        UsageError: A file of it exists already; nothing was written.
        RecordError: The directory cannot be written.
    """
    files = workspace_files(reports)
    existing = [name for name in files if (directory / name).exists()]
    if existing:
        raise UsageError(
            f"{directory} has {existing[0]} already; nothing was written",
            hint="Choose an empty directory, or see what is new with `gitops-nb init DIR --update`.",
        )
    try:
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            create_file(settled(path), content)
    except OSError as error:
        raise RecordError(f"cannot write {directory}: {error.strerror}") from error
    click.echo(f"{len(files)} files in {directory}")
    click.echo("  Commit them, then: gitops-nb run promotion -p application=checkout")
    click.echo(f"  in {directory}. It is the sandbox until gitops-nb.yaml says `mode: live`.")


def show_update(directory: Path, reports: str | None = None) -> int:
    """Prints a diff from the workspace to what this package would write; returns 1 when they differ.

    The records' folder is the one that the workspace names, or ``reports``. Values of the team's own files are left out; so are files that only the team has.
    """
    if not (directory / FILE).is_file():
        raise UsageError(f"no {FILE} in {directory}", hint=f"Run `gitops-nb init {directory}`.")
    differs = False
    for name, content in workspace_files(reports or _reports_of(directory)).items():
        if name in _TEAM_FILES:
            continue
        path = directory / name
        before = (
            path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        )
        after = content.decode().splitlines(keepends=True)
        if before != after:
            differs = True
            click.echo(
                "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")), nl=False
            )
    if not differs:
        click.echo(f"{directory} is what gitops_nb {__version__} ships")
    return int(differs)


def _reports_of(directory: Path) -> str | None:
    """What the workspace's own file says about the place of its records."""
    find_workspace(directory)
    value = strict_yaml.load(directory / FILE, name=FILE).value
    named = value.get("reports") if isinstance(value, dict) else None
    return str(named) if named is not None else None


def _schema_line(stem: str) -> bytes:
    kind = stem if stem in ("fleet", "policy", "trust") else "runbook"
    return f"# yaml-language-server: $schema=schemas/{kind}.schema.json\n".encode()
