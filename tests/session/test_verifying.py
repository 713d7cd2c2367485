"""What `gitops-nb verify` reads, and what it says about what it did not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.checking import verify_runs
from gitops_nb.errors import ExitCode, WaitingForApproval
from gitops_nb.record.audit import audit, audit_since_checkpoint
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Ledger, Phase, slot
from gitops_nb.session import verifying
from gitops_nb.session.stores import reports_store
from gitops_nb.session.verifying import Checked, verify_records
from tests.session.platform_edits import without_approval

NAME = "sandbox.production"


class NextYear(datetime):
    """The wall clock, some months later."""

    @classmethod
    def now(cls, tz=None):
        return datetime(datetime.now(UTC).year + 1, 2, 1, tzinfo=tz)


@pytest.fixture
def last_years(runner, monkeypatch):
    """A run of last year, and a ledger that went on behind a checkpoint."""
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    where = find_workspace(runner.workspace.root)
    for now in (*[datetime.now] * 6, NextYear.now):
        ledger = Ledger(
            reports_store(where), NAME, open_runner_key(where.root), now=partial(now, UTC)
        )
        ledger.append(Phase.PRUNED, run="", attempt=0, subjects={"x": "0" * 64}, body={})
    monkeypatch.setattr(verifying, "datetime", NextYear)
    return where, where.reports / waiting.run


@pytest.mark.parametrize("read", [audit, audit_since_checkpoint])
def test_the_report_says_what_stands_by_the_checkpoint(last_years, read):
    """The records before it and the run that they are about are named as not compared; a full reading names none."""
    where, directory = last_years
    checked = verify_records(where, [directory], read=read)
    (ledger,), (run,) = checked.ledgers, checked.runs
    assert ledger.problems == ()
    assert run.problems == ()
    assert ledger.records == 9
    told = any(
        "record" in note and "stand by the signed checkpoint" in note for note in ledger.notes
    )
    left_out = any("began before the ledger's checkpoint" in note for note in run.notes)
    assert told == left_out == (read is audit_since_checkpoint)


def test_only_the_full_reading_finds_what_was_edited_before_it(last_years):
    """That is the price, and `--full` pays it."""
    where, directory = last_years
    store = reports_store(where)
    content = store.read(slot(NAME, 1))
    store.replace(slot(NAME, 1), content.replace(b'"sig":"', b'"sig":"A', 1))
    assert verify_records(where, [directory], read=audit_since_checkpoint).holds
    assert not verify_records(where, [directory], read=audit).holds


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (None, {}, (audit_since_checkpoint, False)),
        (None, {"full": True}, (audit, False)),
        (None, {"online": True}, (audit_since_checkpoint, True)),
        ("20200101T000000Z-promotion-production-0001", {}, (audit, False)),
        ("99990101T000000Z-promotion-production-0001", {}, (audit_since_checkpoint, False)),
    ],
)
def test_what_the_command_reads(workspace, monkeypatch, name, options, expected):
    """From the checkpoint on, unless it is asked for all of it, or for a run of an earlier year."""
    seen: dict[str, object] = {}

    def record(where, directories, **given) -> Checked:
        seen.update(given)
        return Checked((), ())

    monkeypatch.setattr(verifying, "verify_records", record)
    monkeypatch.setattr("gitops_nb.cli.checking.find_run", lambda _, run: Path(run))
    monkeypatch.setattr("gitops_nb.cli.checking.run_directories", lambda _: [Path("x")])
    chosen = {"full": False, "online": False, **options}
    code = verify_runs(name, as_json=True, workspace=workspace.root, reports=None, **chosen)
    assert code == 0
    assert (seen["read"], seen["recheck"] is not None) == expected


@pytest.fixture
def done(runner):
    """A promotion to production that succeeded, and a run of another environment."""
    without_approval(runner)
    state, stop = runner.promote()
    assert stop is None
    where = find_workspace(runner.workspace.root)
    Ledger(reports_store(where), "sandbox.development", open_runner_key(where.root)).append(
        Phase.PRUNED, run="", attempt=0, subjects={"x": "0" * 64}, body={}
    )
    return where, where.reports / state.run


def removed(where, directory) -> None:
    """Somebody removes the run, its ledger, and what this machine saw of both."""
    shutil.rmtree(directory)
    shutil.rmtree(where.reports / "ledger" / NAME)
    (where.root / ".gitops-nb/verified.json").unlink(missing_ok=True)


def checked_by_command(where, capsys) -> tuple[int, str]:
    """Exit code and words of `gitops-nb verify`."""
    code = verify_runs(
        None, as_json=False, full=False, online=False, workspace=where.root, reports=None
    )
    return code, capsys.readouterr().out


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_repository_that_does_not_answer_vouches_for_no_ledger(done, capsys, is_removed):
    """A ledger cut with its runs, or removed with them, fits itself: where commits were not read, that was not checked."""
    where, directory = done
    if is_removed:
        removed(where, directory)
    bare = where.root / ".gitops-nb/sandbox/git/platform-config.git"
    bare.rename(bare.with_name("away.git"))
    code, said = checked_by_command(where, capsys)
    assert code == ExitCode.UNAVAILABLE
    assert "unchecked ledger sandbox.production" in said
    assert "not checked: " in said
    assert ("ledger sandbox.production  0 records" in said) is is_removed
    assert "whether there was such a ledger" in said  # staging has none
    bare.with_name("away.git").rename(bare)
    code, said = checked_by_command(where, capsys)
    assert code == (ExitCode.FAILED if is_removed else ExitCode.SUCCEEDED)
    assert ("there is no such ledger" in said) is is_removed


def test_a_removed_ledger_is_missed_where_the_file_names_no_mode(done, capsys):
    """The option names it for each command: both modes are looked at, and what of them cannot be read is not checked."""
    where, directory = done
    removed(where, directory)
    settings = where.root / "gitops-nb.yaml"
    settings.write_text(
        "\n".join(
            line for line in settings.read_text().splitlines() if not line.startswith("mode:")
        )
    )
    code, said = checked_by_command(find_workspace(where.root), capsys)
    assert code == ExitCode.FAILED
    assert "MISMATCH  ledger sandbox.production" in said
    assert "unchecked ledger production" in said
