"""A sandbox cluster behind the cluster ports: server-side apply with owners, merge patch, watch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from gitops_nb.errors import ConflictError, UnavailableError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.sandbox.world import World, key_for, key_of

VERSION = "v1.32.2"
MANAGER = "gitops-nb"
NOT_OWNED = ("apiVersion", "kind", "status")
Path = tuple[str, ...]
Owner = tuple[str, str]
"""Field manager and operation: what we patched is not what we applied."""


class SandboxClock:
    """Time as the sandbox's clusters see it; sleeping moves it, and takes no time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        """The present of the clusters: the wall clock, plus all that was slept and waited."""
        with self._world.turn():
            return datetime.fromtimestamp(self._world.now(), UTC)

    def sleep(self, seconds: float) -> None:
        """Moves the clusters' time on."""
        with self._world.turn():
            self._world.advance(seconds)


class SandboxCluster:
    """One emulated cluster. Implements ``ClusterReader`` and ``ClusterWriter``.

    Server-side apply keeps owners per field; a list is one field. ``manager`` is who writes: tests play other
    actors with it.
    """

    def __init__(self, world: World, name: str, server: str, *, manager: str = MANAGER) -> None:
        self._world = world
        self._name = name
        self._server = server
        self._manager = manager

    @property
    def server(self) -> str:
        """URL of the API server, as the fleet names it."""
        return self._server

    def as_manager(self, manager: str) -> SandboxCluster:
        """The same cluster, written to by somebody else."""
        return SandboxCluster(self._world, self._name, self._server, manager=manager)

    def version(self) -> str:
        """The version that the recordings were made with."""
        return VERSION

    def get(self, ref: ObjectRef) -> Json | None:
        """One object, or None."""
        with self._world.turn():
            return copy.deepcopy(self._world.objects(self._name).get(_key(ref)))

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Json, ...]:
        """Objects of a kind, sorted by namespace and name."""
        wanted = (labels or {}).items()
        prefix = key_of(api_version, kind, "", "").partition("/")[0]
        with self._world.turn():
            found = self._world.find(self._name, prefix, namespace)
            found = [i for i in found if wanted <= (i["metadata"].get("labels") or {}).items()]
            return tuple(copy.deepcopy(sorted(found, key=key_for)))

    def watch(self, ref: ObjectRef, *, timeout_s: float) -> Iterator[Json]:
        """The object now and each later version; waiting moves the clusters' time."""
        with self._world.turn():
            limit = self._world.now() + timeout_s
        seen = ""
        goes_on = True
        while True:
            with self._world.turn():
                item = copy.deepcopy(self._world.objects(self._name).get(_key(ref)))
                is_new = item is not None and item["metadata"]["resourceVersion"] != seen
                if not is_new and item is not None and goes_on:
                    goes_on = self._world.step(limit)
                    continue
            if item is None or not is_new:
                return
            seen = item["metadata"]["resourceVersion"]
            yield item

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """True: the sandbox has one user, who may do everything."""
        return bool(verb and ref.kind)

    def fetch_metrics(self, source: str) -> str:
        """``argocd_app_info`` for each Application, while the controller and its metrics service are there."""
        namespace, _, rest = source.removeprefix("service://").partition("/")
        service = rest.partition("/")[0].partition(":")[0]
        with self._world.turn():
            objects = self._world.objects(self._name)
            controller = objects.get(f"StatefulSet.apps/{namespace}/argocd-application-controller")
            is_ready = bool(((controller or {}).get("status") or {}).get("readyReplicas"))
            is_there = is_ready and f"Service./{namespace}/{service}" in objects
            if not source.startswith("service://") or not is_there:
                raise UnavailableError(
                    f"{source} does not answer",
                    hint="Check that the service exists and has endpoints.",
                )
            applications = self._world.find(self._name, "Application.argoproj.io", namespace)
        lines = ["# TYPE argocd_app_info gauge"]
        for item in sorted(applications, key=key_for):
            status = item.get("status") or {}
            labels = {
                "name": item["metadata"]["name"],
                "namespace": item["metadata"]["namespace"],
                "sync_status": (status.get("sync") or {}).get("status", "Unknown"),
                "health_status": (status.get("health") or {}).get("status", "Unknown"),
            }
            text = ",".join(f'{name}="{value}"' for name, value in labels.items())
            lines.append(f"argocd_app_info{{{text}}} 1")
        return "\n".join([*lines, ""])

    def apply(self, manifest: Json) -> Json:
        """Server-side apply, never forced.

        Raises:
            ConflictError: Another manager owns a field with another value, or the namespace or kind is missing.
        """
        metadata = {
            k: v for k, v in manifest["metadata"].items() if k not in ("resourceVersion", "uid")
        }
        version = manifest["metadata"].get("resourceVersion")
        with self._world.turn():
            live = self._world.objects(self._name).get(key_for(manifest)) or {}
            if version not in (None, (live.get("metadata") or {}).get("resourceVersion", "")):
                raise ConflictError(
                    f"{manifest['kind']} {metadata['name']} was changed by somebody else since it was read",
                    hint="Read the object again, and decide again.",
                )
            applied = self._applied({**manifest, "metadata": metadata})
            return copy.deepcopy(self._world.put(self._name, applied))

    def try_apply(self, manifest: Json) -> Json | None:
        """See ``ports.ClusterReader.try_apply``; the sandbox's one user may try everything."""
        with self._world.turn():
            try:
                self._world.admit(self._name, manifest)
            except ConflictError:
                return None
            return copy.deepcopy(self._applied(manifest))

    def _applied(self, manifest: Json) -> Json:
        """What a server-side apply makes of an object; nothing is stored."""
        live = self._world.objects(self._name).get(key_for(manifest))
        owners = _owners(live)
        wanted = dict(_leaves(manifest))
        present = dict(_leaves(live or {}))
        for path, value in wanted.items():
            others = sorted(m for m, _ in owners.get(path, ()) if m != self._manager)
            if others and present.get(path) != value:
                raise ConflictError(
                    f"{manifest['kind']} {manifest['metadata']['name']}: "
                    f"{others[0]} owns {'.'.join(path)}",
                    hint=f"Remove the field from the manifest, or from {others[0]}.",
                )
        item = copy.deepcopy(live) if live else {}
        ours = (self._manager, "Apply")
        for path in [p for p, managers in owners.items() if managers == {ours}]:
            if path not in wanted:
                _remove(item, path)
        item = _merged(item, copy.deepcopy(manifest))
        for path in list(owners):
            owners[path] -= {ours}
        for path in wanted:
            owners.setdefault(path, set()).add(ours)
        item["metadata"]["managedFields"] = _managed_fields(owners)
        return item

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        """JSON merge patch; the fields it sets become ours.

        Raises:
            ConflictError: The object does not exist, or has another resourceVersion.
        """
        with self._world.turn():
            live = self._world.objects(self._name).get(_key(ref))
            if live is None:
                raise ConflictError(f"{ref} does not exist", hint="Read the object again.")
            version = (patch.get("metadata") or {}).get("resourceVersion")
            if version not in (None, live["metadata"]["resourceVersion"]):
                raise ConflictError(
                    f"{ref} was changed by somebody else since it was read",
                    hint="Read the object again, and decide again.",
                )
            owners = _owners(live)
            item = merge_patched(live, patch)
            present = dict(_leaves(live))
            for path, value in _leaves(item):
                if present.get(path) != value:
                    owners[path] = {(self._manager, "Update")}
            item["metadata"]["managedFields"] = _managed_fields(owners)
            return copy.deepcopy(self._world.put(self._name, item))


