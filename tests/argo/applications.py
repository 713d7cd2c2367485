"""Applications and what runs for them, written out for one test at a time."""

from __future__ import annotations

from typing import Any

from gitops_nb.ports import Snapshot

REVISION = "a" * 40
OTHER = "b" * 40
REPOSITORY = "https://git.example/platform/config.git"
SOURCE = {"repoURL": REPOSITORY, "targetRevision": "main", "path": "apps/web"}
CHART = {"repoURL": "https://charts.example", "chart": "web", "targetRevision": "1.2.3"}


def pod(owner: dict[str, Any], number: int, *images: str, **status: Any) -> dict[str, Any]:
    """A running pod of an owner; the first image is of the container `main`."""
    names = ["main", *(f"side-{n}" for n in range(len(images)))]
    spec = [{"name": name, "image": image} for name, image in zip(names, images, strict=False)]
    states = [
        {"name": c["name"], "image": c["image"], "state": {"running": {}}, "ready": True}
        for c in spec
    ]
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{owner['metadata']['name']}-{number}",
            "ownerReferences": [{"kind": owner["kind"], "name": owner["metadata"]["name"]}],
        },
        "spec": {"containers": spec},
        "status": {"phase": "Running", "containerStatuses": states, **status},
    }


def workload(kind: str, name: str, *images: str, replicas: int = 1, **spec: Any) -> dict[str, Any]:
    """A workload whose rollout is complete."""
    containers = [
        {"name": "main" if n == 0 else f"side-{n - 1}", "image": image}
        for n, image in enumerate(images)
    ]
    counts = ("updatedReplicas", "replicas", "availableReplicas", "readyReplicas")
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "generation": 1},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}, **spec},
        "status": {"observedGeneration": 1, **dict.fromkeys(counts, replicas)},
    }


def deployed(kind: str, name: str, *images: str, replicas: int = 1) -> list[dict[str, Any]]:
    """A workload and its pods, which run what its template says; of a Deployment by way of a ReplicaSet."""
    own = workload(kind, name, *images, replicas=replicas)
    if kind != "Deployment":
        return [own, *(pod(own, n, *images) for n in range(replicas))]
    below = workload("ReplicaSet", f"{name}-1", *images, replicas=replicas)
    below["metadata"] |= {
        "annotations": {"deployment.kubernetes.io/revision": "1"},
        "ownerReferences": [{"kind": "Deployment", "name": name}],
    }
    return [own, below, *(pod(below, n, *images) for n in range(replicas))]


def resource(item: dict[str, Any]) -> dict[str, Any]:
    """The entry of ``status.resources`` for an object."""
    group = str(item.get("apiVersion", "v1")).rpartition("/")[0]
    return {"group": group, "kind": item["kind"], "name": item["metadata"]["name"], "version": "v1"}


def application(
    *resources: dict[str, Any], revisions: tuple[str, ...] = (REVISION,), **spec: Any
) -> Any:
    """An Application that is Synced and Healthy at its revisions."""
    body = spec or {"source": SOURCE}
    named = {name: body[name] for name in ("source", "sources") if name in body}
    at = {"revisions": list(revisions)} if "sources" in body else {"revision": revisions[0]}
    return {
        "metadata": {"name": "web"},
        "spec": body,
        "status": {
            "sync": {"status": "Synced", "comparedTo": named, **at},
            "health": {"status": "Healthy"},
            "resources": list(resources),
        },
    }


def snapshot(
    *workloads: dict[str, Any], extra: tuple[dict[str, Any], ...] = (), **spec: Any
) -> Snapshot:
    """An Application that manages what is not owned by something else, and ``extra`` resources."""
    managed = [resource(w) for w in workloads if "ownerReferences" not in w["metadata"]]
    return Snapshot("web", application(*managed, *extra, **spec), tuple(workloads))
