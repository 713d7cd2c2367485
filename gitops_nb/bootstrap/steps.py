"""The ten steps: for each a check that only reads, and for those that can bring it about an act.

Post-conditions follow the platform's bootstrap order: credentials are verified before the root application, which
would otherwise start life with a ComparisonError and a back-off.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitops_nb.argo import current_revisions
from gitops_nb.argo.rollout import unfinished
from gitops_nb.argo.status import error_conditions
from gitops_nb.bootstrap.changes import Planned
from gitops_nb.bootstrap.children import check_children, check_healthy, find_children
from gitops_nb.bootstrap.context import Context, Finding, Step, has_condition, is_settings
from gitops_nb.bootstrap.manifests import (
    default_project,
    differences,
    is_as_wanted,
    left_over,
    ref_of,
    wanted_root,
)
from gitops_nb.bootstrap.repository import act_repository, check_repository
from gitops_nb.bootstrap.settings import act_settings, check_settings
from gitops_nb.bootstrap.whole import refuse_more_than_wanted
from gitops_nb.errors import ConfigurationError, UnavailableError
from gitops_nb.model import Action, Json, ResourceChange
from gitops_nb.ports import ArgoWriter, ClusterWriter
from gitops_nb.revisions import EquivalentRevisions

# -- 1: the cluster --------------------------------------------------------------------------------


def check_cluster(context: Context) -> Finding:
    """API server and nodes are ready."""
    version = context.cluster.version()
    nodes = context.cluster.list("v1", "Node")
    ready = [n for n in nodes if has_condition(n, "Ready")]
    if not ready:
        return Finding(
            False, f"Kubernetes {version} answers, but none of {len(nodes)} nodes is ready"
        )
    return Finding(True, f"Kubernetes {version}, {len(ready)} of {len(nodes)} nodes ready")


def refuse_forbidden(context: Context, cluster: ClusterWriter) -> None:
    """Asked with the writer's credentials before the first effect: half a bootstrap helps nobody.

    Raises:
        ConfigurationError: The writing user may not write a kind of object that the bootstrap writes.
    """
    kinds = {(o["apiVersion"], o["kind"]): ref_of(o) for o in context.objects}
    refused = [str(ref) for ref in kinds.values() if not cluster.allows("patch", ref)]
    if refused:
        raise ConfigurationError(
            f"we may not write {len(refused)} kinds of object on {context.request.cluster}: {', '.join(refused[:3])}",
            hint="Use a context whose user may install Argo CD; nothing was changed.",
        )


REFRESH = "refresh"
"""What a change says that only asks Argo CD to look again."""

# -- 2: installed ----------------------------------------------------------------------------------


def check_installed(context: Context) -> Finding:
    """Every object of the manifest is there as the manifest says, and the CRDs are established."""
    changes: list[Planned] = []
    unestablished: list[str] = []
    for wanted in context.objects:
        if is_settings(wanted):
            continue
        ref = ref_of(wanted)
        live = context.cluster.get(ref)
        change = context.planned(live, wanted)
        if change is not None:
            changes.append(change)
        elif ref.kind == "CustomResourceDefinition" and not has_condition(live, "Established"):
            unestablished.append(ref.name)
    total = sum(1 for wanted in context.objects if not is_settings(wanted))
    if changes:
        return Finding.of(f"{len(changes)} of {total} objects to install or mend", *changes)
    if unestablished:
        return Finding(False, f"not established yet: {', '.join(unestablished)}")
    return Finding(
        True, f"all {total} objects of Argo CD {context.request.install.version} are there"
    )


def act_install(context: Context, cluster: ClusterWriter, _: ArgoWriter) -> Mapping[str, Json]:
    """Applies what is missing or differs."""
    applied: list[str] = []
    for wanted in context.objects:
        live = context.cluster.get(ref_of(wanted))
        if live is not None and is_settings(wanted):
            continue  # the step of the settings says what stands in it
        if live is None or not is_as_wanted(live, wanted):
            cluster.apply(wanted)
            applied.append(str(ref_of(wanted)))
    return {"applied": len(applied), "objects": applied[:200]}


# -- 3: available ----------------------------------------------------------------------------------


def check_available(context: Context) -> Finding:
    """Every Deployment and StatefulSet of the manifest is rolled out."""
    waiting: list[str] = []
    count = 0
    for wanted in context.objects:
        if wanted["kind"] not in ("Deployment", "StatefulSet"):
            continue
        count += 1
        live = context.cluster.get(ref_of(wanted))
        reason = unfinished(live) if live else "missing"
        if reason:
            waiting.append(f"{wanted['metadata']['name']}: {reason}")
    if waiting:
        return Finding(False, "; ".join(waiting[:3]))
    return Finding(True, f"{count} components available in namespace {context.request.namespace}")


# -- 6: root application ---------------------------------------------------------------------------


def check_root(context: Context) -> Finding:
    """The root Application is there as wanted, and a project that it may belong to.

    Raises:
        ConfigurationError: It has more than that, and would bring something else or nothing.
    """
    changes: list[Planned] = []
    project = default_project(context.request)
    # One that is there is its owners' to describe.
    if context.cluster.get(ref_of(project)) is None:
        changes += filter(None, [context.planned(None, project)])
    wanted = wanted_root(context.request)
    live = context.cluster.get(ref_of(wanted))
    paths = [*differences(live, wanted), *left_over(live, wanted)] if live is not None else []
    if live is not None:
        refuse_more_than_wanted(context, live, wanted)
    changes += filter(None, [context.planned(live, wanted)])
    if changes:
        what = f"differs: {', '.join(paths)}" if paths else "is not complete"
        return Finding.of(f"the root application {what}", *changes)
    return Finding(True, f"{context.request.install.root} follows {context.request.path}")


def act_root(context: Context, cluster: ClusterWriter, _: ArgoWriter) -> Mapping[str, Json]:
    """Applies the root Application, and the default project where there is none."""
    project = default_project(context.request)
    if context.cluster.get(ref_of(project)) is None:
        cluster.apply(project)
    cluster.apply(wanted_root(context.request))
    return {"application": context.request.install.root}


# -- 7: revision -----------------------------------------------------------------------------------


def check_revision(context: Context) -> Finding:
    """Argo CD compared the root application with the branch's present commit, without an error."""
    name = context.request.install.root
    application = context.argo.snapshot(name).application
    if application is None:
        return Finding(False, f"{name} does not exist yet")
    errors = error_conditions(application)
    if errors:
        return Finding(False, f"{errors[0]['type']}: {errors[0].get('message') or ''}")
    tip = context.tip()
    seen = current_revisions(application)
    equal = EquivalentRevisions(
        context.view.git, context.request.repository_name, tip, context.request.path
    )
    if not any(revision in equal for revision in seen):
        behind = seen[0][:8] if seen else "nothing"
        return Finding(
            False,
            f"{name} is at {behind}, the branch at {tip[:8]}",
            (
                ResourceChange(
                    f"Application {context.request.namespace}/{name}",
                    Action.UPDATE,
                    after=REFRESH,
                ),
            ),
        )
    return Finding(True, f"{name} was compared with {tip[:8]}")


