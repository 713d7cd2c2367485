"""Files and history of a commit, proven by its id: what Git reads of an object is hashed again.

``git cat-file`` does not check that an object is what its name says, and a graft, a replacement or a commit-graph changes what
Git takes for a commit's parents. Here each object on the way is held against the id that the one before it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import devnull
from pathlib import Path

from gitops_nb.adapters.git_text import GitObject, parse_batch
from gitops_nb.adapters.git_words import reason_of
from gitops_nb.errors import ConfigurationError
from gitops_nb.ports import Completed

Ask = Callable[[tuple[str, ...], bytes], Completed]
"""Runs git on one repository: arguments and standard input."""

UNMOVED: Mapping[str, str] = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": devnull}
"""Variables without which a repository may let one object stand in for another."""
UNASKED: Mapping[str, str] = {"GIT_ALLOW_PROTOCOL": "none", "GIT_OPTIONAL_LOCKS": "0"}
"""Variables without which Git may fetch an object that a repository lacks, by a program that its settings name."""

TREE = "40000 "
"""How the entry of a folder begins."""


def is_itself(one: GitObject) -> bool:
    """Whether an object is what its id says."""
    hashed = hashlib.new("sha1" if len(one.sha) == 40 else "sha256", usedforsecurity=False)
    hashed.update(f"{one.kind} {len(one.content)}\0".encode() + one.content)
    return hashed.hexdigest() == one.sha


def blob_id(content: bytes, length: int = 40) -> str:
    """The id that Git gives a file's content, of so many hexadecimal digits as the repository's ids have."""
    hashed = hashlib.new("sha1" if length == 40 else "sha256", usedforsecurity=False)
    hashed.update(b"blob %d\0" % len(content) + content)
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class ProvenObjects:
    """Objects of one repository.

    Args:
        place: The repository, for messages.
        ask: Runs git there.
    """

    place: Path
    ask: Ask

    def files(self, commit: str, folder: str, names: tuple[str, ...]) -> dict[str, bytes]:
        """Files of a folder of a commit, those that are there; one process.

        Raises:
            ConfigurationError: An object is not what its id says.
        """
        if "\n" in folder:
            raise ConfigurationError(f"{folder!r} cannot be read from Git: its name has two lines")
        parts = tuple(part for part in folder.split("/") if part not in ("", "."))
        folders = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        paths = (*folders, *("/".join((*parts, name)) for name in names))
        # Of `commit:` Git reads no more than it has to; of `commit^{tree}` it tells nothing when the tree was changed.
        objects = self._objects((commit, f"{commit}:", *(f"{commit}:{path}" for path in paths)))
        at = self._found(objects, commit)
        here = self._found(objects, _header(at, "tree")[0])
        for part in parts:
            named = _entries(here).get(part)
            if named is None:
                return {}
            here = self._found(objects, named)
        inside = _entries(here)
        found = {name: self._found(objects, inside[name]) for name in names if name in inside}
        return {name: one.content for name, one in found.items() if one.kind == "blob"}

    def is_ancestor(self, commit: str, tip: str) -> bool:
        """Whether a chain of parents, each proven by its id, leads from the tip to a commit.

        Raises:
            ConfigurationError: An object is not what its id says.
        """
        if commit == tip:
            return True
        between = self.ask(("rev-list", "--ancestry-path", f"^{commit}", tip), b"")
        if between.exit_code != 0 or not between.stdout.strip():
            return False
        objects = self._objects(tuple(between.stdout.split()))
        seen, waiting = {tip}, [tip]
        while waiting:
            one = objects.get(waiting.pop())  # none: it is on no way to the commit
            for parent in () if one is None else _header(one, "parent"):
                if parent == commit:
                    return True
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return False

    def changed(self, parent: str, commit: str) -> Mapping[str, tuple[str, str]]:
        """Which entries a commit has otherwise than its only parent: by path, as ``mode id`` before and after, "" for none.

        Raises:
            ConfigurationError: An object is not what its id says, or the commit has other parents.
        """
        commits = self._objects((parent, commit))
        if _header(self._found(commits, commit), "parent") != [parent]:
            raise ConfigurationError(
                f"{commit[:12]} in {self.place} has other parents", hint=self._hint
            )
        trees = [_header(self._found(commits, one), "tree")[0] for one in (parent, commit)]
        found: dict[str, tuple[str, str]] = {}
        waiting = [("", *trees)]
        while waiting:
            objects = self._objects(tuple({sha for _, *both in waiting for sha in both if sha}))
            level, waiting = waiting, []
            for folder, *both in level:
                old, new = (_rows(self._found(objects, sha)) if sha else {} for sha in both)
                for name in sorted({*old, *new}):
                    before, after = old.get(name, ""), new.get(name, "")
                    if before == after:
                        continue
                    path = f"{folder}{name}"
                    inside = [
                        row.startswith(TREE) and row.removeprefix(TREE) for row in (before, after)
                    ]
                    if any(inside):
                        waiting.append((f"{path}/", *(sha or "" for sha in inside)))
                    if any(row and not row.startswith(TREE) for row in (before, after)):
                        found[path] = (before, after)
        return found

    def _objects(self, names: tuple[str, ...]) -> dict[str, GitObject]:
        """Objects by id, of those names that name one."""
        asked = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        done = self.ask(("cat-file", "--batch"), asked)
        if done.exit_code != 0:
            raise ConfigurationError(
                f"objects of {self.place} cannot be read: {reason_of(done)}", hint=self._hint
            )
        found = {one.sha: one for one in parse_batch(done.output, len(names)) if one is not None}
        for one in found.values():
            if not is_itself(one):
                raise ConfigurationError(
                    f"{one.kind} {one.sha[:12]} in {self.place} is not what its id says: somebody changed it",
                    hint=self._hint,
                )
        return found

    def _found(self, objects: Mapping[str, GitObject], sha: str) -> GitObject:
        """An object that a proven one names: that it is gone says something else than that nobody names it."""
        if sha not in objects:
            raise ConfigurationError(f"{self.place} has no object {sha[:12]}", hint=self._hint)
        return objects[sha]

    @property
    def _hint(self) -> str:
        return f"Find out who did; delete the objects in {self.place}, and fetch them again."


def _header(commit: GitObject, word: str) -> list[str]:
    """Values of a line of a commit's header."""
    lines = commit.content.partition(b"\n\n")[0].decode(errors="replace").split("\n")
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]


def _entries(tree: GitObject) -> Mapping[str, str]:
    """Ids by name of a tree object."""
    return {name: row.partition(" ")[2] for name, row in _rows(tree).items()}


def _rows(tree: GitObject) -> Mapping[str, str]:
    """``mode id`` by name of a tree object."""
    return dict(_walk(tree)) if tree.kind == "tree" else {}


def _walk(tree: GitObject) -> Iterator[tuple[str, str]]:
    """Of each entry Git stores mode, name, a zero and the id as bytes."""
    at, width = 0, len(tree.sha) // 2
    while at < len(tree.content):
        end = tree.content.index(b"\0", at)
        mode, _, name = tree.content[at:end].partition(b" ")
        sha = tree.content[end + 1 : end + 1 + width].hex()
        yield name.decode(errors="surrogateescape"), f"{mode.decode()} {sha}"
        at = end + 1 + width
