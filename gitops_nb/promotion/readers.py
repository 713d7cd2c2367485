"""Whether another environment's Application reads the files that a promotion edits: its rules were not asked then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops_nb.argo.sources import sources_of
from gitops_nb.errors import GitOpsError, Refused
from gitops_nb.model import Json
from gitops_nb.ports import View
from gitops_nb.promotion.placements import parent_of
from gitops_nb.promotion.places import Reads, reads
from gitops_nb.promotion.reading import origin_of
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import Side


def refuse_readers(view: View, request: Promotion, target: Side, tip: str) -> tuple[str, ...]:
    """Refuses where another environment's Application reads a file that this promotion may write.

    Where a cluster is away, or has no such Application, the folder that fleet.yaml names is followed instead.

    Returns:
        Applications, in words, of which nobody can tell what they read.

    Raises:
        Refused: It names both environments, and the file.
    """
    ours = {(one.cluster, one.parent or one.name) for one in target.placements}
    files = dict.fromkeys(key.path for key in target.keys)
    untold: list[str] = []
    for environment, who, read in _others(view, request, tip, ours):
        taken = next((file for file in files if read.takes(file)), "")
        if taken:
            raise Refused(
                f"{who} of {environment} reads {taken} too: a promotion to {request.target} would change {environment} as well, "
                "whose rules nobody asks",
                hint=f"Have {environment} read files of its own, and promote to it by itself.",
            )
        if "" in read.places:
            untold.append(f"{who} of {environment}")
    return tuple(dict.fromkeys(untold))


def _others(
    view: View, request: Promotion, tip: str, ours: set[tuple[str, str]]
) -> Iterator[tuple[str, str, Reads]]:
    """Every other environment with what reads its files there, in words, and what that reads of the repository."""
    fleet = request.fleet
    for environment in fleet.environments:
        folder = fleet.path(request.application, environment)
        if environment == request.target or folder is None:
            continue
        name = fleet.argocd_name(request.application, environment)
        found = False
        for cluster in fleet.clusters_of(environment):
            for reader, application in _applications(view, cluster, name):
                found = True
                if (cluster, reader) not in ours:
                    who = f"Application {reader} on {cluster}"
                    yield environment, who, _read(view, request, application, tip)
        if not found:
            repository = fleet.repositories[fleet.applications[request.application].repository]
            source = {
                "repoURL": repository.url,
                "targetRevision": repository.branch,
                "path": folder,
            }
            declared = {"metadata": {"name": name}, "spec": {"source": source}}
            yield environment, f"folder {folder}", _read(view, request, declared, tip)


def _applications(view: View, cluster: str, name: str) -> Iterator[tuple[str, Json]]:
    """An Application, and the parent that may render it; none where the cluster does not answer."""
    if cluster not in view.argo:
        return
    try:
        one = view.argo[cluster].snapshot(name)
        if one.application is None:
            return
        above = parent_of(view.argo[cluster], one.application)
    except GitOpsError:
        # Away, or not for this machine: a runner of staging need not know production's clusters.
        return
    yield one.name, one.application
    if above is not None:
        yield above.name, above.application


def _read(view: View, request: Promotion, application: Json, tip: str) -> Reads:
    name = request.fleet.applications[request.application].repository
    sources: Sequence[Json] = sources_of(application.get("spec") or {})
    origin = origin_of(view.git, name, request.fleet.repositories[name], sources)
    return reads(view.git, application, sources, origin=origin, repository=name, tip=tip)
