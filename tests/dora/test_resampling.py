"""Intervals of one window: their weeks are drawn, and what holds for independent values holds there too."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gitops_nb.dora import resampling, statistics
from gitops_nb.dora.reassigning import step_of


def table(weeks) -> np.ndarray:
    """Durations by week as counts of their steps."""
    steps = [[step_of(int(value)) for value in week] for week in weeks]
    found = np.zeros((len(weeks), max(map(max, steps)) + 1))
    for week, own in enumerate(steps):
        np.add.at(found[week], own, 1)
    return found


@pytest.mark.parametrize("freedom", [5, 8, 12, 51])
def test_the_quantile_is_that_of_students_t(freedom):
    """To two parts in a thousand, from five degrees of freedom on."""
    found = resampling.t_quantile(freedom)
    assert found == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1.5e-3)


@pytest.mark.parametrize("slow", [0.0, 0.5])
def test_a_median_is_held_by_its_interval(slow):
    """In 95 of 100 histories, whether weeks are slow together or not; an interval over single values does not."""
    chance = np.random.RandomState(1)
    held = plain_held = 0
    for _ in range(100):
        weeks = [np.exp(chance.normal(11 + chance.normal(0, slow), 0.7, 30)) for _ in range(13)]
        plain = statistics.median(np.concatenate(weeks).tolist())
        found = resampling.median_by_weeks(plain, table(weeks))
        held += found.low <= np.exp(11) <= found.high
        plain_held += plain.low <= np.exp(11) <= plain.high
    assert held >= 88
    assert slow == 0.0 or plain_held < 75


@pytest.mark.parametrize("scatter", [0.0, 0.08])
def test_a_share_is_held_by_its_interval(scatter):
    """In 95 of 100 histories, whether failures come in bad weeks or not."""
    chance = np.random.RandomState(2)
    held = 0
    for _ in range(100):
        made = chance.poisson(30, 13) + 1
        shares = np.clip(chance.normal(0.15, scatter, 13), 0, 1)
        found = resampling.share_by_weeks(
            chance.binomial(made, shares).astype(float), made.astype(float)
        )
        held += found.low <= 0.15 <= found.high
    assert held >= 88


def test_few_weeks_keep_the_interval_that_there_is():
    """Under six weeks nobody knows how weeks differ; without any failure there is nothing to scatter."""
    few = statistics.median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert resampling.median_by_weeks(few, table([[1, 2], [3], [4, 5], [6, 7]])) == few
    made = np.array([5.0] * 8)
    assert resampling.share_by_weeks(made * 0, made) == statistics.wilson(0, 40)
    assert resampling.share_by_weeks(made[:4] / 5, made[:4]) == statistics.wilson(4, 20)


def test_a_service_that_came_counts_for_the_time_it_was_there():
    """Its rate is of its own weeks; a draw without any of them leaves it out."""
    counts = np.array([[2.0] * 8, [0, 0, 0, 0, 0, 0, 2, 2]])
    present = np.array([[1.0] * 8, [0, 0, 0, 0, 0, 0, 1, 1]])
    found = resampling.rate_by_weeks(statistics.median([2.0, 2.0]), counts, present)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
