"""The judgement of outcomes, on every snapshot of the recordings and on the traps one by one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gitops_nb.argo import (
    IDENTIFIER,
    Expectation,
    Judgement,
    State,
    current_revisions,
    failing_pods,
    healthy_since,
    judge,
    unfinished,
)
from gitops_nb.argo.arrival import is_ours
from gitops_nb.model import from_json, to_json
from gitops_nb.ports import Snapshot
from tests import recordings
from tests.recordings import Recording


def _folder(application: dict[str, Any]) -> list[str]:
    spec = application["spec"]
    sources = spec.get("sources") or [spec["source"]]
    return [source["path"] for source in sources if source.get("path")]


def _wanted(recording: Recording, application: dict[str, Any], revision: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder in _folder(application):
        found |= recordings.deployments_at(recording, revision, folder)
    return found


def _images(deployment: dict[str, Any]) -> list[str]:
    return [c["image"] for c in deployment["spec"]["template"]["spec"]["containers"]]


def _not_rolled_out(recording: Recording, application: dict[str, Any], revision: str) -> list[str]:
    """What is wrong in the cluster, from the files and the objects alone; nothing of Argo CD is read."""
    namespace = application["spec"]["destination"].get("namespace")
    wrong = []
    for name, manifest in _wanted(recording, application, revision).items():
        live = recording.objects.get((namespace, "Deployment", name))
        if live is None:
            wrong.append(f"{name} does not exist")
            continue
        status = live.get("status") or {}
        replicas = manifest["spec"].get("replicas", live["spec"].get("replicas"))
        if "/spec/replicas" in str(application["spec"].get("ignoreDifferences")):
            replicas = live["spec"]["replicas"]
        counts = [
            status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")
        ]
        if _images(live) != _images(manifest):
            wrong.append(f"{name} runs {_images(live)}")
        if status.get("observedGeneration") != live["metadata"]["generation"]:
            wrong.append(f"{name} is not observed")
        if set(counts) != {replicas}:
            wrong.append(f"{name} has {counts} of {replicas}")
    return wrong


def _crashing(recording: Recording, application: dict[str, Any]) -> set[tuple[str, str]]:
    """Pods that run the image their own Deployment asks for and cannot start, with the reason."""
    namespace = application["spec"]["destination"].get("namespace")
    tracked = f"{application['metadata']['name']}:"
    asked = {
        (name, image)
        for (where, kind, name), item in recording.objects.items()
        if where == namespace and kind == "Deployment"
        if item["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"].startswith(tracked)
        for image in _images(item)
    }
    found = set()
    for (where, kind, name), pod in recording.objects.items():
        if where != namespace or kind != "Pod" or pod["metadata"].get("deletionTimestamp"):
            continue
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            waiting = container["state"].get("waiting") or {}
            owner = name.rsplit("-", 2)[0]
            if (owner, container["image"]) in asked and waiting.get("reason"):
                found.add((name, waiting["reason"]))
    return found


def _operations(recording: Recording) -> dict[str, set[str]]:
    """Revision -> identifiers of the operations that were asked for it."""
    found: dict[str, set[str]] = {}
    for step in recording.steps:
        identifier = re.search(r'"gitops-nb/id", "value": "([^"]+)"', step["detail"])
        revision = re.search(r'"revisions?": \[?"([^"]+)"', step["detail"])
        if identifier and revision:
            found.setdefault(revision[1], set()).add(identifier[1])
    return found


def _expectations(recording: Recording, application: dict[str, Any]) -> list[Expectation]:
    operations = _operations(recording)
    found = []
    for revision in recording.trees:
        images = [i for d in _wanted(recording, application, revision).values() for i in _images(d)]
        for identifier in [None, *sorted(operations.get(revision, ()))]:
            found.append(Expectation(revision, identifier, images=tuple(images)))
    return found


def _children(recording: Recording) -> dict[str, Snapshot]:
    return {name: recording.snapshot(name) for name in recording.applications}


@pytest.mark.parametrize("with_images", [True, False])
def test_never_deployed_before_the_rollout_is_complete(with_images: bool) -> None:
    """No snapshot of any recording is judged deployed while a workload of its revision is not rolled out."""
    counts: Counter[str] = Counter()
    wrong = []
    for recording in recordings.load():
        counts["recordings"] += 1
        for label, snapshot in recording.snapshots():
            counts["snapshots"] += 1
            for named in _expectations(recording, snapshot.application):
                expectation = named if with_images else replace(named, images=())
                judgement = judge(snapshot, expectation, children=_children(recording))
                counts["judgements"] += 1
                counts[str(judgement.state)] += 1
                if judgement.state is not State.DEPLOYED:
                    continue
                below = [snapshot.application]
                below += [
                    recording.applications[r["name"]]
                    for r in snapshot.application["status"]["resources"]
                    if r.get("kind") == "Application"
                ]
                for application in below:
                    trouble = _not_rolled_out(recording, application, expectation.revision)
                    if trouble:
                        wrong.append(
                            f"{label} {expectation.revision} {expectation.identifier}: {trouble}"
                        )
    print(dict(counts))
    if not with_images:
        # Somebody changed the image by hand 0.1 s before: only the expected images can tell.
        wrong = [line for line in wrong if not line.startswith("039-drift-selfheal-off")]
    assert wrong == []
    assert counts["recordings"] == 84
    assert counts["deployed"] > 400


def test_names_the_pod_that_fails_and_its_reason() -> None:
    """Whenever a pod of what should run cannot start, the judgement names it and the kubelet's reason."""
    named: set[tuple[str, str, str]] = set()
    missed = []
    for recording in recordings.load():
        for label, snapshot in recording.snapshots():
            crashing = _crashing(recording, snapshot.application)
            state = (snapshot.application.get("status") or {}).get("operationState") or {}
            if snapshot.application.get("operation") or state.get("phase") == "Running":
                continue
            for revision in recording.trees:
                judgement = judge(snapshot, Expectation(revision), children=_children(recording))
                pods = {(f.pod, f.reason) for f in judgement.failing}
                if crashing - pods:
                    missed.append(f"{label} {revision}: {crashing - pods}")
                assert all(f"{pod} " in judgement.trouble for pod, _ in crashing & pods), label
                named |= {(recording.name, *pod) for pod in crashing & pods}
    print(len(named), "failing pods named:", sorted(named))
    assert missed == []
    assert {name[:3] for name, *_ in named} >= {"011", "012", "014", "044", "058", "084"}


