"""How each promoted key shows in a cluster: by an image, a label, a field of an object, or what a child asks for.

An image key (``part: tag``, or a key whose name says so) shows in the running containers, and so does a key of an object for
which an operator runs pods: the object only asks for it. A key of any other plain manifest shows in the field of the live object. Everything else needs a `proof` in fleet.yaml: a label can say the new version while an override
has the containers run the old one, so nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gitops_nb.argo.evidence import ANNOTATION, LABEL, Version
from gitops_nb.argo.images import parse_image
from gitops_nb.argo.kinds import may_run
from gitops_nb.argo.overrides import document_of
from gitops_nb.argo.sources import sources_of
from gitops_nb.catalog.fleet import Promotable
from gitops_nb.edits import kubernetes_objects, read_part
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import ClusterReader, Snapshot
from gitops_nb.promotion.state import PromotedKey

_IMAGE_KEY = re.compile(r"(?i)(?:image|tag|digest)s?\Z|(?:image|tag)[_-]?(?:version|ref)\Z")


_WHOLE_KEY = re.compile(r"(?i)image\Z")
"""How a key is called that may hold a whole reference, name and tag."""


@dataclass(frozen=True, slots=True)
class FieldProof:
    """A field of a live object that has to hold a text. ``group`` and ``namespace`` are "" where nothing says them.

    ``before`` are the texts that stood there earlier, where no `proof` says that the field is all that counts.
    """

    kind: str
    name: str
    field: str
    text: str
    group: str = ""
    namespace: str = ""
    before: tuple[str, ...] = ()


Shown = Version | FieldProof


def shown_by(
    key: PromotedKey, declared: Promotable, value: str, before: Sequence[str] = ()
) -> Shown:
    """What would show that a key's value is in force.

    Args:
        key: The key as it stands in the file.
        declared: Its entry in fleet.yaml.
        value: The value that has to be in force.
        before: The values that stood there earlier, the newest first.
    """
    proof = declared.proof
    if proof is not None:
        text = proof.text.replace("{value}", value)
        if proof.object is not None and proof.field is not None:
            kind, _, name = proof.object.partition("/")
            return FieldProof(kind, name, proof.field, text)
        if proof.image is not None:
            return Version(text, names=(proof.image,), workloads=proof.workloads, is_declared=True)
        by, mark = (LABEL, proof.label) if proof.label else (ANNOTATION, proof.annotation or "")
        return Version(value, by=by, mark=mark, text=text, workloads=proof.workloads)
    manifest = None if is_image(key) else _manifest(key)
    group = str((manifest or {}).get("apiVersion")).rpartition("/")[0]
    if manifest is not None and not may_run({"group": group, "kind": manifest["kind"]}):
        metadata = manifest["metadata"]
        return FieldProof(
            manifest["kind"],
            str(metadata["name"]),
            key.key,
            value,
            group,
            str(metadata.get("namespace") or ""),
            tuple(before),
        )
    return Version(value, tuple(before), names_beside(key))


def asks_for(application: Json, value: str) -> bool:
    """Whether an Application's own sources name a version: as revision, parameter, image or value."""
    return any(
        _holds(source, value) for source in sources_of((application or {}).get("spec") or {})
    )


def unproven(
    cluster: ClusterReader | None, snapshot: Snapshot, fields: Sequence[FieldProof]
) -> str:
    """What the live objects do not show, as a sentence; "" when every field holds its text."""
    return "; ".join(filter(None, (_missing(cluster, snapshot, field) for field in fields)))


def is_declared(key: PromotedKey, shown: Version) -> bool:
    """Whether fleet.yaml, and not the file itself, says which image carries a version."""
    return bool(shown.names) and shown.names != names_beside(key)


def how_to_declare(key: PromotedKey, shown: Shown) -> str:
    """What a person can do where nothing shows a key's value, and nothing is declared."""
    is_known = isinstance(shown, FieldProof) or shown.by or shown.names
    if is_known or is_image(key):
        return ""
    return f"if {key.key} sets no image, declare `proof` for it in fleet.yaml"


def _missing(cluster: ClusterReader | None, snapshot: Snapshot, proof: FieldProof) -> str:
    what = f"{proof.kind} {proof.name}"
    managed = _managed(snapshot, proof)
    if not managed:
        return f"the Application manages no {what}, so nothing shows {proof.field}"
    if proof.kind == "Secret":
        return f"{what} is not read, so nothing shows {proof.field}"
    said = (_missing_in(cluster, snapshot, proof, one, is_one=len(managed) == 1) for one in managed)
    return "; ".join(filter(None, said))


def _managed(snapshot: Snapshot, proof: FieldProof) -> list[Json]:
    """What an Application manages that may be the object: of several the one in the namespace that the file or the Application says."""
    application = snapshot.application or {}
    resources = (application.get("status") or {}).get("resources") or ()
    found = [
        r
        for r in resources
        if (r.get("kind"), r.get("name")) == (proof.kind, proof.name)
        and (not proof.group or (r.get("group") or "") == proof.group)
    ]
    usual = ((application.get("spec") or {}).get("destination") or {}).get("namespace")
    for namespace in (proof.namespace, usual):
        inside = [r for r in found if namespace and r.get("namespace") == namespace]
        if inside:
            return inside
    return found


