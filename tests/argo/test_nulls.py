"""Objects of foreign APIs hold null where a list, an object or a text is usual; nothing that reads them crashes."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.argo import Expectation, State, healthy_since, is_automated, judge
from gitops_nb.argo.evidence import Version
from gitops_nb.argo.overrides import overrides
from gitops_nb.argo.sources import Origin, revisions_for
from gitops_nb.dora.collectors.argocd import ApplicationLog, Place
from gitops_nb.ports import Snapshot
from gitops_nb.promotion.verify import _pods
from gitops_nb.promotion.versions import asks_for
from tests import recordings
from tests.adapters.test_argocd import FakeClock, FakeCluster
from tests.argo.applications import SOURCE
from tests.conftest import SEED

NEEDED = {"metadata", "name", "kind"}
"""What Kubernetes never leaves out: kind, metadata and name of an object."""


def test_a_history_entry_without_anybody() -> None:
    """``initiatedBy: null`` reads as empty: nobody of ours."""
    application = {
        "metadata": {"name": "web"},
        "spec": {"source": SOURCE},
        "status": {
            "history": [{"initiatedBy": None, "revision": "a" * 40, "deployStartedAt": None}],
            "sync": {"status": "Synced", "revision": "a" * 40},
            "health": {"status": "Healthy"},
        },
    }
    judgement = judge(Snapshot("web", application), Expectation("a" * 40, "run"))
    assert judgement.state is State.PROGRESSING


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object that may hold null."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        where = (*path, name)
        if isinstance(value, dict) and name not in NEEDED:
            yield where
        if isinstance(item, dict | list):
            yield from _places(item, where)


def _nulled(value: Any, path: tuple[Any, ...]) -> Any:
    value = copy.deepcopy(value)
    at = value
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = None
    return value


def _read(snapshot: Snapshot) -> None:
    """Everything that is read of a snapshot."""
    origin = Origin(("x",), ("main",))
    versions = (
        Version("v2", ("v1",), ("example/web",)),
        Version("1", by="label", mark="m", text="1"),
    )
    for expectation in (
        Expectation("$SHA2", "op-7", versions=versions, images=("example/web:v2",)),
        Expectation("$SHA2", origin=origin, versions=versions),
        Expectation("$SHA1", workloads=("Deployment/web",)),
    ):
        judge(snapshot, expectation, children={snapshot.name: snapshot})
    healthy_since(snapshot.application)
    is_automated(snapshot.application)
    overrides(snapshot.application)
    asks_for(snapshot.application, "v2")
    revisions_for(snapshot.application, origin, "$SHA2")
    _pods(snapshot)
    log = ApplicationLog("cluster/web", Place("web", "production"))
    log.see(snapshot)
    log.attempts(until_s=2_000_000_000)
    cluster = FakeCluster(snapshot.application, FakeClock())
    for item in snapshot.workloads:
        cluster.lists.setdefault(item["kind"], []).append(item)
    ArgoCD(control=cluster, workloads=cluster, writer=cluster, clock=cluster.clock).snapshot("web")


def _tried(names: tuple[str, ...], share: float) -> int:
    random_ = random.Random(SEED)
    count = 0
    for recording in recordings.load():
        if not recording.name.startswith(names):
            continue
        last: dict[str, Snapshot] = {}
        for _, snapshot in recording.snapshots():
            last[snapshot.name] = copy.deepcopy(snapshot)
        for snapshot in last.values():
            for path in _places(snapshot.application):
                if random_.random() < share:
                    _read(
                        Snapshot(
                            snapshot.name, _nulled(snapshot.application, path), snapshot.workloads
                        )
                    )
                    count += 1
            for path in _places(list(snapshot.workloads)):
                if random_.random() < share:
                    _read(
                        Snapshot(
                            snapshot.name,
                            snapshot.application,
                            tuple(_nulled(list(snapshot.workloads), path)),
                        )
                    )
                    count += 1
    return count


def test_null_anywhere_is_read(record_property: pytest.RecordProperty) -> None:
    """A sample: single places of recorded Applications and workloads are null, one at a time."""
    count = _tried(("011", "014", "017", "044", "056", "058"), 0.1)
    record_property("cases", count)
    assert count > 100


@pytest.mark.torture
def test_null_everywhere_is_read(record_property: pytest.RecordProperty) -> None:
    """Every place of every recording."""
    count = _tried(("0",), 1.0)
    record_property("cases", count)
    assert count > 10_000
