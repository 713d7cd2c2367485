"""Locks that several machines see: one per environment and subject, kept in a store.

``locks/<name>/000000000007.json`` says that somebody holds the lock, the next slot that it is free again. Slots are
created and never changed, so two machines cannot both believe that they took one. Age proves nothing: a lock is taken over
only when its holder is proven dead: on the same machine by its process id and start time, on a machine of GitHub's by
the API, which says that the attempt is completed and with it the machine gone. Elsewhere a person says so, and signs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Json, canonical
from gitops_nb.ports import Store
from gitops_nb.record.runs import is_locked

FOLDER = "locks"
KEPT = 4
"""Slots that stay behind the newest one."""
_ATTEMPTS = 50
_CI = re.compile(r"GitHub run (?P<repository>[^/\s]+/[^/\s]+)/(?P<run>[0-9]+)/(?P<attempt>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock, and what proves that they no longer do.

    ``boot``, ``namespace``, ``pid`` and ``started`` tell one process from every other; ``ci`` is a CI run and attempt,
    ``machine`` whose machine that runs on ("github-hosted", "self-hosted"). ``lock`` is the file that the process and the
    commands it left have locked on their machine.
    """

    who: str
    reason: str
    since: str
    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    ci: str = ""
    machine: str = ""
    lock: str = ""

    def __str__(self) -> str:
        """For messages."""
        where = self.ci or f"process {self.pid} on {self.host}"
        return f"{self.who} ({where}) since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine's, whose life this machine can see."""
        return bool(self.boot) and (self.boot, self.namespace) == (_boot(), _namespace())

    @property
    def is_proven_dead(self) -> bool:
        """Whether this very process is gone; False wherever this machine cannot tell."""
        return self.is_here and _started(self.pid) != self.started

    def left_commands(self, taker: Owner | None = None) -> bool:
        """Whether commands of this process still hold its file; a taker may have the same one in its own hands."""
        is_takers = taker is not None and taker.lock == self.lock
        return bool(self.lock) and not is_takers and is_locked(self.lock)

    @property
    def hosted_run(self) -> tuple[str, str, str] | None:
        """Repository, run and attempt, where the machine goes away with the attempt; a self-hosted one stays."""
        match = _CI.fullmatch(self.ci)
        if match is None or self.machine != "github-hosted":
            return None
        return match["repository"], match["run"], match["attempt"]


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that this process holds, by the slot that says so."""

    name: str
    slot: int


class SharedLocks:
    """Locks in a store.

    Args:
        store: Where they are kept.
        has_ended: Whether an attempt of a CI run (repository, run, attempt) has ended; False when nobody can tell.
    """

    def __init__(
        self, store: Store, *, has_ended: Callable[[str, str, str], bool] = lambda *_: False
    ) -> None:
        self._store = store
        self._has_ended = has_ended

    def take(self, name: str, owner: Owner) -> Held | Owner:
        """Takes a lock, or says who holds it.

        Raises:
            UnavailableError: The store does not answer.
            RecordError: What is there cannot be read.
        """
        nonce = secrets.token_hex(16)
        for _ in range(_ATTEMPTS):
            newest, holder = self._newest(name)
            proof = self._proof(holder, owner) if holder is not None else ""
            if holder is not None and not proof:
                return holder
            mine = newest + 1
            after = {"after": asdict(holder), "proof": proof} if holder is not None else {}
            content = _content("held", nonce, owner=asdict(owner), **after)
            if not self._store.create(_slot(name, mine), content):
                continue
            # A slow taker may create a slot that others have left behind and removed: only the newest one counts.
            if self._newest(name)[0] == mine:
                self._tidy(name, mine)
                return Held(name, mine)
        raise RecordError(f"{name} changes hands too fast to be taken", hint="Try again.")

    def _proof(self, holder: Owner, taker: Owner) -> str:
        """What proves that a holder is gone with all it started, in words; the empty text when nothing does."""
        if holder.is_here:
            is_gone = holder.is_proven_dead and not holder.left_commands(taker)
            return "its process is gone" if is_gone else ""
        run = holder.hosted_run
        return "GitHub says that its attempt is completed" if run and self._has_ended(*run) else ""

    def release(self, held: Held) -> None:
        """Frees a lock; one that was freed by somebody else stays as it is."""
        free = _content("free", secrets.token_hex(16), by="its holder")
        self._store.create(_slot(held.name, held.slot + 1), free)

    def holder(self, name: str) -> Owner | None:
        """Who holds a lock now."""
        return self._newest(name)[1]

    def held_by(self, name: str) -> tuple[Held, Owner, str]:
        """The slot by which a lock is held, by whom, and the SHA-256 of the slot.

        Raises:
            Refused: Nobody holds it.
        """
        newest, holder = self._newest(name)
        content = self._store.read(_slot(name, newest)) if holder is not None else None
        if holder is None or content is None:
            raise Refused(f"nobody holds {name}")
        return Held(name, newest), holder, hashlib.sha256(content).hexdigest()

    def unlock(self, held: Held, *, by: str, reason: str) -> None:
        """Frees a lock on a person's word, which stays in the store.

        Raises:
            Refused: It changed hands meanwhile.
        """
        free = _content("free", secrets.token_hex(16), by=by, reason=reason)
        if not self._store.create(_slot(held.name, held.slot + 1), free):
            raise Refused(f"{held.name} changed hands meanwhile", hint="Look again who holds it.")

    def _newest(self, name: str) -> tuple[int, Owner | None]:
        """Number of the newest slot (-1: none), and who holds the lock by it."""
        keys = self._store.list(f"{FOLDER}/{name}/")
        if not keys:
            return -1, None
        content = self._store.read(keys[-1])
        try:
            number = int(keys[-1].rpartition("/")[2].removesuffix(".json"))
            value = json.loads(content or b"")
            owner = Owner(**value["owner"]) if value["state"] == "held" else None
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{keys[-1]} is no lock", hint="Find out who wrote it.") from error
        return number, owner

    def _tidy(self, name: str, newest: int) -> None:
        for key in self._store.list(f"{FOLDER}/{name}/"):
            if key < _slot(name, max(0, newest - KEPT)):
                self._store.remove(key)


def this_process(who: str, reason: str, lock: str = "") -> Owner:
    """This process as the owner of a lock, and of the locked file that its commands inherit."""
    ci = ""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        parts = ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")
        ci = "GitHub run " + "/".join(os.environ.get(part, "?") for part in parts)
    pid = os.getpid()
    return Owner(
        who=who,
        reason=reason,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        boot=_boot(),
        namespace=_namespace(),
        pid=pid,
        started=_started(pid),
        ci=ci,
        machine=os.environ.get("RUNNER_ENVIRONMENT", "") if ci else "",
        lock=lock,
    )


def _slot(name: str, number: int) -> str:
    return f"{FOLDER}/{name}/{number:012}.json"


def _content(state: str, nonce: str, **fields: Json | Mapping[str, Json]) -> bytes:
    # The nonce tells our own lost reply from somebody else's equal content.
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return canonical({"state": state, "at": now, "nonce": nonce, **fields})


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    """Process ids mean the same only inside one namespace: two containers share a boot id."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot, "" when it is gone or a zombie."""
    # The command's name may hold blanks and brackets: fields count from behind it.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
