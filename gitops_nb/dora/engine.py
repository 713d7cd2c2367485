"""What runs expressions on facts, and the one that does by default: DuckDB over a folder of Parquet files or over frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol

import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd

from gitops_nb.dora.compiling import sql
from gitops_nb.dora.fact_tables import FACTS, FactTables, frame

MEMORY = "600MB"
_NUMBERED = ("change", "deployment")


class Engine(Protocol):
    """Where facts are, and what answers questions about them: only rows of results come to this process."""

    @property
    def is_native(self) -> bool:
        """Whether it has exact quantiles and ranges that become rows, see ``Question.is_native``."""

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        """The rows of an expression as a frame, in no order that may be relied on."""

    def rows(self, expression: ir.Table) -> list[tuple[Any, ...]]:
        """The rows of an expression, sorted; nothing comes before anything."""

    def keep(self, name: str, expression: ir.Table) -> ir.Table:
        """Computes an expression once, for those that build on it; gives the table that holds its rows."""


@dataclass(frozen=True, slots=True)
class DuckEngine:
    """The facts in DuckDB. Expressions become SQL once per process, since the same ones are asked again and again."""

    connection: duckdb.DuckDBPyConnection
    is_native: bool = True

    @classmethod
    @contextmanager
    def over(cls, folder: Path | str, *, threads: int = 2) -> Iterator[DuckEngine]:
        """Opens a folder: TABLE.parquet, or TABLE/service=NAME/*.parquet as the store writes it.

        A folder that is text may be a URL that DuckDB's file systems know; then every table is one file.
        """
        # What does not fit into memory goes to the system's folder for that, not to where one happens to stand.
        settings: Mapping[str, Any] = {
            "threads": threads,
            "memory_limit": MEMORY,
            "temp_directory": gettempdir(),
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=dict(settings)) as connection:
            for name, columns in FACTS.items():
                pattern = _files(folder, name)
                if pattern:
                    quoted = pattern.replace("'", "''")
                    source = f"read_parquet('{quoted}', hive_partitioning = true, hive_types_autocast = false)"
                    connection.execute(f"create view facts_{name} as from {source}")
                else:
                    connection.register(f"facts_{name}", frame(columns, ()))
                connection.execute(f"create view {name} as from facts_{name}")
            _number_services(connection)
            yield cls(connection)

    @classmethod
    @contextmanager
    def of(cls, tables: FactTables) -> Iterator[DuckEngine]:
        """Opens frames."""
        with duckdb.connect() as connection:
            for name, columns in FACTS.items():
                found = getattr(tables, name)
                connection.register(name, frame(columns, ()) if found is None else found)
            yield cls(connection)

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        """The rows of an expression as a frame, in no order that may be relied on."""
        found: pd.DataFrame = self.connection.execute(sql(expression)).df()
        return found

    def rows(self, expression: ir.Table) -> list[tuple[Any, ...]]:
        """The rows of an expression, sorted."""
        return in_order(self.connection.execute(sql(expression)).fetchall())

    def keep(self, name: str, expression: ir.Table) -> ir.Table:
        """Computes an expression once, for those that build on it; gives the table that holds its rows."""
        self.connection.execute(f"create or replace temp table {name} as {sql(expression)}")
        return ibis.table(expression.schema(), name=name)


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows sorted by all their columns; nothing comes before anything."""
    return sorted(rows, key=lambda row: [(value is not None, value) for value in row])


def _number_services(connection: duckdb.DuckDBPyConnection) -> None:
    """Has the engine keep services as numbers: joining by time takes half as long, and less memory."""
    names = " union ".join(f"select service from facts_{name}" for name in _NUMBERED)  # noqa: S608  names are ours
    connection.execute(f"create temp table service_name as {names}")
    if not connection.execute("select 1 from service_name limit 1").fetchall():
        return
    connection.execute(
        "create type service as enum (select service from service_name where service is not null order by 1)"
    )
    for name in _NUMBERED:
        columns = f"* replace (service::service as service) from facts_{name}"
        connection.execute(f"create or replace temp view {name} as select {columns}")


def _files(folder: Path | str, name: str) -> str:
    if isinstance(folder, str):
        return f"{folder}/{name}.parquet"
    if (folder / f"{name}.parquet").is_file():
        return f"{folder}/{name}.parquet"
    return f"{folder}/{name}/*/*.parquet" if any(folder.glob(f"{name}/*/*.parquet")) else ""
