"""What leaves the store of facts: the tables that a report is measured from, and exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops_nb.dora import facts, tables
from gitops_nb.dora.definition import DAY_S
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.importing_tables import REPOSITORY
from gitops_nb.dora.joining import deployments_of
from gitops_nb.dora.schemas import TABLES
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UsageError
from gitops_nb.record.files import replace_file, settled

COLUMNS: Mapping[str, str] = {
    "service": "name of the service",
    "environment": "name of the environment",
    "repository": "name of the repository in fleet.yaml; empty where a version stands for the change",
    "sha": "commit id, 40 hex digits; where a version stands for the change, the version",
    "authored_s": "when the change was first written: its pull request's first commit, else its author time",
    "committed_s": "when the commit was made",
    "synced_s": "when Argo CD had synced it; null when nobody watched",
    "healthy_s": "when Argo CD called it Healthy after that; null when unknown",
    "degraded_s": "when Argo CD called it Degraded after that, or could not sync it; null when it did not",
    "is_censored": "true when nobody knows when its version really arrived there",
    "is_comparable": "true when its version has a number, so that newer and older can be told",
    "observed_s": "when Argo CD was asked",
    "sync": "status.sync.status of the Application then",
    "health": "status.health.status of the Application then",
    "branch": "branch of its pull request, else empty",
    "labels": "labels of its pull request, with blanks between them",
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
    "trigger": "promotion, automated, rollback, resync, heal or removal; the last three are no deployments",
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
    "contained": "revision of the newest deployment that the synced revision contains; empty when none",
    "reason": "why the row does not count",
    "left_out_of": "which metric it is left out of, or everything",
    "detail": "path, name or id, for finding it",
}
"""What each exported column means. Names that end in ``_s`` are int64 UTC epoch seconds."""


_DEPLOYING = ("configuration ", "github deployments ", "github workflow ", "opentofu ")
"""Sources that are read whole each time; where there is none, what was seen of Argo CD and of our own runs counts."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Until when the facts are whole, in UTC epoch seconds.

    ``behind`` is the source of deployments that ended first, where others go on for more than a day after it;
    ``incidents_s`` is when incidents were last collected, None where nobody noted it.
    """

    until_s: int
    behind: str = ""
    incidents_s: int | None = None


def ends_of(sources: Mapping[str, int], *, newest_s: int, since_s: int) -> Ends:
    """Until when the facts are whole: silence after it is not known to be one.

    Args:
        sources: When each source was last read, as ``FactStore.ends`` says.
        newest_s: The newest moment that they hold; it decides for facts of before sources were noted.
        since_s: Sources that ended earlier were given up and are no part of it.
    """
    ends = {name: end_s for name, end_s in sources.items() if end_s >= since_s}
    deploying = {name: end_s for name, end_s in ends.items() if name.startswith(_DEPLOYING)}
    if not deploying:
        deploying = {n: e for n, e in ends.items() if n == "argocd" or n.startswith("runs ")}
    incidents_s = max((e for n, e in ends.items() if n.startswith("incidents ")), default=None)
    if not deploying:
        return Ends(newest_s, incidents_s=incidents_s)
    first = min(deploying, key=lambda name: (deploying[name], name))
    is_behind = max(deploying.values()) - deploying[first] > DAY_S
    return Ends(deploying[first], first if is_behind else "", incidents_s)


def select(store: FactStore) -> tuple[FactTables, int]:
    """The facts that a report is measured from, and the newest moment that they know of.

    Raises:
        UsageError: Nothing was collected yet.
    """
    deployment = deployments_of(store)
    if deployment.empty:
        raise UsageError(
            f"no deployments in {store.folder}", hint="Run `gitops-nb dora collect` first."
        )
    arrived = store.read("change_deployment")
    # Changes that came without commits belong to the deployments that they came with, and go with these.
    told = deployment["deployment_id"]
    arrived = arrived[(arrived["repository"] != REPOSITORY) | arrived["deployment_id"].isin(told)]
    incident = store.read("incident")
    observation = store.read("observation")
    newest = [
        deployment["finished_s"].max(),
        *incident["started_s"],
        *incident["resolved_s"].dropna(),
        *observation["observed_s"],
    ]
    tables = FactTables(
        change=store.read("change"),
        deployment=deployment,
        incident=incident if len(incident) else None,
        change_deployment=arrived.reset_index(drop=True),
        observation=observation,
        exclusion=store.read("exclusion"),
    )
    return tables, int(max(newest))


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
    replace_file(settled(folder / "columns.json"), content.encode())
    return {name: len(frame) for name, frame in found.items()}


def _type(kind: str) -> str:
    return {"str": "string", "Int64": "int64, nullable"}.get(kind, kind)
