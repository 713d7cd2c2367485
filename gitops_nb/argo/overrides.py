"""What an Application says itself about its manifests, past the files in Git: parameters, images, patches."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops_nb.argo.images import Image, parse_image
from gitops_nb.argo.sources import sources_of
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
    """Images that an Application sets the version of; of a Helm parameter for one only the text is known, as a tag."""
    found: list[Image] = []
    for source in sources_of((application or {}).get("spec") or {}):
        images = (source.get("kustomize") or {}).get("images") or ()
        parameters = (source.get("helm") or {}).get("parameters") or ()
        found += [kustomize_image(str(text)) for text in images]
        found += [
            Image("", str(parameter["value"]))
            for parameter in parameters
            if parameter
            and parameter.get("value")
            and _SAYS_IMAGE.search(str(parameter.get("name")))
        ]
    return tuple(found)


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
