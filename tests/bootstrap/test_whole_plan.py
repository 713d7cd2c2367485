"""What an approver of a bootstrap signs is shown whole, and who else owns a field is known before."""

from __future__ import annotations

import pytest

from gitops_nb.bootstrap.changes import MASKED, planned
from gitops_nb.bootstrap.manifests import exactly_compared, ref_of
from gitops_nb.errors import Refused
from gitops_nb.model import Action, ObjectRef, Status
from gitops_nb.sandbox.cluster import SandboxCluster

RBAC = ObjectRef("v1", "ConfigMap", "argocd-rbac-cm", "argocd")
SETTINGS = ObjectRef("v1", "ConfigMap", "argocd-cm", "argocd")


def texts(state, name: str) -> list[str]:
    """Lines of the planned change of one object, with their signs."""
    change = next(c for c in state.plan["changes"] if c["address"] == name)
    return [f"{line['sign']} {line['text']}" for line in change["diff"]]


def test_an_object_that_is_made_is_shown_with_every_line(bootstrapper):
    """Of each new object all lines are in the plan; a definition is named by its digest, a Secret's values are not shown."""
    state, stop = bootstrapper.run()
    assert stop is None
    for change in state.plan["changes"]:
        is_definition = change["address"].startswith("CustomResourceDefinition")
        assert bool(change["diff"]) is not is_definition, change["address"]
        assert ("sha256:" in change["after"]) is is_definition
    root = texts(state, "Application argocd/root")
    assert "+ kind: Application" in root
    assert any("targetRevision: main" in line for line in root)
    secret = texts(state, "Secret argocd/repository-platform-config")
    assert f"+   url: {MASKED}" in secret
    assert not any("file://" in line for line in secret)


def test_every_changed_field_is_shown_with_both_values(bootstrapper):
    """Five fields of one object that somebody took over by hand: five are listed, before and after, none is cut."""
    _, stop = bootstrapper.run()
    assert stop is None
    settings = {f"resource.example.{n}": "x" * 3000 + str(n) for n in range(5)}
    added = "".join(f"    {k}: {v}\n" for k, v in settings.items())
    bootstrapper.workspace.replace("runbooks/fleet.yaml", "  settings:\n", f"  settings:\n{added}")
    state, stop = bootstrapper.run()
    assert stop is None, stop
    lines = texts(state, "ConfigMap argocd/argocd-cm")
    assert lines == [f"+ data.{k}: {v}" for k, v in settings.items()]
    page = (bootstrapper.workspace.reports / state.run / "report.html").read_text(encoding="utf-8")
    assert all(value in page for value in settings.values())


def test_a_field_that_goes_is_shown(bootstrapper):
    """What an apply takes away because it is no longer asked for is in the plan too."""
    extra = "    resource.example: a\n    resource.other: b\n"
    bootstrapper.workspace.replace("runbooks/fleet.yaml", "  settings:\n", f"  settings:\n{extra}")
    _, stop = bootstrapper.run()
    assert stop is None
    bootstrapper.workspace.replace("runbooks/fleet.yaml", extra, "    resource.other: c\n")
    state, stop = bootstrapper.run()
    assert stop is None
    assert texts(state, "ConfigMap argocd/argocd-cm") == [
        "- data.resource.example: a",
        "- data.resource.other: b",
        "+ data.resource.other: c",
    ]
    assert "resource.example" not in bootstrapper.cluster.get(SETTINGS)["data"]


def test_a_grant_that_goes_alone_is_taken_away(bootstrapper):
    """Nothing else of the object changes: what an earlier run of ours brought and nobody asks for is a difference."""
    grant = '    policy.csv: "g, team, role:admin"\n'
    bootstrapper.workspace.replace("runbooks/fleet.yaml", "  rbac:\n", f"  rbac:\n{grant}")
    _, stop = bootstrapper.run()
    assert stop is None
    assert "policy.csv" in bootstrapper.cluster.get(RBAC)["data"]
    bootstrapper.workspace.replace("runbooks/fleet.yaml", grant, "")
    state, stop = bootstrapper.run()
    assert stop is None
    assert texts(state, "ConfigMap argocd/argocd-rbac-cm") == [
        "- data.policy.csv: g, team, role:admin"
    ]
    assert "policy.csv" not in bootstrapper.cluster.get(RBAC)["data"]


