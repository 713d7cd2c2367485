"""A run that had nothing to do is only looked at again, and one that nobody can look at is over."""

from __future__ import annotations

import json
import shutil

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.choosing import to_resume
from gitops_nb.errors import NeedsAttention, Refused
from gitops_nb.model import Status
from gitops_nb.report.story import tell
from tests.session.platform_edits import without_approval
from tests.session.test_threats import take_back


@pytest.fixture
def unwatched(runner):
    """Production has no cluster in fleet.yaml, and whatever is deleted there may be."""
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        '  production: {environment: production, server: "https://production.clusters.example"}\n',
        "",
    )
    runner.workspace.replace("runbooks/policy.yaml", "{allow: false}", "{allow: true}")
    shutil.rmtree(runner.workspace.root / ".gitops-nb/sandbox")
    return runner


def rows(runner) -> dict[str, dict]:
    listed = json.loads(runner.workspace.run("list", "runs", "--json").stdout)
    return {row["run"]: row for row in listed}


def test_a_revert_is_not_undone_by_who_only_looked(unwatched):
    """Committed, asked for again (nothing to do), reverted by a person, and the second run resumed: the revert stands."""
    without_approval(unwatched)
    unwatched.promote()
    second, _ = unwatched.promote()
    assert second.decision["answer"] == "nothing to do"
    take_back(unwatched)
    reverted = unwatched.tip()
    again, stop = unwatched.promote(run=second.run)
    assert isinstance(stop, Refused), stop
    assert (
        f"there was nothing to do when {second.run} asked, and there would be now" in stop.message
    )
    assert "Run the promotion again if that is to be done" in stop.hint
    assert (again.status, again.effects, again.request) == (Status.REFUSED, (), None)
    assert unwatched.tip() == reverted
    # Said by a person, it is another undertaking, and is carried out.
    done, _ = unwatched.promote()
    assert [effect.key for effect in done.touched] == ["commit"]


def test_nobody_is_asked_about_what_was_nothing(unwatched):
    """Where somebody has to approve, the resumed run makes no request: nothing waits, and nothing keeps others out."""
    unwatched.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    first, _ = unwatched.promote()
    unwatched.answer(first.run)
    unwatched.promote(run=first.run)
    second, _ = unwatched.promote()
    assert second.decision["answer"] == "nothing to do"
    take_back(unwatched)
    again, stop = unwatched.promote(run=second.run)
    assert isinstance(stop, Refused), stop
    assert (again.status, again.request) == (Status.REFUSED, None)
    third, _ = unwatched.promote()
    assert third.status is Status.WAITING


def test_a_look_again_may_still_end_it(unwatched):
    """Nothing changed meanwhile: the same run looks once more, and says the same; that is no refusal."""
    without_approval(unwatched)
    unwatched.promote()
    second, _ = unwatched.promote()
    again, stop = unwatched.promote(run=second.run)
    assert isinstance(stop, NeedsAttention)
    assert (again.decision["answer"], again.effects) == ("nothing to do", ())


def test_what_nobody_watches_is_over(unwatched):
    """Neither a run that committed nor one that had nothing to do is offered to be resumed, on top of the list, or open in the index."""
    without_approval(unwatched)
    held = unwatched.open(application="catalog")
    first, stop = unwatched.promote()
    second, _ = unwatched.promote()
    assert isinstance(stop, NeedsAttention)
    assert "Name a cluster of production in fleet.yaml" in stop.hint
    assert "resume" not in stop.hint
    where = find_workspace(unwatched.workspace.root)
    for state in (first, second):
        assert state.is_unwatched
        assert not to_resume(where)(state)
        assert state.command == tell(state).command == ""
        assert rows(unwatched)[state.run]["command"] == ""
    text = (where.reports / "index.html").read_text(encoding="utf-8")
    assert "need attention" not in text
    assert "1 not ended" in text
    assert next(iter(rows(unwatched))) == held.run
    held.close()
