"""What is true after a bootstrap's first effect, from its plan and its journal alone."""

from __future__ import annotations

import shlex
from typing import Any

from gitops_nb.bootstrap.brings import KEY
from gitops_nb.model import Action, Aftermath, Plan, Status
from gitops_nb.ports import View
from gitops_nb.record.fold import RunState


def aftermath(plan: Plan, run: RunState) -> Aftermath:
    """What Git asks for, what Kubernetes and Argo CD do by themselves, and what takes the installation off again."""
    back, command = _back(plan, run)
    return Aftermath(_asks(plan), _by_itself(plan, run), back, command)


def brought(_: View, plan: Plan, earlier: RunState) -> bool:
    """Whether an earlier run arrived at what this plan found: the same installation, of the same repository."""
    then, now = ({**of, "open": (), KEY: ()} for of in (earlier.plan["arguments"], plan.arguments))
    return then == now


def _asks(plan: Plan) -> str:
    arguments = plan.arguments
    return (
        "Git asks for what it asked for before: a bootstrap commits nothing. "
        f"{arguments['repository']}, {arguments['branch']} describes {arguments['cluster']} in {arguments['path']}."
    )


def _by_itself(plan: Plan, run: RunState) -> str:
    arguments = plan.arguments
    if run.status is Status.SUCCEEDED:
        return f"Argo CD brings every commit in {arguments['path']} to {arguments['cluster']}."
    said: list[str] = []
    if run.effect("install") is not None:
        said.append(
            f"Kubernetes goes on starting what was applied in namespace {arguments['namespace']}."
        )
    if run.effect("root") is not None or "root" not in arguments["open"]:
        said.append(
            f"Argo CD brings the applications of {arguments['path']} to {arguments['cluster']} without being asked, "
            "as soon as its controller runs; one without automated sync, and the waves behind it, when somebody syncs it."
        )
    else:
        said.append("No application comes: the root application was not written.")
    return " ".join(said)


def _back(plan: Plan, run: RunState) -> tuple[str, str]:
    arguments = plan.arguments
    again = (
        f"To go on: `gitops-nb run bootstrap -p cluster={arguments['cluster']}`; what holds is not done twice. "
        "To go back: "
    )
    if run.is_sandbox:
        return f"{again}begin the sandbox anew.", "rm -rf .gitops-nb/sandbox"
    kubectl = f"kubectl --context {shlex.quote(str(arguments['context']))}"
    changed = [change.address for change in plan.changes if change.action is Action.UPDATE]
    if changed or run.effect("install") is None:
        what = "Argo CD was there before"
        if changed:
            what = "1 object was" if len(changed) == 1 else f"{len(changed)} objects were"
            what += " there before"
        root = any(
            c.action is Action.CREATE and c.address == _root(arguments) for c in plan.changes
        )
        sentence = f"{again}{what}, and the plan in the report shows each value that they had."
        if root and run.effect("root") is not None:
            remove = f"{kubectl} delete application {arguments['root']} --namespace {arguments['namespace']}"
            return f"{sentence} The root application, which is new, is removed by:", remove
        return sentence, ""
    sentence = (
        f"{again}remove what was installed. The CustomResourceDefinitions take all Applications along; "
        "what those brought stays."
    )
    where = f"--namespace {arguments['namespace']}"
    manifest = shlex.quote(str(arguments["manifest"]))
    remove = f"{kubectl} delete --ignore-not-found {where} -f {manifest}"
    return sentence, f"{remove} && {kubectl} delete namespace {arguments['namespace']}"


def _root(arguments: Any) -> str:
    return f"Application {arguments['namespace']}/{arguments['root']}"
