"""How long a version stood in a target, from the histories of its clusters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitops_nb.argo.sources import Origin
from gitops_nb.errors import UnavailableError
from gitops_nb.promotion.past import (
    present_versions,
    ran_before,
    synced_versions,
    syncs_of,
    why_not,
)
from gitops_nb.promotion.state import (
    Placement,
    PromotedKey,
    PromotionState,
    Side,
    Spell,
    Stay,
    Sync,
)

KEY = PromotedKey("web.yaml", "image", "tag", "b", "v2", "")
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    """A moment before now."""
    return NOW - timedelta(minutes=minutes)


class Git:
    """A repository whose commits are called after the version that they hold."""

    def read_many(self, _: str, commit: str, paths: Any) -> Any:
        if commit == "gone":
            raise UnavailableError("no such commit")
        content = f"image: registry.example/shop/web:{commit.partition('-')[0]}\n".encode()
        return [type("Blob", (), {"content": content}), *(None for _ in paths[1:])]


def stays(*histories: tuple[tuple[str, float, float], ...]) -> Any:
    """What is found in histories of (commit, began minutes ago, done minutes ago)."""
    entries = [[Sync(commit, ago(b), ago(d)) for commit, b, d in one] for one in histories]
    return synced_versions(Git(), "config", KEY, entries)  # type: ignore[arg-type]  # one method is asked


def test_a_stay_ends_when_the_next_sync_begins() -> None:
    """A sync that hangs for half an hour in its hooks does not lengthen the time of the version before it."""
    found = stays((("v1", 61, 60), ("v2", 58, 30)))
    assert found == {"v1": Stay(ago(60), ago(58), "v1"), "v2": Stay(ago(30), None, "v2")}


def test_syncs_of_the_same_version_are_one_stay() -> None:
    """Other files of the folder changed; what nobody can read ends it."""
    found = stays(
        (("v1-a", 91, 90), ("v1-b", 81, 80), ("gone", 71, 70), ("v1-c", 66, 65), ("v2", 60, 60))
    )
    assert found["v1"] == Stay(ago(90), ago(71), "v1-b")


URL = "https://git.example/c.git"
WEB = "image: registry.example/shop/web:{}\n"


@pytest.mark.parametrize(
    ("kustomization", "source", "is_known"),
    [
        ("resources: [web.yaml]\n", {}, True),
        ("images: [{name: registry.example/shop/web, newTag: v1}]\n", {}, False),
        ("images: [{name: shop/other, newTag: v1}]\n", {}, True),
        ("images: [{name: registry.example/shop/web, newTag: v2}]\n", {}, True),
        ("", {"kustomize": {"images": ["registry.example/shop/web:v1"]}}, False),
        ("", {"helm": {"parameters": [{"name": "image", "value": "v1"}]}}, False),
        ("", {"helm": {"parameters": [{"name": "image", "value": "v2"}]}}, True),
    ],
)
def test_a_version_that_something_else_replaced_did_not_run(kustomization, source, is_known):
    """The file said v2 at that commit, and a kustomization beside it or the Application itself set the image."""
    files = {"app/web.yaml": WEB.format("v2"), "app/kustomization.yaml": kustomization}

    class Files:
        def read_many(self, _: str, commit: str, paths: Any) -> Any:
            texts = [files.get(path) for path in paths]
            return [type("Blob", (), {"content": t.encode()}) if t else None for t in texts]

    key = PromotedKey("app/web.yaml", "image", "tag", "b", "v2", WEB.format("v2"))
    entry = {"source": {"repoURL": URL, "path": "app", "targetRevision": "main", **source}}
    done = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    application = {"status": {"history": [{"revision": "one", "deployedAt": done, **entry}]}}
    history = syncs_of(application, Origin((URL,), ("main",)), key)
    found = synced_versions(Files(), "config", key, [history])  # type: ignore[arg-type]  # one method is asked
    assert list(found) == (["v2"] if is_known else [])


def test_of_several_clusters_the_shortest_counts() -> None:
    """It was there for an hour on one cluster, and for a minute on the other."""
    long, short = (("v1", 90, 90), ("v2", 30, 30)), (("v1", 31, 31), ("v2", 30, 30))
    assert stays(long, short)["v1"] == stays(short, long)["v1"] == Stay(ago(31), ago(30), "v1")
    assert stays(long, (("v2", 30, 30),))["v1"] == Stay(ago(90), ago(30), "v1")


def test_since_when_the_present_one_is_there_needs_no_older_past() -> None:
    """A promotion of the next version reads two commits, and not all that Argo CD remembers."""
    asked: list[str] = []

    class Counting(Git):
        def read_many(self, name: str, commit: str, paths: Any) -> Any:
            asked.append(commit)
            return super().read_many(name, commit, paths)

    entries = (
        ("v1", 90, 90),
        ("gone", 80, 80),
        ("v2-a", 70, 70),
        ("v3-a", 60, 60),
        ("v3-b", 50, 50),
    )
    history = [Sync(commit, ago(b), ago(d)) for commit, b, d in entries]
    found = present_versions(Counting(), "config", KEY, [history, []])  # type: ignore[arg-type]  # one method is asked
    assert found == {"v3": Stay(ago(60), None, "v3-b")}
    assert asked == ["v3-b", "v3-a", "v2-a"]
    whole = [history[-2:], history[:1]]
    assert present_versions(Git(), "config", KEY, whole) == {  # type: ignore[arg-type]  # one method is asked
        "v3": Stay(ago(60), None, "v3-b"),
        "v1": Stay(ago(90), None, "v1"),
    }


def state(health: str, *placements: Any, **synced: Stay) -> PromotionState:
    """A target that has v1 in its file for a day."""
    placements = placements or (Placement("c", "web", True, "", health=health),)
    spells = (Spell("v1", ago(1500), ago(60)), Spell("v2", ago(60)))
    side = Side("production", "d", (KEY,), spells, placements, synced=synced)
    return PromotionState(NOW, "config", "main", "t", side, side)


def test_what_is_there_and_is_not_healthy_did_not_run() -> None:
    """Argo CD brought it an hour ago, and its pods crash since."""
    there = {"v3": Stay(ago(60))}
    assert "it stayed for 1 h 0 min" in ran_before(state("Healthy", **there), "v3")
    for health in ("Degraded", "Missing"):
        assert ran_before(state(health, **there), "v3") == ""
        assert (
            why_not(state(health, **there), "v3") == "v3 is there in production and is not healthy"
        )
    # What was there once is another matter: how it is now says nothing about it.
    assert ran_before(state("Degraded", v3=Stay(ago(90), ago(60))), "v3")


def test_dates_in_git_count_where_no_cluster_has_a_past() -> None:
    """An environment without clusters has nothing else; one with a cluster has, or does not know."""
    assert ran_before(state("Healthy"), "v1") == ""
    side = Side("production", "d", (KEY,), state("").target.spells, ())
    nowhere = PromotionState(NOW, "config", "main", "t", side, side)
    assert "no cluster there says more" in ran_before(nowhere, "v1")
    assert ran_before(nowhere, "v1", timedelta(days=2)) == ""
