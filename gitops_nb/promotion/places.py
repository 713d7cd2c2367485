"""Which places of a repository an Application reads, all that its files name elsewhere included; and what nobody can look at.

Whoever approves a sync consents to what is there, so it is followed as far as files say it: kustomizations, charts and their
dependencies, value files, override files, imports of Jsonnet, links. What only a program knows is named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gitops_nb.argo.overrides import OVERRIDE_FILES
from gitops_nb.argo.sources import Origin, read_paths
from gitops_nb.edits import KUSTOMIZATIONS, kubernetes_objects
from gitops_nb.errors import UsageError
from gitops_nb.model import Blob, Json
from gitops_nb.ports import GitReader

_NAMED = (
    "resources",
    "bases",
    "components",
    "patchesStrategicMerge",
    "crds",
    "configurations",
)
"""Parts of a kustomization whose items are files, folders or addresses; a patch may stand there itself."""
_WITH_PATH = ("patches", "patchesJson6902", "replacements")
_PROGRAMS = ("generators", "transformers", "validators", "helmChartInflationGenerator")
"""Parts that configure programs: which files those read stands in their own files, or nowhere."""
_COPIES = ("replacements", "vars", *_PROGRAMS)
"""Parts that put a value of one object into another one."""
_WITHOUT_FILES = (
    "apiVersion", "kind", "metadata", "namespace", "namePrefix", "nameSuffix", "labels", "commonLabels",
    "commonAnnotations", "images", "imageTags", "replicas", "vars", "generatorOptions", "buildMetadata", "sortOptions",
)  # fmt: skip
_HELM = frozenset((
    "name", "version", "repo", "releaseName", "namespace", "nameTemplate", "valuesFile", "additionalValuesFiles",
    "valuesInline", "valuesMerge", "includeCRDs", "skipHooks", "skipTests", "apiVersions", "kubeVersion", "debug", "devel",
))  # fmt: skip
_KNOWN = frozenset(
    (
        *_NAMED,
        *_WITH_PATH,
        "configMapGenerator",
        "secretGenerator",
        *_PROGRAMS,
        *_WITHOUT_FILES,
        "helmCharts",
        "helmGlobals",
        "openapi",
    )
)
"""What kustomize 5 has; source: its api/types/kustomization.go. What is none of these may name any file."""
_DECIDES = (
    *_NAMED, *_WITH_PATH, *_PROGRAMS, "configMapGenerator", "secretGenerator", "helmCharts", "helmGlobals", "openapi",
    "path", "files", "envs", "env", "valuesFile", "additionalValuesFiles", "repo", "chartHome", "dependencies", "repository",
    "helm", "kustomize", "directory", "plugin", "ref", "valueFiles", "fileParameters", "jsonnet", "libs", "tlas", "extVars",
)  # fmt: skip
"""Keys that say, anywhere in such a file, what else is read."""
_FOLDED = {name.casefold(): name for name in _DECIDES}
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+]*:|[^/]*[@?]|[\w-]+(\.[\w-]+)*\.[a-z]{2,}/", re.IGNORECASE)
"""How a kustomization names what is in no folder of its repository: an address, or a host and what it has."""
_IMPORT = re.compile(r"""\bimport(?:str|bin)?\s*(?:@?"([^"]*)"|@?'([^']*)')""")
_IMPORTS = re.compile(r"\bimport(?:str|bin)?\b")
_VARIABLE = re.compile(r"[$*?\[{]")
"""What stands in the name of a value file where Argo CD puts something else in: a build variable, or a pattern."""
_TEMPLATE = re.compile(r"(charts/[^/]+/)*(templates|crds)/")
"""What of a chart becomes objects; source: helm 3, its documentation of charts. All else a template may read as a file."""
_ALWAYS = ("Chart.yaml", "values.yaml", "values.schema.json", "requirements.yaml")
"""What of a chart is read without being named."""
ATTRIBUTES = ".gitattributes"
"""Who checks a repository out gets what these files, from its root down, make of the others."""
_REWRITES = re.compile(rb"(?m)^(?!\s*#).*\b(filter|ident|working-tree-encoding)\b")
_LINK, _MODULE = "120000 ", "160000 "
_MADE_BY = (*KUSTOMIZATIONS, "Chart.yaml", "requirements.yaml")
_LIMIT = 200
"""Folders and files that are followed from one source; a circle ends before it."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What an Application reads of one repository.

    ``places`` are folders and files; the repository itself is "", and then the only one: so it is, too, where a file names what
    is not known here. ``hidden`` names, in words, what of it nobody can look at. ``secret`` are files that a Secret is made of, and
    nothing else, ``values`` files and folders that charts and programs read as values, ``parts`` those that go into other objects
    than their own: patches, what a ConfigMap is made of, all files where a value may be copied; ``charts`` are the folders of charts. ``named`` are all files and folders by the names that were followed, ``taken`` the folders whose files are taken as they are, with
    what the Application says about which of them.
    """

    places: tuple[str, ...]
    hidden: tuple[str, ...]
    secret: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    taken: tuple[tuple[str, Json], ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a file is surely read: by its name, as a manifest of a folder, as part of a chart, or by a program."""
        if path in self.named or any(inside(one, path) is not None for one in self.values):
            return True
        own = [file for folder in self.charts if (file := inside(folder, path)) is not None]
        if any(_TEMPLATE.match(file) or file in _ALWAYS for file in own):
            return True
        return self.is_manifest_of_folder(path)

    def is_manifest_of_folder(self, path: str) -> bool:
        """Whether a file is a manifest of a folder whose files are taken as they are, all of them."""
        for folder, how in self.taken:
            file = inside(folder, path)
            is_all = not how.get("include") and not how.get("exclude")
            if file is not None and is_all and (how.get("recurse") or "/" not in file):
                return True
        return False


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
    walk = _Walk(git, repository, tip)
    for path in odd:
        walk.unread(path)
    for number, source in enumerate(merged):
        if origin.has(source):
            walk.source(source, types[number], tuple(read_paths(merged, number)))
    return replace(walk.found(), named=frozenset(walk.places), taken=tuple(walk.taken))


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
        # What says how a folder is made is asked for at once: whoever follows it asks for that next.
        made = [posixpath.normpath(posixpath.join(folder, file)) for file in _MADE_BY]
        for blob in git.read_many(repository, tip, [*paths, *made])[: len(paths)]:
            more = _document(blob.content) if blob is not None else {}
            if more is None or _is_spelt_oddly(more):
                odd.append(blob.path if blob else "")
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


def attributes_above(places: Iterable[str]) -> tuple[str, ...]:
    """Files of attributes in the folders above places, the repository's own first; those in a place belong to it."""
    above = {""}
    for place in places:
        parts = place.strip("/").split("/")
        above |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return tuple(posixpath.join(folder, ATTRIBUTES) for folder in sorted(above))


def inside(folder: str, file: str) -> str | None:
    """A file's path in a folder, or None when it is elsewhere."""
    if folder in ("", ".", "/"):
        return file
    start = f"{folder.strip('/')}/"
    return file.removeprefix(start) if file.startswith(start) else None


def is_manifest(path: str, content: bytes, values: Sequence[str], charts: Sequence[str]) -> bool:
    """Whether a file's documents are objects, and not what a chart or a program reads as values; see ``Reads``.

    An action in a template of a chart may make any other object of what stands around it.
    """
    if any(path == one or inside(one, path) is not None for one in values):
        return False
    own = [file for folder in charts if (file := inside(folder, path)) is not None]
    return all(_TEMPLATE.match(file) for file in own) and not (own and b"{{" in content)


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
    secret: dict[str, None] = field(default_factory=dict)
    values: dict[str, None] = field(default_factory=dict)
    parts: dict[str, None] = field(default_factory=dict)
    charts: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    taken: list[tuple[str, Json]] = field(default_factory=list)

    def source(self, source: Json, kind: str, named: Sequence[str]) -> None:
        """Follows one source; a source with a name and no path lends its files to the others."""
        for name in named:
            if re.match(r"[a-z][a-z0-9+.-]*:/", name, re.IGNORECASE):
                self.hidden[f"{name}, which the Application names"] = None
            elif _VARIABLE.search(name):
                self._everything()
            else:
                self.places[name] = None
                self.values[name] = None
        if source.get("path") is None:
            return
        path = posixpath.normpath(str(source["path"]))
        self.places[path] = None
        if source.get("plugin") or kind == "Plugin":
            self.hidden[f"a plugin in {path}"] = None
            self.values[path] = None
        jsonnet = (source.get("directory") or {}).get("jsonnet") or {}
        libraries = [posixpath.normpath(str(one)) for one in jsonnet.get("libs") or ()]
        given = (*(jsonnet.get("tlas") or ()), *(jsonnet.get("extVars") or ()))
        if any("import" in str((one or {}).get("value") or "") for one in given):
            self._everything()  # code of the Application's own may import any file
        for library in libraries:
            self._take(library, "the Application")
            self.values[library] = None
        said = source.get("kustomize") or {}
        patches = [p for p in said.get("patches") or () if isinstance(p, dict)]
        todo: list[str] = []
        for name in (*(said.get("components") or ()), *(p.get("path") for p in patches)):
            if name:
                self.used.add(self._name(path, str(name), "the Application", todo))
        for patch in patches:
            if patch.get("path"):
                self.parts[posixpath.normpath(posixpath.join(path, str(patch["path"])))] = None
        for at in todo:
            self.kustomization(at)
        self.kustomization(path)
        self._chart(path)
        # What kind it was found to be is of the last comparison, and not of this commit.
        if not self._is_made(path, source):
            self._jsonnet(path, libraries)
            self.taken.append((path, source.get("directory") or {}))

    def _is_made(self, folder: str, source: Json) -> bool:
        """Whether a program makes the manifests of a folder, so that not each file in it is one."""
        files = [posixpath.normpath(f"{folder}/{name}") for name in ("Chart.yaml", *KUSTOMIZATIONS)]
        held = self.git.read_many(self.repository, self.tip, files)
        return any(held) or any(source.get(tool) for tool in ("plugin", "helm", "kustomize"))

    def _everything(self) -> None:
        """Any file of the repository may be read: all of it is shown and bound."""
        self.places[""] = None

    def unread(self, path: str) -> None:
        """A file that this reader refuses and another one may take."""
        self.hidden[f"{path}, which cannot be read"] = None
        self._everything()

    def found(self) -> Reads:
        """All places, links in them followed; those within another one are left out."""
        kept = self._attributed(self._kept())
        # What any file may name or copy, and what is taken as it is, is more than a Secret's source.
        is_sure = kept != ("",) and "" not in self.parts
        secret = [path for path in self.secret if is_sure and not self._is_used(path)]
        return Reads(
            kept,
            tuple(self.hidden),
            tuple(secret),
            tuple(self.values),
            tuple(self.parts),
            tuple(self.charts),
        )

    def _attributed(self, kept: tuple[str, ...]) -> tuple[str, ...]:
        """Places with the files of attributes that say what a checkout makes of theirs."""
        try:
            found = self.git.read_many(self.repository, self.tip, attributes_above(kept))
        except UsageError:  # git takes no link for one
            found = ()
        inner = (
            path for place in kept for path in self.git.blobs(self.repository, self.tip, place)
        )
        paths = [path for path in inner if posixpath.basename(path) == ATTRIBUTES]
        own = self.git.read_many(self.repository, self.tip, paths)
        for blob in (*found, *own):
            if blob is not None and _REWRITES.search(blob.content):
                self.hidden[f"what {blob.path} makes of files that are checked out"] = None
        if kept == ("",):
            return kept
        return (
            *kept,
            ATTRIBUTES,
            *(b.path for b in found if b is not None and b.path != ATTRIBUTES),
        )

    def _is_used(self, path: str) -> bool:
        """Whether a file that a Secret is made of is read as something else too."""
        folders = [*(folder for folder, _ in self.taken), *self.values, *self.charts]
        return path in {*self.used, *self.values} or any(
            inside(folder, path) is not None for folder in folders
        )

    def _kept(self) -> tuple[str, ...]:
        if "." in self.places or "" in self.places:
            self._links("")
            return ("",)
        looked: set[str] = set()
        while rest := [place for place in self.places if place not in looked]:
            for place in rest:
                looked.add(place)
                self._links(place)
            if len(looked) > _LIMIT:
                return ("",)
        return tuple(
            place
            for place in self.places
            if not any(other != place and inside(other, place) is not None for other in self.places)
        )

    def kustomization(self, folder: str) -> None:
        """Follows what the kustomization of a folder names; nothing where there is none."""
        todo = [folder]
        while todo:
            at = todo.pop()
            if at in self.seen:
                continue
            if len(self.seen) >= _LIMIT:
                self._everything()
                return
            self.seen.add(at)
            paths = [posixpath.normpath(posixpath.join(at, name)) for name in KUSTOMIZATIONS]
            for blob in self.git.read_many(self.repository, self.tip, paths):
                if blob is not None:
                    self.places[blob.path] = None
                    self._of_kustomization(at, blob, todo)

    def _of_kustomization(self, at: str, blob: Blob, todo: list[str]) -> None:
        found = _documents(blob.content)
        if found is None or len(found) != 1:
            self.unread(blob.path)
            return
        said = found[0]
        if _is_beyond(said):
            self._everything()
        programs = [part for part in _PROGRAMS if said.get(part)]
        if programs:
            self.hidden[f"what the {', '.join(programs)} of {blob.path} do"] = None
            self._everything()
        if any(said.get(part) for part in _COPIES):
            self.parts[""] = None
        for name in _names(said):
            self.used.add(self._name(at, name, blob.path, todo))
        for name in _parts(said):
            self.parts[self._behind_links(posixpath.normpath(posixpath.join(at, name)))] = None
        for name in _files_of(said, "secretGenerator"):
            if path := self._name(at, name, blob.path, todo):
                self.secret[path] = None
        for name in _value_files(said):
            self.values[posixpath.normpath(posixpath.join(at, name))] = None
        if said.get("helmCharts"):
            # A chart that lies there is taken from there, also where it has an address.
            home = str((said.get("helmGlobals") or {}).get("chartHome") or "charts")
            self._take(posixpath.join(at, home), blob.path)
            for chart in said["helmCharts"]:
                if isinstance(chart, dict) and "/" in str(chart.get("name") or ""):
                    self._take(posixpath.join(at, home, str(chart["name"])), blob.path)

    def _name(self, folder: str, name: str, by: str, todo: list[str]) -> str:
        """Adds what a file names, and returns where that is; "" where it lies outside of the repository."""
        path = posixpath.normpath(posixpath.join(folder, name))
        is_outside = path.startswith(("..", "/"))
        if not is_outside:
            path = self._behind_links(path)
            # Bound also while nothing is there: what is pushed there would be taken.
            self.places[path] = None
        # What lies there is taken from there, also where its name looks like a host or an address.
        if is_outside or (_ELSEWHERE.match(name) and not self._is_there(path)):
            self.hidden[f"{name}, which {by} names"] = None
            return ""
        todo.append(path)
        return path

    def _behind_links(self, path: str) -> str:
        """Where a path leads whose folders are links; each of them is a place itself, and followed there."""
        for _ in range(_LIMIT):
            if path in (".", ""):
                break
            # Of a path behind a link git tells the link.
            if self._is_there(path) and not self._is_link(path):
                break
            parts = path.split("/")
            ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
            link = next((way for way in ways if self._is_link(way)), "")
            if not link:
                break
            self.places[link] = None
            target = self._target(link)
            if target is None:
                break
            path = posixpath.normpath(posixpath.join(target, path[len(link) :].lstrip("/")))
        return path

    def _is_there(self, path: str) -> bool:
        """Whether the repository has a file or a folder of this name."""
        if path in (".", ""):
            return True
        held = self.git.blobs(self.repository, self.tip, path)
        return any(one == path or inside(path, one) is not None for one in held)

    def _is_link(self, path: str) -> bool:
        held = self.git.blobs(self.repository, self.tip, path)
        return held.get(path, "").startswith(_LINK)

    def _target(self, link: str) -> str | None:
        """Where a link of the repository leads; None where that is outside of it."""
        about = self.git.blobs(self.repository, self.tip, link)[link]
        (content,) = self.git.contents(self.repository, [about.removeprefix(_LINK)])
        text = content.decode(errors="replace")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), text))
        return None if text.startswith("/") or target.startswith("..") else target

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
            if blob is None:
                continue
            self.charts[folder] = None
            chart = _document(blob.content)
            if chart is None or _is_spelt_oddly(chart):
                self.unread(blob.path)
                continue
            for item in chart.get("dependencies") or ():
                if isinstance(item, dict):
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
        archive = re.compile(rf"{re.escape(f'{packed}/{name}')}-v?\d[^/]*\.tgz")
        if f"{packed}/{name}/Chart.yaml" not in held and not any(map(archive.fullmatch, held)):
            self.hidden[
                f"chart {name} {item.get('version') or ''} of {where}, which {by} names"
            ] = None

    def _jsonnet(self, folder: str, libraries: Sequence[str]) -> None:
        """Follows the imports of Jsonnet files in a folder; each is looked for beside its file and in the libraries."""
        held = self.git.blobs(self.repository, self.tip, "" if folder == "." else folder)
        todo = [path for path in held if path.endswith((".jsonnet", ".libsonnet"))]
        while todo:
            at = todo.pop()
            if at in self.seen:
                continue
            if len(self.seen) >= _LIMIT:
                self._everything()
                return
            self.seen.add(at)
            (blob,) = self.git.read_many(self.repository, self.tip, [at])
            text = blob.content.decode(errors="replace") if blob is not None else ""
            named = _IMPORT.findall(text)
            if len(named) != len(_IMPORTS.findall(text)) or any("\\" in "".join(n) for n in named):
                self._everything()  # another way to write one, or a word in a comment
            for one, other in named:
                for base in (posixpath.dirname(at), *libraries):
                    path = posixpath.normpath(posixpath.join(base, one or other))
                    if self._take(path, at):
                        self.values[path] = None
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
            else:
                self.used.add(target)
                if place:
                    self.places[target] = None


