"""Bootstraps of the sandbox's empty cluster, as their notebook makes them."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb import bootstrap
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Mode
from gitops_nb.record.fold import RunState
from gitops_nb.session import open_session
from gitops_nb.session.platform import Platform, open_platform
from tests.cells import go_through

CLUSTER = "newcomer"


class Bootstrapper:
    """Runs the bootstrap's cells in this process."""

    def __init__(self, workspace) -> None:
        self.workspace = workspace

    def run(self, **parameters: Any) -> tuple[RunState, GitOpsError | None]:
        """All cells; returns the run and what stopped it, if something did."""
        session = open_session(
            "bootstrap", workspace=self.workspace.root, cluster=CLUSTER, **parameters
        )
        return go_through(session, bootstrap)

    @property
    def platform(self) -> Platform:
        """The sandbox's handles."""
        where = find_workspace(self.workspace.root)
        return open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)

    @property
    def cluster(self):
        """The cluster, for reading and writing as somebody else."""
        return self.platform.view.clusters[CLUSTER]

    def written(self) -> dict[str, str]:
        """Every object that a bootstrap may write, with its version."""
        kinds = [("v1", kind) for kind in ("Namespace", "ConfigMap", "Secret", "ServiceAccount")]
        kinds += [("apps/v1", kind) for kind in ("Deployment", "StatefulSet")]
        kinds += [("argoproj.io/v1alpha1", kind) for kind in ("Application", "AppProject")]
        kinds.append(("apiextensions.k8s.io/v1", "CustomResourceDefinition"))
        return {
            f"{kind} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for version, kind in kinds
            for item in self.cluster.list(version, kind)
        }  # fmt: skip


@pytest.fixture
def bootstrapper(workspace) -> Bootstrapper:
    """Bootstraps in a new workspace."""
    return Bootstrapper(workspace)