def act_revision(context: Context, _: ClusterWriter, argo: ArgoWriter) -> Mapping[str, Json]:
    """Asks for a comparison."""
    argo.refresh(context.request.install.root)
    return {"application": context.request.install.root}


# -- 10: monitored ---------------------------------------------------------------------------------


def check_monitored(context: Context) -> Finding:
    """The controller's metrics answer and name every Application."""
    try:
        text = context.cluster.fetch_metrics(context.request.metrics)
    except UnavailableError as error:
        return Finding(False, f"metrics do not answer: {error.message}")
    series = [line for line in text.splitlines() if line.startswith("argocd_app_info{")]
    wanted = (context.request.install.root, *find_children(context).every)
    silent = [name for name in wanted if not any(f'name="{name}"' in line for line in series)]
    if silent:
        return Finding(False, f"no argocd_app_info for {', '.join(silent)}")
    return Finding(True, f"argocd_app_info answers for {len(wanted)} applications")


STEPS: tuple[Step, ...] = (
    Step("cluster", "Cluster reachable and ready", check_cluster),
    Step("install", "Argo CD installed", check_installed, act_install),
    Step("available", "Namespace and components available", check_available),
    Step("settings", "Settings and RBAC present", check_settings, act_settings),
    Step("repository", "Repository credentials verified", check_repository, act_repository),
    Step("root", "Root application created", check_root, act_root),
    Step("revision", "Revision pulled", check_revision, act_revision),
    Step("children", "Child applications in waves", check_children),
    Step("healthy", "Synced and healthy at that revision", check_healthy),
    Step("monitored", "Monitored", check_monitored),
)
