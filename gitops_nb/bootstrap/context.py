"""What the ten steps have in common: what a check finds, what it reads, what a step is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gitops_nb.argo.status import at
from gitops_nb.bootstrap.manifests import RBAC, SETTINGS, wanted_objects
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.model import Json, ResourceChange
from gitops_nb.ports import ArgoReader, ArgoWriter, ClusterReader, ClusterWriter, View


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``changes`` says what the step's act would do about it."""

    holds: bool
    sentence: str
    changes: tuple[ResourceChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What the checks read, and what is asked for; ``objects`` are the install manifest's."""

    view: View
    request: Bootstrap
    objects: tuple[Json, ...]

    @property
    def cluster(self) -> ClusterReader:
        """The cluster to bootstrap."""
        return self.view.clusters[self.request.cluster]

    @property
    def argo(self) -> ArgoReader:
        """The Argo CD that is to come."""
        return self.view.argo[self.request.cluster]

    def tip(self) -> str:
        """The configuration branch's commit now."""
        return self.view.git.tip(self.request.repository_name, self.request.repository.branch)


@dataclass(frozen=True, slots=True)
class Step:
    """One of the ten. ``act`` is None where there is only to wait."""

    key: str
    title: str
    check: Callable[[Context], Finding]
    act: Callable[[Context, ClusterWriter, ArgoWriter], Mapping[str, Json]] | None = None


def open_context(view: View, request: Bootstrap) -> Context:
    """Fetches the manifest and checks its digest."""
    content = view.artifacts.fetch(request.manifest, sha256=request.install.manifest.sha256)
    return Context(view, request, wanted_objects(content, request))


def is_settings(item: Json) -> bool:
    """Whether an object holds Argo CD's settings or access rules."""
    return item["kind"] == "ConfigMap" and item["metadata"]["name"] in (SETTINGS, RBAC)


def has_condition(item: Json, kind: str) -> bool:
    """Whether an object says that a condition is true."""
    conditions = at(item, "status").get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)
