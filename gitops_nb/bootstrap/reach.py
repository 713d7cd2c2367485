"""What a bootstrap may reach: the cluster that was asked for."""

from __future__ import annotations

from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.model import Plan


def beyond(request: Bootstrap, plan: Plan) -> str:
    """What a plan would change outside of what was asked for, or what would be changed outside of the plan; "" when nothing."""
    if (plan.runbook, plan.environment) != ("bootstrap", request.environment):
        return f"it is a plan of {plan.runbook} for {plan.environment}"
    if plan.arguments.get("cluster") != request.cluster:
        return f"it changes cluster {plan.arguments.get('cluster')}"
    if plan.arguments.get("wanted") != request.wanted:
        # The steps bring about what fleet.yaml says now; only what was planned and shown has consent.
        return f"fleet.yaml wants something else on {request.cluster} now"
    return ""
