"""What a promotion may reach: the files and Applications of its own target environment, and nothing else."""

from __future__ import annotations

from gitops_nb.model import Plan
from gitops_nb.promotion.request import Promotion


def beyond(request: Promotion, plan: Plan) -> str:
    """What a plan would change outside of what was asked for, in words; "" when nothing.

    Asked before each effect, also of a plan that an earlier attempt recorded: where effects land is what fleet.yaml gives
    the environment whose rules are asked, whatever the plan says of itself.
    """
    fleet, arguments = request.fleet, plan.arguments
    application = fleet.applications[request.application]
    folder = str(fleet.path(request.application, request.target)).rstrip("/")
    if (plan.runbook, plan.environment) != ("promotion", request.target):
        return f"it is a plan of {plan.runbook} for {plan.environment}"
    if arguments.get("repository") != application.repository:
        return f"it changes repository {arguments.get('repository')}"
    branch = fleet.repositories[application.repository].branch
    if arguments.get("branch") != branch:
        return f"it changes branch {arguments.get('branch')}"
    declared = {
        (f"{folder}/{one.file.replace('{application}', request.application)}", one.key, one.part)
        for one in application.promotable
    }
    for edit in arguments.get("edits") or ():
        if (edit.get("path"), edit.get("key"), edit.get("part")) not in declared:
            return f"it changes {edit.get('path')}: {edit.get('key')}"
    clusters = set(fleet.clusters_of(request.target))
    name = fleet.argocd_name(request.application, request.target)
    for placement in arguments.get("placements") or ():
        if placement.get("cluster") not in clusters:
            return f"it brings something to cluster {placement.get('cluster')}"
        if placement.get("name") != name:
            return f"it brings Application {placement.get('name')}"
    return ""
