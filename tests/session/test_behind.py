"""Of a run that waits or has ended, the record at which a runner signed it counts: none behind it, and no seal of it."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from gitops_nb import promotion
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import Phase
from gitops_nb.record.runs import is_run_held, read_run
from gitops_nb.session.verifying import verify_records
from tests.session.test_recovered import signed
from tests.session.test_threats import append


def verified(runner, run: str):
    """All that `gitops-nb verify RUN` finds of a run, and whether it holds."""
    where = find_workspace(runner.workspace.root)
    checked = verify_records(where, [where.reports / run])
    return checked.holds, " ".join(map(str, checked.runs[0].problems)), checked.runs[0].unchecked


def forge_report(directory) -> None:
    """What an approver reads becomes another version, and a seal of the forger's own stands behind the run's."""
    for name in ("report.html", "report.json"):
        path = directory / name
        path.write_text(path.read_text(encoding="utf-8").replace("v2.33.0", "v2.32.9"))
    journal = Journal.open(directory)
    files = dict(journal.records[-1].body["files"])
    for name in files:
        content = (directory / name).read_bytes()
        files[name] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    journal.append("sealed", files=files)
    journal.close()


@pytest.mark.parametrize("ended", [False, True])
def test_a_seal_behind_what_a_runner_signed_seals_nothing(runner, ended):
    """Report and seal of a waiting or finished run are forged: the files are named, and so is the record; untouched it holds."""
    state, _ = runner.promote()
    if ended:
        runner.answer(state.run)
        state, stop = runner.promote(run=state.run)
        assert stop is None
    assert verified(runner, state.run)[0]
    forge_report(runner.workspace.reports / state.run)
    _, found, _ = verified(runner, state.run)
    assert "1 records behind the one that" in found
    for name in ("report.html", "report.json"):
        assert f"{name}: edited" in found


@pytest.mark.parametrize("sealed", [True, False])
def test_records_of_nobodys_attempt_are_found(runner, sealed):
    """Whatever they say, with a seal of the same files or without one."""
    state, _ = runner.promote()
    journal = Journal.open(runner.workspace.reports / state.run)
    journal.append("step", step="observe", status="succeeded", sentence="nothing to see")
    if sealed:
        journal.append("sealed", files=dict(state.files))
    journal.close()
    holds, found, _ = verified(runner, state.run)
    assert not holds
    assert f"{1 + sealed} records behind the one that" in found


def test_an_attempt_that_nobody_closed_is_not_checked(runner):
    """A record without a seal hides no file: until the run is closed it does not hold; the next command closes it."""
    state, _ = runner.promote()
    append(runner, state.run, ("attempt", {"number": 2, "front": "papermill"}))
    directory = runner.workspace.reports / state.run
    path = directory / "report.html"
    path.write_text(path.read_text(encoding="utf-8").replace("v2.33.0", "v2.32.9"))
    holds, found, unchecked = verified(runner, state.run)
    assert (holds, found) == (False, "")
    assert "nobody closed it yet" in unchecked[0]


class Waits:
    """Somebody sits in front: looks while the cell waits, then answers or stops the cell."""

    is_interactive = True

    def __init__(self, answer) -> None:
        self._answer = answer

    def on_record(self, record) -> None:
        """Nobody looks."""

    async def wait(self, session, poll, _):
        """See ``Front.wait``."""
        assert poll() is None
        self._answer(session)
        return poll()


def gated(runner, session, answer):
    """The cells up to the decision, with somebody in front."""
    session._front = Waits(answer)
    session.step(promotion.observe)
    session.step(promotion.plan)
    return asyncio.run(session.gate(promotion.gates))


def test_a_run_that_waits_in_its_cell_is_sealed_and_signed(runner):
    """What an approver reads meanwhile is signed; the run goes on in the same attempt, and holds at its end."""
    session = runner.open()
    seen = []

    def look_and_answer(session) -> None:
        assert is_run_held(runner.workspace.reports, session.run)
        assert (session.directory / "report.html").is_file()
        seen.append(verified(runner, session.run))
        runner.answer(session.run)

    decision = gated(runner, session, look_and_answer)
    assert seen == [(True, "", ())]
    assert str(decision.answer) == "allowed"
    assert verified(runner, session.run)[1:] == ("", ())
    session.step(promotion.apply)
    session.step(promotion.verify)
    session.finish()
    session.close()
    assert verified(runner, session.run) == (True, "", ())
    assert len(session.state.attempts) == 1


def test_a_cell_that_is_run_again_while_its_run_waits_begins_an_attempt(runner):
    """The person stopped the cell, which leaves the run as it was signed, and ran it again: the second wait is signed too."""
    session = runner.open()

    def stop(_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gated(runner, session, stop)
    state = read_run(runner.workspace.reports / session.run)
    assert (state.status, len(state.attempts)) == (Status.WAITING, 1)
    assert verified(runner, session.run) == (True, "", ())
    with pytest.raises(KeyboardInterrupt):
        gated(runner, session, stop)
    state = read_run(runner.workspace.reports / session.run)
    assert (state.status, len(state.attempts)) == (Status.WAITING, 2)
    assert len(signed(runner, session.run, Phase.REQUESTED)) == 2
    assert verified(runner, session.run) == (True, "", ())
    runner.answer(session.run)
    done, error = runner.promote(run=session.run)
    assert (error, done.status) == (None, Status.SUCCEEDED)
    assert verified(runner, session.run) == (True, "", ())
