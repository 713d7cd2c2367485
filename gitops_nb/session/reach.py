"""Whose files and clusters a recorded plan changes, by the fleet of its time: they decide whose rules had to be asked.

A runner that counts in one environment writes that environment's name into a record as it likes. What its commit and its syncs
change is another environment's all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.model import Plan, from_json
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE


def reach_findings(state: RunState, fleet: Fleet, *, source: str) -> list[Finding]:
    """What a run planned, or did, in environments that its record does not name.

    Args:
        state: Fold of its journal.
        fleet: As it was at the run's policy commit.
        source: Where that was read, in words.

    Raises:
        ValueError, KeyError, TypeError: The plan is none of this package's.
    """
    if not isinstance(state.plan, Mapping) or state.environment not in fleet.environments:
        return []
    plan = from_json(Plan, state.plan)
    found: list[str] = []
    if plan.environment != state.environment:
        found.append(f"its plan is one for {plan.environment}")
    found += _of_files(plan.arguments, state.environment, fleet)
    found += _of_clusters(plan.arguments, state, fleet)
    found += _of_applications(plan.arguments, state.environment, fleet)
    return [
        Finding(
            Code.CONTRADICTION,
            FILE,
            f"it is recorded as a run of {state.environment}, and by {source} {text}: those rules were not asked",
        )
        for text in dict.fromkeys(found)
    ]


def _of_files(arguments: Mapping[str, Any], environment: str, fleet: Fleet) -> Iterator[str]:
    for edit in arguments.get("edits") or ():
        owners = owners_of(fleet, str(arguments.get("repository")), str(edit.get("path")))
        if owners and environment not in owners:
            yield f"{edit.get('path')} is a file of {_listed(owners)}"


def _of_clusters(arguments: Mapping[str, Any], state: RunState, fleet: Fleet) -> Iterator[str]:
    """Clusters of the plan, and of each effect that its record names."""
    named = [one.get("cluster") for one in arguments.get("placements") or ()]
    named.append(arguments.get("cluster"))
    named += [one.key.rpartition(" ")[2] for one in state.effects if one.key.startswith("sync ")]
    for name in named:
        cluster = fleet.clusters.get(str(name))
        if cluster is not None and cluster.environment != state.environment:
            yield f"cluster {name} is one of {cluster.environment}"


def _of_applications(arguments: Mapping[str, Any], environment: str, fleet: Fleet) -> Iterator[str]:
    for placement in arguments.get("placements") or ():
        name = placement.get("name")
        owners = {
            one
            for one in fleet.environments
            for application in fleet.applications
            if fleet.argocd_name(application, one) == name
        }
        if owners and environment not in owners:
            yield f"Application {name} is one of {_listed(owners)}"


def owners_of(fleet: Fleet, repository: str, path: str) -> frozenset[str]:
    """Environments in whose folders a file lies; of folders inside each other the innermost counts. Empty where it lies in none."""
    innermost, found = -1, set[str]()
    for application, declared in fleet.applications.items():
        if declared.repository != repository:
            continue
        for environment in fleet.environments:
            folder = fleet.path(application, environment)
            if folder is None or not (folder == "" or path.startswith(f"{folder}/")):
                continue
            if len(folder) > innermost:
                innermost, found = len(folder), set()
            if len(folder) == innermost:
                found.add(environment)
    return frozenset(found)


def _listed(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names))
