"""The ledger of an environment: numbered, signed, chained records that nobody can take back unseen.

``ledger/<name>/000000000042.json`` is a DSSE envelope around an in-toto Statement v1. A slot is written once
(``Store.create``), each record names the SHA-256 of the envelope before it, and the runner's key signs it. The
ledger says that something was asked, began and ended; what happened in detail stands in the run's journal, whose
digest an ``end`` record holds. ``docs/record.md`` lists phases and fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from gitops_nb.errors import RecordError
from gitops_nb.model import Json, canonical, format_time, parse_time
from gitops_nb.ports import Store
from gitops_nb.record import dsse
from gitops_nb.record.dsse import Envelope, MalformedError

FOLDER = "ledger"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:gitops-nb:run:v1"
NOTHING = "0" * 64
"""What the first record names as the envelope before it."""
CLOCK_SKEW = timedelta(seconds=120)
_ATTEMPTS = 200
GENESIS_CHARACTERS = 12
_KEEP = "Keep the ledger as evidence and run `gitops-nb verify`."
_FIELDS = {"_type", "subject", "predicateType", "predicate"}
_SLOT = re.compile(r"\d{12}\.json")


class Phase(StrEnum):
    """What a record says: three about a run, four about the ledger, its runs and locks."""

    REQUESTED = "requested"
    START = "start"
    END = "end"
    REVIEWED = "reviewed"
    UNLOCKED = "unlocked"
    PRUNED = "pruned"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it was read: its statement is checked for form only, ``hash`` covers the envelope's bytes."""

    key: str
    hash: str
    keyid: str
    at: datetime
    phase: Phase
    seq: int
    prev: str
    run: str
    attempt: int
    subjects: Mapping[str, str]
    predicate: Mapping[str, Json]
    envelope: Envelope

    @property
    def anchor(self) -> str:
        """``SIZE:HASH`` of the ledger that ends with this record."""
        return f"{self.seq + 1}:{self.hash}"


class Signer(Protocol):
    """Signs for a runner."""

    @property
    def keyid(self) -> str:
        """Fingerprint of its public key."""

    def seal(self, payload: bytes) -> bytes:
        """The envelope around a statement."""


