"""Which deployment contains a change first: the commit graph decides, never a time.

Each commit is visited once: the walk from a revision stops at what earlier deployments contain, as ``git rev-list
NEW --not DEPLOYED...`` does, so that a whole history costs one pass over the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gitops_nb.ports import GraphCommit


@dataclass(frozen=True, slots=True)
class Arrival:
    """A change and the index of the first deployment that contains it; ``start_s`` is when it was first written."""

    sha: str
    deployment: int
    start_s: int


def first_containing(
    graph: Mapping[str, Sequence[str]], revisions: Sequence[str]
) -> dict[str, int]:
    """The index of the first revision that contains each commit.

    Args:
        graph: Parents by commit; parents that are not in it end the walk.
        revisions: What was deployed, in order of time; one may come again, as in a rollback.

    >>> first_containing({"c": ["b"], "b": ["a"], "a": []}, ["b", "c", "a"])
    {'b': 0, 'a': 0, 'c': 1}
    """
    found: dict[str, int] = {}
    for index, revision in enumerate(revisions):
        stack = [revision]
        while stack:
            sha = stack.pop()
            if sha in found or sha not in graph:
                continue
            found[sha] = index
            stack.extend(graph[sha])
    return found


def brought_by(graph: Mapping[str, Sequence[str]], merges: Sequence[str]) -> dict[str, str]:
    """The merge that brought each commit into its line: the first whose own first parent does not contain it.

    Args:
        graph: Parents by commit.
        merges: What pull requests became, each after those that it contains; a squash brings itself.

    >>> brought_by({"m": ["b", "y"], "y": ["x"], "x": ["a"], "b": ["a"], "a": []}, ["b", "m"])
    {'b': 'b', 'm': 'm', 'y': 'm', 'x': 'm'}
    """
    revisions: list[str] = []
    for merge in merges:
        # A line that begins with the merge has nothing before it.
        revisions += [next(iter(graph[merge]), ""), merge]
    found = first_containing(graph, revisions)
    return {sha: merges[place // 2] for sha, place in found.items() if place % 2}


def arrivals(
    commits: Iterable[GraphCommit],
    contained: Mapping[str, int],
    patch_ids: Mapping[str, str],
    starts: Mapping[str, int],
) -> tuple[list[Arrival], list[str]]:
    """One arrival per patch, and the commits that repeat a patch which arrived before or with them (cherry-picks).

    Args:
        commits: The changes, in any order.
        contained: As ``first_containing`` gives it; commits that are not in it have not arrived.
        patch_ids: Patch by commit; a commit without one stands for itself.
        starts: When a change was first written, where a pull request knows better than the commit (squash).
    """
    groups: dict[str, list[GraphCommit]] = {}
    written: dict[str, int] = {}
    for commit in commits:
        patch = patch_ids.get(commit.sha, commit.sha)
        start_s = starts.get(commit.sha, commit.authored_s)
        # A patch that is still undeployed in its first form began all the same.
        written[patch] = min(start_s, written.get(patch, start_s))
        if commit.sha in contained:
            groups.setdefault(patch, []).append(commit)
    first: list[Arrival] = []
    repeated: list[str] = []
    for patch, members in groups.items():
        ordered = sorted(members, key=lambda c: (contained[c.sha], c.committed_s, c.sha))
        first.append(Arrival(ordered[0].sha, contained[ordered[0].sha], written[patch]))
        repeated += [commit.sha for commit in ordered[1:]]
    return first, repeated
