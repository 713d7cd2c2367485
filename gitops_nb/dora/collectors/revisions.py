"""Which deployment a synced revision contains: Argo CD syncs what a branch points to, often several commits at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gitops_nb.dora import fact_tables
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.collectors.configuration import Collected, source_name
from gitops_nb.dora.joining import SYNCED_BY
from gitops_nb.dora.schemas import SYNC, check
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.ports import GraphCommit, HistoryReader

_PLACE = ["service", "environment"]


def link_revisions(git: HistoryReader, store: FactStore, source: VersionSource) -> Collected:
    """Finds for each synced revision of a configuration repository the newest deployment of its place in it.

    A revision that made the deployment itself needs no finding. One that is newer than what was collected of the
    repository is left for the next time.
    """
    name = f"revisions {source.repository} {source.path}"
    tip = str(store.resume_point(source_name(source)).get("commit", ""))
    events = store.read("event")
    events = events[events["source"] == source_name(source)]
    asked = _unknown(store, events)
    if asked.empty:
        return Collected(name, tip, 0, Merged())
    there = set(git.resolve_all(source.repository, asked["revision"].unique()))
    graph = git.graph(source.repository, [tip, *sorted(there)])
    reached = newest_on_line(graph, tip)
    order = {sha: place for sha, (place, is_final) in reached.items() if is_final}
    rows: list[dict[str, Any]] = []
    for (service, environment), group in asked.groupby(_PLACE):
        mine = events[(events["service"] == service) & (events["environment"] == environment)]
        line = sorted((order[sha], sha) for sha in mine["sha"] if sha in order)
        places = [place for place, _ in line]
        for revision in group["revision"]:
            if revision not in order:
                continue
            count = bisect_right(places, order[revision])
            rows.append(
                {
                    "service": service,
                    "environment": environment,
                    "revision": revision,
                    "contained": line[count - 1][1] if count else "",
                }
            )
    merged = store.merge("sync", check("sync", fact_tables.frame(SYNC, rows)))
    return Collected(name, tip, len(rows), merged, len(asked) - len(rows))


def _unknown(store: FactStore, events: pd.DataFrame) -> pd.DataFrame:
    """Place and revision of syncs that neither made a deployment themselves nor were found before."""
    deployment = store.read("deployment", tuple(events["service"].unique()))
    synced = deployment[deployment["source"].isin(SYNCED_BY)][[*_PLACE, "revision"]]
    synced = synced.drop_duplicates().merge(events[_PLACE].drop_duplicates(), on=_PLACE)
    own = events[[*_PLACE, "sha"]].rename(columns={"sha": "revision"})
    known = pd.concat([own, store.read("sync")[[*_PLACE, "revision"]]])
    both = synced.merge(known.drop_duplicates(), how="left", indicator=True)
    return both[both["_merge"] == "left_only"][[*_PLACE, "revision"]]


def newest_on_line(graph: Sequence[GraphCommit], tip: str) -> Mapping[str, tuple[int, bool]]:
    """For each commit the place of the newest commit of the branch that it contains, and whether that is final.

    Places count on the first-parent line of ``tip``, from its beginning; -1 is before it. It is not final for a
    commit that contains all of the branch and is not in it: the branch may go on there.

    Args:
        graph: Commits, children before parents.
        tip: The newest commit of the branch that is known.
    """
    parents = {commit.sha: commit.parents for commit in graph}
    line: list[str] = []
    sha = tip
    while sha in parents:
        line.append(sha)
        sha = next(iter(parents[sha]), "")
    places = {sha: place for place, sha in enumerate(reversed(line))}
    newest: dict[str, int] = {}
    for commit in reversed(graph):
        inherited = (newest.get(parent, -1) for parent in commit.parents)
        newest[commit.sha] = max((places.get(commit.sha, -1), *inherited))
    inside = _ancestors(parents, tip)
    return {sha: (place, sha in inside or place < len(line) - 1) for sha, place in newest.items()}


def _ancestors(parents: Mapping[str, Iterable[str]], tip: str) -> set[str]:
    found: set[str] = set()
    stack = [tip]
    while stack:
        sha = stack.pop()
        if sha not in found and sha in parents:
            found.add(sha)
            stack.extend(parents[sha])
    return found
