"""A version that comes back comes from the target's own past: what shows that it ran there, and what it brings along."""

from __future__ import annotations

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.errors import ConfigurationError, Refused, UnavailableError
from gitops_nb.model import ObjectRef, Status
from tests.session.platform_edits import commit, settle, version, without_approval
from tests.session.test_promotion_edits import PRODUCTION, change
from tests.session.test_proofs import OWN, SETTINGS, promotable

EVIL = "v9.9.9-evil"


@pytest.fixture
def free(runner):
    """Nobody has to approve, and nothing has to soak."""
    without_approval(runner)
    return runner


def set_image(runner, tag: str) -> None:
    """Somebody gives production's Deployment another tag on the cluster."""
    cluster = runner.platform().view.clusters["production"].as_manager("kubectl-edit")
    reference = ObjectRef("apps/v1", "Deployment", "checkout", "checkout")
    containers = cluster.get(reference)["spec"]["template"]["spec"]["containers"]
    changed = [{**one, "image": one["image"].rpartition(":")[0] + f":{tag}"} for one in containers]
    cluster.merge_patch(reference, {"spec": {"template": {"spec": {"containers": changed}}}})
    settle(runner, "production", syncs=False)


def parameters_of(command: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in command.split(" -p ")[1:])
    return {name: value for name, _, value in pairs}


def test_a_version_that_stood_in_git_for_a_moment_did_not_run(free):
    """Pushed and reverted at once: neither Argo CD's history nor Git shows that it ever ran."""
    there = version(free, "production").encode()
    change(free, PRODUCTION, lambda text: text.replace(there, EVIL.encode()))
    change(free, PRODUCTION, lambda text: text.replace(EVIL.encode(), there))
    before = free.tip()
    _, stop = free.promote(revision=EVIL)
    assert isinstance(stop, Refused), stop
    assert f"nothing shows that {EVIL} ran in production" in stop.message
    assert free.tip() == before


def test_a_version_that_was_synced_a_moment_ago_comes_back(free):
    """It stood in Git for a minute, and Argo CD's history has it: the gate says so."""
    new, old = version(free, "staging"), version(free, "production")
    free.promote()
    free.promote(revision=old)
    change(
        free,
        "apps/checkout/staging/deployment.yaml",
        lambda text: text.replace(new.encode(), b"v2.35.0"),
    )
    settle(free, "staging")
    state, stop = free.promote(revision=new)
    assert stop is None, stop
    assert f"Argo CD synced {new} in production at" in str(state.decision)


def test_the_way_back_of_several_keys_brings_them_as_they_stood(free):
    """The source runs that version by now, with another value of the second key: production gets its own."""
    promotable(free, OWN.partition("[")[2][:-1], "{file: settings.yaml, key: data.level}")
    for environment, level in (("staging", "loud-2"), ("production", "loud-1")):
        commit(free, {f"apps/checkout/{environment}/settings.yaml": SETTINGS.format(level)})
        settle(free, environment)
    old = version(free, "production")
    done, stop = free.promote()
    assert stop is None, stop
    source, settings = (f"apps/checkout/staging/{n}.yaml" for n in ("deployment", "settings"))
    change(free, source, lambda text: text.replace(version(free, "staging").encode(), old.encode()))
    commit(free, {settings: SETTINGS.format("never-3")})
    settle(free, "staging")
    state, stop = free.promote(**parameters_of(done.aftermath["command"]))
    assert stop is None, stop
    wanted = {edit["after"] for edit in state.plan["arguments"]["edits"]}
    assert wanted == {old, "loud-1"}
    assert "with the keys that production had with it" in state.plan["summary"]


def test_the_way_back_goes_on_without_the_source(free, monkeypatch):
    """Staging's API server is away: nothing is asked of it, and production goes back."""
    done, _ = free.promote()
    real = ArgoCD.snapshot

    def away(self, name):
        if name == "checkout-staging":
            raise UnavailableError("staging does not answer")
        return real(self, name)

    monkeypatch.setattr(ArgoCD, "snapshot", away)
    state, stop = free.promote(**parameters_of(done.aftermath["command"]))
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    # What comes from the source needs it.
    _, stop = free.promote()
    assert isinstance(stop, UnavailableError | ConfigurationError)


def test_a_version_that_git_never_asked_for_has_no_command_back(free):
    """Somebody set it by hand: the gates would refuse it, so the end says how to write it into Git."""
    free.promote()
    set_image(free, "hand")
    state, stop = free.promote()
    assert stop is None, stop
    assert state.aftermath["command"] == ""
    assert "hand ran before, and Git never asked for it in production" in state.aftermath["back"]
    assert f"write it into {PRODUCTION} in a clone of platform-config" in state.aftermath["back"]
