"""Bare caches of configuration repositories, and how git is called on them: settings, deadlines, credentials.

Commits never leave a cache, so that a revision is fetched once. Nothing that a person or a repository wrote is ever read as an
option.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from gitops_nb.adapters.git_objects import UNINDEXED, State, prove, seen
from gitops_nb.adapters.git_proven import UNMOVED, ProvenObjects
from gitops_nb.adapters.git_settings import (
    ALONE,
    NOWHERE,
    Settings,
    added_settings,
    as_variables,
    credentials_of,
)
from gitops_nb.adapters.git_text import full_id, refuse_sha_256
from gitops_nb.adapters.git_words import is_locked, reason_of, without_progress
from gitops_nb.errors import ConfigurationError, UnavailableError, UsageError
from gitops_nb.ports import Completed, Processes

_URL = re.compile(
    r"(https|ssh|file)://[^\s-]\S*|/\S[^\n]*|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s-]\S*"
)
GRACE_S, PUSH_GRACE_S = 2.0, 20.0
"""How long git may take to end once interrupted. A push may have arrived: its answer says whether the commit is there."""
LOCAL_S = 60.0
REMOTE_S = 120.0
FIRST_S, SILENCE_S = 6 * 3600.0, 120.0
"""A first fetch brings a whole history: it is limited by how long nothing comes."""
PROOF_S = 600.0
STALE_S = 600.0
READINGS, PAUSE_S = 8, 0.1
"""How often something is read that moves meanwhile, as when another run fetches; and the pause between."""
Question = tuple[str, tuple[str, ...], bytes]
_FIXED = ("cat-file", "ls-tree")
"""Commands that are asked with full ids alone."""
ANSWERS, ANSWER_BYTES = 512, 1 << 17
"""How many answers are kept, and how large each may be: 64 MB at most, a few hundred kilobytes as a rule."""
_SAFE = (
    "--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
    "-c", "advice.graftFileDeprecated=false", *UNINDEXED,
    "-c", "protocol.allow=never", "-c", "protocol.https.allow=always",
    "-c", "protocol.ssh.allow=always", "-c", "protocol.file.allow=always",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository as fleet.yaml names it."""

    url: str
    branch: str


