"""A bucket that has something else than this machine: `verify` reads both."""

from __future__ import annotations

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.audit import audit, audit_since_checkpoint
from gitops_nb.record.runs import find_run
from gitops_nb.session import stores
from gitops_nb.session.verifying import verify_records


@pytest.fixture
def sent(runner, tmp_path, monkeypatch):
    """A waiting run, here and in the bucket: the store, the run's folder there, and what `verify` finds."""
    store = Folder(tmp_path / "bucket")
    monkeypatch.setattr(stores, "open_store", lambda url: store)
    monkeypatch.setenv("GITOPS_NB_REPORTS", "gs://records/platform")
    waiting, _ = runner.promote()
    where = find_workspace(runner.workspace.root)
    directory = find_run(where.reports, waiting.run)

    def codes(*, read=audit) -> set[str]:
        (run,) = verify_records(where, [directory], read=read).runs
        return {str(problem.code) for problem in run.problems}

    return tmp_path / "bucket" / waiting.run, codes


def test_an_honest_bucket_is_no_finding(sent):
    """Records and files are the same."""
    _, codes = sent
    assert codes() == codes(read=audit_since_checkpoint) == set()


def _edit(path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (lambda run: _edit(run / "report.html"), "edited"),
        (lambda run: _edit(run / "evidence" / "plan.json"), "edited"),
        (lambda run: _edit(run / "journal" / "000000000000.json"), "edited"),
        (lambda run: _edit(max((run / "journal").iterdir())), "edited"),
        (lambda run: (run / "report.html").unlink(), "missing"),
        (lambda run: (run / "evidence" / "more.json").write_text("{}"), "added"),
        (lambda run: max((run / "journal").iterdir()).unlink(), "truncated"),
        (lambda run: [p.unlink() for p in run.rglob("*") if p.is_file()], "deleted-run"),
    ],
)
def test_what_was_done_to_the_bucket_is_found(sent, tamper, code):
    """Though the copy of this machine is as it was sealed."""
    folder, codes = sent
    tamper(folder)
    assert codes() == {code}


def test_names_and_the_newest_record_are_looked_at_always(sent):
    """Among many runs an edited file inside one takes `--full`; what is missing or added does not."""
    folder, codes = sent
    max((folder / "journal").iterdir()).unlink()
    assert codes(read=audit_since_checkpoint) == {"truncated"}
