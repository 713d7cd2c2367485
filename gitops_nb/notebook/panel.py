"""The approval panel: what a person sees before a change, and how a notebook waits for the answer.

In the sandbox the panel plays the second person, named as such, with one button to approve and one to
reject. In live mode it has buttons only for an approver whose key asks for each signature; otherwise it shows the
digest, the exact command for that other person, and the time that is left. The panel decides nothing: it shows the run's state and calls what the session gave it;
whether an answer counts is checked where every answer is checked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gitops_nb.errors import GitOpsError
from gitops_nb.model import Answer, Decision, Status, parse_time
from gitops_nb.notebook.cards import macro, text_card
from gitops_nb.notebook.place import Show, display_raw, new_place, running_shell
from gitops_nb.record.fold import RunState
from gitops_nb.report import diff, story
from gitops_nb.report.text import one_line
from gitops_nb.report.views import gates
from gitops_nb.report.words import Times, listed
from gitops_nb.session.answering import other_request

LOOK_S = 2.0
POLL_S = 0.3
"""Between two looks at the run while a cell waits."""


@dataclass(frozen=True, slots=True)
class SecondPerson:
    """Whom the buttons sign for, and what they do: the sandbox's other person, or a live approver in front.

    ``approve`` and ``reject`` (with its reason) get the run as the card shows it, and sign for nothing else. ``asks_each_time`` is true for a live approver, whose key asks for every signature.
    """

    name: str
    approve: Callable[[RunState], object]
    reject: Callable[[RunState, str], object]
    asks_each_time: bool = False


class Panel:
    """The panel of one waiting run.

    Args:
        run: Fold of the run's journal, waiting.
        zone: IANA name of the reader's time zone.
        second_person: Of the sandbox; in live mode only a person whose key asks for each use.
        place: Where it is drawn; the default is the running cell.
        now: Present wall time.
        look: Reads the run anew; with it the card goes on telling after its cell has stopped waiting.
        present: The run as its journal has it now; a card beside another request than it shows has no buttons any more.
    """

    def __init__(
        self,
        run: RunState,
        *,
        zone: str = "UTC",
        second_person: SecondPerson | None = None,
        place: Show | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        look: Callable[[], RunState] | None = None,
        present: Callable[[], RunState] | None = None,
    ) -> None:
        self._look = look
        self._present = present
        self._answered_here = False
        self._run = run
        self._zone = zone
        self._now = now
        may_sign = second_person is not None and (run.is_sandbox or second_person.asks_each_time)
        self._second = second_person if may_sign else None
        self._problem = ""
        self._drawn = ""
        self._place = place or new_place()
        self._widgets = _widgets()
        self._controls = self._buttons() if self._widgets and self._second else []
        self._controls_place: Any = None

    def show(self) -> None:
        """Draws the card, and below it the buttons where a second person is played."""
        self.tick()
        if self._controls and running_shell() is not None:
            box = self._widgets.VBox(
                self._controls, layout=self._widgets.Layout(align_items="flex-start")
            )
            self._controls_place = display_raw(box._repr_mimebundle_())

    def tick(self) -> None:
        """Redraws what has changed; the time that is left moves once a minute, in the last one each second."""
        self._compare()
        self._draw(self.html())

    def _compare(self) -> None:
        """Takes the buttons away where the journal has another request by now: what is shown is not what would be answered."""
        if self._present is None:
            return
        try:
            problem = other_request(self._run, self._present())
        except GitOpsError:
            return  # what is there cannot be read now; whoever answers asks again
        if problem:
            self._problem = (
                f"{problem[0].upper()}{problem[1:]}. This card answers nothing any more."
            )
            self._hide()

    def _hide(self) -> None:
        for control in self._controls:
            control.layout.display = "none"
        if self._controls_place is not None:
            self._controls_place.update({"text/html": ""}, raw=True)

    def close(self, decision: Decision | None) -> None:
        """Shows the answer, or that none came in time, and takes the buttons away."""
        self._hide()
        self._draw(self.html(decision, closed=True))
        if decision is None and not self.is_over and self._look is not None:
            threading.Thread(target=self._go_on_looking, args=(self._look,), daemon=True).start()

    def _go_on_looking(self, look: Callable[[], RunState]) -> None:
        """Says how the run went on without this cell, once it did; a card that says "still waiting" for ever is untrue."""
        while not self.is_over:
            time.sleep(LOOK_S)
            try:
                run = look()
            except GitOpsError:
                continue  # somebody is writing it
            if run.records > self._run.records and run.status is not Status.WAITING:
                self._draw(self._went_on(run))
                if run.ended:
                    return

    def _went_on(self, run: RunState) -> str:
        """The card of a run that was answered, or went on, elsewhere."""
        known, told = story.parts(run), story.tell(run)
        said = [f"{one.person} {one.answer}d it" for one in (*story.consents(known), *story.rejections(known))]  # fmt: skip
        answered = f"Answered elsewhere: {', '.join(said)}. " if said else "It went on elsewhere. "
        ended = f"{told.title}." if run.ended else "It goes on there now."
        sentence = f"{answered}{ended} The cells below had no part in that, and did not run here."
        word = told.word if run.ended else "goes on there"
        head = (run.status.value, f"answered elsewhere, {word}", "")
        return self._card(run, head, {"sentence": sentence, "command": ""})

    def _draw(self, html: str) -> None:
        if html != self._drawn:
            self._drawn = html
            self._place(html, text_card(self._run))

    @property
    def expires(self) -> datetime | None:
        """When the request ends."""
        text = str(self._run.request.get("expires", "")) if self._run.request else ""
        return parse_time(text) if text else None

    @property
    def is_over(self) -> bool:
        """True when the request has expired: no answer can count any more."""
        return self.expires is not None and self.expires <= self._now()

    def html(self, decision: Decision | None = None, *, closed: bool = False) -> str:
        """The card as it stands now."""
        times = Times(self._now(), self._zone)
        status, word, note = self._state(decision, times, closed=closed)
        shown = self._what_to_do(decision, closed=closed)
        return self._card(self._run, (status, word, note), shown, decision)

    def _card(
        self,
        run: RunState,
        head: tuple[str, str, str],
        shown: dict[str, str],
        decision: Decision | None = None,
    ) -> str:
        status, word, note = head
        known, times = story.parts(run), Times(self._now(), self._zone)
        plan = known.plan
        return macro(
            "approval_card",
            run=run,
            status=status,
            status_word=word,
            title=plan.summary if plan else story.subject(run),
            note=note,
            views=[diff.view(change) for change in plan.changes] if plan else [],
            items=gates(run, known if decision is None else _answered(known, decision), times),
            people=self._people(times),
            shown=shown,
            signed=story.signed(run),
        )

    def _state(
        self, decision: Decision | None, times: Times, *, closed: bool
    ) -> tuple[str, str, str]:
        if decision is not None:
            answers = decision.approvals or decision.rejections
            names = ", ".join(approval.person for approval in answers)
            if names and not self._answered_here:
                names += ", answered elsewhere"
            allowed = decision.answer is Answer.ALLOWED
            return ("succeeded", "approved", names) if allowed else ("refused", "refused", names)
        expires = self.expires
        if expires is not None and self.is_over:
            return "cancelled", "expired", f"the request ended {times.age(expires)}"
        if closed:
            return "waiting", "still waiting", "this cell has stopped waiting"
        ends = f"ends {times.near(expires)}, {times.age(expires)}" if expires else ""
        return "waiting", "waiting for approval", ends

    def _people(self, times: Times) -> list[tuple[str, str]]:
        expires = self.expires
        pairs = [
            ("Asked by", f"{story.requester(self._run)}, {times.clock(self._run.started)}"),
            ("Environment", self._run.environment),
            ("Run", self._run.run),
        ]
        return [*pairs, ("Request ends", times.full(expires))] if expires else pairs

    def _what_to_do(self, decision: Decision | None, *, closed: bool) -> dict[str, str]:
        command = f"gitops-nb approve {self._run.run}"
        if decision is not None:
            return {"sentence": one_line("; ".join(decision.reasons)), "command": ""}
        if self.is_over:
            return {
                "sentence": "Nothing was changed. Run the notebook again to ask anew.",
                "command": "",
            }
        if closed:
            resume = f"{command}\ngitops-nb resume {self._run.run}"
            return {
                "sentence": (
                    f"Nothing was changed. {not_run(self._run)} Another person can still approve it, then anybody "
                    "resumes it in a terminal; this notebook is not needed for that:"
                ),
                "command": resume,
            }
        # What a saved card says is all that is left of this kernel once it was restarted.
        restarted = (
            f"After a restart of the kernel no button and no cell of this notebook goes on with it: approve it in a terminal, "
            f"then `gitops-nb resume {self._run.run}`."
        )
        if self._problem:
            return {"sentence": self._problem, "command": command}
        if self._second is not None and self._second.asks_each_time:
            sentence = (
                f"You sign as {self._second.name}: your key asks for each signature, and only after you said yes "
                f"there does the button do anything. Compare the first 12 characters of the digest. {restarted} Or, in a terminal:"
            )
            return {"sentence": sentence, "command": command}
        if self._second is not None:
            sentence = (
                f"The sandbox plays a second person, {self._second.name}, so that you can see what an "
                "approver does. A live run has no such button and waits for that person's signature. A page that was loaded "
                f"anew may show this after the answer: `gitops-nb list runs` tells. {restarted} Or, in a terminal:"
            )
            return {"sentence": sentence, "command": command}
        asked = story.requester(self._run) or "the requester"
        sentence = (
            f"Another person than {asked} runs this command and compares the first 12 characters of the "
            "digest. This cell goes on when the signature arrives; the run can also be resumed later. A page that was "
            f"loaded anew does not hear of it: there `gitops-nb list runs` and the report tell. {restarted}"
        )
        return {"sentence": sentence, "command": command}

    def _buttons(self) -> list[Any]:
        second = self._second
        if second is None:
            return []
        name = one_line(second.name)
        role = "your key asks" if second.asks_each_time else "second person of the sandbox"
        wide = self._widgets.Layout(width="auto")
        yes = self._widgets.Button(
            description=f"approve as {name} ({role})", button_style="primary", layout=wide
        )
        no = self._widgets.Button(description=f"reject as {name} ({role})", layout=wide)
        reason = self._widgets.Text(placeholder="reason for a rejection", layout=wide)
        rejection = self._widgets.HBox(
            [reason, no], layout=self._widgets.Layout(flex_flow="row wrap")
        )
        yes.on_click(lambda _: self._act(lambda: second.approve(self._run), yes, no))
        no.on_click(lambda _: self._reject(second, reason.value, yes, no))
        return [yes, rejection]

    def _reject(self, second: SecondPerson, reason: str, *buttons: Any) -> None:
        if not reason.strip():
            self._problem = "Say why in the field beside the button; the requester will read it."
            self.tick()
            return
        self._act(lambda: second.reject(self._run, reason.strip()), *buttons)

    def _act(self, act: Callable[[], object], *buttons: Any) -> None:
        """Runs the answer once: the buttons are dead before it begins, and live again only if it failed."""
        if any(button.disabled for button in buttons):
            return
        for button in buttons:
            button.disabled = True
        self._problem = ""
        try:
            act()
            self._answered_here = True
        except GitOpsError as error:
            self._problem = str(error)
            for button in buttons:
                button.disabled = False
        self.tick()


def not_run(run: RunState) -> str:
    """Which cells of a notebook did not run, by their step; "" when all did."""
    left = [step.name for step in run.steps if step.status is Status.PENDING]
    return f"Not run here: {listed([*left, 'finish'])}." if left else ""


def _answered(known: story.Parts, decision: Decision) -> story.Parts:
    """What the journal holds once the answer is recorded."""
    return replace(known, decision=decision, approvals=(*decision.approvals, *decision.rejections))


async def wait_for_decision(
    panel: Panel, poll: Callable[[], Decision | None], timeout_s: float
) -> Decision | None:
    """Looks for an answer every 0.3 s while the notebook stays alive.

    Ends at the request's expiry or after ``timeout_s``, whichever comes first; None is no consent, the
    caller stops the run there. Asks ``poll`` at least once.
    """
    deadline = time.monotonic() + timeout_s
    decision: Decision | None = None
    try:
        while (decision := poll()) is None:
            if time.monotonic() >= deadline or panel.is_over:
                return None
            panel.tick()
            await asyncio.sleep(POLL_S)
        return decision
    finally:
        panel.close(decision)  # also when the cell is interrupted: no button outlives its cell


def _widgets() -> Any:
    """ipywidgets, or None where the extra ``lab`` is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets
