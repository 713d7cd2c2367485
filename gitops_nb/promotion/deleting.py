"""What an edit has Argo CD delete: an Application that prunes by itself removes what Git names no more.

A field of an object leaves every object where it is, and so does an image, unless objects are named after the version. Another
name, namespace or kind is another object. What a chart, a kustomization or an Application makes of any other value only they know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gitops_nb.argo.kinds import label
from gitops_nb.edits import parse_key
from gitops_nb.edits.keys import Entry, Index, Name
from gitops_nb.model import Action, Json, ResourceChange
from gitops_nb.promotion.replacing import ANNOTATION
from gitops_nb.promotion.state import PromotedKey, Side
from gitops_nb.promotion.versions import is_image, objects_with

_IDENTITY = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "generateName"),
}
_MAKERS = (
    "Application",
    "ApplicationSet",
    "Kustomization",
    "Component",
    "HelmChart",
    "HelmRelease",
)
"""Kinds whose fields say which other objects there are."""

Edits = Sequence[tuple[PromotedKey, str]]


def deletions(target: Side, edits: Edits) -> tuple[ResourceChange, ...]:
    """Objects that an edit gives another name, namespace or kind, where Argo CD then deletes the one that was; and what nobody can tell."""
    lost = [(manifest, new) for key, new in edits if (manifest := _renamed(key)) is not None]
    told = tuple(
        ResourceChange(
            address=f"Application {p.name} on {p.cluster}, {label(manifest)}",
            action=Action.DELETE,
            before="there",
            after=f"deleted by Argo CD, which prunes by itself: Git has {new} instead",
        )
        for p in target.placements
        if p.prunes
        for manifest, new in lost
    )
    return told + tuple(
        ResourceChange(
            address=what,
            action=Action.UPDATE,
            before="there",
            after="deleted by Argo CD, or not: nobody can tell",
        )
        for what in untold_deletions(target, edits)
    )


def untold_deletions(target: Side, edits: Edits) -> tuple[str, ...]:
    """Edits of which nobody here can tell what Argo CD prunes by them, in words."""
    keys = [key for key, _ in edits if not _keeps_objects(key) and _renamed(key) is None]
    found = [
        f"{', '.join(p.prunes)} prunes by itself what {key.key} of {key.path} makes no more"
        for p in target.placements
        if p.prunes
        for key in keys
    ]
    found += [
        f"{', '.join(p.prunes)} prunes by itself, and {', '.join(named[:3])} {'are' if len(named) > 1 else 'is'} named after {key.value}"
        for p in target.placements
        if p.prunes
        for key, _ in edits
        if key not in keys and _manifest(key) is None
        if (named := [one for one in p.objects if is_named_after(one.partition(" ")[2], key.value)])
    ]
    return tuple(found)


def is_named_after(name: str, version: str) -> bool:
    """Whether a version stands in the name of an object, as names can hold one.

    >>> is_named_after("web-v6-0-0", "v6.0.0"), is_named_after("web-v6-0-01", "v6.0.0")
    (True, False)
    """
    plain = re.sub(r"[^a-z0-9]+", "[^a-z0-9]*", version.lower())
    return bool(plain) and re.search(rf"(?<![a-z0-9]){plain}(?![a-z0-9])", name) is not None


def _renamed(key: PromotedKey) -> Json | None:
    """The object of a file whose name, namespace or kind a key is; None where it is something else, or is not pruned."""
    manifest = _manifest(key)
    if manifest is None or _names(key) not in _IDENTITY:
        return None
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return None if "Prune=false" in str(annotations.get(ANNOTATION) or "") else manifest


def _keeps_objects(key: PromotedKey) -> bool:
    """Whether another value of a key surely leaves the same objects there."""
    if is_image(key):
        return True
    manifest = _manifest(key)
    return manifest is not None and manifest.get("kind") not in _MAKERS


def _names(key: PromotedKey) -> tuple[str, ...]:
    """A key's names, without where the object stands in a list of objects."""
    steps = parse_key(key.key)
    if len(steps) > 2 and steps[0] == Name("items") and not isinstance(steps[1], Name):
        steps = steps[2:]
    return tuple(step.name if isinstance(step, Name) else "" for step in steps)


def _manifest(key: PromotedKey) -> Json | None:
    """The Kubernetes object that holds a key; None where the file is values, a chart, or something else."""
    return next((_item(one, key) for one in objects_with(key)), None)


def _item(document: Json, key: PromotedKey) -> Json:
    """The object of a list that a key leads into; the document itself where it is no list, or the key leads elsewhere."""
    match parse_key(key.key)[:2]:
        case (Name("items"), Index(number)):
            return document["items"][number]
        case (Name("items"), Entry(field, wanted)):
            return next(
                (one for one in document["items"] if str(one.get(field)) == wanted), document
            )
    return document
