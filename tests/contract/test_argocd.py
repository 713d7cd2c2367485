"""The contract of the Argo CD ports: the recorded behaviour that runbooks rely on."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb.argo import Expectation, Judgement, State, current_revisions, history_of, judge
from gitops_nb.errors import ConflictError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import Snapshot
from tests.contract.platforms import Platform, application, config_map, deployment


@pytest.fixture
def name(platform: Platform) -> str:
    """Name of an Application, its folder and its namespace, which exists."""
    found = platform.new_name()
    platform.namespace(found)
    return found


def _status(snapshot: Snapshot) -> Json:
    return snapshot.application.get("status") or {}


def _phase(snapshot: Snapshot) -> str:
    return str((_status(snapshot).get("operationState") or {}).get("phase", ""))


def _is_at(snapshot: Snapshot, revision: str, health: str = "Healthy") -> bool:
    sync = _status(snapshot).get("sync") or {}
    found = (_status(snapshot).get("health") or {}).get("status")
    return sync.get("revision") == revision and sync["status"] == "Synced" and found == health


def _judged(
    platform: Platform, name: str, wanted: Expectation, *, timeout_s: float = 60
) -> Judgement:
    """Waits for a final judgement, which must not say deployed any earlier."""
    last: list[Judgement] = []

    def is_final(snapshot: Snapshot) -> bool:
        last.append(judge(snapshot, wanted))
        return last[-1].is_final

    platform.until(name, is_final, timeout_s=timeout_s)
    return last[-1]


def _deploy(platform: Platform, name: str, files: dict[str, str], **policy: Any) -> str:
    """A new Application, brought to its first revision by a sync of ours."""
    revision = platform.push({f"{name}/{path}": text for path, text in files.items()})
    platform.application(name, name, **policy)
    if "automated" in policy:
        platform.until(name, lambda s: _is_at(s, revision))
    else:
        platform.argo.sync(name, revision=revision, identifier="first")
        judgement = _judged(platform, name, Expectation(revision, "first"))
        assert judgement.state is State.DEPLOYED, judgement.sentence
    return revision


def test_a_new_application_is_compared_then_synced(platform: Platform, name: str) -> None:
    """A new Application is OutOfSync and Missing at the tip, and one sync of ours deploys it."""
    revision = platform.push({f"{name}/web.yaml": deployment("web")})
    platform.application(name, name)
    snapshot = platform.argo.snapshot(name)
    assert current_revisions(snapshot.application) == (revision,)
    assert _status(snapshot)["sync"]["status"] == "OutOfSync"
    assert _status(snapshot)["health"]["status"] == "Missing"
    assert name in platform.argo.names()
    platform.argo.sync(name, revision=revision, identifier="run-1")
    judgement = _judged(platform, name, Expectation(revision, "run-1"))
    assert judgement.state is State.DEPLOYED
    assert judgement.images == ("example/web:v1",)
    entry = history_of(platform.argo.snapshot(name).application)[-1]
    assert entry["initiatedBy"] == {"username": "gitops-nb"}
    assert entry["revision"] == revision


def test_an_update_says_succeeded_before_it_is_true(platform: Platform, name: str) -> None:
    """On an update ``Succeeded`` at the new revision shows beside Synced and Healthy at the old one."""
    before = _deploy(platform, name, {"web.yaml": deployment("web")})
    revision = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    platform.argo.sync(name, revision=revision, identifier="run-2")
    seen = platform.until(name, lambda s: judge(s, Expectation(revision, "run-2")).is_final)
    lying = [
        s
        for s in seen
        if _phase(s) == "Succeeded"
        and _status(s)["operationState"]["syncResult"]["revision"] == revision
        and _status(s)["health"]["status"] == "Healthy"
        and _status(s)["sync"]["revision"] == before
    ]
    assert lying
    assert {str(judge(s, Expectation(revision, "run-2")).state) for s in lying} == {"progressing"}
    assert judge(seen[-1], Expectation(revision, "run-2")).state is State.DEPLOYED


def test_crash_is_named_at_once_and_failed_at_the_deadline(platform: Platform, name: str) -> None:
    """A crashing release is Succeeded and Progressing, its pod is named, and the deadline makes it failed."""
    _deploy(platform, name, {"web.yaml": deployment("web")})
    revision = platform.push({f"{name}/web.yaml": deployment("web", "v2-crash", deadline=12)})
    platform.argo.sync(name, revision=revision, identifier="run-3")
    wanted = Expectation(revision, "run-3")
    early = platform.until(name, lambda s: bool(judge(s, wanted).failing))[-1]
    judgement = judge(early, wanted)
    assert judgement.state is State.PROGRESSING
    assert [(f.reason, f.image) for f in judgement.failing] == [
        ("CrashLoopBackOff", "example/web:v2-crash")
    ]
    assert _phase(early) == "Succeeded"
    final = _judged(platform, name, wanted)
    assert final.state is State.FAILED
    assert final.health == "Degraded"
    assert "CrashLoopBackOff" in final.sentence
    assert history_of(platform.argo.snapshot(name).application)[-1]["revision"] == revision


def test_a_push_is_not_seen_before_a_refresh(platform: Platform, name: str) -> None:
    """After a push the old revision stays Synced and Healthy; a refresh shows the new one, and is taken away."""
    before = _deploy(platform, name, {"web.yaml": deployment("web")})
    revision = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    platform.clock.sleep(12)
    assert _is_at(platform.argo.snapshot(name), before)
    platform.argo.refresh(name)
    snapshot = platform.argo.snapshot(name)
    assert current_revisions(snapshot.application) == (revision,)
    assert _status(snapshot)["sync"]["status"] == "OutOfSync"
    assert _status(snapshot)["health"]["status"] == "Healthy"
    assert "argocd.argoproj.io/refresh" not in (
        snapshot.application["metadata"].get("annotations") or {}
    )
    assert judge(snapshot, Expectation(revision)).state is State.PROGRESSING


def test_old_operation_fields_survive_a_plain_patch(platform: Platform, name: str) -> None:
    """The controller merges: what an operation leaves out is taken from the one before, unless it was nulled."""
    revision = _deploy(platform, name, {"web.yaml": deployment("web"), "cm.yaml": config_map("x")})
    part = {"kind": "ConfigMap", "name": "x"}  # the core group is left out
    sync = {"revision": revision, "syncStrategy": {"hook": {}}}
    for body in ({**sync, "resources": [part]}, sync):
        operation = {"initiatedBy": {"username": "somebody"}, "sync": body}
        platform.change("Application", "argocd", name, {"operation": operation})
        platform.until(
            name, lambda s: "operation" not in s.application and _phase(s) == "Succeeded"
        )
    state = _status(platform.argo.snapshot(name))["operationState"]
    assert state["operation"]["sync"]["resources"] == [part]
    platform.argo.sync(name, revision=revision, identifier="clean")
    assert _judged(platform, name, Expectation(revision, "clean")).state is State.DEPLOYED
    state = _status(platform.argo.snapshot(name))["operationState"]
    assert "resources" not in state["operation"]["sync"]
    assert state["operation"]["initiatedBy"] == {"username": "gitops-nb"}


def test_a_second_sync_is_refused_while_one_runs(platform: Platform, name: str) -> None:
    """While an operation runs, a sync of ours is refused, and the running one stays as it is."""
    files = {"a.yaml": deployment("a", "v1-slow", deadline=60), "b.yaml": config_map("b")}
    files["b.yaml"] = files["b.yaml"].replace(
        "{name: b}", '{name: b, annotations: {argocd.argoproj.io/sync-wave: "1"}}'
    )
    revision = platform.push({f"{name}/{path}": text for path, text in files.items()})
    platform.application(name, name)
    platform.argo.sync(name, revision=revision, identifier="first")
    waiting = platform.until(name, lambda s: "waiting for healthy" in str(_status(s)))[-1]
    assert judge(waiting, Expectation(revision, "first")).state is State.PROGRESSING
    before = platform.argo.snapshot(name).application
    with pytest.raises(ConflictError, match="gitops-nb runs"):
        platform.argo.sync(name, revision=revision, identifier="second")
    after = platform.argo.snapshot(name).application
    assert after["operation"] == before["operation"]
    assert _judged(platform, name, Expectation(revision, "first")).state is State.DEPLOYED


def test_a_missing_folder_is_a_comparison_error(platform: Platform, name: str) -> None:
    """A folder that is gone makes sync Unknown without a revision, keeps health, and fails a sync."""
    _deploy(platform, name, {"web.yaml": deployment("web")})
    revision = platform.push({f"{name}/web.yaml": None, f"{name}-other/x.yaml": config_map("x")})
    platform.argo.refresh(name)
    platform.until(name, lambda s: _status(s)["sync"]["status"] == "Unknown")
    status = _status(platform.argo.snapshot(name))
    assert "revision" not in status["sync"]
    assert status["health"]["status"] == "Healthy"
    assert [c["type"] for c in status["conditions"]] == ["ComparisonError"]
    assert "app path does not exist" in status["conditions"][0]["message"]
    snapshot = platform.argo.snapshot(name)
    assert judge(snapshot, Expectation(revision)).state is State.IN_DOUBT
    platform.argo.sync(name, revision=revision, identifier="broken")
    judgement = _judged(platform, name, Expectation(revision, "broken"))
    assert judgement.state is State.FAILED
    assert judgement.phase == "Error"


def test_automated_sync_follows_a_refresh(platform: Platform, name: str) -> None:
    """An automated Application syncs by itself once it sees a new revision; the history says so."""
    _deploy(platform, name, {"web.yaml": deployment("web")}, automated={})
    revision = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    platform.argo.refresh(name)
    assert _judged(platform, name, Expectation(revision)).state is State.DEPLOYED
    entry = history_of(platform.argo.snapshot(name).application)[-1]
    assert entry["initiatedBy"] == {"automated": True}
    assert entry["revision"] == revision


def test_self_heal_leaves_no_history(platform: Platform, name: str) -> None:
    """Drift is healed by a partial automated operation, which the history does not hold."""
    revision = _deploy(
        platform, name, {"web.yaml": deployment("web")}, automated={"selfHeal": True}
    )
    entries = len(history_of(platform.argo.snapshot(name).application))
    platform.change("Deployment", name, "web", {"spec": {"replicas": 2}})
    ref = ObjectRef("apps/v1", "Deployment", "web", name)

    def is_healed(snapshot: Snapshot) -> bool:
        state = _status(snapshot).get("operationState") or {}
        is_partial = bool(state.get("operation", {}).get("sync", {}).get("autoHealAttemptsCount"))
        replicas = platform.cluster.get(ref)["spec"]["replicas"]
        return is_partial and replicas == 1 and _is_at(snapshot, revision)

    healed = platform.until(name, is_healed)[-1]
    assert len(history_of(healed.application)) == entries


def test_rollback_by_commit_stays_out_of_sync(platform: Platform, name: str) -> None:
    """A sync to an older commit runs it and stays OutOfSync at the tip; the judgement still says deployed."""
    older = _deploy(platform, name, {"web.yaml": deployment("web")})
    tip = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    platform.argo.sync(name, revision=tip, identifier="forward")
    assert _judged(platform, name, Expectation(tip, "forward")).state is State.DEPLOYED
    platform.argo.sync(name, revision=older, identifier="back")
    wanted = Expectation(older, "back", images=("example/web:v1",))
    judgement = _judged(platform, name, wanted)
    assert judgement.state is State.DEPLOYED
    assert judgement.sync == "OutOfSync"
    assert judgement.revision == tip


def test_what_git_drops_is_pruned_only_when_asked(platform: Platform, name: str) -> None:
    """A file that is deleted leaves its object OutOfSync until a sync may prune."""
    _deploy(platform, name, {"web.yaml": deployment("web"), "cm.yaml": config_map("old")})
    revision = platform.push({f"{name}/cm.yaml": None})
    platform.argo.sync(name, revision=revision, identifier="keep")
    platform.until(name, lambda s: "requiresPruning" in str(_status(s).get("resources")))
    ref = ObjectRef("v1", "ConfigMap", "old", name)
    platform.until(name, lambda s: "operation" not in s.application)
    assert platform.cluster.get(ref) is not None
    assert judge(platform.argo.snapshot(name), Expectation(revision, "keep")).state is (
        State.PROGRESSING
    )
    platform.argo.sync(name, revision=revision, identifier="prune", prune=True)
    assert _judged(platform, name, Expectation(revision, "prune")).state is State.DEPLOYED
    assert platform.cluster.get(ref) is None


def test_a_field_that_git_drops_is_removed(platform: Platform, name: str) -> None:
    """A field that is taken out of a file leaves its object OutOfSync, and a sync removes it; what others added stays."""
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: one, b: two}}\n"
    )
    _deploy(platform, name, {"cm.yaml": text, "web.yaml": deployment("web")})
    ref = ObjectRef("v1", "ConfigMap", name, name)
    platform.other.merge_patch(ref, {"data": {"c": "three"}})
    revision = platform.push({f"{name}/cm.yaml": text.replace(", b: two", "")})
    platform.argo.refresh(name)
    out = {"status": "OutOfSync", "revision": revision}
    platform.until(name, lambda s: out.items() <= _status(s)["sync"].items())
    platform.argo.sync(name, revision=revision, identifier="drop")
    assert _judged(platform, name, Expectation(revision, "drop")).state is State.DEPLOYED
    assert (platform.cluster.get(ref) or {})["data"] == {"a": "one", "c": "three"}


def test_a_commit_elsewhere_moves_the_revision_alone(platform: Platform, name: str) -> None:
    """A commit that changes nothing here moves sync.revision at the next refresh, without an operation."""
    first = _deploy(platform, name, {"web.yaml": deployment("web")})
    revision = platform.push({f"{name}-elsewhere/x.yaml": config_map("x")})
    platform.clock.sleep(1)
    platform.argo.refresh(name)
    platform.until(name, lambda s: _is_at(s, revision))
    snapshot = platform.argo.snapshot(name)
    assert history_of(snapshot.application)[-1]["revision"] == first
    assert judge(snapshot, Expectation(revision)).state is State.DEPLOYED
    wanted = Expectation(first, "first", equivalent=(revision,))
    assert judge(snapshot, wanted).state is State.DEPLOYED


def test_parent_brings_its_children_in_waves(platform: Platform, name: str) -> None:
    """A parent waits for the child of its first wave, then creates the next; its verdict is its children's."""
    children = [f"{name}-a", f"{name}-b"]
    files = {}
    for wave, child in enumerate(children):
        files[f"{child}/web.yaml"] = deployment(
            "web", "v1-slow" if wave == 0 else "v1", deadline=60
        )
        files[f"{name}/{child}.yaml"] = application(
            child, child, url=platform.url, branch=platform.branch, automated=True, wave=wave
        )
    revision = platform.push(files)
    manifest = {"automated": {}}
    platform.cluster.apply(_parent(platform, name, manifest))
    early = []

    def is_done(snapshot: Snapshot) -> bool:
        below = {child: platform.argo.snapshot(child) for child in children}
        first, second = (below[child].application for child in children)
        if second is not None:
            early.append(((first or {}).get("status") or {}).get("health"))
        return judge(snapshot, Expectation(revision), children=below).is_final

    last = platform.until(name, is_done, timeout_s=90)[-1]
    assert early[0]["status"] == "Healthy"
    below = {child: platform.argo.snapshot(child) for child in children}
    assert judge(last, Expectation(revision), children=below).state is State.DEPLOYED


