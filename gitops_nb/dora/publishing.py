"""The tables that a report is measured from, written where Spark or BigQuery read them.

    PLACE/VERSION/TABLE/*.parquet     a publication: whole, and never changed
    PLACE/current.json                which one is read: its version, whose facts, and until when each source is known

The pointer is written last, and the publication before it stays until the next: whoever measures reads one of them to
its end. What stands in them is what ``stored.select`` gives; only deployments pass through this process's memory.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb

from gitops_nb.dora.engine import MEMORY
from gitops_nb.dora.fact_tables import FACTS
from gitops_nb.dora.importing_tables import REPOSITORY
from gitops_nb.dora.joining import deployments_of
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import RecordError
from gitops_nb.ports import Store
from gitops_nb.record.files import replace_file, settled

CURRENT = "current.json"
# It becomes part of paths and of names of tables.
_VERSION = re.compile(r"[0-9a-z]{1,64}")
_PART = "64MB"
"""How large a file of a bucket may become: each is sent whole."""
_EMPTY = {"str": "''", "Int64": "null::bigint", "int64": "0::bigint", "bool": "false"}
_TYPES = {"str": "varchar", "Int64": "bigint", "int64": "bigint", "bool": "boolean"}


@dataclass(frozen=True, slots=True)
class Publication:
    """Which tables are read: ``facts`` names the store that they are from, ``before`` the version that they replaced.

    ``ends`` is until when each source is known, in UTC epoch seconds.
    """

    version: str
    facts: str
    ends: Mapping[str, int]
    before: str = ""

    @property
    def document(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def publication_of(document: str, *, place: str) -> Publication:
    """Reads the pointer.

    Raises:
        RecordError: It is none.
    """
    try:
        found = json.loads(document)
        ends = {str(name): int(end_s) for name, end_s in found["ends"].items()}
        publication = Publication(
            _VERSION.fullmatch(str(found["version"]))[0],  # type: ignore[index]  # None is no version
            str(found["facts"]),
            ends,
            _VERSION.fullmatch(found["before"])[0] if found["before"] else "",  # type: ignore[index]  # the same
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(
            f"what says which tables of {place} count cannot be read",
            hint="Run `gitops-nb dora export --to ENGINE` again.",
        ) from error
    return publication


def begin(store: FactStore, *, facts: str, before: Publication | None) -> Publication:
    """The next publication of a store, with a version that no other has."""
    version = f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}{secrets.token_hex(3)}"
    return Publication(version, facts, store.ends(), before.version if before else "")


def write_tables(store: FactStore, folder: Path, *, is_split: bool) -> dict[str, int]:
    """Writes the six tables as ``TABLE.parquet``, or in parts as ``TABLE/*.parquet``; returns rows by table."""
    rows = {}
    with duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "temp_directory": gettempdir(),
            "preserve_insertion_order": False,
        }
    ) as connection:
        connection.register("chosen", deployments_of(store))
        for name in FACTS:
            query = _query(connection, store.folder, name)
            target = str(folder / (name if is_split else f"{name}.parquet")).replace("'", "''")
            parts = f", file_size_bytes '{_PART}'" if is_split else ""
            done = connection.execute(
                f"copy ({query}) to '{target}' (format parquet, compression zstd{parts})"
            ).fetchone()
            rows[name] = int(done[0]) if done else 0
    return rows


def _query(connection: duckdb.DuckDBPyConnection, folder: Path, name: str) -> str:
    columns = FACTS[name]
    if name == "deployment":
        source, known = "chosen", set(columns)
    else:
        pattern = f"{folder}/{name}/*/*.parquet".replace("'", "''")
        if not any(folder.glob(f"{name}/*/*.parquet")):
            return f"select {', '.join(f'{_EMPTY[kind]} as {column}' for column, kind in columns.items())} limit 0"
        source = (
            f"read_parquet('{pattern}', hive_partitioning = true, hive_types_autocast = false, "
            "union_by_name = true)"
        )
        known = {row[0] for row in connection.execute(f"describe from {source}").fetchall()}
    # A file of before a column was there says nothing about it, as the store itself reads it.
    wanted = ", ".join(
        f"coalesce({column}, {_EMPTY[kind]})::{_TYPES[kind]} as {column}"
        if column in known
        else f"{_EMPTY[kind]} as {column}"
        for column, kind in columns.items()
    )
    told = ""
    if name == "change_deployment":
        # Changes that came without commits belong to the deployments that they came with, and go with these.
        told = (
            f" where repository <> '{REPOSITORY}' "  # noqa: S608  a word of ours
            "or deployment_id in (select deployment_id from chosen)"
        )
    return f"select {wanted} from {source}{told}"  # noqa: S608  names of ours, and a quoted path


@contextmanager
def written(store: FactStore, *, is_split: bool) -> Iterator[tuple[Path, dict[str, int]]]:
    """The tables in a folder that is gone afterwards, and their rows."""
    with TemporaryDirectory() as text:
        folder = Path(text)
        yield folder, write_tables(store, folder, is_split=is_split)


def to_folder(store: FactStore, place: Path, *, facts: str) -> dict[str, int]:
    """Publishes into a folder; returns rows by table."""
    pointer = place / CURRENT
    known = pointer.read_text("utf-8") if pointer.is_file() else ""
    before = publication_of(known, place=str(place)) if known else None
    new = begin(store, facts=facts, before=before)
    part = place / f"{new.version}.part"
    part.mkdir(parents=True)
    try:
        rows = write_tables(store, part, is_split=True)
        part.rename(place / new.version)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    replace_file(settled(pointer), new.document.encode())
    if before and before.before:
        shutil.rmtree(place / before.before, ignore_errors=True)
    return rows


def to_bucket(store: FactStore, bucket: Store, *, facts: str, place: str) -> dict[str, int]:
    """Publishes into a bucket; returns rows by table."""
    known = bucket.read(CURRENT)
    before = publication_of(known.decode(), place=place) if known else None
    new = begin(store, facts=facts, before=before)
    with written(store, is_split=True) as (folder, rows):
        for path in sorted(folder.rglob("*.parquet")):
            bucket.replace(
                f"{new.version}/{path.relative_to(folder).as_posix()}", path.read_bytes()
            )
    bucket.replace(CURRENT, new.document.encode())
    if before and before.before:
        for key in bucket.list(f"{before.before}/"):
            bucket.remove(key)
    return rows
