"""The store of facts: Parquet tables partitioned by service, written incrementally, checked before each write.

    FOLDER/TABLE/service=NAME/facts.parquet     Hive layout: DuckDB, Spark and BigQuery read the folder as it is
    FOLDER/sources/NAME.json                    where the next collection of a source begins
    FOLDER/sources/collected.json               when each source was last read: until then its silence is one

A file is replaced whole by a rename, and only when its rows change: the same input twice changes no byte of a table. The
resume point of a source is written after its rows, so a collection that dies is repeated from the old point, and
repeating it adds nothing. Rows have keys; a row with a known key replaces the old one. No table holds a name of a
person. The tables are those of ``schemas``.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from gitops_nb.dora import fact_tables
from gitops_nb.dora.schemas import KEYS, TABLES, check
from gitops_nb.errors import RecordError
from gitops_nb.model import Json
from gitops_nb.record.files import fsync_directory, replace_file, settled

_NO_SERVICE = "__HIVE_DEFAULT_PARTITION__"
_FILE = "facts.parquet"
_COLLECTED = "collected"
"""No source has this name: all others say what they are of, or are one word of ``joining.SOURCES``."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What one write changed: rows that are new, rows that replaced others, and files that were written."""

    added: int = 0
    replaced: int = 0
    files: int = 0

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.added + other.added, self.replaced + other.replaced, self.files + other.files
        )


class FactStore:
    """Facts below a folder; made when something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def services(self, table: str) -> tuple[str, ...]:
        """Services that have rows in a table."""
        return tuple(sorted(self._read(table, None)["service"].unique()))

    def read(self, table: str, services: Sequence[str] | None = None) -> pd.DataFrame:
        """A table, ordered by its key; only the partitions of ``services`` when they are given."""
        return _ordered(table, self._read(table, services))

    def merge(self, table: str, rows: pd.DataFrame) -> Merged:
        """Adds rows; those with a known key replace the old ones.

        Raises:
            UsageError: A column, type, word or time is wrong; nothing was written.
        """
        rows = check(table, rows)
        if rows.empty:
            return Merged()
        services = tuple(rows["service"].unique())
        before = self.read(table, services)
        key = list(KEYS[table])
        if before.empty:
            fresh = rows.drop_duplicates(key, keep="last")
            return Merged(added=len(fresh), files=self._write(table, before, fresh))
        joined = pd.concat([before, rows]).drop_duplicates(key, keep="last")
        known = pd.MultiIndex.from_frame(before[key]).isin(pd.MultiIndex.from_frame(rows[key]))
        added = len(joined) - len(before)
        done = self._write(table, before, joined.astype(dict(TABLES[table])))
        changed = pd.concat([before[known], rows]).drop_duplicates(keep=False)
        replaced = int(pd.MultiIndex.from_frame(before[key]).isin(_index(changed, key)).sum())
        return Merged(added, replaced, done)

    def replace(self, table: str, rows: pd.DataFrame, *, services: Sequence[str]) -> Merged:
        """Makes ``rows`` all rows of ``services``: for tables that are derived from others.

        Raises:
            UsageError: A column, type, word or time is wrong; nothing was written.
        """
        rows = check(table, rows)
        before = self.read(table, services)
        files = self._write(table, before, rows)
        return Merged(added=max(0, len(rows) - len(before)), files=files)

    def resume_point(self, source: str) -> Mapping[str, Json]:
        """Where a source's next collection begins; {} when it was never collected.

        Raises:
            RecordError: The point is there and cannot be read.
        """
        path = self._point(source)
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordError(
                f"{path} cannot be read", hint="Delete it; the source is collected from its start."
            ) from error
        return dict(found)

    def set_resume_point(self, source: str, point: Mapping[str, Json]) -> None:
        """Writes where the next collection begins; call it after the rows are written."""
        content = (json.dumps(point, indent=2, sort_keys=True) + "\n").encode()
        path = self._point(source)
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(settled(path), content)

    def ends(self) -> dict[str, int]:
        """When each source was last read, in UTC epoch seconds."""
        found = self.resume_point(_COLLECTED)
        return {name: end for name, end in found.items() if isinstance(end, int)}

    def set_end(self, source: str, at_s: int) -> None:
        """Notes that a source was read whole at a moment; call it after its rows are written."""
        self.set_resume_point(_COLLECTED, {**self.ends(), source: at_s})

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One writer at a time; the second one is told, it does not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RecordError(
                    f"another collection writes to {self.folder}", hint="Wait until it has ended."
                ) from error
            yield

    def _point(self, source: str) -> Path:
        return self.folder / "sources" / f"{quote(source, safe='')}.json"

    def _read(self, table: str, services: Sequence[str] | None) -> pd.DataFrame:
        folder = self.folder / table
        if services is None:
            paths = sorted(folder.glob(f"service=*/{_FILE}"))
        else:
            paths = [p for p in (self._path(table, name) for name in services) if p.is_file()]
        columns = TABLES[table]
        if not paths:
            return fact_tables.frame(columns, ())
        parts = []
        for path in paths:
            try:
                part = parquet.ParquetFile(path).read()
            except (pa.ArrowException, OSError) as error:
                raise RecordError(
                    f"the facts in {path} cannot be read: {str(error).splitlines()[0]}",
                    hint="Delete the folder of facts and collect again.",
                ) from error
            name = unquote(path.parent.name.removeprefix("service="))
            service = pa.repeat("" if name == _NO_SERVICE else name, part.num_rows)
            parts.append(part.append_column("service", service.cast(pa.large_string())))
        whole = pa.concat_tables(parts, promote_options="permissive")
        return fact_tables.complete(columns, whole.to_pandas())

    def _write(self, table: str, before: pd.DataFrame, after: pd.DataFrame) -> int:
        # Sorted and converted once: the service leads every key, so each one's rows are a slice.
        after = _by_service(table, after)
        whole = pa.Table.from_pandas(after.drop(columns="service"), preserve_index=False)
        new, old = _slices(after), _slices(before := _by_service(table, before))
        written = 0
        for service in sorted({*old, *new}):
            path = self._path(table, service)
            if service not in new:
                path.unlink(missing_ok=True)
                written += 1
                continue
            start, end = new[service]
            if service in old:
                was = before.iloc[slice(*old[service])].reset_index(drop=True)
                if was.equals(after.iloc[start:end].reset_index(drop=True)):
                    continue
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            parquet.write_table(whole.slice(start, end - start), part, compression="zstd")
            _make_durable(part, path)
            written += 1
        return written

    def _path(self, table: str, service: str) -> Path:
        name = quote(service, safe="") if service else _NO_SERVICE
        return self.folder / table / f"service={name}" / _FILE


def _ordered(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(list(KEYS[table]), ignore_index=True)


def _by_service(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    key = list(dict.fromkeys(("service", *KEYS[table])))
    return rows.sort_values(key, ignore_index=True)


def _slices(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """First and next row of each service in rows that are ordered by service."""
    names = rows["service"].drop_duplicates(keep="first")
    starts = [*names.index, len(rows)]
    return {
        str(name): (start, end) for name, start, end in zip(names, starts, starts[1:], strict=False)
    }


def _index(rows: pd.DataFrame, key: list[str]) -> Any:
    return pd.MultiIndex.from_frame(rows[key])


def _make_durable(part: Path, path: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    fsync_directory(path.parent)
