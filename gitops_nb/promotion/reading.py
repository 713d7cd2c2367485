"""Whether an Application reads the files that a promotion edits: its repository, its branch, its path, its value files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from gitops_nb.argo.sources import (
    Origin,
    branch_of,
    is_address,
    leaves_out,
    read_paths,
    sources_of,
)
from gitops_nb.catalog.fleet import Repository
from gitops_nb.model import Json
from gitops_nb.ports import GitReader
from gitops_nb.promotion.places import effective_sources, followed, inside, types_of

_VALUE_FILE = re.compile(r"values[^/]*\.ya?ml")
"""What a file of values is called. Templates may read every other file of a chart by ``.Files``."""


def origin_of(git: GitReader, name: str, repository: Repository, sources: Sequence[Json]) -> Origin:
    """The configuration repository as these sources name it. HEAD is the branch where the remote says so."""
    addresses = (repository.url, *repository.aliases)
    branches = [repository.branch]
    says_head = any(
        branch_of(source) == "HEAD" and is_address(source.get("repoURL") or "", addresses)
        for source in sources
    )
    if says_head and git.default_branch(name) == repository.branch:
        branches.append("HEAD")
    return Origin(addresses, tuple(branches))


def differences(
    git: GitReader,
    application: Json,
    *,
    origin: Origin,
    repository: str,
    tip: str,
    files: Sequence[str],
) -> tuple[str, ...]:
    """Why an Application does not deploy these files of the configuration repository; () when it does.

    Args:
        git: Follows kustomizations from folder to folder.
        application: As stored.
        origin: The repository and branch that fleet.yaml names.
        repository: Its name there.
        tip: The commit to look at.
        files: Paths of the promotable files.
    """
    named = sources_of(application.get("spec") or {})
    if not named:
        return ("it names no source",)
    sources, _ = effective_sources(
        git, application, named, origin=origin, repository=repository, tip=tip
    )
    ours = [number for number, source in enumerate(sources) if origin.has(source)]
    if not ours:
        return tuple(dict.fromkeys(_other_origin(source, origin) for source in sources))
    types = types_of(application, len(sources))
    found: list[str] = []
    for file in files:
        said = [
            _why_not(git, sources, number, types[number], file, repository=repository, tip=tip)
            for number in ours
        ]
        if all(said):
            found.append(f"{said[0]}, and fleet.yaml edits {file}")
    return tuple(dict.fromkeys(found))


def _other_origin(source: Json, origin: Origin) -> str:
    url = source.get("repoURL") or "nothing"
    if source.get("chart"):
        return f"it takes the chart {source['chart']} from {url}, and fleet.yaml says {origin.addresses[0]}"
    if not is_address(str(url), origin.addresses):
        return f"its repository is {url}, and fleet.yaml says {origin.addresses[0]}"
    return f"it follows {branch_of(source)}, and fleet.yaml says {origin.branches[0]}"


def _why_not(
    git: GitReader,
    sources: Sequence[Json],
    number: int,
    kind: str,
    file: str,
    *,
    repository: str,
    tip: str,
) -> str:
    """Why one source does not read a file, or ""."""
    source = sources[number]
    if file in read_paths(sources, number):
        return ""
    if source.get("path") is None and source.get("ref"):
        return f"it takes from the source {source['ref']} no such file"
    jsonnet = (source.get("directory") or {}).get("jsonnet") or {}
    if source.get("plugin") or kind == "Plugin" or jsonnet.get("libs"):
        return ""  # nobody but the program itself knows what it reads
    path = posixpath.normpath(str(source.get("path") or "."))
    within = inside(path, file)
    kind = "Helm" if source.get("helm") and not kind else kind
    if kind == "Kustomize" and within is None and file in followed(git, repository, tip, path):
        return ""
    if within is None:
        return f"its path is {path}"
    is_unread = _VALUE_FILE.fullmatch(within) is not None and within != "values.yaml"
    if kind == "Helm" and is_unread:
        named = ", ".join(read_paths(sources, number)) or "values.yaml alone"
        return f"it takes values from {named}"
    recurses = bool((source.get("directory") or {}).get("recurse"))
    if kind in ("Directory", "") and leaves_out(source.get("directory") or {}, within):
        return f"what it includes and excludes of {path} leaves the file out"
    if kind == "Directory" and "/" in within and not recurses:
        return f"it reads {path} without the folders in it"
    return ""
