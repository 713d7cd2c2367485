"""Git through its own command line: a bare cache per repository, no work tree, no rebase.

Reading asks the remote for its tip and fetches only what the cache lacks. Writing builds one commit on
exactly the given parent and pushes it with a lease: a moved tip is a ConflictError, never a merge. Refs are resolved
to 40 hex once; nothing that a person or a repository wrote is ever read as an option.
"""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.adapters.git_cache import (
    ANSWER_BYTES,
    PUSH_GRACE_S,
    REMOTE_S,
    GitCache,
    Remote,
)
from gitops_nb.adapters.git_credentials import Manner, acting_with
from gitops_nb.adapters.git_links import LINK, SUBMODULE, Ask, entries_on_the_way, refuse_links
from gitops_nb.adapters.git_proven import blob_id, is_itself
from gitops_nb.adapters.git_text import (
    LOG_FORMAT,
    SHA,
    checked,
    full_id,
    parse_batch,
    parse_commits,
    parse_raw,
    parse_tree,
    path_of,
    quoted,
    refuse_sha_256,
)
from gitops_nb.adapters.git_words import in_the_way, is_cut_off, is_locked, reason_of
from gitops_nb.errors import (
    ConflictError,
    Unanswered,
    UnavailableError,
    UsageError,
)
from gitops_nb.model import Blob, Commit
from gitops_nb.ports import FileChange, GitCredentials, Processes

_OURSELVES = Manner((), {})
WITNESSES = "refs/gitops-nb/pushed/"
"""Where a repository keeps which commit a run pushed."""
LOCKED_S = 20.0
"""How long a push is repeated while a lock on the server is in its way."""
FILES = 4096
"""How many files of commits are kept; a plan asks for a few dozen, many times."""


