"""What was asked: which cluster, and what fleet.yaml wants there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gitops_nb.catalog.durations import parse_duration
from gitops_nb.catalog.fleet import ArgoCDInstall, Fleet, Repository
from gitops_nb.errors import ConfigurationError, UsageError
from gitops_nb.model import digest


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """One bootstrap. ``path`` is the root application's folder, ``timeout`` bounds each of the ten steps.

    ``context`` is the kubeconfig context that a person would write with.
    """

    cluster: str
    environment: str
    namespace: str
    metrics: str
    install: ArgoCDInstall
    repository_name: str
    repository: Repository
    path: str
    timeout: timedelta
    context: str = ""

    @property
    def subject(self) -> str:
        """What the run is about."""
        return self.cluster

    @property
    def wanted(self) -> str:
        """Digest of all that fleet.yaml wants on the cluster: manifest, settings, accounts, repository, root application."""
        return digest(
            {
                "cluster": self.cluster,
                "environment": self.environment,
                "namespace": self.namespace,
                "install": self.install.model_dump(mode="json"),
                "repository": {
                    "name": self.repository_name,
                    **self.repository.model_dump(mode="json"),
                },
                "path": self.path,
            }
        )

    @property
    def manifest(self) -> str:
        """Where the install manifest is."""
        return self.install.manifest.url or str(self.install.manifest.path)


def request(fleet: Fleet, parameters: Mapping[str, Any]) -> Bootstrap:
    """Builds the request from checked parameters.

    Raises:
        ConfigurationError: fleet.yaml does not say what to install, or another cluster's Argo CD deploys here.
        UsageError: The timeout is none.
    """
    timeout = parse_duration(parameters.get("timeout") or "10m")
    if not timeout:
        raise UsageError(
            "timeout: in no time no step can be seen to hold", hint="Give for example 10m."
        )
    name = parameters["cluster"]
    cluster = fleet.clusters[name]
    if fleet.argocd is None:
        raise ConfigurationError(
            "fleet.yaml has no `argocd`", hint="Say there which manifest to install."
        )
    control = cluster.argocd.cluster
    if control not in (None, name):
        raise ConfigurationError(
            f"{name} is deployed to by the Argo CD of {control}",
            hint=f"Bootstrap {control} instead.",
        )
    return Bootstrap(
        cluster=name,
        environment=cluster.environment,
        namespace=cluster.argocd.namespace,
        metrics=cluster.argocd.metrics,
        install=fleet.argocd,
        repository_name=fleet.argocd.repository,
        repository=fleet.repositories[fleet.argocd.repository],
        path=fleet.argocd.path.replace("{environment}", cluster.environment).replace(
            "{cluster}", name
        ),
        timeout=timeout,
        context=cluster.operator_context or cluster.context or name,
    )
