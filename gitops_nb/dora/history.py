"""The history of one environment, service by service: what failed, what mended it, what a version took."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pandas as pd

from gitops_nb.dora.definition import DoraDefinition
from gitops_nb.dora.facts import Exclusion, Facts, rows


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of a service to the target environment, with what is known about it.

    ``lead_s`` is None when it cannot be told, and ``lead_missing`` says why. ``recovery_s`` counts from
    ``finished_s``; with ``is_open`` it is how long the failure has lasted so far. ``rework_by`` says why the
    deployment was not planned: rollback, hotfix or fix; "" when nothing says so.
    """

    service: str
    version: str
    sha: str
    finished_s: int
    is_rollback: bool
    is_comparable: bool
    lead_s: int | None = None
    lead_missing: str = ""
    failed_by: str = ""
    recovery_s: int | None = None
    is_open: bool = False
    rework_by: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """When a service was in the environment: from its first event to its removal, or to now (None)."""

    first_s: int
    removed_s: int | None


@dataclass(frozen=True, slots=True)
class History:
    """Deployments by service in order of time, when each service was there, and incidents not linked."""

    deployments: Mapping[str, tuple[Deployment, ...]]
    spans: Mapping[str, Span]
    unlinked: tuple[Exclusion, ...]


def read_history(
    facts: Facts,
    *,
    environment: str,
    first_environments: tuple[str, ...],
    until_s: int,
    definition: DoraDefinition,
) -> History:
    """Builds the history of ``environment`` from the facts.

    Args:
        facts: All events, also those of other environments: lead time begins there.
        environment: The target.
        first_environments: Where a version enters; empty when the target itself is such a place.
        until_s: Until when facts are known; open failures are censored there.
        definition: The options.
    """
    target = facts.events[facts.events["environment"] == environment]
    arrivals = _arrivals(facts.events, first_environments)
    first = " or ".join(first_environments)
    found: dict[str, list[Deployment]] = {}
    spans: dict[str, Span] = {}
    for row in rows(target.sort_values("position")):
        removed = row.finished_s if row.kind == "removed" else None
        span = spans.get(row.service, Span(row.finished_s, None))
        spans[row.service] = replace(span, removed_s=removed)
        if row.kind != "deployment":
            continue
        lead_s, missing = _lead_time(row, arrivals, first=first)
        found.setdefault(row.service, []).append(
            Deployment(
                service=row.service,
                version=row.version,
                sha=row.sha,
                finished_s=row.finished_s,
                is_rollback=row.is_rollback,
                is_comparable=row.is_comparable,
                lead_s=lead_s,
                lead_missing=missing,
            )
        )
    linked, unlinked = _link(found, facts.incidents, environment=environment, definition=definition)
    deployments = {
        service: _judge(tuple(deployed), linked.get(service, {}), until_s=until_s)
        for service, deployed in found.items()
    }
    return History(deployments, spans, tuple(unlinked))


def _arrivals(
    events: pd.DataFrame, environments: tuple[str, ...]
) -> dict[tuple[str, str], tuple[int, bool]]:
    """When each (service, version) first entered the platform, and whether that time is censored."""
    firsts = events[events["environment"].isin(environments) & events["is_first"]]
    found: dict[tuple[str, str], tuple[int, bool]] = {}
    for row in rows(firsts):
        key = (row.service, row.version)
        known = found.get(key)
        if known is None or row.finished_s < known[0]:
            found[key] = (row.finished_s, row.is_censored)
    return found


def _lead_time(
    row: Any, arrivals: Mapping[tuple[str, str], tuple[int, bool]], *, first: str
) -> tuple[int | None, str]:
    service, version, environment = row.service, row.version, row.environment
    if not first:
        return None, f"versions enter the platform in {environment}"
    if not row.is_first:
        return None, "version had been there before (rollback or repeat)"
    if row.is_censored:
        return None, "first recorded deployment of the service (seed)"
    arrival = arrivals.get((service, version))
    if arrival is None:
        return None, f"version was never seen in {first}"
    if arrival[1]:
        return None, f"version was in {first} when its history begins (seed)"
    seconds = row.finished_s - arrival[0]
    if seconds < 0:
        return None, f"version reached {environment} before {first} (negative)"
    return seconds, ""


def _link(
    found: Mapping[str, list[Deployment]],
    incidents: pd.DataFrame | None,
    *,
    environment: str,
    definition: DoraDefinition,
) -> tuple[dict[str, dict[int, list[int | None]]], list[Exclusion]]:
    """Ends of incidents by service and index of the deployment they are linked to; and the others."""
    linked: dict[str, dict[int, list[int | None]]] = {}
    unlinked: list[Exclusion] = []
    if incidents is None:
        return linked, unlinked
    # A commit's clock may run behind its parent's: the order of history decides, so times never fall.
    times = {
        service: list(accumulate((row.finished_s for row in deployed), max))
        for service, deployed in found.items()
    }
    for incident in rows(incidents):
        index = bisect_right(times.get(incident.service, []), incident.started_s) - 1
        if incident.environment != environment:
            reason = f"incident outside {environment}"
        elif incident.service not in times:
            reason = "incident of a service without deployments"
        elif (
            index < 0
            or incident.started_s - times[incident.service][index] > definition.attribution_window_s
        ):
            hours = definition.attribution_window_s // 3600
            reason = f"incident with no deployment of its service in the {hours} h before"
        else:
            ended = None if pd.isna(incident.resolved_s) else int(incident.resolved_s)
            linked.setdefault(incident.service, {}).setdefault(index, []).append(ended)
            continue
        unlinked.append(
            Exclusion(
                reason=reason,
                left_out_of="change fail rate, recovery time",
                service=incident.service,
                environment=incident.environment,
                finished_s=incident.started_s,
                detail=incident.id,
            )
        )
    return linked, unlinked


def _judge(
    deployed: tuple[Deployment, ...], incidents: Mapping[int, list[int | None]], *, until_s: int
) -> tuple[Deployment, ...]:
    """Marks what failed, and from when on the service was well again."""
    failed = [
        "rollback"
        if index + 1 < len(deployed) and deployed[index + 1].is_rollback
        else "incident"
        if index in incidents
        else ""
        for index in range(len(deployed))
    ]
    judged: list[Deployment] = []
    mended_s: int | None = None
    for index in range(len(deployed) - 1, -1, -1):
        row = deployed[index]
        row = replace(row, rework_by=_rework(row, index, incidents))
        if not failed[index]:
            mended_s = row.finished_s
            judged.append(row)
            continue
        ends = [end for end in (mended_s, _end(incidents.get(index, []))) if end is not None]
        judged.append(
            replace(
                row,
                failed_by=failed[index],
                recovery_s=max(0, (min(ends) if ends else until_s) - row.finished_s),
                is_open=not ends,
            )
        )
    return tuple(reversed(judged))


def _rework(row: Deployment, index: int, incidents: Mapping[int, list[int | None]]) -> str:
    """Why a deployment was not planned, in this order of certainty; "" when nothing says so."""
    if row.is_rollback:
        return "rollback"
    if "hotfix" in row.version.lower():
        return "hotfix"
    # Incidents are linked to the last deployment before them, so this one came after they began.
    during = any(end is None or row.finished_s <= end for end in incidents.get(index - 1, []))
    return "fix" if during else ""


def _end(ends: list[int | None]) -> int | None:
    """When the last of the incidents of a deployment ended; None when there is none or one lasts."""
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def count_missing(deployed: list[Deployment]) -> Counter[str]:
    """Deployments without a lead time, by reason."""
    return Counter(row.lead_missing for row in deployed if row.lead_missing)
