"""A run whose end nobody saw is closed as that, whatever its journal says; one that nobody began is left alone."""

from __future__ import annotations

import json
import shutil

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ExitCode
from gitops_nb.model import Status, digest, parse_time
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import Phase, find_entries
from gitops_nb.record.register import Kind
from gitops_nb.record.runs import read_run, seal
from gitops_nb.session.held import open_here, pending
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.stores import reports_store
from gitops_nb.session.verifying import verify_records
from tests.record.test_tampering import rewrite_journal
from tests.samples import few
from tests.session.test_interruptions import cut_off
from tests.session.test_threats import append, chain_of

NOWHERE = "0" * 39 + "1"


@pytest.fixture
def approved(runner):
    """A promotion that waits with a good approval."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    return waiting.run


def where(runner):
    return find_workspace(runner.workspace.root)


def signed(runner, run: str, phase: Phase) -> list:
    """The ledger's records of a run in a phase."""
    state = read_run(runner.workspace.reports / run)
    found = find_entries(
        reports_store(where(runner)), "sandbox.production", run, since=parse_time(state.started)
    )
    return [entry for entry in found if entry.phase is phase]


def verified(runner, run: str):
    """What `gitops-nb verify RUN` finds."""
    checked = verify_records(where(runner), [runner.workspace.reports / run])
    return checked, " ".join(str(problem) for problem in checked.runs[0].problems)


def claims() -> list[tuple[str, dict]]:
    """What somebody writes behind a killed run so that it looks done."""
    return [
        ("done", {"key": "commit", "result": {"revision": NOWHERE}, "adopted": False}),
        ("outcome", {"outcome": {"result": "deployed", "title": "v1.5.0 runs in production", "undo": "rm -rf /"}}),
        ("ended", {"status": "succeeded", "exit_code": 0, "reason": "v1.5.0 runs in production"}),
    ]  # fmt: skip


@pytest.mark.parametrize("how", few(["ended", "sealed", "waiting", "pending"], keep=2))
def test_an_end_that_somebody_wrote_behind_a_killed_run_is_none(
    runner,
    approved,
    monkeypatch,
    how,
):
    """Killed after its start; done, outcome and end are appended: register and ledger say that nobody saw it, and resume does it."""
    before = runner.tip()
    cut_off(runner, monkeypatch, approved, where="before")
    directory = runner.workspace.reports / approved
    said = claims()
    if how == "waiting":
        said[-1] = ("waiting", {"reason": "waiting for 1 approval"})
    append(runner, approved, *said)
    if how != "ended":
        journal = Journal.open(directory)
        seal(directory, journal)
        journal.close()
    if how == "pending":
        (runner.workspace.reports / ".pending").mkdir()
        (runner.workspace.reports / ".pending" / approved).touch()
    assert recover(where(runner)) == (approved,)
    state = read_run(directory)
    assert state.status is Status.NEEDS_ATTENTION
    assert state.exit_code == ExitCode.NEEDS_ATTENTION
    assert (state.outcome, state.witnessed) == (None, False)
    assert "rm -rf" not in str(state.aftermath)
    assert [entry.kind for entry in chain_of(runner, state).entries] == [Kind.START, Kind.CLOSED]
    (end,) = signed(runner, approved, Phase.END)
    assert (end.predicate["status"], end.predicate["witnessed"]) == ("needs_attention", False)
    assert runner.tip() == before
    checked, text = verified(runner, approved)
    assert not checked.holds
    assert NOWHERE[:8] in text
    # A new run asks anew and goes through: nothing stands in its way.
    waiting, _ = runner.promote()
    assert waiting.status is Status.WAITING
    runner.answer(waiting.run)
    done, stop = runner.promote(run=waiting.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert runner.tip() != before
    assert verified(runner, waiting.run)[0].runs[0].problems == ()


def test_an_end_that_its_process_wrote_is_signed_by_the_next_command(
    runner,
    approved,
    monkeypatch,
):
    """Killed between the seal and the signature: it is not checked by then, and then signed as seen, by this machine's note."""
    from gitops_nb.session import lifecycle

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "settle", killed)
        with pytest.raises(Killed):
            runner.promote(run=approved)
    assert pending(where(runner)) == (approved,)
    checked, _ = verified(runner, approved)
    assert not checked.is_wrong, checked
    assert not checked.holds
    assert "was interrupted or got no answer before it was signed" in checked.runs[0].unchecked[0]
    assert recover(where(runner)) == ()
    state = read_run(runner.workspace.reports / approved)
    assert (state.status, state.witnessed) == (Status.SUCCEEDED, True)
    assert [entry.kind for entry in chain_of(runner, state).entries] == [Kind.START, Kind.END]
    assert verified(runner, approved)[0].holds
    assert open_here(where(runner)) == {}


def planted(runner, run: str, *records: tuple[str, dict]) -> str:
    """A run that nobody began: a copy of another one under a new name, its chain made anew, with these records behind."""
    reports = runner.workspace.reports
    forged = run[:-4] + "f0f0"
    shutil.copytree(reports / run, reports / forged)

    def rename(rows) -> None:
        for row in rows:
            if row["kind"] == "opened":
                row["body"]["run"] = forged
        rows[:] = [row for row in rows if row["kind"] != "sealed"]

    rewrite_journal(reports / forged, rename)
    append(runner, forged, *records)
    # A lock below reports/ proves nothing.
    (reports / ".locks" / forged).write_text("{}")
    (reports / ".locks" / f"{forged}.engine").write_text("{}")
    return forged


