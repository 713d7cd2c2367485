"""Metrics and exports from the store of facts, where ``observe`` reads the sources themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import facts, tables
from gitops_nb.dora.definition import DoraDefinition, Start
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.facts import Event, Facts
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.reckon import Reckoned, reckon
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import SyncStatus
from gitops_nb.dora.store import TABLES, FactStore, prefer_configuration
from gitops_nb.errors import UsageError
from gitops_nb.record.files import replace_file

COLUMNS: Mapping[str, str] = {
    "service": "name of the service",
    "environment": "name of the environment",
    "repository": "name of the repository in fleet.yaml; empty where a version stands for the change",
    "sha": "commit id, 40 hex digits; where a version stands for the change, the version",
    "authored_s": "when the change was first written: its pull request's first commit, else its author time",
    "committed_s": "when the commit was made",
    "opened_s": "when its pull request was opened; null when unknown",
    "merged_s": "when its pull request was merged; null when unknown",
    "patch_id": "git patch-id --stable, equal for cherry-picks; empty when not computed",
    "is_bot": "true when an automation wrote it",
    "is_revert_of": "commit id that it reverts, else empty",
    "deployment_id": "id of the deployment, unique in its service and environment",
    "version": "version, as the configuration or the image tag says",
    "revision": "commit of the configuration repository",
    "started_s": "when it began",
    "finished_s": "when it ended",
    "outcome": "succeeded, failed (the attempt) or degraded (it runs, and not well)",
    "trigger": "promotion, automated, rollback, resync or heal; the last two are no deployments of a change",
    "source": "where the row came from",
    "is_seed": "true for the first record of a service and environment: nobody knows when it really arrived",
    "incident_id": "id in its source",
    "resolved_s": "when it was resolved; null while it lasts",
    "severity": "as its source says",
    "position": "place in the history of its source, from 0",
    "application": "cluster and name of the Argo CD Application",
    "number": "id of Argo CD's history entry, empty when it has none; or number of the pull request",
    "first_authored_s": "author time of the pull request's first commit; null when unknown",
    "extent": "full, partial (some resources) or heal (repair of drift)",
    "is_automated": "true when Argo CD started it by itself",
    "method": "how the commit was found: sha, label, tag, or unknown",
    "reason": "why the row does not count",
    "left_out_of": "which metric it is left out of, or everything",
    "detail": "path, name or id, for finding it",
}
"""What each exported column means. Names that end in ``_s`` are int64 UTC epoch seconds."""


def read_facts(store: FactStore) -> Facts:
    """The store's events and incidents in the form that ``measure`` reads.

    Raises:
        UsageError: Nothing was collected yet.
    """
    stored = store.read("event").sort_values(["source", "position"])
    if stored.empty:
        raise UsageError(
            f"no deployments in {store.folder}", hint="Run `gitops-nb dora collect` first."
        )
    names = list(Event.__dataclass_fields__)
    events = [Event(*row) for row in stored[names].itertuples(index=False)]
    judged = facts.classify(events, censor_first=False)
    incident = store.read("incident")
    incidents = None
    if len(incident):
        incidents = incident.rename(columns={"incident_id": "id"})[
            ["id", "service", "environment", "started_s", "resolved_s", "severity"]
        ].sort_values(["started_s", "id"], ignore_index=True)
    left_out = store.read("exclusion")
    # What follows from events is counted anew; the collectors' own rows are only in the store.
    left_out = left_out[left_out["left_out_of"] == "everything"]
    return Facts(judged, incidents, pd.concat([left_out, facts.ledger(judged, ())]))


def observe_store(store: FactStore, request: DoraRequest) -> DoraState:
    """Takes the facts of a run from the store, as ``observe`` takes them from their sources.

    Facts are known up to the newest time in the store.

    Raises:
        UsageError: Nothing was collected, or a named service is not in it.
    """
    collected = read_facts(store)
    events = collected.events
    unknown = sorted(set(request.services) - set(events["service"]))
    if unknown:
        raise UsageError(f"services: nothing is known about {', '.join(unknown)}")
    counts = events[events["kind"] == "deployment"].groupby("environment").size()
    incidents = collected.incidents
    newest = [int(events["finished_s"].max())]
    if incidents is not None:
        newest += [int(incidents["started_s"].max()), int(incidents["resolved_s"].fillna(0).max())]
    files = facts.write(collected, request.workdir)
    return DoraState(
        events=len(events),
        deployments={name: int(counts.get(name, 0)) for name in request.environments},
        services=int(events["service"].nunique()),
        incidents=None if incidents is None else len(incidents),
        first_s=int(events["finished_s"].min()),
        until_s=max(newest),
        excluded=dict(Counter(collected.exclusions["reason"])),
        sources={"facts": str(store.folder)},
        files=files,
        sync=SyncStatus(missing="facts come from the store, so no cluster was asked"),
    )


def read_tables(store: FactStore, *, first_environments: tuple[str, ...]) -> FactTables:
    """The four fact tables; where two sources tell of one service and environment, the configuration's."""
    incident = store.read("incident")
    change = store.read("change")
    traced = bool((change["repository"] != "").any())
    first = " or ".join(first_environments)
    return FactTables(
        change=change,
        deployment=prefer_configuration(store.read("deployment")),
        incident=incident if len(incident) else None,
        change_deployment=store.read("change_deployment"),
        first_environments=first_environments,
        start="writing the code" if traced else f"the commit into {first}" if first else "",
    )


def from_authoring(store: FactStore, request: DoraRequest, *, until_s: int) -> Reckoned | None:
    """The four numbers with lead time from writing the code; None when no application repository was collected."""
    found = read_tables(store, first_environments=request.first_environments)
    code = found.change["repository"] != ""
    if not code.any():
        return None
    if request.services:
        found = replace(
            found, deployment=found.deployment[found.deployment["service"].isin(request.services)]
        )
    return reckon(
        found,
        DoraDefinition(lead_time_start=Start.AUTHORED, lead_time_unit="change"),
        request.window,
        environment=request.environment,
        zone=ZoneInfo(request.time_zone),
        until_s=until_s,
    )


def export(store: FactStore, folder: Path, *, form: str) -> dict[str, int]:
    """Writes every table as one Parquet or CSV file, with columns.json beside them; returns rows by table.

    Raises:
        UsageError: Nothing was collected yet.
    """
    found = {name: store.read(name) for name in TABLES}
    if not any(len(frame) for frame in found.values()):
        raise UsageError(f"no facts in {store.folder}", hint="Run `gitops-nb dora collect` first.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in found.items():
        path = folder / f"{name}.{form}"
        if form == "csv":
            tables.write_csv(frame, path)
        else:
            facts.write_table(frame, path)
    described: dict[str, Any] = {
        name: {
            column: {"type": _type(kind), "description": COLUMNS[column]}
            for column, kind in columns.items()
        }
        for name, columns in TABLES.items()
    }
    content = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    replace_file(folder / "columns.json", content.encode())
    return {name: len(frame) for name, frame in found.items()}


def _type(kind: str) -> str:
    return {"str": "string", "Int64": "int64, nullable"}.get(kind, kind)
