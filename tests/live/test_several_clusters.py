"""Three real clusters that share one Argo CD: what is read where, and with whose rights, is what docs/live.md says.

The control plane has to have contexts development, staging and production, each with a ``-viewer`` and an ``-operator`` of the
groups lab:viewers and lab:operators (the lab, started with these three names).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.platforms import deployment
from tests.live.team import Team, kubectl, writes

pytestmark = pytest.mark.live

CLUSTERS = ("development", "staging", "production")
WORKLOADS = ("deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "pods")


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Team:
    """An application in staging and production, both deployed to by the Argo CD of development."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: several clusters were not tried")
    contexts = kubectl("config", "get-contexts", "-o", "name").split()
    if not {*CLUSTERS, "production-viewer", "production-operator"} <= set(contexts):
        pytest.skip(f"no contexts {', '.join(CLUSTERS)}: several clusters were NOT tried")
    files = {
        f"apps/web/{name}/deployment.yaml": deployment("web", "v1", replicas=2).encode()
        for name in ("staging", "production")
    }
    team = Team(tmp_path_factory.mktemp("several"), "several", files)
    servers = {name: address(name) for name in CLUSTERS}
    for name in CLUSTERS:
        grant(name)
    for name in ("staging", "production"):
        register(name, servers[name])
    fleet = team.fleet()
    fleet["clusters"] = {
        name: {
            "environment": name,
            "server": servers[name],
            "context": f"{name}-viewer",
            "operator_context": f"{name}-operator",
            "argocd": {"cluster": "development"},
        }
        for name in CLUSTERS
    }
    fleet["repositories"] = {"platform-config": {"url": team.url, "branch": "main"}}
    fleet["applications"] = {
        "web": {
            "repository": "platform-config",
            "path": "apps/web/{environment}",
            "promotable": [
                {
                    "file": "deployment.yaml",
                    "key": "spec.template.spec.containers[0].image",
                    "part": "tag",
                }
            ],
        }
    }
    fleet["versions"] = []
    team.write_fleet(fleet)
    for name in ("staging", "production"):
        manifest = team.application(
            f"web-{name}",
            f"apps/web/{name}",
            automated=name == "staging",
            server=servers[name],
        )
        kubectl("--context", "development", "apply", "-f", "-", stdin=manifest)
    return team


def address(context: str) -> str:
    """The API server of a context."""
    view = json.loads(kubectl("config", "view", "--raw", "--minify", "--context", context, "-o", "json"))  # fmt: skip
    return str(view["clusters"][0]["cluster"]["server"])


def register(name: str, server: str) -> None:
    """Makes a cluster known to the Argo CD of development."""
    view = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "--context", name, "-o", "json"))  # fmt: skip
    config = {
        "bearerToken": view["users"][0]["user"]["token"],
        "tlsClientConfig": {"caData": view["clusters"][0]["cluster"]["certificate-authority-data"]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"cluster-{name}",
            "namespace": "argocd",
            "labels": {"argocd.argoproj.io/secret-type": "cluster"},
        },
        "stringData": {"name": name, "server": server, "config": json.dumps(config)},
    }
    kubectl("--context", "development", "apply", "-f", "-", stdin=json.dumps(secret))


