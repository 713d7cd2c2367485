"""journal.jsonl: append-only, fsynced, hash-chained; the one source of truth about a run.

Each line is canonical JSON with ``seq`` (from 0), ``at`` (RFC 3339 UTC), ``kind``, ``body``, ``prev`` (hash of
the line before, 64 zeros for the first) and ``hash`` (SHA-256 over the line without ``hash``). A torn last
line, as a crash leaves it, is cut when the journal is opened for writing; anything else that does not
fit the chain is never repaired, it is reported.

The kinds and their bodies are listed in ``docs/record.md``.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gitops_nb.errors import RecordError
from gitops_nb.model import Json, canonical, format_time, read_exact, to_json, write_exact
from gitops_nb.record.files import (
    fsync_directory,
    has_other_names,
    open_regular,
    read_regular,
)

ZERO = "0" * 64
FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal."""

    seq: int
    at: str
    kind: str
    body: Mapping[str, Json]
    prev: str
    hash: str


def read(path: Path) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Reads a journal and checks its chain.

    Returns:
        The records up to the first problem, and the problems: empty when the chain holds.

    Raises:
        RecordError: The file cannot be read.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise RecordError(
            f"cannot read {path}: {error.strerror}", hint="Check the run id."
        ) from error
    records, _, problems = _parse(content)
    return records, problems


def _parse(content: bytes) -> tuple[tuple[Record, ...], int, tuple[str, ...]]:
    """Records, the length of the part that holds, and what is wrong after it."""
    records: list[Record] = []
    good = 0
    prev = ZERO
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line and good == len(content):
            break
        if good + len(line) + 1 > len(content):
            return (
                tuple(records),
                good,
                (f"line {number} is torn: {len(line)} bytes without an end",),
            )
        record, problem = _parse_line(line, seq=len(records), prev=prev)
        if record is None:
            return tuple(records), good, (f"line {number}: {problem}",)
        records.append(record)
        prev = record.hash
        good += len(line) + 1
    return tuple(records), good, ()


def _parse_line(line: bytes, *, seq: int, prev: str) -> tuple[Record | None, str]:
    try:
        value = read_exact(line.decode())
        whole = write_exact(value).encode()
        claimed = value.pop("hash")
        record = Record(hash=claimed, **value)
        if line != whole:
            return None, "not canonical JSON"
        content = write_exact(value).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, "not a journal record"
    if claimed != hashlib.sha256(content).hexdigest():
        return None, "its hash does not fit its content"
    if record.seq != seq:
        return None, f"number {record.seq} where {seq} is due"
    if record.prev != prev:
        return None, "it does not follow the record before it"
    return record, ""


def _with_hash(content: bytes, value: Mapping[str, Json], hash_: str) -> bytes:
    """The canonical JSON of a record together with its hash, made of the one without."""
    behind = b"," + canonical({name: value[name] for name in ("kind", "prev", "seq")})[1:]
    return content.removesuffix(behind) + b',"hash":' + canonical(hash_) + behind


class Unwritten:
    """A journal that goes on in memory only, where its file cannot be written any more: what it comes to is known all the same."""

    def __init__(self, records: tuple[Record, ...]) -> None:
        self._records = list(records)

    @property
    def records(self) -> tuple[Record, ...]:
        """Those of the file, and what would stand behind them."""
        return tuple(self._records)

    def append(self, kind: str, /, **body: Any) -> Record:
        """Appends one record, which nothing keeps; it has no hash."""
        at = format_time(datetime.now(UTC))
        record = Record(len(self._records), at, kind, to_json(body), "", "")
        self._records.append(record)
        return record


class Journal:
    """An open journal. One process writes; its threads may share it."""

    def __init__(self, path: Path, records: tuple[Record, ...], descriptor: int) -> None:
        self.path = path
        self._records = list(records)
        self._descriptor = descriptor
        self._lock = threading.Lock()

    @classmethod
    def open(cls, directory: Path) -> Journal:
        """Opens or creates the journal of a run directory; cuts a torn last line.

        Raises:
            RecordError: It cannot be written, or its chain is broken before the last line.
        """
        path = directory / FILE
        try:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            content = read_regular(path)
            records, good, problems = _parse(content)
            if problems and b"\n" in content[good:]:
                os.close(descriptor)
                raise RecordError(
                    f"{path}: {problems[0]}",
                    hint="Keep the directory as evidence and run `gitops-nb verify` on it.",
                )
            if good < len(content) and has_other_names(descriptor):
                os.close(descriptor)
                raise RecordError(
                    f"{path} has a torn end, and is the same file as another one",
                    hint="Keep the directory as evidence; put a copy of the file in its place.",
                )
            if good < len(content):
                os.ftruncate(descriptor, good)
            os.fsync(descriptor)
            fsync_directory(directory)
        except OSError as error:
            raise RecordError(
                f"cannot write {path}: {error.strerror}",
                hint="Free disk space or fix permissions.",
            ) from error
        return cls(path, records, descriptor)

    @property
    def records(self) -> tuple[Record, ...]:
        """All records so far."""
        with self._lock:
            return tuple(self._records)

    @property
    def head(self) -> str:
        """Hash of the newest record."""
        with self._lock:
            return self._records[-1].hash if self._records else ZERO

    def append(self, kind: str, /, **body: Any) -> Record:
        """Appends one record and returns when it is on the disk.

        Raises:
            RecordError: It could not be written; the journal is as it was.
        """
        with self._lock:
            prev = self._records[-1].hash if self._records else ZERO
            value = {
                "seq": len(self._records),
                "at": format_time(datetime.now(UTC)),
                "kind": kind,
                "body": to_json(body),
                "prev": prev,
            }
            content = canonical(value)
            hash_ = hashlib.sha256(content).hexdigest()
            record = Record(hash=hash_, **value)
            size, count = os.fstat(self._descriptor).st_size, len(self._records)
            try:
                line = _with_hash(content, value, hash_) + b"\n"
                if os.write(self._descriptor, line) != len(line):
                    raise OSError(28, "the disk is full")  # noqa: TRY301  a short write is one
                os.fsync(self._descriptor)
                self._records.append(record)
            except OSError as error:
                os.ftruncate(self._descriptor, size)
                raise RecordError(
                    f"cannot write {self.path}: {error.strerror}",
                    hint="Free disk space and resume.",
                ) from error
            except BaseException:
                # An interrupt: the next record would not follow a half of this one, or this one twice.
                del self._records[count:]
                os.ftruncate(self._descriptor, size)
                raise
            return record

    def close(self) -> None:
        """Closes the file; further appends fail."""
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1