class Ledger:
    """One ledger, open for appending.

    Args:
        store: Where it is kept.
        name: Environment, or ``sandbox.`` and environment.
        signer: Of this runner.
        now: Wall time.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        signer: Signer,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self.name = name
        self._signer = signer
        self._now = now

    def append(
        self,
        phase: Phase,
        *,
        run: str,
        attempt: int,
        subjects: Mapping[str, str],
        body: Mapping[str, Any],
    ) -> Entry:
        """Appends one record behind whatever is there; in a new year a checkpoint comes before it.

        Args:
            phase: What it says.
            run: Id of the run, "" when it is about the ledger.
            attempt: Number of the run's attempt.
            subjects: SHA-256 (64 hex) by name; at least one.
            body: The predicate's further fields.

        Raises:
            RecordError: The ledger's newest record is damaged or newer than this machine's clock, or the store
                cannot be written.
            UnavailableError: The store does not answer.
        """
        for _ in range(_ATTEMPTS):
            last = self.last()
            now = self._now()
            if last is not None and now < last.at - CLOCK_SKEW:
                raise RecordError(
                    f"this machine's clock says {format_time(now)}, and record {last.seq} of this ledger is of {format_time(last.at)}: "
                    "one of the two clocks is wrong",
                    hint="Set this clock if it is behind. If it is right, the other machine's was ahead: until that time nothing can be "
                    "signed behind its record.",
                )
            is_new_year = last is not None and last.at.year < now.year
            if last is not None and is_new_year and phase is not Phase.CHECKPOINT:
                record = {
                    **_checkpoint(last),
                    "phase": Phase.CHECKPOINT,
                    "run": "",
                    "attempt": 0,
                }
                self._write(last, {"ledger": last.hash}, record, now)
                continue
            record = {**body, "phase": phase, "run": run, "attempt": attempt}
            entry = self._write(last, subjects, record, now)
            if entry is not None:
                return entry
        raise RecordError(
            f"{_ATTEMPTS} records of others came first in {self.name}", hint="Try again."
        )

    def last(self) -> Entry | None:
        """The newest record, its form checked; None in an empty ledger."""
        keys = slots(self._store, self.name)
        return self.entry(keys[-1]) if keys else None

    @property
    def genesis(self) -> str:
        """What tells this ledger from every other: the beginning of its first record's hash."""
        return self.entry(slot(self.name, 0)).hash[:GENESIS_CHARACTERS]

    def find(self, run: str, *, since: datetime, after: int = 0) -> tuple[Entry, ...]:
        """Records about a run, newest first, looking back to a moment and not at the first ``after`` ones."""
        return find_entries(self._store, self.name, run, since=since, after=after)

    def entry(self, key: str) -> Entry:
        """One record, its form checked; see ``read_entry``."""
        return read_entry(self._store, key)

    def _write(
        self,
        last: Entry | None,
        subjects: Mapping[str, str],
        record: Mapping[str, Any],
        now: datetime,
    ) -> Entry | None:
        seq = 0 if last is None else last.seq + 1
        statement = {
            "_type": STATEMENT,
            "subject": [
                {"name": name, "digest": {"sha256": value}}
                for name, value in sorted(subjects.items())
            ],
            "predicateType": PREDICATE,
            "predicate": {
                **record,
                "ledger": {
                    "name": self.name,
                    "seq": seq,
                    "prev": NOTHING if last is None else last.hash,
                },
                # Clocks of two runners may differ a little; the ledger's own order never goes back.
                "at": format_time(now if last is None else max(now, last.at)),
            },
        }
        key = slot(self.name, seq)
        content = self._signer.seal(canonical(statement))
        if not self._store.create(key, content):
            return None
        return parse_entry(key, content)


def find_entries(
    store: Store, name: str, run: str, *, since: datetime, after: int = 0
) -> tuple[Entry, ...]:
    """Records of a ledger about a run, newest first, looking back to a moment and not at the first ``after`` ones.

    Their form is checked.
    """
    found: list[Entry] = []
    oldest = slot(name, after)
    for key in reversed(slots(store, name)):
        if key < oldest:
            break
        content = store.read(key)
        glimpse = None if content is None else _glimpse(content)
        if glimpse is not None and glimpse[0] != run:
            # Records of others, of which there may be many, are looked at only for how old they are.
            at = glimpse[1]
        else:
            entry = _checked(key, content)
            at = entry.at
            if entry.run == run and at >= since - CLOCK_SKEW:
                found.append(entry)
        if at < since - CLOCK_SKEW:
            break
    return tuple(found)


_AT_ONCE = 256


def newest_of(
    store: Store, name: str, runs: Container[str], *, since: datetime
) -> Iterator[tuple[str, bytes]]:
    """Key and content of a ledger's records that say they are about some runs, newest first, back to a moment; nothing is checked."""
    keys = slots(store, name)[::-1]
    for begin in range(0, len(keys), _AT_ONCE):
        part = keys[begin : begin + _AT_ONCE]
        for key, content in zip(part, store.read_many(part), strict=True):
            glimpse = None if content is None else _glimpse(content)
            if content is None or glimpse is None:
                continue
            if glimpse[1] < since - CLOCK_SKEW:
                return
            if glimpse[0] in runs:
                yield key, content


