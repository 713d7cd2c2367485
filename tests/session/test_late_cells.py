"""Cells that are run hours apart: nothing green rests on what was seen, said or decided then."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb import promotion
from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError, NeedsAttention, Refused, UnavailableError
from gitops_nb.model import Result, Status
from gitops_nb.session.registers import register_end
from gitops_nb.session.verifying import verify_records
from tests.session.platform_edits import DEPLOYMENT, commit, read, settle, version, without_approval
from tests.session.test_threats import take_back

HOURS = 3 * 3600
promotion_verify = importlib.import_module("gitops_nb.promotion.verify")
FREEZE = """freeze_windows:
  - name: incident
    environments: [production]
    start: {start}
    end: {end}
"""


@pytest.fixture
def free(runner):
    """Nobody has to approve, and nothing has to soak."""
    without_approval(runner)
    return runner


class Cells:
    """The cells of the promotion notebook, run one by one."""

    def __init__(self, runner, **parameters) -> None:
        self.session = runner.open(**parameters)

    def until(self, name: str) -> None:
        """Runs all cells up to one of them."""
        for verb in (promotion.observe, promotion.plan):
            self.session.step(verb)
        if name == "plan":
            return
        self.gate()
        if name == "gate":
            return
        self.session.step(promotion.apply)
        self.session.step(promotion.verify)

    def gate(self) -> None:
        asyncio.run(self.session.gate(promotion.gates))

    def later(self, seconds: float = HOURS) -> None:
        """Time passes on the platform."""
        self.session.platform.view.clock.sleep(seconds)


def freeze(runner, hours: float) -> None:
    """Somebody stops changes of production for nine hours, from so many hours on."""
    begins = datetime.now(UTC) + timedelta(hours=hours)
    ends = begins + timedelta(hours=9)
    text = FREEZE.format(start=begins.isoformat(), end=ends.isoformat())
    runner.workspace.replace("runbooks/policy.yaml", "freeze_windows:\n", text)


def end_of(session) -> tuple[Status, str]:
    state = session.state
    session.close()
    return state.status, state.reason


def test_a_freeze_that_began_since_the_gate_lets_nothing_out(free):
    """The gate said yes, then a freeze window opened: apply asks again, and Git is as it was."""
    cells, before = Cells(free), free.tip()
    cells.until("gate")
    freeze(free, -0.1)
    with pytest.raises(Refused, match="“incident” is open until"):
        cells.session.step(promotion.apply)
    assert end_of(cells.session)[0] is Status.REFUSED
    assert free.tip() == before


def test_a_gate_judges_by_its_own_time(free):
    """Observed before a freeze, asked within it: the gate is closed, whatever was true when the cells above ran."""
    freeze(free, 2)
    cells = Cells(free)
    cells.until("plan")
    cells.later()
    with pytest.raises(Refused, match="“incident” is open until"):
        cells.gate()
    cells.session.close()


@pytest.mark.parametrize("cell", ["gate", "apply"])
def test_what_was_planned_long_ago_is_looked_at_again(free, cell):
    """Somebody promoted meanwhile: neither gate nor apply goes on with the old plan."""
    cells = Cells(free)
    cells.until("plan" if cell == "gate" else "gate")
    take_over(free)
    cells.later()
    goes_on = cells.gate if cell == "gate" else lambda: cells.session.step(promotion.apply)
    with pytest.raises(Refused, match="the plan went stale"):
        goes_on()
    cells.session.close()


def take_over(runner) -> None:
    """Somebody writes the newer version into production by hand."""
    path = DEPLOYMENT.format("production")
    text = read(runner, path)
    old, new = version(runner, "production"), version(runner, "staging")
    commit(runner, {path: text.replace(old, new)}, "By hand")


def test_an_end_speaks_of_the_time_when_it_is_said(free):
    """Verified, then reverted and synced back by hand, and hours later finished: no green end."""
    cells = Cells(free)
    cells.until("verify")
    take_back(free)
    settle(free, "production")
    cells.later()
    with pytest.raises(GitOpsError, match="does not ask for checkout"):
        cells.session.finish()
    assert end_of(cells.session)[0] is Status.FAILED


def test_nothing_to_do_is_said_of_now(free):
    """It already ran when the cells above were run, and does not any more when the run is finished."""
    assert free.promote()[1] is None
    cells = Cells(free)
    cells.until("verify")
    take_back(free)
    settle(free, "production")
    cells.later()
    with pytest.raises((Refused, NeedsAttention), match="the plan went stale"):
        cells.session.finish()
    assert end_of(cells.session)[0] is not Status.SUCCEEDED


def test_cells_that_are_run_apart_go_through(free):
    """Hours between all cells, and nobody changed anything: the promotion arrives."""
    cells = Cells(free)
    cells.until("plan")
    cells.later()
    cells.gate()
    cells.later()
    cells.session.step(promotion.apply)
    cells.later()
    cells.session.step(promotion.verify)
    cells.later()
    assert cells.session.finish().status is Status.SUCCEEDED


def test_what_ran_when_it_was_watched_is_looked_at_again(free, monkeypatch):
    """Two clusters are watched one after the other; the first runs the version before again by the time the second is done."""
    cells = Cells(free)
    cells.until("verify")
    values = cells.session._values
    plan, platform = values["plan"], cells.session.platform
    (placement,) = plan.arguments["placements"]
    twice = replace(plan, arguments={**plan.arguments, "placements": [placement, placement]})
    asked = (platform.view, cells.session.request, twice, values["applied"])
    assert promotion.verify(*asked).result is Result.DEPLOYED
    watch, watched = promotion_verify._watch, []

    def watching(*given):
        found = watch(*given)
        watched.append(found)
        if len(watched) == 2:
            folder = "apps/checkout/production"
            argo = platform.open_writers(bool, environment="production", files=frozenset()).argo
            before = platform.view.git.log("platform-config", free.tip(), path=folder, limit=2)[1]
            argo["production"].sync(
                "checkout-production", revision=before.sha, identifier="somebody"
            )
            platform.view.clock.sleep(60)
        return found

    monkeypatch.setattr(promotion_verify, "_watch", watching)
    outcome = promotion.verify(*asked)
    cells.session.close()
    assert outcome.result is not Result.DEPLOYED, outcome.title
    assert "it ran, and does not any more" in outcome.sentence


def test_the_apply_cell_run_twice_does_nothing_twice(free):
    """Shift-Enter once more on the same cell: one start, one commit, one sync, and the record holds."""
    before = free.tip()
    cells = Cells(free)
    cells.until("gate")
    first = cells.session.step(promotion.apply)
    at = free.tip()
    again = cells.session.step(promotion.apply)
    assert (again.results, free.tip()) == (first.results, at)
    assert at != before
    cells.session.step(promotion.verify)
    state = cells.session.finish()
    assert (state.status, len(cells.session._warrant.chain().starts)) == (Status.SUCCEEDED, 1)
    cells.session.close()
    checked = verify_records(find_workspace(free.workspace.root), [cells.session.directory])
    assert checked.holds


def test_an_apply_cell_run_again_after_its_start_ended_begins_anew(free):
    """The start that this process wrote is over by the register: another one is written, and nothing is done twice."""
    cells = Cells(free)
    cells.until("gate")
    first = cells.session.step(promotion.apply)
    where = find_workspace(free.workspace.root)
    register_end(where, cells.session.state, processes=LocalProcesses())
    at = free.tip()
    again = cells.session.step(promotion.apply)
    assert (again.results["commit"]["revision"], free.tip()) == (at, at)
    assert again.results == first.results
    assert len(cells.session._warrant.chain().starts) == 2
    cells.session.close()


def test_an_api_server_that_is_away_when_the_watch_begins_ends_no_run(free, monkeypatch):
    """Every look of verify is one that puts up with that for a minute; a plain reading would not."""
    cells = Cells(free)
    cells.until("gate")
    cells.session.step(promotion.apply)

    def away(*_):
        raise UnavailableError("GET /apis/argoproj.io did not end within 30 s")

    monkeypatch.setattr(ArgoCD, "snapshot", away)
    cells.session.step(promotion.verify)
    state = cells.session.finish()
    assert state.status is Status.SUCCEEDED
    cells.session.close()