@pytest.mark.parametrize(
    ("name", "identifier", "revision", "state"),
    [
        ("001-manual-sync-new-app", "op-4", "$SHA1", "deployed"),
        ("002-automated-sync-new-app", None, "$SHA1", "deployed"),
        ("003-push-no-refresh", None, "$SHA2", "deployed"),
        ("006-sync-to-given-revision-without-refresh", "op-7", "$SHA2", "deployed"),
        ("007-resync-same-revision", "op-10", "$SHA1", "deployed"),
        ("009-other-actor", "ours", "$SHA2", "deployed"),
        ("010-manual-op-on-automated-app", "op-9", "$SHA1", "in doubt"),
        ("011-crash-short-deadline", "op-7", "$SHA2", "failed"),
        ("012-crash-default-deadline-60s", "op-3", "$SHA1", "progressing"),
        ("013-slow", "op-7", "$SHA2", "deployed"),
        ("014-notfound", None, "$SHA2", "failed"),
        ("016-presync-hook-fails", "op-7", "$SHA2", "failed"),
        ("017-postsync-hook-fails", "op-7", "$SHA2", "failed"),
        ("018-hooks-succeed", "op-3", "$SHA1", "deployed"),
        ("019-waves-failing-wave", "op-3", "$SHA1", "failed"),
        ("020-invalid-unknown-field", "op-3", "$SHA1", "progressing"),
        ("025-generation-missing-path", None, "$SHA1", "failed"),
        ("036-prune", "op-12", "$SHA2", "deployed"),
        ("042-rollback-older-revision", "op-9", "$SHA1", "deployed"),
        ("043-rollback-git-revert", None, "$SHA3", "deployed"),
        ("051-retry-backoff", "op-3", "$SHA1", "failed"),
        ("056-multi-source", "op-7", "$SHA2", "deployed"),
        ("059-sync-300-resources", "op-3", "$SHA1", "deployed"),
        ("060-controller-killed-mid-sync", "op-3", "$SHA1", "deployed"),
        ("067-job-in-sync-fails", "op-3", "$SHA1", "failed"),
        ("068-terminate-operation", "op-3", "$SHA1", "failed"),
        ("069-remove-operation-field-while-running", "op-3", "$SHA1", "in doubt"),
        ("070-partial-then-full-with-waves", "op-11", "$SHA2", "progressing"),
        ("073-partial-then-full-nulled", "op-12", "$SHA2", "deployed"),
        ("077-commit-without-manifest-change", None, "$SHA2", "deployed"),
        ("084-first-deploy-crash-then-fix", "op-7", "$SHA2", "deployed"),
        ("085-other-actor-without-info", "ours", "$SHA1", "in doubt"),
    ],
)
def test_end_of_a_recording(name: str, identifier: str | None, revision: str, state: str) -> None:
    """The last snapshot of a scenario is judged as the facts say it ended."""
    recording = _ended(name)
    snapshot = recording.snapshot(f"s{name[:3]}")
    judgement = judge(snapshot, Expectation(revision, identifier))
    assert judgement.state == state, judgement.sentence
    assert judgement.sentence
    assert judgement.is_final is (state in ("deployed", "failed"))


