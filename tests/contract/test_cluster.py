"""The contract of the cluster ports."""

from __future__ import annotations

import pytest
import yaml

from gitops_nb.argo import failing_pods, unfinished
from gitops_nb.errors import ConflictError
from gitops_nb.model import Json, ObjectRef
from tests.contract.platforms import Platform, deployment


@pytest.fixture
def namespace(platform: Platform) -> str:
    """A namespace of the test's own."""
    name = platform.new_name()
    platform.namespace(name)
    return name


def _map(namespace: str, data: dict[str, str]) -> Json:
    metadata = {"name": "settings", "namespace": namespace, "labels": {"part": "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _ref(namespace: str) -> ObjectRef:
    return ObjectRef("v1", "ConfigMap", "settings", namespace)


def test_apply_creates_and_reads_back(platform: Platform, namespace: str) -> None:
    """Applying creates an object; reading gives it back with what the API server adds."""
    stored = platform.cluster.apply(_map(namespace, {"a": "1"}))
    found = platform.cluster.get(_ref(namespace))
    assert found == stored
    assert found["data"] == {"a": "1"}
    assert found["metadata"]["uid"]
    assert found["kind"] == "ConfigMap"


def test_applying_the_same_again_writes_nothing(platform: Platform, namespace: str) -> None:
    """The same manifest twice leaves the resourceVersion as it was."""
    first = platform.cluster.apply(_map(namespace, {"a": "1"}))
    again = platform.cluster.apply(_map(namespace, {"a": "1"}))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_field_that_is_no_longer_applied_goes(platform: Platform, namespace: str) -> None:
    """A key that only we own disappears when the manifest leaves it out; somebody else's stays."""
    platform.cluster.apply(_map(namespace, {"a": "1", "b": "2"}))
    platform.other.merge_patch(_ref(namespace), {"data": {"c": "3"}})
    assert platform.cluster.apply(_map(namespace, {"a": "1"}))["data"] == {"a": "1", "c": "3"}


def test_a_field_of_another_manager_conflicts(platform: Platform, namespace: str) -> None:
    """Changing a field that another manager owns is refused, names both, and changes nothing."""
    platform.cluster.apply(_map(namespace, {"a": "1"}))
    platform.other.merge_patch(_ref(namespace), {"data": {"a": "theirs"}})
    before = platform.cluster.get(_ref(namespace))
    with pytest.raises(ConflictError, match=r"kubectl-edit.* owns .*data\.a"):
        platform.cluster.apply(_map(namespace, {"a": "ours"}))
    assert platform.cluster.get(_ref(namespace)) == before


def test_an_apply_holds_for_what_was_read(platform: Platform, namespace: str) -> None:
    """With a resourceVersion it is refused once somebody changed or removed the object, and changes nothing."""
    first = platform.cluster.apply(_map(namespace, {"a": "1"}))["metadata"]
    seen = first["resourceVersion"]

    def conditional(value: str, version: str) -> Json:
        wanted = _map(namespace, {"a": value})
        known = {"resourceVersion": version, "uid": first["uid"]}
        return {**wanted, "metadata": {**wanted["metadata"], **known}}

    stored = platform.cluster.apply(conditional("2", seen))
    assert stored["data"] == {"a": "2"}
    before = platform.other.merge_patch(_ref(namespace), {"data": {"b": "theirs"}})
    with pytest.raises(ConflictError):
        platform.cluster.apply(conditional("3", seen))
    assert platform.cluster.get(_ref(namespace)) == before
    with pytest.raises(ConflictError):
        platform.cluster.apply(conditional("3", ""))
    assert platform.cluster.get(_ref(namespace)) == before
    new = {"name": "new", "namespace": namespace, "resourceVersion": ""}
    made = platform.cluster.apply({**_map(namespace, {"a": "1"}), "metadata": new})
    assert made["data"] == {"a": "1"}
    elsewhere = {**conditional("3", seen)["metadata"], "name": "gone"}
    with pytest.raises(ConflictError):
        platform.cluster.apply({**_map(namespace, {}), "metadata": elsewhere})
    assert platform.cluster.get(ObjectRef("v1", "ConfigMap", "gone", namespace)) is None


def test_the_same_value_is_shared(platform: Platform, namespace: str) -> None:
    """Applying the value that another manager set is no conflict."""
    platform.cluster.apply(_map(namespace, {"a": "1"}))
    platform.other.merge_patch(_ref(namespace), {"data": {"a": "theirs"}})
    assert platform.cluster.apply(_map(namespace, {"a": "theirs"}))["data"] == {"a": "theirs"}


def test_a_dry_run_tells_and_stores_nothing(platform: Platform, namespace: str) -> None:
    """It gives the object that would be stored, fields that go included, and leaves the live one as it is."""
    platform.cluster.apply(_map(namespace, {"a": "1", "b": "2"}))
    before = platform.cluster.get(_ref(namespace))
    stored = platform.cluster.try_apply(_map(namespace, {"a": "3"}))
    assert stored is not None
    assert stored["data"] == {"a": "3"}
    assert platform.cluster.get(_ref(namespace)) == before
    new = {**_map(namespace, {}), "metadata": {"name": "new", "namespace": namespace}}
    assert platform.cluster.try_apply(new) is not None
    assert platform.cluster.get(ObjectRef("v1", "ConfigMap", "new", namespace)) is None


def test_a_dry_run_finds_the_conflict_of_the_apply(platform: Platform, namespace: str) -> None:
    """What another manager owns with another value is refused in the same words, and nothing is changed."""
    platform.cluster.apply(_map(namespace, {"a": "1"}))
    platform.other.merge_patch(_ref(namespace), {"data": {"a": "theirs"}})
    before = platform.cluster.get(_ref(namespace))
    with pytest.raises(ConflictError, match=r"kubectl-edit.* owns .*data\.a") as tried:
        platform.cluster.try_apply(_map(namespace, {"a": "ours"}))
    with pytest.raises(ConflictError) as applied:
        platform.cluster.apply(_map(namespace, {"a": "ours"}))
    assert tried.value.message == applied.value.message
    assert platform.cluster.get(_ref(namespace)) == before


def test_a_dry_run_where_there_is_no_place_tells_nothing(platform: Platform) -> None:
    """A missing namespace and a kind that is not served are no conflict: nobody can try yet."""
    assert platform.cluster.try_apply(_map("nowhere", {})) is None
    manifest = {
        "apiVersion": "contract.example/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"},
    }
    assert platform.cluster.try_apply(manifest) is None


def test_merge_patch_sets_and_removes(platform: Platform, namespace: str) -> None:
    """A merge patch replaces values, and null removes."""
    platform.cluster.apply(_map(namespace, {"a": "1", "b": "2"}))
    stored = platform.cluster.merge_patch(_ref(namespace), {"data": {"a": None, "c": "3"}})
    assert stored["data"] == {"b": "2", "c": "3"}


def test_stale_merge_patch_changes_nothing(platform: Platform, namespace: str) -> None:
    """A patch with an old resourceVersion is refused, and the object is as it was."""
    first = platform.cluster.apply(_map(namespace, {"a": "1"}))
    before = platform.cluster.merge_patch(_ref(namespace), {"data": {"a": "2"}})
    version = first["metadata"]["resourceVersion"]
    with pytest.raises(ConflictError):
        platform.cluster.merge_patch(
            _ref(namespace), {"metadata": {"resourceVersion": version}, "data": {"a": "3"}}
        )
    assert platform.cluster.get(_ref(namespace)) == before


def test_patching_what_does_not_exist_conflicts(platform: Platform, namespace: str) -> None:
    """A patch of a missing object is refused, and makes none."""
    with pytest.raises(ConflictError):
        platform.cluster.merge_patch(_ref(namespace), {"data": {"a": "1"}})
    assert platform.cluster.get(_ref(namespace)) is None


def test_a_missing_namespace_conflicts(platform: Platform) -> None:
    """Applying into a namespace that does not exist is refused, and names it."""
    with pytest.raises(ConflictError, match='namespaces "nowhere" not found'):
        platform.cluster.apply(_map("nowhere", {}))
    assert platform.cluster.get(_ref("nowhere")) is None


def test_unknown_kinds_are_absent(platform: Platform, namespace: str) -> None:
    """A kind that is not served reads as nothing, and cannot be applied."""
    ref = ObjectRef("contract.example/v1", "Widget", "w", namespace)
    assert platform.cluster.get(ref) is None
    assert platform.cluster.list("contract.example/v1", "Widget") == ()
    manifest = {"apiVersion": ref.api_version, "kind": "Widget"}
    with pytest.raises(ConflictError, match="does not serve Widget"):
        platform.cluster.apply({**manifest, "metadata": {"name": "w", "namespace": namespace}})


def test_a_definition_makes_a_kind_served(platform: Platform, namespace: str) -> None:
    """Once a CustomResourceDefinition is established, its kind can be applied and read."""
    group = f"{platform.new_name()}.example"
    names = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "listKind": "GadgetList"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    platform.cluster.apply(definition)
    ref = ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"gadgets.{group}")
    for item in platform.cluster.watch(ref, timeout_s=30):
        conditions = (item.get("status") or {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break
    platform.clock.sleep(1)
    metadata = {"name": "g", "namespace": namespace}
    platform.cluster.apply({"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": metadata})
    assert platform.cluster.get(ObjectRef(f"{group}/v1", "Gadget", "g", namespace)) is not None


def test_list_by_namespace_and_labels(platform: Platform, namespace: str) -> None:
    """A list holds the objects of its namespace that carry all labels, each with its kind."""
    platform.cluster.apply(_map(namespace, {}))
    found = platform.cluster.list("v1", "ConfigMap", namespace=namespace, labels={"part": "x"})
    assert [(i["kind"], i["metadata"]["name"]) for i in found] == [("ConfigMap", "settings")]
    assert platform.cluster.list("v1", "ConfigMap", namespace=namespace, labels={"part": "y"}) == ()


def test_watch_shows_the_object_and_each_later_version(platform: Platform, namespace: str) -> None:
    """A watch begins with the object as it is, shows a change, and ends after its time."""
    platform.cluster.apply(_map(namespace, {"a": "1"}))
    seen = []
    for item in platform.cluster.watch(_ref(namespace), timeout_s=3):
        seen.append(item["data"]["a"])
        if len(seen) == 1:
            platform.other.merge_patch(_ref(namespace), {"data": {"a": "2"}})
    assert seen == ["1", "2"]


def test_watching_what_does_not_exist_ends(platform: Platform, namespace: str) -> None:
    """A watch of a missing object shows nothing."""
    assert list(platform.cluster.watch(_ref(namespace), timeout_s=5)) == []


def test_our_own_permissions(platform: Platform, namespace: str) -> None:
    """An administrator is told that a write is allowed."""
    assert platform.cluster.allows("create", _ref(namespace))


def test_version_and_server(platform: Platform) -> None:
    """The API server has an address and a version."""
    assert platform.cluster.version().startswith("v1.")
    assert platform.cluster.server.startswith("https://")


def _roll_out(platform: Platform, namespace: str, text: str, *, timeout_s: float) -> list[str]:
    """Applies a Deployment and gives what it waited for, one entry per version seen."""
    manifest = yaml.safe_load(text)
    manifest["metadata"]["namespace"] = namespace
    platform.cluster.apply(manifest)
    ref = ObjectRef("apps/v1", "Deployment", manifest["metadata"]["name"], namespace)
    seen = []
    for item in platform.cluster.watch(ref, timeout_s=timeout_s):
        seen.append(unfinished(item))
        conditions = (item.get("status") or {}).get("conditions") or []
        is_late = any(c.get("reason") == "ProgressDeadlineExceeded" for c in conditions)
        if seen[-1] == "" or is_late:
            return [*seen, "late"] if is_late else seen
    return seen


def _items(platform: Platform, namespace: str) -> list[Json]:
    kinds = (("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("v1", "Pod"))
    return [i for v, k in kinds for i in platform.cluster.list(v, k, namespace=namespace)]


def test_a_deployment_rolls_out(platform: Platform, namespace: str) -> None:
    """A Deployment is unfinished at first, then complete with all replicas; an update replaces every pod."""
    seen = _roll_out(platform, namespace, deployment("web", replicas=3), timeout_s=30)
    assert seen[0] != ""
    assert seen[-1] == ""
    seen = _roll_out(platform, namespace, deployment("web", "v2", replicas=3), timeout_s=30)
    # Which reason comes first is chance: a real controller may be far along before the first look.
    assert seen[0] != ""
    assert seen[-1] == ""
    images = {
        container["image"]
        for pod in platform.cluster.list("v1", "Pod", namespace=namespace)
        if not pod["metadata"].get("deletionTimestamp")
        for container in pod["spec"]["containers"]
    }
    assert images == {"example/web:v2"}


@pytest.mark.parametrize(
    ("tag", "reason"), [("v2-crash", "CrashLoopBackOff"), ("v2-notfound", "ImagePullBackOff")]
)
def test_a_failing_update_keeps_the_old_pods(
    platform: Platform, namespace: str, tag: str, reason: str
) -> None:
    """A failing image leaves the old pods running, names its own, and ends at the progress deadline."""
    _roll_out(platform, namespace, deployment("web", replicas=2, deadline=5), timeout_s=30)
    text = deployment("web", tag, replicas=2, deadline=5)
    seen = _roll_out(platform, namespace, text, timeout_s=30)
    assert seen[-1] == "late"
    items = _items(platform, namespace)
    failing = failing_pods(items)
    assert {(f.reason, f.image) for f in failing} == {(reason, f"example/web:{tag}")}
    ready = next(i for i in items if i["kind"] == "Deployment")["status"]["availableReplicas"]
    assert ready == 2


def test_a_slow_pod_takes_its_time(platform: Platform, namespace: str) -> None:
    """A slow image is unfinished for twenty seconds of the cluster's time, then complete."""
    started = platform.clock.now()
    seen = _roll_out(platform, namespace, deployment("web", "v1-slow", deadline=60), timeout_s=60)
    assert seen[-1] == ""
    assert 15 < (platform.clock.now() - started).total_seconds() < 40
