"""What a promotion makes of files that are unusual: the right edit, or a refusal that names what is there."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gitops_nb.catalog.policies import Gates, SoakGate
from gitops_nb.errors import (
    ConfigurationError,
    ConflictError,
    Failed,
    NeedsAttention,
    Refused,
    UsageError,
    WaitingForApproval,
)
from gitops_nb.model import Status
from gitops_nb.promotion.state import Placement, PromotedKey, PromotionState, Side, Spell
from tests.adapters.test_git import git
from tests.session.platform_edits import settle, without_approval

promotion_plan = importlib.import_module("gitops_nb.promotion.plan")
promotion_apply = importlib.import_module("gitops_nb.promotion.apply")
STAGING = "apps/checkout/staging/deployment.yaml"
PRODUCTION = "apps/checkout/production/deployment.yaml"


def change(runner, path: str, edit) -> bytes:
    """Commits an edit of a file, and returns what it was."""
    git, tip = runner.platform().git, runner.tip()
    before = git.read("platform-config", tip, path).content
    git.commit("platform-config", branch="main", parent=tip, files={path: edit(before)}, message="Change")  # fmt: skip
    return before


def image(content: bytes) -> bytes:
    """The line's image reference."""
    line = next(each for each in content.splitlines() if b"image:" in each)
    return line.partition(b"image:")[2].split()[0]


def test_an_anchor_with_aliases_in_the_target_is_refused_and_all_places_are_named(runner):
    """The plan says what else would change; nothing is committed."""

    def share(content: bytes) -> bytes:
        return content.replace(b"image: ", b"image: &i ") + b"shared: *i\n"

    change(runner, PRODUCTION, share)
    before = runner.tip()
    _, stop = runner.promote()
    assert isinstance(stop, UsageError)
    assert "editing it would change other places too: shared" in stop.message
    assert runner.tip() == before


def test_an_anchor_that_nobody_uses_stays(runner):
    """The plan's diff has the anchor before and after."""
    change(runner, PRODUCTION, lambda content: content.replace(b"image: ", b"image: &i "))
    state, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    lines = [line["text"] for line in state.plan["changes"][0]["diff"] if line["sign"] in "+-"]
    assert len(lines) == 2
    assert all("image: &i registry.example/" in line for line in lines)


def test_a_source_without_a_version_says_so(runner):
    """An image that is not there yet is no missing key."""
    change(runner, STAGING, lambda content: content.replace(image(content), b"~"))
    before = runner.tip()
    _, stop = runner.promote()
    assert isinstance(stop, ConfigurationError)
    assert "has no value yet" in stop.message
    assert runner.tip() == before


def test_a_text_that_is_a_number_to_kubernetes_is_not_carried(runner):
    """What runs in the source is 1.1, and 1.10 is not."""
    change(runner, STAGING, lambda content: content + b"tag: 1.10\n")
    change(runner, PRODUCTION, lambda content: content + b"tag: v1\n")
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        'key: "spec.template.spec.containers[name=checkout].image", part: tag',
        "key: tag",
    )
    before = runner.tip()
    _, stop = runner.promote()
    assert isinstance(stop, UsageError)
    assert "1.10 without quotes, which Kubernetes reads as the number 1.1" in stop.message
    assert runner.tip() == before


def test_a_first_value_is_written_where_none_is(runner):
    """The summary says that there was none."""
    change(runner, STAGING, lambda content: content + b"tag: v9\n")
    change(runner, PRODUCTION, lambda content: content + b"tag: # first rollout\n")
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        'key: "spec.template.spec.containers[name=checkout].image", part: tag',
        "key: tag",
    )
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert "soak" in stop.message  # it stands there since just now
    assert state.plan["summary"] == "checkout (no value yet) -> v9 in production"
    added = [line["text"] for line in state.plan["changes"][0]["diff"] if line["sign"] == "+"]
    assert added == ["tag: v9 # first rollout"]


def test_a_linked_file_is_named(runner, tmp_path):
    """With the file that the link leads to."""
    bare = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    git("clone", "-q", str(bare), str(tmp_path / "w"), cwd=tmp_path)
    path = tmp_path / "w" / PRODUCTION
    path.unlink()
    path.symlink_to("../staging/deployment.yaml")
    git("commit", "-q", "-a", "-m", "link", cwd=tmp_path / "w")
    git("push", "-q", cwd=tmp_path / "w")
    _, stop = runner.promote()
    assert isinstance(stop, UsageError)
    assert stop.message.endswith(f"{PRODUCTION} is a symbolic link to {STAGING}; name {STAGING}")


