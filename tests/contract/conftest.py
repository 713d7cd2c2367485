"""The two platforms that the suites run on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.adapters.clock import WallClock
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.model import ObjectRef
from gitops_nb.sandbox import open_sandbox
from tests.contract.platforms import (
    ChartFolder,
    ChartServer,
    Platform,
    context_of_tests,
    save_traces,
)

FLEET = Path(__file__).parents[2] / "runbooks/fleet.yaml"
CUSTOMIZATION = """\
hs = {}
hs.status = "Progressing"
hs.message = ""
if obj.status ~= nil and obj.status.health ~= nil then
  hs.status = obj.status.health.status
  hs.message = obj.status.health.message
end
return hs
"""


@pytest.fixture(scope="session")
def sandbox_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The sandbox's development cluster."""
    fleet = Fleet.model_validate(yaml.safe_load(FLEET.read_text()))
    # Its time moves only by waiting: on a busy machine the wall clock would jump over what the suite looks for.
    started = time.time()
    where = tmp_path_factory.mktemp("contract") / "sandbox"
    sandbox = open_sandbox(where, fleet, wall=lambda: started)
    cluster = sandbox.clusters["development"]
    repository = sandbox.repositories["platform-config"]
    platform = Platform(
        name="sandbox",
        cluster=cluster,
        other=cluster.as_manager("kubectl-edit"),
        argo=sandbox.argo["development"],
        clock=sandbox.clock,
        url=str(repository),
        folder=repository,
        charts=ChartFolder(where / "charts"),
    )
    yield platform
    list(save_traces(platform))


@pytest.fixture(scope="session")
def live_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Whatever KUBECONFIG points at; Argo CD runs there in namespace argocd and can read local files."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: the live half of the contract did NOT run")
    from gitops_nb.adapters.kubernetes import connect

    lab = os.environ.get("GITOPS_LAB_DIR")
    root = Path(lab) / "git" if lab else tmp_path_factory.mktemp("git")
    cluster = connect(context_of_tests())
    charts = ChartServer(tmp_path_factory.mktemp("charts"))
    prefix = f"c{os.getpid()}"
    folder = root / f"{prefix}.git"
    root.mkdir(exist_ok=True)
    subprocess.run(
        ["git", "init", "-q", "--bare", "--initial-branch=main", str(folder)], check=True
    )
    platform = Platform(
        name="live",
        cluster=cluster,
        other=cluster.as_manager("kubectl-edit"),
        argo=ArgoCD(control=cluster, workloads=cluster, writer=cluster, clock=WallClock()),
        clock=WallClock(),
        url=f"file://{folder}",
        folder=folder,
        prefix=prefix,
        charts=charts,
    )
    key = "resource.customizations.health.argoproj.io_Application"
    settings = ObjectRef("v1", "ConfigMap", "argocd-cm", "argocd")
    platform.cluster.merge_patch(settings, {"data": {key: CUSTOMIZATION}})
    yield platform
    list(save_traces(platform))
    charts.close()


@pytest.fixture(params=["sandbox", pytest.param("live", marks=pytest.mark.live)])
def platform(request: pytest.FixtureRequest) -> Platform:
    """Each platform in turn."""
    found: Platform = request.getfixturevalue(f"{request.param}_platform")
    return found
