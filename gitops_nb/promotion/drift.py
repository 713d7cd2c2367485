"""What a sync undoes on the cluster: objects that somebody changed there, named where that can be told."""

from __future__ import annotations

from collections.abc import Sequence

from gitops_nb.argo import current_revisions, history_of, revisions_of
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.argo.status import at, split_out_of_sync
from gitops_nb.model import Json
from gitops_nb.ports import GitReader, Snapshot
from gitops_nb.promotion.pending import bound_folders, is_known
from gitops_nb.promotion.state import Drift, Synced


def drift_of(
    git: GitReader,
    repository: str,
    snapshot: Snapshot,
    read: Synced,
    origin: Origin,
    *,
    tip: str,
    is_asked_for: bool,
) -> tuple[Drift, ...]:
    """What differs on the cluster from what was synced last, and what a sync of the tip makes of it.

    Argo CD says which objects differ, not why. Where it compared with the very files that are in force, somebody changed them.
    Where files were pushed since, either may be the reason: that is said, whatever the last comparison found.

    Args:
        git: Reads the repository.
        repository: Its name in fleet.yaml.
        snapshot: The Application.
        read: What it reads.
        origin: The repository as Applications name it.
        tip: The commit that would be synced.
        is_asked_for: Whether this promotion syncs it; else it follows Git by itself, and would undo that without us too.
    """
    application = snapshot.application or {}
    if not history_of(application):
        return ()
    if _is_as_in_force(git, repository, application, read, origin, tip=tip):
        return _found(application)
    if not is_asked_for:
        return ()
    return (
        Drift(
            "what somebody changed on the cluster",
            "cannot be told apart from what comes into force",
            "the sync undoes it where Git says otherwise",
        ),
    )


def _is_as_in_force(
    git: GitReader,
    repository: str,
    application: Json,
    read: Synced,
    origin: Origin,
    *,
    tip: str,
) -> bool:
    """Whether the last comparison, and the tip, have what was synced last."""
    newest = history_of(application)[-1]
    spec = sources_of(at(application, "spec"))
    before = (revisions_of(newest), sources_of(newest) or spec)
    compared = sources_of(at(application, "status", "sync", "comparedTo")) or spec
    now = (current_revisions(application), compared)
    if len({len(part) for part in (*before, *now)}) != 1 or list(before[1]) != list(compared):
        return False
    pairs = zip(compared, before[0], now[0], strict=True)
    commits: Sequence[str] = (read.in_force, tip) if read.in_force else ()
    for source, then, seen in pairs:
        if origin.has(source) and read.in_force:
            commits = (*commits, seen)
        elif then != seen:
            return False
    return all(is_known(git, repository, one, tip) for one in commits) and not any(
        bound_folders(git, repository, commits[0], read.folders)
        != bound_folders(git, repository, one, read.folders)
        for one in dict.fromkeys(commits[1:])
        if one != commits[0]
    )


def _found(application: Json) -> tuple[Drift, ...]:
    differing, left = split_out_of_sync(application)
    return (
        *(
            Drift(
                f"{name} is OutOfSync",
                "changed on the cluster since the last sync",
                "as Git has it: the sync undoes that change",
            )
            for name in differing
        ),
        *(
            Drift(name, "not in Git any more", "left there: the sync prunes nothing")
            for name in left
        ),
    )
