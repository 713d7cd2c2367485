"""Retention: what is removed leaves a tombstone, so that it is gone and not missing."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.answering import review
from gitops_nb.cli.pruning import prune_runs
from gitops_nb.model import Status, canonical, format_time, parse_time
from gitops_nb.record.findings import Code
from gitops_nb.record.journal import FILE, ZERO
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import run_directories, scan_run
from gitops_nb.session.notary import open_ledger
from gitops_nb.session.order import Order
from gitops_nb.session.pruning import old_runs, prune
from gitops_nb.session.verifying import verify_records
from tests.engine.stops import prepare
from tests.session.test_break_glass import lets_break_glass


def test_a_pruned_run_is_gone_and_a_deleted_one_is_missing(runner):
    """Verify accepts the tombstone of one run and names the other, which somebody just deleted."""
    where = find_workspace(runner.workspace.root)
    finished, _ = runner.promote(source="development", target="staging", application="catalog")
    waiting, _ = runner.promote()
    (old,) = old_runs(where, lambda _: timedelta(0)).removable
    assert old.run == finished.run
    assert old_runs(where, lambda _: timedelta(days=1)).removable == ()
    assert old_runs(where, lambda _: None).removable == ()
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
    assert f"remove   {finished.run}  succeeded" in capsys.readouterr().out
    assert [path.name for path in run_directories(where.reports)] == [waiting.run]
    assert verify_records(where, run_directories(where.reports)).holds


def test_a_review_that_is_due_keeps_its_run(runner, capsys):
    """What was done with broken glass stays until somebody else has looked at it, however old; then it may go."""
    where = find_workspace(runner.workspace.root)
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    broken, _ = runner.promote()
    prune_runs("0s", yes=True, workspace=where.root, reports=None)
    said = capsys.readouterr().out
    assert f"kept     {broken.run}  what was done with broken glass is not reviewed" in said
    assert [path.name for path in run_directories(where.reports)] == [broken.run]
    review(where, where.reports / broken.run, key=None, reason="looked", yes=True)
    (old,) = old_runs(where, lambda _: timedelta(0)).removable
    assert old.run == broken.run


def test_a_tombstone_hides_no_review_that_is_due(runner):
    """A runner's key removes a run whose broken glass nobody reviewed: verify says so, and a planted review does not help."""
    where = find_workspace(runner.workspace.root)
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    broken, _ = runner.promote()
    ledger = open_ledger(where, "sandbox.production")
    ledger.append(
        Phase.REVIEWED, run=broken.run, attempt=1, subjects={"request": "0" * 64}, body={"review": {}}
    )  # fmt: skip
    prune(where, [broken])
    (checked,) = verify_records(where, []).ledgers
    assert [one.code for one in checked.problems] == [Code.REVIEW_DUE]
    assert broken.run in checked.problems[0].text


def test_a_reviewed_run_may_go(runner):
    """Somebody else who may approve there looked at it: the tombstone holds."""
    where = find_workspace(runner.workspace.root)
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    broken, _ = runner.promote()
    review(where, where.reports / broken.run, key=None, reason="looked", yes=True)
    prune(where, [broken])
    assert verify_records(where, []).holds


def test_a_run_that_needs_attention_stays(runner):
    """What is unsettled is not forgotten: production may run something else than Git asks for."""
    where = find_workspace(runner.workspace.root)
    prepare(runner.workspace)
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        '  production: {environment: production, server: "https://production.clusters.example"}\n',
        "",
    )
    # Where nobody looks nobody can tell what a sync deletes.
    runner.workspace.replace("runbooks/policy.yaml", "{allow: false}", "{allow: true}")
    shutil.rmtree(where.sandbox)
    state, _ = runner.promote()
    assert state.status is Status.NEEDS_ATTENTION
    assert old_runs(where, lambda _: timedelta(0)).removable == ()
    ((kept, reason),) = old_runs(where, lambda _: timedelta(0)).unsettled
    assert (kept.run, reason) == (state.run, "it needs attention")
    prune(where, [state])
    said = [one.text for ledger in verify_records(where, []).ledgers for one in ledger.problems]
    assert f"a tombstone of {state.run}, which needed attention" in said


def test_dates_of_a_rewritten_journal_remove_nothing(runner):
    """When a run ended is what a runner signed: a journal whose dates were put back keeps its run, as evidence."""
    where = find_workspace(runner.workspace.root)
    finished, _ = runner.promote(source="development", target="staging", application="catalog")
    put_back(where.reports / finished.run / FILE, timedelta(days=400))
    assert parse_time(scan_run(where.reports / finished.run).ended) < datetime.now(UTC) - timedelta(
        days=399
    )
    found = old_runs(where, lambda _: timedelta(days=30))
    assert found.removable == ()
    assert [state.run for state, _ in found.unsettled] == [finished.run]
    assert "no runner signed" in found.unsettled[0][1]


def put_back(path: Path, age: timedelta) -> None:
    """All dates of a journal as if it were older, and its chain made anew."""
    prev, lines = ZERO, []
    for line in path.read_bytes().splitlines():
        value = json.loads(line)
        del value["hash"]
        value |= {"at": format_time(parse_time(value["at"]) - age), "prev": prev}
        prev = hashlib.sha256(canonical(value)).hexdigest()
        lines.append(canonical({**value, "hash": prev}))
    path.write_bytes(b"\n".join(lines) + b"\n")
