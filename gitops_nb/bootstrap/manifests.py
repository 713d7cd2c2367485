"""The objects that a bootstrapped cluster has, and whether a live object already is as wanted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gitops_nb.argo.root import root_application
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.edits.objects import kubernetes_objects
from gitops_nb.errors import ConfigurationError, UnreadableFile
from gitops_nb.model import Json, ObjectRef

CLUSTER_SCOPED = frozenset(
    {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
)
_COUNTED = (
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
)
SETTINGS = "argocd-cm"
RBAC = "argocd-rbac-cm"
MAX_BYTES = 16 * 1024 * 1024
"""Argo CD's install manifest has 1.5 MiB, most of it resource definitions."""
_ORDER = {
    "Namespace": 0,
    "CustomResourceDefinition": 1,
    "ServiceAccount": 2,
    "ConfigMap": 3,
    "Secret": 3,
}


def wanted_objects(content: bytes, request: Bootstrap) -> tuple[Json, ...]:
    """The install manifest's objects with namespace and settings filled in, in the order to apply them.

    Raises:
        ConfigurationError: The manifest is not what Argo CD is installed from.
    """
    try:
        found = [item for item in kubernetes_objects(content, max_bytes=MAX_BYTES) if item]
    except UnreadableFile as error:
        raise ConfigurationError(f"{request.manifest} is not YAML: {error.message}") from error
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": request.namespace}}
    for item in found:
        if not isinstance(item, dict) or not {"apiVersion", "kind", "metadata"} <= set(item):
            raise ConfigurationError(f"{request.manifest} holds something that is not an object")
    objects = [namespace] + [item for item in found if item["kind"] != "Namespace"]
    for item in objects:
        if item["kind"] not in CLUSTER_SCOPED:
            item["metadata"] = {**item["metadata"], "namespace": request.namespace}
        if item["kind"] == "ClusterRoleBinding":
            item["subjects"] = [
                {**s, "namespace": request.namespace} for s in item.get("subjects") or ()
            ]
        item.pop("status", None)
    for name, values in ((SETTINGS, request.install.settings), (RBAC, request.install.rbac)):
        _fill(objects, request, name, values)
    return tuple(sorted(objects, key=lambda item: _ORDER.get(item["kind"], 4)))


def _fill(objects: list[Json], request: Bootstrap, name: str, values: dict[str, str]) -> None:
    """Puts settings into the manifest's ConfigMap: one owner applies both, else one apply would undo the other."""
    for item in objects:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name:
            item["data"] = {**(item.get("data") or {}), **values}
            return
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": request.namespace,
                "labels": {"app.kubernetes.io/part-of": "argocd", "app.kubernetes.io/name": name},
            },
            "data": dict(values),
        }
    )


def repository_secret(request: Bootstrap) -> Json:
    """The Secret that makes the repository known to Argo CD; credentials are put there by others, never by us."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"repository-{request.repository_name}",
            "namespace": request.namespace,
            "labels": {"argocd.argoproj.io/secret-type": "repository"},
        },
        "data": {
            name: base64.b64encode(value.encode()).decode()
            for name, value in (("type", "git"), ("url", request.repository.url))
        },
    }


def default_project(request: Bootstrap) -> Json:
    """The AppProject that every Application without a project of its own belongs to.

    argocd-server makes it at its first start; without it, as in a core installation, nobody does, and the root
    Application stays at InvalidSpecError.
    """
    everything = [{"group": "*", "kind": "*"}]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "default", "namespace": request.namespace},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"namespace": "*", "server": "*"}],
            "clusterResourceWhitelist": everything,
        },
    }


def wanted_root(request: Bootstrap) -> Json:
    """The Application that brings all others."""
    return root_application(
        name=request.install.root,
        namespace=request.namespace,
        url=request.repository.url,
        branch=request.repository.branch,
        path=request.path,
    )


def ref_of(item: Json) -> ObjectRef:
    """The name of an object."""
    metadata = item["metadata"]
    return ObjectRef(
        item["apiVersion"], item["kind"], metadata["name"], metadata.get("namespace", "")
    )


OWNER = "gitops-nb"
"""The field manager that our applies name."""


class _Absent:
    """No value at a path, which is not the same as null."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One path at which two objects differ; a side that has nothing there is ``ABSENT``."""

    path: str
    before: Json
    after: Json


def differences(live: Json, wanted: Json) -> list[str]:
    """Paths at which a live object is not as wanted; see ``compared``."""
    return [one.path for one in compared(live, wanted)]


