"""What a sync would replace instead of patching it: by options of the Application, or of the objects it brings.

Files are read as Kubernetes reads them. What it could not read either is a template, or a program: what stands there as it is
counts, and where options are named in another way nobody can tell.

Source: argo-cd 3.0, docs/user-guide/sync-options.md, "Replace Resource Instead Of Applying Changes" and "Force Sync".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops_nb.argo.status import at
from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import UsageError
from gitops_nb.model import Json
from gitops_nb.ports import GitReader, Snapshot

ANNOTATION = "argocd.argoproj.io/sync-options"
_WORD = "sync-options"
_REPLACES = re.compile(r"\b(?:Replace|Force) *= *true\b", re.IGNORECASE)
_BINARY = re.compile(r"!!binary|yaml\.org,2002:binary")
_ESCAPES = re.compile(
    r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|\r?\n[ \t]*|(/))"
)
_NAMING = ("path", "name", "key")
"""How a mapping calls what stands beside a ``value``: a step of a patch, a parameter, an item of a chart's values."""
_FILLED_IN = ("{{", "${", "$(", "<%")
"""How templates begin what they fill in: the text is not the value then."""
_MADE_NAME = re.compile(
    r"""\s*["']?[^:{}\s]*\{\{(?=[^{}]*(?:["`(]|\b(?:include|template|tpl|print|printf)\b))[^{}]*\}\}[^:{}\s]*\s*:|"""
    r"""\s*\[[^\]]*["'(][^\]]*\]\s*:"""
)
"""A key that a template or a program puts together of texts."""
_AS_WRITTEN = re.compile(
    r"[\"']?\]?\s*[:=]\s*([\"']?)([A-Za-z]+ *= *[A-Za-z]+(?: *, *[A-Za-z]+ *= *[A-Za-z]+)*)\1\s*[,}\])]*\s*(?:#.*|//.*)?"
)
"""The options behind their name on one line, and nothing else."""


@dataclass(frozen=True, slots=True)
class Replacing:
    """Each place where an option asks for it, in words, and each that names options which nobody here can read."""

    found: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def replaced_by_sync(
    git: GitReader, snapshot: Snapshot, *, repository: str, tip: str, places: Iterable[str]
) -> Replacing:
    """What would have a sync replace objects; nothing where it patches.

    Args:
        git: Reads the repository.
        snapshot: The Application and what it brought.
        repository: Name of the configuration repository.
        tip: The commit that would be synced.
        places: Folders and files that the Application reads of it.
    """
    spec = at(snapshot.application, "spec")
    options = at(spec, "syncPolicy").get("syncOptions") or ()
    found = [f"sync option {option}" for option in options if _REPLACES.search(str(option))]
    unread: list[str] = []
    own = _Walk()
    own.value({name: value for name, value in spec.items() if name != "syncPolicy"})
    found += [f"{option} in its sources" for option in own.found]
    unread += ["its sources name sync options that cannot be read"] if own.is_unread else []
    for path, content in _files(git, repository, tip, places):
        if _is_prose(path, content):
            continue
        walk = _of_file(content)
        found += [f"{option} in {path}" for option in walk.found]
        unread += [f"{path} names sync options that cannot be read"] if walk.is_unread else []
    found += _of_objects(snapshot.workloads)
    return Replacing(tuple(dict.fromkeys(found)), tuple(dict.fromkeys(unread)))


@dataclass(slots=True)
class _Walk:
    """Goes through values and texts, and keeps what it meets."""

    found: list[str] = field(default_factory=list)
    is_unread: bool = False
    _known: set[int] = field(default_factory=set)

    def value(self, value: Any) -> None:
        """A value as Kubernetes reads it; what an alias stands for is looked at once."""
        if isinstance(value, str):
            self.nested(value)
            return
        if not isinstance(value, dict | list | tuple) or id(value) in self._known:
            return
        self._known.add(id(value))
        if not isinstance(value, Mapping):
            for item in value:
                self.value(item)
            return
        for name, item in value.items():
            if name == ANNOTATION:
                self.option(item)
                continue
            if name in _NAMING and _is_annotation(item):
                continue  # asked with what stands beside it
            is_made = any(start in str(name) for start in _FILLED_IN)
            self.is_unread |= is_made and bool(_options(str(item)))
            self.value(item)
        self.setting(value)

    def setting(self, value: Mapping[str, Any]) -> None:
        """The step of a JSON patch, or a parameter of a chart, that names the annotation beside its value."""
        for name in _NAMING:
            if not _is_annotation(value.get(name)):
                continue
            if "value" in value:
                self.option(value["value"])
            elif value.get("op") != "remove":
                self.is_unread = True

    def option(self, value: Any) -> None:
        """What stands behind the name of the annotation."""
        text = str(value)
        self.found += _options(text)
        if any(start in text for start in _FILLED_IN):
            self.is_unread = True

    def nested(self, text: str) -> None:
        """A text in a value: a patch, values of a chart, or words that only name it."""
        plain = _plain(text)
        if ANNOTATION not in plain:
            return
        if _is_annotation(text) or plain.startswith("metadata.annotations"):
            # The name alone: what a template, or a copy, puts behind it nobody can tell.
            self.is_unread = True
            return
        inner = _of_file(text.encode())
        self.found += inner.found
        self.is_unread |= inner.is_unread


