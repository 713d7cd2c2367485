"""What an Application says past the files in Git: the images it pins, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb.argo.images import Image
from gitops_nb.argo.overrides import overrides, pinned_images, set_to
from gitops_nb.promotion.versions import asks_for

WORKER = Image("registry.example/shop/worker", "v0")


def application(*sources: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An Application of sources in one repository."""
    return {"spec": {"sources": [{"repoURL": "x", **source} for source in sources], **spec}}


def test_pins_of_every_source_and_way_are_found_beside_each_other() -> None:
    """None that is read later takes the place of one that was found before."""
    found = pinned_images(
        application(
            {
                "kustomize": {
                    "images": ["web=registry.example/shop/web:v1"],
                    "patches": [
                        {"patch": "[{op: replace, path: /image, value: 'r.example/a/one:v1'}]"},
                        {"patch": "spec: {image: 'r.example/a/two:v1'}"},
                    ],
                }
            },
            {"kustomize": {"images": ["registry.example/shop/worker:v0"]}},
            {"helm": {"parameters": [{"name": "api.tag", "value": "v3"}], "values": "tag: v4"}},
        )
    )
    assert found == (
        Image("registry.example/shop/web", "v1"),
        Image("r.example/a/one", "v1"),
        Image("r.example/a/two", "v1"),
        WORKER,
        Image("", "v3"),
        Image("", "v4"),
    )


@pytest.mark.parametrize(
    ("patch", "found"),
    [
        ("[{op: replace, path: /spec/tag, value: v0}]", (Image("", "v0"),)),
        ("[{op: replace, path: /spec/tag, value: v0, from: /a}]", (Image("", "v0"),)),
        ("[{op: replace, path: /spec/replicas, value: 3}]", ()),
        ("[{op: replace, path: /image/replicas, value: 3}]", ()),
        ("[{op: add, path: /image, value: {repository: a, tag: v0}}]", (Image("", "v0"),)),
        ("[{op: remove, path: /image}]", ()),
        ("[{op: add, path: /spec/tag, value: true}]", ()),
        ("[{op: add, path: /spec/tag, value: ''}]", ()),
        ("tag: v0", (Image("", "v0"),)),
        ("a: [", ()),
        ("", ()),
    ],
)
def test_a_step_of_a_json_patch_is_named_after_the_last_of_its_path(patch, found) -> None:
    """Its own words are no values, and neither is a number or truth value of another field."""
    assert pinned_images(application({"kustomize": {"patches": [{"patch": patch}]}})) == found


@pytest.mark.parametrize(
    "source",
    [
        {"plugin": {"parameters": [{"name": "images", "array": ["registry.example/shop/worker:v0"]}]}},
        {"plugin": {"parameters": [{"name": "a", "map": {"b": "registry.example/shop/worker:v0"}}]}},
        {"plugin": {"env": [None, {"name": "a", "value": "registry.example/shop/worker:v0"}]}},
        {"directory": {"jsonnet": {"tlas": [{"name": "a", "value": "registry.example/shop/worker:v0"}]}}},
        {"directory": {"jsonnet": {"extVars": [{"name": "a", "value": "registry.example/shop/worker:v0"}]}}},
    ],
)  # fmt: skip
def test_a_whole_reference_counts_whatever_its_name(source) -> None:
    """In lists and maps of plugins and in both kinds of jsonnet variables."""
    assert pinned_images(application(source)) == (WORKER,)


def test_what_is_no_reference_counts_only_where_a_name_says_so() -> None:
    """A path, an address without tag, and a text of another name pin nothing."""
    values = {"path": "/var/lib", "repo": "registry.example/shop/web", "size": "big", "none": None}
    assert pinned_images(application({"helm": {"valuesObject": values}})) == ()


def test_a_key_is_set_by_the_first_source_that_does() -> None:
    """A source whose values lack the key, or are no YAML, hides nothing of the next; an empty parameter is an empty text."""
    later = {"helm": {"values": "image: {tag: v1}"}}
    for first in ({"helm": {"values": "a: ["}}, {"helm": {"values": "image: {}"}}, {}):
        assert set_to(application(first, later), "image.tag", "value") == "v1"
    empty = {"helm": {"parameters": [{"name": "image.tag", "value": None}]}}
    assert set_to(application(empty, later), "image.tag", "value") == ""
    assert set_to(application({}, {}), "image.tag", "value") is None


def test_every_override_is_told_with_its_name() -> None:
    """Images and tags first; each once, and each kind of it."""
    found = overrides(
        application(
            {
                "helm": {
                    "parameters": [{"name": "replicas", "value": "3"}],
                    "fileParameters": [{"name": "config", "path": "files/a.json"}],
                    "values": "a: 1",
                },
                "kustomize": {"components": ["../c"], "images": ["shop/web:v1"]},
                "plugin": {"parameters": [{"name": "one"}], "env": [{"name": "TWO"}]},
                "directory": {"jsonnet": {"extVars": [{"name": "x"}], "tlas": [{"name": "y"}]}},
            },
            {"helm": {"valuesObject": {"a": 1}}},
            ignoreDifferences=[
                {"kind": "Deployment", "name": "web", "jsonPointers": ["/spec/a", "/spec/b"]}
            ],
            syncPolicy={"syncOptions": ["RespectIgnoreDifferences = true"]},
        )
    )
    assert found == (
        "kustomize image shop/web:v1",
        "Helm parameter replicas=3",
        "Helm parameter config from files/a.json",
        "Helm values in the Application",
        "kustomize components in the Application",
        "plugin parameter one",
        "plugin parameter TWO",
        "jsonnet variable x",
        "jsonnet variable y",
        "ignoreDifferences of Deployment web (/spec/a, /spec/b), which a sync leaves as they are",
    )


@pytest.mark.parametrize("kind", ["values", "valuesObject"])
def test_values_in_the_application_are_told_however_they_are_written(kind) -> None:
    """As text and as an object."""
    assert overrides(application({"helm": {kind: "a: 1"}})) == ("Helm values in the Application",)
    assert overrides(application({"helm": {}})) == overrides(None) == ()


def test_half_of_a_surrogate_pair_in_values_is_read_over() -> None:
    """JSON can say it and UTF-8 cannot: what else the values say counts."""
    odd = application({"helm": {"values": "image: {tag: v1}\nother: a\ud800b"}})
    assert pinned_images(odd) == (Image("", "v1"),)
    assert set_to(odd, "image.tag", "value") == "v1"


def test_aliases_of_aliases_in_values_are_looked_at_once():
    """Sixty levels of two: more than anybody could walk, and the image below them is found."""
    levels = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    values = f"a0: &a0 {{image: shop/web:v1}}\n{levels}"
    source = {"repoURL": "https://git.example/c.git", "path": "x", "helm": {"values": values}}
    application = {"spec": {"source": source}}
    assert {(one.name, one.tag) for one in pinned_images(application)} == {("shop/web", "v1")}
    assert asks_for(application, "v1")
    assert not asks_for(application, "v2")
