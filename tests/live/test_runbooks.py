"""The runbooks themselves on a real control plane: bootstrap from nothing, promotion, a crash, the way back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops_nb.model import ObjectRef
from tests.conftest import SHARED
from tests.live.team import Team, kubectl, writes

pytestmark = pytest.mark.live

EXAMPLES = SHARED / "data/gitops/argocd-example-apps"
LAB = SHARED / "lab/lab"
MANIFEST = SHARED / "lab/manifests/argocd-install-v3.0.11.yaml"
CONTROLLERS = (
    "argocd-repo-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
)
DEPLOYMENT = "guestbook-ui-deployment.yaml"
IMAGE = "gcr.io/google-samples/gb-frontend"


def own_writes() -> Counter[str]:
    """Mutating calls of gitops-nb on the lab."""
    log = Path(os.environ["GITOPS_LAB_DIR"]) / "audit.log"
    return Counter(call for _, call in writes(log))


def examples(root: Path) -> Team:
    """The example applications, with a root folder whose children come in waves, and two environments of one."""
    files = {
        str(p.relative_to(EXAMPLES)): p.read_bytes() for p in EXAMPLES.rglob("*") if p.is_file()
    }
    for environment in ("staging", "production"):
        for name in (DEPLOYMENT, "guestbook-ui-svc.yaml"):
            files[f"environments/{environment}/guestbook/{name}"] = files[f"guestbook/{name}"]
    team = Team(root, "runbooks", files)
    children = (
        ("guestbook", "guestbook"),
        ("kustomize-guestbook", "kustomize-guestbook"),
        ("helm-guestbook", "helm-guestbook"),
        ("guestbook-staging", "environments/staging/guestbook"),
    )
    folder = team.work / "argocd/development"
    folder.mkdir(parents=True)
    for wave, (name, path) in enumerate(children):
        text = team.application(name, path, wave=wave)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    team.git("add", ".")
    team.git("commit", "-q", "-m", "The root's children")
    team.git("push", "-q", "origin", "main")
    _describe_platform(team)
    return team


def _describe_platform(team: Team) -> None:
    server = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    cluster = {
        "server": server,
        "context": kubectl("config", "current-context").strip(),
        "argocd": {"metrics": "http://127.0.0.1:8082/metrics"},
    }
    (team.workspace.root / "argocd.yaml").write_bytes(MANIFEST.read_bytes())
    fleet = team.fleet()
    fleet["clusters"] = {
        f"lab-{name}": {**cluster, "environment": name}
        for name in ("development", "staging", "production")
    }
    fleet["repositories"] = {"platform-config": {"url": team.url, "branch": "main"}}
    fleet["applications"] = {
        "guestbook": {
            "repository": "platform-config",
            "path": "environments/{environment}/guestbook",
            "promotable": [
                {"file": DEPLOYMENT, "key": "spec.template.spec.containers[0].image", "part": "tag"}
            ],
        }
    }
    fleet["versions"] = []
    fleet["argocd"]["manifest"] = {
        "path": "argocd.yaml",
        "sha256": hashlib.sha256(MANIFEST.read_bytes()).hexdigest(),
    }
    team.write_fleet(fleet)


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[Team]:
    """The lab with Argo CD taken away: its namespace and CRDs are gone, its processes stand still."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: the runbooks were not tried on a live control plane")
    if not os.environ.get("GITOPS_LAB_DIR") or not LAB.is_file():
        pytest.skip("this control plane is not the lab: bootstrap would delete its Argo CD")
    for name in CONTROLLERS:
        lab("stop", name)
    kubectl(
        "delete", "applications.argoproj.io", "--all", "-n", "argocd", "--wait=false", check=False
    )
    crds = ("applications", "applicationsets", "appprojects")
    for name in kubectl(
        "get", "applications.argoproj.io", "-n", "argocd", "-o", "name", check=False
    ).split():
        kubectl(
            "patch",
            name,
            "-n",
            "argocd",
            "--type=merge",
            "-p",
            '{"metadata":{"finalizers":null}}',
            check=False,
        )
    kubectl("delete", "namespace", "argocd", "--wait=true", "--timeout=60s", check=False)
    kubectl(
        "delete", "crd", *(f"{name}.argoproj.io" for name in crds), "--timeout=60s", check=False
    )
    yield examples(tmp_path_factory.mktemp("live"))
    for name in CONTROLLERS:
        lab("start", name)


