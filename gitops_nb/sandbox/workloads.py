"""Deployments, StatefulSets and pods over simulated time.

Pods behave as in the lab the recordings were made in: ready at once, or by the end of their image tag: ``-slow`` after
20 s, ``-crash`` in CrashLoopBackOff, ``-notfound`` in ImagePullBackOff. Not emulated: nodes, probes, quotas, Jobs.
"""

from __future__ import annotations

import copy
import math

from gitops_nb.errors import ConflictError
from gitops_nb.model import Json, digest
from gitops_nb.sandbox.world import Controller, World, key_for

SOON_S = 0.03
READY_S = 0.05
SLOW_S = 20.0
CRASH_S = 0.5
TERMINATION_S = 0.1
DEADLINE_S = 600
SURGE = 0.25
REVISION = "deployment.kubernetes.io/revision"
WAITING = {
    "-crash": ("CrashLoopBackOff", "back-off 5m0s restarting failed container", 5),
    "-notfound": ("ImagePullBackOff", "Back-off pulling image", 0),
}


def notice(world: World, cluster: str, item: Json, before: Json | None) -> None:
    """Schedules the controllers that follow a write."""
    match item["kind"]:
        case "Deployment" | "StatefulSet" if item is not before:
            if before is None or before["metadata"]["generation"] != item["metadata"]["generation"]:
                world.schedule("rollout", cluster, key_for(item), SOON_S)
        case "Pod":
            if before is None:
                world.schedule("pod", cluster, key_for(item), _delay(item))
            owner = item["metadata"]["annotations"]["sandbox/workload"]
            world.schedule("rollout", cluster, owner, SOON_S)
        case "CustomResourceDefinition" if not item.get("status"):
            world.schedule("establish", cluster, key_for(item), READY_S)
        case "Namespace" if not item.get("status"):
            world.schedule("establish", cluster, key_for(item), READY_S)


def establish(world: World, cluster: str, key: str) -> None:
    """Makes a definition served, and a namespace active."""
    item = world.objects(cluster).get(key)
    if item is None:
        return
    established = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
    is_namespace = item["kind"] == "Namespace"
    status = {"phase": "Active"} if is_namespace else {"conditions": [established]}
    world.put(cluster, {**item, "status": status})


def pod(world: World, cluster: str, key: str) -> None:
    """Moves a pod to where its image tag leads, or away when it is terminating."""
    item = copy.deepcopy(world.objects(cluster).get(key))
    if item is None:
        return
    if item["metadata"].get("deletionTimestamp"):
        world.delete(cluster, key)
        return
    statuses = []
    for container in item["spec"]["containers"]:
        waiting = next((w for end, w in WAITING.items() if container["image"].endswith(end)), None)
        state: Json = {"running": {"startedAt": world.stamp()}}
        if waiting:
            message = f'{waiting[1]} "{container["image"]}"' if waiting[2] == 0 else waiting[1]
            state = {"waiting": {"reason": waiting[0], "message": message}}
        statuses.append(
            {
                "name": container["name"],
                "image": container["image"],
                "ready": waiting is None,
                "restartCount": waiting[2] if waiting else 0,
                "state": state,
            }
        )
    is_ready = all(status["ready"] for status in statuses)
    ready = {"type": "Ready", "status": str(is_ready)}
    phase = (
        "Pending"
        if any(c["image"].endswith("-notfound") for c in item["spec"]["containers"])
        else "Running"
    )
    item["status"] = {"phase": phase, "conditions": [ready], "containerStatuses": statuses}
    world.put(cluster, item)


