"""What nobody saw is not claimed: an outage in the middle of a watch counts for nothing."""

from __future__ import annotations

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.model import Status
from tests.session.conftest import runner  # noqa: F401  a fixture of another folder

STABLE_S, OUTAGE_S = 30, 60


def test_the_time_of_an_outage_is_no_time_of_health(runner, monkeypatch):  # noqa: F811  the fixture
    """Healthy before and after a minute without an answer: the thirty seconds that are asked for are seen after it."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    real, clock = ArgoCD.watch, runner.platform().view.clock
    seen: list[float] = []
    back: list[float] = []

    def watch(self, name, *, timeout_s):
        for snapshot in real(self, name, timeout_s=timeout_s):
            health = (snapshot.application["status"].get("health") or {}).get("status")
            if health == "Healthy" and snapshot.application["status"].get("operationState", {}).get("phase") == "Succeeded":  # fmt: skip
                if len(seen) == 2 and not back:
                    clock.sleep(OUTAGE_S)
                    back.append(clock.now().timestamp())
                seen.append(clock.now().timestamp())
            yield snapshot

    monkeypatch.setattr(ArgoCD, "watch", watch)
    state, stop = runner.promote(stable_for=f"{STABLE_S}s")
    assert stop is None
    assert state.status is Status.SUCCEEDED
    assert back, "there was no outage"
    assert seen[-1] - back[0] >= STABLE_S