def _ended(name: str) -> Recording:
    recording = next(r for r in recordings.load() if r.name == name)
    for _ in recording.snapshots():
        pass
    return recording


def test_manifest_that_vanished_is_noticed_when_the_workload_is_named() -> None:
    """A damaged file prunes the workload and leaves Synced and Healthy; the expected workload tells."""
    snapshot = _ended("075-bad-yaml-without-kind-prune").snapshot("s075")
    judgement = judge(snapshot, Expectation("$SHA2", workloads=("Deployment/web",)))
    assert judgement.state is State.PROGRESSING
    assert judgement.trouble == "Deployment/web does not exist"


def test_empty_application_is_not_deployed() -> None:
    """An Application without any resource is Synced and Healthy, and not deployed."""
    recording = next(r for r in recordings.load() if r.name == "052-empty-application")
    empty = [
        judge(snapshot, Expectation("$SHA1"))
        for _, snapshot in recording.snapshots()
        if (snapshot.application["status"] or {}).get("health", {}).get("status") == "Healthy"
        and not snapshot.application["status"].get("resources")
    ]
    assert empty
    assert {judgement.state for judgement in empty} == {State.PROGRESSING}


def test_parent_waits_for_its_children() -> None:
    """A parent of Applications that is Synced and Healthy itself is not deployed before its children are."""
    recording = next(r for r in recordings.load() if r.name == "045-app-of-apps-health-off")
    seen = []
    for _, snapshot in recording.snapshots():
        if snapshot.name != "s045":
            continue
        alone = judge(snapshot, Expectation("$SHA1"))
        below = judge(snapshot, Expectation("$SHA1"), children=_children(recording))
        assert alone.state is not State.DEPLOYED
        seen.append((below.state, _children(recording).keys()))
    states = [state for state, _ in seen]
    assert states[-1] is State.DEPLOYED
    first = states.index(State.DEPLOYED)
    statuses = [s["status"]["health"]["status"] for s in [recording.applications["s045"]]]
    assert statuses == ["Healthy"]
    assert State.PROGRESSING in states[:first]


def test_blocked_by_a_sync_window_says_so() -> None:
    """An operation that a sync window holds back is progressing, with that sentence."""
    recording = next(r for r in recordings.load() if r.name == "033-window-deny-manual")
    sentences = {
        judge(snapshot, Expectation("$SHA1", "op-4")).sentence
        for _, snapshot in recording.snapshots()
    }
    assert "the sync of s033 to $SHA1 is blocked by a sync window" in sentences


def test_judgement_round_trips_through_json() -> None:
    """A judgement with failing pods is the same value after a trip through JSON."""
    snapshot = _ended("011-crash-short-deadline").snapshot("s011")
    judgement = judge(snapshot, Expectation("$SHA2", "op-7"))
    assert judgement.failing
    assert from_json(Judgement, to_json(judgement)) == judgement


def test_healthy_since_is_the_newest_sync() -> None:
    """A resync of the same revision starts the time again: why it was needed nobody knows."""
    application = _ended("007-resync-same-revision").applications["s007"]
    since = healthy_since(application)
    history = application["status"]["history"]
    assert len(history) == 3
    assert since is not None
    assert since.isoformat()[:19] >= history[-1]["deployedAt"][:19]
    assert current_revisions(application) == ("$SHA1",)


