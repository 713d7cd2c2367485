"""Whether a version is seen in what runs, one arrangement of images after the other."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb.argo import Expectation, State, healthy_since, judge
from gitops_nb.argo.evidence import Other, Version, look
from gitops_nb.argo.overrides import overrides, set_to
from tests.argo.applications import REVISION, deployed, pod, resource, snapshot, workload

NEW = "registry.example/shop/web:v2"
OLD = "registry.example/shop/web:v1"
DIGEST = "sha256:" + "c" * 64
ROLLOUT = {"group": "argoproj.io", "version": "v1alpha1", "kind": "Rollout", "name": "web"}
CRON = {"group": "batch", "version": "v1", "kind": "CronJob", "name": "nightly"}


def judged(snapshot: Any, version: Version) -> Any:
    """The judgement of a snapshot that has to show a version."""
    return judge(snapshot, Expectation(REVISION, versions=(version,)))


def test_every_pod_on_the_old_image_is_in_doubt() -> None:
    """Synced and Healthy at the revision while the pods run another version is not deployed."""
    judgement = judged(snapshot(*deployed("Deployment", "web", OLD)), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert f"no workload runs v2: Deployment web runs {OLD}" in judgement.sentence
    assert judgement.unseen


def test_the_tag_in_running_containers_is_enough() -> None:
    """The plain flow: the tag is there, and the judgement says where."""
    judgement = judged(snapshot(*deployed("Deployment", "web", NEW)), Version("v2"))
    assert judgement.state is State.DEPLOYED
    assert judgement.carriers == ("Deployment web",)


def test_sidecars_and_init_containers_of_other_images_count_nothing() -> None:
    """Containers of somebody else's image beside the promoted one may have any version."""
    items = deployed("Deployment", "web", NEW, "istio/proxyv2:1.20")
    items[-1]["spec"]["initContainers"] = [{"name": "wait", "image": "busybox:1.36"}]
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is State.DEPLOYED


