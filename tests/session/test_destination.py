"""An Application that deploys to another cluster of the fleet is promoted under nobody's rules."""

from __future__ import annotations

import pytest

from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import ObjectRef

SERVER = "https://production.clusters.example"


@pytest.mark.parametrize(
    ("cluster", "server"), [("staging", SERVER), ("production", "https://staging.clusters.example")]
)
def test_an_application_of_another_cluster_is_refused_before_the_plan(runner, cluster, server):
    """As source or as target: refused by both names, and nothing was committed; put right, the promotion waits for its approval."""
    reference = ObjectRef("argoproj.io/v1alpha1", "Application", f"checkout-{cluster}", "argocd")
    live = runner.platform().view.clusters[cluster].as_manager("kubectl-edit")
    own = live.get(reference)["spec"]["destination"]["server"]
    live.merge_patch(reference, {"spec": {"destination": {"server": server}}})
    tip = runner.platform().git.tip("platform-config", "main")
    state, stop = runner.promote()
    assert isinstance(stop, Refused), stop
    assert f"for {cluster} deploys to " in stop.message
    assert state.plan is None
    assert state.effects == ()
    assert runner.platform().git.tip("platform-config", "main") == tip
    live.merge_patch(reference, {"spec": {"destination": {"server": own}}})
    runner.platform().view.clock.sleep(200)
    _, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval), stop
