"""What an Application itself has to say before a release counts as deployed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gitops_nb.argo import State
from gitops_nb.argo.evidence import Version
from gitops_nb.promotion.judging import Release, judge_release
from gitops_nb.promotion.state import PromotedKey
from tests.argo.applications import deployed, snapshot
from tests.promotion.test_places import CHART, ORIGIN, OWN, URL, repository

VALUES = f"{OWN}/values.yaml"
FILES = {
    CHART: "name: x\n",
    VALUES: "image: {repository: shop/web, tag: v2}\n",
    "apps/x/staging/Chart.yaml": "name: x\n",
    "apps/x/staging/values.yaml": "image: {tag: v1}\n",
}
KEY = PromotedKey(VALUES, "image.tag", "value", "b", "v2", FILES[VALUES])


def judged(
    base: Any,
    files: dict[str, str],
    *,
    key: PromotedKey = KEY,
    where: str = "",
    destination: Any = None,
    **source: Any,
) -> Any:
    """The judgement of an Application whose containers all run v2, and which is Synced and Healthy."""
    git, tip = repository(base, {**FILES, **files})
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN, **source}
    found = snapshot(*deployed("Deployment", "web", "registry.example/shop/web:v2"), source=own)
    found.application["status"]["sync"]["revision"] = tip
    found.application["spec"]["destination"] = destination or {}
    found.application["status"]["sourceType"] = "Helm"
    shown = ((key, "v2", Version("v2", ("v1",), ("shop/web",))),)
    release = Release("c", "web", "", "c", tip, ORIGIN, (), shown, where)
    view: Any = SimpleNamespace(git=git, clusters={}, argo={})
    return judge_release(view, release, found)


def test_one_that_reads_the_files_is_deployed(tmp_path):
    """The plain flow."""
    assert judged(tmp_path, {}).state is State.DEPLOYED


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "apps/x/staging"}, "its path is apps/x/staging"),
        ({"targetRevision": "other"}, "it follows other"),
        (
            {"repoURL": "https://git.example/else.git"},
            "its repository is https://git.example/else.git",
        ),
    ],
)
def test_one_that_was_pointed_elsewhere_is_not(tmp_path, source, said):
    """Somebody changed its source during the run: what runs there is not what was promoted."""
    judgement = judged(tmp_path, {}, **source)
    assert judgement.state is not State.DEPLOYED
    if judgement.state is State.IN_DOUBT:
        assert f"does not deploy what was promoted: {said}" in judgement.sentence


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({}, {"helm": {"parameters": [{"name": "image.tag", "value": "v1"}]}}),
        ({}, {"helm": {"valuesObject": {"image": {"tag": "v1"}}}}),
        (
            {f"{OWN}/.argocd-source.yaml": "helm: {parameters: [{name: image.tag, value: v1}]}\n"},
            {},
        ),
        ({f"{OWN}/.argocd-source-web.yaml": "helm: {values: 'image: {tag: v1}'}\n"}, {}),
    ],
)
def test_one_that_sets_the_key_itself_is_in_doubt(tmp_path, files, source):
    """Whatever container shows the version: the key that was promoted has no effect."""
    judgement = judged(tmp_path, files, **source)
    assert judgement.state is State.IN_DOUBT
    assert "the Application sets image.tag to v1, not to v2" in judgement.sentence


def test_one_that_sets_the_key_to_the_same_text_is_deployed(tmp_path):
    """An override that says what Git says takes nothing away."""
    source = {"helm": {"parameters": [{"name": "image.tag", "value": "v2"}]}}
    assert judged(tmp_path, {}, **source).state is State.DEPLOYED


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("spec.source.targetRevision", False),
        ("checkout.version", False),
        ("spec.source.helm.parameters[name=image.tag].value", True),
        ("checkout.tag", True),
        ("spec.source.helm.valuesObject.version", True),
    ],
)
def test_a_childs_own_revision_is_no_proof_of_an_image(key, counts):
    """The chart's version is often the application's: only a key that may be that revision is shown by it."""
    promoted = PromotedKey("f.yaml", key, "value", "b", "1.2.0", "")
    shown = ((promoted, "1.2.0", Version("1.2.0")),)
    release = Release("c", "web", "umbrella", "c", "a" * 40, ORIGIN, (), shown)
    child = {"spec": {"source": {"repoURL": "x", "chart": "web", "targetRevision": "1.2.0"}}}
    assert bool(release.expectation(child).versions) is counts


def test_a_childs_other_source_at_the_version_is_no_proof():
    """The chart that was promoted stayed where it was; that another one is at the same number shows nothing."""
    promoted = PromotedKey("f.yaml", "checkout.version", "value", "b", "1.2.0", "")
    shown = ((promoted, "1.2.0", Version("1.2.0", ("1.1.0",))),)
    release = Release("c", "web", "umbrella", "c", "a" * 40, ORIGIN, (), shown)
    base = {"repoURL": "x", "chart": "base", "targetRevision": "1.2.0"}
    chart = {"repoURL": "x", "chart": "checkout", "targetRevision": "1.1.0"}
    for sources, counts in (
        ((base, chart), True),
        ((base, {**chart, "targetRevision": "1.2.0"}), False),
    ):
        assert bool(release.expectation({"spec": {"sources": list(sources)}}).versions) is counts


def test_one_that_deploys_elsewhere_than_planned_is_in_doubt(tmp_path):
    """Somebody changed its destination during the run: what runs in the place that was planned for is the version before."""
    there = {"name": "c", "namespace": "shop"}
    planned = "project default, shop on c"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert judged(tmp_path / "one", {}, where=planned, destination=there).state is State.DEPLOYED
    moved = judged(tmp_path / "two", {}, where=planned, destination={**there, "namespace": "other"})
    assert moved.state is State.IN_DOUBT
    assert "deploys elsewhere than when this was planned" in moved.sentence
