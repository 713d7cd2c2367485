"""What the Argo CD adapter does when others are quicker, replies are lost, or the controller is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.errors import ConflictError, UnavailableError, UsageError
from gitops_nb.model import Json, ObjectRef

REVISION = "a" * 40


class FakeClock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class FakeCluster:
    """One Application; ``before_patch`` lets somebody else be quicker, ``after_patch`` loses a reply."""

    server = "https://fake.example"

    def __init__(self, application: Json, clock: FakeClock) -> None:
        self.application = application
        self.clock = clock
        self.patches: list[Json] = []
        self.before_patch: Callable[[], None] = lambda: None
        self.after_patch: Callable[[], None] = lambda: None
        self.lists: dict[str, list[Json]] = {}
        self.order: list[str] = []

    def version(self) -> str:
        return "v1.32.2"

    def get(self, ref: ObjectRef) -> Json | None:
        self.order.append(ref.kind)
        return self.application

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Json, ...]:
        self.order.append(kind)
        return tuple(self.lists.get(kind, ()))

    def watch(self, ref: ObjectRef, *, timeout_s: float) -> Iterator[Json]:
        if self.application:
            yield self.application
            self.clock.sleep(timeout_s)

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        return True

    def fetch_metrics(self, source: str) -> str:
        return ""

    def apply(self, manifest: Json) -> Json:
        raise AssertionError("the adapter applies nothing")

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        self.before_patch()
        wanted = patch["metadata"].get("resourceVersion")
        if wanted not in (None, self.application["metadata"]["resourceVersion"]):
            raise ConflictError("changed by somebody else")
        self.patches.append(patch)
        self.application = {**self.application, "operation": patch.get("operation")}
        self.after_patch()
        return self.application


def _application(**spec: Any) -> Json:
    source = {"repoURL": "https://git.example/x.git", "targetRevision": "main", "path": "x"}
    body = {"source": source} | spec
    return {"metadata": {"name": "web", "resourceVersion": "7"}, "spec": body, "status": {}}


@pytest.fixture
def cluster() -> FakeCluster:
    """A cluster with one quiet Application."""
    return FakeCluster(_application(), FakeClock())


def _argo(cluster: FakeCluster) -> ArgoCD:
    return ArgoCD(control=cluster, workloads=cluster, writer=cluster, clock=cluster.clock)


def test_sync_is_one_conditional_patch_that_nulls_the_state(cluster: FakeCluster) -> None:
    """A sync is one patch with resourceVersion, the operation, and operationState null."""
    policy = {"syncOptions": ["CreateNamespace=true"], "retry": {"limit": 2}}
    cluster.application["spec"]["syncPolicy"] = policy
    _argo(cluster).sync("web", revision=REVISION, identifier="run-1", prune=True)
    assert cluster.patches == [
        {
            "metadata": {"resourceVersion": "7"},
            "operation": {
                "info": [{"name": "gitops-nb/id", "value": "run-1"}],
                "initiatedBy": {"username": "gitops-nb"},
                "retry": {"limit": 2},
                "sync": {
                    "revision": REVISION,
                    "prune": True,
                    "syncStrategy": {"hook": {}},
                    "syncOptions": ["CreateNamespace=true"],
                },
            },
            "status": {"operationState": None},
        }
    ]


def test_sync_reads_again_when_somebody_was_quicker(cluster: FakeCluster) -> None:
    """When the Application changed meanwhile, the sync is asked for again with the new version."""

    def change_once() -> None:
        cluster.application["metadata"]["resourceVersion"] = "8"
        cluster.before_patch = lambda: None

    cluster.before_patch = change_once
    _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert [patch["metadata"]["resourceVersion"] for patch in cluster.patches] == ["8"]


def test_sync_gives_up_on_an_application_that_never_rests(cluster: FakeCluster) -> None:
    """Losing the race every time ends in a conflict, and nothing was started."""

    def change() -> None:
        version = int(cluster.application["metadata"]["resourceVersion"]) + 1
        cluster.application["metadata"]["resourceVersion"] = str(version)

    cluster.before_patch = change
    with pytest.raises(ConflictError, match="changed 5 times"):
        _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert cluster.patches == []


def test_sync_whose_reply_is_lost_is_found_again(cluster: FakeCluster) -> None:
    """A patch that was taken but not answered counts as done, and is not sent twice."""

    def lose() -> None:
        raise UnavailableError("no answer")

    cluster.after_patch = lose
    _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert len(cluster.patches) == 1


def test_sync_that_did_not_arrive_is_reported(cluster: FakeCluster) -> None:
    """A patch that was not taken and not answered is an error; nothing was started."""

    def lose() -> None:
        raise UnavailableError("no answer")

    cluster.before_patch = lose
    with pytest.raises(UnavailableError):
        _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert cluster.patches == []


@pytest.mark.parametrize(
    "busy",
    [
        {"operation": {"initiatedBy": {"username": "mara"}}},
        {"operation": {"initiatedBy": {"automated": True}}},
        {"status": {"operationState": {"phase": "Running"}}},
    ],
)
def test_sync_is_refused_while_an_operation_is_there(cluster: FakeCluster, busy: Json) -> None:
    """An operation that is asked for, runs, or was abandoned refuses a sync; nothing is patched."""
    cluster.application |= busy
    with pytest.raises(ConflictError, match="operation"):
        _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert cluster.patches == []


def test_sources_of_one_repository_get_the_same_revision(cluster: FakeCluster) -> None:
    """With several sources the operation names a revision for each."""
    source = cluster.application["spec"].pop("source")
    cluster.application["spec"]["sources"] = [source, source]
    _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    sync = cluster.patches[0]["operation"]["sync"]
    assert sync["revisions"] == [REVISION, REVISION]
    assert "revision" not in sync


def test_sources_of_different_repositories_need_their_own(cluster: FakeCluster) -> None:
    """One revision for sources of two repositories is refused; nothing is patched."""
    source = cluster.application["spec"].pop("source")
    cluster.application["spec"]["sources"] = [
        source,
        {**source, "repoURL": "https://other.example"},
    ]
    with pytest.raises(UsageError, match="2 sources"):
        _argo(cluster).sync("web", revision=REVISION, identifier="run-1")
    assert cluster.patches == []


def test_refresh_that_nobody_takes_up_ends(cluster: FakeCluster) -> None:
    """A refresh whose annotation stays is unavailable after its time, and names the controller."""
    cluster.application["metadata"]["annotations"] = {"argocd.argoproj.io/refresh": "normal"}
    with pytest.raises(UnavailableError, match="within 120 s") as caught:
        _argo(cluster).refresh("web")
    assert "argocd-application-controller" in caught.value.hint


def test_a_reader_does_not_write(cluster: FakeCluster) -> None:
    """Without a writer, sync and refresh refuse."""
    reader = ArgoCD(control=cluster, workloads=cluster, clock=cluster.clock)
    with pytest.raises(UsageError):
        reader.sync("web", revision=REVISION, identifier="run-1")
    with pytest.raises(UsageError):
        reader.refresh("web")
    assert cluster.patches == []


def test_workloads_are_those_listed_and_what_they_own(cluster: FakeCluster) -> None:
    """A snapshot reads the Application first, and holds its workloads, not those of neighbours."""

    def item(name: str, owner: str = "") -> Json:
        references = [{"uid": owner}] if owner else []
        metadata = {"name": name, "uid": f"uid-{name}", "ownerReferences": references}
        return {"metadata": metadata}

    listed = {"kind": "Deployment", "name": "web", "namespace": "shop"}
    cluster.application["status"]["resources"] = [listed, {"kind": "Service", "name": "web"}]
    cluster.lists = {
        "Deployment": [item("web"), item("neighbour")],
        "ReplicaSet": [item("web-1", "uid-web"), item("neighbour-1", "uid-neighbour")],
        "Pod": [item("web-1-a", "uid-web-1"), item("neighbour-1-a", "uid-neighbour-1")],
    }
    snapshot = _argo(cluster).snapshot("web")
    assert [w["metadata"]["name"] for w in snapshot.workloads] == ["web", "web-1", "web-1-a"]
    assert [w["kind"] for w in snapshot.workloads] == ["Deployment", "ReplicaSet", "Pod"]
    assert cluster.order == ["Application", "Deployment", "ReplicaSet", "Pod"]


def test_watch_shows_at_least_every_five_seconds(cluster: FakeCluster) -> None:
    """A watch of a quiet Application still shows it every five seconds, and ends on time."""
    assert len(list(_argo(cluster).watch("web", timeout_s=20))) == 4


def test_watch_of_what_does_not_exist_says_so(cluster: FakeCluster) -> None:
    """A watch of a missing Application shows that it is missing, and ends on time."""
    cluster.application = None
    seen = list(_argo(cluster).watch("web", timeout_s=12))
    assert [snapshot.application for snapshot in seen] == [None, None, None]


class Away(FakeCluster):
    """A cluster whose API server is away for a while: all of it, or only where the workloads are."""

    def __init__(self, application: Json, clock: FakeClock, *, seconds: float, only: str) -> None:
        super().__init__(application, clock)
        self.leaves = clock.now() + timedelta(seconds=7)
        self.returns = self.leaves + timedelta(seconds=seconds)
        self.only = only

    def _ask(self, what: str) -> None:
        if what == self.only and self.leaves <= self.clock.now() < self.returns:
            raise UnavailableError("GET /apis failed: connection refused", hint="Check it.")

    def watch(self, ref: ObjectRef, *, timeout_s: float) -> Iterator[Json]:
        self._ask("watch")
        yield from super().watch(ref, timeout_s=timeout_s)

    def list(self, api_version: str, kind: str, **where: Any) -> tuple[Json, ...]:
        self._ask("list")
        return super().list(api_version, kind, **where)


@pytest.mark.parametrize("only", ["watch", "list"])
@pytest.mark.parametrize(
    ("seconds", "timeout_s", "survives"),
    [(3, 600, True), (60, 600, True), (300, 600, False), (60, 30, False)],
)
def test_a_watch_outlives_an_api_server_that_is_away(
    only: str, seconds: float, timeout_s: float, survives: bool
) -> None:
    """A minute of outage is survived, wherever it is; one that stays, or lasts to the watch's end, is told as what it is."""
    cluster = Away(_application(), FakeClock(), seconds=seconds, only=only)
    cluster.application["status"]["resources"] = [
        {"kind": "Deployment", "name": "web", "namespace": "shop"}
    ]
    begun, seen = cluster.clock.now(), []

    def watch() -> None:
        for snapshot in _argo(cluster).watch("web", timeout_s=timeout_s):
            assert snapshot.application is not None
            seen.append(cluster.clock.now())

    if survives:
        watch()
        assert seen[-1] >= cluster.returns
        assert (cluster.clock.now() - begun).total_seconds() >= timeout_s
    else:
        with pytest.raises(UnavailableError, match="connection refused"):
            watch()
        assert seen
        assert seen[-1] < cluster.returns
