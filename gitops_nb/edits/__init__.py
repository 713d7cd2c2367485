"""The one reader of YAML and JSON in repositories, and edits that change one token of a file and prove it.

Observe, plan, apply and DORA read through here, as Kubernetes reads: see ``reader``. What people write for gitops_nb
itself (fleet, policy, runbooks) is read more strictly, by ``catalog.strict_yaml``.
"""

from __future__ import annotations

from gitops_nb.edits.differences import diff
from gitops_nb.edits.editing import edit_scalar
from gitops_nb.edits.images import Image, split_image
from gitops_nb.edits.keys import parse_key
from gitops_nb.edits.objects import kubernetes_objects
from gitops_nb.edits.reader import MAX_BYTES
from gitops_nb.edits.reading import PartReader, Scalar, read_part, read_scalar
from gitops_nb.edits.scalars import is_text
from gitops_nb.edits.secrets import KUSTOMIZATIONS, Masks, whole, without_secret_values
from gitops_nb.edits.versions import VERSION

__all__ = [
    "KUSTOMIZATIONS",
    "MAX_BYTES",
    "VERSION",
    "Image",
    "Masks",
    "PartReader",
    "Scalar",
    "diff",
    "edit_scalar",
    "is_text",
    "kubernetes_objects",
    "parse_key",
    "read_part",
    "read_scalar",
    "split_image",
    "whole",
    "without_secret_values",
]
