"""From imported rows to rows of the fact tables: what was a rollback, and which change came with which deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gitops_nb.dora import facts
from gitops_nb.dora.collectors.application import LEAD_TIME, NEGATIVE, SEED
from gitops_nb.dora.fact_tables import (
    CHANGE_DEPLOYMENT,
    DEPLOYMENT,
    EVERYTHING,
    EXCLUSION,
    complete,
    frame,
)

REPOSITORY = "four keys"
"""What stands for the repository of changes that came without one."""
NO_TIME = "no time is known for the change"
_PLACE = ["service", "environment"]
_IN_TIME = [*_PLACE, "finished_s", "deployment_id"]


@dataclass(slots=True)
class Imported:
    """What the files of one tool hold, as rows of the fact tables.

    ``contained`` are the ids of changes by id of the deployment; ``incident_ids`` those of all incidents that the files
    name, also of those that were merged into others or left out.
    """

    source: str
    deployments: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    contained: dict[str, tuple[str, ...]] = field(default_factory=dict)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    incident_ids: set[str] = field(default_factory=set)
    exclusions: list[dict[str, Any]] = field(default_factory=list)


def left_out(
    service: str, environment: str, at_s: int, *, sha: str = "", detail: str = ""
) -> dict[str, Any]:
    """The row of the ledger for something in an environment that the fleet does not have."""
    return {
        "reason": "environment is not in the fleet",
        "left_out_of": EVERYTHING,
        "service": service,
        "environment": environment,
        "sha": sha,
        "finished_s": at_s,
        "detail": detail,
    }


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Deployments of one source with what they were: promotion, resync or rollback, by the rules of all histories.

    The first of each service and environment may have been there before, because exports begin somewhere in time.
    """
    rows = table.sort_values(_IN_TIME, ignore_index=True)
    ran = rows[rows["outcome"] != "failed"]
    events = pd.DataFrame(
        {
            "service": ran["service"],
            "environment": ran["environment"],
            "version": ran["version"],
            "sha": ran["revision"],
            "finished_s": ran["finished_s"],
            "position": range(len(ran)),
            "is_seed": False,
        }
    )
    found = facts.deployments_of(events, censor_first=True)
    rows = rows.assign(trigger="promotion", is_censored=False, is_comparable=False)
    for name in ("trigger", "is_censored", "is_comparable"):
        rows.loc[ran.index, name] = found[name].to_numpy()
    return complete(DEPLOYMENT, rows)


def arrived(
    deployments: pd.DataFrame,
    contained: Mapping[str, tuple[str, ...]],
    *,
    authored_s: Mapping[str, int],
    before: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first deployment of each change, and the changes that have none, with their reason.

    Args:
        deployments: All of the source, as ``judged``.
        contained: Ids of changes by id of the deployment.
        authored_s: When each change was written.
        before: Rows of ``change_deployment`` that are known; an earlier arrival in them stays.
    """
    known = {
        (row.service, row.environment, row.sha): row.finished_s
        for row in before.itertuples(index=False)
    }
    seen: set[tuple[str, str, str]] = set()
    rows: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    for row in deployments.sort_values(_IN_TIME).to_dict("records"):
        place = {name: row[name] for name in (*_PLACE, "deployment_id", "finished_s")}
        for sha in contained.get(row["deployment_id"], ()):
            key = (row["service"], row["environment"], sha)
            if key in seen or known.get(key, row["finished_s"] + 1) < row["finished_s"]:
                continue
            seen.add(key)
            at_s = authored_s.get(sha)
            reason = NO_TIME if at_s is None else ""
            if at_s is not None and at_s > row["finished_s"]:
                reason = NEGATIVE
            if row["is_censored"]:
                reason = SEED
            if reason:
                excluded.append(
                    {
                        **place,
                        "reason": reason,
                        "left_out_of": LEAD_TIME,
                        "version": row["version"],
                        "sha": sha,
                    }
                )
            else:
                rows.append({**place, "repository": REPOSITORY, "sha": sha, "authored_s": at_s})
    return frame(CHANGE_DEPLOYMENT, rows), frame(EXCLUSION, excluded)
