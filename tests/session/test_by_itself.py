"""What comes by itself is said of what was seen at the end, not of what was planned; what a sync undoes is shown before."""

from __future__ import annotations

import importlib

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.argo import Judgement, State
from gitops_nb.errors import NeedsAttention, Refused, WaitingForApproval
from gitops_nb.model import ObjectRef, Status
from tests.session.platform_edits import (
    change_application,
    commit,
    manifest,
    patch_application,
    settle,
    without_approval,
)

AUTOMATED = {"spec": {"syncPolicy": {"automated": {"selfHeal": True}}}}
MANUAL = {"spec": {"syncPolicy": {"automated": None}}}


@pytest.fixture
def free(runner):
    """Nobody has to approve, and nothing has to soak."""
    without_approval(runner)
    return runner


def behind_the_push(monkeypatch, act) -> None:
    """Something happens once, when Argo CD is asked to compare the commit."""
    real, done = ArgoCD.refresh, []

    def refresh(self, *given, **named):
        if not done:
            done.append(act())
        return real(self, *given, **named)

    monkeypatch.setattr(ArgoCD, "refresh", refresh)


def test_automation_that_was_turned_off_brings_nothing(free, monkeypatch):
    """The plan knew an automated Application; at the end it is not: nobody is told to wait for it, and the wait is short."""
    patch_application(free, "production", AUTOMATED)
    behind_the_push(monkeypatch, lambda: patch_application(free, "production", MANUAL))
    state, stop = free.promote(timeout="15m", patience="30s")
    assert isinstance(stop, NeedsAttention)
    said = state.aftermath["by_itself"]
    assert "is synced when somebody asks, automation was turned off since the plan" in said
    assert "without being asked" not in said
    assert "a sync is missing" in state.outcome["next_step"]


def test_a_window_that_denies_it_is_named(free, monkeypatch):
    """The AppProject denies syncs now: the schedule stands beside the promise."""
    patch_application(free, "production", AUTOMATED)
    cluster = free.platform().view.clusters["production"].as_manager("kubectl-edit")
    project = ObjectRef("argoproj.io/v1alpha1", "AppProject", "default", "argocd")
    window = {"kind": "deny", "schedule": "0 0 * * *", "duration": "24h", "applications": ["*"]}
    cluster.merge_patch(project, {"spec": {"syncWindows": [window]}})
    verify = importlib.import_module("gitops_nb.promotion.verify")
    not_yet = Judgement(State.IN_DOUBT, "not yet")
    # Stands for an Argo CD that keeps to the window: the sandbox's knows none.
    monkeypatch.setattr(verify, "judge_release", lambda *_, **__: not_yet)
    state, stop = free.promote(timeout="20s")
    assert isinstance(stop, NeedsAttention)
    assert "not while a window of its AppProject denies it: 0 0 * * * for 24h" in str(
        state.aftermath["by_itself"]
    )


def test_a_paused_application_is_named_before_the_commit(free):
    """Argo CD would not even compare: nothing is committed."""
    paused = {"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}}
    patch_application(free, "production", paused)
    before = free.tip()
    _, stop = free.promote()
    assert isinstance(stop, Refused), stop
    assert "is paused by its annotation argocd.argoproj.io/skip-reconcile" in stop.message
    assert free.tip() == before


def test_automation_turned_off_makes_a_plan_stale_by_its_name(runner):
    """Nothing in the folder changed: the refusal does not say so."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    patch_application(runner, "production", AUTOMATED)
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    patch_application(runner, "production", MANUAL)
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "apps/checkout/production/ counts now, and was not then" in stop.message
    assert "automation or sources of an Application changed" in stop.message


def test_what_the_sync_undoes_on_the_cluster_is_shown(runner):
    """Somebody scaled production by hand: whoever approves reads that the sync takes it back."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    cluster = runner.platform().view.clusters["production"].as_manager("kubectl-scale")
    deployment = ObjectRef("apps/v1", "Deployment", "checkout", "checkout")
    cluster.merge_patch(deployment, {"spec": {"replicas": 8}})
    settle(runner, "production", syncs=False)
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    shown = {change["address"]: change["after"] for change in waiting.plan["changes"]}
    address = "Application checkout-production on production, Deployment checkout is OutOfSync"
    assert shown[address] == "as Git has it: the sync undoes that change"


def test_a_stale_plan_names_what_came_into_it(runner):
    """The same promotion, and a change on the cluster that its sync would undo: the refusal says that, not that it is another one."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    cluster = runner.platform().view.clusters["production"].as_manager("kubectl-scale")
    deployment = ObjectRef("apps/v1", "Deployment", "checkout", "checkout")
    cluster.merge_patch(deployment, {"spec": {"replicas": 8}})
    settle(runner, "production", syncs=False)
    before = runner.tip()
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    drift = "Application checkout-production on production, Deployment checkout is OutOfSync"
    assert f"the plan is stale: {drift} came; that was not asked for" in stop.message
    assert runner.tip() == before


def test_a_cluster_as_git_has_it_shows_no_drift(runner):
    """The promotion is the only change."""
    waiting, _ = runner.promote()
    assert len(waiting.plan["changes"]) == 1


def test_a_resumed_run_says_that_a_sync_is_missing(free):
    """An override was taken out as asked: the sync of before is not repeated, and the run says what is missing."""
    change_application(
        free,
        "production",
        "    path: apps/checkout/production\n",
        "    path: apps/checkout/production\n    kustomize:\n      images:\n"
        "        - registry.example/shop/checkout:v2.32.2\n",
        files={
            "apps/checkout/production/kustomization.yaml": "resources: [deployment.yaml, service.yaml]\n"
        },
    )
    first, stop = free.promote(timeout="5m", patience="20s")
    assert isinstance(stop, NeedsAttention), stop
    assert "overrides" in first.outcome["sentence"]
    # Its sync is over: nothing more moves, and nobody is told to wait.
    assert (
        "No more sync: checkout-production on production is Synced" in first.aftermath["by_itself"]
    )
    change = "    kustomize:\n      images:\n        - registry.example/shop/checkout:v2.32.2\n"
    text = manifest(free, "production").replace(change, "")
    commit(free, {"argocd/production/checkout.yaml": text})
    settle(free, "production", syncs=False)
    state, stop = free.promote(run=first.run, timeout="5m", patience="20s")
    assert isinstance(stop, NeedsAttention), stop
    assert state.status is Status.NEEDS_ATTENTION
    assert "a sync is missing. Ask for it in Argo CD, or by `gitops-nb run promotion" in str(
        state.outcome["next_step"]
    )
