"""Step 4: settings and access rules are there, and Argo CD can work with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gitops_nb.bootstrap.changes import Planned
from gitops_nb.bootstrap.context import Context, Finding, is_settings
from gitops_nb.bootstrap.manifests import RBAC, SETTINGS, ref_of
from gitops_nb.catalog.argocd_settings import (
    has_sso,
    issuer,
    rbac_problems,
    settings_problems,
    without_logs,
)
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Json
from gitops_nb.ports import ArgoWriter, ClusterWriter


def check_settings(context: Context) -> Finding:
    """argocd-cm and argocd-rbac-cm hold what fleet.yaml says, and Argo CD can work with all that is in them.

    Raises:
        ConfigurationError: Something in them cannot be right, whoever wrote it.
        UnavailableError: The identity provider does not answer.
    """
    changes: list[Planned] = []
    live: dict[str, Mapping[str, str]] = {}
    for wanted in filter(is_settings, context.objects):
        found = context.cluster.get(ref_of(wanted))
        name = wanted["metadata"]["name"]
        live[name] = (found or {}).get("data") or {}
        if name == SETTINGS:
            _refuse_lockout(wanted["data"], live[name])
        changes += filter(None, [context.planned(found, wanted)])
    if changes:
        return Finding.of(f"{len(changes)} of 2 config maps to write", *changes)
    _refuse_unreadable(SETTINGS, settings_problems(live[SETTINGS]))
    _refuse_unreadable(RBAC, rbac_problems(live[RBAC]))
    keys = len(context.request.install.settings) + len(context.request.install.rbac)
    told = [f"{keys} settings of fleet.yaml in place"]
    if address := issuer(live[SETTINGS]):
        _ask_issuer(context, address)
        told.append(f"{address} answers")
    if silent := without_logs(live[RBAC]):
        told.append(f"may see applications and not their logs: {', '.join(silent)}")
    return Finding(True, "; ".join(told))


def _refuse_lockout(wanted: Mapping[str, str], live: Mapping[str, str]) -> None:
    """The admin account goes only after people had the time to log in otherwise; no API tells whether one did."""
    goes = wanted.get("admin.enabled") == "false" and live.get("admin.enabled") != "false"
    if goes and has_sso(wanted) and not has_sso(live):
        raise ConfigurationError(
            "`admin.enabled: false` comes together with the first SSO settings of this cluster",
            hint="Bootstrap without it, log in once through SSO, then disable the admin in a run of its own.",
        )


def _refuse_unreadable(name: str, problems: Iterable[tuple[str, str]]) -> None:
    found = "; ".join(f"{key} {problem}" for key, problem in problems)
    if found:
        raise ConfigurationError(
            f"{name} on the cluster: {found}",
            hint="Mend that ConfigMap, or say in fleet.yaml what belongs there.",
        )


def _ask_issuer(context: Context, address: str) -> None:
    described = context.view.artifacts.fetch_json(f"{address}/.well-known/openid-configuration")
    told = described.get("issuer", "") if isinstance(described, dict) else ""
    if str(told).rstrip("/") != address:
        raise ConfigurationError(
            f"{address} describes itself as {str(told)!r}",
            hint="Put the provider's own address into `oidc.config`.",
        )


def act_settings(context: Context, cluster: ClusterWriter, _: ArgoWriter) -> Mapping[str, Json]:
    """Applies both config maps."""
    for wanted in filter(is_settings, context.objects):
        cluster.apply(wanted)
    return {"applied": 2}
