"""Timeouts where no engine watches: the kernel interrupts its own step, and the record says which one fired."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from gitops_nb import promotion
from gitops_nb.errors import Failed
from gitops_nb.model import Status
from gitops_nb.record.runs import read_run
from gitops_nb.record.verify import verify_run

SAYS = {
    "{step: 1s, run: 1h}": "step timeout: observe did not end within 1s",
    "{step: 1h, run: 1s}": "run timeout: its steps did not end within 1s (during observe)",
}


@pytest.mark.parametrize("timeouts", SAYS)
def test_a_step_that_takes_too_long_is_interrupted(runner, timeouts, monkeypatch):
    """Its command is stopped, the run ends as failed with the timeout's name, and nothing is left that could ring later."""
    path = runner.workspace.root / "runbooks/promotion.yaml"
    path.write_text(path.read_text(encoding="utf-8") + f"\ntimeouts: {timeouts}\n")
    session = runner.open()

    def observe():
        session.platform.processes.run(("sleep", "60"), timeout_s=60)

    # A run that needs approval calls its own slice's verbs alone.
    monkeypatch.setattr(session, "_parts", replace(session._parts, verbs=(observe,)))
    begun = time.monotonic()
    with pytest.raises(Failed) as stop:
        session.step(observe)
    session.close()
    assert time.monotonic() - begun < 30
    assert stop.value.message == SAYS[timeouts]
    state = read_run(session.directory)
    assert (state.status, state.exit_code, state.reason) == (Status.FAILED, 1, SAYS[timeouts])
    assert state.step("observe").status is Status.FAILED
    assert verify_run(session.directory).problems == ()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_time_between_steps_does_not_count(runner):
    """While a person reads nothing rings."""
    path = runner.workspace.root / "runbooks/promotion.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\ntimeouts: {step: 1h, run: 1h}\n")
    session = runner.open()
    session.step(promotion.observe)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    session.close()
