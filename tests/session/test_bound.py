"""What a sync brings is what its plan showed: of each Application that is synced, of the revision that is synced."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConflictError, NeedsAttention, Refused, WaitingForApproval
from gitops_nb.model import ObjectRef, Status
from gitops_nb.session import open_session
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.recorder import Recorder
from tests.samples import few
from tests.session.platform_edits import (
    KUSTOMIZATION as KUSTOMIZED,
)
from tests.session.platform_edits import (
    change_application,
    commit,
    manifest,
    patch_application,
    put_images_into_manifests,
    read,
    settle,
)
from tests.session.test_interruptions import Killed, cut_off
from tests.session.test_promotion_edits import PRODUCTION, change

promotion_apply = importlib.import_module("gitops_nb.promotion.apply")
EXTRA = "apps/checkout/production/extra.yaml"
PLANTED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: planted, namespace: checkout}\ndata: {a: b}\n"


def is_planted(runner) -> bool:
    state = runner.workspace.root / ".gitops-nb/sandbox/state.json"
    return "ConfigMap./checkout/planted" in state.read_text(encoding="utf-8")


@pytest.fixture
def umbrella(runner):
    """Each child's image stands in its own manifest, which the root Application brings; production is approved."""
    put_images_into_manifests(runner, ("staging", "production"))
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    return runner


def test_a_parent_that_we_sync_is_bound_where_its_child_syncs_by_itself(umbrella):
    """What is pushed to the parent's folder after the approval makes the plan stale; without it the promotion goes through."""
    change_application(
        umbrella, "production", "  syncPolicy:\n", "  syncPolicy:\n    automated: {}\n"
    )
    cluster = umbrella.platform().view.clusters["production"].as_manager("kubectl-edit")
    root = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    cluster.merge_patch(root, {"spec": {"syncPolicy": {"automated": None}}})
    waiting, stop = umbrella.promote()
    assert isinstance(stop, WaitingForApproval)
    assert "argocd/production" in waiting.plan["arguments"]["folders"]
    umbrella.answer(waiting.run)
    other = manifest(umbrella, "production", "payments").replace(
        "payments-production", "planted-production"
    )
    commit(umbrella, {"argocd/production/planted.yaml": other})
    _, stop = umbrella.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    found = umbrella.platform().view.argo["production"].snapshot("planted-production")
    assert found.application is None


@pytest.mark.parametrize("when", few(["before", "after", "never"], keep=1))
def test_a_child_that_we_sync_is_bound_to_its_own_folder_too(umbrella, when):
    """Not its parent's alone: what is pushed there is shown, or makes the plan stale."""
    kustomization = "apps/checkout/production/kustomization.yaml"
    files = {
        EXTRA: PLANTED,
        kustomization: read(umbrella, kustomization).replace("[", "[extra.yaml, "),
    }
    if when == "before":
        commit(umbrella, files)
    waiting, stop = umbrella.promote()
    assert isinstance(stop, WaitingForApproval)
    shown = {change["address"] for change in waiting.plan["changes"]}
    assert (f"platform-config:{EXTRA}" in shown) is (when == "before")
    umbrella.answer(waiting.run)
    if when == "after":
        commit(umbrella, files)
    _, stop = umbrella.promote(run=waiting.run)
    assert (stop is None) is (when != "after"), stop
    assert is_planted(umbrella) is (when == "before")


