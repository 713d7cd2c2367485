"""The four fact tables that a definition is applied to, whatever they were collected from.

All times are int64 UTC epoch seconds; a column that may be unknown is Int64.

    change             service, repository, sha, authored_s, committed_s, opened_s?, merged_s?, patch_id, is_bot,
                       is_revert_of?
    deployment         deployment_id, service, environment, version, revision, started_s, finished_s, outcome
                       (succeeded | failed | degraded), trigger (promotion | automated | rollback | resync | heal),
                       source, is_seed
    incident           incident_id, service, environment, started_s, resolved_s?, deployment_id?, severity, source
    change_deployment  service, environment, repository, sha, deployment_id, authored_s, finished_s: the first
                       deployment of the environment that contains the change; changes that first came with a
                       seed have no row, since nobody knows when they arrived
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from gitops_nb.dora.facts import Facts

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
}
DEPLOYMENT: Mapping[str, str] = {
    "deployment_id": "str",
    "service": "str",
    "environment": "str",
    "version": "str",
    "revision": "str",
    "started_s": "int64",
    "finished_s": "int64",
    "outcome": "str",
    "trigger": "str",
    "source": "str",
    "is_seed": "bool",
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


@dataclass(frozen=True, slots=True)
class FactTables:
    """The tables as frames, and where versions enter; ``incident`` is None when nobody recorded any.

    ``start`` says in words what a change's times are the times of.
    """

    change: pd.DataFrame
    deployment: pd.DataFrame
    incident: pd.DataFrame | None
    change_deployment: pd.DataFrame
    first_environments: tuple[str, ...] = ()
    start: str = ""


def frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A table from rows; columns that a row does not name are empty text, unknown or False."""
    empty = {"str": "", "Int64": None, "int64": 0, "bool": False}
    filled = [{name: row.get(name, empty[kind]) for name, kind in columns.items()} for row in rows]
    return pd.DataFrame(filled, columns=list(columns)).astype(dict(columns))


def from_versions(collected: Facts, *, first_environments: tuple[str, ...]) -> FactTables:
    """The tables of a configuration repository's history alone, where a change is a version.

    Its sha is the version, and its authored and committed time is the commit that brought it into the first
    environment; who wrote the code, and when, is not in that history. Versions that were there when the
    history begins have no change.
    """
    events = collected.events[collected.events["kind"] != "removed"].sort_values("position")
    deployment = pd.DataFrame(
        {
            "deployment_id": events["environment"] + ":" + events["position"].astype("str"),
            "service": events["service"],
            "environment": events["environment"],
            "version": events["version"],
            "revision": events["sha"],
            "started_s": events["finished_s"],
            "finished_s": events["finished_s"],
            "outcome": "succeeded",
            "trigger": [
                "rollback" if back else "resync" if kind == "resync" else "promotion"
                for back, kind in zip(events["is_rollback"], events["kind"], strict=True)
            ],
            "source": "configuration history",
            "is_seed": events["kind"] == "seed",
        }
    ).astype(dict(DEPLOYMENT))
    censored = deployment["deployment_id"][events["is_censored"]]
    entered = events[
        events["environment"].isin(first_environments)
        & events["is_first"]
        & ~events["is_censored"]
        & (events["kind"] == "deployment")
    ]
    entered = entered.drop_duplicates(["service", "version"])
    change = pd.DataFrame(
        {
            "service": entered["service"],
            "repository": "",
            "sha": entered["version"],
            "authored_s": entered["finished_s"],
            "committed_s": entered["finished_s"],
            "opened_s": pd.NA,
            "merged_s": pd.NA,
            "patch_id": "",
            "is_bot": False,
            "is_revert_of": "",
        }
    ).astype(dict(CHANGE))
    arrived = deployment.drop_duplicates(["service", "environment", "version"]).merge(
        change[["service", "sha", "authored_s"]],
        left_on=["service", "version"],
        right_on=["service", "sha"],
    )
    # The first row of an export counts as a deployment, but nobody knows when its version really arrived.
    arrived = arrived[~arrived["deployment_id"].isin(censored)]
    incident = None
    if collected.incidents is not None:
        incident = (
            collected.incidents.rename(columns={"id": "incident_id"})
            .assign(deployment_id="", source="file")
            .astype(dict(INCIDENT))[list(INCIDENT)]
        )
    return FactTables(
        change=change.reset_index(drop=True),
        deployment=deployment.reset_index(drop=True),
        incident=incident,
        change_deployment=arrived.assign(repository="").astype(dict(CHANGE_DEPLOYMENT))[
            list(CHANGE_DEPLOYMENT)
        ],
        first_environments=first_environments,
        start=f"the commit into {' or '.join(first_environments)}" if first_environments else "",
    )
