"""Whether Kubernetes workloads are rolled out, and which of their pods cannot run.

Argo CD's Application says neither: ``resources[]`` carries no health and ``health`` no message. The path to the
pod is Deployment, ReplicaSet with the newest revision, Pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitops_nb.model import Json

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
STARTING = ("ContainerCreating", "PodInitializing")
HOOK = "argocd.argoproj.io/hook"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class FailingPod:
    """One container that cannot run, and why, in the kubelet's words."""

    pod: str
    container: str
    reason: str
    message: str
    restarts: int
    image: str

    def __str__(self) -> str:
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        message = f": {self.message}" if self.message else ""
        return f"pod {self.pod} ({self.image}) {self.reason}{restarts}{message}"


def is_workload(item: Json) -> bool:
    """True for the kinds that a manifest names; ReplicaSets and Pods follow from them.

    A hook's Job is none: the operation waits for it, and it may stay behind for ever.
    """
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    return item.get("kind") in WORKLOADS and HOOK not in annotations and not item.get("hook")


def images_of(workload: Json) -> tuple[str, ...]:
    """Images in a workload's pod template; empty for ReplicaSets and Pods, which may be on their way out."""
    return _template_images(workload) if is_workload(workload) else ()


def unfinished(workload: Json) -> str:
    """What a rollout waits for, as ``kubectl rollout status`` says it; "" when it is complete.

    Source: kubectl, polymorphichelpers/rollout_status.go; a Job counts as complete when it succeeded.
    """
    spec = workload.get("spec") or {}
    status = workload.get("status") or {}
    name = f"{workload['kind']} {workload['metadata']['name']}"
    if workload["kind"] == "Job":
        return (
            ""
            if status.get("succeeded", 0) >= (spec.get("completions") or 1)
            else f"{name} has not completed"
        )
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return f"{name} waits for its new specification to be observed"
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated = status.get("updatedNumberScheduled", 0)
        total, available = wanted, status.get("numberAvailable", 0)
    else:
        wanted = 1 if spec.get("replicas") is None else spec["replicas"]
        updated = status.get("updatedReplicas", 0)
        total = status.get("replicas", 0) if workload["kind"] == "Deployment" else updated
        available = status.get("availableReplicas", 0)
    if wanted == 0:
        return f"{name} is scaled to 0, so that nothing shows whether it runs"
    if updated < wanted:
        return f"{name} has {updated} of {wanted} replicas updated"
    if total > updated:
        return f"{name} has {total - updated} old replicas left"
    if available < updated:
        return f"{name} has {available} of {updated} updated replicas available"
    return ""


def failing_pods(workloads: Sequence[Json], *, created_since: str = "") -> tuple[FailingPod, ...]:
    """Containers that cannot run in the pods of the newest revision of each workload.

    Args:
        workloads: The objects of one Application.
        created_since: Leaves out pods that were created before this moment (RFC 3339 in UTC).
    """
    return tuple(
        failure
        for pod in _current_pods(workloads)
        if pod["metadata"].get("creationTimestamp", "") >= created_since
        for failure in _failures(pod)
    )


def unschedulable(workloads: Sequence[Json]) -> list[str]:
    """A sentence for each current pod that no node takes; a node may still appear, so it has not failed."""
    return [
        f"pod {pod['metadata']['name']} is Unschedulable: {condition.get('message', '')}"
        for pod in _current_pods(workloads)
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable"
    ]


def failed_workloads(workloads: Sequence[Json]) -> list[str]:
    """A sentence for each workload that Kubernetes itself gave up on, at its present template.

    Right after a fix, a Deployment can show the deadline that the template before missed; then its message
    names the ReplicaSet before, and nothing has failed.
    """
    found = []
    for workload in filter(is_workload, workloads):
        name = f"{workload['kind']} {workload['metadata']['name']}"
        newest = _newest(workloads, workload)
        for condition in (workload.get("status") or {}).get("conditions") or ():
            message = condition.get("message", "")
            is_late = condition.get("reason") == "ProgressDeadlineExceeded"
            if is_late and newest is not None and f'"{newest["metadata"]["name"]}"' in message:
                found.append(f"{name}: {message}")
            if workload["kind"] == "Job" and condition.get("type") == "Failed":
                found.append(f"{name}: {message}")
    return found


def _newest(workloads: Sequence[Json], deployment: Json) -> Json | None:
    """The ReplicaSet of a Deployment's present template, or None while it does not exist.

    The newest ReplicaSet is still the one before while the controller has not seen a new template.
    """
    owned = [w for w in workloads if w["kind"] == "ReplicaSet" and _is_owned(w, deployment)]
    newest = max(owned, key=_revision_number, default=None)
    return newest if newest is not None and _template(newest) == _template(deployment) else None


def _current_pods(workloads: Sequence[Json]) -> Iterable[Json]:
    replica_sets = [w for w in workloads if w["kind"] == "ReplicaSet"]
    stale: set[str] = set()
    for deployment in (w for w in workloads if w["kind"] == "Deployment"):
        newest = _newest(workloads, deployment)
        owned = [r for r in replica_sets if _is_owned(r, deployment)]
        stale |= {r["metadata"]["name"] for r in owned if r is not newest}
    updates = {
        w["metadata"]["name"]: (w.get("status") or {}).get("updateRevision")
        for w in workloads
        if w["kind"] == "StatefulSet"
    }
    for pod in (w for w in workloads if w["kind"] == "Pod"):
        owners = {o.get("name") for o in pod["metadata"].get("ownerReferences") or ()}
        revision = (pod["metadata"].get("labels") or {}).get("controller-revision-hash")
        is_old = any(revision and updates.get(o) not in (None, revision) for o in owners)
        if not pod["metadata"].get("deletionTimestamp") and not owners & stale and not is_old:
            yield pod


def _failures(pod: Json) -> Iterable[FailingPod]:
    status = pod.get("status") or {}
    for container in [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or {}
        last = (container.get("lastState") or {}).get("terminated") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in STARTING:
            reason = ""
        elif ended.get("exitCode", 0):
            reason = ended.get("reason") or "Error"
            message = ended.get("message") or f"exit code {ended['exitCode']}"
        elif reason and last.get("exitCode"):
            message = f"{message} (last exit code {last['exitCode']})".strip()
        if reason:
            yield FailingPod(
                pod["metadata"]["name"],
                container.get("name", ""),
                reason,
                message,
                container.get("restartCount", 0),
                container.get("image", ""),
            )


def _is_owned(item: Json, owner: Json) -> bool:
    references = item["metadata"].get("ownerReferences") or ()
    return any(
        r.get("kind") == owner["kind"] and r.get("name") == owner["metadata"]["name"]
        for r in references
    )


def _revision_number(replica_set: Json) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def _template(workload: Json) -> tuple[Json, Json]:
    """What makes one ReplicaSet differ from the next; labels are left out, for they hold its hash."""
    template = (workload.get("spec") or {}).get("template") or {}
    return template.get("spec"), (template.get("metadata") or {}).get("annotations")


def _template_images(workload: Json) -> tuple[str, ...]:
    template = (workload.get("spec") or {}).get("template") or {}
    return tuple(c.get("image", "") for c in (template.get("spec") or {}).get("containers") or ())