_COUNTS = ("replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


def refuse_untyped(item: Json) -> None:
    """Refuses a workload as the API server does whose counts are no whole numbers.

    Raises:
        ConflictError: One is none; the message is the API server's.
    """
    kind, spec = item.get("kind"), item.get("spec")
    if kind not in _WORKLOADS or not isinstance(spec, dict):
        return
    for name in _COUNTS:
        value = spec.get(name)
        if value is not None and type(value) is not int:
            found = "string" if isinstance(value, str) else type(value).__name__
            raise ConflictError(
                f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go '
                f"struct field {kind}Spec.spec.{name} of type int32"
            )


def rollout(world: World, cluster: str, key: str) -> None:
    """Brings a workload's pods towards its template, and writes its status."""
    workload = world.objects(cluster).get(key)
    if workload is None:
        return
    owner = _replica_set(world, cluster, workload) if workload["kind"] == "Deployment" else workload
    _scale(world, cluster, workload, owner)
    current, old = _pods(world, cluster, workload)
    wanted = workload["spec"].get("replicas", 1)
    ready = [pod for pod in [*current, *old] if _is_ready(pod)]
    updated_ready = sum(_is_ready(pod) for pod in current)
    is_done = len(current) == wanted == updated_ready and not old
    status: dict[str, Json] = {
        "observedGeneration": workload["metadata"]["generation"],
        "replicas": len(current) + len(old),
        "updatedReplicas": len(current),
        "readyReplicas": len(ready),
        "availableReplicas": len(ready),
    }
    if workload["kind"] == "StatefulSet":
        status |= {"currentRevision": _hash(workload), "updateRevision": _hash(workload)}
    else:
        if wanted > len(ready):
            status["unavailableReplicas"] = wanted - len(ready)
        status["conditions"] = _conditions(
            world, cluster, key, owner, is_done=is_done, counts=status
        )
    status = {name: value for name, value in status.items() if value not in (0, "")}
    world.put(cluster, {**workload, "status": status})


def _conditions(
    world: World, cluster: str, key: str, owner: Json, *, is_done: bool, counts: dict[str, Json]
) -> list[Json]:
    """Available and Progressing, which the deadline turns to False."""
    memory = world.memory(cluster, key)
    name = owner["metadata"]["name"]
    progress = [counts["observedGeneration"], counts["updatedReplicas"], counts["readyReplicas"]]
    if memory.get("progress") != progress:
        memory |= {"progress": progress, "moved": world.time}
    deadline = world.objects(cluster)[key]["spec"].get("progressDeadlineSeconds", DEADLINE_S)
    if is_done:
        reason, message = (
            "NewReplicaSetAvailable",
            f'ReplicaSet "{name}" has successfully progressed.',
        )
    elif world.time - memory["moved"] >= deadline:
        reason, message = (
            "ProgressDeadlineExceeded",
            f'ReplicaSet "{name}" has timed out progressing.',
        )
    else:
        reason, message = "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'
        world.schedule("rollout", cluster, key, memory["moved"] + deadline - world.time)
    is_available = "unavailableReplicas" not in counts
    return [
        {
            "type": "Available",
            "status": str(is_available),
            "reason": f"MinimumReplicas{'A' if is_available else 'Una'}vailable",
        },
        {
            "type": "Progressing",
            "status": str(reason != "ProgressDeadlineExceeded"),
            "reason": reason,
            "message": message,
        },
    ]


def _replica_set(world: World, cluster: str, deployment: Json) -> Json:
    """The ReplicaSet of the present template, made or given the newest revision when needed."""
    metadata = deployment["metadata"]
    name = f"{metadata['name']}-{_hash(deployment)}"
    owned = _owned(world, cluster, "ReplicaSet.apps", deployment)
    numbers = {o["metadata"]["name"]: int(o["metadata"]["annotations"][REVISION]) for o in owned}
    newest = max(numbers.values(), default=0)
    if numbers.get(name) == newest > 0:
        return next(o for o in owned if o["metadata"]["name"] == name)
    return world.put(
        cluster,
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                **next((o["metadata"] for o in owned if o["metadata"]["name"] == name), {}),
                "name": name,
                "namespace": metadata["namespace"],
                "annotations": {REVISION: str(newest + 1)},
                "ownerReferences": [_reference(deployment)],
            },
            "spec": {"template": deployment["spec"]["template"]},
        },
    )


