"""The runbooks themselves on a real control plane: bootstrap from nothing, promotion, a crash, the way back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gitops_nb.cli.initialising import create_workspace
from gitops_nb.model import ObjectRef
from gitops_nb.record.keys import open_runner_key
from tests.conftest import SHARED, Workspace

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


def kubectl(*arguments: str, stdin: str = "", check: bool = True) -> str:
    """The real kubectl, as another user of the cluster than gitops-nb."""
    done = subprocess.run(
        ("kubectl", *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def writes() -> Counter[str]:
    """Mutating calls of gitops-nb in the audit log; access reviews left out."""
    path = Path(os.environ["GITOPS_LAB_DIR"]) / "audit.log"
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        event = json.loads(line)
        resource = (event.get("objectRef") or {}).get("resource", "")
        ours = event.get("userAgent") == "gitops-nb" and event["stage"] == "ResponseComplete"
        if (
            ours
            and event["verb"] not in {"get", "list", "watch"}
            and "accessreview" not in resource
        ):
            found[f"{event['verb']} {resource}"] += 1
    return found


class Live:
    """A live workspace, its repository, and the control plane of the lab."""

    def __init__(self, root: Path) -> None:
        self.bare = Path(os.environ["GITOPS_LAB_DIR"]) / "git" / f"runbooks-{os.getpid()}.git"
        self.work = root / "work"
        self.workspace = Workspace(root / "team")
        self.key = root / "tomas"
        self.asks = root / "priya"
        self._make_repository()
        self._make_workspace(root)

    def run(self, *arguments: str, code: int = 0) -> str:
        """One command of gitops-nb, which has to end with this exit code."""
        # Who asks signs with the key of their home, which is another one in every test.
        own = Path(os.environ["HOME"], ".ssh")
        own.mkdir(exist_ok=True, mode=0o700)
        shutil.copy(self.asks, own / "id_ed25519")
        shutil.copy(self.asks.with_suffix(".pub"), own / "id_ed25519.pub")
        done = self.workspace.run(*arguments, timeout=400)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def promote(self, *parameters: str, code: int) -> dict:
        """A promotion with its approval; returns report.json."""
        pairs = [item for parameter in parameters for item in ("-p", parameter)]
        self.run("run", "promotion", "-p", "application=guestbook", *pairs, code=2)
        self.run("approve", "last", "--yes", "--key", str(self.key))
        self.run("resume", "last", code=code)
        path = Path(self.run("report", "last").strip()).with_name("report.json")
        return json.loads(path.read_text(encoding="utf-8"))

    def push(self, name: str, old: str, new: str) -> None:
        """Somebody changes a file by hand."""
        self.git("pull", "-q", "origin", "main")
        path = self.work / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.git("commit", "-q", "-am", f"By hand: {new}")
        self.git("push", "-q", "origin", "main")

    def git(self, *arguments: str) -> None:
        """Plain git in the work tree."""
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(
            ("git", *identity, *arguments), cwd=self.work, check=True, capture_output=True
        )

    def _make_repository(self) -> None:
        """The example applications, with a root folder whose children come in waves, and two environments of one."""
        files = {
            str(p.relative_to(EXAMPLES)): p.read_bytes() for p in EXAMPLES.rglob("*") if p.is_file()
        }
        for environment in ("staging", "production"):
            for name in (DEPLOYMENT, "guestbook-ui-svc.yaml"):
                files[f"environments/{environment}/guestbook/{name}"] = files[f"guestbook/{name}"]
        children = (
            ("guestbook", "guestbook"),
            ("kustomize-guestbook", "kustomize-guestbook"),
            ("helm-guestbook", "helm-guestbook"),
            ("guestbook-staging", "environments/staging/guestbook"),
        )
        for wave, (name, path) in enumerate(children):
            files[f"argocd/development/{name}.yaml"] = self.application(
                name, path, wave=wave
            ).encode()
        for name, content in files.items():
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.bare.parent.mkdir(exist_ok=True)
        subprocess.run(("git", "init", "-q", "--bare", "-b", "main", str(self.bare)), check=True)
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "Import the examples")
        self.git("remote", "add", "origin", f"file://{self.bare}")
        self.git("push", "-q", "origin", "main")

    def application(self, name: str, path: str, *, wave: int = 0, automated: bool = True) -> str:
        """An Argo CD Application as YAML."""
        policy = {
            "syncOptions": ["CreateNamespace=true"],
            **({"automated": {"selfHeal": True}} if automated else {}),
        }
        return yaml.safe_dump(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "metadata": {
                    "name": name,
                    "namespace": "argocd",
                    "annotations": {"argocd.argoproj.io/sync-wave": str(wave)},
                },
                "spec": {
                    "project": "default",
                    "source": {
                        "repoURL": f"file://{self.bare}",
                        "path": path,
                        "targetRevision": "main",
                    },
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": name},
                    "syncPolicy": policy,
                },
            }
        )

    def _make_workspace(self, root: Path) -> None:
        create_workspace(self.workspace.root)
        publics: dict[str, str] = {}
        for key in (self.key, self.asks):
            subprocess.run(
                ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True
            )
            publics[key.name] = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        server = kubectl(
            "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"
        )
        context = kubectl("config", "current-context").strip()
        cluster = {
            "server": server,
            "context": context,
            "argocd": {"metrics": "http://127.0.0.1:8082/metrics"},
        }
        (self.workspace.root / "argocd.yaml").write_bytes(MANIFEST.read_bytes())
        fleet = yaml.safe_load((self.workspace.root / "runbooks/fleet.yaml").read_text())
        fleet["clusters"] = {
            f"lab-{name}": {**cluster, "environment": name}
            for name in ("development", "staging", "production")
        }
        fleet["repositories"] = {
            "platform-config": {"url": f"file://{self.bare}", "branch": "main"}
        }
        fleet["applications"] = {
            "guestbook": {
                "repository": "platform-config",
                "path": "environments/{environment}/guestbook",
                "promotable": [
                    {
                        "file": DEPLOYMENT,
                        "key": "spec.template.spec.containers[0].image",
                        "part": "tag",
                    }
                ],
            }
        }
        fleet["versions"] = []
        fleet["argocd"]["manifest"] = {
            "path": "argocd.yaml",
            "sha256": hashlib.sha256(MANIFEST.read_bytes()).hexdigest(),
        }
        # JSON is YAML without aliases, which the catalog refuses
        self.workspace.write("runbooks/fleet.yaml", json.dumps(fleet, indent=1))
        policy = {
            "kind": "Policy",
            "environments": {"production": {"gates": {"soak": {"at_least": "1s"}}}},
            "approvers": [{"person": "tomas", "environments": ["staging", "production"]}],
        }
        self.workspace.write("runbooks/policy.yaml", json.dumps(policy, indent=1))
        persons = [{"person": name, "keys": [{"key": key}]} for name, key in publics.items()]
        runner = {"name": "lab", "key": open_runner_key(self.workspace.root).public}
        trust = {"kind": "Trust", "persons": persons, "runners": [runner]}
        self.workspace.write("runbooks/trust.yaml", json.dumps(trust, indent=1))
        self.workspace.replace("gitops-nb.yaml", "mode: sandbox", "mode: live")


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[Live]:
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
    yield Live(tmp_path_factory.mktemp("live"))
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


def test_1_bootstrap_from_nothing_and_again(live: Live) -> None:
    """Ten steps bring Argo CD, the root application and its children; a second run makes no mutating call."""
    start = writes()
    controllers = threading.Thread(target=start_controllers_when_installed)
    controllers.start()
    first = live.run("run", "bootstrap", "-p", "cluster=lab-development", "-p", "timeout=3m")
    controllers.join()
    assert "runs Argo CD v3.0.11 and its applications" in first
    assert re.search(r"cluster lab-development: https://127\.0\.0\.1", first) or "LIVE" in first
    before = writes()
    assert (before - start)["patch customresourcedefinitions"] == 3
    second = live.run("run", "bootstrap", "-p", "cluster=lab-development", "-p", "timeout=3m")
    assert "is bootstrapped already" in second
    assert writes() - before == Counter()
    held = live.run("verify", code=0)
    assert held.count("holds") == 3, "the ledger and both runs"


def test_2_a_promotion_arrives(live: Live) -> None:
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
    document = live.promote(code=0)
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


def test_3_a_crash_is_a_failure_with_its_pod(live: Live) -> None:
    """Argo CD says Succeeded and Synced; the run says failed, names pod and reason, and the way back works."""
    live.push(f"environments/staging/guestbook/{DEPLOYMENT}", "frontend:v6", "frontend:v7-crash")
    live.workspace.replace("runbooks/policy.yaml", '"soak"', '"source_healthy": false, "soak"')
    live.workspace.replace("runbooks/policy.yaml", '"at_least": "1s"', '"at_least": "0s"')
    document = live.promote("patience=20s", code=1)
    assert document["status"] == "failed"
    facts = {fact["label"]: fact["text"] for fact in document["outcome"]["facts"]}
    assert facts["Reason"].startswith("CrashLoopBackOff")
    assert facts["Pod"].startswith("guestbook-ui-")
    assert facts["Version before"] == "v6"
    assert document["next"]["command"].endswith("-p revision=v6")
    back = live.promote("revision=v6", code=0)
    assert back["outcome"]["result"] == "deployed"


def test_4_another_target_is_refused_before_anything_changes(live: Live) -> None:
    """A context that points elsewhere than fleet.yaml says stops apply."""
    text = (live.workspace.root / "runbooks/fleet.yaml").read_text()
    live.workspace.write(
        "runbooks/fleet.yaml", text.replace("https://127.0.0.1:6443", "https://production.example")
    )
    before = writes()
    live.run("run", "promotion", "-p", "application=guestbook", "-p", "revision=v5", code=2)
    live.run("approve", "last", "--yes", "--key", str(live.key))
    assert "fleet.yaml says https://production.example" in live.run("resume", "last", code=3)
    assert writes() == before


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
