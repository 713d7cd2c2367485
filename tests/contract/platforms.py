"""What the suites need from either platform, beyond the ports: another actor, a repository, a record of what was seen."""

from __future__ import annotations

import functools
import http.server
import io
import itertools
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.argo.sources import Origin
from gitops_nb.model import ObjectRef
from gitops_nb.ports import Clock, ClusterReader, ClusterWriter, Snapshot

_SERIAL = itertools.count(1)


class Cluster(ClusterReader, ClusterWriter, Protocol):
    """A handle that reads and writes."""


class Charts(Protocol):
    """A Helm repository."""

    url: str

    def publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """Adds a version of a chart."""


@dataclass
class ChartFolder:
    """The sandbox's: charts lie unpacked in a folder."""

    folder: Path
    url: str = "https://charts.example"

    def publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """See ``Charts.publish``."""
        for path, text in files.items():
            where = self.folder / "charts.example" / name / version / path
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(text)


class ChartServer:
    """A real one, by HTTP, on the loopback interface that Argo CD's repo-server is on."""

    def __init__(self, folder: Path) -> None:
        """Begins to serve a folder."""
        folder.mkdir(exist_ok=True)
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._folder = folder
        self._entries: dict[str, list[dict[str, Any]]] = {}
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """See ``Charts.publish``."""
        archive = f"{name}-{version}.tgz"
        with tarfile.open(self._folder / archive, "w:gz") as packed:
            for path, text in files.items():
                item = tarfile.TarInfo(f"{name}/{path}")
                item.size = len(text.encode())
                packed.addfile(item, io.BytesIO(text.encode()))
        entry = {"name": name, "version": version, "apiVersion": "v2", "urls": [archive]}
        self._entries.setdefault(name, []).append(entry)
        index = {"apiVersion": "v1", "entries": self._entries}
        (self._folder / "index.yaml").write_text(yaml.safe_dump(index))

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


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
    charts: Charts = field(default=None)  # type: ignore[assignment]  # each platform has some
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

    def application_of(
        self, name: str, sources: list[dict[str, Any]], namespace: str = "", **policy: Any
    ) -> None:
        """Creates an Application of one source or several, and waits for its first comparison."""
        manifest = yaml.safe_load(
            application(name, name, url=self.url, branch=self.branch, namespace=namespace)
        )
        del manifest["spec"]["source"]
        one = {"source": sources[0]} if len(sources) == 1 else {"sources": sources}
        manifest["spec"] |= {**one, "syncPolicy": policy}
        self.cluster.apply(manifest)
        self.until(name, lambda s: bool((s.application.get("status") or {}).get("sync")))

    def source(self, path: str, **more: Any) -> dict[str, Any]:
        """A folder of the repository as a source."""
        return {"repoURL": self.url, "targetRevision": self.branch, "path": path, **more}

    @property
    def origin(self) -> Origin:
        """The repository as sources name it."""
        return Origin((self.url,), (self.branch,))

    def publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """Puts a version of a chart into the Helm repository."""
        self.charts.publish(name, version, files)

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
