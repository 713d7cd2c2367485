"""Whether an Application reads the files that a promotion edits: its repository, its branch, its path, its value files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from gitops_nb.argo.sources import Origin, branch_of, is_address, read_paths, sources_of
from gitops_nb.catalog.fleet import Repository
from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import UsageError
from gitops_nb.model import Json
from gitops_nb.ports import GitReader

KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_VALUE_FILE = re.compile(r"values[^/]*\.ya?ml")
"""What a file of values is called. Templates may read every other file of a chart by ``.Files``."""

_NAMED = (
    "resources",
    "bases",
    "components",
    "patchesStrategicMerge",
    "generators",
    "transformers",
    "crds",
    "configurations",
)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+]*:|[^/]*[@?]|[\w-]+(\.[\w-]+)*\.[a-z]{2,}/", re.IGNORECASE)
"""How a kustomization names what is in no folder of its repository: an address, or a host and what it has."""
_LIMIT = 200
"""Folders and files that are followed from one kustomization; a circle ends before it."""


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
    sources = sources_of(application.get("spec") or {})
    if not sources:
        return ("it names no source",)
    ours = [number for number, source in enumerate(sources) if origin.has(source)]
    if not ours:
        return tuple(dict.fromkeys(_other_origin(source, origin) for source in sources))
    types = _types(application, len(sources))
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


def _types(application: Json, count: int) -> list[str]:
    status = application.get("status") or {}
    many = [str(kind or "") for kind in status.get("sourceTypes") or ()]
    one = str(status.get("sourceType") or "")
    return many if len(many) == count else [one if count == 1 else ""] * count


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
    inside = _inside(path, file)
    kind = "Helm" if source.get("helm") and not kind else kind
    if kind == "Kustomize" and inside is None and file in _followed(git, repository, tip, path)[0]:
        return ""
    if inside is None:
        return f"its path is {path}"
    is_unread = _VALUE_FILE.fullmatch(inside) is not None and inside != "values.yaml"
    if kind == "Helm" and is_unread:
        named = ", ".join(read_paths(sources, number)) or "values.yaml alone"
        return f"it takes values from {named}"
    recurses = bool((source.get("directory") or {}).get("recurse"))
    if kind == "Directory" and "/" in inside and not recurses:
        return f"it reads {path} without the folders in it"
    return ""


def read_places(
    git: GitReader, application: Json, *, origin: Origin, repository: str, tip: str
) -> tuple[str, ...]:
    """Folders and files of the repository that an Application reads: its paths, and what they name outside of themselves.

    What a kustomization names is followed, and value files of a chart; see ``unread`` for what cannot be. The repository
    itself is "", and then the only one.

    Args:
        git: Reads them.
        application: As stored.
        origin: The repository and branch that fleet.yaml names.
        repository: Its name there.
        tip: The commit to look at.
    """
    sources = sources_of(application.get("spec") or {})
    found: list[str] = []
    for number, source in enumerate(sources):
        if not origin.has(source):
            continue
        # A source with a name and no path lends its files to the others.
        has_path = source.get("path") is not None
        path = posixpath.normpath(str(source.get("path") or "."))
        followed = sorted(_followed(git, repository, tip, path)[0]) if has_path else []
        named = [*followed, *read_paths(sources, number)]
        found += [path] if has_path else []
        found += [name for name in named if not has_path or _inside(path, name) is None]
    return ("",) if "." in found else tuple(dict.fromkeys(found))


def unread(
    git: GitReader, application: Json, *, origin: Origin, repository: str, tip: str
) -> tuple[str, ...]:
    """What an Application's sources in the repository bring that nobody can look at, in words: plugins, remote bases.

    See ``read_places`` for the arguments.
    """
    sources = sources_of(application.get("spec") or {})
    types = _types(application, len(sources))
    found: list[str] = []
    for source, kind in zip(sources, types, strict=True):
        if not origin.has(source) or source.get("path") is None:
            continue
        path = posixpath.normpath(str(source["path"]))
        if source.get("plugin") or kind == "Plugin":
            found.append(f"a plugin in {path}")
        if ((source.get("directory") or {}).get("jsonnet") or {}).get("libs"):
            found.append(f"libraries of Jsonnet in {path}")
        found += sorted(_followed(git, repository, tip, path)[1])
    return tuple(dict.fromkeys(found))


def _inside(folder: str, file: str) -> str | None:
    """A file's path in a folder, or None when it is elsewhere."""
    if folder in (".", "/"):
        return file
    start = f"{folder.strip('/')}/"
    return file.removeprefix(start) if file.startswith(start) else None


def _followed(git: GitReader, repository: str, tip: str, folder: str) -> tuple[set[str], set[str]]:
    """Every file that a kustomization names, by way of those that it names; and what it names elsewhere."""
    files: set[str] = set()
    elsewhere: set[str] = set()
    todo = [folder]
    seen: set[str] = set()
    while todo and len(seen) < _LIMIT:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        paths = [posixpath.normpath(posixpath.join(at, name)) for name in KUSTOMIZATION]
        for blob in git.read_many(repository, tip, paths):
            if blob is None:
                continue
            files.add(blob.path)
            for name in _names(blob.content):
                path = posixpath.normpath(posixpath.join(at, name))
                if path.startswith("..") or _ELSEWHERE.match(name):
                    elsewhere.add(f"{name}, which {blob.path} names")
                else:
                    files.add(path)
                    todo.append(path)
    if todo:
        elsewhere.add(f"more than {_LIMIT} folders and files that {folder} names")
    return files, elsewhere


def _names(content: bytes) -> Iterator[str]:
    """What a kustomization names: folders and files."""
    try:
        found = next(iter(kubernetes_objects(content)), None)
    except UsageError:
        return
    if not isinstance(found, dict):
        return
    for field in _NAMED:
        yield from (str(name) for name in found.get(field) or () if isinstance(name, str))
    for field in ("patches", "patchesJson6902", "replacements"):
        items = (item for item in found.get(field) or () if isinstance(item, dict))
        yield from (str(item["path"]) for item in items if item.get("path"))
    for field in ("configMapGenerator", "secretGenerator"):
        for item in found.get(field) or ():
            if isinstance(item, dict):
                named = [*(item.get("files") or ()), *(item.get("envs") or ()), item.get("env")]
                yield from (str(name).rpartition("=")[2] for name in named if name)
    for item in found.get("helmCharts") or ():
        if isinstance(item, dict) and item.get("valuesFile"):
            yield str(item["valuesFile"])
