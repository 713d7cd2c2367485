"""Whether Kubernetes workloads are rolled out, and which of their pods cannot run.

Argo CD's Application says neither: ``resources[]`` carries no health and ``health`` no message. The path to the
pod is Deployment, ReplicaSet with the newest revision, Pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gitops_nb.argo.kinds import HOOK, is_workload, label
from gitops_nb.model import Json

STARTING = ("ContainerCreating", "PodInitializing")
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class FailingPod:
    """One container that cannot run, and why, in the kubelet's words. ``hook`` names the hook that it is of, "" for none."""

    pod: str
    container: str
    reason: str
    message: str
    restarts: int
    image: str
    hook: str = ""

    def __str__(self) -> str:
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        message = f": {self.message}" if self.message else ""
        hook = f"hook {self.hook}: " if self.hook else ""
        return f"{hook}pod {self.pod} ({self.image}) {self.reason}{restarts}{message}"


def images_of(workload: Json) -> tuple[str, ...]:
    """Images in a workload's pod template; empty for ReplicaSets and Pods, which may be on their way out."""
    return _template_images(workload) if is_workload(workload) else ()


def unfinished(workload: Json) -> str:
    """What a rollout waits for, as ``kubectl rollout status`` says it; "" when it is complete.

    A StatefulSet's partition holds pods back on purpose: the rollout is complete without them. With the strategy OnDelete
    pods are replaced only when somebody deletes them, so it is complete when somebody has.

    Source: kubectl, polymorphichelpers/rollout_status.go; a Job counts as complete when it succeeded.
    """
    kind, name = workload["kind"], label(workload)
    spec = workload.get("spec") or {}
    status = workload.get("status") or {}
    if kind == "Job":
        is_done = _count(status, "succeeded") >= (spec.get("completions") or 1)
        return "" if is_done else f"{name} has not completed"
    if kind == "Pod":
        return "" if _is_ready(status) else f"{name} is not ready"
    if _count(status, "observedGeneration") < _count(workload["metadata"], "generation"):
        return f"{name} waits for its new specification to be observed"
    if kind == "DaemonSet":
        total = wanted = _count(status, "desiredNumberScheduled")
        updated = _count(status, "updatedNumberScheduled")
        available = _count(status, "numberAvailable")
    else:
        total = wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
        updated = _count(status, "updatedReplicas")
        available = _count(status, "availableReplicas")
    if kind == "ReplicaSet":
        updated = _count(status, "replicas")
    if wanted == 0:
        return f"{name} is scaled to 0, so that nothing shows whether it runs"
    held = partition(workload)
    if held >= wanted:
        return f"{name} updates no pod: its partition {held} holds back all {wanted}"
    if updated < wanted - held:
        return f"{name} has {updated} of {wanted - held} replicas updated{_why_not(spec)}"
    if kind == "Deployment" and _count(status, "replicas") > updated:
        return f"{name} has {_count(status, 'replicas') - updated} old replicas left"
    if held and available < total:
        return f"{name} has {available} of {total} replicas available"
    if not held and available < max(total, updated):
        return f"{name} has {available} of {updated} updated replicas available"
    return ""


def is_at_rest(workload: Json) -> bool:
    """Whether a workload is meant to have no pod at all, as standby and autoscaling to zero leave it."""
    return workload.get("kind") != "DaemonSet" and (workload.get("spec") or {}).get("replicas") == 0


def rolled_out_at(workload: Json) -> str:
    """When a Deployment's newest rollout was complete (RFC 3339), "" where nothing says so.

    Scaling does not move it. Source: kubernetes, pkg/controller/deployment/progress.go, syncRolloutStatus.
    """
    if workload.get("kind") != "Deployment":
        return ""
    conditions = (workload.get("status") or {}).get("conditions") or ()
    moments = (
        str(one.get("lastUpdateTime") or "")
        for one in conditions
        if one.get("type") == "Progressing" and one.get("reason") == "NewReplicaSetAvailable"
    )
    return max(moments, default="")


def partition(workload: Json) -> int:
    """How many pods of a StatefulSet its update strategy leaves as they are; 0 for everything else."""
    strategy = (workload.get("spec") or {}).get("updateStrategy") or {}
    if workload.get("kind") != "StatefulSet" or strategy.get("type") == "OnDelete":
        return 0
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def strategy_note(workload: Json) -> str:
    """What a complete rollout left out on purpose, or ""."""
    held = partition(workload)
    if not held:
        return ""
    spec = workload.get("spec") or {}
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    return f"{label(workload)}: {wanted - held} of {wanted} pods by partition {held}"