def _scale(world: World, cluster: str, workload: Json, owner: Json) -> None:
    """One step of a rolling update: up to a quarter more pods, none fewer available than wanted."""
    wanted = workload["spec"].get("replicas", 1)
    current, old = _pods(world, cluster, workload)
    allowed = wanted + (math.ceil(wanted * SURGE) if workload["kind"] == "Deployment" else 0)
    for number in range(len(current), min(wanted, allowed - len(old))):
        world.put(cluster, _new_pod(world, workload, owner, number))
    for extra in current[wanted:]:
        _terminate(world, cluster, extra)
    current, old = _pods(world, cluster, workload)
    spare = sum(_is_ready(pod) for pod in [*current, *old]) - wanted
    unready = [pod for pod in old if not _is_ready(pod)]
    for leaving in [*unready, *[pod for pod in old if _is_ready(pod)][: max(0, spare)]]:
        _terminate(world, cluster, leaving)
        world.schedule("rollout", cluster, key_for(workload), SOON_S)


def _new_pod(world: World, workload: Json, owner: Json, number: int) -> Json:
    name = workload["metadata"]["name"]
    serial = world.memory("", "pods").get("count", 0) + 1
    world.memory("", "pods")["count"] = serial
    suffix = digest(f"{owner['metadata']['name']} {serial}")[-5:]
    template = workload["spec"]["template"]
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-{number}"
            if workload["kind"] == "StatefulSet"
            else f"{owner['metadata']['name']}-{suffix}",
            "namespace": workload["metadata"]["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                "pod-template-hash": _hash(workload),
            },
            "annotations": {
                **(metadata.get("annotations") or {}),
                "sandbox/workload": key_for(workload),
            },
            "ownerReferences": [_reference(owner)],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    }


def _terminate(world: World, cluster: str, item: Json) -> None:
    item = copy.deepcopy(item)
    item["metadata"]["deletionTimestamp"] = world.stamp()
    world.put(cluster, item)
    world.schedule("pod", cluster, key_for(item), TERMINATION_S)


def _pods(world: World, cluster: str, workload: Json) -> tuple[list[Json], list[Json]]:
    """Pods of the present template and of older ones, without those that terminate."""
    current: list[Json] = []
    old: list[Json] = []
    for item in world.find(cluster, "Pod.", workload["metadata"]["namespace"]):
        if item["metadata"]["annotations"]["sandbox/workload"] != key_for(workload):
            continue
        if not item["metadata"].get("deletionTimestamp"):
            is_current = item["metadata"]["labels"]["pod-template-hash"] == _hash(workload)
            (current if is_current else old).append(item)
    return current, old


def _owned(world: World, cluster: str, kind: str, owner: Json) -> list[Json]:
    return [
        item
        for item in world.find(cluster, kind, owner["metadata"]["namespace"])
        if any(o["uid"] == owner["metadata"]["uid"] for o in item["metadata"]["ownerReferences"])
    ]


def _reference(owner: Json) -> Json:
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


def _is_ready(item: Json) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _hash(workload: Json) -> str:
    return digest(workload["spec"]["template"])[7:17]


def _delay(item: Json) -> float:
    images = [container["image"] for container in item["spec"]["containers"]]
    if any(image.endswith(("-crash", "-notfound")) for image in images):
        return CRASH_S
    return SLOW_S if any(image.endswith("-slow") for image in images) else READY_S


def health(item: Json) -> tuple[str, str]:
    """A workload's health and message as Argo CD assesses it.

    Source: argo-cd 3.0, gitops-engine/pkg/health.
    """
    status = item.get("status") or {}
    if item["kind"] == "Application":
        return (status.get("health") or {}).get("status", "Progressing"), ""
    if item["kind"] not in ("Deployment", "StatefulSet"):
        return "Healthy", ""
    wanted = item["spec"].get("replicas", 1)
    counts = [status.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas")]
    name = item["metadata"]["name"]
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "ProgressDeadlineExceeded":
            return "Degraded", f'Deployment "{name}" exceeded its progress deadline'
    if status.get("observedGeneration") == item["metadata"]["generation"] and set(counts) == {
        wanted
    }:
        return "Healthy", ""
    return "Progressing", "Waiting for rollout to finish"


CONTROLLERS: dict[str, Controller] = {"establish": establish, "pod": pod, "rollout": rollout}
__all__ = ["CONTROLLERS", "health", "notice"]
