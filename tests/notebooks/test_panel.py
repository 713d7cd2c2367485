"""The approval panel, and waiting for an answer."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from gitops_nb.errors import UsageError
from gitops_nb.model import Answer
from gitops_nb.notebook import panel as panels
from gitops_nb.notebook import place
from gitops_nb.notebook.panel import Panel, SecondPerson, wait_for_decision
from gitops_nb.notebook.place import is_interactive
from gitops_nb.report import story
from tests.report.run_factories import NOW, SCENARIOS, ZONE
from tests.report.test_run_report import Page


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(panels, "POLL_S", 0)


def waiting_run(mode: str = "sandbox"):
    state = SCENARIOS["waiting"]().state()
    return replace(state, opened={**state.opened, "mode": mode})


def decided(answer: Answer = Answer.ALLOWED):
    decision = story.parts(SCENARIOS["succeeded"]().state()).decision
    return replace(decision, answer=answer, reasons=("approved by tomas-b",))


class Clicks:
    """Remembers what the second person was made to do."""

    def __init__(self):
        self.done: list[str] = []
        self.shown = ""

    def person(self) -> SecondPerson:
        return SecondPerson("sandbox-tomas", self.approve, self.reject)

    def approve(self, shown) -> None:
        self.done.append("approve")
        self.shown = shown.request_digest

    def reject(self, shown, reason: str) -> None:
        self.done.append(reason)
        self.shown = shown.request_digest


def make(mode: str = "sandbox", person: SecondPerson | None = None, now=lambda: NOW) -> Panel:
    panel = Panel(
        waiting_run(mode), zone=ZONE, second_person=person, place=lambda html, _: None, now=now
    )
    panel.show()
    return panel


def buttons(panel: Panel):
    approve, rejection = panel._controls
    return [approve, rejection.children[1]]


def reason_field(panel: Panel):
    return panel._controls[1].children[0]


async def waited(panel: Panel, poll, timeout_s: float):
    """A wait that does not end fails the test instead of holding it."""
    async with asyncio.timeout(5):
        return await wait_for_decision(panel, poll, timeout_s)


def text(panel: Panel) -> str:
    return Page(panel._drawn).text


def test_panel_shows_what_a_person_decides_on():
    """The panel shows requester, environment, diff, gates, digest and expiry."""
    shown = text(make())
    run = waiting_run()
    for wanted in ("priya-k", "production", "v2.30.4", "v2.31.1", "soak", "14:14:21", "SANDBOX"):
        assert wanted in shown
    assert run.request_digest[7:11] in shown


def test_sandbox_buttons_name_the_second_person():
    """In the sandbox both buttons say as whom they act."""
    labels = [b.description for b in buttons(make(person=Clicks().person()))]
    assert labels == [
        "approve as sandbox-tomas (second person of the sandbox)",
        "reject as sandbox-tomas (second person of the sandbox)",
    ]


def test_live_buttons_are_for_a_key_that_asks():
    """An approver in front signs with a key that asks for each use; the panel says that it will."""
    clicks = Clicks()
    person = replace(clicks.person(), name="tomas", asks_each_time=True)
    panel = make("live", person)
    assert [b.description for b in buttons(panel)] == [
        "approve as tomas (your key asks)",
        "reject as tomas (your key asks)",
    ]
    assert "your key asks for each signature" in text(panel)


def test_live_mode_has_no_button():
    """In live mode nobody plays a second person, even when one is given: digest, command and countdown only."""
    panel = make("live", Clicks().person())
    assert panel._controls == []
    shown = text(panel)
    assert f"gitops-nb approve {waiting_run().run}" in shown
    assert "in\xa03\xa0h 34\xa0min" in shown
    assert "SANDBOX" not in shown


def test_approve_acts_once():
    """Clicking twice approves once."""
    clicks = Clicks()
    approve, reject = buttons(make(person=clicks.person()))
    approve.click()
    approve.click()
    reject.click()
    assert clicks.done == ["approve"]
    assert approve.disabled
    assert reject.disabled


@pytest.mark.parametrize("number", [0, 1])
def test_a_button_answers_what_the_card_shows(number):
    """What a button is given is the run as the card was drawn from, whatever its journal says by then."""
    clicks = Clicks()
    panel = make(person=clicks.person())
    reason_field(panel).value = "no"
    buttons(panel)[number].click()
    assert clicks.shown == waiting_run().request_digest != ""


def test_a_card_beside_another_request_has_no_buttons():
    """The journal asks for something else than is shown: the card says so, with both digests, and nothing can be clicked."""
    shown, now = waiting_run(), [waiting_run()]
    panel = Panel(
        shown, zone=ZONE, second_person=Clicks().person(), place=lambda html, _: None, now=lambda: NOW,
        present=lambda: now[-1],
    )  # fmt: skip
    panel.show()
    assert "asks for another request" not in text(panel)
    assert panel._controls[0].layout.display is None
    now.append(replace(shown, request_digest="sha256:" + "ab" * 32))
    panel.tick()
    assert "asks for another request (abababababab)" in text(panel)
    assert "This card answers nothing any more" in text(panel)
    assert [control.layout.display for control in panel._controls] == ["none", "none"]


def test_reject_needs_a_reason():
    """A rejection without a reason is not sent and says what is missing; with one it is."""
    clicks = Clicks()
    panel = make(person=clicks.person())
    reject = buttons(panel)[1]
    reject.click()
    assert clicks.done == []
    assert "Say why" in text(panel)
    reason_field(panel).value = "not before the load test"
    reject.click()
    assert clicks.done == ["not before the load test"]


def test_answer_that_fails_is_said_and_can_be_tried_again():
    """When signing fails, the panel says why and its buttons live again."""

    def fail(_) -> None:
        raise UsageError("the key cannot sign", hint="Name another.")

    panel = make(person=SecondPerson("sandbox-tomas", fail, fail))
    approve = buttons(panel)[0]
    approve.click()
    assert "the key cannot sign" in text(panel)
    assert not approve.disabled


async def test_waiting_ends_with_the_answer():
    """The wait returns the decision as soon as one is there, and the panel shows it without buttons."""
    answers = iter([None, None, decided()])
    panel = make(person=Clicks().person())
    found = await waited(panel, lambda: next(answers), 60)
    assert found == decided()
    assert "approved" in text(panel)
    # No row of a card that says approved goes on waiting.
    assert "waiting" not in text(panel)
    assert {control.layout.display for control in panel._controls} == {"none"}


async def test_time_out_is_no_consent():
    """When the time is over the wait returns None, and the panel neither approves nor offers to."""
    clicks = Clicks()
    panel = make(person=clicks.person())
    assert await waited(panel, lambda: None, 0) is None
    assert clicks.done == []
    assert {control.layout.display for control in panel._controls} == {"none"}
    assert "Nothing was changed" in text(panel)


async def test_expired_request_ends_the_wait():
    """A request that has ended is not waited for, however much time is left, and shows no command."""
    late = NOW + timedelta(hours=5)
    panel = make("live", now=lambda: late)
    assert await waited(panel, lambda: None, 3600) is None
    shown = text(panel)
    assert "expired" in shown
    assert "gitops-nb approve" not in shown


async def test_answer_at_the_last_moment_counts():
    """The run is asked at least once, even when no time is left."""
    assert await waited(make(), decided, 0) == decided()


async def test_refusal_is_shown_as_such():
    """A rejected request shows as refused."""
    panel = make()
    await waited(panel, lambda: decided(Answer.REFUSED), 1)
    assert "refused" in text(panel)


async def test_interrupted_cell_takes_its_buttons_away():
    """When the cell is interrupted, no button outlives it."""
    panel = make(person=Clicks().person())
    task = asyncio.ensure_future(waited(panel, lambda: None, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {control.layout.display for control in panel._controls} == {"none"}


def test_without_ipywidgets_the_panel_is_a_card(monkeypatch):
    """Where ipywidgets is missing, the panel still has its text and no controls."""
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    panel = make(person=Clicks().person())
    assert panel._controls == []
    assert "gitops-nb approve" in Page(panel.html()).text
    panel.close(None)


def test_nobody_is_there_outside_of_a_kernel():
    """Outside of a kernel, and in a kernel whose frontend takes no input, nobody is waited for."""
    assert not is_interactive()


@pytest.mark.parametrize(
    ("content", "there"),
    [({"allow_stdin": True}, True), ({"allow_stdin": False}, False), ({}, False)],
)
def test_a_person_is_there_when_the_frontend_takes_input(monkeypatch, content, there):
    """JupyterLab lets a cell ask for input; papermill and nbclient do not, and who says nothing is not waited for."""

    class Kernel:
        def get_parent(self):
            return {"content": content}

    class Shell:
        kernel = Kernel()

    class IPython:
        get_ipython = staticmethod(Shell)

    monkeypatch.setitem(place.sys.modules, "IPython", IPython)
    assert is_interactive() is there


def test_an_answer_from_elsewhere_is_said_to_be_one():
    """The card tells whether its own button or somebody elsewhere gave the answer."""
    run = waiting_run()
    allowed = decided()
    for here, expected in ((True, False), (False, True)):
        panel = Panel(run, zone=ZONE, place=lambda *_: None, now=lambda: NOW)
        panel._answered_here = here
        assert ("answered elsewhere" in panel.html(allowed)) is expected


def test_a_card_whose_cell_has_stopped_says_how_the_run_went_on(monkeypatch):
    """Nobody waits in the notebook any more: the run was approved and resumed in a terminal, and the card says so."""
    monkeypatch.setattr(panels, "LOOK_S", 0.01)
    drawn: list[str] = []
    run, later = waiting_run(), SCENARIOS["succeeded"]().state()
    later = replace(later, records=run.records + 10)
    seen = iter([run, run, later])
    panel = Panel(
        run, zone=ZONE, place=lambda html, _: drawn.append(html), now=lambda: NOW, look=lambda: next(seen, later)
    )  # fmt: skip
    panel.close(None)
    assert "still waiting" in drawn[0]
    assert "Not run here: apply, verify and finish." in Page(drawn[0]).text
    deadline = time.monotonic() + 20
    while len(drawn) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    text = Page(drawn[1]).text
    assert "answered elsewhere" in text
    assert "did not run here" in text


@pytest.mark.parametrize("mode", ["sandbox", "live"])
def test_a_waiting_card_names_what_works_after_a_restart(mode):
    """The saved card outlives its kernel: approve alone would wait for a cell that is gone, so resume is named."""
    for person in (None, Clicks().person()):
        text = Page(make(mode, person).html()).text
        run = waiting_run().run
        assert f"gitops-nb approve {run}" in text
        assert "After a restart of the kernel no button and no cell" in text
        assert f"then `gitops-nb resume {run}`" in text
