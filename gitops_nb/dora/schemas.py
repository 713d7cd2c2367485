"""The tables of the store: columns, types, keys and words, and the check that every row passes before it is written.

Beside the tables of ``fact_tables`` there are five of the collectors' own:

    event      service, environment, version, sha, finished_s, position, is_seed, source: what a configuration
               history named, before it is judged
    attempt    service, environment, application, number, version, revision, started_s, finished_s, healthy_s?,
               degraded_s?, outcome, extent (full | partial | heal), is_automated: one operation of Argo CD
    hop        service, version, repository, sha, method (sha | label | tag | unknown): from a version to its commit
    pull_request  service, repository, number, sha, first_authored_s?, opened_s, merged_s, branch, labels
    sync       service, environment, revision, contained: a revision that was synced, and the newest revision with a
               deployment of the place that it contains
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd

from gitops_nb.dora import fact_tables
from gitops_nb.errors import UsageError

EVENT: Mapping[str, str] = {
    "service": "str",
    "environment": "str",
    "version": "str",
    "sha": "str",
    "finished_s": "int64",
    "position": "int64",
    "is_seed": "bool",
    "source": "str",
}
ATTEMPT: Mapping[str, str] = {
    "service": "str",
    "environment": "str",
    "application": "str",
    "number": "str",
    "version": "str",
    "revision": "str",
    "started_s": "int64",
    "finished_s": "int64",
    "healthy_s": "Int64",
    "degraded_s": "Int64",
    "outcome": "str",
    "extent": "str",
    "is_automated": "bool",
}
PULL_REQUEST: Mapping[str, str] = {
    "service": "str",
    "repository": "str",
    "number": "int64",
    "sha": "str",
    "first_authored_s": "Int64",
    "opened_s": "int64",
    "merged_s": "int64",
    "branch": "str",
    "labels": "str",
}
HOP: Mapping[str, str] = {
    "service": "str",
    "version": "str",
    "repository": "str",
    "sha": "str",
    "method": "str",
}
SYNC: Mapping[str, str] = {
    "service": "str",
    "environment": "str",
    "revision": "str",
    "contained": "str",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "event": EVENT,
    "attempt": ATTEMPT,
    "hop": HOP,
    "pull_request": PULL_REQUEST,
    "sync": SYNC,
    **fact_tables.FACTS,
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "event": ("service", "environment", "sha", "source"),
    "attempt": ("service", "environment", "application", "started_s", "number", "revision"),
    "change": ("service", "repository", "sha"),
    "deployment": ("service", "environment", "deployment_id"),
    "incident": ("service", "incident_id", "source"),
    "change_deployment": ("service", "environment", "repository", "sha"),
    "hop": ("service", "version"),
    "pull_request": ("service", "repository", "number"),
    "sync": ("service", "environment", "revision"),
    "observation": ("service", "environment", "application", "observed_s"),
    "exclusion": tuple(fact_tables.EXCLUSION),
}
WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("deployment", "outcome"): ("succeeded", "failed", "degraded"),
    ("deployment", "trigger"): (
        "promotion",
        "automated",
        "rollback",
        "resync",
        "heal",
        "removal",
    ),
    ("attempt", "outcome"): ("succeeded", "failed", "degraded"),
    ("attempt", "extent"): ("full", "partial", "heal"),
    ("hop", "method"): ("sha", "label", "tag", "unknown"),
}
EARLIEST_S = 631_152_000
LATEST_S = 100_000_000_000
"""Seconds from 1990 to the year 5138: a time outside is in another unit."""


def check(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the table's columns and types, when they fit its schema.

    Raises:
        UsageError: They do not; the message names each column with what is wrong.
    """
    columns = TABLES[table]
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise UsageError(
            f"facts of {table}: no column {', '.join(missing)}",
            hint=f"There have to be {', '.join(columns)}.",
        )
    try:
        checked: pd.DataFrame = _schema(table).validate(rows[list(columns)], lazy=True)
    except _pandera().errors.SchemaErrors as error:
        cases = error.failure_cases.head(5).to_dict("records")
        found = "; ".join(
            f"{case['column']}: {case['failure_case']} is not {case['check']}" for case in cases
        )
        raise UsageError(
            f"facts of {table} are wrong: {found}", hint="Nothing was written."
        ) from error
    return checked.reset_index(drop=True)


_OTHER_ENGINES = ("pyspark", "dask", "modin", "geopandas", "hypothesis", "xarray", "polars")


@cache
def _pandera() -> Any:
    """Pandera for pandas alone: what else it would import, PySpark before all, takes two seconds and warns."""
    absent = [name for name in _OTHER_ENGINES if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python says that there is no such module
    try:
        import pandera.pandas

        pandera.pandas.DataFrameSchema({}).validate(pd.DataFrame())
    finally:
        for name in absent:
            sys.modules.pop(name, None)
    return pandera.pandas


@cache
def _schema(table: str) -> Any:
    pa = _pandera()
    columns = {}
    for name, kind in TABLES[table].items():
        checks = []
        if name.endswith("_s"):
            least = 0 if table == "exclusion" else EARLIEST_S  # an exclusion may have no time
            checks.append(pa.Check.in_range(least, LATEST_S))
        if (table, name) in WORDS:
            checks.append(pa.Check.isin(WORDS[table, name]))
        if name == "service" and table != "exclusion":
            checks.append(pa.Check.str_length(min_value=1))
        columns[name] = pa.Column(kind, checks, nullable=kind == "Int64")
    return pa.DataFrameSchema(columns, strict=True)
