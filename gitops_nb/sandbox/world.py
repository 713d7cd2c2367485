"""The sandbox's world: all cluster objects, simulated time and an agenda, in one file that processes share.

Time is the wall clock plus an offset that waits move forward. Controllers are functions on an agenda: a write
schedules them a little later, as a watch would, and they look at the objects again when their moment comes. Nothing
runs in the background: the world catches up whenever somebody looks at it.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gitops_nb.errors import ConflictError
from gitops_nb.model import Json

FILE = "state.json"
BUILT_IN = frozenset(
    {"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"}
    | {"apiextensions.k8s.io", "admissionregistration.k8s.io", "storage.k8s.io"}
)
CLUSTER_SCOPED = frozenset(
    {"Namespace", "Node", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    | {"PersistentVolume", "StorageClass", "PriorityClass"}
)


class Controller(Protocol):
    """Looks at one object when its moment has come."""

    def __call__(self, world: World, cluster: str, key: str) -> None:
        """Brings the object one step further, and schedules what follows."""


class Listener(Protocol):
    """Is told of each write."""

    def __call__(self, world: World, cluster: str, item: Json, before: Json | None) -> None:
        """Schedules controllers; ``item`` is the object after the write, or as it was when deleted."""


def key_of(api_version: str, kind: str, namespace: str, name: str) -> str:
    """How an object is filed: ``Deployment.apps/shop/checkout``."""
    group = api_version.rpartition("/")[0]
    return f"{kind}.{group}/{'' if kind in CLUSTER_SCOPED else namespace}/{name}"


def key_for(item: Json) -> str:
    """The key of an object."""
    metadata = item["metadata"]
    return key_of(item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])


class World:
    """Objects by cluster, an agenda and a clock; every access is a ``turn``."""

    def __init__(
        self,
        directory: Path,
        *,
        controllers: Mapping[str, Controller],
        listeners: tuple[Listener, ...],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self._controllers = controllers
        self._listeners = listeners
        self._wall = wall
        self._lock = threading.RLock()
        self._depth = 0
        self._loaded: tuple[int, int, int] | None = None
        self._is_dirty = False
        self.arrivals: tuple[Callable[[World], None], ...] = ()
        self.state: dict[str, Json] = {
            "time": 0.0,
            "offset": 0.0,
            "agenda": {},
            "clusters": {},
            "memory": {},
        }

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Exclusive use of the world, brought up to the present; saved when it changed."""
        with self._lock:
            if self._depth:
                yield
                return
            descriptor = os.open(
                self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            self._depth += 1
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._load()
                for look in self.arrivals:
                    look(self)
                self.run_until(self.now())
                yield
                self._save()
            except BaseException:
                self._loaded = None  # what is in memory may be half a change; the file is whole
                raise
            finally:
                self._depth -= 1
                os.close(descriptor)

    def now(self) -> float:
        """The present of the clusters, in UTC epoch seconds."""
        return max(self._wall() + float(self.state["offset"]), float(self.state["time"]))

    @property
    def time(self) -> float:
        """The moment that is being simulated."""
        return float(self.state["time"])

    def stamp(self) -> str:
        """The simulated moment as Kubernetes writes it, to the second."""
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self, seconds: float) -> None:
        """Moves the clusters' time ahead of the wall clock."""
        self.state["offset"] += seconds
        self._is_dirty = True
        self.run_until(self.now())

    def step(self, limit: float) -> bool:
        """Lets the next thing happen if it is due by ``limit``; otherwise moves time there and says False."""
        due = min(self.state["agenda"].values(), default=limit + 1)
        target = min(due, limit)
        self.state["offset"] += max(0.0, target - self.now())
        self._is_dirty = True
        self._run_next(target)
        return bool(due <= limit)

    def run_until(self, limit: float) -> None:
        """Lets everything happen that is due by ``limit``."""
        while min(self.state["agenda"].values(), default=limit + 1) <= limit:
            self._run_next(limit)
        self.state["time"] = max(self.time, limit)

    def _run_next(self, limit: float) -> None:
        agenda = self.state["agenda"]
        name = min(agenda, key=lambda n: (agenda[n], n), default=None)
        if name is None or agenda[name] > limit:
            self.state["time"] = max(self.time, limit)
            return
        self.state["time"] = max(self.time, agenda.pop(name))
        self._is_dirty = True
        controller, cluster, key = name.split("|", 2)
        self._controllers[controller](self, cluster, key)

    def schedule(self, controller: str, cluster: str, key: str, after: float) -> None:
        """Puts a controller on the agenda; an earlier entry for the same object stays."""
        name = f"{controller}|{cluster}|{key}"
        agenda = self.state["agenda"]
        agenda[name] = min(agenda.get(name, float("inf")), self.time + after)
        self._is_dirty = True

    def memory(self, cluster: str, key: str) -> dict[str, Json]:
        """What a controller remembers about an object, outside the object."""
        self._is_dirty = True
        found: dict[str, Json] = self.state["memory"].setdefault(f"{cluster}|{key}", {})
        return found

    def recall(self, cluster: str, key: str) -> Json:
        """The same for reading: what is remembered, empty where there is nothing."""
        return self.state["memory"].get(f"{cluster}|{key}", {})

    def objects(self, cluster: str) -> dict[str, Json]:
        """All objects of a cluster by key. Do not change them in place; ``put`` them."""
        found: dict[str, Json] = self.state["clusters"][cluster]["objects"]
        return found

    def find(self, cluster: str, kind: str, namespace: str = "") -> list[Json]:
        """Objects of a kind (``Pod.``, ``Deployment.apps``), in one namespace or in all."""
        prefix = f"{kind}/{namespace}/" if namespace else f"{kind}/"
        return [item for key, item in self.objects(cluster).items() if key.startswith(prefix)]

    def put(self, cluster: str, item: Json) -> Json:
        """Stores an object as the API server would, and tells the listeners; no change writes nothing.

        Raises:
            ConflictError: Its namespace does not exist, or its kind is not served.
        """
        key = key_for(item)
        before = self.objects(cluster).get(key)
        self.admit(cluster, item)
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        if before is None:
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = self.stamp()
            metadata["generation"] = 1
        elif _without_version(before) == _without_version(item):
            return before
        elif _specification(before) != _specification(item):
            metadata["generation"] = before["metadata"]["generation"] + 1
        counter = self.state["clusters"][cluster]
        counter["version"] += 1
        metadata["resourceVersion"] = str(counter["version"])
        self.objects(cluster)[key] = item
        self._is_dirty = True
        for listener in self._listeners:
            listener(self, cluster, item, before)
        return item

    def delete(self, cluster: str, key: str) -> None:
        """Removes an object and what it owns."""
        item = self.objects(cluster).pop(key, None)
        if item is None:
            return
        self._is_dirty = True
        self.state["memory"].pop(f"{cluster}|{key}", None)
        for other in list(self.objects(cluster)):
            remaining = self.objects(cluster).get(other) or {"metadata": {}}
            owners = remaining["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == item["metadata"]["uid"] for owner in owners):
                self.delete(cluster, other)
        for listener in self._listeners:
            listener(self, cluster, item, item)

    def serves(self, cluster: str, api_version: str, kind: str) -> bool:
        """Whether the API server knows a kind: built in, or by an established definition."""
        group = api_version.rpartition("/")[0]
        if group in BUILT_IN:
            return True
        return any(
            item["spec"]["group"] == group and item["spec"]["names"]["kind"] == kind
            for item in self.find(cluster, "CustomResourceDefinition.apiextensions.k8s.io")
            if item.get("status")
        )

    def admit(self, cluster: str, item: Json) -> None:
        """Refuses an object whose kind or namespace is not there."""
        if not self.serves(cluster, item["apiVersion"], item["kind"]):
            raise ConflictError(
                f"the API server does not serve {item['kind']} in {item['apiVersion']}",
                hint="Install its CustomResourceDefinition first.",
            )
        namespace = item["metadata"].get("namespace", "")
        if item["kind"] in CLUSTER_SCOPED or f"Namespace.//{namespace}" in self.objects(cluster):
            return
        raise ConflictError(
            f'namespaces "{namespace}" not found', hint="Create the namespace first."
        )

    def _load(self) -> None:
        path = self.directory / FILE
        try:
            found = path.stat()
        except FileNotFoundError:
            # Nothing is stored yet: a world in which nothing happens, of a fleet without clusters, is one all the same.
            self._is_dirty = True
            return
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._loaded:
            self.state = json.loads(path.read_bytes())
            self._loaded = seen

    def _save(self) -> None:
        if not self._is_dirty:
            return
        path = self.directory / FILE
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(self.state))
        temporary.replace(path)
        found = path.stat()
        self._loaded = (found.st_ino, found.st_mtime_ns, found.st_size)
        self._is_dirty = False


def _without_version(item: Json) -> Json:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": ""}}


def _specification(item: Json) -> Json:
    # Argo CD's Application has no status subresource: each write counts as a new generation.
    left_out = {"metadata"} if item["kind"] == "Application" else {"metadata", "status"}
    return {name: value for name, value in item.items() if name not in left_out}
