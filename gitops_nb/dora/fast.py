"""The expressions that cost the most, as DuckDB says them fastest: exact quantiles and the as-of join.

Each gives the rows of its namesake in ``portable`` (a test compares them) for facts as they are to be written: every
row of ``change_deployment`` names a deployment that reached its environment with something new and is no seed. So the
ids of ten million rows are never read and nothing is joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from zoneinfo import ZoneInfo

import duckdb

from gitops_nb.dora import portable
from gitops_nb.dora.definition import WEEK_S
from gitops_nb.dora.statistics import median_ranks
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError

_QUARTILES = """
    count(*)::bigint as n,
    quantile_cont((finished_s - authored_s) * 4, [0.25, 0.5, 0.75]) as quartiles
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """A connection to a folder of Parquet tables, one file or one folder of partitions for each.

    The folder may be a URL that DuckDB's file systems know (gs://bucket/facts).
    """

    connection: duckdb.DuckDBPyConnection

    @classmethod
    def open(cls, folder: Path | str, *, threads: int = 2, memory: str = "600MB") -> Facts:
        """Opens a folder: TABLE.parquet, or TABLE/service=NAME/*.parquet as the store writes it."""
        # What does not fit into memory goes to the system's folder for that, not to where one happens to stand.
        connection = duckdb.connect(
            config={"threads": threads, "memory_limit": memory, "temp_directory": gettempdir()}
        )
        connection.execute("set preserve_insertion_order = false")
        for name in portable.unbound():
            single = f"{folder}/{name}.parquet"
            source = single if isinstance(folder, str) or Path(single).is_file() else ""
            pattern = source or f"{folder}/{name}/*/*.parquet"
            if source or any(Path(folder).glob(f"{name}/*/*.parquet")):
                quoted = pattern.replace("'", "''")
                connection.execute(
                    f"create view {name} as select * from read_parquet('{quoted}', hive_partitioning = true)"
                )
        return cls(connection)

    def run(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        return self.connection.execute(query).fetchall()


def weekly_lead_times(window: Window, *, environment: str, zone: ZoneInfo) -> str:
    """Query for service, week, n, quartiles (a list of floats that are whole, each times 4) of change lead time."""
    first_s, terms = portable.week_terms(window, zone=zone)
    shifts = "".join(f" - (finished_s >= {since_s})::bigint * {s}" for since_s, s in terms)
    week = f"(finished_s - {first_s}{shifts}) // {WEEK_S}"
    return f"""
        select service, {week} as week, {_QUARTILES}
        from ({_leads(window, environment)}) group by all
    """


def overall_lead_time(window: Window, *, environment: str) -> str:
    """Query for n and quartiles (a list of floats that are whole, each times 4) of change lead time over everything."""
    return f"select {_QUARTILES} from ({_leads(window, environment)})"


def link_by_time(*, environment: str, columns: str = "c.service, c.sha, c.authored_s") -> str:
    """Query for the first deployment at or after each change's committed time, by an as-of join."""
    return f"""
        select {columns}, d.finished_s
        from change c asof join (
            select service, finished_s from deployment
            where environment = {_text(environment)} and outcome in ('succeeded', 'degraded')
              and trigger not in ('resync', 'heal') and not is_seed
        ) d on c.service = d.service and c.committed_s <= d.finished_s
    """


def median_interval(window: Window, *, environment: str, n: int) -> str:
    """Query for the bounds (a list) of the 95 % interval of the overall median of ``n`` changes, by rank.

    Raises:
        UsageError: So few changes have no interval.
    """
    low, high = median_ranks(n)
    if not low:
        raise UsageError(f"{n} changes have no interval", hint="Ask for one from 6 changes on.")
    shares = f"[{(low - 0.5) / n!r}, {(high - 0.5) / n!r}]"
    leads = _leads(window, environment)
    return f"select quantile_disc(finished_s - authored_s, {shares}) from ({leads})"


def _leads(window: Window, environment: str) -> str:
    return f"""
        select service, finished_s, authored_s from change_deployment
        where environment = {_text(environment)} and finished_s >= authored_s
          and finished_s >= {window.start_s} and finished_s < {window.end_s}
    """


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
