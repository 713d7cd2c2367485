"""Opens a workspace's sandbox, and builds it the first time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.bootstrap import request as bootstrap_request
from gitops_nb.bootstrap.manifests import (
    default_project,
    repository_secret,
    wanted_objects,
    wanted_root,
)
from gitops_nb.catalog.fleet import ArgoCDInstall, Fleet, Manifest
from gitops_nb.errors import ConfigurationError, RecordError, UnavailableError
from gitops_nb.model import Json, digest
from gitops_nb.sandbox import workloads
from gitops_nb.sandbox.cluster import SandboxClock, SandboxCluster
from gitops_nb.sandbox.control import APPLICATION, REFRESH, ApplicationController
from gitops_nb.sandbox.history import Change, Story, fast_import
from gitops_nb.sandbox.repositories import Repositories
from gitops_nb.sandbox.world import FILE, World, key_for

MANIFEST = Path(__file__).with_name("argocd.yaml")
MANIFEST_PATH = "sandbox/argocd.yaml"
PEOPLE = ("mara.lindqvist", "tomasz.zielinski", "amina.diallo")
REPLAYED_S = 14 * 24 * 3600
SETTLING_S = 90.0
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person with an SSH key; ``public_key`` is its one line, ``private_key`` a file."""

    name: str
    private_key: Path
    public_key: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """All handles of the embedded platform, ready to use.

    ``fleet`` is the workspace's fleet with the sandbox's own addresses in it; ``clusters`` and ``argo`` are keyed by
    cluster name and both read and write. The first person asks, the second approves.
    """

    fleet: Fleet
    clusters: Mapping[str, SandboxCluster]
    argo: Mapping[str, ArgoCD]
    clock: SandboxClock
    repositories: Mapping[str, Path]
    incidents: Path
    persons: tuple[Person, ...]

    def fetch(self, source: str, *, sha256: str) -> bytes:
        """The stand-in for Argo CD's install manifest; see ``ports.Artifacts.fetch``."""
        content = MANIFEST.read_bytes()
        if source != MANIFEST_PATH or hashlib.sha256(content).hexdigest() != sha256:
            raise ConfigurationError(
                f"the sandbox has no {source} with SHA-256 {sha256}",
                hint=f"The one file it has is {MANIFEST_PATH}.",
            )
        return content

    def fetch_json(self, url: str) -> Json:
        """What an identity provider says of itself; see ``ports.Artifacts.fetch_json``. Nothing is asked."""
        return {"issuer": url.removesuffix("/.well-known/openid-configuration")}


