"""Argo CD through its custom resources: no argocd-server, no token of its own, only Kubernetes objects.

The adapter works over any pair of cluster handles: a live API server, or the sandbox, which runs this very code.
What it relies on was recorded from Argo CD 3.0.11; the traps it avoids are named where they are avoided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Self

from gitops_nb.argo import IDENTIFIER, USERNAME, operation_state
from gitops_nb.argo.kinds import may_run
from gitops_nb.errors import ConflictError, UnavailableError, UsageError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import Clock, ClusterReader, ClusterWriter, Snapshot

API_VERSION = "argoproj.io/v1alpha1"
REFRESH = "argocd.argoproj.io/refresh"
APPS = "apps/v1"
API_VERSIONS = {
    "Deployment": APPS,
    "StatefulSet": APPS,
    "DaemonSet": APPS,
    "ReplicaSet": APPS,
    "Job": "batch/v1",
    "Pod": "v1",
}
CHILDREN = {"Deployment": ("ReplicaSet", "Pod")}
OWNED = ("Deployment", "StatefulSet", "ReplicaSet", "Pod")
"""What operators make for objects of their own kinds; those are known by name only, for nobody may have to read them."""
INTERVAL_S = 5.0
PAUSE_S = 2.0
OUTAGE_S = 90.0
ATTEMPTS = 5


class ArgoCD:
    """One Argo CD installation. Implements ``ArgoReader`` and ``ArgoWriter``."""

    def __init__(
        self,
        control: ClusterReader,
        workloads: ClusterReader,
        *,
        clock: Clock,
        writer: ClusterWriter | None = None,
        namespace: str = "argocd",
    ) -> None:
        """Wraps cluster handles.

        Args:
            control: The cluster that Argo CD and its Applications live in.
            workloads: The cluster that it deploys to, often the same.
            clock: Time of the control cluster.
            writer: Writes to the control cluster; without it, ``refresh`` and ``sync`` refuse.
            namespace: Where the Applications are.
        """
        self._control = control
        self._workloads = workloads
        self._writer = writer
        self._clock = clock
        self._namespace = namespace

    def writing_with(self, writer: ClusterWriter) -> Self:
        """The same installation, written with this handle."""
        return type(self)(
            self._control,
            self._workloads,
            clock=self._clock,
            writer=writer,
            namespace=self._namespace,
        )

    def names(self) -> tuple[str, ...]:
        """All Applications in the namespace, sorted; empty while the kind is not served."""
        found = self._control.list(API_VERSION, "Application", namespace=self._namespace)
        return tuple(sorted(item["metadata"]["name"] for item in found))

    def snapshot(self, name: str) -> Snapshot:
        """The Application, and then its workloads: never older than what the Application says of them."""
        return self._complete(name, self._control.get(self._ref(name)))

    def watch(self, name: str, *, timeout_s: float) -> Iterator[Snapshot]:
        """A snapshot now, one for each later change of the Application, and one at least every 5 s.

        Outlives an API server that is away for a minute; one that stays away is an UnavailableError.
        """
        until = self._clock.now() + timedelta(seconds=timeout_s)
        away_since: datetime | None = None
        while (remaining := (until - self._clock.now()).total_seconds()) > 0:
            is_there = False
            try:
                for application in self._control.watch(
                    self._ref(name), timeout_s=min(INTERVAL_S, remaining)
                ):
                    is_there = True
                    snapshot = self._complete(name, application)
                    away_since = None
                    yield snapshot
            except UnavailableError:
                now = self._clock.now()
                away_since = away_since or now
                is_late = now + timedelta(seconds=PAUSE_S) >= until
                if is_late or (now - away_since).total_seconds() > OUTAGE_S:
                    raise
                self._clock.sleep(PAUSE_S)
                continue
            if not is_there:
                yield Snapshot(name, None)
                self._clock.sleep(min(INTERVAL_S, remaining))

    def may_act(self, name: str) -> bool:
        """See ``ports.ArgoWriter.may_act``: both are patches of the Application."""
        return self._writing().allows("patch", self._ref(name))

    def refresh(self, name: str, *, timeout_s: float = 120) -> None:
        """Asks for a comparison with Git, and waits until the controller has taken the request away.

        A normal refresh resolves the branch again; a hard one would also drop the manifest cache of
        everybody else. On an automated Application an operation may have begun before this returns.

        Raises:
            ConflictError: The Application does not exist.
            UnavailableError: The controller did not react in time.
        """
        ref = self._ref(name)
        self._writing().merge_patch(ref, {"metadata": {"annotations": {REFRESH: "normal"}}})
        for application in self._control.watch(ref, timeout_s=timeout_s):
            if REFRESH not in (application["metadata"].get("annotations") or {}):
                return
        raise UnavailableError(
            f"Argo CD did not take up the refresh of {name} within {timeout_s:g} s",
            hint=f"Check the argocd-application-controller in namespace {self._namespace}.",
        )

    def sync(
        self,
        name: str,
        *,
        revision: str,
        identifier: str,
        prune: bool = False,
        holds: Callable[[Json], None] | None = None,
    ) -> None:
        """Starts one sync; returns when it is asked for, not when it is done.

        ``status.operationState`` is nulled in the same patch: the controller merges, and would otherwise obey
        what the operation before left there (its parts, its dry run, its being automated).

        Raises:
            ConflictError: An operation is asked for or runs, or others keep changing the Application.
            UnavailableError: The API server does not answer, and the request is not there either.
            UsageError: The revision does not fit the Application's sources.
        """
        ref = self._ref(name)
        for _ in range(ATTEMPTS):
            application = self._control.get(ref)
            if application is None:
                raise ConflictError(
                    f"Application {name} does not exist", hint="Run the bootstrap runbook first."
                )
            _refuse_if_busy(application)
            if holds is not None:
                holds(application)
            patch = {
                "metadata": {"resourceVersion": application["metadata"]["resourceVersion"]},
                "operation": _operation(application, revision, identifier=identifier, prune=prune),
                "status": {"operationState": None},
            }
            try:
                self._writing().merge_patch(ref, patch)
            except (ConflictError, UnavailableError) as error:
                # A reply can be lost after the write: what the object says now is the answer.
                if self._has_taken(ref, identifier):
                    return
                if isinstance(error, UnavailableError):
                    raise
            else:
                return
        raise ConflictError(
            f"Application {name} changed {ATTEMPTS} times while a sync was being asked for",
            hint="Resume the run when the Application is quiet.",
        )

    def _has_taken(self, ref: ObjectRef, identifier: str) -> bool:
        application = self._control.get(ref) or {}
        operations = (
            application.get("operation") or {},
            operation_state(application).get("operation") or {},
        )
        return any(
            item == {"name": IDENTIFIER, "value": identifier}
            for operation in operations
            for item in operation.get("info") or ()
        )

    def _complete(self, name: str, application: Json | None) -> Snapshot:
        """Adds the workloads that the Application lists, and what they own."""
        if application is None:
            return Snapshot(name, None)
        status = application.get("status") or {}
        result = operation_state(application).get("syncResult") or {}
        listed = {
            (item["kind"], item.get("namespace") or "", item.get("name") or "")
            for item in [*(status.get("resources") or ()), *(result.get("resources") or ())]
            if (item.get("kind") in API_VERSIONS and _is_built_in(item)) or may_run(item)
        }
        found: list[Json] = []
        for namespace in sorted({where for _, where, _ in listed}):
            named = {kind for kind, where, _ in listed if where == namespace}
            kinds = {kind for kind in named if kind in API_VERSIONS}
            kinds |= {"Pod"}.union(*(CHILDREN.get(kind, ()) for kind in kinds))
            kinds |= set(OWNED) if named - set(API_VERSIONS) else set()
            items = [
                {"apiVersion": version, "kind": kind, **item}
                for kind, version in API_VERSIONS.items()
                if kind in kinds
                for item in self._workloads.list(version, kind, namespace=namespace)
            ]
            found += _belonging(
                items, {(kind, item) for kind, where, item in listed if where == namespace}
            )
        return Snapshot(name, application, tuple(found))

    def _writing(self) -> ClusterWriter:
        if self._writer is None:
            raise UsageError(
                "this handle only reads Argo CD", hint="Ask for a writer where a change is applied."
            )
        return self._writer

    def _ref(self, name: str) -> ObjectRef:
        return ObjectRef(API_VERSION, "Application", name, self._namespace)


def _belonging(items: list[Json], listed: set[tuple[str, str]]) -> list[Json]:
    """The listed objects and all that they own; owners stand before what they own in ``items``."""
    uids: set[str] = set()
    kept = []
    for item in items:
        metadata = item["metadata"]
        references = metadata.get("ownerReferences") or ()
        owners = {owner.get("uid") for owner in references}
        # What an operator made for an object of its own kind names that by kind and name.
        named = {(owner.get("kind"), owner.get("name")) for owner in references}
        custom = {name for name in named & listed if name[0] not in API_VERSIONS}
        if (item["kind"], metadata["name"]) in listed or owners & uids or custom:
            uids.add(metadata.get("uid", ""))
            kept.append(item)
    return kept


def _is_built_in(resource: Json) -> bool:
    """Whether an entry of ``status.resources`` is of Kubernetes itself; custom groups have kinds of the same names."""
    return (resource.get("group") or "") in ("", "apps", "batch")


def _refuse_if_busy(application: Json) -> None:
    name = application["metadata"]["name"]
    state = operation_state(application)
    if application.get("operation"):
        who = (application["operation"].get("initiatedBy") or {}).get(
            "username"
        ) or "Argo CD itself"
        raise ConflictError(
            f"an operation of {who} runs on Application {name}",
            hint="Wait until it has ended, then resume.",
        )
    if state.get("phase") in ("Running", "Terminating"):
        # Without .operation the controller never ends it, and would resume it in place of ours.
        raise ConflictError(
            f"an operation on Application {name} was removed while it ran",
            hint=f"Set status.operationState of Application {name} to null, then resume.",
        )


def _operation(application: Json, revision: str, *, identifier: str, prune: bool) -> Json:
    """The operation as argocd-server would write it; the controller does not merge the sync policy in."""
    spec = application["spec"]
    policy = spec.get("syncPolicy") or {}
    sync: dict[str, Json] = {"syncStrategy": {"hook": {}}}
    revisions = revision.split(",")
    sources = spec.get("sources") or ()
    if sources:
        if len(revisions) == 1 and len({source.get("repoURL") for source in sources}) == 1:
            revisions *= len(sources)
        if len(revisions) != len(sources):
            raise UsageError(
                f"{application['metadata']['name']} has {len(sources)} sources, and {len(revisions)} revisions are given",
                hint="Give one revision per source, separated by commas.",
            )
        sync["revisions"] = revisions
    else:
        sync["revision"] = revision
    if prune:
        sync["prune"] = True
    if policy.get("syncOptions"):
        sync["syncOptions"] = list(policy["syncOptions"])
    operation: dict[str, Json] = {
        "info": [{"name": IDENTIFIER, "value": identifier}],
        "initiatedBy": {"username": USERNAME},
        "sync": sync,
    }
    if policy.get("retry"):
        operation["retry"] = policy["retry"]
    return operation
