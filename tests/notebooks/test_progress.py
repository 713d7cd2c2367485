"""Live progress of a run in a notebook."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gitops_nb.model import Status
from gitops_nb.notebook.place import new_place
from gitops_nb.notebook.progress import Progress
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import Record
from tests.report.run_factories import HOSTILE, NOW, SCENARIOS, Script


class Places:
    """Remembers what every place showed."""

    def __init__(self):
        self.shown: list[list[tuple[str, str]]] = []

    def __call__(self):
        place: list[tuple[str, str]] = []
        self.shown.append(place)
        return lambda html, text: place.append((html, text))


def follow(name: str) -> Places:
    places = Places()
    records: list[Record] = []
    progress = Progress(lambda: fold(records), places=places, now=lambda: NOW)
    for line in SCENARIOS[name]().lines:
        records.append(Record(**json.loads(line)))
        progress.on_record(records[-1])
    return places


def test_each_step_has_a_place_and_ends_as_one_line():
    """Every step is shown in a place of its own, and leaves one line with its finding when it has ended."""
    places = follow("succeeded")
    assert [place[-1][1].split(":")[0].split()[-1] for place in places.shown] == [
        "observe",
        "plan",
        "decide",
        "observe",
        "plan",
        "decide",
        "apply",
        "verify",
    ]
    html, text = places.shown[-1][-1]
    assert (
        text
        == "succeeded  verify: Rolled out in 1 min 26 s, then stable for 60 s (2\xa0min 26\xa0s)"
    )
    assert "Rolled out" in html


def test_an_answer_takes_the_place_of_the_question():
    """A step that waited in its cell ends there, in the one place it had."""
    lines = SCENARIOS["waiting"]().lines
    records = [Record(**json.loads(line)) for line in lines]
    asked = next(r for r in records if r.kind == "step" and r.body["status"] == str(Status.WAITING))
    answered = replace(
        asked, body={**asked.body, "status": str(Status.SUCCEEDED), "sentence": "approved by tomas"}
    )
    seen: list[Record] = []
    places = Places()
    progress = Progress(lambda: fold(seen), places=places, now=lambda: NOW)
    for record in [*records, answered]:
        seen.append(record)
        progress.on_record(record)
    decide = places.shown[-1]
    assert decide[-2][1].startswith("waiting")
    assert decide[-1][1].startswith("succeeded  decide: approved by tomas")


@pytest.mark.parametrize("name", ["succeeded", "waiting", "failed", "refused"])
def test_a_journal_that_is_further_on_hides_no_step(name):
    """The process that calls the verbs may have written more than the notebook was told: every step keeps its place."""
    records = [Record(**json.loads(line)) for line in SCENARIOS[name]().lines]
    places = Places()
    progress = Progress(lambda: fold(records), places=places, now=lambda: NOW)
    for record in records:
        progress.on_record(record)
    assert [place[-1] for place in places.shown] == [place[-1] for place in follow(name).shown]


def test_effects_move_the_progress():
    """While apply runs, each intent and each result redraws the card."""
    apply = follow("succeeded").shown[-2]
    assert len(apply) == 6
    assert "no result is recorded" in apply[1][0]
    assert "no result is recorded" not in apply[2][0]


def test_failed_step_ends_as_failed():
    """A step that failed says so in its line."""
    assert follow("failed").shown[-1][-1][1].startswith("failed ")


def test_killed_run_leaves_no_finished_line():
    """A step without an end is never shown as finished."""
    assert follow("killed").shown[-1][-1][1] == ""


def test_hostile_names():
    """Names from outside are text in the progress too."""
    for place in follow("hostile").shown:
        for html, text in place:
            assert HOSTILE not in html
            assert "<script" not in html
            assert "\x1b" not in html + text


def test_outside_of_ipython_finished_steps_are_printed(capsys):
    """Without IPython only finished steps are printed, one line each."""
    show = new_place()
    show("<b>moving</b>", "")
    show("<b>done</b>", "succeeded  observe: read (9 s)")
    assert capsys.readouterr().out == "succeeded  observe: read (9 s)\n"


def last_texts(script) -> list[str]:
    """What each place shows at the end of a journal."""
    places, records = Places(), []
    progress = Progress(lambda: fold(records), places=places, now=lambda: NOW)
    for line in script.lines:
        records.append(Record(**json.loads(line)))
        progress.on_record(records[-1])
    return [place[-1][1] for place in places.shown]


def test_cells_that_never_ran_are_named_with_how_to_go_on():
    """A run that ends early names the steps it leaves; one that is over asks for a new run, another one for a resume."""
    refused = last_texts(SCENARIOS["refused"]())
    assert refused[-1] == (
        "Not run: apply, verify and finish. This run is over; run all cells again for a new one."
    )
    script = Script().add("opened", run="R", steps=["observe", "plan", "decide", "apply", "verify"])
    script.add("step", step="observe", kind="read", status=Status.RUNNING)
    script.add("step", step="observe", status=Status.FAILED, sentence="away", took_ms=1)
    script.add("ended", status=Status.FAILED, exit_code=69, reason="away")
    assert last_texts(script)[-1] == (
        "Not run: plan, decide, apply, verify and finish. "
        "Run this cell again, or `gitops-nb resume R` in a terminal."
    )
    assert not any(text.startswith("Not run") for text in last_texts(SCENARIOS["succeeded"]()))


def test_what_an_aborted_run_leaves_is_shown_in_its_cell():
    """Something was changed and the run did not verify: what is true now, and the way back, stand below the step."""
    script = Script().add("opened", run="R", steps=["apply", "verify"])
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.effect("commit", 1, "commit to x")
    script.add("step", step="apply", status=Status.FAILED, sentence="away", took_ms=1)
    script.add("aftermath", asks="Git asks for v2.", by_itself="v2 comes.", back="Promote v1.", command="gitops-nb run x")  # fmt: skip
    script.add("ended", status=Status.FAILED, exit_code=69, reason="away")
    told = next(text for text in last_texts(script) if text.startswith("In Git"))
    assert told == "In Git: Git asks for v2.\nBy itself: v2 comes.\nWay back: Promote v1.\n  gitops-nb run x"  # fmt: skip


def test_a_cell_that_is_run_again_says_which_run_it_shows():
    """A new attempt of a run that had ended is told where it begins."""
    script = Script().add("opened", run="R", steps=["observe"])
    script.add("attempt", number=2, front="notebook, cell run again", who="me")
    assert last_texts(script) == ["Attempt 2 of R, which had ended; this cell shows that run."]
