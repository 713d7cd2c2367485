"""Update strategies: what a rollout leaves as it is on purpose, and what will not go on by itself."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb.argo import Expectation, State, judge, unfinished
from gitops_nb.argo.evidence import Version
from tests.argo.applications import REVISION, deployed, snapshot

OLD, NEW = "shop/db:v1", "shop/db:v2"


def partitioned(number: int, *, updated: int) -> list[dict[str, Any]]:
    """A StatefulSet of three whose partition holds back the first pods."""
    own, *pods = deployed("StatefulSet", "db", NEW, replicas=3)
    own["spec"]["updateStrategy"] = {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": number},
    }
    own["status"]["updatedReplicas"] = updated
    for index, pod in enumerate(pods):
        pod["spec"]["containers"][0]["image"] = NEW if index >= 3 - updated else OLD
    return [own, *pods]


def test_a_partition_is_complete_without_the_pods_it_holds_back() -> None:
    """1 of 3 by partition 2 is what `kubectl rollout status` calls complete; the sentence says how many."""
    items = partitioned(2, updated=1)
    judgement = judge(snapshot(*items), Expectation(REVISION))
    assert judgement.state is State.DEPLOYED
    assert "StatefulSet db: 1 of 3 pods by partition 2" in judgement.sentence
    version = Expectation(REVISION, versions=(Version("v2", ("v1",)),))
    assert judge(snapshot(*items), version).state is State.DEPLOYED
    items[-1]["spec"]["containers"][0]["image"] = OLD
    assert judge(snapshot(*items), version).state is State.IN_DOUBT


@pytest.mark.parametrize(
    ("partition", "updated", "said"),
    [
        (1, 1, "1 of 2 replicas updated"),
        (3, 0, "its partition 3 holds back all 3"),
        (5, 0, "its partition 5 holds back all 3"),
        (None, 2, "2 of 3 replicas updated"),
    ],
)
def test_a_partition_that_is_not_through(partition: int | None, updated: int, said: str) -> None:
    """Fewer than the partition lets through, or none at all, is no rollout."""
    items = partitioned(2, updated=updated)
    items[0]["spec"]["updateStrategy"]["rollingUpdate"] = {"partition": partition}
    judgement = judge(snapshot(*items), Expectation(REVISION))
    assert judgement.state is State.PROGRESSING
    assert said in judgement.sentence


def test_a_partition_with_pods_that_are_not_available_waits() -> None:
    """All pods count, those that stay as they are too."""
    items = partitioned(2, updated=1)
    items[0]["status"]["availableReplicas"] = 2
    assert "2 of 3 replicas available" in unfinished(items[0])


def test_ordinals_may_begin_later() -> None:
    """With spec.ordinals.start the partition counts from there on."""
    items = partitioned(2, updated=1)
    items[0]["spec"]["ordinals"] = {"start": 5}
    for number, pod in enumerate(items[1:], start=5):
        pod["metadata"]["name"] = f"db-{number}"
    version = Expectation(REVISION, versions=(Version("v2", ("v1",)),))
    assert judge(snapshot(*items), version).state is State.DEPLOYED


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_on_delete_waits_for_a_person(kind: str) -> None:
    """Nothing replaces the pods: it says so, and is complete once somebody has deleted all of them."""
    items = deployed(kind, "db", NEW, replicas=3)
    items[0]["spec"]["updateStrategy"] = {"type": "OnDelete", "rollingUpdate": None}
    counts = {"desiredNumberScheduled": 3, "numberAvailable": 3, "updatedNumberScheduled": 1}
    items[0]["status"] |= {"updatedReplicas": 1, **counts}
    judgement = judge(snapshot(*items), Expectation(REVISION))
    assert judgement.state is State.PROGRESSING
    assert "1 of 3 replicas updated; with the strategy OnDelete the others wait until" in (
        judgement.sentence
    )
    items[0]["status"] |= {"updatedReplicas": 3, "updatedNumberScheduled": 3}
    assert judge(snapshot(*items), Expectation(REVISION)).state is State.DEPLOYED


def test_a_paused_deployment_says_so() -> None:
    """A paused rollout is behind, and will stay so."""
    items = deployed("Deployment", "web", NEW, replicas=2)
    items[0]["spec"]["paused"] = True
    items[0]["status"]["updatedReplicas"] = 0
    assert unfinished(items[0]) == "Deployment web has 0 of 2 replicas updated; it is paused"
