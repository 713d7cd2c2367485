"""The configuration repository: which commit put which version where, read from where the last time ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gitops_nb.dora import collect, facts
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.schemas import KEYS, check
from gitops_nb.dora.store import FactStore, Merged
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
    now_s: int,
) -> Collected:
    """Reads the commits since the last collection, and derives the deployments of the services they name.

    Args:
        git: Reads the repository.
        store: Where facts go.
        source: Which files say which version runs where.
        environments: Those of the fleet; a path with another one goes to the ledger.
        now_s: The latest time that a commit may have.

    Raises:
        UsageError: The history was rewritten, is shallow, or gives one service two places; nothing was written.
    """
    name, how = source_name(source), _how(source)
    point = _point(store, source)
    since, offset = str(point.get("commit", "")), int(point.get("changes", 0))
    tip = _tip(git, source, since)
    if since == tip:
        return Collected(name, tip, 0, Merged())
    changes = _Counter(git.changes(source.repository, tip, since=since, wanted=source.claims))
    events, left_out = collect.from_history(
        changes, source, environments=environments, now_s=now_s, offset=offset
    )
    rows = events.assign(source=name)
    excluded = check("exclusion", facts.exclusion_frame(left_out))
    touched = tuple(rows["service"].unique())
    before = store.read("event", touched)
    _check_owner(before, rows, name)
    merged = store.merge("event", rows) + store.merge("exclusion", excluded)
    # What the store now holds of these services, without reading it again: a first collection is large.
    key = list(KEYS["event"])
    events = pd.concat([before, rows]).drop_duplicates(key, keep="last") if len(before) else rows
    merged += derive(store, touched, events)
    store.set_resume_point(name, {**how, "commit": tip, "changes": offset + changes.count})
    return Collected(name, tip, len(rows), merged, len(excluded))


def check_histories(git: HistoryReader, store: FactStore, sources: Sequence[VersionSource]) -> None:
    """Looks at all configuration repositories before the first of them is read.

    Raises:
        UsageError: A history was rewritten or is shallow, or two sources tell of one service today; nothing was written.
    """
    owners: dict[tuple[str, str], str] = {}
    for source in sources:
        tip = _tip(git, source, str(_point(store, source).get("commit", "")))
        folder = source.path.partition("{")[0].rpartition("/")[0]
        for path in git.list_files(source.repository, tip, folder):
            place, where = source.match(path), f"{source.repository}:{path}"
            if place is not None and owners.setdefault(place, where) != where:
                raise UsageError(
                    f"{place[0]} in {place[1]} has its version in two places: {owners[place]} and {where}, at {tip}",
                    hint="Let the paths in fleet.yaml's versions match different services.",
                )


def _how(source: VersionSource) -> dict[str, str]:
    """What of a source makes its commits mean something else."""
    return {"key": source.key, "part": source.part, "branch": source.branch}


def _point(store: FactStore, source: VersionSource) -> Mapping[str, Any]:
    """Where the last collection ended; nothing where it read in another way."""
    point = store.resume_point(source_name(source))
    how = _how(source)
    return point if {key: point.get(key) for key in how} == how else {}


def _tip(git: HistoryReader, source: VersionSource, since: str) -> str:
    """The branch's commit, which has to contain what was collected before."""
    tip = git.tip(source.repository, source.branch)
    if since and not git.is_ancestor(source.repository, since, tip):
        raise UsageError(
            f"{source.repository}: {source.branch} at {tip} does not contain {since}, which was collected before: "
            "its history was rewritten",
            hint="Find out why; to accept it, delete the folder of facts and collect again.",
        )
    return tip


def source_name(source: VersionSource) -> str:
    """What the store calls a configuration repository."""
    return f"configuration {source.repository} {source.path}"


def derive(store: FactStore, services: Sequence[str], events: pd.DataFrame) -> Merged:
    """Makes the deployments of services from all their events, whole: judged by all that came before."""
    if not services:
        return Merged()
    # Sources have their own positions and never share a place.
    deployment = facts.deployments_of(events, censor_first=False)
    others = store.read("deployment", services)
    others = others[others["source"] != facts.CONFIGURATION]
    whole = pd.concat([others, deployment]) if len(others) else deployment
    return store.replace("deployment", whole, services=services)


def _check_owner(before: pd.DataFrame, rows: pd.DataFrame, source: str) -> None:
    """Refuses a service and environment that another source names already."""
    others = before[before["source"] != source]
    both = rows.merge(others, on=["service", "environment"])
    if len(both):
        first = both.iloc[0]
        raise UsageError(
            f"{first['service']} in {first['environment']} has its version in two places: "
            f"{first['source_y']} and {source}",
            hint="Let the paths in fleet.yaml's versions match different services.",
        )