def _document(content: bytes) -> dict[str, Any] | None:
    """The first document of a file, {} where it is empty; None where it cannot be read, or is no mapping."""
    found = _documents(content)
    return found if found is None else found[0] if found else {}


def _documents(content: bytes) -> tuple[dict[str, Any], ...] | None:
    """The documents of a file; None where it cannot be read, or one is no mapping."""
    try:
        found: tuple[Any, ...] = kubernetes_objects(content)
    except UsageError:
        return None
    return found if all(isinstance(one, dict) for one in found) else None


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


def _is_beyond(kustomization: Mapping[str, Any]) -> bool:
    """Whether a kustomization says something that is not known here."""
    charts = (c for c in kustomization.get("helmCharts") or () if isinstance(c, dict))
    return (
        not kustomization.keys() <= _KNOWN
        or _is_spelt_oddly(kustomization)
        or any(not chart.keys() <= _HELM for chart in charts)
        or not (kustomization.get("helmGlobals") or {}).keys() <= {"chartHome", "configHome"}
    )


def _is_spelt_oddly(value: Any) -> bool:
    """Whether a key that decides what is read stands there in other letters: Go takes it all the same, this reader does not."""
    todo, seen = [value], set[int]()
    while todo:
        at = todo.pop()
        # What an alias stands for is looked at once: aliases of aliases are more than anybody could walk.
        if not isinstance(at, dict | list) or id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, list):
            todo += at
            continue
        if any(_FOLDED.get(str(key).casefold(), key) != key for key in at):
            return True
        todo += at.values()
    return False