def grant(context: str) -> None:
    """What docs/live.md asks for a promotion, and nothing more."""
    rules: dict[str, list[dict[str, Any]]] = {
        "viewers": [
            {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["", "apps", "batch"], "resources": list(WORKLOADS), "verbs": ["list"]},
        ],
        "operators": [
            {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["patch"]},
        ],
    }  # fmt: skip
    documents: list[dict[str, Any]] = []
    for group, wanted in rules.items():
        name = f"gitops-nb-{group}"
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
        documents += [
            {**kind, "kind": "ClusterRole", "rules": wanted},
            {
                **kind,
                "kind": "ClusterRoleBinding",
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"lab:{group}"}],
            },
        ]  # fmt: skip
    kubectl("--context", context, "apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


def images(context: str, namespace: str) -> set[str]:
    """What the pods of a namespace run."""
    found = kubectl("--context", context, "get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].spec.containers[0].image}")  # fmt: skip
    return set(found.split())


def settle(team: Team, version: str) -> None:
    """Puts a version into staging by hand, and waits until all its pods run it."""
    path = team.work / "apps/web/staging/deployment.yaml"
    team.git("pull", "-q", "origin", "main")
    old = path.read_text().partition("image: ")[2].split()[0]
    if old != f"example/web:{version}":
        team.push("apps/web/staging/deployment.yaml", old, f"example/web:{version}")
    refresh = ("--context", "development", "-n", "argocd", "annotate", "application", "web-staging", "--overwrite")  # fmt: skip
    kubectl(*refresh, "argocd.argoproj.io/refresh=normal")
    for _ in range(120):
        kubectl("--context", "staging", "-n", "web-staging", "wait", "--for=jsonpath={.status.updatedReplicas}=2", "deployment/web", "--timeout=2s", check=False)  # fmt: skip
        if images("staging", "web-staging") == {f"example/web:{version}"}:
            return
    raise AssertionError(f"staging does not run {version}")


def own_writes(name: str) -> list[tuple[str, str]]:
    """Mutating calls of gitops-nb on one cluster."""
    lab = Path(os.environ["GITOPS_LAB_DIR"])
    log = lab / "clusters" / name / "audit.log"
    return writes(log if log.is_file() else lab / "audit.log")


def test_1_a_promotion_crosses_clusters_with_least_rights(team: Team) -> None:
    """Pods of production are looked at in production; only the operator writes, only to Argo CD's Applications."""
    settle(team, "v1")
    settle(team, "v2")
    before = {name: len(own_writes(name)) for name in CLUSTERS}
    document = team.promote("web", code=0)
    assert document["status"] == "succeeded"
    assert images("production", "web-production") == {"example/web:v2"}
    assert images("staging", "web-staging") == {"example/web:v2"}
    made = {name: own_writes(name)[before[name] :] for name in CLUSTERS}
    assert made["staging"] == made["production"] == []
    assert set(made["development"]) == {("operator", "patch applications")}
    assert {t["system"] for t in document["targets"]} >= {f"cluster {name}" for name in CLUSTERS}


def test_2_a_crash_in_another_cluster_is_named(team: Team) -> None:
    """The failing pod is found where it runs, not where Argo CD does."""
    settle(team, "v3")
    team.workspace.replace("runbooks/policy.yaml", '"soak"', '"source_healthy": false, "soak"')
    team.push("apps/web/staging/deployment.yaml", "example/web:v3", "example/web:v4-crash")
    team.workspace.replace("runbooks/policy.yaml", '"at_least": "1s"', '"at_least": "0s"')
    document = team.promote("web", "patience=15s", code=1)
    facts = {fact["label"]: fact["text"] for fact in document["outcome"]["facts"]}
    assert facts["Reason"].startswith("CrashLoopBackOff")
    assert facts["Pod"] in kubectl("--context", "production", "get", "pods", "-n", "web-production", "-o", "name")  # fmt: skip
    back = team.promote("web", "revision=v2", code=0)
    assert back["outcome"]["result"] == "deployed"


def test_3_without_the_operators_right_nothing_is_committed(team: Team) -> None:
    """A right that is missing on the Argo CD is said before the commit that nobody would bring."""
    settle(team, "v5")
    before = team.tip()
    kubectl("--context", "development", "delete", "clusterrolebinding", "gitops-nb-operators")
    try:
        document = team.promote("web", code=78)
    finally:
        grant("development")
    assert document["status"] == "failed"
    assert "we may not patch web-production (Argo CD of production)" in document["reason"]
    assert team.tip() == before
    assert images("production", "web-production") == {"example/web:v2"}