def test_the_revision_that_is_synced_is_the_one_that_was_compared(runner, monkeypatch):
    """A plan without an edit: a push that comes right before apply, and is reverted right after, is not brought."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    change(runner, PRODUCTION, lambda text: text.replace(b"v2.32.2", b"v2.33.0"))
    waiting, _ = runner.promote()
    assert waiting.plan["arguments"]["edits"] == []
    runner.answer(waiting.run)
    real, refresh = promotion_apply._refuse_forbidden, promotion_apply._refreshed

    def push(*arguments):
        real(*arguments)
        commit(runner, {EXTRA: PLANTED})

    def take_back(*arguments, **named):
        commit(runner, {EXTRA: "# nothing\n"})
        return refresh(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(promotion_apply, "_refuse_forbidden", push)
        patched.setattr(promotion_apply, "_refreshed", take_back)
        _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConflictError)
    assert not is_planted(runner)


def test_sources_that_came_after_the_plan_are_not_synced(runner, monkeypatch):
    """Somebody gives the Application a second source between gate and sync: our commit is there, and is not brought with it."""
    commit(runner, {"evil/extra.yaml": PLANTED})
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    own = {
        "repoURL": str(runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"),
        "targetRevision": "main",
    }
    sources = [{**own, "path": "apps/checkout/production"}, {**own, "path": "evil"}]
    refresh = promotion_apply._refreshed

    def other(*arguments, **named):
        patch_application(runner, "production", {"spec": {"source": None, "sources": sources}})
        return refresh(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(promotion_apply, "_refreshed", other)
        state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConflictError)
    assert "asks for something else than when this was planned" in stop.message
    assert state.status is Status.NEEDS_ATTENTION
    assert not is_planted(runner)


def test_a_source_elsewhere_is_named_to_whoever_signs(runner):
    """Another branch: what is there when it is synced comes too, and the plan says so."""
    git, tip = runner.platform().git, runner.tip()
    git.commit("platform-config", branch="main", parent=tip, files={"addons/x.yaml": PLANTED.encode()}, message="Addons")  # fmt: skip
    own = {
        "repoURL": str(runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"),
    }
    sources = [
        {**own, "path": "apps/checkout/production", "targetRevision": "main"},
        {**own, "path": "addons", "targetRevision": "addons"},
    ]
    patch_application(runner, "production", {"spec": {"source": None, "sources": sources}})
    state, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval), stop
    named = [change for change in state.plan["changes"] if "source" in change["address"]]
    assert [change["before"] for change in named] == [
        "other ones were synced last",
        "not looked at",
    ]
    assert "addons at addons" in named[1]["address"]


class Front:
    """A notebook that waits for the approval; meanwhile something happens."""

    is_interactive = True

    def __init__(self, runner, meanwhile) -> None:
        self._runner, self._meanwhile = runner, meanwhile

    def on_record(self, record) -> None:
        """Shows nothing."""

    async def wait(self, session, poll, _):
        assert poll() is None
        self._meanwhile()
        self._runner.answer(session.run)
        return poll()


def freeze(runner) -> None:
    """Somebody merges a freeze that has begun."""
    begun = datetime.now(UTC) - timedelta(minutes=5)
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "start: 2026-12-23T12:00:00+01:00\n    end: 2027-01-04T08:00:00+01:00",
        f"start: {begun:%Y-%m-%dT%H:%M:%S}+00:00\n    end: {begun + timedelta(days=30):%Y-%m-%dT%H:%M:%S}+00:00",
    )


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (lambda runner: None, ""),
        (freeze, "freeze"),
        (lambda runner: commit(runner, {EXTRA: PLANTED}), "went stale while it waited"),
    ],
)
def test_gates_and_plan_are_asked_again_after_a_wait(runner, meanwhile, said):
    """What was seen before a cell waited for hours is no answer; where nothing changed the promotion goes through."""
    before = runner.tip()
    front = Front(runner, lambda: meanwhile(runner))
    session = open_session(
        "promotion", workspace=runner.workspace.root, front=front, application="checkout", stable_for="0s"
    )  # fmt: skip
    state, stop = runner.go_through(session)
    if not said:
        assert (stop, state.status) == (None, Status.SUCCEEDED)
        return
    assert isinstance(stop, Refused)
    assert said in stop.message
    log = runner.platform().git.log("platform-config", runner.tip(), limit=5)
    assert not [one for one in log if one.trailers.get("Gitops-Nb-Run") == state.run]
    assert before


def test_copied_trailers_on_the_same_parent_are_not_ours(runner, monkeypatch):
    """Killed after the push; somebody merges a commit of theirs with our message, our parent and another file: ours is found."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    cut_off(runner, monkeypatch, waiting.run, where="after")
    recover(find_workspace(runner.workspace.root))
    ours = runner.tip()
    message = git(runner, "log", "-1", "--format=%B", ours)
    blob = git(runner, "rev-parse", f"{ours}:apps/checkout/production/service.yaml")
    index = runner.workspace.root / "index"
    environment = {"GIT_INDEX_FILE": str(index)}
    git(runner, "read-tree", ours, environment=environment)
    git(
        runner,
        "update-index",
        "--add",
        "--cacheinfo",
        f"100644,{blob},{EXTRA}",
        environment=environment,
    )
    tree = git(runner, "write-tree", environment=environment)
    theirs = git(runner, "commit-tree", tree, "-p", f"{ours}~1", "-m", message)
    merge = git(runner, "commit-tree", f"{ours}^{{tree}}", "-p", theirs, "-p", ours, "-m", "merge")
    git(runner, "update-ref", "refs/heads/main", merge)
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.effect("commit").result["revision"]) == (None, ours)


