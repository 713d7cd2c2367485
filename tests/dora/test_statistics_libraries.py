"""Our intervals against those of scipy and statsmodels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from gitops_nb.dora import changepoints, statistics
from gitops_nb.dora.definition import Bootstrap
from gitops_nb.dora.statistics import Estimate

COUNTS = st.integers(0, 400)


@given(COUNTS, st.integers(1, 400))
def test_a_rates_interval_is_statsmodels_wilson(hits, n):
    """Both bounds to the millionth, which is what a record keeps."""
    hits = min(hits, n)
    low, high = proportion_confint(hits, n, alpha=0.05, method="wilson")

    found = statistics.wilson(hits, n)

    assert (found.low, found.high) == pytest.approx((max(0, low), min(1, high)), abs=1e-6)


@given(COUNTS, COUNTS, st.integers(2, 400), st.integers(2, 400))
def test_a_difference_of_rates_is_statsmodels_newcombe(hits, earlier_hits, n, earlier_n):
    """Square and add of two Wilson intervals is its method newcomb."""
    hits, earlier_hits = min(hits, n), min(earlier_hits, earlier_n)
    low, high = confint_proportions_2indep(
        hits, n, earlier_hits, earlier_n, method="newcomb", compare="diff", correction=False
    )

    found = statistics.difference(
        statistics.wilson(hits, n), statistics.wilson(earlier_hits, earlier_n)
    )

    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-6)


@pytest.mark.parametrize("seed", range(5))
def test_rates_of_millions_are_statsmodels(seed):
    """Rounding grows with no n."""
    chance = np.random.RandomState(seed)
    for _ in range(40):
        n, earlier_n = (int(10 ** chance.uniform(3, 7)) for _ in range(2))
        hits, earlier_hits = chance.randint(0, n + 1), chance.randint(0, earlier_n + 1)
        now, before = statistics.wilson(hits, n), statistics.wilson(earlier_hits, earlier_n)
        assert (now.low, now.high) == pytest.approx(
            proportion_confint(hits, n, alpha=0.05, method="wilson"), abs=1e-6
        )
        found = statistics.difference(now, before)
        theirs = confint_proportions_2indep(
            hits, n, earlier_hits, earlier_n, method="newcomb", compare="diff", correction=False
        )
        assert (found.low, found.high) == pytest.approx(theirs, abs=5e-6)


@pytest.mark.parametrize("seed", range(20))
def test_kaplan_meier_of_thousands_with_ties_is_scipys(seed):
    """As long as the curve does not end at 0, where scipy has no band."""
    chance = np.random.RandomState(seed)
    n, top = int(10 ** chance.uniform(2, 4)), int(10 ** chance.uniform(1, 5))
    ended, lasting = chance.randint(1, top + 1, n), chance.randint(1, top + 1, n // 3)
    curve = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=ended, right=lasting)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(0.95, method="log-log")

    def crossing(one) -> float | None:
        below = one.quantiles[one.probabilities <= 0.5 + 1e-12]
        return float(below[0]) if len(below) else None

    found = statistics.kaplan_meier_median(ended.tolist(), lasting.tolist())
    assert (found.value, found.low, found.high) == tuple(
        map(crossing, (curve, band.low, band.high))
    )


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=40),
    st.lists(st.integers(1, 60), max_size=20),
)
def test_kaplan_meier_is_scipys(ended, lasting):
    """Median and both bounds are where scipy's survival curve and its log-log band cross one half."""
    assume(len(set(ended)) > 1)
    curve = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=ended, right=lasting)).sf
    with (
        warnings.catch_warnings()
    ):  # where the curve is 1 or 0 its band is no number, and it says so
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(0.95, method="log-log")

    def crossing(probabilities) -> float | None:
        # After the last failure the curve is 0 and has no band: there both bounds are 0.
        filled = np.where(curve.probabilities < 1e-12, 0.0, probabilities)
        below = np.flatnonzero(filled <= 0.5 + 1e-9)
        times = [int(i) for i in below if curve.quantiles[i] in ended]
        return float(curve.quantiles[times[0]]) if times else None

    found = statistics.kaplan_meier_median(ended, lasting)

    assert found.value == crossing(curve.probabilities)
    assert found.low == crossing(band.low.probabilities)
    assert found.high == crossing(band.high.probabilities)


