"""Incidents and their deployments by a plain loop, to hold the expressions against."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from gitops_nb.dora.definition import DoraDefinition


def link_incidents(
    deployments: Sequence[Any], incidents: Iterable[Any], definition: DoraDefinition
) -> dict[str, int]:
    """The index of the deployment that each incident belongs to, by the incident's id.

    Args:
        deployments: In order of time, with service, deployment_id and finished_s.
        incidents: With incident_id, service, deployment_id ("" when they name none) and started_s.
        definition: Its window; incidents that fit nowhere are not in the result.
    """
    by_name = {row.deployment_id: index for index, row in enumerate(deployments)}
    places: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(deployments):
        places[row.service].append(index)
    times = {key: [deployments[i].finished_s for i in found] for key, found in places.items()}
    linked: dict[str, int] = {}
    for incident in incidents:
        if incident.deployment_id in by_name:
            linked[incident.incident_id] = by_name[incident.deployment_id]
            continue
        place = bisect_right(times.get(incident.service, []), incident.started_s) - 1
        if place < 0:
            continue
        age_s = incident.started_s - times[incident.service][place]
        if age_s <= definition.attribution_window_s:
            linked[incident.incident_id] = places[incident.service][place]
    return linked
