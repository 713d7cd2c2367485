"""Imports what teams have, from DevLake, Four Keys or a tool for incidents, into the store of facts.

Every file is read and every row is checked before anything is written; the same files twice change no table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gitops_nb.dora import (
    facts,
    importing_devlake,
    importing_four_keys,
    importing_incidents,
    joining,
)
from gitops_nb.dora.fact_tables import CHANGE, DEPLOYMENT, EXCLUSION, INCIDENT, frame
from gitops_nb.dora.importing_rows import Export, Findings, Reading, read_export
from gitops_nb.dora.importing_tables import REPOSITORY, Imported, arrived, judged
from gitops_nb.dora.schemas import check
from gitops_nb.dora.store import FactStore, Merged

KINDS: Mapping[str, Callable[[Sequence[Export], Reading, Findings], Imported]] = {
    "devlake": importing_devlake.read,
    "four-keys": importing_four_keys.read,
    "incidents": importing_incidents.read,
}


@dataclass(frozen=True, slots=True)
class Done:
    """What an import did: rows that were read by file, rows that it holds by table, and what changed in the store.

    ``environments`` counts rows by names of environments that are none of ours, ``left_out`` other rows by the reason,
    ``strangers`` rows by services that the fleet does not have; these count all the same.
    """

    files: Mapping[str, int]
    rows: Mapping[str, int]
    merged: Merged
    environments: Mapping[str, int]
    left_out: Mapping[str, int]
    strangers: Mapping[str, int]


def import_files(kind: str, paths: Sequence[Path], store: FactStore, reading: Reading) -> Done:
    """Reads files of one kind into the store.

    Args:
        kind: One of ``KINDS``.
        paths: The files; which table each is, its columns say.
        store: Where the facts go; who calls holds its lock.
        reading: What the files do not say themselves.

    Raises:
        UsageError: A file cannot be read, or rows cannot be right, each named with file and line; nothing was written.
    """
    exports = [read_export(path) for path in paths]
    findings = Findings()
    imported = KINDS[kind](exports, reading, findings)
    findings.refuse()
    rows = _without_told(store, imported, findings)
    tables = _tables(store, imported, rows)
    incidents = check("incident", frame(INCIDENT, imported.incidents))
    strangers = Counter(
        str(row["service"])
        for row in (*rows, *imported.incidents)
        if row["service"] not in reading.services
    )
    merged = Merged()
    for name, table in tables.items():
        merged += store.merge(name, table)
    merged += _replace_incidents(store, imported, incidents)
    _note_ends(kind, paths, store, imported, reading.now_s)
    return Done(
        files={export.path.name: len(export.rows) for export in exports},
        rows={**{name: len(table) for name, table in tables.items()}, "incident": len(incidents)},
        merged=merged,
        environments=dict(findings.environments),
        left_out=dict(findings.left_out),
        strangers=dict(strangers),
    )


def _without_told(
    store: FactStore, imported: Imported, findings: Findings
) -> list[dict[str, object]]:
    """The deployments of places of which no better source tells: two sources would count each one twice."""
    services = sorted({str(row["service"]) for row in imported.deployments})
    if not services:
        return []
    better = joining.SOURCES[: joining.SOURCES.index(imported.source)]
    known = store.read("deployment", services)
    known = known[known["source"].isin(better)]
    told = {
        (row["service"], row["environment"]): str(row["source"])
        for row in known[["service", "environment", "source"]].to_dict("records")
    }
    kept: list[dict[str, object]] = []
    for row in imported.deployments:
        source = told.get((row["service"], row["environment"]))
        if source is None:
            kept.append(row)
            continue
        place = f"{row['service']} in {row['environment']}"
        findings.left_out[f"deployments of {place}, which {source} tells of"] += 1
        imported.contained.pop(str(row["deployment_id"]), None)
    return kept


def _tables(
    store: FactStore, imported: Imported, rows: Sequence[Mapping[str, object]]
) -> dict[str, pd.DataFrame]:
    """Checked rows by table, in the order in which they are written."""
    services = sorted({str(row["service"]) for row in (*rows, *imported.changes)})
    new = frame(DEPLOYMENT, rows)
    before = store.read("deployment", services)
    mine = before[before["source"] == imported.source]
    key = ["service", "environment", "deployment_id"]
    # What came before and after decides what a deployment was, so those of earlier imports are judged again.
    deployments = judged(pd.concat([mine, new]).drop_duplicates(key, keep="last"))
    tables = {
        "exclusion": frame(EXCLUSION, imported.exclusions),
        "deployment": deployments,
    }
    if imported.contained or (imported.changes and not imported.deployments):
        changes = frame(CHANGE, imported.changes)
        changes = changes.sort_values("authored_s").drop_duplicates(["service", "sha"])
        known = store.read("change", services)
        known = known[known["repository"] == REPOSITORY]
        authored_s = pd.concat([changes, known]).groupby("sha")["authored_s"].min()
        arrivals = store.read("change_deployment", services)
        tables["change"] = changes
        tables["change_deployment"], excluded = arrived(
            deployments,
            imported.contained,
            authored_s={str(sha): int(at_s) for sha, at_s in authored_s.items()},
            before=arrivals[arrivals["repository"] == REPOSITORY],
        )
        tables["exclusion"] = pd.concat([tables["exclusion"], excluded], ignore_index=True)
    return {name: check(name, table) for name, table in tables.items()}


def _replace_incidents(store: FactStore, imported: Imported, rows: pd.DataFrame) -> Merged:
    """Puts the incidents of the files in place of what earlier imports said of the same ids.

    One that was merged into another since, or belongs to another service now, is not there a second time.
    """
    before = store.read("incident")
    stale = (before["source"] == imported.source) & before["incident_id"].isin(
        list(imported.incident_ids)
    )
    services = sorted({*before[stale]["service"], *rows["service"]})
    if not services:
        return Merged()
    kept = before[~stale & before["service"].isin(services)]
    return store.replace("incident", pd.concat([kept, rows], ignore_index=True), services=services)


def _note_ends(
    kind: str, paths: Sequence[Path], store: FactStore, imported: Imported, now_s: int
) -> None:
    """Notes until when incidents are known; files that were imported before say nothing newer."""
    name = f"import {kind}"
    seen = dict(store.resume_point(name))
    digests = {path.name: facts.sha256(path) for path in paths}
    if digests.items() <= seen.items():
        return
    if imported.incident_ids:
        store.set_end(f"incidents {imported.source}", now_s)
    store.set_resume_point(name, {**seen, **digests})