@pytest.mark.parametrize("method", list(Bootstrap))
@pytest.mark.parametrize("seed", range(3))
def test_with_one_value_per_deployment_the_bootstrap_is_scipys(seed, method):
    """Percentile and BCa intervals of both agree within the noise of their draws."""
    values = np.random.RandomState(seed).lognormal(9, 1, 60)
    theirs = scipy.stats.bootstrap(
        (values,), np.median, method=method, n_resamples=4999, rng=seed
    ).confidence_interval

    clusters = [(value,) for value in values]
    found = statistics.clustered_median(clusters, samples=4999, bootstrap=method)

    assert found.low == pytest.approx(theirs.low, rel=0.05)
    assert found.high == pytest.approx(theirs.high, rel=0.05)


def test_copies_of_a_change_in_one_deployment_add_no_certainty():
    """Ten equal changes per deployment have the interval of one; drawn singly it would be narrower."""
    values = np.random.RandomState(5).lognormal(9, 1, 40).tolist()

    one = statistics.clustered_median([(value,) for value in values], samples=999)
    ten = statistics.clustered_median([(value,) * 10 for value in values], samples=999)
    single = statistics.clustered_median([(v,) for v in values for _ in range(10)], samples=999)

    assert (ten.low, ten.high) == pytest.approx((one.low, one.high), rel=0.02)
    assert single.high - single.low < 0.7 * (ten.high - ten.low)
    assert (one.n, ten.n) == (40, 400)


def test_a_bootstrap_of_the_same_values_is_the_same():
    """Two reports of the same facts have the same interval, and under 6 deployments there is none."""
    clusters = [(1.0, 2.0), (5.0,), (7.0, 9.0), (4.0,), (8.0,), (3.0,)]

    assert statistics.clustered_median(clusters, samples=99) == statistics.clustered_median(
        clusters, samples=99
    )
    assert statistics.clustered_median(clusters[:5], samples=99) == Estimate.of(5.0, n=7)
    assert statistics.clustered_median([(), ()], samples=99) == Estimate()


def _weeks(seed: int, *paces: tuple[int, float]) -> list[int]:
    chance = np.random.RandomState(seed)
    return [int(count) for weeks, pace in paces for count in chance.poisson(pace, weeks)]


@pytest.mark.parametrize("seed", range(5))
def test_a_step_in_the_pace_is_found_where_it_is(seed):
    """30 weeks at 10 and 30 at 25 change in week 30, give or take two."""
    (found,) = changepoints.changepoints(_weeks(seed, (30, 10), (30, 25)), minimum_weeks=8)

    assert abs(found - 30) <= 2


def test_a_steady_pace_has_almost_never_a_change():
    """In 40 series of 60 steady weeks at most two are told to change."""
    told = sum(
        bool(changepoints.changepoints(_weeks(seed, (60, 20)), minimum_weeks=8))
        for seed in range(40)
    )

    assert told <= 2


@pytest.mark.parametrize(("before", "after", "found"), [(8, 8, 1), (7, 9, 0), (9, 6, 0)])
def test_no_segment_is_shorter_than_the_minimum(before, after, found):
    """With eight weeks on each side a jump is told, with seven on one side it is not told there."""
    counts = [10] * before + [40] * after

    points = changepoints.changepoints(counts, minimum_weeks=8)

    assert len(points) == found or all(8 <= point <= len(counts) - 8 for point in points)
    assert before not in points or found


def test_a_change_too_small_for_a_word_is_left_out():
    """The pace before and after is told with its weeks; below the given share nothing is."""
    weeks = list(enumerate([10] * 10 + [20] * 12))

    (shift,) = changepoints.shifts(weeks, minimum_weeks=8, worth=0.2)

    assert (shift.week_s, shift.before_weeks, shift.after_weeks) == (10, 10, 12)
    assert (shift.before_per_week, shift.after_per_week) == (10, 20)
    assert changepoints.shifts(weeks, minimum_weeks=8, worth=1.5) == ()


@pytest.mark.parametrize("seed", range(40))
def test_borders_are_those_of_ruptures(seed):
    """The exact search and PELT of a library find the same segments, whatever the shortest one and its price."""
    from ruptures.detection import Pelt

    random = np.random.default_rng(seed)
    steps = [
        random.normal(random.uniform(1, 5), 0.3, random.integers(8, 40))
        for _ in range(1 + seed % 5)
    ]
    values = np.concatenate(steps)
    shortest = int(random.integers(2, 9))
    penalty = float(random.uniform(0.1, 3))
    found = (
        Pelt(model="l2", min_size=shortest, jump=1).fit(values.reshape(-1, 1)).predict(pen=penalty)
    )
    assert changepoints._best_borders(values, shortest, penalty) == tuple(found[:-1])
