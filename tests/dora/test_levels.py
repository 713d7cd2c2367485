"""Levels hold the Quick Check's own answers, and are single only when the interval is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gitops_nb.dora import levels
from gitops_nb.dora.statistics import Estimate

ANSWERS = Path(__file__).parents[3] / "shared/data/dora/dora_dev/metrics_question_responses.json"


def test_our_answers_are_those_of_the_quick_check():
    """Each duration level has dora.dev's wording, letter case aside."""
    if not ANSWERS.is_file():
        pytest.skip(f"SKIPPED: no shared data at {ANSWERS}")
    theirs = json.loads(ANSWERS.read_text())["leadtime"]

    ours = {str(level): answer for _, level, answer in levels._DURATIONS}

    assert ours == {number: answer.lower() for number, answer in theirs.items()}


@pytest.mark.parametrize(
    ("seconds", "level"),
    [
        (3599, 6),
        (3600, 5),
        (86_399, 5),
        (86_400, 4),
        (604_800, 3),
        (31 * 86_400, 2),
        (183 * 86_400, 1),
    ],
)
def test_a_duration_has_the_level_it_stays_below(seconds, level):
    """Less than an hour is level 6, an hour is not."""
    found = levels.duration_level(Estimate.of(seconds, seconds, seconds, n=9))

    assert (found.low, found.high) == (level, level)


@pytest.mark.parametrize(
    ("per_week", "level"),
    [(200, 6), (7, 5), (6.9, 4), (1, 4), (0.9, 3), (0.2, 2), (0.01, 1), (0, 1)],
)
def test_a_frequency_has_the_level_it_reaches(per_week, level):
    """Once a day is level 5, a little less is level 4."""
    found = levels.frequency_level(Estimate.of(per_week, per_week, per_week, n=9))

    assert (found.low, found.high) == (level, level)


def test_an_interval_over_a_border_has_no_single_level():
    """From 50 minutes to 2 hours is between level 5 and 6."""
    found = levels.duration_level(Estimate.of(4000, 3000, 7200, n=9))

    assert (found.is_single, found.low, found.high) == (False, 5, 6)


@pytest.mark.parametrize("estimate", [Estimate(), Estimate.of(10, n=3)])
def test_without_an_interval_there_is_no_level(estimate):
    """No data and too few values have no level, whatever the value is."""
    assert levels.duration_level(estimate).low == 0