def _glimpse(content: bytes) -> tuple[str, datetime] | None:
    """Run and time of a record without checking its form; None where they cannot be told."""
    try:
        predicate = json.loads(base64.b64decode(json.loads(content)["payload"]))["predicate"]
        return str(predicate["run"]), parse_time(predicate["at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def read_entry(store: Store, key: str) -> Entry:
    """One record, its form checked.

    Raises:
        RecordError: It is not there, or is none.
    """
    return _checked(key, store.read(key))


def _checked(key: str, content: bytes | None) -> Entry:
    if content is None:
        raise RecordError(f"{key} is missing", hint=_KEEP)
    try:
        return parse_entry(key, content)
    except MalformedError as error:
        raise RecordError(f"{key}: {error}", hint=_KEEP) from error


def slot(name: str, seq: int) -> str:
    """Key of a record."""
    return f"{FOLDER}/{name}/{seq:012}.json"


def slots(store: Store, name: str) -> tuple[str, ...]:
    """Keys of all records of a ledger, in order; other files do not count."""
    keys = store.list(f"{FOLDER}/{name}/")
    return tuple(key for key in keys if _SLOT.fullmatch(key.rpartition("/")[2]))


def size(store: Store, name: str) -> int:
    """How many records a ledger has, those counted that were pruned."""
    keys = slots(store, name)
    return int(keys[-1].rpartition("/")[2].partition(".")[0]) + 1 if keys else 0


def ledger_names(store: Store) -> tuple[str, ...]:
    """Names of all ledgers in a store."""
    return store.folders(f"{FOLDER}/")


def ledger_name(environment: str, *, is_sandbox: bool) -> str:
    """Name of an environment's ledger; the sandbox has its own. No environment's name holds a dot."""
    return f"sandbox.{environment}" if is_sandbox else environment


def parse_entry(key: str, content: bytes) -> Entry:
    """Reads a record from its envelope, without its signature.

    Raises:
        MalformedError: The form of envelope or statement is not exactly ours.
    """
    envelope = dsse.parse(content)
    if envelope.payload_type != dsse.IN_TOTO:
        raise MalformedError(f"its payload is {envelope.payload_type!r}")
    statement = dsse.parse_canonical(envelope.payload)
    if not isinstance(statement, dict) or set(statement) != _FIELDS:
        raise MalformedError("it is not a Statement v1")
    if statement["_type"] != STATEMENT or statement["predicateType"] != PREDICATE:
        raise MalformedError(f"it is a {statement['predicateType']!r} of {statement['_type']!r}")
    predicate = statement["predicate"]
    try:
        return Entry(
            key=key,
            hash=hashlib.sha256(content).hexdigest(),
            keyid=envelope.keyid,
            at=parse_time(predicate["at"]),
            phase=Phase(predicate["phase"]),
            seq=_number(predicate["ledger"]["seq"]),
            prev=str(predicate["ledger"]["prev"]),
            run=str(predicate["run"]),
            attempt=_number(predicate["attempt"]),
            subjects=_subjects(statement["subject"]),
            predicate=predicate,
            envelope=envelope,
        )
    except MalformedError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(f"a field of it is missing or wrong ({error})") from error


def _number(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedError(f"{value!r} is not a number from 0")
    return value


def _subjects(value: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for item in value:
        name, sha256 = str(item["name"]), str(item["digest"]["sha256"])
        if set(item) != {"name", "digest"} or set(item["digest"]) != {"sha256"}:
            raise MalformedError("a subject has more than a name and a SHA-256")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or name in found:
            raise MalformedError(f"subject {name!r} stands there twice, or has no SHA-256")
        if not is_inside(name):
            raise MalformedError(f"subject {name!r} leaves the run's directory")
        found[name] = sha256
    if not found:
        raise MalformedError("it has no subject")
    return found


def is_inside(name: str) -> bool:
    """Whether a path stays inside the directory it is relative to."""
    return (
        bool(name)
        and not name.startswith("/")
        and "\\" not in name
        and "\0" not in name
        and not {"", ".", ".."} & set(name.split("/"))
    )


def _checkpoint(last: Entry) -> Mapping[str, Json]:
    """What a new year begins with: how many records there are, and the last one's hash."""
    return {"checkpoint": {"size": last.seq + 1, "head": last.hash, "year": last.at.year}}
