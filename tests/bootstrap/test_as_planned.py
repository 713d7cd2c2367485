"""A bootstrap brings about what was planned and shown, and nothing that fleet.yaml or the cluster asks for since."""

from __future__ import annotations

import contextlib
import importlib

import pytest

from gitops_nb import bootstrap
from gitops_nb.bootstrap import reach
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError, Refused
from gitops_nb.model import ObjectRef, Status
from gitops_nb.session import open_session
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order
from gitops_nb.session.recorder import Recorder
from tests.bootstrap.conftest import CLUSTER
from tests.cells import go_through
from tests.samples import few
from tests.session.test_interruptions import Killed

RBAC = ObjectRef("v1", "ConfigMap", "argocd-rbac-cm", "argocd")
verbs = importlib.import_module("gitops_nb.bootstrap.verbs")


def killed_behind(bootstrapper, monkeypatch, key: str) -> str:
    """A bootstrap whose process dies behind one of its steps; returns the run."""
    real = verbs._bring_about

    def bring(writers, context, plan, step, number):
        found = real(writers, context, plan, step, number)
        if step.key == key:
            raise Killed
        return found

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "_bring_about", bring)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with contextlib.suppress(Killed):
            bootstrapper.run()
    (run,) = recover(find_workspace(bootstrapper.workspace.root))
    return run


def resume(bootstrapper, run: str):
    try:
        session = open_session(
            "bootstrap",
            workspace=bootstrapper.workspace.root,
            cluster=CLUSTER,
            order=Order(run=run),
        )
        return go_through(session, bootstrap)
    except GitOpsError as stop:
        return None, stop


def test_what_fleet_yaml_says_since_is_not_brought(bootstrapper, monkeypatch):
    """Killed behind the installation, then somebody makes everybody an administrator in fleet.yaml: that is not applied."""
    run = killed_behind(bootstrapper, monkeypatch, "available")
    bootstrapper.workspace.replace(
        "runbooks/fleet.yaml", "policy.default: role:readonly", "policy.default: role:admin"
    )
    state, stop = resume(bootstrapper, run)
    assert isinstance(stop, Refused)
    assert "fleet.yaml wants something else on newcomer now" in stop.message
    assert state.status is Status.FAILED
    live = bootstrapper.cluster.get(RBAC)
    assert live is None or (live.get("data") or {}).get("policy.default") != "role:admin"
    bootstrapper.workspace.replace(
        "runbooks/fleet.yaml", "policy.default: role:admin", "policy.default: role:readonly"
    )
    state, stop = resume(bootstrapper, run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_an_object_that_was_no_part_of_the_plan_is_not_changed(bootstrapper, monkeypatch):
    """Somebody else's change after the plan was made was shown to nobody: refused, and planned by the next run."""
    _, stop = bootstrapper.run()
    assert stop is None
    as_us = bootstrapper.cluster.as_manager("gitops-nb")
    as_us.merge_patch(RBAC, {"data": {"policy.default": "role:admin"}})
    server = ObjectRef("v1", "Service", "argocd-repo-server", "argocd")
    real = verbs.refuse_forbidden

    def meanwhile(*arguments):
        as_us.merge_patch(server, {"spec": {"ports": [{"name": "x", "port": 1}]}})
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "refuse_forbidden", meanwhile)
        state, stop = bootstrapper.run()
    assert isinstance(stop, Refused)
    assert "nobody was shown that change" in stop.message
    assert state.status is Status.REFUSED
    state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)


@pytest.mark.parametrize(
    ("meanwhile", "told"),
    few(
        [
            ({"spec": {"ports": [{"name": "y", "port": 2}]}}, "was changed since this was planned"),
            (None, "was there when this was planned, and is gone"),
        ],
        keep=1,
    ),
)
def test_an_object_that_is_not_as_the_plan_found_it_is_not_changed(
    bootstrapper, monkeypatch, meanwhile, told
):
    """A field that was planned to go from one value is not overwritten where it has another one by now."""
    _, stop = bootstrapper.run()
    assert stop is None
    as_us = bootstrapper.cluster.as_manager("gitops-nb")
    server = ObjectRef("v1", "Service", "argocd-repo-server", "argocd")
    as_us.merge_patch(server, {"spec": {"ports": [{"name": "x", "port": 1}]}})
    real = verbs.refuse_forbidden

    def change(*arguments):
        if meanwhile is None:
            remove(bootstrapper, server)
        else:
            as_us.merge_patch(server, meanwhile)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "refuse_forbidden", change)
        state, stop = bootstrapper.run()
    assert isinstance(stop, Refused)
    assert told in stop.message
    assert state.status in (Status.REFUSED, Status.FAILED)
    live = bootstrapper.cluster.get(server)
    assert (
        live is None if meanwhile is None else live["spec"]["ports"] == meanwhile["spec"]["ports"]
    )
    state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)