def test_an_application_without_a_history_says_what_is_not_known(runner):
    """Nobody can tell what was pushed before: the plan says that, to whoever signs."""
    cluster = runner.platform().view.clusters["production"].as_manager("argocd-controller")
    ref = ObjectRef("argoproj.io/v1alpha1", "Application", "checkout-production", "argocd")
    cluster.merge_patch(ref, {"status": {"history": None}})
    state, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval), stop
    assert "what was synced last is not known" in [c["before"] for c in state.plan["changes"]]


def test_a_no_that_does_not_reach_the_register_is_not_given(runner):
    """The register is away: nothing is said to be rejected, no file stands there, and the next try counts."""
    waiting, _ = runner.promote()
    repository = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    away = repository.with_name("away.git")
    repository.rename(away)
    done = runner.workspace.run("reject", waiting.run, "--reason", "no")
    away.rename(repository)
    assert done.returncode == 69, done.stdout + done.stderr
    assert "rejected by" not in done.stdout
    assert not list((runner.workspace.reports / waiting.run).glob("approvals/*"))
    done = runner.workspace.run("reject", waiting.run, "--reason", "no")
    assert done.returncode == 0, done.stderr
    assert "in the register" in done.stdout


def git(runner, *arguments: str, environment=None) -> str:
    folder = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    return subprocess.run(
        ("git", "-C", str(folder), "-c", "user.name=e", "-c", "user.email=e@x.org", *arguments),
        check=True, capture_output=True, text=True, env={**os.environ, **(environment or {})},
    ).stdout.strip()  # fmt: skip


def test_a_sync_that_was_asked_for_is_found_after_an_unrelated_push(runner, monkeypatch):
    """A plan without an edit, killed in the watch; somebody pushes another application: resume goes on, and syncs nothing twice."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    change(runner, PRODUCTION, lambda text: text.replace(b"v2.32.2", b"v2.33.0"))
    waiting, _ = runner.promote()
    runner.answer(waiting.run)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(importlib.import_module("gitops_nb.promotion.verify"), "_watch", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote(run=waiting.run)
    recover(find_workspace(runner.workspace.root))
    change(runner, "apps/payments/production/deployment.yaml", lambda text: text + b"# more\n")
    state, stop = runner.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert state.effect("sync production").adopted
    assert runner.workspace.run("verify", waiting.run).returncode == 0


def test_a_question_alone_is_no_effect(runner, monkeypatch):
    """Killed while Argo CD was asked to look, the hand push reverted: resume is refused as stale, and the record holds."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    before = change(runner, PRODUCTION, lambda text: text.replace(b"v2.32.2", b"v2.33.0"))
    waiting, _ = runner.promote()
    runner.answer(waiting.run)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "refresh", killed)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote(run=waiting.run)
    recover(find_workspace(runner.workspace.root))
    change(runner, PRODUCTION, lambda _: before)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert state.status is Status.REFUSED
    checked = runner.workspace.run("verify", waiting.run)
    assert checked.returncode == 0, checked.stdout


MINER = "apps/other/thing/deployment.yaml"


