"""One hub renders several environments: a promotion to one of them brings nothing of another's."""

from __future__ import annotations

import re

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.errors import Refused, UnavailableError, WaitingForApproval
from gitops_nb.model import ObjectRef
from tests.session.platform_edits import (
    commit,
    manifest,
    put_images_into_manifests,
)

WAY = {"source": "development", "target": "staging", "revision": "v2.34.0"}


@pytest.fixture
def hub(runner):
    """Staging's root Application has production's manifests as well, and is synced when somebody asks."""
    runner.workspace.replace(
        "runbooks/policy.yaml", "gates: {soak: {at_least: 1h}}", "gates: {source_healthy: false}"
    )
    put_images_into_manifests(runner, ("development", "staging"))
    platform = runner.platform()
    writers = platform.open_writers(bool, environment="staging", files=frozenset())
    own = platform.view.argo["staging"].snapshot("root").application["spec"]["source"]
    sources = [{**own, "path": f"argocd/{name}"} for name in ("staging", "production")]
    reference = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    spec = {"source": None, "sources": sources, "syncPolicy": None}
    platform.view.clusters["staging"].as_manager("kubectl-edit").merge_patch(
        reference, {"spec": spec}
    )
    argo = writers.argo["staging"]
    argo.refresh("root")
    platform.view.clock.sleep(30)
    argo.sync("root", revision=",".join([runner.tip()] * 2), identifier="somebody")
    platform.view.clock.sleep(60)
    return runner


def test_what_is_another_environments_is_not_brought(hub):
    """A pusher changed production's Application: a promotion to staging would bring that, and is refused by name."""
    text = manifest(hub, "production", "payments")
    assert "path: apps/payments/production" in text
    changed = text.replace("path: apps/payments/production", "path: apps/payments/evil")
    commit(hub, {"argocd/production/payments.yaml": changed}, "Beside")
    before = hub.tip()
    _, stop = hub.promote(**WAY)
    assert isinstance(stop, Refused), stop
    assert "Application root on staging" in stop.message
    assert "argocd/production/payments.yaml of production" in stop.message
    assert hub.tip() == before


def test_an_application_that_nobody_knows_is_the_environments_whose_cluster_it_deploys_to(hub):
    """Whatever it is called: one that deploys to production's cluster is not brought by a promotion to staging."""
    text = manifest(hub, "staging", "payments").replace("payments-staging", "payments-live")
    elsewhere = re.sub(r"server: \S+", "server: https://production.clusters.example", text)
    assert elsewhere != text
    commit(hub, {"argocd/staging/extra.yaml": elsewhere}, "Beside")
    before = hub.tip()
    _, stop = hub.promote(**WAY)
    assert isinstance(stop, Refused), stop
    assert "argocd/staging/extra.yaml of production" in stop.message
    assert hub.tip() == before


def test_a_hub_with_nothing_else_to_bring_is_promoted_by(hub):
    """Production's part is in force as it stands: staging's promotion asks for its approval."""
    _, stop = hub.promote(**WAY)
    assert isinstance(stop, WaitingForApproval), stop


@pytest.fixture
def staged(runner):
    """Staging may be promoted to from development."""
    runner.workspace.replace(
        "runbooks/policy.yaml", "gates: {soak: {at_least: 1h}}", "gates: {source_healthy: false}"
    )
    return runner


