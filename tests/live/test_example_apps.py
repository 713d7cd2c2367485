"""The adapters on a real Argo CD with a real repository: argocd-example-apps, synced, promoted, failed, taken back."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.adapters.clock import WallClock
from gitops_nb.argo import Expectation, Judgement, State, judge
from gitops_nb.argo.root import root_application
from gitops_nb.model import ObjectRef
from gitops_nb.ports import Snapshot
from tests.contract.platforms import Platform, application, context_of_tests

EXAMPLES = Path(__file__).parents[3] / "shared/data/gitops/argocd-example-apps"
READS = {"get", "list", "watch"}
IMAGE = "gcr.io/google-samples/gb-frontend:v5"

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The control plane of KUBECONFIG, and a bare repository made from the examples."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: nothing was tried on a live control plane")
    if not EXAMPLES.is_dir():
        pytest.skip(f"the example applications are absent: {EXAMPLES}")
    from gitops_nb.adapters.kubernetes import connect

    lab = os.environ.get("GITOPS_LAB_DIR")
    root = Path(lab) / "git" if lab else tmp_path_factory.mktemp("git")
    folder = root / f"examples-{os.getpid()}.git"
    root.mkdir(exist_ok=True)
    subprocess.run(
        ["git", "init", "-q", "--bare", "--initial-branch=main", str(folder)], check=True
    )
    cluster = connect(context_of_tests())
    platform = Platform(
        name="live",
        cluster=cluster,
        other=cluster.as_manager("kubectl-edit"),
        argo=ArgoCD(control=cluster, workloads=cluster, writer=cluster, clock=WallClock()),
        clock=WallClock(),
        url=f"file://{folder}",
        folder=folder,
        prefix=f"examples-{os.getpid()}",
    )
    files: dict[str, str | None] = {
        str(path.relative_to(EXAMPLES)): path.read_text()
        for path in sorted(EXAMPLES.rglob("*"))
        if path.is_file()
    }
    platform.push(files, "Import the examples")
    return platform


def _writes() -> Counter[str]:
    """Mutating calls of gitops-nb in the API server's audit log so far, access reviews left out."""
    path = Path(os.environ.get("GITOPS_LAB_DIR", "")) / "audit.log"
    if not path.is_file():
        pytest.skip(f"no audit log at {path}: the calls cannot be counted")
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        event = json.loads(line)
        resource = (event.get("objectRef") or {}).get("resource", "")
        is_ours = event.get("userAgent") == "gitops-nb" and event["stage"] == "ResponseComplete"
        if is_ours and event["verb"] not in READS and "accessreview" not in resource:
            found[f"{event['verb']} {resource}"] += 1
    return found


def _final(
    platform: Platform, name: str, wanted: Expectation, *, timeout_s: float = 90
) -> Judgement:
    last: list[Judgement] = []
    platform.until(
        name, lambda s: last.append(judge(s, wanted)) or last[-1].is_final, timeout_s=timeout_s
    )
    return last[-1]


def test_promotion_to_a_crashing_image_and_back(platform: Platform) -> None:
    """A guestbook is deployed, promoted to a crashing image, judged failed with the pod's reason, and taken back."""
    name = platform.new_name()
    platform.namespace(name)
    path = "guestbook/guestbook-ui-deployment.yaml"
    good = (EXAMPLES / path).read_text()
    short = good.replace("spec:\n", "spec:\n  progressDeadlineSeconds: 10\n", 1)
    first = platform.push({path: short})
    platform.application(name, "guestbook")
    before = _writes()
    platform.argo.sync(name, revision=first, identifier="first")
    wanted = Expectation(first, "first", images=(IMAGE,), workloads=("Deployment/guestbook-ui",))
    assert _final(platform, name, wanted).state is State.DEPLOYED
    assert _writes() - before == Counter({"patch applications": 1})

    bad = platform.push({path: short.replace("frontend:v5", "frontend:v6-crash")})
    platform.argo.sync(name, revision=bad, identifier="second")
    judgement = _final(platform, name, Expectation(bad, "second"))
    assert judgement.state is State.FAILED
    assert [(f.container, f.reason) for f in judgement.failing] == [
        ("guestbook-ui", "CrashLoopBackOff")
    ]
    assert "v6-crash" in judgement.sentence

    back = platform.push({path: short})
    platform.argo.sync(name, revision=back, identifier="third")
    assert _final(platform, name, Expectation(back, "third")).state is State.DEPLOYED


def test_root_application_brings_its_children(platform: Platform) -> None:
    """A root Application brings Applications of plain YAML, Kustomize and Helm, all healthy at its revision."""
    name = platform.new_name()
    folders = ("guestbook", "kustomize-guestbook", "helm-guestbook")
    children = {f"{name}-{folder}": folder for folder in folders}
    revision = platform.push(
        {
            f"{name}/{child}.yaml": application(
                child, folder, url=platform.url, branch="main", automated=True, wave=wave
            )
            for wave, (child, folder) in enumerate(children.items())
        }
    )
    manifest = root_application(
        name=name, namespace="argocd", url=platform.url, branch="main", path=name
    )
    platform.cluster.apply(manifest)
    last: list[Judgement] = []

    def is_final(snapshot: Snapshot) -> bool:
        below = {child: platform.argo.snapshot(child) for child in children}
        last.append(judge(snapshot, Expectation(revision), children=below))
        return last[-1].is_final

    platform.until(name, is_final, timeout_s=120)
    assert last[-1].state is State.DEPLOYED, last[-1].sentence
    found = platform.argo.snapshot(name).application["status"]["resources"]
    assert {item["name"] for item in found} == set(children)


def test_watching_and_judging_write_nothing(platform: Platform) -> None:
    """Reading, watching and judging make no mutating call."""
    before = _writes()
    for name in platform.argo.names():
        platform.argo.snapshot(name)
    list(platform.argo.watch(platform.argo.names()[0], timeout_s=2))
    assert platform.cluster.allows("patch", ObjectRef("apps/v1", "Deployment", "web", "default"))
    assert _writes() == before