@pytest.fixture
def soaked(runner):
    """A workspace whose versions need no time in staging."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    return runner


def lines_of(waiting) -> str:
    """Every line that an approver is shown."""
    return "\n".join(
        line["text"] for change in waiting.plan["changes"] for line in change["diff"] or ()
    )


def done_by(runner, waiting):
    """The approval of a run that waits, and its resume."""
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run)
    assert stop is None, stop
    return state


def test_a_source_that_came_since_the_last_sync_is_shown_whole(soaked):
    """A folder that nobody read lies in Git for long; when the Application names it all of it is new, and so are its sources."""
    text = read(soaked, PRODUCTION).replace("checkout", "miner")
    commit(soaked, {MINER: text}, "A folder that nobody reads")
    settle(soaked, "production")
    waiting, _ = soaked.promote()
    done_by(soaked, waiting)
    named = manifest(soaked, "production")
    block = re.search(r"  source:\n((?:    .*\n)+)", named)
    one = f"    - {block[1].strip()}\n".replace("\n    ", "\n      ")
    two = one.replace("apps/checkout/production", "apps/other/thing")
    commit(
        soaked,
        {"argocd/production/checkout.yaml": named.replace(block[0], f"  sources:\n{one}{two}")},
        "A second source",
    )
    settle(soaked, "production", syncs=False)
    waiting, _ = soaked.promote(revision="v2.32.2")
    addresses = [change["address"] for change in waiting.plan["changes"]]
    assert f"platform-config:{MINER}" in addresses
    assert "Application checkout-production, its sources" in addresses
    assert "miner" in lines_of(waiting)
    assert "path: apps/other/thing" in lines_of(waiting)


def test_what_an_application_says_itself_since_the_last_sync_is_shown(soaked):
    """An image that somebody sets in the Application comes into force with the sync, and no file says so."""
    kustomized = f"{PRODUCTION.rpartition('/')[0]}/kustomization.yaml"
    commit(soaked, {kustomized: KUSTOMIZED})
    settle(soaked, "production")
    named = manifest(soaked, "production")
    path = "    path: apps/checkout/production\n"
    commit(
        soaked,
        {
            "argocd/production/checkout.yaml": named.replace(
                path, f"{path}    kustomize: {{namePrefix: evil-}}\n"
            )
        },
        "An override",
    )
    settle(soaked, "production", syncs=False)
    waiting, _ = soaked.promote()
    assert "namePrefix: evil-" in lines_of(waiting)
    # The Application next to it, which says nothing new, shows its file alone.
    other, stop = soaked.promote(application="catalog", revision="v1.32.9")
    assert other.plan is None or "its sources" not in str(other.plan["changes"]), stop


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    namespace: checkout\n", "    namespace: payments\n"),
        ("      - CreateNamespace=true\n", "      - CreateNamespace=true\n      - Replace=true\n"),
    ],
)
def test_an_application_that_asks_for_something_else_is_not_synced(soaked, old, new):
    """Another namespace or option after the approval: nothing is synced; what was planned goes through as it was."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    named = manifest(soaked, "production")
    text = named.replace(old, new)
    assert text != named
    commit(soaked, {"argocd/production/checkout.yaml": text}, "Somewhere else")
    settle(soaked, "production", syncs=False)
    before = synced_of(soaked)
    state, stop = soaked.promote(run=waiting.run)
    assert isinstance(stop, (ConflictError, Refused)), stop
    assert state.status is Status.REFUSED
    assert synced_of(soaked) == before


def synced_of(runner) -> int:
    """How many syncs the Application has had."""
    found = runner.platform().view.argo["production"].snapshot("checkout-production")
    return len(found.application["status"]["history"])


def test_a_value_file_that_an_override_file_names_is_bound(soaked):
    """``.argocd-source.yaml`` in the folder names a file elsewhere: what is pushed there after the plan is not synced."""
    folder = "apps/checkout/production"
    commit(
        soaked,
        {
            f"{folder}/.argocd-source.yaml": "helm: {valueFiles: [../../../shared/all.yaml]}\n",
            "shared/all.yaml": "replicas: 3\n",
        },
    )
    settle(soaked, "production")
    waiting, _ = soaked.promote()
    assert "shared/all.yaml" in waiting.plan["arguments"]["folders"]
    soaked.answer(waiting.run)
    commit(soaked, {"shared/all.yaml": "replicas: 0\n"}, "Beside")
    before = soaked.tip()
    _, stop = soaked.promote(run=waiting.run)
    assert isinstance(stop, Refused), stop
    assert soaked.tip() == before