@pytest.mark.parametrize("is_away", [False, True])
def test_a_file_that_another_environment_reads_too_is_not_edited(staged, monkeypatch, is_away):
    """Production is built on staging's folder: who approves for staging would decide for production."""
    names = ("deployment.yaml", "service.yaml")
    files = {
        "apps/checkout/production/kustomization.yaml": "resources: [../staging]\n",
        "apps/checkout/staging/kustomization.yaml": f"resources: [{', '.join(names)}]\n",
    }
    commit(staged, files, "Production builds on staging")
    if is_away:
        there = ArgoCD.snapshot

        def snapshot(self, name):
            if name == "checkout-production":
                raise UnavailableError("the cluster is away")
            return there(self, name)

        monkeypatch.setattr(ArgoCD, "snapshot", snapshot)
    before = staged.tip()
    _, stop = staged.promote(**WAY)
    assert isinstance(stop, Refused), stop
    who = "folder apps/checkout/production" if is_away else "Application checkout-production"
    assert who in stop.message
    assert "of production reads apps/checkout/staging/deployment.yaml too" in stop.message
    assert staged.tip() == before


def test_an_application_of_which_nobody_knows_what_it_reads_is_shown(staged):
    """A generator may read any file: whoever approves for staging reads that production may change."""
    files = {"apps/checkout/production/kustomization.yaml": "resources: []\ngenerators: [g.yaml]\n"}
    commit(staged, files, "A generator")
    waiting, stop = staged.promote(**WAY)
    assert isinstance(stop, WaitingForApproval), stop
    told = [
        c
        for c in waiting.plan["changes"]
        if "of production, which may read any file" in c["address"]
    ]
    assert [one["after"] for one in told] == ["may change with this commit: nobody can tell"]


def by_hand(runner, environment) -> None:
    """Root is synced when somebody asks."""
    reference = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    platform = runner.platform()
    platform.view.clusters[environment].as_manager("kubectl-edit").merge_patch(
        reference, {"spec": {"syncPolicy": None}}
    )
    writers = platform.open_writers(bool, environment=environment, files=frozenset())
    writers.argo[environment].refresh("root")
    platform.view.clock.sleep(30)
    writers.argo[environment].sync("root", revision=runner.tip(), identifier="somebody")
    platform.view.clock.sleep(60)


def pin(runner, environment) -> None:
    """Somebody holds payments back on the cluster, and Argo CD sees it."""
    reference = ObjectRef(
        "argoproj.io/v1alpha1", "Application", f"payments-{environment}", "argocd"
    )
    platform = runner.platform()
    platform.view.clusters[environment].as_manager("kubectl-edit").merge_patch(
        reference, {"spec": {"source": {"targetRevision": "incident-4711"}}}
    )
    writers = platform.open_writers(bool, environment=environment, files=frozenset())
    writers.argo[environment].refresh("root")
    platform.view.clock.sleep(30)


@pytest.fixture
def hand_synced(runner):
    """Checkout's version stands in its Application's manifest, and a person syncs root."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    put_images_into_manifests(runner, ("staging", "production"))
    by_hand(runner, "production")
    return runner


def test_what_the_sync_of_a_parent_undoes_is_shown(hand_synced):
    """Another Application of production is held back on the cluster: root's sync takes that back, and whoever approves reads it."""
    pin(hand_synced, "production")
    waiting, stop = hand_synced.promote()
    assert isinstance(stop, WaitingForApproval), stop
    told = [c for c in waiting.plan["changes"] if "payments-production" in c["address"]]
    assert [(one["address"], one["after"]) for one in told] == [
        (
            "Application root on production, Application payments-production is OutOfSync",
            "as Git has it: the sync undoes that change",
        )
    ]


def test_what_came_behind_the_plan_is_not_undone_by_a_parents_sync(hand_synced):
    """Held back after the request was signed: the parent is not synced, and the end says why."""
    waiting, stop = hand_synced.promote()
    assert isinstance(stop, WaitingForApproval), stop
    assert not any("payments" in c["address"] for c in waiting.plan["changes"])
    hand_synced.answer(waiting.run)
    pin(hand_synced, "production")
    _, stop = hand_synced.promote(run=waiting.run)
    assert stop is not None
    argo = hand_synced.platform().view.argo["production"]
    spec = argo.snapshot("payments-production").application["spec"]
    assert spec["source"]["targetRevision"] == "incident-4711"
    assert "payments-production" in stop.message
