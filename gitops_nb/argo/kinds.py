"""Which kinds of objects run something, and which of those can be judged here."""

from __future__ import annotations

from gitops_nb.model import Json

JUDGED = ("Deployment", "StatefulSet", "DaemonSet", "Job")
"""Kinds whose status says whether a rollout is complete; what they own follows from them."""

BARE = ("ReplicaSet", "Pod")
"""Kinds that mostly belong to others; an Application may manage one by itself."""

HOOK = "argocd.argoproj.io/hook"

_BUILT_IN = frozenset(
    {"", "apps", "batch", "autoscaling", "policy", "extensions", "scheduling.k8s.io", "node.k8s.io"}
)
_PASSIVE = (
    "k8s.io", "cert-manager.io", "external-secrets.io", "monitoring.coreos.com", "istio.io", "cilium.io",
    "traefik.io", "traefik.containo.us", "kyverno.io", "gatekeeper.sh", "bitnami.com", "cloud.google.com",
    "crossplane.io", "keda.sh", "velero.io", "metallb.io", "projectcontour.io", "openshift.io",
)  # fmt: skip
"""Groups, and those below them, whose objects configure something and own no pods that a version shows in."""
_OTHER_WORKLOADS = {
    ("argoproj.io", "Rollout"),
    ("apps.openshift.io", "DeploymentConfig"),
    ("serving.knative.dev", "Service"),
    ("", "ReplicationController"),
    ("apps.kruise.io", "CloneSet"),
    ("apps.kruise.io", "StatefulSet"),
    ("apps.kruise.io", "DaemonSet"),
}
_OPERATED = {
    ("monitoring.coreos.com", "Prometheus"),
    ("monitoring.coreos.com", "PrometheusAgent"),
    ("monitoring.coreos.com", "Alertmanager"),
    ("monitoring.coreos.com", "ThanosRuler"),
    ("jobset.x-k8s.io", "JobSet"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"),
    ("keda.sh", "ScaledJob"),
    ("pkg.crossplane.io", "Provider"),
    ("pkg.crossplane.io", "Function"),
    ("install.istio.io", "IstioOperator"),
    ("build.openshift.io", "Build"),
}
"""Kinds of groups that mostly configure, for which an operator runs pods."""
SCHEDULED = {("batch", "CronJob"), ("argoproj.io", "CronWorkflow")}
"""Kinds that run when their time comes: nothing shows their version before."""
_OWN = {"Application", "ApplicationSet", "AppProject"}


def is_workload(item: Json) -> bool:
    """True for the kinds that a manifest names; ReplicaSets and Pods follow from them.

    A hook's Job is none: the operation waits for it, and it may stay behind for ever. Takes an object, or an entry of
    ``status.resources``.
    """
    group = item["group"] if item.get("group") is not None else _group(item)
    if item.get("kind") not in JUDGED or group not in ("", "apps", "batch", None):
        return False
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    return HOOK not in annotations and not item.get("hook")


def is_opaque(resource: Json) -> bool:
    """True for an entry of ``status.resources`` that surely runs something, and not in a way that is judged here."""
    return (resource.get("group") or "", resource.get("kind")) in _OTHER_WORKLOADS


def is_scheduled(resource: Json) -> bool:
    """True for an entry of ``status.resources`` that runs at its own times."""
    return (resource.get("group") or "", resource.get("kind")) in SCHEDULED


def may_run(resource: Json) -> bool:
    """True for an entry of ``status.resources`` of a custom kind: an operator may run pods for it, or not."""
    group = resource.get("group") or ""
    if group in _BUILT_IN or resource.get("kind") in _OWN or is_scheduled(resource):
        return is_opaque(resource)
    is_passive = any(group == known or group.endswith(f".{known}") for known in _PASSIVE)
    return not is_passive or is_opaque(resource) or (group, resource.get("kind")) in _OPERATED


def label(item: Json) -> str:
    """How people call an object: "Deployment checkout"."""
    name = item.get("name") or (item.get("metadata") or {}).get("name", "")
    return f"{item.get('kind')} {name}"


def _group(item: Json) -> str | None:
    version = item.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else None