def test_an_object_that_came_since_is_not_taken_over(bootstrapper, monkeypatch):
    """One that the plan says is new, and that somebody has made meanwhile, stays theirs."""
    _, stop = bootstrapper.run()
    assert stop is None
    remove(bootstrapper, RBAC)
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": RBAC.name, "namespace": RBAC.namespace},
        "data": {"policy.default": "role:nobody"},
    }
    real = verbs.refuse_forbidden

    def meanwhile(*arguments):
        bootstrapper.cluster.as_manager("gitops-nb").apply(theirs)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "refuse_forbidden", meanwhile)
        _, stop = bootstrapper.run()
    assert isinstance(stop, Refused), stop
    assert "was not there when this was planned" in stop.message
    assert bootstrapper.cluster.get(RBAC)["data"] == theirs["data"]


def test_an_object_whose_status_moves_is_written_all_the_same(bootstrapper, monkeypatch):
    """Between reading and writing its version changed, and nothing that the plan shows: it is read again."""
    _, stop = bootstrapper.run()
    assert stop is None
    as_us = bootstrapper.cluster.as_manager("gitops-nb")
    server = ObjectRef("v1", "Service", "argocd-repo-server", "argocd")
    as_us.merge_patch(server, {"spec": {"ports": [{"name": "x", "port": 1}]}})
    real, moved = reach.PlannedCluster._refuse_other, []

    def moving(self, ref, live, manifest):
        real(self, ref, live, manifest)
        if ref == server and not moved:
            moved.append(as_us.merge_patch(server, {"status": {"conditions": []}}))

    monkeypatch.setattr(reach.PlannedCluster, "_refuse_other", moving)
    state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert moved


@pytest.mark.parametrize("deed", few(["change", "remove", "make"], keep=1))
def test_what_happens_between_comparison_and_write_is_not_overwritten(
    bootstrapper, monkeypatch, deed
):
    """Compared with the plan, then changed, removed or made by somebody before the write arrives: theirs stays."""
    _, stop = bootstrapper.run()
    assert stop is None
    as_us = bootstrapper.cluster.as_manager("gitops-nb")
    server = ObjectRef("v1", "Service", "argocd-repo-server", "argocd")
    mine, theirs = ({"spec": {"ports": [{"name": n, "port": 1}]}} for n in ("x", "y"))
    before = bootstrapper.cluster.get(server)
    if deed == "make":
        remove(bootstrapper, server)
    else:
        as_us.merge_patch(server, mine)
    real, done = reach.PlannedCluster._refuse_other, []

    def compared(self, ref, live, manifest):
        real(self, ref, live, manifest)
        if ref == server and not done:
            done.append(ref)
            if deed == "change":
                as_us.merge_patch(server, theirs)
            elif deed == "remove":
                remove(bootstrapper, server)
            else:
                kept = {k: before["metadata"][k] for k in ("name", "namespace")}
                as_us.apply({"apiVersion": "v1", "kind": "Service", "metadata": kept, **theirs})

    monkeypatch.setattr(reach.PlannedCluster, "_refuse_other", compared)
    _, stop = bootstrapper.run()
    assert isinstance(stop, Refused), stop
    live = bootstrapper.cluster.get(server)
    assert live is None if deed == "remove" else live["spec"]["ports"] == theirs["spec"]["ports"]


def remove(bootstrapper, ref: ObjectRef) -> None:
    """Somebody deletes an object of the cluster."""
    world = bootstrapper.cluster._world
    with world.turn():
        (key,) = (
            key
            for key, item in world.objects(CLUSTER).items()
            if (item["kind"], item["metadata"]["name"]) == (ref.kind, ref.name)
        )
        world.delete(CLUSTER, key)


def test_a_setting_that_was_no_part_of_the_plan_is_not_written(bootstrapper, monkeypatch):
    """Gone between gate and installation, which goes over all objects of the manifest: refused as any other is."""
    _, stop = bootstrapper.run()
    assert stop is None
    as_us = bootstrapper.cluster.as_manager("gitops-nb")
    server = ObjectRef("v1", "Service", "argocd-repo-server", "argocd")
    as_us.merge_patch(server, {"spec": {"ports": [{"name": "x", "port": 1}]}})
    real = verbs.refuse_forbidden

    def meanwhile(*arguments):
        remove(bootstrapper, RBAC)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "refuse_forbidden", meanwhile)
        state, stop = bootstrapper.run()
    assert isinstance(stop, Refused)
    assert "nobody was shown that change" in stop.message
    assert bootstrapper.cluster.get(RBAC) is None
    assert state.status in (Status.REFUSED, Status.FAILED)
