"""What the sync of a parent would bring to other environments: their rules are asked by a promotion to them, not by this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops_nb.argo.status import at
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import Refused, UsageError
from gitops_nb.model import Json
from gitops_nb.ports import ArgoReader
from gitops_nb.promotion.destination import clusters_of
from gitops_nb.promotion.places import inside
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.shared import file_of
from gitops_nb.promotion.state import Pending, Placement, PromotedKey, Side
from gitops_nb.promotion.versions import objects_with


def refuse_neighbours(request: Promotion, target: Side, pending: tuple[Pending, ...]) -> None:
    """Refuses where a parent that is synced for this promotion would bring what another environment's rules have to let through.

    Raises:
        Refused: It names the parent, what it would bring and whose that is.
    """
    for placement in target.placements:
        for what, environment in _brought(request, placement, pending):
            if environment not in ("", request.target):
                raise Refused(
                    f"Application {placement.parent} on {placement.cluster}, which renders {placement.name}, also brings "
                    f"{what} of {environment}: that is not asked for by a promotion to {request.target}",
                    hint=f"Have {environment} bring it by its own rules first, or give {request.target} a parent of its own.",
                )


def others_of(
    fleet: Fleet, application: Json, target: str, *, argo: ArgoReader, cluster: str, own: str
) -> tuple[tuple[str, str], ...]:
    """Applications beside our ``own`` that a parent would change now, each with its environment.

    That is the one that fleet.yaml gives its name, or else the one whose cluster it deploys to; "" where nobody knows.
    """
    resources = at(application, "status").get("resources") or ()
    names = [
        str(r.get("name"))
        for r in resources
        if r.get("kind") == "Application"
        and r.get("status") == "OutOfSync"
        and r.get("name") != own
    ]
    found = [(name, _environment_of(fleet, name, target)) for name in names]
    return tuple(
        (name, owner or _deploys_to(fleet, argo.snapshot(name).application, cluster, target))
        for name, owner in found
    )


def siblings_of(
    fleet: Fleet, application: Json, target: str, *, keys: Sequence[PromotedKey], own: str
) -> tuple[tuple[str, str], ...]:
    """Other Applications that a parent renders from what is edited, each with its environment: its chart knows which take the value.

    None where each edited file is a manifest, which says one Application only.
    """
    if all(any(True for _ in objects_with(key)) for key in keys):
        return ()
    names = [
        str(r.get("name"))
        for r in at(application, "status").get("resources") or ()
        if r.get("kind") == "Application" and r.get("name") != own
    ]
    return tuple((name, _environment_of(fleet, name, target)) for name in names)


def _deploys_to(fleet: Fleet, application: Json | None, cluster: str, target: str) -> str:
    """The environment whose cluster an Application deploys to, the target where it is one of several; "" where nobody knows."""
    found = [
        fleet.clusters[one].environment for one in clusters_of(fleet, application or {}, cluster)
    ]
    return target if target in found else next(iter(found), "")


def _brought(
    request: Promotion, placement: Placement, pending: tuple[Pending, ...]
) -> Iterator[tuple[str, str]]:
    """What the sync of a placement's parent brings and which environment's it is, where that is known."""
    yield from ((f"Application {name}", owner) for name, owner in placement.neighbours if owner)
    for synced in placement.synced:
        if synced.name != placement.parent:
            continue
        for one in pending:
            if any(
                place == one.path or inside(place, one.path) is not None for place in synced.folders
            ):
                yield from ((one.path, owner) for owner in _owners(request, one, placement.cluster))


def _owners(request: Promotion, pending: Pending, cluster: str) -> Iterator[str]:
    """The environments that a file is promoted in, and whose Application it describes, before or after."""
    fleet, target = request.fleet, request.target
    yield _promoted_in(fleet, pending.path, target)
    for text in filter(None, (pending.before, pending.after)):
        try:
            documents = kubernetes_objects(text.encode())
        except UsageError:
            continue
        for document in documents:
            for item in _items(document):
                if item.get("kind") == "Application":
                    name = str((item.get("metadata") or {}).get("name"))
                    yield _environment_of(fleet, name, target)
                    # What it is called says nothing of where it deploys.
                    yield _deploys_to(fleet, item, cluster, target)
                elif item.get("kind") == "ApplicationSet":
                    yield _deploys_to(fleet, at(item, "spec", "template"), cluster, target)


def _items(document: Json) -> Iterator[Json]:
    """The objects of a document: of a list its items."""
    if not isinstance(document, dict):
        return
    inside_it = document.get("items")
    many = inside_it if str(document.get("kind") or "").endswith("List") else [document]
    yield from (one for one in many or () if isinstance(one, dict))


def _promoted_in(fleet: Fleet, path: str, target: str) -> str:
    """The environment whose promotable key lies in a file, the target where it is one of several; "" for none."""
    found = [
        environment
        for environment in fleet.environments
        for name, application in fleet.applications.items()
        if (folder := fleet.path(name, environment)) is not None
        for declared in application.promotable
        if file_of(name, folder, declared) == path
    ]
    return target if target in found else next(iter(found), "")


def _environment_of(fleet: Fleet, name: str, target: str) -> str:
    """The environment that has an Application of a name, the target where it is one of several; "" for none."""
    found = [
        environment
        for environment in fleet.environments
        for application in fleet.applications
        if fleet.argocd_name(application, environment) == name
    ]
    return target if target in found else next(iter(found), "")
