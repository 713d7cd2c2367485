"""What Argo CD's repo-server makes of a source: a folder of YAML, a kustomization, or a chart, with the Application's overrides.

Of Kustomize there are resources, components and images; of Helm the values of ``.Values``, ``.Release.Name`` and
``.Chart.Version`` in templates. Whoever needs more gets an error, as from the real one, and no guess.
"""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gitops_nb.argo.images import is_same_name, parse_image
from gitops_nb.argo.overrides import OVERRIDE_FILES
from gitops_nb.argo.sources import branch_of
from gitops_nb.model import Json
from gitops_nb.sandbox.repositories import ComparisonError, Repositories

KUSTOMIZATION = "kustomization.yaml"
_VALUE = re.compile(r"\{\{-?\s*\.(\w+(?:\.\w+)*)\s*(\|\s*quote\s*)?-?\}\}")
_VARIABLE = re.compile(r"\$(\w+)/(.*)")


class Sources:
    """The sources of one Application at one moment: their files, and what is rendered from them."""

    def __init__(
        self,
        repositories: Repositories,
        name: str,
        sources: Sequence[Json],
        revisions: Sequence[str],
    ) -> None:
        """Takes one revision per source, resolved before."""
        self._repositories = repositories
        self._name = name
        self._sources = sources
        self._revisions = revisions

    def kinds(self) -> list[str]:
        """How each source is rendered: Directory, Kustomize or Helm."""
        return [self._kind(number) for number in range(len(self._sources))]

    def manifests(self) -> list[Json]:
        """The objects of all sources.

        Raises:
            ComparisonError: One of them cannot be rendered.
        """
        found: list[Json] = []
        for number, source in enumerate(self._sources):
            if source.get("ref") and not source.get("path") and not source.get("chart"):
                continue
            match self._kind(number):
                case "Helm":
                    found += self._chart(number)
                case "Kustomize":
                    found += self._kustomized(number)
                case _:
                    found += self._repositories.manifests(
                        source["repoURL"],
                        self._revisions[number],
                        source["path"],
                        source.get("directory") or {},
                    )
        return found

    def _kind(self, number: int) -> str:
        source = self._sources[number]
        if source.get("chart") or source.get("helm"):
            return "Helm"
        if source.get("kustomize"):
            return "Kustomize"
        files = self._files(number)
        if f"{self._path(number)}Chart.yaml" in files:
            return "Helm"
        return "Kustomize" if f"{self._path(number)}{KUSTOMIZATION}" in files else "Directory"

    def _files(self, number: int) -> Mapping[str, str]:
        source = self._sources[number]
        if source.get("chart"):
            return self._repositories.chart(
                source["repoURL"], source["chart"], self._revisions[number]
            )
        return self._repositories.files(source["repoURL"], self._revisions[number])

    def _path(self, number: int) -> str:
        path = posixpath.normpath(str(self._sources[number].get("path") or "."))
        return "" if path == "." else f"{path}/"

    def _overridden(self, number: int) -> Json:
        """The source with what the override files in its folder say."""
        source = copy.deepcopy(self._sources[number])
        for file in OVERRIDE_FILES:
            text = self._files(number).get(f"{self._path(number)}{file.format(name=self._name)}")
            source = _deep(source, _load(text, file) if text else {})
        return source

    def _kustomized(self, number: int) -> list[Json]:
        files, folder = self._files(number), self._path(number)
        if not any(path.startswith(folder) for path in files):
            raise ComparisonError(f"rpc error: {folder.rstrip('/')}: app path does not exist")
        images = (self._overridden(number).get("kustomize") or {}).get("images") or ()
        found = _build(files, folder.rstrip("/"))
        for text in images:
            old, _, new = str(text).rpartition("=")
            image = parse_image(new)
            _set_images(
                found, {"name": old or image.name, "newName": image.name, "newTag": image.tag}
            )
        return found

    def _chart(self, number: int) -> list[Json]:
        source, files, folder = self._overridden(number), self._files(number), self._path(number)
        if f"{folder}Chart.yaml" not in files:
            raise ComparisonError(
                "rpc error: failed to execute helm template: Chart.yaml is missing"
            )
        helm = source.get("helm") or {}
        values: Json = _load(files.get(f"{folder}values.yaml", ""), "values.yaml")
        for name in helm.get("valueFiles") or ():
            values = _deep(values, _load(self._value_file(number, str(name)), str(name)))
        values = _deep(values, _load(helm.get("values") or "", "values"))
        values = _deep(values, helm.get("valuesObject") or {})
        for parameter in helm.get("parameters") or ():
            nested: Json = parameter.get("value")
            for part in reversed(str(parameter["name"]).split(".")):
                nested = {part: nested}
            values = _deep(values, nested)
        chart = _load(files[f"{folder}Chart.yaml"], "Chart.yaml")
        known = {
            "Values": values,
            "Release": {"Name": helm.get("releaseName") or self._name},
            "Chart": {"Name": chart.get("name"), "Version": chart.get("version")},
        }
        found: list[Json] = []
        for path, text in sorted(files.items()):
            if path.startswith(f"{folder}templates/") and path.endswith((".yaml", ".yml")):
                found += _documents(_filled(text, known, path), path)
        return found

    def _value_file(self, number: int, name: str) -> str:
        """A value file beside the chart, or in the source that its first segment refers to."""
        reference = _VARIABLE.fullmatch(name)
        holder = number
        path = posixpath.normpath(posixpath.join(self._path(number), name))
        if reference:
            named = [n for n, s in enumerate(self._sources) if s.get("ref") == reference[1]]
            if not named:
                raise ComparisonError(f"rpc error: source referenced {name!r} is not there")
            holder, path = named[0], posixpath.normpath(reference[2])
        files = self._files(holder)
        if path not in files:
            raise ComparisonError(f"rpc error: open {path}: no such file or directory")
        return files[path]


