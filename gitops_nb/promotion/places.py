"""Which places of a repository an Application reads, all that its files name elsewhere included; and what nobody can look at.

Whoever approves a sync consents to what is there, so it is followed as far as files say it: kustomizations, charts and their
dependencies, value files, override files, imports of Jsonnet, links. What only a program knows is named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops_nb.argo.overrides import OVERRIDE_FILES
from gitops_nb.argo.sources import Origin, read_paths
from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import UsageError
from gitops_nb.model import Json
from gitops_nb.ports import GitReader

KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
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
_IMPORT = re.compile(r"""\bimport(?:str|bin)?\s*(?:@?"([^"]*)"|@?'([^']*)')""")
_LINK, _MODULE = "120000 ", "160000 "
_LIMIT = 200
"""Folders and files that are followed from one source; a circle ends before it."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What an Application reads of one repository.

    ``places`` are folders and files; the repository itself is "", and then the only one. ``hidden`` names, in words, what of it
    nobody can look at.
    """

    places: tuple[str, ...]
    hidden: tuple[str, ...]


def reads(
    git: GitReader,
    application: Json,
    sources: Sequence[Json],
    *,
    origin: Origin,
    repository: str,
    tip: str,
) -> Reads:
    """What an Application reads of the configuration repository.

    Args:
        git: Reads it.
        application: As stored: its name, and what kind Argo CD found its sources to be.
        sources: Its sources, as it names them now or named them once.
        origin: The repository and branch that fleet.yaml names.
        repository: Its name there.
        tip: The commit to look at.
    """
    merged, odd = effective_sources(
        git, application, sources, origin=origin, repository=repository, tip=tip
    )
    types = types_of(application, len(merged))
    walk = _Walk(git, repository, tip, hidden=dict.fromkeys(odd))
    for number, source in enumerate(merged):
        if origin.has(source):
            walk.source(source, types[number], tuple(read_paths(merged, number)))
    return walk.found()


def effective_sources(
    git: GitReader,
    application: Json,
    sources: Sequence[Json],
    *,
    origin: Origin,
    repository: str,
    tip: str,
) -> tuple[tuple[Json, ...], tuple[str, ...]]:
    """The sources with what the override files in their folders say, as Argo CD takes them; and files that cannot be read.

    Source: argo-cd 3.0, docs/user-guide/parameters.md, "Store Overrides In Git"; the file of all Applications comes first.
    """
    name = str(((application or {}).get("metadata") or {}).get("name") or "")
    found: list[Json] = []
    odd: list[str] = []
    for source in sources:
        if not origin.has(source) or source.get("path") is None:
            found.append(source)
            continue
        folder = posixpath.normpath(str(source["path"]))
        paths = [
            posixpath.normpath(posixpath.join(folder, file.format(name=name)))
            for file in OVERRIDE_FILES
        ]
        merged = source
        for blob in git.read_many(repository, tip, paths):
            more = _document(blob.content) if blob is not None else {}
            if more is None:
                odd.append(f"{blob.path if blob else ''}, which cannot be read")
            merged = _merged(merged, more or {})
        # Where an Application is from is not for a file in it to say.
        kept = {key: source[key] for key in ("repoURL", "path", "targetRevision") if key in source}
        found.append({**merged, **kept})
    return tuple(found), tuple(odd)


def types_of(application: Json, count: int) -> list[str]:
    """What kind each of so many sources is, as Argo CD found; "" where it does not say."""
    status = (application or {}).get("status") or {}
    many = [str(kind or "") for kind in status.get("sourceTypes") or ()]
    one = str(status.get("sourceType") or "")
    return many if len(many) == count else [one if count == 1 else ""] * count


def inside(folder: str, file: str) -> str | None:
    """A file's path in a folder, or None when it is elsewhere."""
    if folder in ("", ".", "/"):
        return file
    start = f"{folder.strip('/')}/"
    return file.removeprefix(start) if file.startswith(start) else None


