"""What an Application will do by itself, as it was seen at the end of a watch: not as it was planned."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gitops_nb.argo import current_revisions, is_automated, operation_state, revisions_of
from gitops_nb.argo.status import PAUSED, at, is_paused, is_under_way
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import View


def has_failed_there(application: Json) -> bool:
    """Whether the last sync failed at the very revisions that Argo CD compares with now: automation skips those.

    Source: argo-cd 3.0, controller/appcontroller.go, autoSync: "Skipping auto-sync: failed previous sync attempt".
    """
    state = operation_state(application)
    if state.get("phase") not in ("Failed", "Error"):
        return False
    tried = revisions_of(state.get("syncResult") or {}) or revisions_of(
        at(state, "operation", "sync")
    )
    return bool(tried) and tried == current_revisions(application)


def gone(view: View, placement: Mapping[str, Any]) -> str:
    """That an Application does not exist any more, as a sentence; "" where it does, or nobody could look."""
    cluster, name = str(placement["cluster"]), str(placement["name"])
    try:
        application = view.argo[cluster].snapshot(name).application
    except GitOpsError:
        return ""
    if application is not None:
        return ""
    return (
        f"Nothing brings {name} on {cluster} now: the Application does not exist. What made it, a parent or an ApplicationSet, makes it "
        "anew, and then it may sync what Git asks for."
    )


def by_itself(view: View, fleet: Fleet, environment: str, placement: Mapping[str, Any]) -> str:
    """What comes without anybody asking, as a sentence; "" where nobody could look, or nothing else than planned was seen."""
    cluster, name = str(placement["cluster"]), str(placement["name"])
    what = f"{name} on {cluster}"
    try:
        application = view.argo[cluster].snapshot(name).application
    except GitOpsError:
        return ""
    if application is None:
        return gone(view, placement)
    if is_paused(application):
        return f"Nothing: {what} is paused by {PAUSED}, until somebody takes that away."
    if is_under_way(application):
        return f"A sync of {what} is under way: {environment} may move after this run has ended."
    status = at(application, "status", "sync").get("status") or "not compared"
    if not is_automated(application):
        turned = ", automation was turned off since the plan" if placement["automated"] else ""
        if status == "Synced":
            return f"No more sync: {what} is Synced, and none is under way; Kubernetes goes on with what was brought."
        return f"Nothing: {what} is {status}, and is synced when somebody asks{turned}."
    if status != "Synced" and has_failed_there(application):
        phase = operation_state(application).get("phase")
        return (
            f"No more sync of {what} by itself: the last one ended as {phase}, and Argo CD does not try the same commit again. "
            "Another commit, or somebody who asks, brings it."
        )
    windows = _windows(view, fleet, cluster, application)
    if windows:
        return (
            f"Argo CD syncs {what} without being asked, but not while a window of its AppProject denies it: "
            f"{'; '.join(windows)}."
        )
    return ""


def _windows(view: View, fleet: Fleet, cluster: str, application: Json) -> tuple[str, ...]:
    """Deny windows of the AppProject that name this Application; whether one is open its schedule says."""
    argocd = fleet.clusters[cluster].argocd
    reader = view.clusters.get(argocd.cluster or cluster)
    spec, name = at(application, "spec"), str(application["metadata"].get("name"))
    if reader is None:
        return ()
    namespace = str(application["metadata"].get("namespace") or argocd.namespace)
    project = str(spec.get("project") or "default")
    try:
        found = reader.get(ObjectRef("argoproj.io/v1alpha1", "AppProject", project, namespace))
    except GitOpsError:
        return ()
    destination = at(spec, "destination")
    values = {
        "applications": (name,),
        "namespaces": (str(destination.get("namespace") or ""),),
        "clusters": (str(destination.get("server") or ""), str(destination.get("name") or "")),
    }
    return tuple(
        f"{window.get('schedule')} for {window.get('duration')}, AppProject {project}"
        for window in at(found, "spec").get("syncWindows") or ()
        if window.get("kind") == "deny"
        and any(
            fnmatchcase(value, str(pattern))
            for part, known in values.items()
            for value in known
            for pattern in window.get(part) or ()
        )
    )
