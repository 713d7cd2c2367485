"""What a sync undoes on the cluster: objects that somebody changed there, named where that can be told."""

from __future__ import annotations

from collections.abc import Sequence

from gitops_nb.argo import current_revisions, history_of, revisions_of
from gitops_nb.argo.kinds import label
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.argo.status import at, objects_out_of_sync
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import ClusterReader, GitReader, Snapshot, View
from gitops_nb.promotion.pending import bound_folders, is_known
from gitops_nb.promotion.state import Drift, Synced


def drift_of(
    view: View,
    repository: str,
    snapshot: Snapshot,
    read: Synced,
    origin: Origin,
    *,
    cluster: str,
    tip: str,
    is_asked_for: bool,
) -> tuple[Drift, ...]:
    """What differs on the cluster from what was synced last, and what a sync of the tip makes of it.

    Argo CD says which objects differ, not why. Where it compared with the very files that are in force, somebody changed them.
    Where files were pushed since, either may be the reason: that is said, whatever the last comparison found.

    Args:
        view: Reads the repository and the cluster.
        repository: Its name in fleet.yaml.
        snapshot: The Application.
        read: What it reads.
        origin: The repository as Applications name it.
        cluster: Where the Application is.
        tip: The commit that would be synced.
        is_asked_for: Whether this promotion syncs it; else it follows Git by itself, and would undo that without us too.
    """
    application = snapshot.application or {}
    if not history_of(application):
        return ()
    if _is_as_in_force(view.git, repository, application, read, origin, tip=tip):
        return _found(view.clusters.get(cluster), snapshot.name, application)
    if not is_asked_for:
        return ()
    return (
        Drift(
            snapshot.name,
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


def _found(cluster: ClusterReader | None, own: str, application: Json) -> tuple[Drift, ...]:
    return tuple(_drift(cluster, own, resource) for resource in objects_out_of_sync(application))


def _drift(cluster: ClusterReader | None, own: str, resource: Json) -> Drift:
    name = label(resource)
    if resource.get("requiresPruning"):
        return Drift(own, name, "not in Git any more", "left there: the sync prunes nothing")
    if _is_absent(cluster, resource):
        # Deleted by somebody, or never there: in another destination all objects are still to come.
        where = f" in {resource['namespace']}" if resource.get("namespace") else ""
        return Drift(own, f"{name}{where}", "not on the cluster", "created by the sync")
    return Drift(
        own,
        f"{name} is OutOfSync",
        "changed on the cluster since the last sync",
        "as Git has it: the sync undoes that change",
    )


def _is_absent(cluster: ClusterReader | None, resource: Json) -> bool:
    """Whether the cluster has no such object; Argo CD 3 does not keep that in the Application."""
    if cluster is None or resource.get("kind") == "Secret":
        return False
    group, version = resource.get("group") or "", resource.get("version") or "v1"
    api = f"{group}/{version}" if group else version
    named = (resource.get("name") or "", resource.get("namespace") or "")
    try:
        return cluster.get(ObjectRef(api, str(resource.get("kind")), *named)) is None
    except UnavailableError:
        return False  # we may not read it: that it differs is known all the same
