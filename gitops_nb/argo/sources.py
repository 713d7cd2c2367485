"""Where an Application takes its manifests from: one source or several, each at a revision of its own.

A Git source of the configuration repository has to be at the promoted commit. A chart of a Helm repository has a version and
no commit, and another repository has commits of its own: of those the Application's own words count.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gitops_nb.model import Json

_EXACT = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]*)?")
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+):(?!//)(.+)")


@dataclass(frozen=True, slots=True)
class Origin:
    """The configuration repository as Applications name it: its addresses, and the names of its branch."""

    addresses: tuple[str, ...]
    branches: tuple[str, ...]

    def has(self, source: Json) -> bool:
        """Whether a source is this branch of this repository."""
        return (
            not source.get("chart")
            and is_address(source.get("repoURL") or "", self.addresses)
            and branch_of(source) in self.branches
        )


def sources_of(value: Json) -> tuple[Json, ...]:
    """The sources of an Application's spec, a comparison, a result or a history entry; () when it names none."""
    value = value or {}
    many = tuple(source or {} for source in value.get("sources") or ())
    one = value.get("source") or {}
    return many or ((one,) if one.get("repoURL") else ())


def branch_of(source: Json) -> str:
    """What a source follows: a branch without its prefix, a tag, a commit, a chart's version; HEAD by default."""
    return str(source.get("targetRevision") or "HEAD").removeprefix("refs/heads/")


def is_address(url: str, known: Container[str] | Sequence[str]) -> bool:
    """Whether an address is one of several, however it is written.

    >>> is_address("git@git.example:platform/config.git", ("https://git.example/platform/config",))
    True
    """
    return any(_plain(url) == _plain(other) for other in known)  # type: ignore[union-attr]  # a sequence of texts


def is_at(source: Json, revision: str) -> bool:
    """Whether a source of somebody else's is at what it asks for itself: a range of versions says no more than that."""
    asked = branch_of(source)
    if source.get("chart") and _EXACT.fullmatch(asked):
        return asked.removeprefix("v") == revision.removeprefix("v")
    return bool(revision)


def revisions_for(application: Json, origin: Origin, commit: str) -> str:
    """What to sync to, so that the configuration repository's sources come to a commit and all others stay as asked.

    One text per source, joined by commas, as ``ArgoWriter.sync`` takes it.
    """
    sources = sources_of((application or {}).get("spec") or {})
    if len(sources) < 2 and not any(source.get("chart") for source in sources):
        return commit if not sources or origin.has(sources[0]) else branch_of(sources[0])
    return ",".join(commit if origin.has(source) else branch_of(source) for source in sources)


def read_paths(sources: Sequence[Json], number: int) -> Iterator[str]:
    """Files that a source takes values from by name, as paths in their own repository; ``number`` says which source.

    A path that begins with ``$NAME/`` lies in the source with that ``ref``, and is told of that one. An address stays as it is, and
    so does what stands for a build variable of Argo CD.
    """
    wanted = sources[number]
    lent = {f"${source['ref']}" for source in sources if source.get("ref")}
    for source in sources:
        helm = source.get("helm") or {}
        names = [
            *(helm.get("valueFiles") or ()),
            *((p or {}).get("path") or "" for p in helm.get("fileParameters") or ()),
        ]
        for name in names:
            start, _, rest = str(name).partition("/")
            if start in lent:
                if wanted.get("ref") == start[1:]:
                    yield posixpath.normpath(rest)
            elif source is not wanted:
                continue
            elif "://" in str(name):
                yield str(name)
            else:
                base = "" if str(name).startswith("/") else str(source.get("path") or "")
                yield posixpath.normpath(posixpath.join(base, str(name).lstrip("/")))


def _plain(url: str) -> str:
    """Host and path of an address: protocols and users are ways to get there."""
    text = url.strip().rstrip("/").removesuffix(".git").rstrip("/")
    if "://" in text:
        _, _, rest = text.partition("://")
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2].lower()
        # The standard ports of ssh and https say nothing.
        return f"{re.sub(':(?:22|443)$', '', host)}{slash}{path}"
    if match := _SCP.fullmatch(text):
        return f"{match[1].lower()}/{match[2].lstrip('/')}"
    return text


def leaves_out(directory: Json, file: str) -> bool:
    """Whether a plain folder's filters keep a file of it from being read; its path in the folder counts.

    Source: argo-cd 3.0, docs/user-guide/directory.md, "Including/Excluding Certain Files".

    >>> leaves_out({"exclude": "{a,b}.yaml"}, "b.yaml"), leaves_out({"include": "*.json"}, "b.yaml"), leaves_out({}, "b.yaml")
    (True, True, False)
    """
    include, exclude = str(directory.get("include") or ""), str(directory.get("exclude") or "")
    return bool(exclude and _fits(file, exclude)) or bool(include and not _fits(file, include))


def _fits(file: str, pattern: str) -> bool:
    """As a shell's pattern with alternatives in braces; a star goes over folders."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return fnmatchcase(file, pattern)
    start, end = pattern[: braces.start()], pattern[braces.end() :]
    return any(_fits(file, start + one + end) for one in braces[1].split(","))
