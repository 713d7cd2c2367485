"""A version that comes back comes from the target's own past: what shows that it ran there, and what it brings along."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.errors import ConfigurationError, Refused, UnavailableError
from gitops_nb.model import ObjectRef, Status
from tests.adapters.test_git import git
from tests.session.platform_edits import commit, read, settle, version, without_approval
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


def moved_on(runner, minutes):
    """The new version is there for some minutes, production goes back, and staging has another one by now."""
    new, old = version(runner, "staging"), version(runner, "production")
    for there, comes in ((old, new), (new, old)):
        change(
            runner,
            PRODUCTION,
            lambda text, there=there, comes=comes: text.replace(there.encode(), comes.encode()),
        )
        settle(runner, "production")
        runner.platform().view.clock.sleep(minutes * 60)
    source = "apps/checkout/staging/deployment.yaml"
    change(runner, source, lambda text: text.replace(new.encode(), b"v2.35.0"))
    settle(runner, "staging")
    return new


def test_a_version_that_stayed_for_a_while_comes_back(free):
    """Argo CD's history has it for a quarter of an hour: the gate says since when, and for how long."""
    new = moved_on(free, 15)
    state, stop = free.promote(revision=new)
    assert stop is None, stop
    said = next(v["reason"] for v in state.decision["verdicts"] if v["gate"] == "source_healthy")
    assert f"Argo CD synced {new} in production at" in said
    assert re.search(r"and it stayed for 1\d min", said)


def test_a_version_that_was_synced_for_a_moment_did_not_run(free):
    """Synced is not ran: its pods may have crashed until somebody took it back."""
    new = moved_on(free, 2)
    before = free.tip()
    _, stop = free.promote(revision=new)
    assert isinstance(stop, Refused), stop
    assert f"nothing shows that {new} ran in production: Argo CD synced it at" in stop.message
    assert "min only" in stop.message
    assert free.tip() == before


def test_dates_in_git_show_nothing_where_a_cluster_could(free, tmp_path):
    """Whoever pushes writes them: a version that says it stood there for days and was never synced is refused."""
    there, now = version(free, "production"), datetime.now(UTC)
    text = read(free, PRODUCTION)
    evil, ago = text.replace(there, EVIL).encode(), now - timedelta(hours=40)
    push_dated(free, tmp_path / "one", evil, ago)
    push_dated(free, tmp_path / "two", text.encode(), now)
    before = free.tip()
    _, stop = free.promote(revision=EVIL)
    assert isinstance(stop, Refused), stop
    assert "Argo CD's history of it has no such commit" in stop.message
    assert "source healthy" in stop.message
    assert free.tip() == before


def push_dated(runner, clone, content: bytes, at: datetime) -> None:
    """Somebody pushes production's file, with a date of their choice."""
    bare = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    git("clone", "--quiet", str(bare), str(clone), cwd=clone.parent)
    (clone / PRODUCTION).write_bytes(content)
    with pytest.MonkeyPatch.context() as patched:
        for who in ("AUTHOR", "COMMITTER"):
            patched.setenv(f"GIT_{who}_DATE", at.isoformat(timespec="seconds"))
        git("commit", "--quiet", "-am", "Try", cwd=clone)
    git("push", "--quiet", cwd=clone)


def test_the_command_back_names_the_version_that_ran(free):
    """Git had one that was never synced: the gates would refuse it, and let the one through that ran."""
    old, never = version(free, "production"), b"v2.32.9"
    change(free, PRODUCTION, lambda text: text.replace(old.encode(), never))
    settle(free, "production", syncs=False)
    done, stop = free.promote()
    assert stop is None, stop
    assert done.plan["arguments"]["version_before"] == never.decode()
    assert done.aftermath["command"].endswith(f"-p revision={old}")
    assert f"write {old} into {PRODUCTION} in a clone of platform-config" in done.aftermath["back"]
    assert "sync checkout-production on production in Argo CD" in done.aftermath["back"]
    back, stop = free.promote(**parameters_of(done.aftermath["command"]))
    assert (stop, back.status) == (None, Status.SUCCEEDED)
    assert version(free, "production") == old


def test_the_end_says_where_the_version_before_was_there_for_too_short(free):
    """Two promotions within minutes: the gates may refuse the first one's version, so the end says what to do then."""
    done, _ = free.promote()
    first = done.plan["arguments"]["version_after"]
    source = "apps/checkout/staging/deployment.yaml"
    change(free, source, lambda text: text.replace(first.encode(), b"v2.35.0"))
    settle(free, "staging")
    done, stop = free.promote()
    assert stop is None, stop
    assert (
        f"or where {first} was there for less than 10 min that is refused" in done.aftermath["back"]
    )


def test_the_end_says_that_the_version_before_was_not_healthy(free):
    """Back from a version that crashes: the end of the way back names it as what was there, and how it was."""
    old, crash = version(free, "production"), "v2.34.0-crash"
    change(free, PRODUCTION, lambda text: text.replace(old.encode(), crash.encode()))
    settle(free, "production")
    free.platform().view.clock.sleep(900)
    done, stop = free.promote(revision=old)
    assert stop is None, stop
    said = f"With {crash} checkout-production on production was Degraded when this run began."
    assert said in done.aftermath["back"]


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


def test_values_that_were_pushed_for_a_moment_do_not_come_back(free):
    """The version ran there with quiet settings; a pusher had it in Git for a moment with others, which were never synced."""
    promotable(free, OWN.partition("[")[2][:-1], "{file: settings.yaml, key: data.level}")
    for environment, level in (("staging", "loud-2"), ("production", "quiet-1")):
        commit(free, {f"apps/checkout/{environment}/settings.yaml": SETTINGS.format(level)})
        settle(free, environment)
    old = version(free, "production")
    done, stop = free.promote()
    assert stop is None, stop
    new, path = version(free, "production"), "apps/checkout/production/settings.yaml"
    now = {PRODUCTION: read(free, PRODUCTION), path: read(free, path)}
    commit(free, {PRODUCTION: now[PRODUCTION].replace(new, old), path: SETTINGS.format("evil-9")})
    commit(free, now)
    state, stop = free.promote(**parameters_of(done.aftermath["command"]))
    assert stop is None, stop
    assert {edit["after"] for edit in state.plan["arguments"]["edits"]} == {old, "quiet-1"}


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