def merge_patched(value: Json, patch: Json) -> Json:
    """RFC 7386: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            result.pop(name, None)
        else:
            result[name] = merge_patched(result.get(name), item)
    return result


def _merged(value: Json, other: Json) -> Json:
    """Objects are merged, everything else is replaced; null is a value here."""
    if not isinstance(value, dict) or not isinstance(other, dict):
        return other
    return {**value, **{name: _merged(value.get(name), item) for name, item in other.items()}}


def _leaves(item: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Fields that can have an owner, each with its value; lists count as one field."""
    for name, value in item.items():
        where = (*path, name)
        if (not path and name in NOT_OWNED) or where[:2] == ("metadata", "managedFields"):
            continue
        if path == ("metadata",) and name not in ("labels", "annotations", "finalizers"):
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, where)
        else:
            yield where, value


def _owners(item: Json | None) -> dict[Path, set[Owner]]:
    owners: dict[Path, set[Owner]] = {}
    for entry in ((item or {}).get("metadata") or {}).get("managedFields") or ():
        for path in _paths(entry["fieldsV1"]):
            owners.setdefault(path, set()).add((entry["manager"], entry["operation"]))
    return owners


def _managed_fields(owners: dict[Path, set[Owner]]) -> Json:
    found = []
    for manager in sorted({m for managers in owners.values() for m in managers}):
        fields: dict[str, Json] = {}
        for path in sorted(p for p, managers in owners.items() if manager in managers):
            at = fields
            for name in path:
                at = at.setdefault(f"f:{name}", {})
        found.append({"manager": manager[0], "operation": manager[1], "fieldsV1": fields})
    return found


def _paths(fields: Json, path: Path = ()) -> Iterator[Path]:
    for name, below in fields.items():
        where = (*path, name[2:])
        if below:
            yield from _paths(below, where)
        else:
            yield where


def _remove(item: Json, path: Path) -> None:
    for name in path[:-1]:
        item = item.get(name) or {}
    item.pop(path[-1], None)


def _key(ref: ObjectRef) -> str:
    return key_of(ref.api_version, ref.kind, ref.namespace, ref.name)
