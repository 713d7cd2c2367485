"""A promoted file that a parent Application renders its children from: what the child asks for counts, not the commit alone."""

from __future__ import annotations

import pytest

from gitops_nb.errors import NeedsAttention, Refused
from tests.session.platform_edits import (
    commit,
    images,
    put_images_into_manifests,
    read,
    settle,
    version,
    without_approval,
)


@pytest.fixture
def umbrella(runner):
    """Each child's image stands in its own manifest, which the root Application brings."""
    without_approval(runner)
    put_images_into_manifests(runner, ("staging", "production"))
    runner.before, runner.wanted = version(runner, "production"), version(runner, "staging")
    return runner


def test_the_child_runs_what_its_parent_made_it_ask_for(umbrella):
    """The parent is refreshed first, the child asks for the version, is synced, and its containers run it."""
    state, stop = umbrella.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
    assert [effect.key for effect in state.effects] == [
        "commit",
        "refresh parent production",
        "refresh production",
        "sync production",
    ]
    assert images(umbrella, "production") == {f"checkout:{umbrella.wanted}"}
    # Observation finds it there, and nothing is left to do.
    again, stop = umbrella.promote()
    assert (stop, again.outcome["result"]) == (None, "nothing to do")


def test_a_child_that_does_not_ask_has_not_arrived(umbrella):
    """The parent is Synced at the commit, and something keeps the child as it was: in doubt, and never green."""
    path = "argocd/production/checkout.yaml"
    text = read(umbrella, path)
    other = text.replace("  name: checkout-production", "  name: checkout-other")
    assert other != text
    # The promoted manifest makes another child; the one that fleet.yaml watches comes from a file beside it.
    commit(
        umbrella,
        {path: other, "argocd/production/kept.yaml": text},
        "Two children",
    )
    settle(umbrella, "production")
    tip = umbrella.tip()
    state, stop = umbrella.promote()
    assert isinstance(stop, NeedsAttention), stop
    assert f"checkout-production does not ask for {umbrella.wanted}" in state.outcome["sentence"]
    assert "its parent root is Synced" in state.outcome["sentence"]
    assert umbrella.tip() != tip
    assert images(umbrella, "production") == {f"checkout:{umbrella.before}"}


def test_a_parent_that_nobody_knows_is_refused(umbrella):
    """Neither the Application nor what is declared as its parent reads the file: refused before the plan."""
    umbrella.workspace.replace(
        "runbooks/fleet.yaml",
        "    path: argocd/{environment}\n",
        "    path: argocd/{environment}\n    parent: nobody\n",
    )
    tip = umbrella.tip()
    state, stop = umbrella.promote()
    assert isinstance(stop, Refused)
    assert "Application nobody" in stop.message
    assert (state.plan, state.effects) == (None, ())
    assert umbrella.tip() == tip


def test_a_declared_parent_is_taken(umbrella):
    """`parent` in fleet.yaml names it where tracking does not."""
    umbrella.workspace.replace(
        "runbooks/fleet.yaml",
        "    path: argocd/{environment}\n",
        "    path: argocd/{environment}\n    parent: root\n",
    )
    state, stop = umbrella.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
