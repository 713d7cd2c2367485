"""How a promotion that did not end well is told: what failed, what comes of it by itself, what a person does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gitops_nb.argo import FailingPod, Judgement, State
from gitops_nb.model import Outcome, Plan
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.unattended import by_itself
from gitops_nb.promotion.verify import _failed, _Seen

REQUEST = Promotion(fleet=None, application="web", source="staging", target="production")  # type: ignore[arg-type]  # nobody asks it
PLAN = Plan(
    "promotion", "production", "", (), arguments={"version_before": "v1", "version_after": "v2"}
)
CRASH = FailingPod("web-1", "main", "CrashLoopBackOff", "", 3, "shop/web:v2")
HOOK = FailingPod("notify-1", "main", "CrashLoopBackOff", "", 3, "shop/notify:v1", "Job notify")


def failed(**judgement: Any) -> Outcome:
    """The outcome of one placement that failed."""
    seen = _Seen("c", "web", Judgement(State.FAILED, "it failed", **judgement))
    return _failed(REQUEST, PLAN, seen, [seen], None)


def test_a_pod_that_crashes_is_tried_again() -> None:
    """Kubernetes goes on with what Git asks for."""
    outcome = failed(failing=(CRASH,))
    assert outcome.title == "web v2 crashes in production"
    assert "Argo CD keeps trying. This puts v1 back." in outcome.next_step


@pytest.mark.parametrize("failing", [(HOOK,), ()])
def test_a_hook_that_failed_is_not_the_version(failing: tuple[FailingPod, ...]) -> None:
    """Its own image failed, perhaps after all of the version ran: the title says so, whether its pod is there or gone."""
    outcome = failed(failing=failing, hooks=("Job notify",), phase="Failed")
    assert outcome.title == "web v2 was synced, and hook Job notify failed in production"
    assert "the sync ended as Failed: nothing repeats it" in outcome.next_step
    assert "-p revision=v2` plans it once more" in outcome.next_step
    assert "keeps trying" not in outcome.next_step


def test_a_crash_beside_a_hook_that_failed_comes_first() -> None:
    """The version's own pod is what a reader needs."""
    outcome = failed(failing=(HOOK, CRASH), hooks=("Job notify",), phase="Failed")
    assert outcome.title == "web v2 crashes in production"
    assert next(fact.text for fact in outcome.facts if fact.label == "Pod").startswith("web-1")


def said(*, tried: str, status: str = "OutOfSync", phase: str = "Failed") -> str:
    """What comes by itself of an automated Application whose last sync tried a commit."""
    application = {
        "metadata": {"name": "web"},
        "spec": {"syncPolicy": {"automated": {}}},
        "status": {
            "sync": {"status": status, "revision": "b" * 40},
            "operationState": {"phase": phase, "syncResult": {"revision": tried}},
        },
    }
    argo = SimpleNamespace(snapshot=lambda _: SimpleNamespace(application=application))
    argocd = SimpleNamespace(cluster=None, namespace="argocd")
    fleet: Any = SimpleNamespace(clusters={"c": SimpleNamespace(argocd=argocd)})
    view: Any = SimpleNamespace(argo={"c": argo}, clusters={})
    placement = {"cluster": "c", "name": "web", "automated": True}
    return by_itself(view, fleet, "production", placement)


def test_automation_does_not_repeat_a_sync_that_failed() -> None:
    """Argo CD skips a commit that it failed at; another commit is tried, and so is one whose sync went well."""
    assert "No more sync of web on c by itself: the last one ended as Failed" in said(
        tried="b" * 40
    )
    assert said(tried="a" * 40) == ""
    assert said(tried="b" * 40, phase="Succeeded") == ""