def open_sandbox(
    directory: Path, fleet: Fleet, *, wall: Callable[[], float] = time.time
) -> Sandbox:
    """Opens the sandbox in a directory; builds it there when there is none.

    The first cluster of each environment comes with Argo CD and healthy applications; every other cluster is empty.

    Raises:
        ConfigurationError: The sandbox there was built from another fleet, or elsewhere.
        RecordError: It is another user's, or on a file system that is not written to.
        UnavailableError: git or ssh-keygen is missing or failed.
    """
    directory = directory.resolve()
    folders = {name: directory / "git" / f"{name}.git" for name in fleet.repositories}
    local = _localized(fleet, folders)
    described = local.model_dump(mode="json", include=_BUILT_FROM, exclude_defaults=True)
    # The past stays as it was when somebody changes who starts or approves: the names count.
    described["environments"] = list(local.environments)
    origin = digest([described, str(directory)])
    descriptor = _open_lock(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not (directory / FILE).exists():
            _build(directory, local, folders, origin=origin, now_s=int(wall()))
    finally:
        os.close(descriptor)
    if _origin(directory) != origin:
        raise ConfigurationError(
            f"the sandbox in {directory} was built from another fleet, or was moved",
            hint="Remove that directory, and it is built again.",
        )
    urls = {str(path): path for path in folders.values()}
    repositories = Repositories(urls, directory / "charts")
    world = _world(directory, repositories, wall)
    clusters = _clusters(world, local)
    clock = SandboxClock(world)
    return Sandbox(
        fleet=local,
        clusters=clusters,
        argo={
            name: ArgoCD(
                control=clusters[cluster.argocd.cluster or name],
                workloads=clusters[name],
                writer=clusters[cluster.argocd.cluster or name],
                namespace=cluster.argocd.namespace,
                clock=clock,
            )
            for name, cluster in local.clusters.items()
        },
        clock=clock,
        repositories=folders,
        incidents=directory / "incidents.csv",
        # One that an earlier version built has fewer.
        persons=tuple(
            _person(directory, name) for name in PEOPLE if (directory / "keys" / name).is_file()
        ),
    )


def _open_lock(directory: Path) -> int:
    path = directory.parent / f".{directory.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _not_ours(path, "write", error) from error


def _origin(directory: Path) -> str:
    """What the sandbox was built from."""
    path = directory / "origin"
    try:
        return path.read_text()
    except OSError as error:
        raise _not_ours(path, "read", error) from error


def _not_ours(path: Path, what: str, error: OSError) -> RecordError:
    return RecordError(
        f"cannot {what} {path}: {error.strerror}",
        hint="A sandbox is for the user who built it, on a disk that can be written: copy the workspace and open that.",
    )


_BUILT_FROM: dict[str, Any] = {
    "promotes_to": True,
    "clusters": True,
    "repositories": True,
    "applications": {"__all__": {"repository", "path", "paths", "argocd"}},
}
"""What the sandbox's history and clusters depend on; approvals, limits and retention may change."""


def _localized(fleet: Fleet, folders: Mapping[str, Path]) -> Fleet:
    """The fleet with bare repositories for remotes, and the stand-in for Argo CD's manifest."""
    repositories = {
        name: repository.model_copy(update={"url": str(folders[name])})
        for name, repository in fleet.repositories.items()
    }
    sha256 = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()
    manifest = Manifest(path=MANIFEST_PATH, sha256=sha256)
    install = fleet.argocd and fleet.argocd.model_copy(update={"manifest": manifest})
    return fleet.model_copy(update={"repositories": repositories, "argocd": install})


def _world(directory: Path, repositories: Repositories, wall: Callable[[], float]) -> World:
    controller = ApplicationController(repositories)
    world = World(
        directory,
        controllers={**workloads.CONTROLLERS, **controller.controllers},
        listeners=(workloads.notice, controller.notice),
        wall=wall,
    )
    world.arrivals = (controller.look,)
    return world


def _clusters(world: World, fleet: Fleet) -> dict[str, SandboxCluster]:
    return {
        name: SandboxCluster(world, name, cluster.server)
        for name, cluster in fleet.clusters.items()
    }


def _person(directory: Path, name: str) -> Person:
    key = directory / "keys" / name
    return Person(name, key, key.with_suffix(f"{key.suffix}.pub").read_text().strip())


def _build(
    directory: Path, fleet: Fleet, folders: Mapping[str, Path], *, origin: str, now_s: int
) -> None:
    """Builds beside the directory and moves it into place, so that there is a whole sandbox or none."""
    building = directory.with_name(f".{directory.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    (building / "keys").mkdir(parents=True)
    for name in PEOPLE:
        _run(
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            name,
            "-f",
            str(building / "keys" / name),
        )
    places = {name: building / "git" / path.name for name, path in folders.items()}
    incidents = ""
    told: list[Change] = []
    for name, place in places.items():
        story = Story(fleet, name, now_s)
        changes = story.tell()
        _make_repository(place, changes, fleet.repositories[name].branch)
        if story.applications:
            incidents, told = story.incidents_csv(), changes
    (building / "incidents.csv").write_text(incidents)
    (building / "origin").write_text(origin)
    urls = {str(folders[name]): place for name, place in places.items()}
    _replay(building, fleet, Repositories(urls), places, told)
    # What stands there has no state, and is no sandbox.
    shutil.rmtree(directory, ignore_errors=True)
    building.rename(directory)


def _make_repository(place: Path, changes: list[Change], branch: str) -> None:
    place.parent.mkdir(exist_ok=True)
    _run("git", "init", "-q", "--bare", f"--initial-branch={branch}", str(place))
    for setting in ("gc.auto=0", "receive.autogc=false"):
        _run("git", "-C", str(place), "config", *setting.split("="))
    stream = fast_import(changes, branch)
    _run("git", "-C", str(place), "fast-import", "--quiet", stdin=stream)


def _replay(
    building: Path,
    fleet: Fleet,
    repositories: Repositories,
    places: Mapping[str, Path],
    told: list[Change],
) -> None:
    """Lets the last two weeks happen again on the clusters, so that what they say agrees with the history."""
    world = _world(building, repositories, lambda: 0.0)
    name = next(iter(fleet.applications.values())).repository if fleet.applications else ""
    begins = told[-1].at_s - REPLAYED_S if told else 0
    world.state["time"] = float(begins)
    for cluster in fleet.clusters:
        world.state["clusters"][cluster] = {"version": 1000, "objects": {}}
        for namespace in ("default", "kube-system"):
            world.put(cluster, _namespace(namespace))
        world.put(cluster, _node(f"{cluster}-node-1"))
    with world.turn():
        if not told:
            return
        place, branch = places[name], fleet.repositories[name].branch
        commits = _run("git", "-C", str(place), "rev-list", "--reverse", branch).split()
        pairs = list(zip(told, commits, strict=True))
        _point(place, branch, [sha for change, sha in pairs if change.at_s <= begins][-1])
        seeded = {
            clusters[0]: environment
            for environment in fleet.environments
            if (clusters := fleet.clusters_of(environment))
        }
        for cluster in seeded:
            _install(world, _installable(fleet), cluster)
        _settle(world, seeded)
        for change, sha in pairs:
            if change.at_s > begins:
                world.run_until(float(change.at_s))
                _point(place, branch, sha)
                for cluster in seeded:
                    _refresh(world, cluster)
                _settle(world, seeded)


def _install(world: World, fleet: Fleet, cluster: str) -> None:
    """Does to a cluster what the bootstrap runbook does."""
    handle = SandboxCluster(world, cluster, fleet.clusters[cluster].server)
    asked = bootstrap_request(fleet, {"cluster": cluster})
    for item in wanted_objects(MANIFEST.read_bytes(), asked):
        handle.apply(item)
    world.run_until(world.time + 2)
    for item in (repository_secret(asked), default_project(asked), wanted_root(asked)):
        handle.apply(item)


def _installable(fleet: Fleet) -> Fleet:
    """The fleet with something to install: one that says nothing gets a root application all the same."""
    if fleet.argocd is not None:
        return fleet
    sha256 = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()
    install = ArgoCDInstall(
        version="v3.0.11",
        manifest=Manifest(path=MANIFEST_PATH, sha256=sha256),
        repository=next(iter(fleet.repositories)),
    )
    return fleet.model_copy(update={"argocd": install})


def _refresh(world: World, cluster: str) -> None:
    for application in world.find(cluster, APPLICATION):
        metadata = application["metadata"]
        annotations = {**(metadata.get("annotations") or {}), REFRESH: "normal"}
        world.put(cluster, {**application, "metadata": {**metadata, "annotations": annotations}})


def _settle(world: World, seeded: Mapping[str, str]) -> None:
    """Waits; a person syncs what does not sync by itself."""
    until = world.time + SETTLING_S
    while world.time < until:
        world.run_until(world.time + 1)
        for cluster in seeded:
            for application in world.find(cluster, APPLICATION):
                _sync_by_hand(world, cluster, application)


def _sync_by_hand(world: World, cluster: str, application: Json) -> None:
    status = application.get("status") or {}
    policy = application["spec"].get("syncPolicy") or {}
    is_behind = (status.get("sync") or {}).get("status") == "OutOfSync"
    if not is_behind or "automated" in policy or "operation" in application:
        return
    if key_for(application) in world.state["agenda"]:
        return
    sync = {"revision": status["sync"]["revision"], "syncStrategy": {"hook": {}}}
    sync |= {"syncOptions": policy["syncOptions"]} if policy.get("syncOptions") else {}
    operation = {"initiatedBy": {"username": PEOPLE[0]}, "sync": sync}
    status = {name: value for name, value in status.items() if name != "operationState"}
    world.put(cluster, {**application, "operation": operation, "status": status})


def _point(place: Path, branch: str, sha: str) -> None:
    reference = place / "refs/heads" / branch
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(f"{sha}\n")


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _node(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def _run(*argv: str, stdin: bytes = b"") -> str:
    done = LocalProcesses().run(argv, timeout_s=TIMEOUT_S, stdin=stdin)
    if done.exit_code:
        raise UnavailableError(
            f"{' '.join(argv[:4])} ended with {done.exit_code}: {done.stderr.strip()[:500]}",
            hint="Check that git and ssh-keygen work on this machine.",
        )
    return done.stdout