def with_replicas(runner) -> None:
    """A second promotable key: how many there are."""
    without_approval(runner)
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        'promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag}]',
        'promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag},'
        " {file: deployment.yaml, key: spec.replicas}]",
    )
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )


def replicas(text: bytes) -> bytes:
    """The line that says how many."""
    return next(line for line in text.splitlines() if b"replicas:" in line).strip()


def test_a_number_is_promoted_as_a_number(runner):
    """Staging's count goes to production as the number that it is, and production runs so many."""
    with_replicas(runner)
    change(runner, STAGING, lambda text: text.replace(replicas(text), b"replicas: 5"))
    settle(runner, "staging")
    state, stop = runner.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    text = runner.platform().git.read("platform-config", runner.tip(), PRODUCTION).content
    assert replicas(text) == b"replicas: 5"


def test_what_the_api_refuses_fails_with_its_words(runner):
    """Somebody quotes the count: the sync fails as it does on a real API server, and the next run goes on."""
    with_replicas(runner)
    good = change(runner, PRODUCTION, lambda text: text.replace(replicas(text), b'replicas: "2"'))
    change(runner, STAGING, lambda text: text.replace(replicas(text), b'replicas: "2"'))
    state, stop = runner.promote(patience="1s", timeout="1m")
    assert isinstance(stop, (Failed, NeedsAttention)), stop
    assert "DeploymentSpec.spec.replicas of type int32" in str(state.outcome)
    for path in (PRODUCTION, STAGING):
        change(runner, path, lambda _: good)
    settle(runner, "production")
    state, stop = runner.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_other_files_stay_as_they_are(runner):
    """A promotion's own diff is all that its commit changes."""
    without_approval(runner)
    before = runner.tip()
    state, stop = runner.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    commit = next(one for one in state.effects if one.key == "commit").result["revision"]
    folder = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    names = git("diff", "--name-only", before, commit, cwd=folder)
    assert names.splitlines() == [PRODUCTION]


def push_beside(runner) -> None:
    """Somebody pushes another object and another port to production's folder; nobody syncs it."""
    git, tip = runner.platform().git, runner.tip()
    folder = "apps/checkout/production"
    service = git.read("platform-config", tip, f"{folder}/service.yaml").content
    files = {
        f"{folder}/service.yaml": service.replace(b"targetPort: ", b"targetPort: 6"),
        f"{folder}/extra.yaml": b"apiVersion: v1\nkind: Service\nmetadata: {name: backdoor}\nspec: {ports: [{port: 1}]}\n",
    }
    assert files[f"{folder}/service.yaml"] != service
    git.commit("platform-config", branch="main", parent=tip, files=files, message="Beside")