def pushes_once(monkeypatch, name: str, push, *, behind: bool = False) -> None:
    """Somebody pushes right when apply asks something, or right behind the answer."""
    real, done = getattr(promotion_apply, name), []

    def asked(*given, **named):
        if not done and not behind:
            done.append(push())
        found = real(*given, **named)
        if not done:
            done.append(push())
        return found

    monkeypatch.setattr(promotion_apply, name, asked)


def names_in(runner) -> set[str]:
    """The Deployments of the application's namespace."""
    found = runner.platform().view.clusters["production"].list("apps/v1", "Deployment")
    return {
        item["metadata"]["name"] for item in found if item["metadata"]["namespace"] == "checkout"
    }


def test_the_application_that_is_patched_is_the_one_that_was_compared(soaked, monkeypatch):
    """Its sources change between the comparison with the plan and the sync: the sync is not asked for."""
    commit(soaked, {MINER: read(soaked, PRODUCTION).replace("checkout", "miner")}, "Beside")
    settle(soaked, "production", syncs=False)
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)

    def push() -> None:
        named = manifest(soaked, "production")
        block = re.search(r"  source:\n((?:    .*\n)+)", named)
        one = f"    - {block[1].strip()}\n".replace("\n    ", "\n      ")
        two = one.replace("apps/checkout/production", "apps/other/thing")
        text = named.replace(block[0], f"  sources:\n{one}{two}")
        commit(soaked, {"argocd/production/checkout.yaml": text}, "Evil")
        platform = soaked.platform()
        writers = platform.open_writers(bool, environment="production", files=frozenset())
        writers.argo["production"].refresh("root")
        platform.view.clock.sleep(30)

    pushes_once(monkeypatch, "refuse_changed", push)
    _, stop = soaked.promote(run=waiting.run)
    assert isinstance(stop, ConflictError), stop
    assert "asks for something else" in stop.message
    assert names_in(soaked) == {"checkout"}


def test_a_child_is_synced_to_the_commit_that_was_shown(umbrella, monkeypatch):
    """What is pushed to its folder while the run waits for the parent does not come along."""
    waiting, _ = umbrella.promote()
    umbrella.answer(waiting.run)
    folder = PRODUCTION.rpartition("/")[0]

    def push() -> None:
        miner = read(umbrella, PRODUCTION).replace("name: checkout", "name: miner")
        resources = "resources: [deployment.yaml, service.yaml, miner.yaml]\n"
        files = {f"{folder}/miner.yaml": miner, f"{folder}/kustomization.yaml": resources}
        commit(umbrella, files, "Evil")

    pushes_once(monkeypatch, "_asks", push)
    umbrella.promote(run=waiting.run)
    assert names_in(umbrella) == {"checkout"}


def test_what_somebody_brought_later_is_not_taken_back(soaked, monkeypatch):
    """Killed behind the push; somebody syncs our commit and a later one: the resumed run syncs nothing, and ends well."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    cut_off(soaked, monkeypatch, waiting.run, where="after")
    recover(find_workspace(soaked.workspace.root))
    change(soaked, PRODUCTION, lambda text: text.replace(b"replicas: 3", b"replicas: 5"))
    settle(soaked, "production")
    before = synced_of(soaked)
    state, stop = soaked.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert synced_of(soaked) == before
    (ours,) = (effect for effect in state.effects if effect.key == "sync production")
    assert ours.result["brought_by"] == soaked.tip()


def test_a_sync_that_argo_cd_forgot_is_not_done_twice(soaked, monkeypatch):
    """Its history keeps ten: where all came later, and none holds our commit, nobody can tell."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    cut_off(soaked, monkeypatch, waiting.run, where="after")
    recover(find_workspace(soaked.workspace.root))
    ours = soaked.tip()
    history = soaked.platform().view.argo["production"].snapshot("checkout-production").application
    entry = history["status"]["history"][-1]
    later = [{**entry, "id": 100 + n, "deployedAt": f"2099-01-01T00:00:{n:02}Z"} for n in range(10)]
    patch_application(soaked, "production", {"status": {"history": later}})
    _, stop = soaked.promote(run=waiting.run)
    assert isinstance(stop, NeedsAttention), stop
    assert "synced since this was planned, and ours may have been before" in stop.message
    assert soaked.tip() == ours