def test_an_init_container_of_the_promoted_image_has_to_follow() -> None:
    """A migration of the version before beside the new one is not the new version."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["spec"]["initContainers"] = [{"name": "migrate", "image": OLD}]
    items[-1]["status"]["initContainerStatuses"] = [
        {"name": "migrate", "state": {"terminated": {"exitCode": 0}}}
    ]
    judgement = judged(snapshot(*items), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert OLD in judgement.sentence


def test_each_workload_of_the_image_has_to_run_it() -> None:
    """A worker that stayed at the old tag of the same image leaves all in doubt."""
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", OLD)]
    judgement = judged(snapshot(*items), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert f"Deployment worker runs {OLD}" in judgement.sentence


def test_a_neighbour_that_still_runs_the_version_before_was_left_behind() -> None:
    """One tag for two images of a team: the one that did not follow is named, whatever its name."""
    left = "registry.example/shop/worker:v1"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", left)]
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is State.IN_DOUBT
    assert judged(snapshot(*items), Version("v2", ("v0",))).state is State.DEPLOYED


def test_two_keys_may_set_versions_of_one_image() -> None:
    """What another promoted key says of the same image is right where it stands, unless it may as well be a leftover."""
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", OLD)]
    also = (Other("v1"),)
    assert judged(snapshot(*items), Version("v2", ("v0",), also=also)).state is State.DEPLOYED
    left = judged(snapshot(*items), Version("v2", ("v1",), also=also))
    assert left.state is State.IN_DOUBT
    assert "another promoted key says too: `proof` of that key in fleet.yaml" in left.sentence
    named = (Other("v1", ("registry.example/shop/web",)),)
    assert judged(snapshot(*items), Version("v2", ("v1",), also=named)).state is State.DEPLOYED


def test_another_keys_value_excuses_nothing_of_an_image_that_is_known() -> None:
    """The file names the image of this key and nobody that of the other: its value, never promoted, says nothing here."""
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", OLD)]
    known = Version("v2", ("v0",), names=("registry.example/shop/web",), also=(Other("v1"),))
    assert judged(snapshot(*items), known).state is State.IN_DOUBT


def test_what_ran_two_promotions_ago_was_left_behind_too() -> None:
    """A neighbour does not have to run the version just before."""
    left = "registry.example/shop/worker:v0"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", left)]
    assert judged(snapshot(*items), Version("v2", ("v1", "v0"))).state is State.IN_DOUBT
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is State.DEPLOYED


OVERRIDES = {
    "helm parameter": {"helm": {"parameters": [{"name": "worker.tag", "value": "v0"}]}},
    "helm values": {"helm": {"values": "worker:\n  tag: v0\n"}},
    "helm values object": {"helm": {"valuesObject": {"workers": [{"image": {"tag": "v0"}}]}}},
    "whole reference": {"helm": {"valuesObject": {"main": "registry.example/shop/worker:v0"}}},
    "kustomize patch": {
        "kustomize": {
            "patches": [
                {
                    "patch": "[{op: replace, path: /spec/image, value: 'registry.example/shop/worker:v0'}]"
                }
            ]
        }
    },
    "plugin parameter": {"plugin": {"parameters": [{"name": "worker-tag", "string": "v0"}]}},
    "plugin variable": {"plugin": {"env": [{"name": "WORKER_TAG", "value": "v0"}]}},
    "jsonnet variable": {"directory": {"jsonnet": {"extVars": [{"name": "tag", "value": "v0"}]}}},
}


@pytest.mark.parametrize("said", OVERRIDES.values(), ids=OVERRIDES)
def test_every_way_to_pin_a_second_image_is_asked(said: dict[str, Any]) -> None:
    """However the Application writes it: its override is why the neighbour did not follow."""
    left = "registry.example/shop/worker:v0"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", left)]
    judgement = judged(snapshot(*items, source={"repoURL": "x", **said}), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert left in judgement.sentence
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is State.DEPLOYED


def test_an_unrelated_image_of_the_same_text_proves_nothing_while_the_version_before_runs() -> None:
    """Nobody knows which image the key sets: what still runs the version before may be it, in whatever registry."""
    items = [
        *deployed("Deployment", "exporter", "quay.example/metrics/exporter:v2"),
        *deployed("Deployment", "web", OLD),
    ]
    judgement = judged(snapshot(*items), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert f"Deployment web runs {OLD}" in judgement.sentence


def test_an_image_of_the_last_name_alone_proves_nothing_beside_what_nobody_judges() -> None:
    """What runs the image that the file names may be the CronJob; without one a mirror is enough."""
    items = deployed("Deployment", "web", "mirror.internal/cache/web:v2")
    known = Version("v2", ("v1",), names=("registry.example/batch/web",))
    assert judged(snapshot(*items), known).state is State.DEPLOYED
    judgement = judged(snapshot(*items, extra=(CRON,)), known)
    assert judgement.state is State.IN_DOUBT
    assert (
        "nothing here can judge CronJob nightly, which may run registry.example/batch/web"
        in judgement.unseen
    )


def test_a_digest_alone_shows_the_tag_that_was_promoted_with_it() -> None:
    """Charts leave the tag out where a digest is given; another digest shows neither."""
    items = deployed("Deployment", "web", f"registry.example/shop/web@{DIGEST}")
    also = (Other(DIGEST, ("registry.example/shop/web",)),)
    tag = Version("v2", ("v1",), names=("registry.example/shop/web",), also=also)
    assert judged(snapshot(*items), tag).state is State.DEPLOYED
    other = (Other("sha256:" + "d" * 64),)
    assert judged(snapshot(*items), Version("v2", ("v1",), also=other)).state is State.IN_DOUBT


@pytest.mark.parametrize(
    ("helm", "text"),
    [
        ({"parameters": [{"name": "image.tag", "value": "v1"}]}, "v1"),
        ({"values": "image: {tag: v1}"}, "v1"),
        ({"valuesObject": {"image": {"tag": "v1"}}, "values": "image: {tag: v0}"}, "v1"),
        ({"parameters": [{"name": "tag", "value": "v1"}]}, None),
        ({"values": "a: ["}, None),
        ({}, None),
    ],
)
def test_what_the_application_sets_a_key_to(helm: dict[str, Any], text: str | None) -> None:
    """Parameters, then the object of values, then their text."""
    assert (
        set_to({"spec": {"source": {"repoURL": "x", "helm": helm}}}, "image.tag", "value") == text
    )


def test_a_mirror_of_the_image_that_was_left_behind_is_asked() -> None:
    """By its last name a mirror may be the image; at an earlier version, or pinned by the Application, it did not follow."""
    left = "mirror.internal/cache/web:v0"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", left)]
    names = ("registry.example/shop/web",)
    assert judged(snapshot(*items), Version("v2", ("v1", "v0"), names)).state is State.IN_DOUBT
    pinned = {"repoURL": "x", "helm": {"parameters": [{"name": "workerImage", "value": left}]}}
    one = snapshot(*items, source=pinned)
    assert judged(one, Version("v2", ("v1",), names)).state is State.IN_DOUBT
    # Another team's image of the same last name goes its own way.
    assert judged(snapshot(*items), Version("v2", ("v1",), names)).state is State.DEPLOYED


def test_another_keys_value_excuses_its_own_image_alone() -> None:
    """The agent is at v1 by a key of its own: a worker of the promoted image at v1 was left behind all the same."""
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", OLD)]
    also = (Other("v1", ("registry.example/shop/agent",)),)
    version = Version("v2", ("v1",), names=("registry.example/shop/web",), also=also)
    judgement = judged(snapshot(*items), version)
    assert judgement.state is State.IN_DOUBT
    assert f"Deployment worker runs {OLD}" in judgement.sentence
    agent = "registry.example/shop/agent:v1"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "agent", agent)]
    assert judged(snapshot(*items), version).state is State.DEPLOYED


def test_one_container_is_the_proof_of_one_key() -> None:
    """Two keys of one value whose images nobody named: the agent's container does not show that the other key has an effect."""
    keys = (Version("v2", ("v0",)), Version("v2", ("v0",)))

    def seen(*images: str, versions: tuple[Version, ...] = keys) -> Any:
        items = snapshot(*deployed("Deployment", "web", *images))
        return judge(items, Expectation(REVISION, versions=versions))

    agent = "registry.example/shop/agent:v2"
    judgement = seen("registry.example/shop/web:v1", agent)
    assert judgement.state is State.IN_DOUBT
    assert "registry.example/shop/agent has v2, which 2 keys set" in judgement.unseen
    assert seen(NEW, agent).state is State.DEPLOYED
    # An image that one of the keys names is that one's proof, not the other one's, in whatever registry it lies.
    named = Version("v2", ("v0",), names=("registry.example/shop/agent",))
    mirrored = "mirror.internal/cache/agent:v2"
    for own in (agent, mirrored):
        assert seen(OLD, own, versions=(named, keys[0])).state is State.IN_DOUBT
        assert seen(NEW, own, versions=(named, keys[0])).state is State.DEPLOYED
    proven = Version("v2", names=("registry.example/shop/agent",), is_declared=True)
    assert seen(OLD, agent, versions=(named, proven)).state is State.DEPLOYED


