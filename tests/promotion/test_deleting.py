"""What an edit has Argo CD delete, where an Application prunes by itself."""

from __future__ import annotations

import pytest

from gitops_nb.edits import read_part
from gitops_nb.model import Action
from gitops_nb.promotion.deleting import deletions, is_named_after, untold_deletions
from gitops_nb.promotion.state import Placement, PromotedKey, Side

JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate-1, namespace: shop}\nspec: {parallelism: 1}\n"
KEPT = JOB.replace(
    "namespace: shop}", "annotations: {argocd.argoproj.io/sync-options: Prune=false}}"
)
LIST = "apiVersion: v1\nkind: List\nitems:\n- " + JOB.replace("\n", "\n  ").rstrip() + "\n"
CHILD = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source: {targetRevision: 1.2.3}\n"
CHART = "apiVersion: v2\nname: web\ndependencies: [{name: base, version: 1.2.3}]\n"


def edit(content: str, key: str, new: str, *, path: str = "a.yaml") -> tuple[PromotedKey, str]:
    """An edit of a file's key."""
    value = read_part(content.encode(), key, "value")
    return PromotedKey(path, key, "value", "b", value, content), new


def side(*prunes: str) -> Side:
    return Side("staging", "d", (), (), (Placement("c", "web", True, "", prunes=prunes),))


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (JOB, "metadata.name"),
        (JOB, "metadata.namespace"),
        (JOB, "kind"),
        (JOB, "apiVersion"),
        (LIST, "items[0].metadata.name"),
        (LIST, "items[kind=Job].metadata.name"),
        (CHART.replace("\n", "\n", 1) + "---\n" + JOB, "kind"),
    ],
)
def test_another_name_is_another_object(content: str, key: str) -> None:
    """The one that was is pruned: the plan says which, and the gate closes."""
    (lost,) = deletions(side("web"), [edit(content, key, "migrate-2")])
    assert (lost.action, lost.address) == (Action.DELETE, "Application web on c, Job migrate-1")
    assert "migrate-2" in lost.after
    # Without automated pruning it stays: a sync of ours deletes nothing.
    assert deletions(side(), [edit(content, key, "migrate-2")]) == ()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (CHART, "dependencies[0].version"),
        (CHILD, "spec.source.targetRevision"),
        ("replicas: 2\nlevel: loud\n", "level"),
        ("namePrefix: a-\nresources: [b.yaml]\n", "namePrefix"),
    ],
)
def test_what_another_value_makes_nobody_can_tell(content: str, key: str) -> None:
    """A chart, an Application, values and a kustomization decide themselves which objects there are."""
    edits = [edit(content, key, "1.2.4")]
    (said,) = untold_deletions(side("web"), edits)
    assert said == f"web prunes by itself what {key} of a.yaml makes no more"
    assert [c.action for c in deletions(side("web"), edits)] == [Action.UPDATE]
    assert untold_deletions(side(), edits) == deletions(side(), edits) == ()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (JOB, "spec.parallelism"),
        (KEPT, "metadata.name"),
        ("image: {tag: v1}\n", "image.tag"),
        ("images: [{name: shop/web, newTag: v1}]\n", "images[0].newTag"),
    ],
)
def test_what_leaves_the_objects_there_is_not_told(content: str, key: str) -> None:
    """Images and fields: nothing is deleted by them; nor is what Argo CD is told to keep."""
    edits = [edit(content, key, "2")]
    assert deletions(side("web"), edits) == untold_deletions(side("web"), edits) == ()


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("web-v6-0-0", True), ("v6.0.0-web", True), ("web-v6-0-01", False), ("web", False)],
)
def test_objects_named_after_the_version_may_be_deleted(name, is_told):
    """A chart that puts the tag into names makes other objects of another tag: nobody can tell, and the gate says so."""
    key = PromotedKey("values.yaml", "image.tag", "value", "b", "v6.0.0", "image: {tag: v6.0.0}")
    objects = (f"Deployment {name}",) if is_named_after(name, "v6.0.0") else ()
    placement = Placement("c", "web", True, "", prunes=("web",), objects=objects)
    target = Side("production", "apps/web", (key,), (), (placement,))
    found = untold_deletions(target, [(key, "v6.1.0")])
    assert bool(found) is is_told
    if is_told:
        assert found == (f"web prunes by itself, and Deployment {name} is named after v6.0.0",)
