"""A journal that somebody writes while its run goes on: another beginning or end than the run's own is not believed."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli import running
from gitops_nb.engine import Signals, closing, supervise
from gitops_nb.engine.supervise import Order as EngineOrder
from gitops_nb.errors import Refused
from gitops_nb.model import Status
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import FILE, read
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import run_directories
from gitops_nb.session import lifecycle, origins
from gitops_nb.session.order import Order
from tests.record.test_tampering import rewrite_journal
from tests.session.test_recovered import signed


def swap(monkeypatch, change) -> None:
    """Whoever may write reports/ replaces the first record the moment it appears."""
    real = lifecycle.create_run

    def create(*given):
        directory, begun = real(*given)
        rewrite_journal(directory, lambda rows: rows[0]["body"].update(change))
        return directory, begun

    monkeypatch.setattr(lifecycle, "create_run", create)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"application": "payments"}, "subject": "payments"},
        {"mode": "live"},
        {"plan_only": True},
        {"requester": {"name": "tomasz.zielinski", "kind": "person", "evidence": "", "proof": "key"}},
    ],
)  # fmt: skip
def test_a_run_begins_as_it_was_asked_for(runner, monkeypatch, change):
    """Application, mode or requester of the record are others by the time it is read: nothing is run."""
    before = runner.tip()
    with monkeypatch.context() as patched:
        swap(patched, change)
        with pytest.raises(Refused, match="does not begin as this machine began it"):
            runner.open()
    (directory,) = run_directories(runner.workspace.reports)
    where = find_workspace(runner.workspace.root)
    with pytest.raises(Refused, match="does not begin as this machine began it"):
        running._own_record(where, directory)
    assert runner.tip() == before
    done, stop = runner.promote(application="catalog")
    assert (stop, done.status) == (None, Status.SUCCEEDED), "the next run goes through"


def closed(runner, directory):
    """The run, closed by its engine."""
    where = find_workspace(runner.workspace.root)
    order = EngineOrder(
        notebook=where.notebooks / "promotion.ipynb", parameters={}, timeouts=None, mode="sandbox", requester="x", head=""
    )  # fmt: skip
    return closing.close_journal(
        where, directory, order, before=0, cause=None, death=None, document=None, written=""
    )


@pytest.mark.parametrize("status", [Status.REFUSED, Status.WAITING])
def test_an_engine_believes_the_end_that_its_run_wrote(runner, status):
    """A refused run, or one that waits, becomes a success in its journal before the engine closes it: nobody saw that."""
    if status is Status.REFUSED:
        runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 9999h")
    runner.order = Order(is_supervised=True)
    state, _ = runner.promote()
    assert state.status is status
    directory = runner.workspace.reports / state.run

    def lie(rows) -> None:
        rows[-1]["body"].update(
            reason="checkout v9 already runs in production", status="succeeded", exit_code=0
        )
        rows[-1]["kind"] = "ended"

    rewrite_journal(directory, lie)
    assert fold(read(directory / FILE)[0]).status is Status.SUCCEEDED
    told = closed(runner, directory)
    assert (told.status, told.witnessed) == (Status.FAILED, False)
    assert "does not end as its process wrote it" in told.reason
    (end,) = signed(runner, state.run, Phase.END)
    assert (end.predicate["status"], end.predicate["witnessed"]) == ("failed", False)


@pytest.mark.parametrize("status", [Status.REFUSED, Status.WAITING])
def test_what_its_run_wrote_an_engine_signs(runner, status):
    """The same run with its own journal is closed and signed as it says."""
    if status is Status.REFUSED:
        runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 9999h")
    runner.order = Order(is_supervised=True)
    state, _ = runner.promote()
    told = closed(runner, runner.workspace.reports / state.run)
    assert (told.status, told.witnessed) == (status, True)


def test_a_command_tells_its_process_what_it_saw(runner, monkeypatch, tmp_path):
    """Newest record and pin go through the pipe, read before anything of the notebook runs."""
    where = find_workspace(runner.workspace.root)
    session = runner.open()
    session.close()
    monkeypatch.setattr(origins, "FOLDER", tmp_path / "pins")
    origins.pin(where.root, "https://git.example/x", "main", "runbooks")
    order = EngineOrder(
        notebook=where.notebooks / "promotion.ipynb", parameters={}, timeouts=None, mode="sandbox", requester="x",
        head=session.state.head,
    )  # fmt: skip
    told = {}

    class Told(Exception):
        pass

    def stop(**given):
        told.update(given["told"])
        raise Told

    monkeypatch.setattr(supervise, "order_text", stop)
    ours, theirs = socket.socketpair()
    with ours, theirs, Signals() as signals, pytest.raises(Told):
        supervise.execute(
            where, session.directory, order, signals=signals, waiting=None,
            executor=SimpleNamespace(said=ours, order=None),
        )  # fmt: skip
    assert (told["run"], told["head"]) == (session.run, session.state.head)
    assert json.loads(told["pin"]) == ["https://git.example/x", "main", "runbooks"]
