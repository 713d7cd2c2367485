"""What comes with the root application is in the plan, and bound until it is applied."""

from __future__ import annotations

import importlib

import pytest

from gitops_nb import bootstrap
from gitops_nb.bootstrap.brings import find_brings
from gitops_nb.bootstrap.context import Context
from gitops_nb.errors import Refused
from gitops_nb.model import Action, ObjectRef, Status

FOLDER = "argocd/development"
ROLE = b"""apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: planted}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: eve, namespace: default}]
"""
verbs = importlib.import_module("gitops_nb.bootstrap.verbs")


def push(bootstrapper, files: dict[str, bytes]) -> str:
    """Somebody else's commit on the configuration branch."""
    git = bootstrapper.platform.git
    tip = git.tip("platform-config", "main")
    return git.commit("platform-config", branch="main", parent=tip, files=files, message="Docs")


def context_of(bootstrapper) -> Context:
    platform = bootstrapper.platform
    request = bootstrap.request(platform.fleet, {"cluster": "newcomer"})
    return Context(platform.view, request, ())


def planned(bootstrapper):
    """The plan of now."""
    context = context_of(bootstrapper)
    return bootstrap.plan(context.request, bootstrap.observe(context.view, context.request))


def test_each_file_of_the_roots_folder_is_in_the_plan(bootstrapper):
    """Whole, with the objects in it and how they are synced, and the commit that it is at; values of Secrets are masked."""
    secret = (
        b"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: wintergreen}\n"
    )
    sha = push(bootstrapper, {f"{FOLDER}/role.yaml": ROLE, f"{FOLDER}/secret.yaml": secret})
    plan = planned(bootstrapper)
    brought = {c.address: c for c in plan.changes if c.address.startswith("platform-config:")}
    git = bootstrapper.platform.git
    assert set(brought) == {f"platform-config:{path}" for path in git.blobs("platform-config", sha, FOLDER)}  # fmt: skip
    role = brought[f"platform-config:{FOLDER}/role.yaml"]
    assert role.after == "comes with the root application: ClusterRoleBinding planted"
    assert role.action is Action.CREATE
    assert [line.text for line in role.diff] == ROLE.decode().splitlines()
    child = brought[f"platform-config:{FOLDER}/payments.yaml"].after
    assert "Application argocd/payments-development, of apps/payments/development of " in child
    assert "platform-config.git to " in child
    assert child.endswith("synced by itself")
    shown = "\n".join(line.text for c in brought.values() for line in c.diff)
    assert "wintergreen" not in shown
    assert f"brings {len(brought)} files of {FOLDER} at {sha[:8]}" in plan.summary


@pytest.mark.parametrize(("path", "is_stale"), [(f"{FOLDER}/role.yaml", True), (f"{FOLDER}/sub/role.yaml", True), ("apps/role.yaml", False)])  # fmt: skip
def test_a_push_to_the_folder_makes_another_plan(bootstrapper, path, is_stale):
    """What somebody approved is not what would come; a push to another place leaves it as it is."""
    before = planned(bootstrapper)
    push(bootstrapper, {path: ROLE})
    now = planned(bootstrapper)
    assert (now.digest != before.digest) is is_stale
    bound = f"platform-config:{FOLDER}/"
    assert (now.materials[bound] != before.materials[bound]) is is_stale


@pytest.mark.parametrize("step", ["refuse_forbidden", "_wait_for"])
def test_what_is_pushed_behind_the_decision_is_not_brought(bootstrapper, monkeypatch, step):
    """Right before the first effect, or while the installation comes about: no root application; the next run plans it."""
    real = getattr(verbs, step)
    pushed: list[str] = []

    def meanwhile(*arguments):
        if not pushed:
            pushed.append(push(bootstrapper, {f"{FOLDER}/role.yaml": ROLE}))
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, step, meanwhile)
        state, stop = bootstrapper.run()
    assert isinstance(stop, Refused), stop
    assert f"{FOLDER} changed since this was planned: nobody was shown" in stop.message
    assert state.status in (Status.REFUSED, Status.FAILED)
    root = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    role = ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "planted", "")
    assert bootstrapper.cluster.get(root) is None
    state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert any(c["address"].endswith("role.yaml") for c in state.plan["changes"])
    assert bootstrapper.cluster.get(role) is not None


def test_a_push_elsewhere_meanwhile_goes_through(bootstrapper, monkeypatch):
    """Another application's release between plan and root: the bootstrap goes on."""
    real = verbs.refuse_forbidden

    def meanwhile(*arguments):
        push(bootstrapper, {"apps/other/production/x.yaml": b"a: 1\n"})
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "refuse_forbidden", meanwhile)
        state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("kustomization.yaml", b"resources: [../../apps/x]\n", "what is there when Argo CD looks"),
        (".argocd-source-root.yaml", b"directory: {recurse: true}\n", "what is there when"),
        ("broken.yaml", b"a: [\n", "which objects cannot be told"),
        ("set.yaml", b"apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: teams}\n", "ApplicationSet teams, which makes Applications that are not shown here"),
        ("list.yaml", b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: inside}}\n", "ConfigMap inside"),
        ("odd.yaml", b"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: odd}\nspec: {sources: 3}\n", "Application odd, which Argo CD may refuse"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_said(bootstrapper, name, content, told):
    """Tools that make objects of other places, files that cannot be read, sets that make Applications."""
    push(bootstrapper, {f"{FOLDER}/{name}": content, f"{FOLDER}/sub/part.yaml": ROLE})
    found = find_brings(context_of(bootstrapper))
    mine = [c for c in found.changes if f"{FOLDER}/{name}" in c.address]
    assert any(told in change.after for change in mine), mine
    is_made = "source" in name or "kustomization" in name
    assert any("sub/part.yaml" in c.address for c in found.changes) is is_made


def test_a_finished_bootstrap_shows_no_folder(bootstrapper):
    """Where Argo CD follows the folder already it brings each commit by itself: nothing of that is this run's."""
    _, stop = bootstrapper.run()
    assert stop is None
    plan = planned(bootstrapper)
    assert plan.is_empty
    assert "brings" not in plan.arguments