def _why_not(spec: Json) -> str:
    """Why a rollout that is behind does not go on by itself, or ""."""
    if spec.get("paused"):
        return "; it is paused"
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return "; with the strategy OnDelete the others wait until somebody deletes them"
    return ""


def _count(values: Json, name: str) -> int:
    return int(values.get(name) or 0)


def _is_ready(status: Json) -> bool:
    conditions = status.get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def failing_pods(workloads: Sequence[Json], *, created_since: str = "") -> tuple[FailingPod, ...]:
    """Containers that cannot run in the pods of the newest revision of each workload.

    Args:
        workloads: The objects of one Application.
        created_since: Leaves out pods that were created before this moment (RFC 3339 in UTC).
    """
    return tuple(
        replace(failure, hook=_hook_of(workloads, pod))
        for pod in _current_pods(workloads)
        if (pod["metadata"].get("creationTimestamp") or "") >= created_since
        for failure in _failures(pod)
    )


def _hook_of(workloads: Sequence[Json], pod: Json) -> str:
    """The hook of a sync that a pod is, or is of; "" for none: its image may have nothing to do with what is brought."""
    owners = [pod, *(one for one in workloads if is_owned(pod, one))]
    return next(
        (label(one) for one in owners if HOOK in (one["metadata"].get("annotations") or {})), ""
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
        name = label(workload)
        newest = newest_replica_set(workloads, workload)
        for condition in (workload.get("status") or {}).get("conditions") or ():
            message = condition.get("message") or ""
            is_late = condition.get("reason") == "ProgressDeadlineExceeded"
            if is_late and newest is not None and f'"{newest["metadata"]["name"]}"' in message:
                found.append(f"{name}: {message}")
            if workload["kind"] == "Job" and condition.get("type") == "Failed":
                found.append(f"{name}: {message}")
    return found


def newest_replica_set(workloads: Sequence[Json], deployment: Json) -> Json | None:
    """The ReplicaSet of a Deployment's present template, or None while it does not exist.

    The newest ReplicaSet is still the one before while the controller has not seen a new template.
    """
    owned = [w for w in workloads if w["kind"] == "ReplicaSet" and is_owned(w, deployment)]
    newest = max(owned, key=_revision_number, default=None)
    return newest if newest is not None and _template(newest) == _template(deployment) else None


def _current_pods(workloads: Sequence[Json]) -> Iterable[Json]:
    replica_sets = [w for w in workloads if w["kind"] == "ReplicaSet"]
    stale: set[str] = set()
    for deployment in (w for w in workloads if w["kind"] == "Deployment"):
        newest = newest_replica_set(workloads, deployment)
        owned = [r for r in replica_sets if is_owned(r, deployment)]
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
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in STARTING:
            reason = ""
        elif ended.get("exitCode"):
            reason = ended.get("reason") or "Error"
            message = ended.get("message") or f"exit code {ended['exitCode']}"
        elif reason and last.get("exitCode"):
            message = f"{message} (last exit code {last['exitCode']})".strip()
        if reason:
            yield FailingPod(
                pod["metadata"]["name"],
                container.get("name") or "",
                reason,
                message,
                container.get("restartCount") or 0,
                container.get("image") or "",
            )


def is_owned(item: Json, owner: Json) -> bool:
    """Whether an object belongs directly to another one of its namespace."""
    references = item["metadata"].get("ownerReferences") or ()
    if item["metadata"].get("namespace") != owner["metadata"].get("namespace"):
        return False
    return any(
        r.get("kind") == owner["kind"] and r.get("name") == owner["metadata"]["name"]
        for r in references
    )


def _revision_number(replica_set: Json) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION) or 0)


def _template(workload: Json) -> tuple[Json, Json]:
    """What makes one ReplicaSet differ from the next; labels are left out, for they hold its hash."""
    template = (workload.get("spec") or {}).get("template") or {}
    return template.get("spec"), (template.get("metadata") or {}).get("annotations")


def _template_images(workload: Json) -> tuple[str, ...]:
    template = (workload.get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    return tuple(c.get("image") or "" for c in containers)