def test_what_a_sync_brings_along_is_shown_before_anybody_signs(runner):
    """Pushed earlier and not in force: the plan has each file with its diff, and approve prints it."""
    push_beside(runner)
    state, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    changes = {change["address"].rpartition("/")[2]: change for change in state.plan["changes"]}
    drift = "Application checkout-production on production, what somebody changed on the cluster"
    assert {"deployment.yaml", "service.yaml", "extra.yaml", drift} == changes.keys()
    assert "comes into force with this sync" in changes["extra.yaml"]["after"]
    done = runner.workspace.run("approve", state.run, "--yes")
    assert done.returncode == 0, done.stderr
    assert "backdoor" in done.stdout
    assert "targetPort: 6" in done.stdout
    state, stop = runner.promote(run=state.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_what_is_pushed_beside_after_the_approval_is_not_synced(runner, monkeypatch):
    """Between request and resume, and between the gate and the commit: refused, and nothing is committed."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    push_beside(runner)
    before = runner.tip()
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "the plan is stale: platform-config:apps/checkout/production/ changed" in stop.message
    assert runner.tip() == before
    again, _ = runner.promote()
    runner.answer(again.run)
    real = promotion_apply._refuse_forbidden

    def meanwhile(*arguments):
        real(*arguments)
        change(runner, "apps/checkout/production/extra.yaml", lambda text: text + b"# more\n")

    monkeypatch.setattr(promotion_apply, "_refuse_forbidden", meanwhile)
    state, stop = runner.promote(run=again.run)
    assert isinstance(stop, ConflictError)
    assert "files of apps/checkout/production changed since the plan was made" in stop.message
    assert (state.status, [e.failed != "" for e in state.effects]) == (Status.REFUSED, [True])


def test_what_is_pushed_elsewhere_is_no_obstacle(runner):
    """Another application's file, another environment's: an approved promotion goes through."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    change(runner, "apps/payments/production/deployment.yaml", lambda text: text + b"# more\n")
    change(runner, "apps/checkout/development/deployment.yaml", lambda text: text + b"# more\n")
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_an_approved_sync_outlives_what_argo_cd_says_meanwhile(runner):
    """Git asks for it, the cluster lags: the plan is the same after Argo CD compared again, and after an unrelated commit."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    change(runner, PRODUCTION, lambda text: text.replace(b"v2.32.2", b"v2.33.0"))
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    assert waiting.plan["arguments"]["edits"] == []
    runner.answer(waiting.run)
    change(runner, "apps/payments/production/deployment.yaml", lambda text: text + b"# more\n")
    settle(runner, "production", syncs=False)
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_a_file_that_changed_in_any_byte_is_planned_again(runner, monkeypatch):
    """Where Argo CD syncs by itself too: a comment that came between plan and commit, and nothing is committed."""
    real = promotion_apply._refuse_forbidden

    def meanwhile(*arguments):
        real(*arguments)
        change(runner, STAGING, lambda text: text + b"# a comment\n")

    without_approval(runner)
    runner.workspace.replace(
        "runbooks/policy.yaml", "gates: {soak: {at_least: 1h}}", "gates: {source_healthy: false}"
    )
    development = STAGING.replace("staging", "development")
    change(
        runner, development, lambda text: text.replace(image(text).rpartition(b":")[2], b"v9.9.9")
    )
    with monkeypatch.context() as patched:
        patched.setattr(promotion_apply, "_refuse_forbidden", meanwhile)
        state, stop = runner.promote(source="development", target="staging")
    assert isinstance(stop, ConflictError)
    assert "changed since the plan was made; nothing was committed" in stop.message
    assert (state.plan["arguments"]["folders"], state.effect("commit")) == ({}, None)


@pytest.mark.parametrize(
    ("in_git", "healthy", "passed"), [(25, 30, True), (25, 1, False), (1, 30, False)]
)
def test_a_soak_begins_when_all_of_it_was_there(in_git, healthy, passed):
    """In Git for a day and healthy for an hour is an hour; the other way round too."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    ago = lambda hours: now - timedelta(hours=hours)  # noqa: E731
    placement = Placement("c", "checkout", True, "", healthy_since=ago(healthy))
    key = PromotedKey("f", "k", "tag", "b", "v2", "")
    side = Side("staging", "d", (key,), (Spell("v2", ago(in_git)),), (placement,))
    state = PromotionState(now, "r", "main", "t", side, side)
    rules = SimpleNamespace(gates=Gates(soak=SoakGate(at_least=timedelta(hours=24))))
    verdict = promotion_plan._soak(state, "v2", rules)
    assert verdict.passed is passed
    assert passed or verdict.clears_at == ago(min(in_git, healthy)) + timedelta(hours=24)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_base_elsewhere_counts_as_the_applications_folder(runner, when):
    """A kustomization names ../base: what is pushed there is shown before the request, and makes the plan stale after it."""
    folder, tip = "apps/checkout", runner.tip()
    base = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\ndata: {mode: safe}\n"
    files = {
        f"{folder}/base/kustomization.yaml": b"resources: [config.yaml]\n",
        f"{folder}/base/config.yaml": base,
        f"{folder}/production/kustomization.yaml": b"resources: [deployment.yaml, service.yaml, ../base]\n",
    }
    runner.platform().git.commit("platform-config", branch="main", parent=tip, files=files, message="A base")  # fmt: skip
    settle(runner, "production")
    evil = f"{folder}/base/config.yaml"
    if when == "before":
        change(runner, evil, lambda text: text.replace(b"safe", b"else"))
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    addresses = [change["address"] for change in waiting.plan["changes"]]
    assert (f"platform-config:{evil}" in addresses) is (when == "before")
    runner.answer(waiting.run)
    if when == "after":
        change(runner, evil, lambda text: text.replace(b"safe", b"else"))
    _, stop = runner.promote(run=waiting.run)
    assert (stop is None) is (when == "before")
