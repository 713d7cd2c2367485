"""Argo CD's application controller, as recorded: comparison, operations, history, automated sync.

What it does and when follows the recordings of Argo CD 3.0.11 (automated sync, refresh, waves, app of apps, stale
revisions for 180 s after a push, ``Succeeded`` before the comparison that belongs to it). Not emulated: hooks, sync
windows, retries, dry runs, ApplicationSets, projects; of Helm and Kustomize see ``rendering``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache

from gitops_nb.argo.sources import branch_of, sources_of
from gitops_nb.errors import ConflictError
from gitops_nb.model import Json
from gitops_nb.sandbox.cluster import merge_patched
from gitops_nb.sandbox.comparison import (
    TRACKING,
    apply,
    extra_of,
    find_extras,
    health_of,
    images_of,
    live_health,
    part_of,
    prune,
    resource_of,
    waiting_for,
    wave_of,
)
from gitops_nb.sandbox.rendering import Sources, resolve
from gitops_nb.sandbox.repositories import ComparisonError, Repositories
from gitops_nb.sandbox.workloads import refuse_untyped
from gitops_nb.sandbox.world import CLUSTER_SCOPED, Controller, World, key_for

REFRESH = "argocd.argoproj.io/refresh"
CONTROLLER = "argocd-application-controller"
APPLICATION = "Application.argoproj.io"
CACHE_S = 180.0
REACT_S = 0.02
COMPARE_S = 0.1
APPLY_S = 0.12
BETWEEN_WAVES_S = 2.0
HISTORY_LIMIT = 10
ERROR = "Failed to load target state: failed to generate manifest for source 1 of 1: "


class ApplicationController:
    """One Argo CD controller for every sandbox cluster; it acts only where it is installed and ready."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    @property
    def controllers(self) -> dict[str, Controller]:
        """What the agenda calls."""
        return {
            "application": self._application,
            "compare": self._compared,
            "expire": self._expired,
            "automate": self._automate,
            "operate": self._operate,
        }

    def notice(self, world: World, cluster: str, item: Json, before: Json | None) -> None:
        """Follows Applications, what they manage, and the controller's own StatefulSet."""
        if item["kind"] == "Application" and item is not before:
            world.schedule("application", cluster, key_for(item), REACT_S)
        if item["kind"] == "StatefulSet" and item["metadata"]["name"] == CONTROLLER:
            for application in world.find(cluster, APPLICATION, item["metadata"]["namespace"]):
                world.schedule("application", cluster, key_for(application), REACT_S)
        name = (item["metadata"].get("annotations") or {}).get(TRACKING, "").partition(":")[0]
        for owner in world.find(cluster, APPLICATION) if name else ():
            if owner["metadata"]["name"] == name:
                world.schedule("compare", cluster, key_for(owner), COMPARE_S)
                world.schedule("operate", cluster, key_for(owner), REACT_S)

    def look(self, world: World) -> None:
        """Notices pushes: without a refresh Argo CD serves the old revision until its cache expires."""
        tips = world.state.setdefault("tips", {})
        tip_of = cache(self._repositories.tip)  # most Applications follow the same branch
        for cluster in world.state["clusters"]:
            for application in world.find(cluster, APPLICATION):
                known = f"{cluster}|{key_for(application)}"
                followed = [s for s in sources_of(application["spec"]) if not s.get("chart")]
                try:
                    tips_of = [tip_of(s["repoURL"], branch_of(s)) for s in followed]
                except ComparisonError:
                    continue
                tip = ",".join(tips_of)
                if tips.get(known) != tip:
                    tips[known] = tip
                    world.schedule("expire", cluster, key_for(application), CACHE_S)

    def _application(self, world: World, cluster: str, key: str) -> None:
        application = self._served(world, cluster, key)
        if application is None:
            return
        if REFRESH in (application["metadata"].get("annotations") or {}):
            application = copy.deepcopy(application)
            del application["metadata"]["annotations"][REFRESH]
            application = self._compare(world, cluster, application, is_latest=True)
        elif not _is_of_present_sources(application):
            application = self._compare(world, cluster, application, is_latest=True)
        memory = world.memory(cluster, key)
        if "operation" not in application:
            memory.pop("work", None)
        elif "work" not in memory:
            self._begin(world, cluster, application)

    def _compared(self, world: World, cluster: str, key: str) -> None:
        application = self._served(world, cluster, key)
        if application is not None and "status" in application:
            is_latest = world.memory(cluster, key).pop("is_stale", False)
            self._compare(world, cluster, application, is_latest=is_latest)

    def _expired(self, world: World, cluster: str, key: str) -> None:
        world.memory(cluster, key)["is_stale"] = True
        self._compared(world, cluster, key)

    def _compare(self, world: World, cluster: str, application: Json, *, is_latest: bool) -> Json:
        """Compares with Git and with the cluster, and writes sync, health and resources in one go."""
        key = key_for(application)
        memory = world.memory(cluster, key)
        spec = application["spec"]
        sources = sources_of(spec)
        compared = {**_named(spec), "destination": spec["destination"]}
        status = dict(application.get("status") or {})
        status.pop("conditions", None)
        try:
            # Another source is no push: what it names is looked up at once.
            if is_latest or memory.get("sources") != list(sources):
                memory["revisions"] = [resolve(self._repositories, source) for source in sources]
                memory["sources"] = list(sources)
            revisions = memory["revisions"]
            wanted = self._wanted(application, revisions)
            kinds = self._sources(application, revisions).kinds()
        except ComparisonError as error:
            condition = {"type": "ComparisonError", "message": f"{ERROR}{error}"}
            status["conditions"] = [{**condition, "lastTransitionTime": world.stamp()}]
            status["sync"] = {"comparedTo": compared, "status": "Unknown"}
            return world.put(cluster, {**application, "status": status})
        resources = [resource_of(world, cluster, item) for item in wanted]
        resources += [extra_of(item) for item in find_extras(world, cluster, application, wanted)]
        is_synced = all(resource["status"] == "Synced" for resource in resources)
        found = health_of(world, cluster, wanted)
        if found != (status.get("health") or {}).get("status"):
            status["health"] = {"status": found, "lastTransitionTime": world.stamp()}
        status |= {
            "controllerNamespace": application["metadata"]["namespace"],
            "reconciledAt": world.stamp(),
            "resources": resources,
            **({"sourceTypes": kinds} if spec.get("sources") else {"sourceType": kinds[0]}),
            "summary": {"images": images_of(world, cluster, wanted)},
            "sync": {
                "comparedTo": compared,
                **_at(spec, revisions),
                "status": "Synced" if is_synced else "OutOfSync",
            },
        }
        if not is_synced and "automated" in (application["spec"].get("syncPolicy") or {}):
            world.schedule("automate", cluster, key, REACT_S)
        return world.put(cluster, {**application, "status": status})

    def _automate(self, world: World, cluster: str, key: str) -> None:
        """Starts an automated sync: once per revision, and again for drift when selfHeal is on."""
        application = self._served(world, cluster, key)
        if application is None or "operation" in application:
            return
        status = application["status"]
        policy = (application["spec"].get("syncPolicy") or {}).get("automated")
        if policy is None or status["sync"]["status"] != "OutOfSync":
            return
        memory = world.memory(cluster, key)
        sync: dict[str, Json] = {
            name: status["sync"][name]
            for name in ("revision", "revisions")
            if name in status["sync"]
        }
        # A change of the Application itself counts as one of the revision.
        revision = [memory.get("sources"), *sync.values()]
        if policy.get("prune"):
            sync["prune"] = True
        if options := application["spec"]["syncPolicy"].get("syncOptions"):
            sync["syncOptions"] = options
        if memory.get("attempted") == revision:
            drifted = [
                {n: resource[n] for n in ("group", "kind", "name") if resource[n]}
                for resource in status["resources"]
                if resource["status"] == "OutOfSync" and not resource.get("requiresPruning")
            ]
            state = status.get("operationState") or {}
            if not policy.get("selfHeal") or not drifted or state.get("phase") != "Succeeded":
                return
            memory["heals"] = memory.get("heals", 0) + 1
            sync |= {"autoHealAttemptsCount": memory["heals"], "resources": drifted}
        memory["attempted"] = revision
        operation = {"initiatedBy": {"automated": True}, "retry": {"limit": 5}, "sync": sync}
        status = {name: value for name, value in status.items() if name != "operationState"}
        world.put(cluster, {**application, "operation": operation, "status": status})

    def _begin(self, world: World, cluster: str, application: Json) -> None:
        """Takes an operation up. The controller writes by merge: fields of the operation before survive."""
        key = key_for(application)
        operation = application["operation"]
        status = application["status"]
        state = {"phase": "Running", "startedAt": world.stamp(), "finishedAt": None}
        state = merge_patched(
            status.get("operationState") or {}, {**state, "operation": {"retry": {}, **operation}}
        )
        world.memory(cluster, key)["work"] = {
            "operation": operation,
            "started": world.stamp(),
            "stage": "apply",
            "wave": 0,
            "due": world.time + APPLY_S,
            "results": [],
        }
        world.put(cluster, {**application, "status": {**status, "operationState": state}})
        world.schedule("operate", cluster, key, APPLY_S)

    def _operate(self, world: World, cluster: str, key: str) -> None:
        """One step of the running operation, when its moment has come."""
        application = self._served(world, cluster, key)
        work = world.memory(cluster, key).get("work")
        if application is None or not work or "operation" not in application:
            return
        if world.time < work["due"]:
            world.schedule("operate", cluster, key, work["due"] - world.time)
            return
        try:
            self._work(world, cluster, application, work)
        except ComparisonError as error:
            self._finish(world, cluster, key, "Error", f"ComparisonError: {ERROR}{error}")
        except ConflictError as error:
            self._finish(world, cluster, key, "Failed", error.message)

    def _work(self, world: World, cluster: str, application: Json, work: dict[str, Json]) -> None:
        key = key_for(application)
        sources = sources_of(application["spec"])
        asked = work["operation"]["sync"]
        if "revisions" not in work:
            named = asked.get("revisions") or [asked.get("revision") or ""]
            named = named if len(named) == len(sources) else [""] * len(sources)
            work["revisions"] = [
                resolve(self._repositories, source, text)
                for source, text in zip(sources, named, strict=True)
            ]
        wanted = self._wanted(application, work["revisions"])
        waves = sorted({wave_of(item) for item in wanted})
        wave = [item for item in wanted if waves.index(wave_of(item)) == work["wave"]]
        is_last = work["wave"] >= len(waves) - 1
        match work["stage"]:
            case "apply":
                if "CreateNamespace=true" in (asked.get("syncOptions") or ()):
                    name = application["spec"]["destination"]["namespace"]
                    if f"Namespace.//{name}" not in world.objects(cluster):
                        namespace = {
                            "apiVersion": "v1",
                            "kind": "Namespace",
                            "metadata": {"name": name},
                        }
                        world.put(cluster, namespace)
                parts = asked.get("resources")
                for item in wave:
                    refuse_untyped(item)
                for item in wave:
                    if parts is None or part_of(item) in parts:
                        work["results"].append(apply(world, cluster, item))
                if is_last:
                    for item in find_extras(world, cluster, application, wanted):
                        work["results"].append(
                            prune(world, cluster, item, is_on=bool(asked.get("prune")))
                        )
                self._go_on(world, cluster, key, "record" if is_last else "wait", 0.01)
            case "wait":
                states = {live_health(world, cluster, item) for item in wave}
                if "Degraded" in states:
                    failed = "one or more synchronization tasks completed unsuccessfully"
                    self._finish(world, cluster, key, "Failed", failed)
                elif states <= {"Healthy"}:
                    work["wave"] += 1
                    self._go_on(world, cluster, key, "apply", BETWEEN_WAVES_S)
                else:
                    waiting = next(i for i in wave if live_health(world, cluster, i) != "Healthy")
                    self._say(world, cluster, key, waiting_for(waiting))
            case "record":
                if "resources" not in asked:
                    self._record(world, cluster, application, work)
                self._go_on(world, cluster, key, "end", REACT_S)
            case "end":
                self._finish(
                    world, cluster, key, "Succeeded", "successfully synced (all tasks run)"
                )

    def _go_on(self, world: World, cluster: str, key: str, stage: str, after: float) -> None:
        work = world.memory(cluster, key).get("work")
        if work is None:
            return  # what the operation applied took its Application over: another parent's is there now
        work |= {"stage": stage, "due": world.time + after}
        world.schedule("operate", cluster, key, after)

    def _say(self, world: World, cluster: str, key: str, message: str) -> None:
        application = world.objects(cluster)[key]
        status = application["status"]
        state = {**status["operationState"], "message": message}
        world.put(cluster, {**application, "status": {**status, "operationState": state}})

    def _record(self, world: World, cluster: str, application: Json, work: dict[str, Json]) -> None:
        """The history gets its entry while the operation still runs; only full syncs have one."""
        status = application["status"]
        history = status.get("history") or []
        entry = {
            "id": history[-1]["id"] + 1 if history else 0,
            **_at(application["spec"], work["revisions"]),
            "deployStartedAt": work["started"],
            "deployedAt": world.stamp(),
            "initiatedBy": work["operation"].get("initiatedBy") or {},
            **_named(application["spec"], empty=True),
        }
        history = [*history, entry][-HISTORY_LIMIT:]
        world.put(cluster, {**application, "status": {**status, "history": history}})

    def _finish(self, world: World, cluster: str, key: str, phase: str, message: str) -> None:
        """Ends the operation in one write; sync and health stay as they are until the comparison after it."""
        application = world.objects(cluster)[key]
        memory = world.memory(cluster, key)
        work = memory.pop("work")
        spec = application["spec"]
        result = {**_named(spec, empty=True), "resources": work["results"]}
        if "revisions" in work and phase != "Error":
            result |= {"revision": ""} | _at(spec, work["revisions"])
        state = {
            **application["status"]["operationState"],
            "phase": phase,
            "message": message,
            "finishedAt": world.stamp(),
            "syncResult": result,
        }
        memory["is_stale"] = True
        application = {name: value for name, value in application.items() if name != "operation"}
        status = {**application["status"], "operationState": state}
        world.put(cluster, {**application, "status": status})
        world.schedule("compare", cluster, key, COMPARE_S)

    def _sources(self, application: Json, revisions: Sequence[str]) -> Sources:
        name, sources = application["metadata"]["name"], sources_of(application["spec"])
        return Sources(self._repositories, name, sources, revisions)

    def _wanted(self, application: Json, revisions: Sequence[str]) -> list[Json]:
        """The objects that the revisions ask for, with namespace and tracking, in the order of their waves."""
        name = application["metadata"]["name"]
        found = []
        for manifest in _unpacked(self._sources(application, revisions).manifests()):
            item = copy.deepcopy(manifest)
            metadata = item.get("metadata")
            if not isinstance(metadata, dict) or not (
                metadata.get("name") and item.get("apiVersion")
            ):
                raise ComparisonError(
                    f"rpc error: a {item['kind']} has no apiVersion or no metadata.name"
                )
            if item["kind"] not in CLUSTER_SCOPED:
                default = application["spec"]["destination"].get("namespace", "default")
                metadata.setdefault("namespace", default)
            group = item["apiVersion"].rpartition("/")[0]
            place = f"{metadata.get('namespace', '')}/{metadata['name']}"
            tracking = {TRACKING: f"{name}:{group}/{item['kind']}:{place}"}
            metadata["annotations"] = (metadata.get("annotations") or {}) | tracking
            found.append(item)
        return sorted(found, key=wave_of)

    def _served(self, world: World, cluster: str, key: str) -> Json | None:
        """The Application, if there is one and a controller runs beside it."""
        application = world.objects(cluster).get(key)
        if application is None:
            return None
        namespace = application["metadata"]["namespace"]
        controller = world.objects(cluster).get(f"StatefulSet.apps/{namespace}/{CONTROLLER}") or {}
        return application if (controller.get("status") or {}).get("readyReplicas") else None


def _unpacked(manifests: Sequence[Json]) -> Iterator[Json]:
    """The objects, those of a List one by one: Argo CD takes it apart as well."""
    for manifest in manifests:
        items = manifest.get("items")
        if str(manifest["kind"]).endswith("List") and isinstance(items, list):
            yield from _unpacked([item for item in items if isinstance(item, dict)])
        else:
            yield manifest


def _is_of_present_sources(application: Json) -> bool:
    """Whether there is a comparison, of the sources that the Application names now."""
    compared = ((application.get("status") or {}).get("sync") or {}).get("comparedTo") or {}
    return sources_of(compared) == sources_of(application["spec"])


def _named(spec: Json, *, empty: bool = False) -> dict[str, Json]:
    """The sources as they stand in a comparison or a result: one, or a list beside an empty one."""
    if not spec.get("sources"):
        return {"source": spec["source"]}
    return {"sources": spec["sources"]} | ({"source": {"repoURL": ""}} if empty else {})


def _at(spec: Json, revisions: Sequence[str]) -> dict[str, Json]:
    """Revisions as they stand there: one, or a list."""
    return {"revisions": list(revisions)} if spec.get("sources") else {"revision": revisions[0]}
