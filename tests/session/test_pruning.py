"""Retention: what is removed leaves a tombstone, so that it is gone and not missing."""

from __future__ import annotations

import shutil
from datetime import timedelta

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.findings import Code
from gitops_nb.record.runs import run_directories
from gitops_nb.session.pruning import old_runs, prune
from gitops_nb.session.verifying import verify_records


def test_a_pruned_run_is_gone_and_a_deleted_one_is_missing(runner):
    """Verify accepts the tombstone of one run and names the other, which somebody just deleted."""
    where = find_workspace(runner.workspace.root)
    finished, _ = runner.promote(source="development", target="staging", application="catalog")
    waiting, _ = runner.promote()
    (old,) = old_runs(where, timedelta(0))
    assert old.run == finished.run
    assert old_runs(where, timedelta(days=1)) == ()
    prune(where, [old])
    assert [path.name for path in run_directories(where.reports)] == [waiting.run]
    assert verify_records(where, run_directories(where.reports)).holds
    shutil.rmtree(where.reports / waiting.run)
    checked = verify_records(where, [])
    codes = {finding.code for ledger in checked.ledgers for finding in ledger.problems}
    assert codes == {Code.DELETED_RUN}
