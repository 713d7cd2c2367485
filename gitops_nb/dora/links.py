"""What belongs together: an incident and its deployment, a deployment and the successful one before it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from gitops_nb.dora.definition import DoraDefinition, Link


def previous_successes(deployment: pd.DataFrame) -> dict[str, str]:
    """The successful deployment before each successful one of the same service and environment, by id."""
    done = deployment[(deployment["outcome"] == "succeeded") & (deployment["environment"] != "")]
    ordered = done.sort_values(["finished_s", "deployment_id"])
    before = ordered.groupby(["service", "environment"])["deployment_id"].shift()
    pairs = zip(ordered["deployment_id"], before, strict=True)
    return {str(own): str(earlier) for own, earlier in pairs if isinstance(earlier, str)}


def link_incidents(
    deployments: Sequence[Any], incidents: Iterable[Any], definition: DoraDefinition
) -> dict[str, int]:
    """The index of the deployment that each incident belongs to, by the incident's id.

    Args:
        deployments: In order of time, with service, deployment_id and finished_s.
        incidents: With incident_id, service, deployment_id ("" when they name none) and started_s.
        definition: Its link and window; incidents that fit nowhere are not in the result.
    """
    by_name = {row.deployment_id: index for index, row in enumerate(deployments)}
    places: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(deployments):
        places["" if definition.incident_link is Link.PROJECT else row.service].append(index)
    times = {key: [deployments[i].finished_s for i in found] for key, found in places.items()}
    linked: dict[str, int] = {}
    for incident in incidents:
        if incident.deployment_id in by_name:
            linked[incident.incident_id] = by_name[incident.deployment_id]
            continue
        if definition.incident_link is Link.EXPLICIT:
            continue
        key = "" if definition.incident_link is Link.PROJECT else incident.service
        place = bisect_right(times.get(key, []), incident.started_s) - 1
        if place < 0:
            continue
        age_s = incident.started_s - times[key][place]
        if not definition.attribution_window_s or age_s <= definition.attribution_window_s:
            linked[incident.incident_id] = places[key][place]
    return linked
