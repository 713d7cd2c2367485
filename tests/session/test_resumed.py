"""Resuming: only the same run goes on, and one that may not leaves everything as it was."""

from __future__ import annotations

import json

import pytest

from gitops_nb import promotion
from gitops_nb.errors import Refused
from gitops_nb.model import Status
from gitops_nb.record.runs import is_held
from gitops_nb.session import lifecycle


@pytest.fixture
def approved(runner):
    """A promotion that waits with a good approval."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    return waiting.run


def change_notebook(runner, edit) -> None:
    """Edits the runbook's notebook as a person would."""
    path = runner.workspace.root / "notebooks" / "promotion.ipynb"
    notebook = json.loads(path.read_bytes())
    edit([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
    path.write_text(json.dumps(notebook), encoding="utf-8")


def add_code(cells) -> None:
    """One more line in the last cell."""
    cells[-1]["source"] = [*cells[-1]["source"], "\nprint('more')"]


@pytest.mark.parametrize("what", ["the notebook", "the package", "a parameter"])
def test_a_changed_run_is_not_resumed(runner, approved, monkeypatch, what):
    """Another notebook, package or parameter is another undertaking: refused, the record as it was, the run free."""
    journal = runner.workspace.reports / approved / "journal.jsonl"
    before, tip, parameters = journal.read_bytes(), runner.tip(), {}
    match what:
        case "the notebook":
            change_notebook(runner, add_code)
        case "the package":
            monkeypatch.setattr(lifecycle, "__version__", "9.9.9")
            monkeypatch.setattr(
                lifecycle, "runbook_of", lambda catalog, name: catalog.runbooks[name]
            )
            monkeypatch.setattr("gitops_nb.session.opening.runbook_of", lifecycle.runbook_of)
        case _:
            parameters = {"stable_for": "1s"}
    with pytest.raises(Refused, match=f"^{what} changed since {approved} began\n"):
        runner.open(approved, **parameters)
    assert journal.read_bytes() == before
    assert runner.tip() == tip


def test_a_refused_attempt_lets_go_of_the_run(runner, approved):
    """A kernel keeps its last traceback: the lock must not be kept with it."""
    with pytest.raises(Refused) as refusal:
        runner.open(approved, stable_for="1s")
    assert refusal.traceback
    assert not is_held(runner.workspace.reports, approved)
    done, stop = runner.promote(run=approved)
    assert stop is None
    assert done.outcome["result"] == "deployed"


def test_what_is_no_code_may_change(runner, approved):
    """Outputs that JupyterLab saved and values in the cell tagged ``parameters`` are not what the run does."""

    def edit(cells) -> None:
        cells[0]["source"] = ['application = "something else"']
        cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "old"}]

    change_notebook(runner, edit)
    done, stop = runner.promote(run=approved)
    assert stop is None
    assert done.outcome["result"] == "deployed"


def test_a_cell_run_again_leaves_what_is_done_as_it_is(runner):
    """After a success every cell says that the run has ended; journal and status stay, and nothing is begun."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    session = runner.open()
    state, stop = runner.go_through(session)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    journal = runner.workspace.reports / state.run / "journal.jsonl"
    before, tip = journal.read_bytes(), runner.tip()
    for again in (
        lambda: session.step(promotion.observe),
        lambda: session.step(promotion.plan),
        lambda: session.step(promotion.apply),
        session.finish,
    ):
        with pytest.raises(Refused, match="has ended: succeeded"):
            again()
    assert (journal.read_bytes(), runner.tip()) == (before, tip)
    assert runner.workspace.run("verify", state.run).returncode == 0