def cut_off_behind_the_sync(runner, monkeypatch, run, **parameters) -> None:
    """Argo CD took the sync up, and the run dies before it can note that; somebody closes it."""
    real = ArgoCD.sync

    def sync(self, *given, **named):
        real(self, *given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "sync", sync)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            runner.promote(run=run, **parameters)
    recover(find_workspace(runner.workspace.root))


@pytest.mark.parametrize("history", few(["one entry by somebody else", "made anew"], keep=1))
def test_what_a_short_history_forgot_is_not_done_twice(soaked, monkeypatch, history):
    """The sync was carried out and rolled back, and Argo CD keeps no trace of it: a person is asked."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    cut_off_behind_the_sync(soaked, monkeypatch, waiting.run)
    soaked.platform().view.clock.sleep(60)
    argo = soaked.platform().view.argo["production"]
    entry = argo.snapshot("checkout-production").application["status"]["history"][-1]
    older = soaked.platform().git.log("platform-config", soaked.tip(), limit=2)[1].sha
    by = {"initiatedBy": {"username": "tomas"}, "id": 200, "deployedAt": "2099-01-01T00:00:00Z"}
    by |= {"revision": older}
    left = [{**entry, **by}] if history.startswith("one") else []
    other = {
        "phase": "Succeeded",
        "startedAt": "2099-01-01T00:00:00Z",
        "finishedAt": "2099-01-01T00:00:00Z",
    }
    other |= {
        "operation": {"sync": {}, "info": None},
        "syncResult": {"revision": entry["revision"]},
    }
    gone = {"history": left, "operationState": other}
    patch_application(soaked, "production", {"status": gone})
    before = synced_of(soaked)
    _, stop = soaked.promote(run=waiting.run)
    assert isinstance(stop, NeedsAttention), stop
    assert "was synced since this was planned, and ours may have been before" in stop.message
    assert synced_of(soaked) == before


def test_a_sync_that_was_rolled_back_is_not_done_again(soaked, monkeypatch):
    """A plan without an edit, killed once Argo CD had carried its sync out; a colleague rolls back: that stays so."""
    change(soaked, PRODUCTION, lambda text: text.replace(b"v2.32.2", b"v2.33.0"))
    settle(soaked, "production", syncs=False)
    old = soaked.platform().view.argo["production"].snapshot("checkout-production").application
    waiting, stop = soaked.promote(timeout="30s")
    assert isinstance(stop, WaitingForApproval), stop
    assert not waiting.plan["arguments"]["edits"]
    soaked.answer(waiting.run)
    cut_off_behind_the_sync(soaked, monkeypatch, waiting.run, timeout="30s")
    platform = soaked.platform()
    platform.view.clock.sleep(60)
    argo = platform.open_writers(bool, environment="production", files=frozenset()).argo
    back = old["status"]["history"][-1]["revision"]
    argo["production"].sync("checkout-production", revision=back, identifier="a colleague")
    platform.view.clock.sleep(60)
    before = synced_of(soaked)
    soaked.promote(run=waiting.run, timeout="30s")
    assert synced_of(soaked) == before


def test_a_sync_of_somebody_else_right_before_ours_is_not_taken_back(soaked, monkeypatch):
    """Asked what is in force, then somebody syncs a later commit before the patch arrives: ours is not asked for."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)

    def push() -> None:
        change(soaked, PRODUCTION, lambda text: text.replace(b"replicas: 3", b"replicas: 5"))
        settle(soaked, "production")

    pushes_once(monkeypatch, "refuse_overtaken", push, behind=True)
    before = synced_of(soaked)
    state, stop = soaked.promote(run=waiting.run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert synced_of(soaked) == before + 1
    (ours,) = (effect for effect in state.effects if effect.key == "sync production")
    assert ours.result["brought_by"] == soaked.tip()
