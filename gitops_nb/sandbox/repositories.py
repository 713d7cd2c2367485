"""The sandbox's bare Git repositories, as Argo CD's repo-server sees them: tips, trees, plain YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from gitops_nb.adapters.git_text import path_of
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.argo.sources import leaves_out
from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import UnavailableError, UnreadableFile
from gitops_nb.model import Json

TIMEOUT_S = 30.0


class ComparisonError(Exception):
    """Argo CD cannot generate manifests; the text becomes the condition's message."""


class Repositories:
    """Bare repositories by the URL that Applications name them with, and charts by that of a Helm repository.

    A chart lies unpacked in ``charts/HOST/PATH/NAME/VERSION/`` of the sandbox; nothing is downloaded.
    """

    def __init__(self, folders: Mapping[str, Path], charts: Path | None = None) -> None:
        self._folders = folders
        self._charts = charts

    def tip(self, url: str, name: str) -> str:
        """The commit of a branch or of a full commit id.

        Raises:
            ComparisonError: There is no such repository, or no such revision in it.
        """
        if url not in self._folders:
            raise ComparisonError(f"rpc error: failed to list refs: repository not found: {url}")
        if name == "HEAD":
            name = (
                (self._folders[url] / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")
            )
        for kind in ("heads", "tags"):
            reference = self._folders[url] / "refs" / kind / name
            if reference.is_file():
                return reference.read_text().strip()
        if len(name) == 40:
            return name
        raise ComparisonError(f"rpc error: unable to resolve '{name}' to a commit SHA")

    def files(self, url: str, revision: str) -> Mapping[str, str]:
        """All YAML and JSON files of a revision, by path."""
        self.tip(url, revision)
        return _tree(self._folders[url], revision)

    def chart(self, url: str, name: str, version: str) -> Mapping[str, str]:
        """The files of a chart's version, by path.

        Raises:
            ComparisonError: There is no such version.
        """
        folder = self._chart_folder(url, name) / version
        if not folder.is_dir():
            raise ComparisonError(
                f'rpc error: chart "{name}" version "{version}" not found in {url}'
            )
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def chart_version(self, url: str, name: str, wanted: str) -> str:
        """The version that an exact text or a range like ``1.x`` resolves to: the newest that fits.

        Raises:
            ComparisonError: None does.
        """
        folder = self._chart_folder(url, name)
        pattern = re.escape(wanted).replace(r"\*", ".*").replace("x", ".*")
        found = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        fitting = [v for v in found if v == wanted] or [
            v for v in found if re.fullmatch(pattern, v)
        ]
        if not fitting:
            raise ComparisonError(
                f'rpc error: chart "{name}" version "{wanted}" not found in {url}'
            )
        return max(fitting, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])

    def _chart_folder(self, url: str, name: str) -> Path:
        host = url.partition("://")[2].strip("/") or url.strip("/")
        if self._charts is None or ".." in host.split("/") or "/" in name:
            raise ComparisonError(f"rpc error: failed to get index: {url} does not answer")
        return self._charts / host / name

    def manifests(
        self, url: str, revision: str, folder: str, directory: Json | None = None
    ) -> list[Json]:
        """The objects in the YAML files directly in a folder, in the order of their file names; filters leave some out.

        Raises:
            ComparisonError: The folder does not exist, or a file in it is not YAML.
        """
        self.tip(url, revision)
        files = _tree(self._folders[url], revision)
        paths = [path for path in files if path.rpartition("/")[0] == folder.rstrip("/")]
        if not any(path.startswith(f"{folder.rstrip('/')}/") for path in files):
            raise ComparisonError(
                f"rpc error: code = Unknown desc = {folder}: app path does not exist"
            )
        found: list[Json] = []
        for path in paths:
            if leaves_out(directory or {}, path.rpartition("/")[2]):
                continue
            if path.endswith((".yaml", ".yml", ".json")):
                try:
                    documents = _documents(files[path])
                except UnreadableFile as error:
                    raise ComparisonError(f"rpc error: failed to unmarshal {path}") from error
                # A document without apiVersion and kind is no manifest, and no error either.
                found += [d for d in documents if isinstance(d, dict) and d.get("kind")]
        return found


@lru_cache(maxsize=512)
def _documents(text: str) -> tuple[Json, ...]:
    """The documents of a file; most files are the same from one revision to the next."""
    return kubernetes_objects(text.encode())


@lru_cache(maxsize=64)
def _tree(folder: Path, revision: str) -> Mapping[str, str]:
    """All YAML and JSON files of a revision, by path. Revisions never change, so this may be remembered."""
    listing = _git(folder, "ls-tree", "-r", "-z", revision)
    entries = [line.split(b"\t", 1) for line in listing.split(b"\0") if line]
    blobs = {path_of(path): meta.decode().split()[2] for meta, path in entries}
    output = _git(folder, "cat-file", "--batch", stdin="\n".join(blobs.values()).encode())
    files: dict[str, str] = {}
    start = 0
    for path in blobs:
        end = output.index(b"\n", start)
        size = int(output[start:end].split()[2])
        files[path] = output[end + 1 : end + 1 + size].decode(errors="replace")
        start = end + 1 + size + 1
    return files


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = LocalProcesses().run(
        ("git", "-C", str(folder), *arguments), timeout_s=TIMEOUT_S, stdin=stdin
    )
    if done.exit_code:
        raise UnavailableError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}")
    return done.output