def followed(git: GitReader, repository: str, tip: str, folder: str) -> frozenset[str]:
    """Every file that a kustomization names, by way of those that it names."""
    walk = _Walk(git, repository, tip)
    walk.kustomization(folder)
    return frozenset(walk.places)


@dataclass(slots=True)
class _Walk:
    """One way through a repository; ``places`` and ``hidden`` are in the order in which they were found."""

    git: GitReader
    repository: str
    tip: str
    places: dict[str, None] = field(default_factory=dict)
    hidden: dict[str, None] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def source(self, source: Json, kind: str, named: Sequence[str]) -> None:
        """Follows one source; a source with a name and no path lends its files to the others."""
        self.places |= dict.fromkeys(named)
        if source.get("path") is None:
            return
        path = posixpath.normpath(str(source["path"]))
        self.places[path] = None
        if source.get("plugin") or kind == "Plugin":
            self.hidden[f"a plugin in {path}"] = None
        jsonnet = (source.get("directory") or {}).get("jsonnet") or {}
        for library in jsonnet.get("libs") or ():
            self._take(str(library), "the Application")
        for component in (source.get("kustomize") or {}).get("components") or ():
            todo: list[str] = []
            self._name(path, str(component), "the Application", todo)
            for at in todo:
                self.kustomization(at)
        self.kustomization(path)
        self._chart(path)
        if kind in ("", "Directory"):
            self._jsonnet(path)

    def found(self) -> Reads:
        """All places, links in them followed; those within another one are left out."""
        if "." in self.places or "" in self.places:
            self._links("")
            return Reads(("",), tuple(self.hidden))
        looked: set[str] = set()
        while rest := [place for place in self.places if place not in looked]:
            for place in rest:
                looked.add(place)
                self._links(place)
            if len(looked) > _LIMIT:
                self.hidden[f"more than {_LIMIT} folders and files"] = None
                break
        kept = [
            place
            for place in self.places
            if not any(other != place and inside(other, place) is not None for other in self.places)
        ]
        return Reads(tuple(kept), tuple(self.hidden))

    def kustomization(self, folder: str) -> None:
        """Follows what the kustomization of a folder names; nothing where there is none."""
        todo = [folder]
        while todo:
            at = todo.pop()
            if at in self.seen:
                continue
            if len(self.seen) >= _LIMIT:
                self.hidden[f"more than {_LIMIT} folders and files that {folder} names"] = None
                return
            self.seen.add(at)
            paths = [posixpath.normpath(posixpath.join(at, name)) for name in KUSTOMIZATION]
            for blob in self.git.read_many(self.repository, self.tip, paths):
                if blob is not None:
                    self.places[blob.path] = None
                    for name in _names(blob.content):
                        self._name(at, name, blob.path, todo)

    def _name(self, folder: str, name: str, by: str, todo: list[str]) -> None:
        path = posixpath.normpath(posixpath.join(folder, name))
        if path.startswith("..") or _ELSEWHERE.match(name):
            self.hidden[f"{name}, which {by} names"] = None
        else:
            self.places[path] = None
            todo.append(path)

    def _take(self, path: str, by: str) -> bool:
        """Adds a place; False where it lies outside of the repository."""
        path = posixpath.normpath(path)
        if path.startswith(("..", "/")):
            self.hidden[f"{path}, which {by} names"] = None
            return False
        self.places[path] = None
        return True

    def _chart(self, folder: str) -> None:
        """Follows the dependencies of a chart; one that is packed in its folder is looked at there."""
        files = [f"{folder}/Chart.yaml", f"{folder}/requirements.yaml"]
        self.seen.add(f"chart {folder}")
        for blob in self.git.read_many(
            self.repository, self.tip, [posixpath.normpath(file) for file in files]
        ):
            chart = _document(blob.content) if blob is not None else None
            for item in (chart or {}).get("dependencies") or ():
                if blob is not None and isinstance(item, dict):
                    self._dependency(folder, item, blob.path)

    def _dependency(self, folder: str, item: Mapping[str, Any], by: str) -> None:
        where, name = str(item.get("repository") or ""), str(item.get("name") or "")
        if where.startswith("file://"):
            path = posixpath.normpath(posixpath.join(folder, where.removeprefix("file://")))
            if self._take(path, by) and f"chart {path}" not in self.seen:
                self._chart(path)
            return
        packed = posixpath.normpath(f"{folder}/charts")
        held = self.git.blobs(self.repository, self.tip, packed)
        if not any(path.startswith((f"{packed}/{name}/", f"{packed}/{name}-")) for path in held):
            self.hidden[
                f"chart {name} {item.get('version') or ''} of {where}, which {by} names"
            ] = None

    def _jsonnet(self, folder: str) -> None:
        """Follows the imports of Jsonnet files in a folder."""
        held = self.git.blobs(self.repository, self.tip, "" if folder == "." else folder)
        todo = [path for path in held if path.endswith((".jsonnet", ".libsonnet"))]
        while todo and len(self.seen) < _LIMIT:
            at = todo.pop()
            if at in self.seen:
                continue
            self.seen.add(at)
            (blob,) = self.git.read_many(self.repository, self.tip, [at])
            text = blob.content.decode(errors="replace") if blob is not None else ""
            for match in _IMPORT.finditer(text):
                path = posixpath.normpath(
                    posixpath.join(posixpath.dirname(at), match[1] or match[2])
                )
                if self._take(path, at):
                    todo.append(path)

    def _links(self, place: str) -> None:
        """Adds what links in a place lead to: git knows a link's text, and Argo CD reads what is there."""
        for path, about in self.git.blobs(self.repository, self.tip, place).items():
            if about.startswith(_MODULE):
                self.hidden[f"the submodule {path}"] = None
            if not about.startswith(_LINK):
                continue
            (content,) = self.git.contents(self.repository, [about.removeprefix(_LINK)])
            text = content.decode(errors="replace")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
            if text.startswith("/") or target.startswith(".."):
                self.hidden[f"{text}, which the link {path} leads to"] = None
            elif place:
                self.places[target] = None


