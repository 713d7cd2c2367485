"""Objects that are created and never changed, in refs of a Git repository; implements ``ports.Store``.

``register/abc/000001.json`` is the file ``000001.json`` in the newest commit of ``refs/gitops-nb/register/abc``. A ref moves by one
push with a lease on what it was, so two machines cannot both create the same object. Branches and their history are left
alone, a clone does not bring the refs along, and a copy of a reports folder does not hold them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.adapters.folder import check_key
from gitops_nb.adapters.git_cache import PUSH_GRACE_S, REMOTE_S, GitCache, Remote
from gitops_nb.adapters.git_proven import blob_id
from gitops_nb.adapters.git_text import SHA, full_id, parse_batch, quoted, refuse_sha_256
from gitops_nb.adapters.git_words import reason_of
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.ports import Completed, Processes

PREFIX = "refs/gitops-nb/"
ATTEMPTS = 20
_PLAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class GitRefs(GitCache):
    """A store below ``refs/gitops-nb/`` of one repository. It only creates; nothing is replaced or removed.

    Args:
        repository: Name of the repository.
        remote: Where it is.
        cache: Folder for the bare cache; made when needed.
        processes: Runs git.
        author: Name and e-mail address that its commits carry.
    """

    def __init__(
        self,
        repository: str,
        remote: Remote,
        *,
        cache: Path,
        processes: Processes,
        author: tuple[str, str],
    ) -> None:
        super().__init__({repository: remote}, cache=cache, processes=processes)
        self._remembered: Mapping[str, str] | None = None
        self._repository = repository
        self._author = author

    def create(self, key: str, content: bytes) -> bool:
        """See ``ports.Store.create``."""
        reference, name = _place(key)
        for _ in range(ATTEMPTS):
            tip = self._tips(reference).get(reference, "")
            found = self._read(reference, tip, name)
            if found is not None:
                return found == content
            commit = self._build(tip, name, content)
            done = self._change_cache(
                self._repository,
                (
                    "push",
                    "--porcelain",
                    f"--force-with-lease={reference}:{tip}",
                    "--",
                    self._remote(self._repository).url,
                    f"{commit}:{reference}",
                ),
                timeout_s=REMOTE_S,
                grace_s=PUSH_GRACE_S,
            )
            if done.exit_code == 0:
                return True
            # The texts of a rejected push differ by server; what the ref says now does not.
            now = self._tips(reference).get(reference, "")
            if now == commit:
                return True
            if now == tip:
                raise self._blocked(reference) or self._unwilling(done)
        raise UnavailableError(f"{reference} moved {ATTEMPTS} times meanwhile", hint="Try again.")

    def _blocked(self, reference: str) -> UnavailableError | None:
        """A ref below or above another one keeps it from being made; whoever may push refs here can push that first."""
        parts = reference.split("/")
        above = ["/".join(parts[:end]) for end in range(3, len(parts))]
        for name in self._tips(f"{reference}/*", *above):
            if name.startswith(f"{reference}/") or reference.startswith(f"{name}/"):
                return UnavailableError(
                    f"{self._repository} has a ref {name}, and no {reference} can be beside it",
                    hint="Find out who pushed it, and have somebody who may delete refs there remove it.",
                )
        return None

    def _unwilling(self, done: Completed) -> UnavailableError:
        return UnavailableError(
            f"{self._repository} refuses a push to {PREFIX}*: {reason_of(done)}",
            hint="Mend what it names; where it is these refs, let the runner and those who answer create refs there, or name a bucket with `locks:`.",
        )

    def read(self, key: str) -> bytes | None:
        """See ``ports.Store.read``."""
        reference, name = _place(key)
        return self._read(reference, self._tips(reference).get(reference, ""), name)

    def read_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """See ``ports.Store.read_many``; each ref is asked for once."""
        tips: dict[str, str] = {}
        for key in keys:
            reference, name = _place(key)
            if reference not in tips:
                tips[reference] = self._tips(reference).get(reference, "")
            yield self._read(reference, tips[reference], name)

    def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
        """See ``ports.Store.list``."""
        folder = prefix.rpartition("/")[0]
        found: list[str] = []
        for reference, tip in self._tips(f"{PREFIX}{folder}", f"{PREFIX}{folder}/*").items():
            stem = reference.removeprefix(PREFIX)
            self._bring(reference, tip)
            listed = self._answer(self._repository, ("ls-tree", "-z", "--name-only", full_id(tip)))
            found += [f"{stem}/{name}" for name in listed.stdout.split("\0") if name]
        return tuple(sorted(key for key in found if key.startswith(prefix) and key > after))

    def folders(self, prefix: str) -> tuple[str, ...]:
        """See ``ports.Store.folders``."""
        stems = [name.removeprefix(PREFIX) for name in self._tips(f"{PREFIX}{prefix}*")]
        inside = [f"{stem}/".removeprefix(prefix) for stem in stems if stem.startswith(prefix)]
        return tuple(sorted({name.partition("/")[0] for name in inside}))

    def replace(self, key: str, content: bytes) -> None:
        """Refs hold what is never changed.

        Raises:
            UsageError: Always.
        """
        what = f"{key}, {len(content)} bytes"
        raise UsageError(f"{what}: what stands in refs is not replaced", hint="Use a bucket.")

    def remove(self, key: str) -> None:
        """Refs hold what is never removed.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{key}: what stands in refs is not removed", hint="Use a bucket.")

    def remember(self, prefix: str) -> None:
        """Asks for all refs below a prefix and fetches them once; from then on they are what they are now.

        Raises:
            UnavailableError: The remote does not answer.
        """
        found = self._tips(f"{PREFIX}{prefix}*")
        if found:
            done = self._change_cache(
                self._repository,
                (
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--",
                    self._remote(self._repository).url, f"+{PREFIX}{prefix}*:{PREFIX}{prefix}*",
                ),
                timeout_s=REMOTE_S,
            )  # fmt: skip
            if done.exit_code != 0:
                raise self._unreachable(self._repository, done)
        self._held |= {(self._repository, tip) for tip in found.values()}
        self._remembered = found

    def _tips(self, *patterns: str) -> Mapping[str, str]:
        """Refs of the remote and their commits, asked now."""
        if self._remembered is not None:
            wanted = tuple(pattern.removesuffix("*") for pattern in patterns)
            return {name: tip for name, tip in self._remembered.items() if name.startswith(wanted)}
        done = self._git(
            ("ls-remote", "--", self._remote(self._repository).url, *patterns), timeout_s=REMOTE_S
        )
        if done.exit_code != 0:
            raise self._unreachable(self._repository, done)
        rows = [line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line]
        for sha, _ in rows:
            refuse_sha_256(self._repository, sha)
        return {name: sha for sha, name in rows if SHA.fullmatch(sha) and name.startswith(PREFIX)}

    def _bring(self, reference: str, tip: str) -> None:
        """Makes sure that the cache holds a commit of a ref."""
        if (self._repository, tip) in self._held:
            return
        known = self._in_cache(self._repository, ("cat-file", "-e", f"{full_id(tip)}^{{commit}}"))
        if known.exit_code != 0:
            done = self._change_cache(
                self._repository,
                (
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--",
                    self._remote(self._repository).url, f"+{reference}:{reference}",
                ),
                timeout_s=REMOTE_S,
            )  # fmt: skip
            if done.exit_code != 0:
                raise self._unreachable(self._repository, done)
        self._held.add((self._repository, tip))

    def _read(self, reference: str, tip: str, name: str) -> bytes | None:
        if not tip:
            return None
        self._bring(reference, tip)
        asked = f"{full_id(tip)}:{name}\n".encode()
        done = self._answer(self._repository, ("cat-file", "--batch"), stdin=asked)
        (found,) = parse_batch(done.output, 1)
        return found.content if found is not None and found.kind == "blob" else None

    def _build(self, parent: str, name: str, content: bytes) -> str:
        """A commit that adds one file, in the cache; no ref moves."""
        author, mail = self._author
        now = int(datetime.now(UTC).timestamp())
        reference = f"refs/building/{os.getpid()}-{os.urandom(4).hex()}"
        text = f"{name}\n".encode()
        stream = [
            f"commit {reference}\nmark :1\ncommitter {author} <{mail}> {now} +0000\n".encode(),
            b"data %d\n%s\n" % (len(text), text),
            f"from {parent}\n".encode() if parent else b"",
            f"M 100644 inline {quoted(name)}\ndata {len(content)}\n".encode() + content + b"\n",
            f"get-mark :1\nreset {reference}\nfrom {'0' * 40}\n\ndone\n".encode(),
        ]
        if parent:
            self._bring(PREFIX, parent)
        done = self._change_cache(
            self._repository, ("fast-import", "--quiet", "--done"), stdin=b"".join(stream)
        )
        sha = done.stdout.strip()
        if done.exit_code != 0 or not SHA.fullmatch(sha):
            raise UnavailableError(f"cannot build a commit: {done.stderr.strip()[-300:]}")
        # What it builds upon may have been changed that very moment: no entry goes with a push of ours.
        wanted = {name: ("", f"100644 {blob_id(content)}")}
        if parent and self._proven(self._repository, parent, sha) != wanted:
            raise self._forged(
                self._repository, f"a commit on {parent[:12]} would not add {name} alone"
            )
        return sha


def _place(key: str) -> tuple[str, str]:
    """The ref of an object, and its name there."""
    check_key(key)
    folder, _, name = key.rpartition("/")
    odd = [p for p in key.split("/") if not _PLAIN.fullmatch(p) or p.endswith(".lock")]
    if not folder or odd:
        raise UsageError(
            f"{key!r} is not a key of an object in a ref", hint="Use letters, digits, - and “/”."
        )
    return f"{PREFIX}{folder}", name
