"""What an Application says itself about its manifests, past the files in Git: parameters, images, patches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from gitops_nb.argo.images import Image, parse_image
from gitops_nb.argo.sources import sources_of
from gitops_nb.edits import kubernetes_objects, read_part
from gitops_nb.errors import UsageError
from gitops_nb.model import Json

OVERRIDE_FILES = (".argocd-source.yaml", ".argocd-source-{name}.yaml")
"""Files beside the manifests that Argo CD reads as part of the Application; image updaters write them.

Source: argo-cd 3.0, docs/user-guide/parameters.md, "Store Overrides In Git".
"""


_SAYS_IMAGE = re.compile(r"(?i)image|tag|version|digest")


def overrides(application: Json | None) -> tuple[str, ...]:
    """Each override as people would look for it: ``kustomize image shop/checkout:v1``; images and tags first."""
    spec = (application or {}).get("spec") or {}
    found = [text for source in sources_of(spec) for text in _of(source)]
    found += _ignored(spec)
    return tuple(
        dict.fromkeys(sorted(found, key=lambda text: "image" not in text and "tag" not in text))
    )


def pinned_images(application: Json | None) -> tuple[Image, ...]:
    """Images that an Application sets the version of; where only a text is known, as the tag of an image without a name.

    Whatever way it says so: kustomize images and patches, Helm parameters and values, a plugin's and jsonnet's variables.
    """
    found: list[Image] = []
    for source in sources_of((application or {}).get("spec") or {}):
        helm, kustomize = source.get("helm") or {}, source.get("kustomize") or {}
        found += [kustomize_image(str(text)) for text in kustomize.get("images") or ()]
        jsonnet = (source.get("directory") or {}).get("jsonnet") or {}
        plugin = source.get("plugin") or {}
        named = (
            *(helm.get("parameters") or ()),
            *(plugin.get("parameters") or ()),
            *(plugin.get("env") or ()),
            *(jsonnet.get("extVars") or ()),
            *(jsonnet.get("tlas") or ()),
        )
        for one in named:
            said = one or {}
            values = [said.get(field) for field in ("value", "string", "array", "map")]
            found += _set_by({str(said.get("name")): [value for value in values if value]})
        found += _set_by(helm.get("valuesObject"))
        found += _set_by(document_of(helm.get("values")))
        for patch in kustomize.get("patches") or ():
            found += _set_by(document_of((patch or {}).get("patch")))
    return tuple(found)


def set_to(application: Json | None, key: str, part: str) -> str | None:
    """The text that an Application sets a key of a chart's values to itself, past the files in Git; None where it does not.

    Parameters win over values, and the object of values over their text; source: argo-cd 3.0, docs/user-guide/helm.md.
    """
    for source in sources_of((application or {}).get("spec") or {}):
        helm = source.get("helm") or {}
        for one in helm.get("parameters") or ():
            if (one or {}).get("name") == key:
                return str(one.get("value") or "")
        inline = helm.get("valuesObject")
        said = (
            json.dumps(inline).encode()
            if inline
            else str(helm.get("values") or "").encode("utf-8", "replace")
        )
        try:
            return read_part(said, key, part)
        except UsageError:
            continue
    return None


def _set_by(
    value: Json, name: str = "", seen: set[tuple[int, str]] | None = None
) -> Iterator[Image]:
    """The versions that a value sets: whole references wherever they stand, texts where a name says what they are.

    ``seen`` are parts that were looked at under a name: aliases of aliases are more than anybody could walk.
    """
    seen = set() if seen is None else seen
    if isinstance(value, dict | list | tuple):
        if (id(value), name) in seen:
            return
        seen.add((id(value), name))
    if isinstance(value, dict):
        if {"op", "path"} <= value.keys():  # one step of a JSON patch
            yield from _set_by(value.get("value"), str(value["path"]).rpartition("/")[2], seen)
            return
        for key, item in value.items():
            yield from _set_by(item, str(key), seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _set_by(item, name, seen)
    elif value is not None and not isinstance(value, bool):
        image = parse_image(str(value))
        if "/" in image.name and (image.tag or image.digest):
            yield image
        elif _SAYS_IMAGE.search(name) and str(value):
            yield Image("", str(value))


def document_of(text: Json) -> Json:
    """The first YAML document of a text, or None where it holds none."""
    if not isinstance(text, str):
        return None
    try:
        return next(iter(kubernetes_objects(text.encode("utf-8", "replace"))), None)
    except UsageError:
        return None


def kustomize_image(text: str) -> Image:
    """The image that one of ``kustomize.images`` ends in.

    >>> kustomize_image("shop/checkout=mirror/checkout:v1").name
    'mirror/checkout'
    """
    return parse_image(text.partition("=")[2] or text)


def _ignored(spec: Json) -> Iterator[str]:
    """Fields that Argo CD does not compare, so that what the cluster has instead of Git's value passes for Synced."""
    options = (spec.get("syncPolicy") or {}).get("syncOptions") or ()
    is_kept = any(str(one).replace(" ", "") == "RespectIgnoreDifferences=true" for one in options)
    for one in spec.get("ignoreDifferences") or ():
        said = one or {}
        fields = [
            *(said.get("jsonPointers") or ()),
            *(said.get("jqPathExpressions") or ()),
            *(f"what {name} manages" for name in said.get("managedFieldsManagers") or ()),
        ]
        of = " ".join(filter(None, (said.get("kind"), said.get("name"))))
        how = ", which a sync leaves as they are" if is_kept else ""
        yield f"ignoreDifferences of {of} ({', '.join(map(str, fields))}){how}"


def _of(source: Json) -> Iterator[str]:
    helm, kustomize = source.get("helm") or {}, source.get("kustomize") or {}
    for parameter in helm.get("parameters") or ():
        yield f"Helm parameter {(parameter or {}).get('name')}={(parameter or {}).get('value')}"
    for parameter in helm.get("fileParameters") or ():
        yield f"Helm parameter {(parameter or {}).get('name')} from {(parameter or {}).get('path')}"
    if helm.get("values") or helm.get("valuesObject"):
        yield "Helm values in the Application"
    for image in kustomize.get("images") or ():
        yield f"kustomize image {image}"
    for part in ("patches", "components"):
        if kustomize.get(part):
            yield f"kustomize {part} in the Application"
    plugin = source.get("plugin") or {}
    for item in [*(plugin.get("parameters") or ()), *(plugin.get("env") or ())]:
        yield f"plugin parameter {(item or {}).get('name')}"
    jsonnet = (source.get("directory") or {}).get("jsonnet") or {}
    for part in ("extVars", "tlas"):
        for item in jsonnet.get(part) or ():
            yield f"jsonnet variable {(item or {}).get('name')}"
