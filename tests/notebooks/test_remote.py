"""A run whose notebook starts the executor itself, as in JupyterLab and behind plain papermill: nothing decides but a person."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import Mode, Status
from gitops_nb.notebook import remote
from gitops_nb.promotion import gates, observe, plan
from gitops_nb.record.runs import run_directories
from gitops_nb.session import order
from gitops_nb.session.opening import Headless
from gitops_nb.session.order import Order
from tests.session.test_break_glass import lets_break_glass


@pytest.fixture(autouse=True)
def _no_order(monkeypatch):
    """What a notebook makes of its own process's order is gone with the test."""
    monkeypatch.setattr(order, "_GIVEN", [])


def opened(workspace, application: str = "checkout") -> remote.RemoteSession:
    """Opens a promotion by an executor of this process."""
    where = find_workspace(workspace.root)
    asked = {"application": application, "stable_for": "0s"}
    return remote.open_remote(where, Mode.SANDBOX, "promotion", asked, front=Headless())


def promote(workspace) -> remote.RemoteSession:
    """Opens a promotion and asks its gates."""
    session = opened(workspace)
    try:
        session.step(observe)
        session.step(plan)
        with pytest.raises(WaitingForApproval):
            asyncio.run(session.gate(gates))
    finally:
        session.close()
    return session


def test_a_notebook_breaks_no_glass_in_the_name_of_who_runs_it(workspace):
    """One line of a notebook names a reason; the run waits for an approval like any other, and its request says nothing of it."""
    lets_break_glass(workspace)
    order.obey(Order(break_glass="the notebook says so", again=True))
    state = promote(workspace).state
    assert not state.request["break_glass"]
    assert (state.status, state.effects) == (Status.WAITING, ())


def test_behind_a_command_without_an_executor_nothing_begins(workspace):
    """The command knew of nobody who has to approve: a process of the notebook's own would sign with a key of its own."""
    order.obey(Order(is_supervised=True))
    with pytest.raises(Refused, match="was told of one that needs none"):
        promote(workspace)
    assert list(run_directories(workspace.reports)) == []


def test_a_notebook_chooses_no_run_to_go_on_with(workspace):
    """Which run goes on is said to a command; a notebook opens a new one."""
    first = promote(workspace)
    order.obey(Order(run=first.run))
    other = opened(workspace, "payments")
    other.close()
    assert other.run != first.run


def test_an_executor_of_a_notebook_is_told_where_it_works_alone(workspace):
    """Every field of its order but workspace, reports and mode is that of a process that got none."""
    where = find_workspace(workspace.root)
    told = asdict(remote._order_of_nobody(where, Mode.SANDBOX))
    changed = {name for name, value in asdict(Order()).items() if told[name] != value}
    assert changed == {"workspace", "reports", "mode"}
