"""The configuration repository: which commit put which version where, read from where the last time ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from gitops_nb.dora import collect, fact_tables, facts
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.facts import Event, Facts
from gitops_nb.dora.store import EVENT, EXCLUSION, FactStore, Merged, check
from gitops_nb.errors import UsageError
from gitops_nb.ports import FileChange, HistoryReader


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection of a source did; ``tip`` is the commit or file that it read up to."""

    source: str
    tip: str
    rows: int
    merged: Merged
    excluded: int = 0


@dataclass(slots=True)
class _Counter:
    """Counts what passes, so that the next collection goes on with the same positions."""

    changes: Iterable[FileChange]
    count: int = 0

    def __iter__(self) -> Iterator[FileChange]:
        for change in self.changes:
            self.count += 1
            yield change


def collect_configuration(
    git: HistoryReader,
    store: FactStore,
    source: VersionSource,
    *,
    environments: Sequence[str],
    first_environments: tuple[str, ...],
    now_s: int,
) -> Collected:
    """Reads the commits since the last collection, and derives the deployments of the services they name.

    Args:
        git: Reads the repository.
        store: Where facts go.
        source: Which files say which version runs where.
        environments: Those of the fleet; a path with another one goes to the ledger.
        first_environments: Where versions enter.
        now_s: The latest time that a commit may have.

    Raises:
        UsageError: The history was rewritten, is shallow, or gives one service two places; nothing was written.
    """
    name = f"configuration {source.repository} {source.path}"
    how = {"key": source.key, "part": source.part, "branch": source.branch}
    point = store.resume_point(name)
    if {key: point.get(key) for key in how} != how:
        point = {}  # read in another way, every commit may say something else
    since, offset = str(point.get("commit", "")), int(point.get("changes", 0))
    tip = git.tip(source.repository, source.branch)
    if since and not git.is_ancestor(source.repository, since, tip):
        raise UsageError(
            f"{source.repository}: {source.branch} at {tip} does not contain {since}, which was collected before: "
            "its history was rewritten",
            hint="Find out why; to accept it, delete the folder of facts and collect again.",
        )
    if since == tip:
        return Collected(name, tip, 0, Merged())
    folders = (source.folder,) if source.folder else ()
    changes = _Counter(git.changes(source.repository, tip, folders=folders, since=since))
    events, left_out = collect.from_history(
        changes, source, environments=environments, now_s=now_s, offset=offset
    )
    rows = check("event", _event_frame(events, name))
    excluded = check("exclusion", facts.exclusion_frame(left_out)[list(EXCLUSION)])
    _check_owner(store, rows, name)
    merged = store.merge("event", rows) + store.merge("exclusion", excluded)
    touched = tuple(rows["service"].unique())
    merged += derive(store, touched, first_environments=first_environments)
    store.set_resume_point(name, {**how, "commit": tip, "changes": offset + changes.count})
    return Collected(name, tip, len(rows), merged, len(excluded))


def derive(
    store: FactStore, services: Sequence[str], *, first_environments: tuple[str, ...]
) -> Merged:
    """Makes the deployments of services from their stored events, whole: judged by all that came before.

    Where no application repository is collected, a version is the change, as ``fact_tables.from_versions`` says.
    """
    if not services:
        return Merged()
    stored = store.read("event", services).sort_values(["source", "position"])
    names = list(Event.__dataclass_fields__)
    events = [Event(*row) for row in stored[names].itertuples(index=False)]
    judged = facts.classify(events, censor_first=False)
    tables = fact_tables.from_versions(
        Facts(judged, None, facts.exclusion_frame(())), first_environments=first_environments
    )
    kept = judged[judged["kind"] != "removed"].sort_values("position")
    ids = _deployment_ids(kept["service"], kept["environment"], kept["sha"])
    deployment = tables.deployment.assign(deployment_id=ids)
    renamed = dict(
        zip(
            _places(tables.deployment),
            ids,
            strict=True,
        )
    )
    arrived = tables.change_deployment
    arrived = arrived.assign(deployment_id=[renamed[place] for place in _places(arrived)])
    others = store.read("deployment", services)
    others = others[others["source"] != "configuration history"]
    known = store.read("change", services)
    traced = set(known[known["repository"] != ""]["service"])
    merged = store.replace("deployment", pd.concat([others, deployment]), services=services)
    plain = [service for service in services if service not in traced]
    merged += store.replace(
        "change", tables.change[tables.change["service"].isin(plain)], services=plain
    )
    merged += store.replace(
        "change_deployment", arrived[arrived["service"].isin(plain)], services=plain
    )
    ledger = facts.ledger(judged, ())
    return merged + store.merge("exclusion", ledger[list(EXCLUSION)])


def deployment_id(service: str, environment: str, sha: str) -> str:
    """The id of a deployment that a commit of a configuration repository made.

    >>> deployment_id("checkout", "production", "3d6c674a" * 5)
    'checkout/production@3d6c674a3d6c'
    """
    return f"{service}/{environment}@{sha[:12]}"


def _deployment_ids(*columns: pd.Series[str]) -> list[str]:
    return [deployment_id(*row) for row in zip(*columns, strict=True)]


def _places(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["service"], table["deployment_id"], strict=True))


def _event_frame(events: Sequence[Event], source: str) -> pd.DataFrame:
    rows = [
        {
            "service": event.service,
            "environment": event.environment,
            "version": event.version,
            "sha": event.sha,
            "finished_s": event.finished_s,
            "position": event.position,
            "is_seed": event.is_seed,
            "source": source,
        }
        for event in events
    ]
    return fact_tables.frame(EVENT, rows)


def _check_owner(store: FactStore, rows: pd.DataFrame, source: str) -> None:
    """Refuses a service and environment that another source names already."""
    before = store.read("event", tuple(rows["service"].unique()))
    others = before[before["source"] != source]
    both = rows.merge(others, on=["service", "environment"])
    if len(both):
        first = both.iloc[0]
        raise UsageError(
            f"{first['service']} in {first['environment']} has its version in two places: "
            f"{first['source_y']} and {source}",
            hint="Let the paths in fleet.yaml's versions match different services.",
        )
