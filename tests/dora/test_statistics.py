"""Intervals and censored medians, against values worked out elsewhere."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.dora import statistics
from gitops_nb.dora.statistics import Estimate


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (1, 5, 0.0362, 0.6245),
        (3, 1992, 0.000512, 0.004419),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_a_rate_has_the_wilson_interval(hits, n, low, high):
    """Wilson's interval has the published values, also at none and all."""
    found = statistics.wilson(hits, n)

    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_no_deployments_have_no_rate():
    """A rate of nothing is no data, not zero."""
    assert statistics.wilson(0, 0) == Estimate()


@pytest.mark.parametrize("n", [6, 7, 20, 71, 1000, 1001, 5000])
def test_a_medians_interval_covers_95_percent_and_no_rank_less_would(n):
    """The two ranks cover the median with 95 % or more; one rank further in covers less."""
    found = statistics.median(list(range(1, n + 1)))
    rank = int(found.low or 0)

    assert found.high == n - rank + 1
    assert _coverage(n, rank) >= 0.95 - 1e-3
    assert _coverage(n, rank + 1) < 0.95 + 1e-3


def test_under_six_values_a_median_has_no_interval():
    """Five values cannot carry a 95 % interval of the median."""
    found = statistics.median([1, 2, 3, 4, 5])

    assert (found.value, found.low, found.high, found.n) == (3.0, None, None, 5)


def test_open_failures_count_for_as_long_as_they_last():
    """The Kaplan-Meier median of the textbook's 6-MP arm is 23 weeks, and its lower bound 13."""
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    lasting = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]

    found = statistics.kaplan_meier_median(ended, lasting)

    assert (found.value, found.low, found.high, found.n) == (23.0, 13.0, None, 21)


def test_a_curve_that_stays_above_one_half_has_no_median():
    """With more than half of the failures open nobody knows the median."""
    assert statistics.kaplan_meier_median([1.0], [5.0, 6.0, 7.0]).value is None


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60))
def test_without_open_failures_kaplan_meier_is_the_median_of_the_values(values):
    """All ended: the estimate is the value at which half of the failures are over."""
    found = statistics.kaplan_meier_median(values, [])

    assert found.value == sorted(values)[(len(values) - 1) // 2]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.randoms())
def test_the_order_of_values_never_matters(values, random):
    """Medians and censored medians do not depend on the order of their input."""
    shuffled = list(values)
    random.shuffle(shuffled)

    assert statistics.median(shuffled) == statistics.median(values)
    half = len(values) // 2
    again = list(reversed(values[:half])), list(reversed(values[half:]))
    assert statistics.kaplan_meier_median(*again) == statistics.kaplan_meier_median(
        values[:half], values[half:]
    )


def test_a_difference_of_rates_has_newcombes_interval():
    """Newcombe's example (a): 56/70 against 48/80 differ by 0.2, 0.0524 to 0.3339."""
    found = statistics.difference(statistics.wilson(56, 70), statistics.wilson(48, 80))

    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


def _coverage(n: int, rank: int) -> float:
    """P(rank <= B <= n - rank) of a fair coin thrown n times."""
    scale = n * math.log(2)
    logs = itertools.accumulate(
        range(1, n + 1), lambda s, k: s + math.log((n - k + 1) / k), initial=0.0
    )
    return sum(math.exp(value - scale) for k, value in enumerate(logs) if rank <= k <= n - rank)
