"""Notes of this machine about its runs: a file that another process of this user wrote is none of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import Refused
from gitops_nb.record.journal import FILE, read
from gitops_nb.record.runs import run_directories
from gitops_nb.session import held, notary, serving
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order, obey
from tests.session.test_threats import append

RUN = "20260101T000000Z-promotion-production-0001"
OTHER = "20260101T000000Z-promotion-production-0002"


@pytest.fixture
def where(runner):
    """The workspace, whose runner has its key in a file."""
    return find_workspace(runner.workspace.root)


def note(where, run: str) -> Path:
    return where.own / "runs" / run


def test_a_note_is_this_machines(where, monkeypatch):
    """What it wrote it reads again, also in another process, until it is forgotten."""
    held.hold(where, RUN, "a" * 64)
    held.saw_end(where, RUN, "b" * 64)
    monkeypatch.setattr(held, "_BEGAN", {})
    assert held.open_here(where) == {RUN: "b" * 64}
    assert held.began_with(where, RUN) == "a" * 64
    held.forget(where, RUN)
    assert held.open_here(where) == {}


@pytest.mark.parametrize("how", ["written", "changed", "copied", "without a code"])
def test_a_note_that_somebody_else_wrote_is_none(where, monkeypatch, how):
    """Written whole, with another end or beginning, of another run, or as it was before notes had a code."""
    held.hold(where, RUN, "a" * 64)
    held.saw_end(where, RUN, "b" * 64)
    monkeypatch.setattr(held, "_BEGAN", {})
    text = note(where, RUN).read_text()
    run = OTHER if how == "copied" else RUN
    said = {
        "written": f"{'c' * 64}\n{'a' * 64}\n\n{'0' * 64}\n",
        "changed": text.replace("b" * 64, "c" * 64),
        "copied": text,
        "without a code": f"{'b' * 64}\n{'a' * 64}\n\n",
    }[how]
    note(where, RUN).unlink()
    note(where, run).write_text(said)
    assert held.open_here(where) == {}
    assert (held.began_with(where, run), held.cause_of(where, run)) == ("", "")


def test_a_note_by_another_key_is_none(where, monkeypatch):
    """Another runner of the same folder, or a notebook that made itself a key, answers for nothing of this one."""
    held.hold(where, RUN, "a" * 64)
    monkeypatch.setattr(held, "_BEGAN", {})
    (where.own / "keys" / "runner").rename(where.own / "keys" / "old")
    assert held.open_here(where) == {}


def test_a_process_remembers_what_it_began(where):
    """Whatever the file says by then: a run of a matrix has the notebooks of the others beside it."""
    held.hold(where, RUN, "a" * 64)
    note(where, RUN).write_text("\n" + "c" * 64 + "\n\n\n")
    assert held.began_with(where, RUN) == "a" * 64


def test_a_run_that_a_forged_note_names_is_not_closed(runner, where):
    """A planted run with a note beside it: nothing signs it, and nobody goes on with it."""
    waiting, _ = runner.promote()
    directory = where.reports / waiting.run
    append(runner, waiting.run, ("ended", {"status": "succeeded", "exit_code": 0, "reason": "x"}))
    head = read(directory / FILE)[0][-1].hash
    note(where, waiting.run).write_text(f"{head}\n\n\n{'0' * 64}\n")
    recover(where)
    state = read(directory / FILE)[0]
    assert [r.body.get("witnessed") for r in state if r.kind == "ended"] in ([None, False], [None])
    assert held.open_here(where) == {}


def test_a_journal_that_was_written_since_its_command_saw_it_is_not_opened(runner, where):
    """Another first attempt with a request, or less than there was: neither is gone on with; the true one is."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    head = waiting.head
    path = where.reports / waiting.run / FILE
    true = path.read_bytes()
    before = runner.tip()
    runner.order = Order(head=head)
    append(runner, waiting.run, ("attempt", {"number": 2, "front": "papermill"}))
    with pytest.raises(Refused, match="is not what its command saw"):
        runner.open(run=waiting.run)
    path.write_bytes(b"".join(true.splitlines(keepends=True)[:-2]))
    with pytest.raises(Refused, match="is not what its command saw"):
        runner.open(run=waiting.run)
    assert runner.tip() == before
    path.write_bytes(true)
    done, stop = runner.promote(run=waiting.run)
    assert (stop, str(done.status)) == (None, "succeeded")


@pytest.fixture
def ask(runner, where):
    """Asks the engine of a new run, as its notebook's process does; the journal is the one that the engine saw, or not."""
    session = runner.open()
    directory, head = session.directory, session.state.head
    session.close()
    with tempfile.TemporaryDirectory() as short:

        def put(question, *, head=head, is_author=True):
            with serving.notary(
                where, directory, Path(short), head=head, is_author=is_author
            ) as address:
                try:
                    return notary._ask_engine(str(address), question)
                finally:
                    address.unlink()

        yield put


def test_an_engine_notes_the_end_of_a_run_that_its_notebook_writes(runner, where, ask):
    """Where nobody has to approve; where another process writes the journal the notebook has no word in it."""
    (directory,) = run_directories(where.reports)
    with pytest.raises(Refused, match="does not write the record"):
        ask({"ask": "stopped", "head": "a" * 64}, is_author=False)
    assert held.open_here(where)[directory.name] == ""
    ask({"ask": "stopped", "head": "a" * 64})
    assert held.open_here(where)[directory.name] == "a" * 64


@pytest.mark.parametrize("question", [{"ask": "start"}, {"ask": "identity", "request": {}}])
def test_an_engine_signs_nothing_of_another_beginning(ask, question):
    """A journal that does not go on from what the command saw is not asked what it says."""
    with pytest.raises(Refused, match="does not go on from what its command saw"):
        ask(question, head="b" * 64)


def test_a_notebook_whose_verbs_are_called_elsewhere_begins_nothing(ask):
    """Its engine signs no start on its word."""
    with pytest.raises(Refused, match="brings about no effects"):
        ask({"ask": "start"}, is_author=False)


def test_a_notebooks_process_writes_no_note(runner, where, monkeypatch):
    """Behind an engine it has no key; a note of its own would be none, and it makes no key for one."""
    asked = []
    monkeypatch.setattr(notary, "_ask_engine", lambda _, question: asked.append(question) or {})
    obey(Order(notary="/nowhere"))
    try:
        notary.note_open(where, RUN, "a" * 64)
        notary.note_stop(where, RUN, "b" * 64)
    finally:
        obey(Order())
    assert held.open_here(where) == {}
    assert asked == [{"ask": "stopped", "head": "b" * 64}]
