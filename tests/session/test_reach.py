"""A run is held against the fleet of its policy: whose files and clusters it changes decides whose rules counted."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status
from gitops_nb.record.fold import EffectState
from gitops_nb.session.counting import Trusts
from gitops_nb.session.reach import owners_of, reach_findings
from gitops_nb.session.verifying import verify_records

observing = importlib.import_module("gitops_nb.promotion.observe")
GATE = "staging: {auto_deploy: true"


def verified(runner, run: str) -> list[str]:
    where = find_workspace(runner.workspace.root)
    (checked,) = verify_records(where, [where.reports / run]).runs
    return [*map(str, checked.problems), *checked.unchecked]


def fleet_of(runner) -> Fleet:
    return load_catalog(find_workspace(runner.workspace.root).runbooks).fleet


def test_a_change_of_production_is_no_run_of_a_playground(runner, monkeypatch):
    """A runner of an environment that nobody approves writes that name over a change of production: verify names production."""
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        GATE,
        f"playground: {{auto_deploy: true, approval_required: false}}\n  {GATE}",
    )
    runner.workspace.replace(
        "runbooks/fleet.yaml", "development: [staging]", "development: [staging, playground]"
    )
    runner.workspace.replace(
        "runbooks/policy.yaml", "environments:\n",
        "environments:\n  playground:\n    gates: {destructive_change: {allow: true}}\n",
    )  # fmt: skip
    # The sandbox was built for the fleet as it was.
    shutil.rmtree(runner.workspace.root / ".gitops-nb" / "sandbox")
    real = Fleet.path
    with monkeypatch.context() as patched:
        patched.setattr(
            Fleet, "path", lambda self, one, there: real(self, one, "production" if there == "playground" else there)
        )  # fmt: skip
        patched.setattr(observing, "refuse_shared", lambda *_: None)
        patched.setattr(observing, "refuse_readers", lambda *_: ())
        state, stop = runner.promote(source="development", target="playground")
    assert [effect.key for effect in state.effects] == ["commit"], stop
    (found,) = [text for text in verified(runner, state.run) if "recorded as a run of" in text]
    assert "recorded as a run of playground" in found
    assert "apps/checkout/production/deployment.yaml is a file of production" in found


@pytest.fixture
def done(runner):
    """A promotion to production that nobody had to approve."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    state, stop = runner.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    return state


def test_a_run_of_its_own_environment_holds(runner, done):
    """Beside it: files, cluster and Application of the environment that is recorded."""
    assert verified(runner, done.run) == []


def test_each_part_of_a_plan_has_its_environment(runner, done):
    """The same run recorded as another environment's: file, cluster, Application and the plan's own word are findings each."""
    fleet = fleet_of(runner)
    other = replace(done, opened={**done.opened, "environment": "staging"})
    said = " ".join(str(one) for one in reach_findings(other, fleet, source="fleet.yaml"))
    assert "its plan is one for production" in said
    assert "deployment.yaml is a file of production" in said
    assert "cluster production is one of production" in said
    assert "Application checkout-production is one of production" in said
    assert reach_findings(done, fleet, source="fleet.yaml") == []


def test_an_effect_on_another_environments_cluster_is_found(runner, done):
    """The plan says nothing of it, and the record's own effects do."""
    strange = EffectState("sync staging", "effect", "apply", "", done.started)
    found = reach_findings(
        replace(done, effects=(*done.effects, strange)), fleet_of(runner), source="fleet.yaml"
    )
    assert "cluster staging is one of staging" in str(found)


def test_the_fleet_of_the_policy_commit_counts(runner, done):
    """In live mode it is read where the request says; where that is no commit of the branch, others say so."""
    trusts = Trusts(
        find_workspace(runner.workspace.root),
        load_catalog(find_workspace(runner.workspace.root).runbooks),
    )
    asked: list[str] = []

    def fleet_at(commit: str):
        asked.append(commit)
        return (
            (fleet_of(runner), f"fleet.yaml of commit {commit}") if commit == "c1" else (None, "")
        )

    trusts.live = SimpleNamespace(fleet_at=fleet_at)
    live = {**done.opened, "mode": "live", "environment": "staging"}
    request = {**(done.request or {}), "policy": {"commit": "c1"}}
    assert "fleet.yaml of commit c1" in str(
        trusts.reach(replace(done, opened=live, request=request))
    )
    gone = {**request, "policy": {"commit": "c2"}}
    assert trusts.reach(replace(done, opened=live, request=gone)) == []
    assert asked == ["c1", "c2"]


def test_of_folders_inside_each_other_the_innermost_counts(runner):
    """An environment whose folder holds another one's does not own what lies there."""
    fleet = fleet_of(runner)
    held = fleet.applications["checkout"].model_copy(
        update={"paths": {"staging": "apps", "production": "apps/checkout"}}
    )
    nested = fleet.model_copy(update={"applications": {"checkout": held}})
    assert owners_of(nested, held.repository, "apps/checkout/x.yaml") == {"production"}
    assert owners_of(nested, held.repository, "apps/other.yaml") == {"staging"}
    assert owners_of(nested, held.repository, "elsewhere.yaml") == frozenset()
    assert owners_of(nested, "another", "apps/other.yaml") == frozenset()