def compared(live: Json, wanted: Json) -> list[Difference]:
    """Where a live object is not as wanted; what the API server added does not count.

    A server-side apply would tell too, but it is a write, and a second bootstrap makes none.
    """
    return list(_differ(live, wanted, ""))


def is_as_wanted(live: Json, wanted: Json) -> bool:
    """Whether an apply would change nothing of ours."""
    return not differences(live, wanted) and not left_over(live, wanted)


def left_over(live: Json, wanted: Json) -> list[str]:
    """Paths that our own apply brought once and that are not asked for any more: the next apply takes them away.

    Source: managedFields of Kubernetes; items of lists are not looked at.
    """
    if wanted.get("kind") == "Secret":
        return []  # `stringData` becomes `data`: whoever compares Secrets compares their values
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    own = [one for one in entries if (one.get("manager"), one.get("operation")) == (OWNER, "Apply")]
    return [
        path for one in own for path in _not_asked_for(one.get("fieldsV1") or {}, live, wanted, "")
    ]


def _not_asked_for(owned: Json, live: Json, wanted: Json, where: str) -> Iterator[str]:
    for name, inner in owned.items():
        key = name.removeprefix("f:")
        if key == name or not isinstance(live, dict) or key not in live:
            continue
        path = f"{where}.{key}".lstrip(".")
        if not isinstance(wanted, dict) or key not in wanted:
            yield path
        else:
            yield from _not_asked_for(inner, live[key], wanted[key], path)


def exactly_compared(live: Json, stored: Json) -> list[Difference]:
    """Where what would be stored is not what is stored now, fields that go included; what the server counts itself is left out."""
    return list(_differ_exactly(_without_counts(live), _without_counts(stored), ""))


def parts_compared(live: Json, wanted: Json, where: str) -> list[Difference]:
    """The same of two parts of objects that stand at one path."""
    return list(_differ_exactly(live, wanted, where))


def _without_counts(item: Json) -> Json:
    metadata = {k: v for k, v in item["metadata"].items() if k not in _COUNTED}
    return {**{k: v for k, v in item.items() if k != "status"}, "metadata": metadata}


def _differ_exactly(before: Json, after: Json, where: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differ_exactly(
                before.get(key, ABSENT), after.get(key, ABSENT), f"{where}.{key}".lstrip(".")
            )
        return
    names = _names(before), _names(after)
    if names[0] is not None and names[1] is not None and list(names[0]) != list(names[1]):
        old, new = names[0], names[1]
        if [n for n in old if n in new] == [n for n in new if n in old]:
            for name in [*old, *(name for name in new if name not in old)]:
                yield from _differ_exactly(
                    old.get(name, ABSENT), new.get(name, ABSENT), f"{where}[{name}]"
                )
            return
    elif names[0] is not None and names[1] is not None:
        for name, item in names[0].items():
            yield from _differ_exactly(item, names[1][name], f"{where}[{name}]")
        return
    if before is not after and before != after:
        yield Difference(where, before, after)


def _names(value: Json) -> dict[str, Json] | None:
    """Items of a list by their names; None unless each has one of its own."""
    if not isinstance(value, list) or not value:
        return None
    named = {str(item["name"]): item for item in value if isinstance(item, dict) and "name" in item}
    return named if len(named) == len(value) else None


def _differ(live: Json, wanted: Json, where: str) -> Iterator[Difference]:
    if wanted in (None, {}, [], "", False) and not isinstance(live, str | int):
        # The API server drops empty values, or puts its default there.
        return
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            yield Difference(where, live, wanted)
            return
        for key, value in wanted.items():
            yield from _differ(live.get(key, ABSENT), value, f"{where}.{key}".lstrip("."))
    elif isinstance(wanted, list):
        yield from _differ_lists(live, wanted, where)
    elif live != wanted and str(live) != str(wanted):
        yield Difference(where, live, wanted)


def _differ_lists(live: Json, wanted: list[Json], where: str) -> Iterator[Difference]:
    if not isinstance(live, list):
        yield Difference(where, live, wanted)
        return
    if all(isinstance(item, dict) and "name" in item for item in wanted):
        named = {item.get("name"): item for item in live if isinstance(item, dict)}
        for item in wanted:
            yield from _differ(named.get(item["name"], ABSENT), item, f"{where}[{item['name']}]")
        return
    if len(live) != len(wanted):
        yield Difference(where, live, wanted)
        return
    for index, (one, other) in enumerate(zip(live, wanted, strict=True)):
        yield from _differ(one, other, f"{where}[{index}]")
