"""What a file says about the image that a key sets."""

from __future__ import annotations

import pytest

from gitops_nb.argo.evidence import Version
from gitops_nb.catalog.fleet import Promotable
from gitops_nb.edits import read_part
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import Snapshot
from gitops_nb.promotion.observe import earlier
from gitops_nb.promotion.state import PromotedKey, Spell
from gitops_nb.promotion.versions import FieldProof, shown_by, unproven
from tests.dora.dora_factories import NOW


@pytest.mark.parametrize(
    ("content", "key", "names"),
    [
        ("image: {repository: r.example/shop/web, tag: v1}", "image.tag", ("r.example/shop/web",)),
        (
            "image: {repository: r.example/shop, name: web, tag: v1}",
            "image.tag",
            ("r.example/shop", "r.example/shop/web"),
        ),
        (
            "{name: web-staging, image: 'r.example/shop/web', tag: v1}",
            "tag",
            ("r.example/shop/web", "r.example/shop/web/web-staging"),
        ),
        ("{name: web-staging, tag: v1}", "tag", ()),
        ("{name: r.example/shop/web, tag: v1}", "tag", ("r.example/shop/web",)),
        ("images: [{name: web, newTag: v1}]", "images[0].newTag", ("web",)),
        (
            "images: [{name: web, newName: r/web, newTag: v1}]",
            "images[0].newTag",
            ("r/web", "r/web/web"),
        ),
        ("{image: {repository: a}, tag: v1}", "tag", ()),
        ("{name: web, image: 'payments:v1'}", "image", ("payments",)),
    ],
)
def test_the_image_beside_a_key(content: str, key: str, names: tuple[str, ...]) -> None:
    """A name that may be a release's is none of an image; what may be two parts of one is read both ways."""
    value = read_part(content.encode(), key, "value")
    promoted = PromotedKey("values.yaml", key, "value", "", value, content)
    shown = shown_by(promoted, Promotable(file="values.yaml", key=key), value)
    assert isinstance(shown, Version)
    assert shown.names == names


def test_earlier_values_are_the_newest_first_and_never_the_present_one() -> None:
    """A version that came back is no earlier one; a file that could not be read had none."""
    spells = [Spell(text, NOW) for text in ("v0", "", "v1", "v2", "v1")]
    assert earlier(spells, "v1") == ("v2", "v0")


class _Live:
    """Objects of a cluster, by namespace."""

    def __init__(self, **levels: str) -> None:
        self.levels = levels

    def get(self, reference: ObjectRef) -> Json:
        level = self.levels.get(reference.namespace)
        return None if level is None else {"data": {"level": level}}


@pytest.mark.parametrize(
    ("namespace", "usual", "levels", "missing"),
    [
        ("us", None, {"eu": "info", "us": "debug"}, ""),
        (
            "eu",
            None,
            {"eu": "info", "us": "debug"},
            "ConfigMap settings has data.level info, not debug",
        ),
        ("", "us", {"eu": "info", "us": "debug"}, ""),
        (
            "",
            None,
            {"eu": "info", "us": "debug"},
            "ConfigMap settings in eu has data.level info, not debug",
        ),
        ("", None, {"eu": "debug", "us": "debug"}, ""),
        ("gone", "gone", {"eu": "debug"}, "ConfigMap settings in us does not exist"),
    ],
)
def test_an_object_is_the_one_of_its_namespace(namespace, usual, levels, missing):
    """Of one name in two namespaces the file's counts, else the Application's own; where neither says it, all do."""
    managed = [{"kind": "ConfigMap", "name": "settings", "namespace": n} for n in ("eu", "us")]
    application = {
        "spec": {"destination": {"namespace": usual}},
        "status": {"resources": managed},
    }
    proof = FieldProof("ConfigMap", "settings", "data.level", "debug", "", namespace)
    assert unproven(_Live(**levels), Snapshot("x", application, ()), [proof]) == missing
