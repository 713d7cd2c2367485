"""Symbolic links and submodules on the way to a file: they are named, since git shows them as other content or as nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

from gitops_nb.adapters.git_text import full_id, path_of
from gitops_nb.errors import UsageError
from gitops_nb.ports import Completed

LINK, SUBMODULE = "120000", "160000"
Ask = Callable[[tuple[str, ...]], Completed]


def entries_on_the_way(ask: Ask, revision: str, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Mode and object of each path and of each folder above it, where the revision has it."""
    asked = sorted({part for path in paths for part in _ways(path)})
    if not asked:
        return {}
    done = ask(("ls-tree", "-z", "--end-of-options", full_id(revision), "--", *asked))
    found: dict[str, tuple[str, str]] = {}
    for row in done.output.split(b"\0"):
        if row:
            about, _, name = row.partition(b"\t")
            mode, _, sha = about.decode().split(" ")
            found[path_of(name)] = (mode, sha)
    return {path: found[path] for path in asked if path in found}


def refuse_links(
    ask: Ask,
    repository: str,
    revision: str,
    paths: Iterable[str],
    entries: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Says where a link or a submodule stands in the way of a path. ``entries`` spares asking for them again.

    Raises:
        UsageError: One does; the message names what it points to.
    """
    every = tuple(paths)
    known = entries_on_the_way(ask, revision, every) if entries is None else entries
    for path in every:
        for way in _ways(path):
            mode, sha = known.get(way, ("", ""))
            if mode == LINK:
                target = ask(("cat-file", "blob", full_id(sha))).output.decode(errors="replace")
                raise _link(repository, path, way, target)
            if mode == SUBMODULE:
                raise UsageError(
                    f"{repository}: {way} is a submodule, another repository at commit {sha[:8]}",
                    hint="Name that repository in fleet.yaml, and the path in it.",
                )


def _link(repository: str, path: str, way: str, target: str) -> UsageError:
    rest = path[len(way) :].strip("/")
    real = posixpath.normpath(posixpath.join(posixpath.dirname(way), target))
    if target.startswith("/") or real == ".." or real.startswith("../"):
        return UsageError(
            f"{repository}: {way} is a symbolic link to {target}, outside the repository",
            hint="Put the file itself there.",
        )
    named = posixpath.join(real, rest) if rest else real
    return UsageError(
        f"{repository}: {way} is a symbolic link to {real}; name {named}",
        hint="Change the path in fleet.yaml to the file that the link leads to.",
    )


def _ways(path: str) -> tuple[str, ...]:
    parts = path.strip("/").split("/")
    return tuple("/".join(parts[:count]) for count in range(1, len(parts) + 1))
