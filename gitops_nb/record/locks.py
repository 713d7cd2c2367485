"""Locks that several machines see: one per environment and subject, kept in a store.

``locks/<name>/000000000007.json`` says that somebody holds the lock, the next slot that it is free again. Slots are
created and never changed, so two machines cannot both believe that they took one. Age proves nothing: a lock is taken over
only when its holder is proven dead, on the same machine by its process id and start time. Elsewhere a person says so.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Json, canonical
from gitops_nb.ports import Store

FOLDER = "locks"
KEPT = 4
"""Slots that stay behind the newest one."""
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock, and what proves that they no longer do.

    ``boot``, ``namespace``, ``pid`` and ``started`` tell one process from every other; ``ci`` is a CI run and attempt.
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


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that this process holds, by the slot that says so."""

    name: str
    slot: int


class SharedLocks:
    """Locks in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, name: str, owner: Owner) -> Held | Owner:
        """Takes a lock, or says who holds it.

        Raises:
            UnavailableError: The store does not answer.
            RecordError: What is there cannot be read.
        """
        content = _content("held", owner=asdict(owner))
        for _ in range(_ATTEMPTS):
            newest, holder = self._newest(name)
            if holder is not None and not holder.is_proven_dead:
                return holder
            mine = newest + 1
            if not self._store.create(_slot(name, mine), content):
                continue
            # A slow taker may create a slot that others have left behind and removed: only the newest one counts.
            if self._newest(name)[0] == mine:
                self._tidy(name, mine)
                return Held(name, mine)
        raise RecordError(f"{name} changes hands too fast to be taken", hint="Try again.")

    def release(self, held: Held) -> None:
        """Frees a lock; one that was freed by somebody else stays as it is."""
        self._store.create(_slot(held.name, held.slot + 1), _content("free", by="its holder"))

    def holder(self, name: str) -> Owner | None:
        """Who holds a lock now."""
        return self._newest(name)[1]

    def unlock(self, name: str, *, by: str, reason: str) -> Owner:
        """Frees a lock on a person's word, which stays in the store; returns who held it.

        Raises:
            Refused: Nobody holds it, or it changed hands meanwhile.
        """
        newest, holder = self._newest(name)
        if holder is None:
            raise Refused(f"nobody holds {name}")
        if not self._store.create(_slot(name, newest + 1), _content("free", by=by, reason=reason)):
            raise Refused(f"{name} changed hands meanwhile", hint="Look again who holds it.")
        return holder

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


def this_process(who: str, reason: str) -> Owner:
    """This process as the owner of a lock."""
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
    )


def _slot(name: str, number: int) -> str:
    return f"{FOLDER}/{name}/{number:012}.json"


def _content(state: str, **fields: Json | Mapping[str, Json]) -> bytes:
    # The nonce tells our own lost reply from somebody else's equal content.
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return canonical({"state": state, "at": now, "nonce": secrets.token_hex(16), **fields})


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