class GitCache:
    """Git on a cache for each repository; what reads and writes builds on it.

    Args:
        remotes: Repositories by name.
        cache: Folder for the bare caches; made when needed.
        processes: Runs git.
        trusted: Who vouches for servers, a file of certificates; by default the machine's own authorities.
    """

    def __init__(
        self,
        remotes: Mapping[str, Remote],
        *,
        cache: Path,
        processes: Processes,
        trusted: Path | None = None,
    ) -> None:
        self._remotes = remotes
        self._cache = cache
        self._processes = processes
        self._trusted = () if trusted is None else ("-c", f"http.sslCAInfo={trusted}")
        self._held: set[tuple[str, str]] = set()
        self._known: dict[Path, State] = {}
        self._answers: OrderedDict[Question, Completed] = OrderedDict()
        for name, remote in remotes.items():
            if not _URL.fullmatch(remote.url):
                raise UsageError(
                    f"repository {name}: {remote.url!r} is not a Git address",
                    hint="Use https://, ssh://, user@host:path or file://.",
                )

    def _remote(self, repository: str) -> Remote:
        try:
            return self._remotes[repository]
        except KeyError:
            raise UsageError(
                f"unknown repository {repository!r}", hint="Add it to `repositories` in fleet.yaml."
            ) from None

    def _folder(self, repository: str) -> Path:
        folder = self._cache / f"{repository}.git"
        if not folder.is_dir():
            self._cache.mkdir(parents=True, exist_ok=True)
            with exclusive(self._cache / f"{repository}.lock"):
                if not folder.is_dir():
                    self._make_cache(folder)
        return folder

    def _make_cache(self, folder: Path) -> None:
        """Makes an empty cache; its name appears when it is complete, for other runs that begin now."""
        building = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        done = self._git(("init", "--bare", "--quiet", "--", str(building)), timeout_s=LOCAL_S)
        if done.exit_code != 0:
            raise UnavailableError(f"cannot make {folder}: {done.stderr.strip()}")
        building.rename(folder)

    def _ensure(self, repository: str, sha: str) -> None:
        """Makes sure the cache holds a commit; commits never leave it, so each is asked for once."""
        if (repository, sha) in self._held:
            return
        known = self._in_cache(repository, ("cat-file", "-e", f"{full_id(sha)}^{{commit}}"))
        if known.exit_code != 0:
            self._fetch(repository)
            again = self._in_cache(repository, ("cat-file", "-e", f"{sha}^{{commit}}"))
            if again.exit_code != 0:
                raise UnavailableError(
                    f"{repository} has no commit {sha}", hint="Was its history rewritten?"
                )
        self._held.add((repository, sha))

    def _has_branch_at(self, repository: str, branch: str, sha: str) -> bool:
        """Whether the cache's own branch is there already: git moves it when all objects are there.

        Where refs are kept in another form nothing is found, and git is asked.
        """
        try:
            found = (self._folder(repository) / "refs" / "heads" / branch).read_text()
        except OSError:
            return False
        return found.strip() == sha

    def _fetch(self, repository: str) -> None:
        remote = self._remote(repository)
        folder = self._folder(repository)
        # Tags as a pattern of their own: by `--tags` one that only the cache has would stay, and name any commit.
        wanted = (
            "--prune", "--no-tags", "--force", "--", remote.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
        )  # fmt: skip

        def fetch() -> Completed:
            if _has_refs(folder):
                return self._change_cache(
                    repository, ("fetch", "--quiet", *wanted), timeout_s=REMOTE_S
                )
            # The first one may take long, as long as it goes on.
            done = self._change_cache(
                repository, ("fetch", "--progress", *wanted), timeout_s=FIRST_S, silence_s=SILENCE_S
            )
            return replace(done, stderr=without_progress(done.stderr))

        with exclusive(folder / "gitops-nb.lock"):
            done = fetch()
            if done.exit_code != 0 and is_locked(done) and remove_stale_locks(folder):
                done = fetch()
        if done.exit_code != 0:
            refuse_sha_256(repository, done.stderr)
            raise self._unreachable(repository, done)
        if "shallow" in done.stderr:  # git warns, refuses the refs and ends with 0
            raise UsageError(
                f"repository {repository} is a shallow clone: its history ends early",
                hint="Complete it there with `git fetch --unshallow`, or name the full repository in fleet.yaml.",
            )

    def _is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool:
        done = self._in_cache(
            repository, ("merge-base", "--is-ancestor", full_id(ancestor), full_id(descendant))
        )
        return done.exit_code == 0

    def _in_cache(
        self,
        repository: str,
        argv: tuple[str, ...],
        *,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_S,
    ) -> Completed:
        """What git reads in a cache: of objects that were proven before, none of which moved meanwhile.

        Raises:
            UnavailableError: An object is not what its id says, or the cache does not rest.
        """
        folder = self._folder(repository)
        for attempt in range(READINGS):
            self._refuse_edited(folder)
            # As it was after the last reading will do: whatever came or changed since shows behind this one.
            before = self._known.pop(folder, None) or self._prove(repository, folder)
            done = self._git(argv, folder=folder, stdin=stdin, timeout_s=timeout_s)
            if self._seen(repository, folder) == before:
                self._known[folder] = before
                return done
            time.sleep(PAUSE_S if attempt else 0)
        raise UnavailableError(
            f"the cache of {repository} changes while it is read",
            hint=f"Find out who writes into {folder}, and try again.",
        )

    def _answer(
        self,
        repository: str,
        argv: tuple[str, ...],
        *,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_S,
    ) -> Completed:
        """The same where git has to succeed: a part of an answer is none.

        What is said of a commit or a tree by its id never changes, and is kept: a plan asks for the same files many times.

        Raises:
            UnavailableError: It did not, or as ``_in_cache``.
        """
        question = (repository, argv, stdin)
        if question in self._answers:
            self._answers.move_to_end(question)
            return self._answers[question]
        done = self._in_cache(repository, argv, stdin=stdin, timeout_s=timeout_s)
        if done.exit_code == 0 and argv[0] in _FIXED and _is_fixed(stdin, done.output):
            self._keep(question, done)
        if done.exit_code != 0:
            raise UnavailableError(
                f"the cache of {repository} cannot be read: {reason_of(done)}",
                hint=f"Delete {self._folder(repository)}, and it is fetched again.",
            )
        return done

    def _keep(self, question: Question, done: Completed) -> None:
        if len(done.output) > ANSWER_BYTES:
            return
        self._answers[question] = done
        while len(self._answers) > ANSWERS:
            self._answers.popitem(last=False)

    def _change_cache(
        self,
        repository: str,
        argv: tuple[str, ...],
        *,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_S,
        grace_s: float = GRACE_S,
        silence_s: float | None = None,
    ) -> Completed:
        """What git fetches, builds or pushes, once: what it builds upon was proven, what it brings is before it is read."""
        folder = self._folder(repository)
        self._refuse_edited(folder)
        self._known.pop(folder, None)
        self._prove(repository, folder)
        return self._git(
            argv,
            folder=folder,
            stdin=stdin,
            timeout_s=timeout_s,
            grace_s=grace_s,
            silence_s=silence_s,
        )

    def _prove(self, repository: str, folder: Path) -> State:
        def verify(pack: Path) -> Completed:
            # In a repository git would compare each object with what it finds there under the same id.
            argv = ("index-pack", "--verify", "--object-format=sha1", str(pack))
            return self._git(argv, timeout_s=PROOF_S, environment={"GIT_DIR": NOWHERE})

        try:
            return prove(folder, verify)
        except ConfigurationError as error:
            raise self._forged(repository, error.message) from error

    def _seen(self, repository: str, folder: Path) -> State:
        try:
            return seen(folder)
        except ConfigurationError as error:
            raise self._forged(repository, error.message) from error

    def _proven(self, repository: str, parent: str, sha: str) -> Mapping[str, tuple[str, str]]:
        """What a commit has otherwise than its parent, from the objects' own bytes: ``mode id`` before and after, by path.

        Raises:
            UnavailableError: An object is not what its id says, or the commit has other parents.
        """
        proven = ProvenObjects(
            self._folder(repository),
            lambda argv, stdin: self._in_cache(repository, argv, stdin=stdin),
        )
        try:
            return proven.changed(parent, sha)
        except ConfigurationError as error:
            raise self._forged(repository, error.message) from error

    def _forged(self, repository: str, what: str) -> UnavailableError:
        folder = self._folder(repository)
        return UnavailableError(
            f"the cache of {repository} was changed by somebody: {what}; nothing is read from it or pushed",
            hint=f"Find out who did; delete {folder}, and it is fetched again.",
        )

    def _git(
        self,
        argv: tuple[str, ...],
        *,
        timeout_s: float,
        folder: Path | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        grace_s: float = GRACE_S,
        silence_s: float | None = None,
    ) -> Completed:
        where = ("--git-dir", str(folder)) if folder else ()
        return self._processes.run(
            ("git", *_SAFE, *self._trusted, *where, *argv),
            timeout_s=timeout_s,
            stdin=stdin,
            grace_s=grace_s,
            silence_s=silence_s,
            # The folder that the command happens to be called in may be a repository, with settings of its own.
            cwd=Path("/"),
            environment={
                # Output is read whole; by default a log is written commit by commit.
                "GIT_FLUSH": "0",
                **UNMOVED,
                **ALONE,
                **as_variables(self._credentials),
                **(environment or {}),
            },
        )

    @cached_property
    def _credentials(self) -> Settings:
        """How the person proves who they are; a repository on this machine asks nobody."""
        if all(r.url.startswith(("/", "file:")) for r in self._remotes.values()):
            return ()
        names = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")
        return credentials_of(self._processes, {n: os.environ[n] for n in names if n in os.environ})

    def _refuse_edited(self, folder: Path) -> None:
        """What a cache's config says decides where Git goes, and who answers: it says nothing but its format."""
        try:
            added = added_settings((folder / "config").read_text(errors="replace"))
        except OSError as error:
            raise UnavailableError(f"cannot read {folder / 'config'}: {error.strerror}") from error
        if added:
            raise ConfigurationError(
                f"somebody edited {folder}: its config has {', '.join(added)}; nothing was done",
                hint="Find out who did; delete the folder, and it is fetched again.",
            )

    def _unreachable(self, repository: str, done: Completed) -> UnavailableError:
        return UnavailableError(
            f"cannot reach repository {repository}: {reason_of(done)}",
            hint="Check its url and your credentials.",
        )


def remove_stale_locks(folder: Path) -> bool:
    """Removes locks that a killed git left in a cache; whether there were any.

    Every command on a cache has a deadline far below this age, so nobody holds such a lock any more.
    """
    before_s = time.time() - STALE_S
    stale = [
        path
        for path in (*folder.glob("*.lock"), *folder.glob("refs/**/*.lock"))
        if path.name != "gitops-nb.lock" and path.stat().st_mtime < before_s
    ]
    for path in stale:
        path.unlink(missing_ok=True)
    return bool(stale)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a file's lock, against other processes of this machine."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _has_refs(folder: Path) -> bool:
    """Whether a cache was filled before."""
    return (folder / "packed-refs").exists() or any((folder / "refs/heads").iterdir())


def _is_fixed(asked: bytes, answer: bytes) -> bool:
    """Whether an answer stays: a path that a commit does not have it never has, an object may still be fetched."""
    return b" missing\n" not in answer or all(b":" in line for line in asked.splitlines())
