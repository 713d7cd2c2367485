"""``last`` among several runs that wait."""

from __future__ import annotations

from gitops_nb.record.runs import run_ids
from tests.session.test_promotion import earlier_version


def test_last_passes_over_a_run_that_this_person_has_answered(runner):
    """Of two runs that wait the older one is approved next, once the newer one has this person's answer."""
    workspace = runner.workspace
    first, _ = runner.promote()
    second, _ = runner.promote(application="catalog", revision=earlier_version(runner, "catalog"))
    assert (first.status, second.status) == ("waiting", "waiting")
    for run in run_ids(workspace.reports):
        done = workspace.run("approve", "last", "--yes")
        assert f"{run}/approvals/" in done.stdout, done.stdout + done.stderr
