"""The workspace: the folder with gitops-nb.yaml, and where its runbooks, notebooks and reports are.

Standard library and PyYAML only: ``gitops-nb list`` opens a workspace in a few milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.engines import EngineChoice, read_engine
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Mode

FILE = "gitops-nb.yaml"
OWN = ".gitops-nb"
VARIABLE = "GITOPS_NB_WORKSPACE"
_KEYS = ("kind", "mode", "reports", "locks", "runbooks", "notebooks", "time_zone", "engine")
_TEXTS = ("reports", "locks", "runbooks", "notebooks", "time_zone")
# A Path keeps one of the two slashes.
_BUCKET = re.compile(r"gs:/+([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/([A-Za-z0-9._/=-]*))?")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths are absolute. ``mode`` is None when the file leaves it open; a run then has to name it.

    ``bucket`` is ``gs://BUCKET/PREFIX`` where the reports are kept in one, else ""; ``reports`` then is this machine's
    copy of it. ``locks`` is the bucket of the locks, "" where they are for this machine only. ``named_by`` is the variable that
    chose the folder, "" where a person or the current folder did. ``engine`` measures collected facts.
    """

    root: Path
    mode: Mode | None
    reports: Path
    runbooks: Path
    notebooks: Path
    time_zone: str = "UTC"
    bucket: str = ""
    locks: str = ""
    named_by: str = ""
    engine: EngineChoice = field(default_factory=EngineChoice)

    @property
    def own(self) -> Path:
        """What belongs to this machine and no record: locks, keys, caches."""
        return self.root / OWN

    @property
    def index_cache(self) -> Path:
        """What is known of the rows of the index: nowhere below the reports, whose writers would write what it says."""
        name = hashlib.sha256(str(self.reports).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return self.own / "index" / f"{name}.jsonl"

    @property
    def sandbox(self) -> Path:
        """Where the embedded platform keeps its state."""
        # A link shares one sandbox between two workspaces; its state names the folder it was built in.
        return (self.own / "sandbox").resolve()

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
    named = given or os.environ.get(VARIABLE)
    if named:
        root = Path(named).resolve()
        if not (root / FILE).is_file():
            raise ConfigurationError(f"no {FILE} in {root}", hint=f"Run `gitops-nb init {named}`.")
    else:
        here = Path.cwd()
        root_or_none = _nearest(here)
        if root_or_none is None:
            raise ConfigurationError(
                f"no {FILE} in {here} or above it",
                hint="Run `gitops-nb init DIR`, or name a workspace with --workspace.",
            )
        root = root_or_none
    found = _read(root, reports or os.environ.get("GITOPS_NB_REPORTS"))
    return found if given or not named else replace(found, named_by=VARIABLE)


def locks_of(content: bytes) -> str:
    """The bucket of the locks that a workspace's file names, see ``Workspace.locks``.

    Raises:
        ConfigurationError: It is no such file, or it names no bucket.
    """
    value = strict_yaml.parse(content, name=FILE).value
    texts = value if isinstance(value, dict) else {}
    return _locks(str(texts.get("locks") or ""), str(texts.get("reports") or ""))


def _locks(locks: str, reports: str) -> str:
    # Where the workspace keeps its records its locks are, too; --reports moves no lock.
    return _bucket(locks) or _bucket(reports)


def _nearest(here: Path) -> Path | None:
    """The nearest folder upwards that is a workspace; nothing that lies in the reports or the own folder of another one is."""
    found = [
        folder
        for folder in (here, *here.parents)
        if (folder / FILE).is_file() and OWN not in folder.resolve().parts
    ]
    for inner in found:
        outer = (folder for folder in found if folder in inner.parents)
        if not any(_is_below_reports(inner, folder) for folder in outer):
            return inner
    return None


def _is_below_reports(inner: Path, root: Path) -> bool:
    try:
        return inner.resolve().is_relative_to(_read(root, None).reports)
    except ConfigurationError:
        return False


def _read(root: Path, reports: str | Path | None) -> Workspace:
    document = strict_yaml.load(root / FILE, name=FILE)
    value = document.value
    problems: list[str] = []
    if not isinstance(value, dict) or value.get("kind") != "Workspace":
        raise ConfigurationError(document.problem(("kind",), "'kind: Workspace' is due"))
    problems += [document.problem((key,), "unknown key") for key in value if key not in _KEYS]
    texts = {key: value.get(key) for key in _TEXTS}
    problems += [
        document.problem((key,), f"text is due, not {text!r}")
        for key, text in texts.items()
        if text is not None and not isinstance(text, str)
    ]
    mode = value.get("mode")
    if mode not in (None, *Mode):
        problems.append(document.problem(("mode",), f"{mode!r}; allowed: sandbox, live"))
    engine = EngineChoice()
    try:
        engine = read_engine(value.get("engine"))
    except ValueError as error:
        problems.append(document.problem(("engine",), str(error)))
    if problems:
        raise ConfigurationError("\n".join(problems), hint="Mend the file; nothing was run.")
    given = str(reports or texts["reports"] or "reports")
    bucket = _bucket(given)
    if bucket:
        where = root / OWN / "spool" / bucket.removeprefix("gs://")
    else:
        where = Path(reports) if reports else root / given
    return Workspace(
        root=root,
        mode=Mode(mode) if mode else None,
        reports=where.resolve(),
        runbooks=root / (texts["runbooks"] or "runbooks"),
        notebooks=root / (texts["notebooks"] or "notebooks"),
        time_zone=texts["time_zone"] or "UTC",
        bucket=bucket,
        locks=_locks(texts["locks"] or "", texts["reports"] or ""),
        engine=engine,
    )


def _bucket(text: str) -> str:
    """``gs://BUCKET/PREFIX``, or "" for a folder.

    >>> _bucket("gs://records/platform/"), _bucket("reports")
    ('gs://records/platform', '')
    """
    if not text.startswith("gs:/"):
        return ""
    match = _BUCKET.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not gs://BUCKET/PREFIX", hint="Name a bucket.")
    prefix = "/".join(part for part in (match[2] or "").split("/") if part.strip("."))
    return f"gs://{match[1]}/{prefix}".rstrip("/")