def test_tag_and_digest_of_one_image_are_two_keys_of_one_container() -> None:
    """Their values differ: one container shows both."""
    items = deployed("Deployment", "web", f"registry.example/shop/web:v2@{DIGEST}")
    keys = (Version("v2", also=(Other(DIGEST),)), Version(DIGEST, also=(Other("v2"),)))
    judgement = judge(snapshot(*items), Expectation(REVISION, versions=keys))
    assert judgement.state is State.DEPLOYED


def with_init(name: str, *images: str, **more: Any) -> list[dict[str, Any]]:
    """A Deployment whose pod has an init container of the promoted version, which has ended."""
    items = deployed("Deployment", name, *images)
    items[-1]["spec"]["initContainers"] = [{"name": "migrate", "image": NEW, **more}]
    state = {"running": {}} if more else {"terminated": {"exitCode": 0}}
    items[-1]["status"]["initContainerStatuses"] = [{"name": "migrate", "state": state}]
    return items


def test_an_init_container_alone_runs_nothing() -> None:
    """It ended before the server began, and the server is another image: no running container has the version."""
    server = "registry.example/shop/web-server:v1"
    known = Version("v2", ("v1",), names=("registry.example/shop/web",))
    for version in (known, Version("v2", ("v0",))):
        judgement = judged(snapshot(*with_init("web", server)), version)
        assert judgement.state is State.IN_DOUBT
        assert "only the init container migrate of Deployment web has v2" in judgement.unseen
        assert f"{server} runs" in judgement.unseen


