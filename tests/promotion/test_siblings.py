"""What else a parent renders from the file that is edited: values go to any template, a manifest is one Application's."""

from __future__ import annotations

from pathlib import Path

from gitops_nb.catalog.load import load_catalog
from gitops_nb.promotion.neighbours import siblings_of
from gitops_nb.promotion.state import PromotedKey

FLEET = load_catalog(Path(__file__).parents[2] / "runbooks").fleet
NAMES = ("checkout-production", "payments-production", "payments-staging", "other")
PARENT = {
    "status": {
        "resources": [
            *({"kind": "Application", "name": name} for name in NAMES),
            {"kind": "ConfigMap", "name": "x"},
        ]
    }
}


def siblings(content: str):
    """Of checkout in production, which a parent renders from a file with this content."""
    key = PromotedKey("f.yaml", "tag", "value", "b", "v1", content)
    return siblings_of(FLEET, PARENT, "production", keys=[key], own="checkout-production")


def test_values_are_for_every_application_of_the_parent():
    """Each is named with its environment, where fleet.yaml knows it."""
    assert siblings("tag: v1\n") == (
        ("payments-production", "production"),
        ("payments-staging", "staging"),
        ("other", ""),
    )


def test_a_manifest_is_one_applications():
    """An app of apps: what is edited says one Application alone."""
    manifest = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: c}\ntag: v1\n"
    assert siblings(manifest) == ()
