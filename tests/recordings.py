"""The recordings of Argo CD 3.0.11, folded event by event into the snapshots a reader would have had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_nb.ports import Snapshot

FOLDER = Path(__file__).parents[2] / "shared/data/gitops/argocd-recordings"
KINDS = ("Deployment", "ReplicaSet", "Pod", "Job")


@dataclass
class Recording:
    """One scenario: what was done, the files of each push, and what a watch showed."""

    name: str
    steps: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    trees: dict[str, dict[str, str]]
    applications: dict[str, Any] = field(default_factory=dict)
    objects: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    specs: dict[Any, Any] = field(default_factory=dict)

    def snapshots(self) -> Iterator[tuple[str, Snapshot]]:
        """After each event: its label, and a snapshot of every Application that exists."""
        for number, event in enumerate(self.timeline):
            if event["kind"] == "Application":
                self._fold(self.applications, event["name"], event)
            elif event["kind"] in KINDS:
                self._fold(self.objects, (event["namespace"], event["kind"], event["name"]), event)
            else:
                continue
            for name in self.applications:
                yield f"{self.name} event {number} t={event['t_s']} {name}", self.snapshot(name)

    def snapshot(self, name: str) -> Snapshot:
        """The Application as folded so far, with the objects of its destination namespace."""
        application = self.applications[name]
        namespace = application["spec"]["destination"].get("namespace")
        tracked = f"{name}:"
        workloads = [
            item
            for (where, kind, _), item in self.objects.items()
            if where == namespace
            and (
                kind in ("ReplicaSet", "Pod")
                or _tracking(item) in ("", tracked)
                or _tracking(item).startswith(tracked)
            )
        ]
        return Snapshot(name, application, tuple(_only_own(workloads)))

    def _fold(self, into: dict[Any, Any], key: Any, event: dict[str, Any]) -> None:
        if event["type"] == "DELETED":
            into.pop(key, None)
            return
        item = dict(event["object"])
        if item.get("spec") == "=":  # unchanged since the last event of this name
            item["spec"] = self.specs[key]
        else:
            item["spec"] = self.specs[key] = with_template(item.get("spec") or {})
        into[key] = {**item, "kind": event["kind"]}


def load() -> list[Recording]:
    """All recordings, by name; skips the test where they are absent."""
    if not FOLDER.is_dir():
        pytest.skip(
            f"the recordings of Argo CD are absent, the judgement was NOT held against them: {FOLDER}"
        )
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text())
        found.append(
            Recording(path.stem, content["steps"], content["timeline"], _trees(content["files"]))
        )
    return found


def deployments_at(recording: Recording, revision: str, folder: str) -> dict[str, dict[str, Any]]:
    """Deployments that the files of a revision name below a folder, by name; damaged files hold none."""
    found = {}
    for path, text in recording.trees.get(revision, {}).items():
        if not path.startswith(f"{folder}/"):
            continue
        found |= {d["metadata"]["name"]: d for d in _deployments(text)}
    return found


@cache
def _deployments(text: str) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    return [d for d in documents if isinstance(d, dict) and d.get("kind") == "Deployment"]


def _trees(files: dict[str, str]) -> dict[str, dict[str, str]]:
    """Full trees from what each push changed; the keys are ``REVISION:PATH`` in the order of the pushes."""
    trees: dict[str, dict[str, str]] = {}
    before: dict[str, str] = {}
    for key, text in files.items():
        revision, path = key.split(":", 1)
        tree = trees.setdefault(revision, dict(before))
        if text == "(deleted)":
            tree.pop(path, None)
        else:
            tree[path] = text
        before = tree
    return trees


def with_template(spec: dict[str, Any]) -> dict[str, Any]:
    """The recordings keep only the images of a pod template; this puts them back in their place."""
    if "images" not in spec:
        return spec
    containers = [{"name": "main", "image": image} for image in spec["images"]]
    return {**spec, "template": {"spec": {"containers": containers}}}


def _tracking(item: dict[str, Any]) -> str:
    annotations = item["metadata"].get("annotations") or {}
    return str(annotations.get("argocd.argoproj.io/tracking-id", ""))


def _only_own(workloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leaves out ReplicaSets and Pods whose owners, up to the top, are not among the workloads."""
    kept: list[dict[str, Any]] = []
    names: set[tuple[str, str]] = set()
    for kinds in (("Deployment", "Job"), ("ReplicaSet",), ("Pod",)):
        for item in workloads:
            owners = item["metadata"].get("ownerReferences") or []
            is_owned = not owners or any((o["kind"], o["name"]) in names for o in owners)
            if item["kind"] in kinds and is_owned:
                kept.append(item)
                names.add((item["kind"], item["metadata"]["name"]))
    return kept