def _missing_in(
    cluster: ClusterReader | None,
    snapshot: Snapshot,
    proof: FieldProof,
    managed: Json,
    *,
    is_one: bool,
) -> str:
    """What one live object does not show, as a sentence; "" when its field holds the text."""
    namespace = managed.get("namespace")
    what = f"{proof.kind} {proof.name}" + ("" if is_one else f" in {namespace}")
    own = {"kind": proof.kind, "name": proof.name, "namespace": namespace}
    live = next((w for w in snapshot.workloads if _is_same(w, own)), None)
    if live is None and cluster is not None:
        group, version = managed.get("group") or "", managed.get("version") or "v1"
        api = f"{group}/{version}" if group else version
        try:
            live = cluster.get(ObjectRef(api, proof.kind, proof.name, namespace or ""))
        except UnavailableError as error:
            return f"{what} cannot be read, so nothing shows {proof.field}: {error.message}"
    if live is None:
        return f"{what} does not exist"
    try:
        found = read_part(json.dumps(live).encode(), proof.field, "value")
    except UsageError:
        return f"{what} has no {proof.field}"
    return "" if found == proof.text else f"{what} has {proof.field} {found}, not {proof.text}"


def _is_same(item: Json, own: Json) -> bool:
    metadata = item.get("metadata") or {}
    return (
        item.get("kind") == own["kind"]
        and metadata.get("name") == own["name"]
        and (metadata.get("namespace") or None) == (own["namespace"] or None)
    )


def is_image(key: PromotedKey) -> bool:
    """Whether a key sets the version of an image: it names a part of one, or is called so."""
    return key.part == "tag" or _IMAGE_KEY.search(key.key.rpartition(".")[2]) is not None


def names_beside(key: PromotedKey) -> tuple[str, ...]:
    """Image names that the file itself puts beside a key, several where it may be read in several ways; () where it says none."""
    content = key.content.encode()
    try:
        if key.part == "tag":
            return (parse_image(read_part(content, key.key, "value")).name,)
        if "/" in key.value or (_WHOLE_KEY.search(key.key) and _is_reference(key.value)):
            return (parse_image(key.value).name,)
    except UsageError:
        return ()
    if not is_image(key):
        return ()
    beside = {
        sibling: _beside(key, sibling) for sibling in ("repository", "newName", "image", "name")
    }
    whole = [beside[sibling] for sibling in ("repository", "newName", "image") if beside[sibling]]
    name = beside["name"]
    if whole and name:
        # Charts write an image in two parts, or keep a name of their own beside it: what a container has decides.
        return (whole[0], f"{whole[0]}/{name}")
    if whole:
        return (whole[0],)
    # A bare name is an image's in a list of images alone; elsewhere it may be a release's.
    return (name,) if name and ("/" in name or key.key.startswith("images[")) else ()


def _beside(key: PromotedKey, sibling: str) -> str:
    """A text that stands beside a key, without the tag of an image; "" where there is none."""
    above = key.key.rpartition(".")[0]
    try:
        found = read_part(key.content.encode(), f"{above}.{sibling}" if above else sibling, "value")
    except UsageError:
        return ""
    return parse_image(found).name


def _is_reference(value: str) -> bool:
    image = parse_image(value)
    return bool(image.tag or image.digest) and not value.startswith("sha256:")


def objects_with(key: PromotedKey) -> Iterator[Json]:
    """The Kubernetes objects of the file that hold the key's value: a values file, or a chart, has none."""
    try:
        documents = kubernetes_objects(key.content.encode())
    except UsageError:
        return
    for document in documents:
        if not isinstance(document, dict) or not document.get("apiVersion"):
            continue
        if isinstance(document.get("kind"), str) and _has(document, key):
            yield document


def _has(document: Json, key: PromotedKey) -> bool:
    try:
        text = json.dumps(document, default=str).encode()
        return read_part(text, key.key, key.part) == key.value
    except UsageError:
        return False


def _manifest(key: PromotedKey) -> Json | None:
    """The object whose own field the key is, or None: what makes other objects is none."""
    makers = ("Kustomization", "Application", "ApplicationSet")
    return next(
        (
            one
            for one in objects_with(key)
            if one["kind"] not in makers and (one.get("metadata") or {}).get("name")
        ),
        None,
    )


def _holds(value: Json, version: str) -> bool:
    """Whether a version stands somewhere in a part of an Application's spec; what an alias stands for is looked at once."""
    todo: list[Json] = [value]
    seen: set[int] = set()
    kept: list[Json] = []
    while todo:
        at = todo.pop()
        if isinstance(at, dict | list | tuple):
            if id(at) in seen:
                continue
            seen.add(id(at))
            kept.append(at)  # an id is another's as soon as its own is gone
            if isinstance(at, dict):
                inline = at.get("values")
                if isinstance(inline, str):
                    todo.append(document_of(inline))
            todo += at.values() if isinstance(at, dict) else at
            continue
        if at is None or isinstance(at, bool):
            continue
        text = str(at)
        if text == version or text.endswith((f":{version}", f"@{version}", f"={version}")):
            return True
    return False