def _parent(platform: Platform, name: str, policy: Json) -> Json:
    source = {"repoURL": platform.url, "targetRevision": platform.branch, "path": name}
    destination = {"server": "https://kubernetes.default.svc", "namespace": "argocd"}
    spec = {
        "project": "default",
        "source": source,
        "destination": destination,
        "syncPolicy": policy,
    }
    metadata = {"name": name, "namespace": "argocd"}
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
    return {**kind, "metadata": metadata, "spec": spec}


def test_an_empty_folder_is_healthy_and_not_deployed(platform: Platform, name: str) -> None:
    """A folder without manifests is Synced and Healthy, and the judgement does not call that deployed."""
    revision = platform.push({f"{name}/README.md": "nothing"})
    platform.application(name, name)
    snapshot = platform.argo.snapshot(name)
    assert _is_at(snapshot, revision)
    judgement = judge(snapshot, Expectation(revision))
    assert judgement.state is State.PROGRESSING
    assert judgement.trouble == "it has no resources"


def test_whether_we_may_act_is_told_without_acting(platform: Platform) -> None:
    """Asking is no write, so it may come before anything is changed; the Application need not be there."""
    assert platform.argo.may_act(platform.new_name())


def test_a_missing_application_cannot_be_synced(platform: Platform) -> None:
    """Neither a sync nor a refresh makes an Application that does not exist."""
    with pytest.raises(ConflictError, match="does not exist"):
        platform.argo.sync("no-such", revision="0" * 40, identifier="x")
    with pytest.raises(ConflictError, match="does not exist"):
        platform.argo.refresh("no-such")
    assert "no-such" not in platform.argo.names()
    assert platform.argo.snapshot("no-such") == Snapshot("no-such", None)
