"""Claims of change by re-assigned weeks: against an enumeration of all re-assignments, and a library's permutation test."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from gitops_nb.dora import reassigning, statistics
from gitops_nb.dora.reassigning import BINS_PER_E, WeekSums, moves, step_of

ROOT = Path(__file__).parents[2]


def sums(deployments, failed=None, leads=None, *, now: int) -> WeekSums:
    """Weeks, the first ``now`` of them in this window."""
    made = np.asarray(deployments, dtype=np.float64)
    none = np.zeros_like(made)
    hits = none if failed is None else np.asarray(failed, dtype=np.float64)
    table = np.zeros((made.size, 0)) if leads is None else _table(leads)
    is_now = np.arange(made.size) < now
    return WeekSums(is_now, made, hits, none, none, table, np.zeros((made.size, 0)))


def _table(leads) -> np.ndarray:
    steps = [[step_of(value) for value in week] for week in leads]
    table = np.zeros((len(leads), max(map(max, steps)) + 1))
    for week, own in enumerate(steps):
        np.add.at(table[week], own, 1)
    return table


def test_the_spread_is_that_of_all_re_assignments():
    """999 random ones stand for all 924 of twelve weeks, within their noise."""
    counts = [9, 3, 4, 12, 8, 7, 5, 6, 4, 3, 9, 2]
    found = moves(sums(counts, now=6), ("frequency",))["frequency"]
    every = []
    for chosen in itertools.combinations(range(12), 6):
        now = sum(counts[week] for week in chosen)
        every.append(math.log((now + 0.5) / 6) - math.log((sum(counts) - now + 0.5) / 6))
    spread = math.sqrt(sum(value * value for value in every) / len(every))
    bound = np.quantile(np.abs(every), 0.95, method="higher")
    assert found.by == pytest.approx(math.log(43.5 / 29.5))
    assert found.reach == pytest.approx(bound, rel=0.06)
    assert found.visible == pytest.approx(found.reach + 0.8416 * spread, rel=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_a_claim_is_that_of_scipys_permutation_test(seed):
    """One metric alone: told where a library's two-sided permutation test of the same statistic is below 5 %."""
    chance = np.random.RandomState(seed)
    made = chance.poisson(20, 26)
    failed = chance.binomial(made, 0.1 + 0.12 * (np.arange(26) < 13) * (seed % 2))
    found = moves(sums(made, failed, now=13), ("fail_rate",))["fail_rate"]

    def statistic(first, second, axis=-1):
        one, other = (made[part.astype(int)] for part in (first, second))
        hit, missed = (failed[part.astype(int)] for part in (first, second))
        return hit.sum(axis) / one.sum(axis) - missed.sum(axis) / other.sum(axis)

    theirs = scipy.stats.permutation_test(
        (np.arange(13), np.arange(13, 26)), statistic, vectorized=True, n_resamples=4999, rng=seed
    )
    assert (abs(found.by) > found.reach) is bool(theirs.pvalue < 0.05)


def test_every_metric_more_makes_the_others_harder_to_tell():
    """Judged together, each needs a larger move than judged alone: the chance of any false claim is what is held."""
    chance = np.random.RandomState(3)
    made = chance.poisson(20, 26)
    failed = chance.binomial(made, 0.1)
    leads = [chance.lognormal(11, 1, n).astype(int) for n in made]
    weeks = sums(made, failed, leads, now=13)
    alone = moves(weeks, ("lead_time",))["lead_time"]
    together = moves(weeks, ("frequency", "lead_time", "fail_rate"))["lead_time"]
    assert together.by == alone.by
    assert together.reach > alone.reach


def test_a_median_by_steps_is_that_of_the_values():
    """Within a step of 1.6 %, for few and for many values; a step is the same for every whole second."""
    chance = np.random.RandomState(5)
    for n in (1, 2, 7, 1000):
        now, before = (chance.lognormal(mean, 1, n).astype(int) + 60 for mean in (11, 12))
        half, rest = np.array_split(now, 3), np.array_split(before, 3)
        weeks = [part if part.size else np.array([60]) for part in (*half, *rest)]
        found = moves(sums([1] * 6, leads=weeks, now=3), ("lead_time",))["lead_time"]
        exact = math.log(
            (np.median(np.concatenate(weeks[:3])) + 1) / (np.median(np.concatenate(weeks[3:])) + 1)
        )
        assert found.by == pytest.approx(exact, abs=0.6 if n < 7 else 2 / BINS_PER_E)


def test_weeks_without_data_tell_nothing():
    """Too few weeks, none on one side, no deployment, no duration: no claim can be made of them."""
    assert moves(sums([1, 2, 3, 4, 5], now=2), ("frequency",)) == {}
    assert moves(sums([1] * 8, now=8), ("frequency",)) == {}
    assert moves(sums([0] * 8, now=4), ("frequency", "lead_time", "fail_rate")) == {}
    assert moves(sums([3, 1, 2, 2, 0, 0, 0, 0], now=4), ("frequency",)) == {}
    never = moves(sums([5] * 8, [0] * 8, now=4), ("fail_rate",))["fail_rate"]
    assert (never.by, never.reach) == (0.0, 0.0)


def test_of_many_alike_none_is_told_apart():
    """The highest of two hundred services that fail alike is not above the others; one that fails twice as often is."""
    chance = np.random.RandomState(1)
    false = 0
    for _ in range(100):
        hits = chance.binomial(60, 0.1, 200)
        total = int(hits.sum())
        false += any(
            statistics.is_above(int(one), 60, (total - int(one), 199 * 60), of=200) for one in hits
        )
    assert false <= 5
    assert statistics.is_above(24, 80, (120, 1200), of=12)


@pytest.mark.torture
def test_the_calibration_runs():
    """A few histories of each kind: claims of a change of a metric are seldom, and none is reversed."""
    done = subprocess.run(
        (sys.executable, str(ROOT / "tools/calibrate.py"), "4", "2"),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    heads, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()
    )
    assert rows[0][0] == "independent"
    assert len(rows) == 6
    assert {row[heads.index("reversed")] for row in rows} == {"0"}
    assert reassigning.LEVEL == 0.05