def _pod(name: str, owner: tuple[str, str], **labels: str) -> dict[str, Any]:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    status = {"name": "main", "state": waiting, "restartCount": 3, "image": "x:2"}
    kind, owner_name = owner
    metadata = {
        "name": name,
        "labels": {label.replace("_", "-"): value for label, value in labels.items()},
        "ownerReferences": [{"kind": kind, "name": owner_name}],
    }
    return {"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [status]}}


def _controlled(kind: str, name: str, env: str, **metadata: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "x:2", "env": [{"name": "A", "value": env}]}
    template = {"metadata": {"labels": {"hash": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "template": template}
    return {"kind": kind, "metadata": {"name": name, "generation": 1, **metadata}, "spec": spec}


@pytest.mark.parametrize(("env", "named"), [("old", ["web-1-a"]), ("new", [])])
def test_pods_of_the_template_before_are_not_named(env: str, named: list[str]) -> None:
    """Until the new ReplicaSet exists, the old one's crashing pods say nothing about a new template of the same image."""
    numbered = {"deployment.kubernetes.io/revision": "1"}
    owner = [{"kind": "Deployment", "name": "web"}]
    old = _controlled("ReplicaSet", "web-1", "old", annotations=numbered, ownerReferences=owner)
    workloads = [
        _controlled("Deployment", "web", env),
        old,
        _pod("web-1-a", ("ReplicaSet", "web-1")),
    ]
    assert [failing.pod for failing in failing_pods(workloads)] == named


def test_old_pods_of_a_stateful_set_are_not_named() -> None:
    """Of a StatefulSet, only pods of its update revision are named."""
    owner = ("StatefulSet", "db")
    workloads = [
        {**_controlled("StatefulSet", "db", "new"), "status": {"updateRevision": "db-2"}},
        _pod("db-0", owner, controller_revision_hash="db-1"),
        _pod("db-1", owner, controller_revision_hash="db-2"),
    ]
    assert [failing.pod for failing in failing_pods(workloads)] == ["db-1"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({}, "waits for its new specification to be observed"),
        ({"observedGeneration": 1}, "0 of 2 replicas updated"),
        ({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 3}, "1 old replicas left"),
        ({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2}, "0 of 2 updated replicas"),
        (
            {"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2},
            "",
        ),
    ],
)
def test_what_a_rollout_waits_for(status: dict[str, int], sentence: str) -> None:
    """A rollout says what it waits for, and nothing once it is complete."""
    deployment = _controlled("Deployment", "web", "x") | {"status": status}
    deployment["spec"]["replicas"] = 2
    found = unfinished(deployment)
    assert sentence in found
    assert bool(found) is bool(sentence)


def test_degraded_right_after_a_fix_is_not_final() -> None:
    """While a Deployment still shows the deadline of the release before, the fix that replaced it has not failed."""
    recording = _ended("011-crash-short-deadline")
    wanted = Expectation("$SHA2", "op-7")
    assert judge(recording.snapshot("s011"), wanted).state is State.FAILED
    deployment = recording.objects["s011", "Deployment", "web"]
    deployment["spec"] = recordings.with_template({"replicas": 1, "images": ["example/web:v1"]})
    deployment["metadata"]["generation"] = deployment["status"]["observedGeneration"] = 3
    good = recording.objects["s011", "ReplicaSet", "web-55cf9554c4"]
    good["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    judgement = judge(recording.snapshot("s011"), wanted)
    assert judgement.health == "Degraded"
    assert judgement.state is State.PROGRESSING
    assert judgement.failing == ()


def test_missed_deadline_is_final_even_when_no_container_says_why() -> None:
    """A release whose pods run but never become ready has failed once its own deadline has passed."""
    recording = _ended("011-crash-short-deadline")
    for (_, kind, _), item in recording.objects.items():
        if kind == "Pod":
            item["status"]["containerStatuses"] = []
    judgement = judge(recording.snapshot("s011"), Expectation("$SHA2", "op-7"))
    assert judgement.failing == ()
    assert judgement.state is State.FAILED
    assert 'Deployment web: ReplicaSet "web-6ffd6b76ff" has timed out' in judgement.sentence


def test_an_identifier_alone_is_not_our_operation() -> None:
    """A patch by somebody else that sets no ``info`` inherits ours: what it was asked for has to be ours too."""
    application = {"spec": {"source": {"repoURL": "r", "path": "p"}}, "metadata": {"name": "a"}}
    info = [{"name": IDENTIFIER, "value": "op-1"}]

    def state(revision: str, begun: str = "t1") -> dict[str, object]:
        operation = {"info": info, "sync": {"revision": revision}}
        return {"operation": operation, "startedAt": begun, "phase": "Succeeded"}

    ours = Expectation("a" * 40, "op-1", started_at="t1")
    assert is_ours(state("a" * 40), application, ours)
    assert not is_ours(state("b" * 40), application, ours)
    assert not is_ours(state("a" * 40, "t2"), application, ours)
    assert not is_ours(state("a" * 40), application, Expectation("a" * 40, "op-2"))