def test_an_init_container_counts_where_something_else_shows_it_too() -> None:
    """The version runs in the server, or goes on as a sidecar, or fleet.yaml says that this image shows it."""
    server = "registry.example/shop/web-server:v1"
    known = Version("v2", ("v1",), names=("registry.example/shop/web",))
    both = [*deployed("Deployment", "web", NEW), *with_init("worker", server)]
    judgement = judged(snapshot(*both), known)
    assert judgement.state is State.DEPLOYED
    assert "only the init container migrate of Deployment worker" in str(judgement.others)
    sidecar = with_init("web", server, restartPolicy="Always")
    assert judged(snapshot(*sidecar), known).state is State.DEPLOYED
    declared = Version("v2", names=("registry.example/shop/web",), is_declared=True)
    assert judged(snapshot(*with_init("web", server)), declared).state is State.DEPLOYED


def test_a_sidecar_that_ended_does_not_run() -> None:
    """An init container that has to go on has not done what it is for when it ends."""
    items = with_init("web", "registry.example/shop/web-server:v1", restartPolicy="Always")
    ended = {"terminated": {"exitCode": 0}}
    items[-1]["status"]["initContainerStatuses"][0]["state"] = ended
    version = Version("v2", ("v1",), names=("registry.example/shop/web",))
    assert judged(snapshot(*items), version).state is State.IN_DOUBT


def test_what_runs_beside_the_version_in_one_pod_is_told() -> None:
    """A container of the same team at another version may have stayed behind, or not: a reader has to tell."""
    items = deployed("Deployment", "web", NEW, "registry.example/shop/agent:v7", "istio/proxy:1")
    judgement = judged(snapshot(*items), Version("v2", ("v1",)))
    assert judgement.state is State.DEPLOYED
    assert judgement.others == ("side-0 of Deployment web (registry.example/shop/agent:v7)",)


def test_a_workload_of_another_product_is_told_and_not_asked() -> None:
    """A cache beside the application has its own version: what was not looked at stands in the judgement."""
    items = [*deployed("Deployment", "web", NEW), *deployed("StatefulSet", "cache", "redis:7.2")]
    judgement = judged(snapshot(*items), Version("v2", ("v1",)))
    assert judgement.state is State.DEPLOYED
    assert judgement.others == ("StatefulSet cache (redis:7.2)",)


def test_what_the_application_pins_itself_is_asked() -> None:
    """A second image that the Application overrides is no other product: its override is why it did not follow."""
    pinned = "registry.example/shop/worker:v0"
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "worker", pinned)]
    source = {"repoURL": "x", "kustomize": {"images": [pinned]}}
    judgement = judged(snapshot(*items, source=source), Version("v2", ("v1",)))
    assert judgement.state is State.IN_DOUBT
    assert pinned in judgement.sentence


def test_where_the_image_is_known_no_other_one_counts() -> None:
    """The file names the image: neither a sidecar of the same tag shows it, nor is a neighbour asked for it."""
    known = Version("v2", ("v1",), names=("registry.example/shop/web",))
    items = deployed("Deployment", "web", OLD, "registry.example/shop/agent:v2")
    assert judged(snapshot(*items), known).state is State.IN_DOUBT
    items = deployed("Deployment", "web", NEW, "registry.example/shop/agent:v1")
    assert judged(snapshot(*items), known).state is State.DEPLOYED
    mirrored = deployed("Deployment", "web", "mirror.internal/cache/web:v2")
    assert judged(snapshot(*mirrored), known).state is State.DEPLOYED


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"registry.example/shop/web:v2@{DIGEST}", DIGEST),
        (f"registry.example/shop/web@{DIGEST}", DIGEST),
        (f"registry.example/shop/web:v2@{DIGEST}", f"v2@{DIGEST}"),
        ("mirror.internal:5000/registry.example/shop/web:v2", "v2"),
        ("mirror.internal/shop/web:v2", "registry.example/shop/web:v2"),
        ("localhost:5000/web:v2", "v2"),
    ],
)
def test_ways_to_write_the_same_version(image: str, version: str) -> None:
    """Digests, both together, mirrors with a port: the version is seen."""
    assert judged(snapshot(*deployed("Deployment", "web", image)), Version(version)).state is (
        State.DEPLOYED
    )


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.example/shop/web:v21", "v2"),
        ("registry.example:5000/web", "5000/web"),
        (f"registry.example/shop/web:v2@{DIGEST}", "v2@sha256:" + "d" * 64),
        ("registry.example/billing/web:v2", "registry.example/shop/web:v2"),
        ("v2/web:v1", "v2"),
    ],
)
def test_what_only_looks_like_the_version(image: str, version: str) -> None:
    """A longer tag, a port, another digest, another product of the same last name: not seen."""
    assert judged(snapshot(*deployed("Deployment", "web", image)), Version(version)).state is (
        State.IN_DOUBT
    )