def resolve(repositories: Repositories, source: Json, asked: str = "") -> str:
    """The revision that a source is at: a commit, or a chart's version."""
    wanted = asked or branch_of(source)
    if source.get("chart"):
        return repositories.chart_version(source["repoURL"], source["chart"], wanted)
    return repositories.tip(source["repoURL"], wanted)


def _build(files: Mapping[str, str], folder: str) -> list[Json]:
    path = posixpath.join(folder, KUSTOMIZATION)
    if path not in files:
        raise ComparisonError(
            f"rpc error: `kustomize build {folder}` failed: unable to find one of 'kustomization.yaml'"
        )
    kustomization = _load(files[path], path)
    found: list[Json] = []
    for name in [*(kustomization.get("resources") or ()), *(kustomization.get("components") or ())]:
        below = posixpath.normpath(posixpath.join(folder, str(name)))
        found += _documents(files[below], below) if below in files else _build(files, below)
    for image in kustomization.get("images") or ():
        _set_images(found, image)
    return found


def _set_images(items: list[Json], image: Json) -> None:
    for item in items:
        template = ((item.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in [
            *(template.get("containers") or ()),
            *(template.get("initContainers") or ()),
        ]:
            present = parse_image(container["image"])
            if not is_same_name(present.name, image["name"]):
                continue
            name, tag = image.get("newName") or present.name, image.get("newTag") or present.tag
            container["image"] = f"{name}:{tag}"
            if image.get("digest"):
                container["image"] = f"{name}@{image['digest']}"


def _filled(text: str, known: Mapping[str, Any], path: str) -> str:
    def value(match: re.Match[str]) -> str:
        found: Any = known
        for part in match[1].split("."):
            found = found.get(part) if isinstance(found, dict) else None
        shown = "" if found is None else str(found)
        return f'"{shown}"' if match[2] else shown

    filled = _VALUE.sub(value, text)
    if "{{" in filled:
        raise ComparisonError(f"rpc error: the sandbox knows no such template: {path}")
    return filled


def _load(text: str, name: str) -> Json:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ComparisonError(f"rpc error: failed to parse {name}") from error


def _documents(text: str, path: str) -> list[Json]:
    try:
        found = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ComparisonError(f"rpc error: failed to unmarshal {path}") from error
    return [item for item in found if isinstance(item, dict) and item.get("kind")]


def _deep(value: Json, other: Json) -> Json:
    """Objects are merged, everything else is replaced."""
    if not isinstance(value, dict) or not isinstance(other, dict):
        return other
    return {**value, **{name: _deep(value.get(name), item) for name, item in other.items()}}
