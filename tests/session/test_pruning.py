"""Retention: what is removed leaves a tombstone, so that it is gone and not missing."""

from __future__ import annotations

import shutil
from datetime import timedelta

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.pruning import prune_runs
from gitops_nb.record.findings import Code
from gitops_nb.record.runs import run_directories
from gitops_nb.session.pruning import old_runs, prune
from gitops_nb.session.verifying import verify_records


def test_a_pruned_run_is_gone_and_a_deleted_one_is_missing(runner):
    """Verify accepts the tombstone of one run and names the other, which somebody just deleted."""
    where = find_workspace(runner.workspace.root)
    finished, _ = runner.promote(source="development", target="staging", application="catalog")
    waiting, _ = runner.promote()
    (old,) = old_runs(where, lambda _: timedelta(0))
    assert old.run == finished.run
    assert old_runs(where, lambda _: timedelta(days=1)) == ()
    assert old_runs(where, lambda _: None) == ()
    prune(where, [old])
    assert [path.name for path in run_directories(where.reports)] == [waiting.run]
    assert verify_records(where, run_directories(where.reports)).holds
    shutil.rmtree(where.reports / waiting.run)
    checked = verify_records(where, [])
    codes = {finding.code for ledger in checked.ledgers for finding in ledger.problems}
    assert codes == {Code.DELETED_RUN}


def test_retention_is_each_environments_own(runner, capsys):
    """Without an age runs go by fleet.yaml: staging's is over, production's is not; nothing goes unasked."""
    where = find_workspace(runner.workspace.root)
    finished, _ = runner.promote(source="development", target="staging", application="catalog")
    waiting, _ = runner.promote()
    prune_runs(None, yes=True, workspace=where.root, reports=None)
    assert "no run is older than the retention" in capsys.readouterr().out
    runner.workspace.replace("runbooks/fleet.yaml", "retention: 30d", "retention: 0s")
    prune_runs(None, yes=True, workspace=where.root, reports=None)
    assert f"1 run, {finished.run}" in capsys.readouterr().out
    assert [path.name for path in run_directories(where.reports)] == [waiting.run]
    assert verify_records(where, run_directories(where.reports)).holds
