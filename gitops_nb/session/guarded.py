"""Writers that ask right before each write whether the run may still write; the only ones that an apply gets.

What a write depends on is read first, then the question is asked, then the write is made on that condition: a runner that
stalled in between while another one finished changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitops_nb.errors import ConflictError, Refused
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import ClusterReader, ClusterWriter, GitReader, GitWriter

Confirm = Callable[[], None]
"""Raises when the run may not write any more."""
ATTEMPTS = 5


class GuardedGit:
    """A repository whose commits are asked about first; they are conditional on their parent already.

    Args:
        git: Writes.
        confirm: Asks.
        files: ``repository:path`` of the files that may change: those that the plan names.
    """

    def __init__(self, git: GitWriter, confirm: Confirm, files: frozenset[str]) -> None:
        self._git = git
        self._confirm = confirm
        self._files = files

    def commit(
        self,
        repository: str,
        *,
        branch: str,
        parent: str,
        files: Mapping[str, bytes],
        message: str,
        witness: str = "",
    ) -> str:
        """See ``ports.GitWriter.commit``."""
        strange = [path for path in files if f"{repository}:{path}" not in self._files]
        if strange:
            raise Refused(f"{strange[0]} of {repository} is no file of the plan; it is not changed")
        self._confirm()
        return self._git.commit(
            repository,
            branch=branch,
            parent=parent,
            files=files,
            message=message,
            witness=witness,
        )


class FirstPush:
    """A repository for a run of which the register knows no start: where it witnesses a push of that run, nothing is pushed.

    Somebody put the register back, or has another one answer for it; the repository itself says what happened.

    Args:
        git: Writes.
        reader: Says what was pushed under a name.
        confirm: Asks whether the run may still write: another runner may have gone on with it meanwhile, and pushed.
    """

    def __init__(self, git: GitWriter, reader: GitReader, confirm: Confirm) -> None:
        self._git = git
        self._reader = reader
        self._confirm = confirm

    def commit(
        self,
        repository: str,
        *,
        branch: str,
        parent: str,
        files: Mapping[str, bytes],
        message: str,
        witness: str = "",
    ) -> str:
        """See ``ports.GitWriter.commit``."""
        pushed = self._reader.witness(repository, witness) if witness else None
        if pushed is not None:
            self._confirm()
            raise Refused(
                f"{repository} says that this run pushed {pushed.sha[:8]} before (refs/gitops-nb/pushed/{witness}), "
                "and the register knows of no start; nothing was pushed",
                hint="Find out who put the register back; a new run plans on what is there.",
            )
        return self._git.commit(
            repository,
            branch=branch,
            parent=parent,
            files=files,
            message=message,
            witness=witness,
        )


class GuardedCluster:
    """A cluster whose objects are written only as they were read, and after it was asked.

    A write that says itself what it depends on is made on that condition. For every other one the object is read here; one that
    is not there yet is created under the question alone: server-side apply knows no other condition.

    Args:
        reader: Reads what a write depends on.
        writer: Writes.
        confirm: Asks.
    """

    def __init__(self, reader: ClusterReader, writer: ClusterWriter, confirm: Confirm) -> None:
        self._reader = reader
        self._writer = writer
        self._confirm = confirm

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """See ``ports.ClusterWriter.allows``."""
        return self._writer.allows(verb, ref)

    def apply(self, manifest: Json) -> Json:
        """See ``ports.ClusterWriter.apply``."""
        metadata = manifest["metadata"]
        if "resourceVersion" in metadata:
            self._confirm()
            return self._writer.apply(manifest)
        ref = ObjectRef(
            manifest["apiVersion"],
            manifest["kind"],
            metadata["name"],
            metadata.get("namespace", ""),
        )

        def write(version: str) -> Json:
            if not version:
                return self._writer.apply(manifest)
            seen = {**metadata, "resourceVersion": version}
            return self._writer.apply({**manifest, "metadata": seen})

        return self._as_read(ref, write)

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        """See ``ports.ClusterWriter.merge_patch``."""
        metadata = patch.get("metadata") or {}
        if metadata.get("resourceVersion"):
            self._confirm()
            return self._writer.merge_patch(ref, patch)

        def write(version: str) -> Json:
            seen = {**metadata, **({"resourceVersion": version} if version else {})}
            return self._writer.merge_patch(ref, {**patch, "metadata": seen})

        return self._as_read(ref, write)

    def _as_read(self, ref: ObjectRef, write: Callable[[str], Json]) -> Json:
        """Reads the version, asks, and writes on that version; again when somebody else came between."""
        version = self._version(ref)
        for attempt in range(1, ATTEMPTS + 1):
            self._confirm()
            try:
                return write(version)
            except ConflictError:
                now = self._version(ref)
                if now == version or attempt == ATTEMPTS:
                    raise
                version = now
        raise AssertionError  # the last attempt raises

    def _version(self, ref: ObjectRef) -> str:
        found: Any = self._reader.get(ref) or {}
        return str((found.get("metadata") or {}).get("resourceVersion") or "")