@pytest.mark.parametrize("effects", [False, True])
def test_a_run_that_nobody_began_is_not_signed(runner, approved, effects):
    """Written from nothing, with and without effects: no end is signed for it, and verify names it; the others are closed."""
    intent = {"key": "commit", "kind": "effect", "step": "apply", "sentence": "commit"}
    said = [("intent", intent), *claims()] if effects else claims()[1:]
    forged = planted(runner, approved, *said)
    content = (runner.workspace.reports / forged / "journal.jsonl").read_bytes()
    assert recover(where(runner)) == ()
    assert (runner.workspace.reports / forged / "journal.jsonl").read_bytes() == content
    assert signed(runner, forged, Phase.END) == []
    checked, text = verified(runner, forged)
    assert checked.is_wrong
    assert "nobody began it here" in text
    done, stop = runner.promote(run=approved)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_killed_run_of_another_machine_is_closed_by_its_signed_beginning(
    runner,
    approved,
    monkeypatch,
):
    """Its machine is gone and so are its notes: what a runner signed about it lets the next one close it and go on."""
    cut_off(runner, monkeypatch, approved, where="after")
    shutil.rmtree(where(runner).own / "runs")
    assert recover(where(runner)) == (approved,)
    done, stop = runner.promote(run=approved)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert verified(runner, approved)[0].holds


@pytest.mark.parametrize(
    "place",
    [
        {"kind": "git", "at": "https://evil.example/x.git", "name": "platform-config"},
        {"kind": "git", "at": "sandbox", "name": "../../../../../tmp/evil"},
        {"kind": "bucket", "at": "gs://evil", "name": ""},
        "x",
    ],
)
def test_a_journal_does_not_choose_where_the_register_is(
    runner,
    approved,
    monkeypatch,
    place,
):
    """A register named by a journal that is not the fleet's is not asked, and the next command does not fail by it."""
    cut_off(runner, monkeypatch, approved, where="before")
    start = read_run(runner.workspace.reports / approved).begun["start"]
    append(runner, approved, ("ledger", {"phase": "start", "start": start, "register": place}))
    opened = []
    from gitops_nb.session import registers

    real = registers.open_register
    monkeypatch.setattr(
        registers, "open_register", lambda *a, **k: opened.append(a[1]) or real(*a, **k)
    )
    recover(where(runner))
    assert place not in opened
    waiting, _ = runner.promote()
    assert waiting.status is Status.WAITING


def test_a_plan_of_a_planted_run_is_no_answer(runner):
    """A run written from nothing that claims to have brought the version: a later promotion still promotes."""
    waiting, _ = runner.promote()
    effect = {"key": "commit", "kind": "effect", "step": "apply", "sentence": "commit"}
    planted(runner, waiting.run, ("intent", effect), *claims())
    runner.answer(waiting.run)
    before = runner.tip()
    done, stop = runner.promote(run=waiting.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert runner.tip() != before
    assert digest(done.plan) == done.plan_digest


@pytest.mark.parametrize(
    ("killed", "after"), [("after", "ledger"), ("after", "decision"), ("before", "ledger")]
)
def test_a_journal_cut_behind_its_start_changed_nobody_knows_what(
    runner,
    approved,
    monkeypatch,
    killed,
    after,
):
    """Killed around its push, intent and more cut from the journal: what it did is not known, until a resume finds out."""
    before = runner.tip()
    cut_off(runner, monkeypatch, approved, where=killed)
    pushed = runner.tip()
    assert (pushed != before) is (killed == "after")
    directory = runner.workspace.reports / approved
    path = directory / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    last = len(kinds) - 1 - kinds[::-1].index(after)
    assert "intent" not in kinds[: last + 1]
    path.write_bytes(b"".join(lines[: last + 1]))
    assert recover(where(runner)) == (approved,)
    state = read_run(directory)
    assert (state.status, state.unknown) == (Status.NEEDS_ATTENTION, True)
    assert "its effects had begun, and what it did is not known" in state.reason
    report = json.loads((directory / "report.json").read_bytes())
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "hanged nothing" not in json.dumps(report) + page
    assert "othing was changed" not in json.dumps(report) + page
    assert "What this run did is not known" in report["aftermath"]["asks"]
    assert "says first what there is to take back" in report["undo"]["sentence"]
    checked, _ = verified(runner, approved)
    assert not checked.holds
    assert "nobody saw how they ended" in " ".join(checked.runs[0].unchecked)
    if after == "decision":
        return  # the register's start is this process's, which lives
    done, stop = runner.promote(run=approved)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    checked, text = verified(runner, approved)
    assert checked.runs[0].unchecked == ()
    if killed == "before":
        assert checked.holds
        return
    # Its one commit names a line of the journal that somebody cut.
    assert runner.tip() == pushed
    assert pushed[:8] in text