def test_a_tag_before_a_pinned_digest_shows_nothing() -> None:
    """The digest decides what runs: it is of the version before, unless it is promoted too."""
    items = deployed("Deployment", "web", f"registry.example/shop/web:v2@{DIGEST}")
    for names in ((), ("registry.example/shop/web",)):
        judgement = judged(snapshot(*items), Version("v2", ("v1",), names=names))
        assert judgement.state is State.IN_DOUBT
        assert "the digest decides what runs and is not promoted with the tag" in judgement.sentence
        both = Version("v2", ("v1",), names=names, also=(Other(DIGEST),))
        assert judged(snapshot(*items), both).state is State.DEPLOYED
        other = Version("v2", ("v1",), names=names, also=(Other("sha256:" + "d" * 64),))
        assert judged(snapshot(*items), other).state is State.IN_DOUBT


def test_a_digest_that_admission_put_behind_the_tag_is_the_tags_own() -> None:
    """The template names the tag alone: whoever resolved it did so for this pod."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["spec"]["containers"][0]["image"] = f"{NEW}@{DIGEST}"
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is State.DEPLOYED


def test_a_digest_is_seen_in_what_the_runtime_reports() -> None:
    """The template names a tag, the promoted value is a digest: imageID tells."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["status"]["containerStatuses"][0]["imageID"] = f"registry.example/shop/web@{DIGEST}"
    assert judged(snapshot(*items), Version(DIGEST)).state is State.DEPLOYED
    items[-1]["status"]["containerStatuses"][0]["imageID"] = DIGEST
    assert judged(snapshot(*items), Version("sha256:" + "d" * 64)).state is State.IN_DOUBT


def test_an_image_that_admission_pinned_counts_by_its_template() -> None:
    """A webhook replaces the tag by a digest in a mirror: the pod's own template still names the version."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["spec"]["containers"][0]["image"] = f"mirror.internal/shop/web@{DIGEST}"
    assert judged(snapshot(*items), Version("v2")).state is State.DEPLOYED
    items[1]["spec"]["template"]["spec"]["containers"][0]["image"] = OLD
    items[0]["spec"]["template"]["spec"]["containers"][0]["image"] = OLD
    assert judged(snapshot(*items), Version("v2")).state is State.IN_DOUBT


def test_a_tag_that_the_runtime_confuses_is_no_other_version() -> None:
    """Of two tags of one image the runtime names either; what the pod was made with counts."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["status"]["containerStatuses"][0]["image"] = "registry.example/shop/web:v2-rc.1"
    assert judged(snapshot(*items), Version("v2")).state is State.DEPLOYED


def test_terminating_and_finished_pods_count_nothing() -> None:
    """The last pod of the release before is on its way out, another one was evicted."""
    items = deployed("Deployment", "web", NEW)
    leaving, evicted = pod(items[1], 8, OLD), pod(items[1], 9, OLD, phase="Failed")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T15:51:24Z"
    assert (
        judged(snapshot(*items, leaving, evicted), Version("v2", ("v1",))).state is State.DEPLOYED
    )


