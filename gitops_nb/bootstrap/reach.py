"""What a bootstrap may reach: the cluster that was asked for."""

from __future__ import annotations

from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.model import Plan


def beyond(request: Bootstrap, plan: Plan) -> str:
    """What a plan would change outside of what was asked for, in words; "" when nothing."""
    if (plan.runbook, plan.environment) != ("bootstrap", request.environment):
        return f"it is a plan of {plan.runbook} for {plan.environment}"
    if plan.arguments.get("cluster") != request.cluster:
        return f"it changes cluster {plan.arguments.get('cluster')}"
    return ""
