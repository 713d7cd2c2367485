"""Every end says what is so, and what to do next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gitops_nb import promotion
from gitops_nb.errors import ExitCode, Refused, UsageError
from gitops_nb.model import Status
from gitops_nb.record.runs import read_run
from gitops_nb.session.guarded import FirstPush
from gitops_nb.session.order import Order
from tests.session.platform_edits import commit, settle, without_approval


def test_a_text_in_a_file_that_looks_like_a_secret_is_named_with_its_file(runner):
    """Pushed beside the edit: the refusal says in which file, and what to do; taken out again the promotion goes on."""
    path = "apps/checkout/production/extra.yaml"
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: extra, annotations: {a: %s}}\n"
    token = "ghp_" + "0123456789abcdefghij" + "ABCDEFGHIJ012345"
    commit(runner, {path: text % token})
    settle(runner, "production", syncs=False)
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert f"holds a secret: GitHub token, in platform-config:{path}" in stop.message
    assert f"Take the text out of platform-config:{path} in Git" in stop.hint
    assert token not in str(state)
    commit(runner, {path: text % "plain"})
    settle(runner, "production", syncs=False)
    state, _ = runner.promote()
    assert state.status is Status.WAITING


@pytest.mark.parametrize("is_free", [True, False])
def test_a_plan_with_something_to_do_says_what_is_next(runner, is_free):
    """`--plan` changes nothing, and does not say that there is nothing to do."""
    if is_free:
        without_approval(runner)
    runner.order = Order(plan_only=True)
    state, _ = runner.promote()
    assert state.status is Status.SUCCEEDED
    document = (runner.workspace.reports / state.run / "report.json").read_text(encoding="utf-8")
    assert "Nothing to do." not in document
    assert "Run it without `--plan`" in document
    assert ("asks for 1 approval first" in document) is not is_free


@pytest.mark.parametrize("missing", ["the gate", "the outcome"])
def test_a_notebook_that_lacks_a_cell_says_so_in_its_record(runner, missing):
    """Run from end to end by plain papermill: the record has the words of the terminal, and nothing was changed."""
    session, before = runner.open(), runner.tip()
    session.step(promotion.observe)
    session.step(promotion.plan)
    cells = {
        "the gate": (lambda: session.step(promotion.apply), "apply needs a decision"),
        "the outcome": (session.finish, "there is no outcome to finish with"),
    }
    cell, said = cells[missing]
    with pytest.raises(UsageError):
        cell()
    session.close()
    state = read_run(runner.workspace.reports / session.run)
    assert (state.status, state.exit_code) == (Status.FAILED, ExitCode.USAGE)
    assert state.reason == said
    assert runner.tip() == before


def test_a_person_who_runs_cells_out_of_order_goes_on(runner, monkeypatch):
    """In JupyterLab the missing cell is run next: the run is as it was."""
    session = runner.open()
    monkeypatch.setattr(type(session._front), "is_interactive", True)
    session.step(promotion.observe)
    session.step(promotion.plan)
    with pytest.raises(UsageError, match="apply needs a decision"):
        session.step(promotion.apply)
    assert session.state.ended == ""
    session.close()


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_runner_that_stalled_names_who_went_on(is_lost):
    """The repository witnesses a push of the run: by whoever went on with it, where somebody did; else the register was put back."""

    def confirm() -> None:
        if is_lost:
            raise Refused("another runner went on with this request")

    pushed = SimpleNamespace(witness=lambda *_: SimpleNamespace(sha="a" * 40))
    git = FirstPush(SimpleNamespace(commit=pytest.fail), pushed, confirm)
    said = "another runner went on" if is_lost else "the register knows of no start"
    with pytest.raises(Refused, match=said):
        git.commit("r", branch="main", parent="b" * 40, files={}, message="", witness="run")