def test_a_field_of_somebody_else_refuses_before_the_decision(bootstrapper):
    """Helm owns a field with another value: the run is refused by a gate that names both, and nothing was changed."""
    bootstrapper.workspace.replace(
        "runbooks/fleet.yaml", "  settings:\n", "  settings:\n    resource.example: ours\n"
    )
    _, stop = bootstrapper.run()
    assert stop is None
    helm = bootstrapper.cluster.as_manager("helm")
    helm.merge_patch(SETTINGS, {"data": {"resource.example": "theirs"}})
    before = bootstrapper.written()
    state, stop = bootstrapper.run()
    assert isinstance(stop, Refused)
    assert state.status is Status.REFUSED
    assert "ownership: ConfigMap argocd-cm: helm owns data.resource.example" in stop.message
    assert state.effects == ()
    assert state.request is None
    assert bootstrapper.written() == before
    assert texts(state, "ConfigMap argocd/argocd-cm") == [
        "- data.resource.example: theirs",
        "+ data.resource.example: ours",
    ]


def test_what_the_reading_user_may_not_try_is_named(bootstrapper, monkeypatch):
    """Without the right to apply nobody says that no conflict was found: no gate passes, and the plan names the object."""
    _, stop = bootstrapper.run()
    assert stop is None
    bootstrapper.workspace.replace(
        "runbooks/fleet.yaml", "  settings:\n", "  settings:\n    resource.example: a\n"
    )
    monkeypatch.setattr(SandboxCluster, "try_apply", lambda *_: None)
    state, stop = bootstrapper.run()
    assert stop is None
    assert "fields of ConfigMap argocd/argocd-cm was not tried" in state.plan["summary"]
    assert [v["gate"] for v in state.decision["verdicts"]] == ["freeze", "destructive_change"]
    assert texts(state, "ConfigMap argocd/argocd-cm") == ["+ data.resource.example: a"]


def test_a_dry_run_changes_nothing(bootstrapper):
    """Planning writes no object, and a passed gate says how many changes were tried."""
    _, stop = bootstrapper.run()
    assert stop is None
    bootstrapper.workspace.replace(
        "runbooks/fleet.yaml", "  settings:\n", "  settings:\n    resource.example: a\n"
    )
    before = bootstrapper.written()
    done = bootstrapper.workspace.run("run", "bootstrap", "-p", "cluster=newcomer", "--plan")
    assert done.returncode == 0, done.stderr
    assert "+ data.resource.example: a" in done.stdout
    assert "the API server tried 1 change: nobody else owns a field" in done.stdout
    assert bootstrapper.written() == before


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "namespace": "n", "labels": {"a": "b"}},
    "data": {"password": "aHVudGVyMg=="},
}


def test_a_secrets_values_are_masked_in_both_directions():
    """A changed value says that it changes, and neither what it was nor what it becomes."""

    class Cluster:
        def try_apply(self, manifest):
            return {**manifest, "data": {"password": "bmV3", "other": "eA=="}}

    live = {**SECRET, "metadata": {**SECRET["metadata"], "labels": {"a": "c"}}}
    found = planned(Cluster(), live, SECRET)
    assert [(line.sign, line.text) for line in found.change.diff] == [
        ("-", "metadata.labels.a: c"),
        ("+", "metadata.labels.a: b"),
        ("-", f"data.password: {MASKED}"),
        ("+", f"data.password: {MASKED}"),
        ("+", f"data.other: {MASKED}"),
    ]
    assert found.change.action is Action.UPDATE
    assert str(ref_of(SECRET)) == found.change.address


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": None}, {}, ["a"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [2, 1]}}, ["a.b"]),
        ({"c": [{"name": "x", "i": 1}, {"name": "y"}]}, {"c": [{"name": "x", "i": 2}]}, ["c[x].i", "c[y]"]),
        ({"c": [{"name": "x"}, {"name": "y"}]}, {"c": [{"name": "y"}, {"name": "x"}]}, ["c"]),
        ({"c": [{"name": "x"}, {"name": "x"}]}, {"c": [{"name": "x"}]}, ["c"]),
        ({"c": []}, {"c": [{"name": "x"}]}, ["c"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
    ],
)  # fmt: skip
def test_an_exact_comparison_misses_nothing(before, after, paths):
    """Added, changed, gone and reordered parts each have their path."""
    found = exactly_compared({"metadata": {}, **before}, {"metadata": {}, **after})
    assert [one.path for one in found] == paths