def lab(*arguments: str) -> None:
    """A command of the lab; its output goes nowhere, since what it starts would keep a pipe open."""
    subprocess.run(
        (sys.executable, str(LAB), *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )


def start_controllers_when_installed() -> None:
    """What a node does on a real cluster: Argo CD's programs start once bootstrap has installed them.

    The lab has no argocd-server; what that one does at its first start, filling the secret, is done here.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if kubectl(
            "get", "deployment", "argocd-repo-server", "-n", "argocd", "-o", "name", check=False
        ):
            break
        time.sleep(0.5)
    filled = json.dumps({"stringData": {"server.secretkey": "made-by-argocd-server"}})
    kubectl("patch", "secret", "argocd-secret", "-n", "argocd", "--type=merge", "-p", filled)
    for name in CONTROLLERS:
        lab("start", name)


def test_1_bootstrap_from_nothing_and_again(live: Team) -> None:
    """Ten steps bring Argo CD, the root application and its children; a second run makes no mutating call."""
    start = own_writes()
    controllers = threading.Thread(target=start_controllers_when_installed)
    controllers.start()
    first = live.run("run", "bootstrap", "-p", "cluster=lab-development", "-p", "timeout=3m")
    controllers.join()
    assert "runs Argo CD v3.0.11 and its applications" in first
    assert re.search(r"cluster lab-development: https://127\.0\.0\.1", first) or "LIVE" in first
    before = own_writes()
    assert (before - start)["patch customresourcedefinitions"] == 3
    second = live.run("run", "bootstrap", "-p", "cluster=lab-development", "-p", "timeout=3m")
    assert "is bootstrapped already" in second
    assert own_writes() - before == Counter()
    held = live.run("verify", code=0)
    assert held.count("holds") == 3, "the ledger and both runs"


def test_2_a_promotion_arrives(live: Team) -> None:
    """A version goes from staging to production: one commit, one sync, pods of that version."""
    live.push(f"environments/staging/guestbook/{DEPLOYMENT}", "frontend:v5", "frontend:v6")
    live.push(f"environments/production/guestbook/{DEPLOYMENT}", "replicas: 1", "replicas: 2")
    kubectl(
        "apply",
        "-f",
        "-",
        stdin=live.application(
            "guestbook-production", "environments/production/guestbook", automated=False
        ),
    )
    refresh_until_healthy("guestbook-staging", f"{IMAGE}:v6")
    document = live.promote("guestbook", code=0)
    assert document["status"] == "succeeded"
    images = kubectl(
        "get",
        "pods",
        "-n",
        "guestbook-production",
        "-o",
        "jsonpath={.items[*].spec.containers[0].image}",
    ).split()
    assert images == [f"{IMAGE}:v6"] * 2
    assert {t["system"] for t in document["targets"]} >= {
        "cluster lab-production",
        "repository platform-config",
    }


def test_3_a_crash_is_a_failure_with_its_pod(live: Team) -> None:
    """Argo CD says Succeeded and Synced; the run says failed, names pod and reason, and the way back works."""
    live.push(f"environments/staging/guestbook/{DEPLOYMENT}", "frontend:v6", "frontend:v7-crash")
    live.workspace.replace("runbooks/policy.yaml", '"soak"', '"source_healthy": false, "soak"')
    live.workspace.replace("runbooks/policy.yaml", '"at_least": "1s"', '"at_least": "0s"')
    document = live.promote("guestbook", "patience=20s", code=1)
    assert document["status"] == "failed"
    facts = {fact["label"]: fact["text"] for fact in document["outcome"]["facts"]}
    assert facts["Reason"].startswith("CrashLoopBackOff")
    assert facts["Pod"].startswith("guestbook-ui-")
    assert facts["Version before"] == "v6"
    assert document["next"]["command"].endswith("-p revision=v6")
    back = live.promote("guestbook", "revision=v6", code=0)
    assert back["outcome"]["result"] == "deployed"


def test_4_another_target_is_refused_before_anything_changes(live: Team) -> None:
    """A context that points elsewhere than fleet.yaml says: refused before anybody is asked, and again before an effect."""
    live.run("run", "promotion", "-p", "application=guestbook", "-p", "revision=v5", code=2)
    live.run("approve", "last", "--yes", "--key", str(live.key))
    text = (live.workspace.root / "runbooks/fleet.yaml").read_text()
    live.workspace.write(
        "runbooks/fleet.yaml", text.replace("https://127.0.0.1:6443", "https://production.example")
    )
    before = own_writes()
    assert "fleet.yaml says https://production.example" in live.run("resume", "last", code=3)
    asked = ("run", "promotion", "-p", "application=guestbook", "-p", "revision=v5")
    assert "fleet.yaml says https://production.example" in live.run(*asked, code=3)
    assert own_writes() == before


def test_5_who_owns_a_field_is_known_before_the_decision(live: Team) -> None:
    """Somebody else owns a setting: the bootstrap is refused by its gate, names both, and writes nothing."""
    live.push(f"environments/staging/guestbook/{DEPLOYMENT}", "frontend:v7-crash", "frontend:v8")
    refresh_until_healthy("guestbook-staging", f"{IMAGE}:v8")
    text = (live.workspace.root / "runbooks/fleet.yaml").read_text()
    fleet = json.loads(text.replace("https://production.example", "https://127.0.0.1:6443"))
    fleet["argocd"].setdefault("settings", {})["resource.example"] = "ours"
    live.write_fleet(fleet)
    live.run("run", "bootstrap", "-p", "cluster=lab-development", "-p", "timeout=3m")
    patch = json.dumps({"data": {"resource.example": "theirs"}})
    kubectl("patch", "cm", "argocd-cm", "-n", "argocd", "--type=merge", "-p", patch)
    version = kubectl(
        "get", "cm", "argocd-cm", "-n", "argocd", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    refused = live.run("run", "bootstrap", "-p", "cluster=lab-development", code=3)
    assert re.search(r'ownership: ConfigMap argocd/argocd-cm: "kubectl-patch".* owns \.data\.resource', refused)  # fmt: skip
    assert "nothing was changed" in refused or "begins" not in refused
    assert version == kubectl(
        "get", "cm", "argocd-cm", "-n", "argocd", "-o", "jsonpath={.metadata.resourceVersion}"
    )


def test_6_a_promotion_outlives_an_api_server_that_is_away(live: Team) -> None:
    """The API server is killed while the rollout is watched, and is back after 40 s: the run says that the version runs.

    Not before Argo CD's own sync is through: that one does fail then, and the run says so.
    """
    live.run("run", "promotion", "-p", "application=guestbook", "-p", "stable_for=30s", code=2)
    live.run("approve", "last", "--yes", "--key", str(live.key))
    journal = Path(live.run("report", "last").strip()).with_name("journal.jsonl")
    outage = threading.Thread(target=take_api_server_away, args=(journal, 40))
    outage.start()
    done = live.run("resume", "last")
    outage.join()
    assert "guestbook v8 runs in production" in done
    assert "Git asks for guestbook v8 in production" in done


def take_api_server_away(journal: Path, seconds: float) -> None:
    """Kills it once the run watches a sync that is through, and starts it after a while."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = kubectl(
            "get", "application", "guestbook-production", "-n", "argocd",
            "-o", "jsonpath={.status.operationState.phase} {.status.summary.images}", check=False,
        )  # fmt: skip
        is_watching = '"step":"verify"' in journal.read_text(encoding="utf-8")
        if is_watching and state == f'Succeeded ["{IMAGE}:v8"]':
            break
        time.sleep(0.2)
    lab("stop", "kube-apiserver")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
    lab("start", "kube-apiserver")


def refresh_until_healthy(name: str, image: str) -> None:
    """Waits until an automated Application runs an image."""
    from gitops_nb.adapters.kubernetes import connect

    cluster = connect(kubectl("config", "current-context").strip())
    deadline = time.monotonic() + 120
    kubectl(
        "annotate",
        "application",
        name,
        "-n",
        "argocd",
        "argocd.argoproj.io/refresh=normal",
        "--overwrite",
    )
    while time.monotonic() < deadline:
        application = (
            cluster.get(ObjectRef("argoproj.io/v1alpha1", "Application", name, "argocd")) or {}
        )
        status = application.get("status", {})
        if (
            status.get("summary", {}).get("images") == [image]
            and status["sync"]["status"] == "Synced"
            and status["health"]["status"] == "Healthy"
        ):
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} does not run {image}")
