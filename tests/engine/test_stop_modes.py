"""Thirteen ways to stop at every step of every runbook: the record tells the truth each time."""

from __future__ import annotations

import pytest

from tests.engine.stops import CODES, STEPS, check, stop_run

CASES = [
    (runbook, step, mode)
    for runbook, steps in STEPS.items()
    for step in steps
    for mode in CODES
    if (step, mode) != ("effect", "cell timeout")
]
SAMPLE = [("promotion", "effect", "kernel SIGKILL"), ("promotion", "plan", "disk full")]


@pytest.mark.parametrize(("runbook", "step", "mode"), SAMPLE)
def test_a_stopped_run_tells_the_truth(workspace, runbook, step, mode):
    """Exit code, record, notebook and report agree, nothing runs on, and the way to go on is named (a sample)."""
    check(stop_run(workspace, runbook, step, mode), step, mode)


@pytest.mark.torture
@pytest.mark.parametrize(("runbook", "step", "mode"), CASES)
def test_every_stop_at_every_step(workspace, runbook, step, mode):
    """The same in every mode, at every step of every shipped runbook."""
    check(stop_run(workspace, runbook, step, mode), step, mode)
