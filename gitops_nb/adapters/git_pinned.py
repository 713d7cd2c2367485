"""A repository at an address that is trusted, in a bare cache of our own that no workspace can reach.

Where Git goes and what it runs is said here alone. Of the person's own configuration, and of the machine's, only the settings
``credential.*`` and headers that authorize are taken: a rewritten address, another transport, a proxy or a hook are not. HOME is the user database's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import cached_property
from pathlib import Path

from gitops_nb.adapters.git_cache import exclusive, remove_stale_locks
from gitops_nb.adapters.git_proven import UNMOVED
from gitops_nb.adapters.git_settings import ALONE, NOWHERE, Settings, as_variables, credentials_of
from gitops_nb.adapters.git_words import is_locked, reason_of
from gitops_nb.errors import ConfigurationError, UnavailableError
from gitops_nb.ports import Completed, Processes

ASK_S, FETCH_S, LOCAL_S = 60.0, 600.0, 60.0
_SAFE = (
    "--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={NOWHERE}", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "core.commitGraph=false", "-c", "fetch.recurseSubmodules=false",
    "-c", "protocol.allow=never", "-c", "protocol.https.allow=always",
    "-c", "protocol.ssh.allow=always", "-c", "protocol.file.allow=always",
)  # fmt: skip
_FORMATS = {
    40: "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
    64: "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n",
}
"""The whole configuration of a cache, by the length of its ids."""
_ODD = (
    "shallow", "commondir", "config.worktree", "info/grafts", "remotes", "branches", "refs/replace",
    "objects/info/alternates", "objects/info/http-alternates",
)  # fmt: skip
"""What makes Git read something else than this cache, or go elsewhere; we make none of it."""


class PinnedRepository:
    """Branches of one repository, asked and fetched at its address alone.

    Args:
        url: The address.
        home: The user's home as the user database has it; credentials are there.
        caches: Folder of the caches.
        processes: Runs git.
        credentials: Settings of Git beside those of the person, as keys and values.
    """

    def __init__(
        self,
        url: str,
        *,
        home: Path,
        caches: Path,
        processes: Processes,
        credentials: Settings = (),
    ) -> None:
        if "://" not in url and ":" not in url.partition("/")[0] and not url.startswith("/"):
            raise ConfigurationError(
                f"origin is {url}, a path that means another repository in another folder",
                hint="Set the remote origin to an absolute path, or to a URL.",
            )
        self._url = url
        self._home = home
        self._processes = processes
        self._credentials = credentials
        self.folder = caches / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.git"

    def tip(self, branch: str) -> tuple[str, str]:
        """Name and commit of a branch, of the default one where none is named; asked now.

        Raises:
            UnavailableError: The repository does not answer, or has no such branch.
        """
        reference = f"refs/heads/{branch}" if branch else "HEAD"
        rows = self._remote(("ls-remote", "--symref", "--", self._url, reference), ASK_S, NOWHERE)
        listed = [row.partition("\t") for row in rows.splitlines()]
        found = {name: said for said, _, name in listed if not said.startswith("ref: ")}
        default = [said[5:] for said, _, name in listed if said.startswith("ref: ") and name == "HEAD"]  # fmt: skip
        if not branch:
            if not default or not default[0].startswith("refs/heads/"):
                raise UnavailableError(
                    "origin names no default branch", hint="Set one on the Git host."
                )
            branch = default[0].removeprefix("refs/heads/")
        if reference not in found:
            raise UnavailableError(
                f"origin has no branch {branch}, which is pinned for this workspace",
                hint="Pin another one with `gitops-nb trust origin --branch NAME`.",
            )
        return branch, found[reference]

    def ensure(self, branch: str, commit: str) -> None:
        """Makes sure that the cache holds a branch's commit, with all of its history.

        Raises:
            UnavailableError: It cannot be fetched.
            ConfigurationError: Somebody edited the cache.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with exclusive(self.folder.with_suffix(".lock")):
                if not self.folder.exists():
                    self._make(len(commit))
                self._refuse_edited(len(commit))
                if self._has(commit):
                    return
                self._fetch(branch)
        except OSError as error:
            raise UnavailableError(
                f"cannot keep {self.folder}: {error.strerror}",
                hint="Policy is read there: make the folder writable for this user.",
            ) from error
        if not self._has(commit):
            raise UnavailableError(
                f"origin gave no commit {commit[:8]} of {branch}", hint="Try again; it moved."
            )

    def ask(self, arguments: tuple[str, ...], stdin: bytes = b"") -> Completed:
        """Runs git on the cache, without any remote."""
        return self._git(arguments, LOCAL_S, self.folder, stdin=stdin)

    def _has(self, commit: str) -> bool:
        return self.ask(("cat-file", "-e", commit)).exit_code == 0

    def _make(self, id_length: int) -> None:
        """The name appears when the cache is complete."""
        building = self.folder.with_name(f".{self.folder.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        form = "sha1" if id_length == 40 else "sha256"
        made = ("init", "--quiet", "--bare", "--template=", f"--object-format={form}")
        done = self._git((*made, "--", str(building)), LOCAL_S, None)
        if done.exit_code != 0:
            raise UnavailableError(f"cannot make {self.folder}: {reason_of(done)}")
        building.chmod(0o700)
        (building / "config").write_text(_FORMATS[id_length], encoding="utf-8")
        building.rename(self.folder)

    def _refuse_edited(self, id_length: int) -> None:
        """What is written here decides whose rules count: a cache that is not as we made it is nobody's."""
        state = self.folder.lstat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            odd = "others may write there"
        elif (self.folder / "config").read_text(encoding="utf-8") != _FORMATS[id_length]:
            odd = "its config is another one"
        else:
            there = [name for name in _ODD if os.path.lexists(self.folder / name)]
            odd = f"it has {', '.join(there)}" if there else ""
        if odd:
            raise ConfigurationError(
                f"somebody edited {self.folder}: {odd}; nothing was done",
                hint="Find out who did; delete the folder, and it is fetched again.",
            )

    def _fetch(self, branch: str) -> None:
        moved = f"+refs/heads/{branch}:refs/heads/{branch}"
        what = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", self._url, moved)
        try:
            self._remote(what, FETCH_S, self.folder)
        except _Locked:
            if not remove_stale_locks(self.folder):
                raise
            self._remote(what, FETCH_S, self.folder)

    def _remote(
        self, arguments: tuple[str, ...], timeout_s: float, folder: Path | str | None
    ) -> str:
        done = self._git(arguments, timeout_s, folder, settings=self._settings)
        if done.exit_code != 0:
            refused = _Locked if is_locked(done) else UnavailableError
            raise refused(
                f"origin does not answer: {reason_of(done)}",
                hint="Policy is read from its pinned branch: make it reachable.",
            )
        return done.stdout

    @cached_property
    def _settings(self) -> Settings:
        """How the person proves who they are to a Git host: what their own and the machine's configuration say."""
        own = credentials_of(self._processes, {"HOME": str(self._home)})
        return (*own, *self._credentials)

    def _git(
        self,
        arguments: tuple[str, ...],
        timeout_s: float,
        folder: Path | str | None,
        *,
        stdin: bytes = b"",
        settings: Settings = (),
    ) -> Completed:
        where = () if folder is None else ("--git-dir", str(folder))
        return self._processes.run(
            ("git", *_SAFE, *where, *arguments),
            timeout_s=timeout_s,
            cwd=Path("/"),
            stdin=stdin,
            environment={
                **UNMOVED,
                **ALONE,
                "HOME": str(self._home),
                **as_variables(settings),
            },
        )


class _Locked(UnavailableError):
    """A lock was in the way, of a git that goes on or of one that was killed."""
