"""The fact tables that a definition is applied to, whatever they were collected from.

All times are int64 UTC epoch seconds; a column that may be unknown is Int64. No table holds a name of a person.

    change             service, repository, sha, authored_s, committed_s, opened_s?, merged_s?, patch_id, is_bot,
                       is_revert_of, branch, labels: a commit of an application repository; branch and labels are
                       those of its pull request
    deployment         deployment_id, service, environment, version, revision, position, started_s, finished_s,
                       synced_s?, healthy_s?, degraded_s?, outcome (succeeded | failed | degraded), trigger (promotion | automated |
                       rollback | resync | heal | removal), source, is_seed, is_censored, is_comparable
    incident           incident_id, service, environment, started_s, resolved_s?, deployment_id, severity, source
    change_deployment  service, environment, repository, sha, deployment_id, authored_s, finished_s: the first
                       deployment of the environment that contains the change. The deployment always is one that
                       reached the environment with something new and is no seed; changes that first came with a seed
                       have no row, since nobody knows when they arrived
    observation        service, environment, application, observed_s, sync, health: what Argo CD said at a moment
    exclusion          reason, left_out_of, service, environment, version, sha, finished_s, detail: rows that were
                       seen by a collector and do not count

``position`` is the place of a deployment in the order of its source, which decides where clocks do not; sources whose
times decide have 0. ``is_seed`` marks the first record of a service and environment, which is no deployment;
``is_censored`` one that counts or not, but nobody knows when its version really arrived. ``is_comparable`` says that
the version has a number, so newer and older can be told. ``synced_s``, ``healthy_s`` and ``degraded_s`` are Argo CD's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

CHANGE: Mapping[str, str] = {
    "service": "str",
    "repository": "str",
    "sha": "str",
    "authored_s": "int64",
    "committed_s": "int64",
    "opened_s": "Int64",
    "merged_s": "Int64",
    "patch_id": "str",
    "is_bot": "bool",
    "is_revert_of": "str",
    "branch": "str",
    "labels": "str",
}
DEPLOYMENT: Mapping[str, str] = {
    "deployment_id": "str",
    "service": "str",
    "environment": "str",
    "version": "str",
    "revision": "str",
    "position": "int64",
    "started_s": "int64",
    "finished_s": "int64",
    "synced_s": "Int64",
    "healthy_s": "Int64",
    "degraded_s": "Int64",
    "outcome": "str",
    "trigger": "str",
    "source": "str",
    "is_seed": "bool",
    "is_censored": "bool",
    "is_comparable": "bool",
}
INCIDENT: Mapping[str, str] = {
    "incident_id": "str",
    "service": "str",
    "environment": "str",
    "started_s": "int64",
    "resolved_s": "Int64",
    "deployment_id": "str",
    "severity": "str",
    "source": "str",
}
CHANGE_DEPLOYMENT: Mapping[str, str] = {
    "service": "str",
    "environment": "str",
    "repository": "str",
    "sha": "str",
    "deployment_id": "str",
    "authored_s": "int64",
    "finished_s": "int64",
}
OBSERVATION: Mapping[str, str] = {
    "service": "str",
    "environment": "str",
    "application": "str",
    "observed_s": "int64",
    "sync": "str",
    "health": "str",
}
EXCLUSION: Mapping[str, str] = {
    "reason": "str",
    "left_out_of": "str",
    "service": "str",
    "environment": "str",
    "version": "str",
    "sha": "str",
    "finished_s": "int64",
    "detail": "str",
}
FACTS: Mapping[str, Mapping[str, str]] = {
    "change": CHANGE,
    "deployment": DEPLOYMENT,
    "incident": INCIDENT,
    "change_deployment": CHANGE_DEPLOYMENT,
    "observation": OBSERVATION,
    "exclusion": EXCLUSION,
}
"""Columns and types by table: what a report is measured from."""
LAID_OUT: Mapping[str, str] = {
    "change_deployment": "service, environment, (finished_s - 345600) // 604800, "
    "finished_s - authored_s, sha"
}
"""How the rows of a table lie in a run's file: what is asked most, quantiles per service and week (from Monday; the
first one was 345,600 s after 1970 began), takes a fifth less time where the values of one week come nearly in order.
No expression relies on it."""
EVERYTHING = "everything"
"""What an exclusion is left out of when it is about no single metric."""


@dataclass(frozen=True, slots=True)
class FactTables:
    """The tables as frames; ``incident`` is None when nobody recorded any."""

    change: pd.DataFrame
    deployment: pd.DataFrame
    incident: pd.DataFrame | None
    change_deployment: pd.DataFrame
    observation: pd.DataFrame
    exclusion: pd.DataFrame

    @classmethod
    def of(cls, **frames: pd.DataFrame | None) -> FactTables:
        """The tables that are given, and empty ones for the others; no incidents are None."""
        given = {name: frames.get(name) for name in FACTS}
        filled = {
            name: frame(FACTS[name], ()) if found is None and name != "incident" else found
            for name, found in given.items()
        }
        return cls(**filled)  # type: ignore[arg-type]  # only incident may be None

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables that there are, by name."""
        found = {name: getattr(self, name) for name in FACTS}
        return {name: table for name, table in found.items() if table is not None}


def frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A table from rows; columns that a row does not name are empty text, unknown or False."""
    empty = {"str": "", "Int64": None, "int64": 0, "bool": False}
    filled = [{name: row.get(name, empty[kind]) for name, kind in columns.items()} for row in rows]
    return pd.DataFrame(filled, columns=list(columns)).astype(dict(columns))


def complete(columns: Mapping[str, str], table: pd.DataFrame) -> pd.DataFrame:
    """The same for a frame of many rows: columns that it lacks are empty text, unknown, 0 or False."""
    empty: Mapping[str, Any] = {"str": "", "Int64": pd.NA, "int64": 0, "bool": False}
    filled = table.copy(deep=False)
    for name, kind in columns.items():
        if name not in table.columns:
            filled[name] = empty[kind]
    return filled[list(columns)].astype(dict(columns))