def _of_file(content: bytes) -> _Walk:
    """What a file, or a text of that kind, has; without a word about options it is not read at all."""
    walk = _Walk()
    text = _decoded(content)
    plain = _plain(text)
    if _WORD not in plain and not _BINARY.search(plain) and not _may_make(plain):
        return walk
    try:
        documents = kubernetes_objects(content)
    except UsageError:
        _as_text(plain, walk)
        return walk
    if any(isinstance(document, str) for document in documents):
        # Words, or a template that is one scalar to a reader.
        _as_text(plain, walk)
        return walk
    for document in documents:
        walk.value(document)
    return walk


def _is_prose(path: str, content: bytes) -> bool:
    """Whether a file only tells people about options: a kustomization may take any file, Helm renders all of `templates`."""
    if not path.lower().endswith(".md") or "templates" in path.split("/"):
        return False
    try:
        documents = kubernetes_objects(content)
    except UsageError:
        return True
    return not all(isinstance(document, dict) for document in documents)


def _may_make(text: str) -> bool:
    """Whether a name that is put together may be that of the annotation."""
    return _REPLACES.search(text) is not None or (
        "nnotations" in text and any(map(_MADE_NAME.match, text.splitlines()))
    )


def _as_text(text: str, walk: _Walk) -> None:
    """Options in a file that is no YAML before something made it so."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("#", "//")):
            continue
        if _WORD not in line:
            # A name that is put together may be any: of an annotation, or with such a value, nobody can tell.
            walk.is_unread |= _REPLACES.search(line) is not None
            walk.is_unread |= bool(_MADE_NAME.match(line)) and _is_annotated(lines[:number], line)
            continue
        rest = line.partition(_WORD)[2]
        if options := _options(rest):
            walk.found += options
        elif not _AS_WRITTEN.fullmatch(rest) or _goes_on(line, lines[number + 1 :]):
            walk.is_unread = True


def _is_annotated(before: Sequence[str], line: str) -> bool:
    """Whether what a line stands below is called annotations."""
    above = (one for one in reversed(before) if one.strip() and "{{" not in one)
    return "nnotations" in next((one for one in above if _indent(one) < _indent(line)), "")


def _goes_on(line: str, after: Sequence[str]) -> bool:
    """Whether the next line is part of a value: it stands further in."""
    following = next((each for each in after if each.strip()), "")
    return _indent(following) > _indent(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _files(
    git: GitReader, repository: str, tip: str, places: Iterable[str]
) -> Iterator[tuple[str, bytes]]:
    """All files: what a kustomization or a chart takes for a manifest may have any name."""
    blobs: dict[str, str] = {}
    for place in places:
        blobs |= git.blobs(repository, tip, place)
    paths = [path for path in sorted(blobs) if " commit " not in blobs[path]]
    contents = git.contents(repository, [blobs[path].rpartition(" ")[2] for path in paths])
    return zip(paths, contents, strict=True)


def _of_objects(items: Sequence[Json]) -> Iterator[str]:
    """Options of what runs: a template may have made them of what no file shows."""
    for item in items:
        metadata = item.get("metadata") or {}
        written = str((metadata.get("annotations") or {}).get(ANNOTATION) or "")
        what = f"{item.get('kind')} {metadata.get('name')}"
        yield from (f"{option} on {what}" for option in _options(written))


def _is_annotation(text: Any) -> bool:
    """Whether a path of a JSON patch, or the name of a chart's parameter, ends in the annotation."""
    if not isinstance(text, str) or "\n" in text or text.startswith("metadata."):
        return False
    return text.replace("~1", "/").replace("\\", "").rstrip("\"'] ").endswith(ANNOTATION)


def _plain(text: str) -> str:
    """A text without the escapes that YAML, JSON and patches know."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if code:
            number = int(code, 16)
            return chr(number) if number <= 0x10FFFF else ""
        return match[4] or ""

    return _ESCAPES.sub(character, text).replace("~1", "/").replace("\\.", ".")


def _decoded(content: bytes) -> str:
    """A file's text; YAML may be UTF-16 too."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8", errors="replace")


def _options(text: str) -> list[str]:
    return [match.replace(" ", "") for match in _REPLACES.findall(text)]