def _document(content: bytes) -> dict[str, Any] | None:
    """The first document of a file, {} where it is empty; None where it is no mapping."""
    try:
        found: Any = next(iter(kubernetes_objects(content)), {})
    except UsageError:
        return None
    return found if isinstance(found, dict) else None


def _merged(value: Any, more: Any) -> Any:
    """As a JSON merge patch."""
    if not isinstance(more, dict):
        return more
    result = dict(value) if isinstance(value, dict) else {}
    for key, item in more.items():
        if item is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), item)
    return result


def _names(content: bytes) -> Iterator[str]:
    """What a kustomization names: folders and files."""
    try:
        found = next(iter(kubernetes_objects(content)), None)
    except UsageError:
        return
    if not isinstance(found, dict):
        return
    for part in _NAMED:
        yield from (str(name) for name in found.get(part) or () if isinstance(name, str))
    for part in ("patches", "patchesJson6902", "replacements"):
        items = (item for item in found.get(part) or () if isinstance(item, dict))
        yield from (str(item["path"]) for item in items if item.get("path"))
    for part in ("configMapGenerator", "secretGenerator"):
        for item in found.get(part) or ():
            if isinstance(item, dict):
                named = [*(item.get("files") or ()), *(item.get("envs") or ()), item.get("env")]
                yield from (str(name).rpartition("=")[2] for name in named if name)
    for item in found.get("helmCharts") or ():
        if isinstance(item, dict):
            named = [item.get("valuesFile"), *(item.get("additionalValuesFiles") or ())]
            yield from (str(name) for name in named if name)
            yield str(item.get("repo") or f"charts/{item.get('name')}")
