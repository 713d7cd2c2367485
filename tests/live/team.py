"""A live workspace with its people, their keys and a configuration repository, as every live test of runbooks needs it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gitops_nb.cli.initialising import create_workspace
from gitops_nb.record.keys import open_runner_key
from gitops_nb.session import origins
from tests.conftest import Workspace


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


def writes(log: Path) -> list[tuple[str, str]]:
    """Mutating calls of gitops-nb in an audit log, as user and "VERB RESOURCE"; access reviews and dry runs left out."""
    found: list[tuple[str, str]] = []
    for line in log.read_text().splitlines():
        event = json.loads(line)
        resource = (event.get("objectRef") or {}).get("resource", "")
        ours = event.get("userAgent") == "gitops-nb" and event["stage"] == "ResponseComplete"
        reads = event["verb"] in {"get", "list", "watch"} or "accessreview" in resource
        reads |= "dryRun=All" in event.get("requestURI", "")
        if ours and not reads:
            found.append((event["user"]["username"], f"{event['verb']} {resource}"))
    return found


class Team:
    """Priya asks, Tomas approves.

    Args:
        root: Folder for the workspace, the keys and a work tree.
        name: Of the bare repository below the lab's folder.
        files: What the repository begins with.
    """

    def __init__(self, root: Path, name: str, files: Mapping[str, bytes]) -> None:
        self.bare = Path(os.environ["GITOPS_LAB_DIR"]) / "git" / f"{name}-{os.getpid()}.git"
        self.url = f"file://{self.bare}"
        self.work = root / "work"
        self.workspace = Workspace(root / "team")
        self.key = root / "tomas"
        self.asks = root / "priya"
        self._make_repository(files)
        create_workspace(self.workspace.root)
        self._make_people()
        self.workspace.replace("gitops-nb.yaml", "mode: sandbox", "mode: live")
        self.origin = root / "workspace.git"
        self._make_origin()

    def run(self, *arguments: str, code: int = 0) -> str:
        """One command of gitops-nb, which has to end with this exit code."""
        # Who asks signs with the key of their home, which is another one in every test.
        own = Path(os.environ["HOME"], ".ssh")
        own.mkdir(exist_ok=True, mode=0o700)
        shutil.copy(self.asks, own / "id_ed25519")
        shutil.copy(self.asks.with_suffix(".pub"), own / "id_ed25519.pub")
        self._merge()
        done = self.workspace.run(*arguments, timeout=400)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def promote(self, application: str, *parameters: str, code: int) -> dict[str, Any]:
        """A promotion with its approval; returns report.json."""
        pairs = [item for parameter in parameters for item in ("-p", parameter)]
        self.run("run", "promotion", "-p", f"application={application}", *pairs, code=2)
        self.run("approve", "last", "--yes", "--key", str(self.key))
        self.run("resume", "last", code=code)
        path = Path(self.run("report", "last").strip()).with_name("report.json")
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

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

    def tip(self) -> str:
        """The branch's commit now."""
        shown = ("git", "-C", str(self.bare), "rev-parse", "main")
        return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()

    def application(
        self,
        name: str,
        path: str,
        *,
        wave: int = 0,
        automated: bool = True,
        server: str = "https://kubernetes.default.svc",
    ) -> str:
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
                    "source": {"repoURL": self.url, "path": path, "targetRevision": "main"},
                    "destination": {"server": server, "namespace": name},
                    "syncPolicy": policy,
                },
            }
        )

    def write_fleet(self, fleet: Mapping[str, Any]) -> None:
        """Replaces fleet.yaml; JSON is YAML without aliases, which the catalog refuses."""
        self.workspace.write("runbooks/fleet.yaml", json.dumps(fleet, indent=1))

    def fleet(self) -> dict[str, Any]:
        """fleet.yaml as it is."""
        text = (self.workspace.root / "runbooks/fleet.yaml").read_text()
        found: dict[str, Any] = yaml.safe_load(text)
        return found

    def _make_repository(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.bare.parent.mkdir(exist_ok=True)
        subprocess.run(("git", "init", "-q", "--bare", "-b", "main", str(self.bare)), check=True)
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "Import")
        self.git("remote", "add", "origin", self.url)
        self.git("push", "-q", "origin", "main")

    def _make_origin(self) -> None:
        """The workspace has an origin whose branch says whose word counts, and this machine trusts it."""
        subprocess.run(("git", "init", "-q", "--bare", "-b", "main", str(self.origin)), check=True)
        ignored = "reports/\n.gitops-nb/\n"
        (self.workspace.root / ".gitignore").write_text(ignored, encoding="utf-8")
        self._own_git("init", "-q", "-b", "main")
        self._own_git("remote", "add", "origin", str(self.origin))
        self._merge()
        origins.pin(self.workspace.root, str(self.origin), "main")
        atexit.register(origins.unpin, self.workspace.root)

    def _merge(self) -> None:
        """What the workspace's files say is merged: rules count from the branch alone."""
        self._own_git("add", "-A")
        self._own_git("commit", "-q", "--allow-empty", "-m", "Rules")
        self._own_git("push", "-q", "origin", "HEAD:main")

    def _own_git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(
            ("git", *identity, *arguments),
            cwd=self.workspace.root,
            check=True,
            capture_output=True,
        )

    def _make_people(self) -> None:
        publics: dict[str, str] = {}
        for key in (self.key, self.asks):
            subprocess.run(
                ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True
            )
            publics[key.name] = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        policy = {
            "kind": "Policy",
            "environments": {
                "staging": {"runner_proof": "told"},
                "production": {"gates": {"soak": {"at_least": "1s"}}, "runner_proof": "told"},
            },
            "approvers": [{"person": "tomas", "environments": ["staging", "production"]}],
        }
        self.workspace.write("runbooks/policy.yaml", json.dumps(policy, indent=1))
        persons = [{"person": name, "keys": [{"key": key}]} for name, key in publics.items()]
        runner = {"name": "lab", "key": open_runner_key(self.workspace.root).public}
        trust = {"kind": "Trust", "persons": persons, "runners": [runner]}
        self.workspace.write("runbooks/trust.yaml", json.dumps(trust, indent=1))