class Git(GitCache):
    """Implements ``ports.GitReader`` and ``ports.GitWriter``.

    Args:
        remotes: Repositories by name.
        cache: Folder for the bare caches; made when needed.
        processes: Runs git.
        author: Name that commits carry, with an e-mail address.
        trusted: See ``GitCache``.
    """

    def __init__(
        self,
        remotes: Mapping[str, Remote],
        *,
        cache: Path,
        processes: Processes,
        author: tuple[str, str],
        trusted: Path | None = None,
    ) -> None:
        super().__init__(remotes, cache=cache, processes=processes, trusted=trusted)
        self._author = author
        self._files: dict[tuple[str, str, str], Blob | None] = {}
        self._untouched: dict[tuple[str, str, str], bool] = {}

    # -- reading ---------------------------------------------------------------------------------

    def tip(self, repository: str, branch: str) -> str:
        """See ``ports.GitReader.tip``."""
        sha = self._remote_tip(repository, branch, _OURSELVES)
        if self._has_branch_at(repository, branch, sha):
            self._held.add((repository, sha))
        self._ensure(repository, sha)
        return sha

    def tip_for(self, repository: str, branch: str, credentials: GitCredentials) -> str:
        """See ``ports.GitReader.tip_for``."""
        with acting_with(credentials, self._remote(repository).url) as manner:
            return self._remote_tip(repository, branch, manner)

    def default_branch(self, repository: str) -> str:
        """See ``ports.GitReader.default_branch``."""
        url = self._remote(repository).url
        done = self._git(("ls-remote", "--symref", "--", url, "HEAD"), timeout_s=REMOTE_S)
        if done.exit_code != 0:
            raise self._unreachable(repository, done)
        found = re.match(r"ref: refs/heads/(\S+)\tHEAD", done.stdout)
        return found[1] if found else ""

    def _remote_tip(self, repository: str, branch: str, manner: Manner) -> str:
        remote = self._remote(repository)
        reference = f"refs/heads/{checked(branch)}"
        done = self._git(
            (*manner.options, "ls-remote", "--", remote.url, reference),
            timeout_s=REMOTE_S,
            environment=manner.environment,
        )
        if done.exit_code != 0:
            refuse_sha_256(repository, done.stderr)
            raise self._unreachable(repository, done)
        # The pattern fits the ends of names: a branch x/refs/heads/main is listed for main, and before it.
        rows = (line.split("\t", 1) for line in done.stdout.splitlines())
        sha = next((row[0] for row in rows if row[1:] == [reference]), "")
        refuse_sha_256(repository, sha)
        if not SHA.fullmatch(sha):
            raise UnavailableError(
                f"{repository} has no branch {branch}", hint="Check `repositories` in fleet.yaml."
            )
        return sha

    def resolve(self, repository: str, name: str) -> str | None:
        """See ``ports.GitReader.resolve``."""
        self._fetch(repository)
        done = self._in_cache(
            repository,
            (
                "rev-parse",
                "--quiet",
                "--verify",
                "--end-of-options",
                f"{_meant(checked(name))}^{{commit}}",
            ),
        )
        sha = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
        return sha if done.exit_code == 0 and SHA.fullmatch(sha) else None

    def read(self, repository: str, revision: str, path: str) -> Blob | None:
        """See ``ports.GitReader.read``."""
        return self.read_many(repository, revision, (path,))[0]

    def read_many(
        self, repository: str, revision: str, paths: Sequence[str]
    ) -> tuple[Blob | None, ...]:
        """See ``ports.GitReader.read_many``."""
        wrong = next((path for path in paths if "\n" in path), None)
        if wrong is not None:
            raise UsageError(f"{wrong!r} is not a path")
        missing = tuple(
            path for path in dict.fromkeys(paths) if (repository, revision, path) not in self._files
        )
        if missing:
            found = self._read_anew(repository, revision, missing)
            known = dict(zip(missing, found, strict=True))
            if len(self._files) > FILES:
                self._files.clear()
            # A file of a commit never changes; what is large is read again.
            self._files |= {
                (repository, revision, path): blob
                for path, blob in known.items()
                if blob is None or len(blob.content) <= ANSWER_BYTES
            }
        else:
            known = {}
        return tuple(
            known[path] if path in known else self._files[repository, revision, path]
            for path in paths
        )

    def _read_anew(
        self, repository: str, revision: str, paths: Sequence[str]
    ) -> tuple[Blob | None, ...]:
        self._ensure(repository, revision)
        # The folders come along, for the mode of each file: git reads a symbolic link as a file that holds its target.
        folders = tuple(dict.fromkeys(posixpath.dirname(path) for path in paths))
        asked = "".join(f"{full_id(revision)}:{path}\n" for path in (*paths, *folders))
        done = self._answer(repository, ("cat-file", "--batch"), stdin=asked.encode())
        objects = parse_batch(done.output, len(paths) + len(folders))
        forged = next((one for one in objects if one is not None and not is_itself(one)), None)
        if forged is not None:
            raise self._forged(
                repository, f"{forged.kind} {forged.sha[:12]} is not what its id says"
            )
        trees = {
            folder: tree.content
            for folder, tree in zip(folders, objects[len(paths) :], strict=True)
            if tree is not None and tree.kind == "tree"
        }
        modes = {
            posixpath.join(folder, name): mode
            for folder, tree in trees.items()
            for name, mode in parse_tree(tree)
        }
        # A folder that is one has no link above it.
        odd = [
            path
            for path in paths
            if modes.get(path) in (LINK, SUBMODULE) or posixpath.dirname(path) not in trees
        ]
        if odd:
            refuse_links(self._asking(repository), repository, revision, odd)
        return tuple(
            Blob(path, found.sha, found.content) if found and found.kind == "blob" else None
            for path, found in zip(paths, objects, strict=False)
        )

    def contents(self, repository: str, ids: Sequence[str]) -> tuple[bytes, ...]:
        """See ``ports.GitReader.contents``."""
        if not ids:
            return ()
        asked = "".join(f"{full_id(one)}\n" for one in ids)
        done = self._answer(repository, ("cat-file", "--batch"), stdin=asked.encode())
        found: list[bytes] = []
        for one, known in zip(ids, parse_batch(done.output, len(ids)), strict=True):
            if known is None or known.sha != one or not is_itself(known):
                raise self._forged(repository, f"object {one[:12]} is not what its id says")
            found.append(known.content)
        return tuple(found)

    def _asking(self, repository: str) -> Ask:
        return lambda argv: self._answer(repository, argv)

    def blobs(self, repository: str, revision: str, folder: str) -> Mapping[str, str]:
        """See ``ports.GitReader.blobs``."""
        self._ensure(repository, revision)
        inside = ("--", folder.rstrip("/")) if folder else ()
        asked = ("ls-tree", "-r", "-z", "--end-of-options", full_id(revision), *inside)
        rows = [
            (path_of(name), about.decode().replace(" blob ", " "))
            for about, _, name in (
                row.partition(b"\t") for row in self._answer(repository, asked).output.split(b"\0")
            )
            if name
        ]
        found = dict(rows)
        if len(found) != len(rows):
            # A name written out may be the name of another file: nothing may stand for two.
            raise UnavailableError(
                f"{repository} has two files at {revision[:8]} whose names are one when they are written out",
                hint="Rename the one whose name is no UTF-8.",
            )
        return found

    def list_files(self, repository: str, revision: str, folder: str) -> tuple[str, ...]:
        """See ``ports.GitReader.list_files``."""
        self._ensure(repository, revision)
        done = self._answer(
            repository,
            (
                "ls-tree",
                "-r",
                "-z",
                "--name-only",
                "--end-of-options",
                full_id(revision),
                *(("--", f"{folder.rstrip('/')}/") if folder else ()),
            ),
        )
        names = sorted(path_of(name) for name in done.output.split(b"\0") if name)
        if folder and not names:
            refuse_links(self._asking(repository), repository, revision, (folder.strip("/"),))
        return tuple(names)

    def log(
        self, repository: str, revision: str, *, path: str = "", limit: int = 0
    ) -> tuple[Commit, ...]:
        """See ``ports.GitReader.log``."""
        options: tuple[str, ...] = (f"--max-count={limit}",) if limit else ()
        # Every commit that touched it, also one whose change a merge did not take.
        paths = ("--", path) if path else ()
        options += ("--full-history",) if path else ()
        wanted = ("--end-of-options", full_id(revision), *paths)
        self._ensure(repository, revision)
        done = self._answer(repository, ("log", "-z", f"--format={LOG_FORMAT}", *options, *wanted))
        return parse_commits(done.stdout)

    def changed(self, repository: str, revision: str) -> Mapping[str, tuple[str, str]]:
        """See ``ports.GitReader.changed``."""
        self._ensure(repository, revision)
        parents = self.log(repository, revision, limit=1)[0].parents
        return self._proven(repository, parents[0] if parents else "", revision)

    def witness(self, repository: str, name: str) -> Commit | None:
        """See ``ports.GitReader.witness``."""
        reference = f"{WITNESSES}{checked(name)}"
        url = self._remote(repository).url
        listed = self._git(("ls-remote", "--", url, reference), timeout_s=REMOTE_S)
        if listed.exit_code != 0:
            raise self._unreachable(repository, listed)
        rows = (line.split("\t", 1) for line in listed.stdout.splitlines())
        sha = next((row[0] for row in rows if row[1:] == [reference]), "")
        if not SHA.fullmatch(sha):
            return None
        known = self._in_cache(repository, ("cat-file", "-e", f"{sha}^{{commit}}"))
        if known.exit_code != 0:
            wanted = ("fetch", "--quiet", "--no-tags", "--", url, reference)
            self._change_cache(repository, wanted, timeout_s=REMOTE_S)
        done = self._in_cache(
            repository, ("log", "-z", f"--format={LOG_FORMAT}", "--max-count=1", sha)
        )
        found = parse_commits(done.stdout)
        return found[0] if done.exit_code == 0 and found else None

    def is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool:
        """See ``ports.GitReader.is_ancestor``."""
        self._ensure(repository, descendant)
        return self._is_ancestor(repository, ancestor, descendant)

    def is_untouched(self, repository: str, path: str, one: str, other: str) -> bool:
        """See ``ports.GitReader.is_untouched``. What a commit's id stands for never changes, so an answer is kept."""
        span = f"{full_id(one)}...{full_id(other)}"
        asked = (repository, path, span)
        if asked not in self._untouched:
            paths = ("--", path) if path else ()
            done = self._in_cache(
                repository, ("rev-list", "--max-count=1", "--end-of-options", span, *paths)
            )
            if done.exit_code != 0:
                return False
            self._untouched[asked] = not done.output
        return self._untouched[asked]

    def changes(
        self,
        repository: str,
        revision: str,
        *,
        folders: tuple[str, ...] = (),
        since: str = "",
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[FileChange]:
        """See ``ports.GitReader.changes``."""
        self._ensure(repository, revision)
        reached = f"{full_id(since)}..{full_id(revision)}" if since else full_id(revision)
        # Limiting the walk to paths takes git longer than telling all of them.
        paths = ("--", *folders) if folders and wanted is None else ()
        done = self._answer(
            repository,
            (
                "log", "--first-parent", "-m", "--reverse", "--raw", "--no-renames", "--no-abbrev", "-z",
                "--format=%x01%H %at %ct", "--end-of-options", reached, *paths,
            ),
            timeout_s=REMOTE_S,
        )  # fmt: skip
        shas, authored, committed, names, statuses, blobs = parse_raw(done.output, wanted)
        contents = self._contents(repository, {blob for blob in blobs if blob})
        after = (contents.get(blob) for blob in blobs)
        yield from map(FileChange, shas, authored, committed, names, statuses, after)

    def _contents(self, repository: str, blobs: set[str]) -> dict[str, bytes]:
        """Contents of many blobs with one process."""
        if not blobs:
            return {}
        wanted = sorted(blobs)
        done = self._answer(
            repository,
            ("cat-file", "--batch", "--buffer"),
            stdin="".join(f"{blob}\n" for blob in wanted).encode(),
            timeout_s=REMOTE_S,
        )
        contents: dict[str, bytes] = {}
        for blob, known in zip(wanted, parse_batch(done.output, len(wanted)), strict=True):
            if known is None or known.sha != blob or known.kind != "blob" or not is_itself(known):
                raise self._forged(repository, f"object {blob[:12]} is not what its id says")
            contents[blob] = known.content
        return contents

    def effective_url(self, repository: str) -> str:
        """Where git really goes for a repository: no setting of the person or of the cache has a part in it."""
        url = self._remote(repository).url
        return self._in_cache(repository, ("ls-remote", "--get-url", "--", url)).stdout.strip()

    # -- writing ---------------------------------------------------------------------------------

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
        remote = self._remote(repository)
        reference = f"refs/heads/{checked(branch)}"
        self._ensure(repository, parent)
        sha = self._build(repository, parent, files, message)
        self._refuse_wider(repository, parent, sha, files)
        kept = f"{WITNESSES}{checked(witness)}" if witness else ""
        until = time.monotonic() + LOCKED_S
        pause_s = 0.2
        while True:
            push = (
                "push",
                "--porcelain",
                *(("--atomic",) if kept else ()),
                f"--force-with-lease={reference}:{full_id(parent)}",
                "--",
                remote.url,
                f"{sha}:{reference}",
                *((f"+{sha}:{kept}",) if kept else ()),
            )
            done = self._change_cache(repository, push, timeout_s=REMOTE_S, grace_s=PUSH_GRACE_S)
            if done.exit_code == 0:
                self._held.add((repository, sha))
                return sha
            # The texts of a rejected push differ by server; what the remote says now does not.
            try:
                tip = self.tip(repository, branch)
            except UnavailableError as error:
                raise Unanswered(
                    f"{repository} did not say what became of the push to {branch}: {error.message}",
                    hint="Ask again in a minute whether the commit is there.",
                ) from error
            if tip == sha or self._is_ancestor(repository, sha, tip):
                return sha
            if tip != parent:
                raise ConflictError(f"{repository}: {branch} moved from {parent[:8]} to {tip[:8]}")
            if is_cut_off(done):
                raise Unanswered(
                    f"{repository} did not answer the push to {branch}: {reason_of(done)}",
                    hint="Ask again in a minute whether the commit is there.",
                )
            if other := in_the_way(done):
                raise UnavailableError(
                    f"{repository} refuses the push to {branch}: it has {other}, which no run makes, and {kept} has no room",
                    hint=f"Have {other} removed there; nothing was changed.",
                )
            if not is_locked(done) and kept:
                kept = ""  # a server may let nobody make such refs, or know no atomic push: the branch is what counts
                continue
            if not is_locked(done) or time.monotonic() + pause_s > until:
                break
            # Somebody else's push holds it for a moment; the branch has not moved, so the same push is safe to repeat.
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 3.0)
        hint = "Check branch protection and credentials; nothing was changed."
        if is_locked(done):
            hint = f"A lock on the server stayed for {LOCKED_S:g} s: have it removed there if no git process holds it; nothing was changed."
        raise UnavailableError(
            f"{repository} refuses the push to {branch}: {reason_of(done)}", hint=hint
        )

    def _refuse_wider(
        self, repository: str, parent: str, sha: str, files: Mapping[str, bytes]
    ) -> None:
        """Proves from the objects' own bytes that a commit changes these files and nothing else; before it is pushed.

        Raises:
            UnavailableError: Somebody changed the cache: an object, or what stands in for one.
        """
        entries = entries_on_the_way(self._asking(repository), parent, files)
        changed = self._proven(repository, parent, sha)
        for path, (before, after) in changed.items():
            mode, known = entries.get(path, ("100644", ""))
            wanted = f"{mode} {blob_id(files[path])}" if path in files else ""
            if after != wanted or before != (f"{mode} {known}" if known else ""):
                raise self._forged(
                    repository, f"a commit on {parent[:12]} would change {path} otherwise"
                )

    def _build(self, repository: str, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """One commit object on ``parent`` in the cache; no ref moves."""
        ask = self._asking(repository)
        entries = entries_on_the_way(ask, parent, files)
        refuse_links(ask, repository, parent, files, entries)
        name, mail = self._author
        now = int(datetime.now(UTC).timestamp())
        reference = f"refs/gitops-nb/{os.getpid()}-{os.urandom(4).hex()}"
        text = message.encode()
        stream = [
            f"commit {reference}\nmark :1\n".encode(),
            f"committer {name} <{mail}> {now} +0000\n".encode(),
            b"data %d\n%s\n" % (len(text), text),
            f"from {parent}\n".encode(),
        ]
        for path, content in sorted(files.items()):
            mode = entries.get(path, ("100644", ""))[0]
            stream.append(f"M {mode} inline {quoted(path)}\ndata {len(content)}\n".encode())
            stream.append(content + b"\n")
        # The commit's name is asked for in the stream; resetting the ref to zero removes it again.
        stream.append(f"get-mark :1\nreset {reference}\nfrom {'0' * 40}\n\ndone\n".encode())
        built = self._change_cache(
            repository, ("fast-import", "--quiet", "--done"), stdin=b"".join(stream)
        )
        sha = built.stdout.strip()
        if built.exit_code != 0 or not SHA.fullmatch(sha):
            raise UnavailableError(f"cannot build a commit: {built.stderr.strip()[-300:]}")
        return sha


def _meant(name: str) -> str:
    """A branch of a name that git itself reads as the cache's own HEAD."""
    return f"refs/heads/{name}" if name == "@" else name