def test_a_workload_without_a_pod_shows_nothing() -> None:
    """Counts in a status are not containers that run."""
    judgement = judged(snapshot(workload("Deployment", "web", NEW)), Version("v2"))
    assert judgement.state is State.IN_DOUBT
    assert "no pod of Deployment web was seen" in judgement.sentence


def test_a_container_that_waits_does_not_run() -> None:
    """The right image in a container that is not up is not the version running."""
    items = deployed("Deployment", "web", NEW)
    items[-1]["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "Unknown"}}
    sight = look(snapshot(*items), Version("v2"))
    assert "a container that does not run" in sight.missing


def test_a_job_that_left_no_pod_counts_by_its_template() -> None:
    """A Job's template never changes, and its pods are cleaned up."""
    job = workload("Job", "import", NEW) | {"status": {"succeeded": 1}}
    job["apiVersion"] = "batch/v1"
    assert judged(snapshot(job), Version("v2")).state is State.DEPLOYED


@pytest.mark.parametrize("kind", ["label", "annotation"])
def test_a_declared_mark_has_to_be_on_every_running_pod(kind: str) -> None:
    """A label or annotation that fleet.yaml declares shows what no image does."""
    items = deployed("Deployment", "web", OLD, replicas=2)
    version = Version("1.4.0", by=kind, mark="chart", text="web-1.4.0")
    for item in items[-2:]:
        item["metadata"][f"{kind}s"] = {"chart": "web-1.4.0"}
    assert judged(snapshot(*items), version).state is State.DEPLOYED
    items[-1]["metadata"][f"{kind}s"] = None
    judgement = judged(snapshot(*items), version)
    assert judgement.state is State.IN_DOUBT
    assert f"{kind} chart is not 'web-1.4.0' everywhere" in judgement.sentence


def test_declared_workloads_have_to_exist_and_to_run_it() -> None:
    """`workloads` of a proof names who has to show it; the others do not matter, and none may be missing."""
    items = [*deployed("Deployment", "web", NEW), *deployed("Deployment", "other", OLD)]
    only = Version("v2", ("v1",), workloads=("Deployment/web",))
    assert judged(snapshot(*items), only).state is State.DEPLOYED
    both = Version("v2", ("v1",), workloads=("Deployment/web", "Deployment/gone"))
    judgement = judged(snapshot(*items), both)
    assert judgement.state is State.IN_DOUBT
    assert "Deployment/gone, which has to show v2, does not exist" in judgement.sentence


def test_kinds_that_cannot_be_judged_are_named() -> None:
    """An Application of a Rollout and a CronJob alone is never deployed with 0 workloads."""
    judgement = judge(snapshot(extra=(ROLLOUT, CRON)), Expectation(REVISION))
    assert judgement.state is State.IN_DOUBT
    assert "nothing here can judge CronJob nightly, Rollout web" in judgement.sentence
    custom = {"group": "acme.example", "version": "v1", "kind": "Worker", "name": "w"}
    assert "Worker w" in judge(snapshot(extra=(custom,)), Expectation(REVISION)).sentence


def test_a_rollout_without_pods_leaves_a_version_in_doubt() -> None:
    """Beside a Deployment that runs the version, nothing shows what the Rollout runs."""
    judgement = judged(
        snapshot(*deployed("Deployment", "other", NEW), extra=(ROLLOUT,)), Version("v2", ("v1",))
    )
    assert judgement.state is State.IN_DOUBT
    assert "nothing shows what Rollout web runs" in judgement.sentence


@pytest.mark.parametrize(("image", "state"), [(NEW, State.DEPLOYED), (OLD, State.IN_DOUBT)])
def test_the_pods_of_a_rollout_are_asked(image: str, state: State) -> None:
    """Pods know their owner's kind: a canary that still runs the old version anywhere is in doubt."""
    owner = {"kind": "Rollout", "metadata": {"name": "web"}}
    below = workload("ReplicaSet", "web-1", NEW)
    below["metadata"]["ownerReferences"] = [{"kind": "Rollout", "name": "web"}]
    found = snapshot(below, pod(below, 1, NEW), pod(below, 2, image), extra=(ROLLOUT,))
    judgement = judged(found, Version("v2", ("v1",)))
    assert owner["kind"] in judgement.sentence
    assert judgement.state is state


def test_a_cron_job_beside_a_workload_is_named() -> None:
    """It runs when its time comes: what was not seen stands in the sentence."""
    judgement = judged(snapshot(*deployed("Deployment", "web", NEW), extra=(CRON,)), Version("v2"))
    assert judgement.state is State.DEPLOYED
    assert "not judged: CronJob nightly" in judgement.sentence


def test_a_pod_that_an_application_manages_itself_is_judged() -> None:
    """A bare pod has no workload above it."""
    bare = pod({"kind": "None", "metadata": {"name": "tool"}}, 1, NEW)
    del bare["metadata"]["ownerReferences"]
    found = snapshot(bare)
    assert judged(found, Version("v2")).state is State.PROGRESSING
    bare["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert judged(found, Version("v2")).state is State.DEPLOYED
    assert resource(bare)["kind"] == "Pod"


def test_images_of_an_expectation_are_seen_in_containers() -> None:
    """A template that names the image is not a container that runs it."""
    items = deployed("Deployment", "web", NEW)
    assert judge(snapshot(*items), Expectation(REVISION, images=(NEW,))).state is State.DEPLOYED
    items[-1]["spec"]["containers"][0]["image"] = OLD
    judgement = judge(snapshot(*items), Expectation(REVISION, images=(NEW,)))
    assert judgement.state is State.IN_DOUBT
    assert f"no workload runs {NEW}" in judgement.sentence


@pytest.mark.parametrize(
    ("state", "hour"),
    [
        ({}, 12),
        # Self-heal syncs a part, and leaves no entry in the history.
        ({"phase": "Succeeded", "finishedAt": "2026-11-23T15:00:00Z"}, 15),
        ({"phase": "Failed", "finishedAt": "2026-11-23T16:00:00Z"}, 16),
        ({"phase": "Running", "startedAt": "2026-11-23T17:00:00Z", "finishedAt": None}, 17),
    ],
)
def test_a_later_sync_of_the_same_revision_is_a_sign_of_a_break(state: Any, hour: int) -> None:
    """Something else may have been there before it; health alone does not move for what has no rollout."""
    found = snapshot(*deployed("Deployment", "web", NEW)).application
    entries = [{"revision": REVISION, "deployedAt": f"2026-11-2{day}T12:00:00Z"} for day in (2, 3)]
    found["status"] |= {"history": entries, "operationState": state}
    found["status"]["health"]["lastTransitionTime"] = "2026-11-01T12:00:00Z"
    since = healthy_since(found)
    assert since is not None
    assert (since.day, since.hour) == (23, hour)


def test_what_runs_at_its_own_time_alone_is_named() -> None:
    """An Application that is one CronJob: nothing is seen of the version, and why is said."""
    for more in ((CRON,), (CRON, {**CRON, "name": "weekly"})):
        judgement = judged(snapshot(extra=more), Version("v2", ("v1",)))
        assert judgement.state is State.IN_DOUBT
        assert "nothing here can judge CronJob nightly" in judgement.unseen
        assert judgement.unjudged[0] == "CronJob nightly"
    beside = judged(snapshot(*deployed("Deployment", "web", OLD), extra=(CRON,)), Version("v2"))
    assert "Deployment web runs" in beside.unseen
    assert beside.unseen.endswith("; not judged: CronJob nightly")
    assert beside.unjudged == ()


def test_a_hook_that_failed_is_told_from_what_was_brought() -> None:
    """The sync ended by its hook, whose pod crashes; the pods of the new version run."""
    items = deployed("Deployment", "web", NEW)
    job = workload("Job", "notify", "registry.example/shop/notify:v1")
    job["metadata"]["annotations"] = {"argocd.argoproj.io/hook": "PostSync"}
    crashed = pod(job, 1, "registry.example/shop/notify:v1", phase="Failed")
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    crashed["status"]["containerStatuses"][0]["state"] = state
    found = snapshot(*items, job, crashed)
    entry = {"kind": "Job", "name": "notify", "hookPhase": "Failed", "message": "backoff"}
    found.application["status"]["operationState"] = {
        "phase": "Failed",
        "message": "one or more synchronization tasks completed unsuccessfully",
        "operation": {"sync": {"revision": REVISION}},
        "syncResult": {"revision": REVISION, "resources": [entry]},
    }
    judgement = judged(found, Version("v2", ("v1",)))
    assert judgement.state is State.FAILED
    assert judgement.hooks == ("Job notify",)
    assert [one.hook for one in judgement.failing] == ["Job notify"]
    assert "hook Job notify: pod notify-1" in judgement.trouble


def test_fields_that_are_not_compared_are_overrides() -> None:
    """Synced says nothing about them, and where a sync respects that it leaves them as they are."""
    ignored = [
        {"group": "apps", "kind": "Deployment", "name": "web", "jsonPointers": ["/spec/template"]},
        {"kind": "ConfigMap", "managedFieldsManagers": ["kubectl"]},
        {"kind": "Job", "jqPathExpressions": [".spec"]},
    ]
    options = {"syncOptions": ["RespectIgnoreDifferences=true"]}
    spec = {"source": {"repoURL": "x"}, "ignoreDifferences": ignored}
    plain = overrides({"spec": spec})
    assert "ignoreDifferences of Deployment web (/spec/template)" in plain
    assert "ignoreDifferences of ConfigMap (what kubectl manages)" in plain
    kept = overrides({"spec": {**spec, "syncPolicy": options}})
    assert "ignoreDifferences of Job (.spec), which a sync leaves as they are" in kept
    assert overrides({"spec": {"source": {"repoURL": "x"}}}) == ()


def test_a_rollout_without_a_sync_is_a_sign_of_a_break_too() -> None:
    """Somebody set another image on the cluster and put it back by hand: the Deployment keeps when that was over."""
    items = deployed("Deployment", "web", NEW)
    found = snapshot(*items).application
    found["status"]["health"]["lastTransitionTime"] = "2026-11-01T12:00:00Z"
    moved = {"type": "Progressing", "reason": "NewReplicaSetAvailable", "lastUpdateTime": "2026-11-02T12:00:00Z"}  # fmt: skip
    items[0]["status"]["conditions"] = [{"type": "Available", "lastUpdateTime": "2026-11-03T12:00:00Z"}, moved]  # fmt: skip
    since = healthy_since(found, items)
    assert since is not None
    assert since.day == 2
    moved["reason"] = "ReplicaSetUpdated"
    since = healthy_since(found, items)
    assert since is not None
    assert since.day == 1


def test_a_workload_at_rest_is_told_where_others_have_to_show_the_version() -> None:
    """Scaled to 0 nothing of it is seen: that counts unless fleet.yaml says that another one has to show it."""
    idle = workload("Deployment", "worker", NEW, replicas=0)
    items = [*deployed("Deployment", "web", NEW), idle]
    assert judged(snapshot(*items), Version("v2", ("v1",))).state is not State.DEPLOYED
    chosen = Version("v2", ("v1",), workloads=("Deployment/web",))
    judgement = judged(snapshot(*items), chosen)
    assert judgement.state is State.DEPLOYED
    assert "1 workload rolled out; Deployment worker is scaled to 0" in judgement.sentence
    asked = Version("v2", ("v1",), workloads=("Deployment/web", "Deployment/worker"))
    assert judged(snapshot(*items), asked).state is not State.DEPLOYED


@pytest.mark.parametrize(
    ("group", "kind", "is_named"),
    [
        ("monitoring.coreos.com", "Prometheus", True),
        ("monitoring.coreos.com", "PrometheusRule", False),
        ("jobset.x-k8s.io", "JobSet", True),
        ("cert-manager.io", "Certificate", False),
        ("", "ConfigMap", False),
    ],
)
def test_kinds_that_an_operator_runs_pods_for_are_named(
    group: str, kind: str, is_named: bool
) -> None:
    """They only ask for what runs, also in groups that mostly configure."""
    extra = ({"group": group, "version": "v1", "kind": kind, "name": "x"},)
    items = deployed("Deployment", "web", NEW)
    judgement = judged(snapshot(*items, extra=extra), Version("v2", ("v1",)))
    assert (f"not judged: {kind} x" in judgement.sentence) is is_named
