"""Four Keys: rows of its tables deployments, changes and incidents, as JSON lines or CSV.

Four Keys knows no services and environments, so the mapping says of which one the rows are. A repeated column
(``changes``) is a list in JSON, and in CSV a JSON list or ids with blanks or commas between them.

Source: dora-team/fourkeys, queries/deployments.sql, changes.sql, incidents.sql.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from gitops_nb.dora.importing_rows import Export, Findings, Reading, Row
from gitops_nb.dora.importing_tables import REPOSITORY, Imported
from gitops_nb.errors import UsageError

SOURCE = "four keys"
_TABLES = {
    "deploy_id": ("source", "deploy_id", "time_created", "main_commit", "changes"),
    "change_id": ("change_id", "time_created"),
    "incident_id": ("source", "incident_id", "time_created", "time_resolved", "changes"),
}
"""Columns by the one that tells which table it is."""
_BETWEEN = re.compile(r"[\s,;]+")


def read(exports: Sequence[Export], reading: Reading, findings: Findings) -> Imported:
    """Reads the tables, told by their columns.

    Raises:
        UsageError: A file is none of the tables or lacks a column, or the mapping names no service.
    """
    if not reading.mapping.service:
        raise UsageError(
            "four-keys: the mapping names no service",
            hint="Four Keys knows none: give --map FILE with service and environment.",
        )
    reading = replace(reading, zone=reading.zone or ZoneInfo("UTC"))
    imported = Imported(SOURCE)
    rows = {mark: list[Row]() for mark in _TABLES}
    for export in exports:
        rows[_mark(export)] += export.rows
    findings.each(rows["deploy_id"], lambda row: _deployment(row, reading, imported))
    findings.each(rows["change_id"], lambda row: _change(row, reading, imported))
    brought = _first_deployments(imported)
    findings.each(rows["incident_id"], lambda row: _incident(row, reading, imported, brought))
    return imported


def _mark(export: Export) -> str:
    for mark, columns in _TABLES.items():
        if export.has(mark):
            # BigQuery leaves a column without values out of JSON.
            optional = () if export.path.suffix == ".csv" else ("changes", "time_resolved")
            missing = [n for n in columns if not export.has(n) and n not in optional]
            if missing:
                raise UsageError(
                    f"{export.path.name}:1: no column {', '.join(missing)}",
                    hint=f"Export the table with {', '.join(columns)}.",
                )
            return mark
    raise UsageError(
        f"{export.path.name}:1: none of Four Keys' tables deployments, changes and incidents",
        hint="Export them with their own column names.",
    )


def _ids(row: Row) -> tuple[str, ...]:
    found: list[str] = []
    for text in row.all("changes"):
        if text.startswith("["):
            try:
                found += map(str, json.loads(text))
            except (ValueError, TypeError):
                raise ValueError(f"changes: {text!r} is no list") from None
        else:
            found += [part for part in _BETWEEN.split(text) if part]
    return tuple(dict.fromkeys(found))


def _deployment(row: Row, reading: Reading, imported: Imported) -> None:
    finished_s = row.moment("time_created", reading)
    sha = row.need("main_commit")
    name = f"{SOURCE}:{row.need('source')}/{row.need('deploy_id')}"
    if name in imported.contained:
        imported.contained[name] = tuple(dict.fromkeys((*imported.contained[name], *_ids(row))))
        return
    imported.contained[name] = tuple(dict.fromkeys((*_ids(row), sha)))
    imported.deployments.append(
        {
            "deployment_id": name,
            "service": reading.mapping.service,
            "environment": reading.mapping.environment,
            "version": sha,
            "revision": sha,
            "started_s": finished_s,
            "finished_s": finished_s,
            # Four Keys lists deployments that succeeded, and no others.
            "outcome": "succeeded",
            "source": SOURCE,
        }
    )


def _change(row: Row, reading: Reading, imported: Imported) -> None:
    name, at_s = row.need("change_id"), row.moment("time_created", reading)
    imported.changes.append(
        {
            "service": reading.mapping.service,
            "repository": REPOSITORY,
            "sha": name,
            "authored_s": at_s,
            "committed_s": at_s,
        }
    )


def _first_deployments(imported: Imported) -> dict[str, str]:
    """The first deployment that contains each change."""
    found: dict[str, str] = {}
    for row in sorted(imported.deployments, key=lambda r: (r["finished_s"], r["deployment_id"])):
        for sha in imported.contained[str(row["deployment_id"])]:
            found.setdefault(sha, str(row["deployment_id"]))
    return found


def _incident(row: Row, reading: Reading, imported: Imported, brought: dict[str, str]) -> None:
    name = f"{row.need('source')}/{row.need('incident_id')}"
    started_s = row.moment("time_created", reading)
    resolved_s = row.maybe_moment("time_resolved", reading)
    if resolved_s is not None and resolved_s < started_s:
        raise ValueError("time_resolved is before time_created")
    imported.incident_ids.add(name)
    imported.incidents.append(
        {
            "incident_id": name,
            "service": reading.mapping.service,
            "environment": reading.mapping.environment,
            "started_s": started_s,
            "resolved_s": resolved_s,
            "deployment_id": next((brought[sha] for sha in _ids(row) if sha in brought), ""),
            "source": SOURCE,
        }
    )
