"""Commits are witnesses: what they say about a run has to be what its record says."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.audit import audit
from gitops_nb.record.commits import RunCommit, commit_findings
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import FILE
from gitops_nb.record.journal import read as read_journal
from gitops_nb.record.runs import find_run
from gitops_nb.session.verifying import verify_records
from tests.record.record_factories import make_records


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run's records, and the commit that it made."""
    records = make_records(tmp_path_factory.mktemp("records"))
    written, _ = read_journal(records.runs[2] / FILE)
    state = fold(written)
    sha = str(state.effects[0].result["revision"])
    return state, written, RunCommit(sha, "commit 1", state.run, state.plan_digest, written[5].hash)


def test_a_commit_that_says_the_same_is_no_finding(told):
    """Plan, journal and commit are the record's; commits of other runs are theirs."""
    state, written, commit = told
    other = RunCommit("f" * 40, "commit 2", "20260101T000000Z-promotion-production-ffff", "x", "y")
    assert commit_findings(state, written, (commit, other)) == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("plan", "sha256:" + "0" * 64, "contradiction"),
        ("journal", "0" * 64, "edited"),
        ("sha", "f" * 40, "contradiction"),
    ],
)
def test_a_commit_that_says_something_else_is_found(told, name, value, code):
    """Another plan than the record's, a record that it lost, or a commit that it never made."""
    state, written, commit = told
    values = {n: getattr(commit, n) for n in RunCommit.__slots__} | {name: value}
    (found,) = commit_findings(state, written, (RunCommit(**values),))
    assert found.code == code


def push(folder, url: str, *trailers: str) -> None:
    """Somebody's own commit on the configuration branch, with trailers that they wrote."""

    def git(*arguments: str) -> None:
        subprocess.run(
            ("git", "-C", str(folder), "-c", "user.name=eve", "-c", "user.email=e@x.org", *arguments),
            check=True, capture_output=True,
        )  # fmt: skip

    folder.mkdir()
    git("clone", "--quiet", url, ".")
    git("commit", "--quiet", "--allow-empty", "-m", "Mend\n\n" + "\n".join(trailers))
    git("push", "--quiet", "origin", "HEAD:main")


def test_a_commit_in_a_runs_name_is_found(runner, tmp_path):
    """Somebody pushes a change of their own and says that an approved run made it; a stranger's run is told."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    _, stop = runner.promote(run=waiting.run)
    assert stop is None
    where = find_workspace(runner.workspace.root)
    directory = find_run(where.reports, waiting.run)
    checked = verify_records(where, [directory], read=audit)
    assert checked.holds
    assert not any("does not know" in note for one in checked.ledgers for note in one.notes)
    url = str(runner.platform().fleet.repositories["platform-config"].url)
    push(tmp_path / "eve", url, f"Gitops-Nb-Run: {waiting.run}")
    (run,) = verify_records(where, [directory], read=audit).runs
    assert [p.code for p in run.problems] == ["contradiction"]
    assert "says that this run made it" in run.problems[0].text


def test_commits_of_runs_that_are_gone_are_told(runner, tmp_path):
    """Record and ledger are removed as a whole: the branch still says that there was a run."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    runner.promote(run=waiting.run)
    where = find_workspace(runner.workspace.root)
    shutil.rmtree(where.reports)
    shutil.rmtree(where.own / "keys")
    (where.own / "verified.json").unlink(missing_ok=True)
    runner.promote(application="catalog")
    (ledger,) = verify_records(where, [], read=audit).ledgers
    (note,) = [note for note in ledger.notes if "does not know" in note]
    assert waiting.run in note
