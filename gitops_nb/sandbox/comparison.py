"""How Argo CD compares objects with Git, and what it writes about each: sync status, health, results."""

from __future__ import annotations

import copy

from gitops_nb.model import Json
from gitops_nb.sandbox.workloads import health
from gitops_nb.sandbox.world import World, key_for

TRACKING = "argocd.argoproj.io/tracking-id"
WAVE = "argocd.argoproj.io/sync-wave"
WORST_FIRST = ("Unknown", "Degraded", "Missing", "Progressing", "Suspended", "Healthy")
_APPLIED = "applied"
"""Under which name the controller remembers what it applied last."""
CHECKED = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod", "Service", "Ingress")


def resource_of(world: World, cluster: str, item: Json) -> Json:
    """An entry of ``status.resources`` for an object that Git names."""
    key = key_for(item)
    live = world.objects(cluster).get(key)
    is_as_asked = (
        live is not None
        and _contains(live, item)
        and not _has_left_over(live, world.recall(cluster, key).get(_APPLIED), item)
    )
    group, _, version = item["apiVersion"].rpartition("/")
    entry = {
        **_identity(item),
        "group": group,
        "namespace": item["metadata"].get("namespace", ""),
        "version": version,
        "status": "Synced" if is_as_asked else "OutOfSync",
    }
    return entry | ({"syncWave": wave_of(item)} if wave_of(item) else {})


def extra_of(item: Json) -> Json:
    """An entry for an object that Git no longer names."""
    group, _, version = item["apiVersion"].rpartition("/")
    namespace = item["metadata"].get("namespace", "")
    place = {"group": group, "namespace": namespace, "version": version}
    return {**_identity(item), **place, "status": "OutOfSync", "requiresPruning": True}


def find_extras(world: World, cluster: str, application: Json, wanted: list[Json]) -> list[Json]:
    """Objects that the Application tracks and Git no longer names."""
    keys = {key_for(item) for item in wanted}
    prefix = f"{application['metadata']['name']}:"
    return [
        item
        for key, item in world.objects(cluster).items()
        if (item["metadata"].get("annotations") or {}).get(TRACKING, "").startswith(prefix)
        and key not in keys
    ]


def apply(world: World, cluster: str, item: Json) -> Json:
    """Applies one object, and gives its entry of ``syncResult.resources``.

    As by ``kubectl apply``: what it had by the last time and Git no longer names goes, what others added stays.
    """
    key = key_for(item)
    live = world.objects(cluster).get(key)
    applied = world.recall(cluster, key).get(_APPLIED)
    after = world.put(cluster, item if live is None else _patched(live, applied, item))
    world.memory(cluster, key)[_APPLIED] = copy.deepcopy(item)
    verb = "created" if live is None else "unchanged" if after is live else "configured"
    return _result(item, "Synced", f"{verb}")


def prune(world: World, cluster: str, item: Json, *, is_on: bool) -> Json:
    """Removes an object that Git no longer names, if the operation may."""
    if is_on:
        world.delete(cluster, key_for(item))
    return _result(item, "Pruned" if is_on else "PruneSkipped", "pruned" if is_on else "ignored")


def _result(item: Json, status: str, verb: str) -> Json:
    group, _, version = item["apiVersion"].rpartition("/")
    return {
        **_identity(item),
        "namespace": item["metadata"].get("namespace", ""),
        "version": version,
        "status": status,
        "hookPhase": "Running",
        "syncPhase": "Sync",
        "message": f"{item['kind'].lower()}{group and '.'}{group}/{item['metadata']['name']} {verb}",
    }


def _identity(item: Json) -> Json:
    group = item["apiVersion"].rpartition("/")[0]
    return {"group": group, "kind": item["kind"], "name": item["metadata"]["name"]}


def part_of(item: Json) -> Json:
    """How a partial operation names an object; the core group is left out."""
    return {name: value for name, value in _identity(item).items() if value}


def health_of(world: World, cluster: str, wanted: list[Json]) -> str:
    """The worst of all; what is missing counts only for kinds with a health check, and never for Applications."""
    found = set()
    for item in wanted:
        state = live_health(world, cluster, item)
        if item["kind"] in CHECKED or state not in ("Missing", "Unknown"):
            found.add(state)
    return next((state for state in WORST_FIRST if state in found), "Healthy")


def live_health(world: World, cluster: str, item: Json) -> str:
    """An object's health, Missing when it does not exist."""
    live = world.objects(cluster).get(key_for(item))
    return "Missing" if live is None else health(live)[0]


def images_of(world: World, cluster: str, wanted: list[Json]) -> list[str]:
    """Images of the pods, those on their way out included."""
    keys = {key_for(item) for item in wanted}
    pods = world.find(cluster, "Pod.")
    return sorted(
        {
            container["image"]
            for pod in pods
            if pod["metadata"]["annotations"]["sandbox/workload"] in keys
            for container in pod["spec"]["containers"]
        }
    )


def wave_of(item: Json) -> int:
    """The object's sync wave."""
    return int((item["metadata"].get("annotations") or {}).get(WAVE, 0))


def waiting_for(item: Json) -> str:
    """What the operation says while it waits for a wave."""
    group = item["apiVersion"].rpartition("/")[0]
    return f"waiting for healthy state of {group}/{item['kind']}/{item['metadata']['name']}"


def _patched(live: Json, applied: Json | None, wanted: Json) -> Json:
    """An object after a sync, three ways. Where nobody remembers the last one, all but metadata and status is Git's."""
    if applied is None:
        applied = {
            name: value for name, value in live.items() if name not in ("metadata", "status")
        }
    return _merged(live, applied, wanted)


def _merged(live: Json, applied: Json, wanted: Json) -> Json:
    if not isinstance(live, dict) or not isinstance(wanted, dict):
        return wanted
    before = applied if isinstance(applied, dict) else {}
    kept = {name: value for name, value in live.items() if name in wanted or name not in before}
    return kept | {
        name: _merged(live.get(name), before.get(name), value) for name, value in wanted.items()
    }


def _has_left_over(live: Json, applied: Json, wanted: Json) -> bool:
    """Whether something is there that was applied before and that Git no longer names."""
    if not (isinstance(live, dict) and isinstance(applied, dict) and isinstance(wanted, dict)):
        return False
    return any(
        name in live and (name not in wanted or _has_left_over(live[name], value, wanted[name]))
        for name, value in applied.items()
    )


def _contains(live: Json, wanted: Json) -> bool:
    """Whether everything that Git asks for is there; more may be there."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_contains(live.get(k), v) for k, v in wanted.items())
    return bool(live == wanted)
