"""What the suites need from either platform, beyond the ports: another actor, a repository, a record of what was seen."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.model import ObjectRef
from gitops_nb.ports import Clock, ClusterReader, ClusterWriter, Snapshot

_SERIAL = itertools.count(1)


class Cluster(ClusterReader, ClusterWriter, Protocol):
    """A handle that reads and writes."""


@dataclass
class Platform:
    """A control plane with Argo CD, and a Git repository that it can reach."""

    name: str
    cluster: Cluster
    other: Cluster
    argo: ArgoCD
    clock: Clock
    url: str
    folder: Path
    branch: str = "main"
    prefix: str = "contract"
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def new_name(self) -> str:
        """A name for objects of one test."""
        return f"{self.prefix}-{next(_SERIAL)}"

    def push(self, files: dict[str, str | None], message: str = "change") -> str:
        """One commit on the branch; None deletes a file."""
        before = _git(self.folder, "rev-parse", "--verify", "-q", self.branch, check=False).strip()
        stream = f"commit refs/heads/{self.branch}\ncommitter T <t@x.example> now\n"
        stream += f"data {len(message)}\n{message}\n" + (f"from {before}\n" if before else "")
        for path, text in files.items():
            if text is None:
                stream += f"D {path}\n"
            else:
                stream += f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n"
        _git(self.folder, "fast-import", "--quiet", "--date-format=now", stdin=stream)
        return _git(self.folder, "rev-parse", self.branch).strip()

    def namespace(self, name: str) -> None:
        """Makes a namespace."""
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def application(self, name: str, path: str, **policy: Any) -> None:
        """Creates an Application for a folder, and waits for its first comparison."""
        manifest = yaml.safe_load(application(name, path, url=self.url, branch=self.branch))
        manifest["spec"]["syncPolicy"] = policy
        self.cluster.apply(manifest)
        self.until(name, lambda s: bool((s.application.get("status") or {}).get("sync")))

    def until(self, name: str, condition: Any, *, timeout_s: float = 60) -> list[Snapshot]:
        """Snapshots until one fulfils the condition, which is the last."""
        found = []
        for snapshot in self.argo.watch(name, timeout_s=timeout_s):
            found.append(snapshot)
            self.seen.setdefault(name, []).append(
                {"application": snapshot.application, "workloads": list(snapshot.workloads)}
            )
            if snapshot.application is not None and condition(snapshot):
                return found
        raise AssertionError(f"{name}: not within {timeout_s} s; last: {found and found[-1]}")

    def change(self, kind: str, namespace: str, name: str, patch: Any) -> None:
        """A change by somebody else."""
        version = "argoproj.io/v1alpha1" if kind == "Application" else "apps/v1"
        self.other.merge_patch(ObjectRef(version, kind, name, namespace), patch)


def context_of_tests() -> str:
    """The context that GITOPS_NB_CONTEXT names, else the kubeconfig's current one."""
    from kubernetes import config

    found: str = (
        os.environ.get("GITOPS_NB_CONTEXT") or config.list_kube_config_contexts()[1]["name"]
    )
    return found


def deployment(
    name: str, tag: str = "v1", *, replicas: int = 1, wave: int = 0, deadline: int = 15
) -> str:
    """A Deployment whose pods behave by the end of the image's tag."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations: {{argocd.argoproj.io/sync-wave: "{wave}"}}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: main
          image: example/{name}:{tag}
"""


def config_map(name: str, value: str = "1") -> str:
    """A ConfigMap."""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: '{value}'}}\n"


def application(
    name: str,
    path: str,
    *,
    url: str,
    branch: str,
    namespace: str = "",
    automated: bool = False,
    wave: int = 0,
) -> str:
    """An Application that deploys a folder into the namespace of its own name."""
    policy = "{automated: {}, syncOptions: [CreateNamespace=true]}" if automated else "{}"
    return f"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: {name}
  namespace: argocd
  annotations: {{argocd.argoproj.io/sync-wave: "{wave}"}}
spec:
  project: default
  source: {{repoURL: "{url}", targetRevision: {branch}, path: {path}}}
  destination: {{server: "https://kubernetes.default.svc", namespace: {namespace or name}}}
  syncPolicy: {policy}
"""


def save_traces(platform: Platform) -> Iterator[Path]:
    """Writes what was seen, one file per Application, where GITOPS_NB_TRACES says."""
    where = os.environ.get("GITOPS_NB_TRACES")
    if not where:
        return
    for name, snapshots in platform.seen.items():
        path = Path(where) / platform.name / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(snapshots, indent=1))
        yield path


def _git(folder: Path, *arguments: str, stdin: str = "", check: bool = True) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=check,
    ).stdout