def _names(kustomization: Mapping[str, Any]) -> Iterator[str]:
    """What a kustomization names: folders and files."""
    # Patches were once a list of names, and kustomize still takes one.
    for part in (*_NAMED, "patches"):
        items = (name for name in kustomization.get(part) or () if isinstance(name, str))
        yield from (name for name in items if "\n" not in name)
    for part in _WITH_PATH:
        patches = (item for item in kustomization.get(part) or () if isinstance(item, dict))
        yield from (str(patch["path"]) for patch in patches if patch.get("path"))
    yield from _files_of(kustomization, "configMapGenerator")
    if schema := (kustomization.get("openapi") or {}).get("path"):
        yield str(schema)
    yield from _value_files(kustomization)
    charts = (item for item in kustomization.get("helmCharts") or () if isinstance(item, dict))
    yield from (str(item["repo"]) for item in charts if item.get("repo"))


def _parts(kustomization: Mapping[str, Any]) -> Iterator[str]:
    """Files whose text goes into other objects than those that stand in them."""
    for part in ("patchesStrategicMerge", "patches", "patchesJson6902"):
        for item in kustomization.get(part) or ():
            name = item.get("path") if isinstance(item, dict) else item
            if name and "\n" not in str(name):
                yield str(name)
    yield from _files_of(kustomization, "configMapGenerator")


def _value_files(kustomization: Mapping[str, Any]) -> Iterator[str]:
    """Files with values for the charts that a kustomization names."""
    for item in kustomization.get("helmCharts") or ():
        if isinstance(item, dict):
            named = [item.get("valuesFile"), *(item.get("additionalValuesFiles") or ())]
            yield from (str(name) for name in named if name)


def _files_of(kustomization: Mapping[str, Any], part: str) -> Iterator[str]:
    """Files that a ConfigMap or Secret is made of."""
    for item in kustomization.get(part) or ():
        if isinstance(item, dict):
            named = [*(item.get("files") or ()), *(item.get("envs") or ()), item.get("env")]
            yield from (str(name).rpartition("=")[2] for name in named if name)
