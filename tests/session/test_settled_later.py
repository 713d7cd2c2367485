"""A run that failed, and a later one of the same subject that went on: the older one is nobody's `last`, and offers no way back."""

from __future__ import annotations

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.choosing import to_resume
from gitops_nb.errors import UsageError
from gitops_nb.model import Status
from gitops_nb.record.runs import find_run, read_run
from gitops_nb.report.story import tell
from gitops_nb.session.earlier import is_settled, replaced_by
from gitops_nb.session.order import Order
from tests.session.platform_edits import commit, images, read, settle, version, without_approval

SOURCE = "apps/checkout/staging/deployment.yaml"


def set_source(runner, tag: str) -> None:
    text = read(runner, SOURCE)
    commit(runner, {SOURCE: text.replace(f":{version(runner, 'staging')}", f":{tag}")})
    settle(runner, "staging")


@pytest.fixture
def failed(runner):
    """A promotion of a version that crashes; returns the runner and the run."""
    without_approval(runner)
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    set_source(runner, "v2.34.0-crash")
    state, _ = runner.promote(patience="1s")
    assert state.status is Status.FAILED
    return runner, state


def last(runner) -> str:
    where = find_workspace(runner.workspace.root)
    return find_run(where.reports, "last", to_resume(where), wanted="can be resumed").name


def test_a_failed_run_is_gone_on_with_until_another_one_did(failed):
    """It is `last` as long as nothing came after it; a plan that nobody carried out, or one of another subject, is nothing."""
    runner, first = failed
    assert last(runner) == first.run
    runner.order = Order(plan_only=True)
    set_source(runner, "v2.35.0")
    runner.promote()
    runner.order = Order()
    runner.promote(application="catalog")
    assert last(runner) == first.run
    later, stop = runner.promote()
    assert stop is None
    state = read_run(runner.workspace.reports / first.run)
    assert replaced_by(runner.workspace.reports, state).run == later.run
    assert replaced_by(runner.workspace.reports, later) is None
    with pytest.raises(UsageError, match="can be resumed"):
        last(runner)


def test_its_end_names_the_later_run_and_no_way_back(failed):
    """Resumed by its id: what is there is the later run's, and no command would take production back from it."""
    runner, first = failed
    assert "-p revision=" in first.aftermath["command"]
    assert "later" not in first.aftermath or not first.aftermath["later"]
    set_source(runner, "v2.35.0")
    later, stop = runner.promote()
    assert stop is None
    tip = runner.tip()
    again, stop = runner.promote(run=first.run, patience="1s")
    assert stop is not None
    said = again.aftermath
    print(
        [(e.key, e.started, e.ended, e.kind) for e in again.effects],
        [(e.key, e.started, e.ended, e.kind) for e in later.effects],
        stop,
    )
    assert said["later"] == later.run
    assert f"What {later.run} brought" in said["asks"]
    assert "v2.34.0-crash" not in said["by_itself"]
    assert said["command"] == ""
    told = tell(again)
    assert told.undo == ""
    assert "revision=" not in told.command
    # What the earlier attempt saw is not told as if it were seen now.
    assert "CrashLoopBackOff" not in f"{told.title} {told.sentence}"
    assert again.outcome is None
    assert runner.tip() == tip
    assert images(runner, "production") == {"checkout:v2.35.0"}


def test_a_later_look_that_found_nothing_to_do_settles_it(failed):
    """Somebody mended it by hand, and a later run found that all is there: the failed one is nobody's `last`."""
    runner, first = failed
    path = SOURCE.replace("staging", "production")
    set_source(runner, "v2.35.0")
    text = read(runner, path)
    commit(runner, {path: text.replace(f":{version(runner, 'production')}", ":v2.35.0")})
    settle(runner, "production")
    done, stop = runner.promote()
    assert (stop, done.status, done.effects) == (None, Status.SUCCEEDED, ())
    state = read_run(runner.workspace.reports / first.run)
    assert is_settled(runner.workspace.reports, state)
    assert replaced_by(runner.workspace.reports, state) is None
