"""What the ten steps have in common: what a check finds, what it reads, what a step is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gitops_nb.argo.status import at
from gitops_nb.bootstrap.changes import Planned, planned
from gitops_nb.bootstrap.manifests import (
    RBAC,
    SETTINGS,
    is_as_wanted,
    ref_of,
    wanted_objects,
)
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.model import Action, Json, ResourceChange
from gitops_nb.ports import ArgoReader, ArgoWriter, ClusterReader, ClusterWriter, View


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``changes`` says what the step's act would do about it.

    ``conflicts`` name fields of them that others own, ``untried`` the objects that the reading user could not try,
    ``unjudged`` those of kinds of which nobody here can tell how they are.
    """

    holds: bool
    sentence: str
    changes: tuple[ResourceChange, ...] = ()
    conflicts: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    @classmethod
    def of(cls, sentence: str, *found: Planned) -> Finding:
        """That something has to be changed."""
        return cls(
            False,
            sentence,
            tuple(one.change for one in found),
            tuple(one.conflict for one in found if one.conflict),
            tuple(one.change.address for one in found if one.is_untried),
        )


@dataclass(frozen=True, slots=True)
class Context:
    """What the checks read, and what is asked for; ``objects`` are the install manifest's.

    ``tries`` is true while a plan is made: then each change is tried by a dry run, and shown whole.
    """

    view: View
    request: Bootstrap
    objects: tuple[Json, ...]
    tries: bool = False

    @property
    def cluster(self) -> ClusterReader:
        """The cluster to bootstrap."""
        return self.view.clusters[self.request.cluster]

    @property
    def argo(self) -> ArgoReader:
        """The Argo CD that is to come."""
        return self.view.argo[self.request.cluster]

    def planned(self, live: Json | None, wanted: Json) -> Planned | None:
        """What an apply of an object would do; None where the live one is as wanted, and has nothing of ours that is not."""
        if live is not None and is_as_wanted(live, wanted):
            return None
        if self.tries:
            return planned(self.cluster, live, wanted)
        action = Action.CREATE if live is None else Action.UPDATE
        return Planned(ResourceChange(str(ref_of(wanted)), action))

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


def open_trial(view: View, request: Bootstrap) -> Context:
    """The same for a plan: what would be changed is tried, and told whole."""
    return replace(open_context(view, request), tries=True)


def is_settings(item: Json) -> bool:
    """Whether an object holds Argo CD's settings or access rules."""
    return item["kind"] == "ConfigMap" and item["metadata"]["name"] in (SETTINGS, RBAC)


def has_condition(item: Json, kind: str) -> bool:
    """Whether an object says that a condition is true."""
    conditions = at(item, "status").get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)
