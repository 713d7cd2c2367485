"""What changed between two windows: whole weeks re-assigned to them at random, all metrics judged together.

Changes that travel in one deployment, deployments of one day, and what slows a whole fleet for a week do not depend on chance
alone: an interval over single changes claims a change where nothing changed, in half of such histories. A week as a whole may
hold any dependence; all that is assumed is that the weeks of an unchanged fleet could stand in any order.

Source: Westfall and Young, Resampling-Based Multiple Testing, 1993, section 2.3 (the largest statistic); Good, Permutation,
Parametric and Bootstrap Tests of Hypotheses, 2005, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

DRAWS = 999
LEVEL = 0.05
"""How often a history in which nothing changed may be told a change, of any metric."""
BINS_PER_E = 64
"""Durations are counted on a scale of logarithms, so many steps for a factor of e: a step is 1.6 %."""
OFTEN = 0.8416212335729143
"""80 % quantile of the normal distribution."""
_SEED = 20_260_101
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class WeekSums:
    """What the compared weeks hold, of the services that both windows have.

    ``is_now`` says which weeks are of this window. ``deployments``, ``failed``, ``unplanned`` and ``rollbacks`` are sums by week.
    ``leads`` and ``recoveries`` count durations by week and step of ``step_of``; a failure that lasts has no step, and is
    counted in the last column of ``recoveries``.
    """

    is_now: Bools
    deployments: Floats
    failed: Floats
    unplanned: Floats
    rollbacks: Floats
    leads: Floats
    recoveries: Floats


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a metric moved, on its scale: the logarithm of a ratio, or a difference of shares.

    A move beyond ``reach`` is a change. ``visible`` is what would be told in four of five histories like this one.
    """

    by: float
    reach: float
    visible: float


def step_of(seconds: int) -> int:
    """The step of a duration on the scale of logarithms; the same in every engine, for no whole number lies on a border.

    >>> step_of(0), step_of(3600), step_of(3700)
    (0, 524, 525)
    """
    return math.floor(math.log(seconds + 1) * BINS_PER_E)


def moves(sums: WeekSums, keys: tuple[str, ...]) -> Mapping[str, Moved]:
    """How far each metric moved, and how far re-assigned weeks move it.

    Args:
        sums: The weeks; too few of them, under 6 in both windows together, tell nothing.
        keys: Which metrics are judged: of ``frequency``, ``lead_time``, ``fail_rate``, ``rework``, ``rollbacks``, ``recovery``.

    Returns:
        By key; a metric without data on one side is not in it.
    """
    weeks = sums.is_now.size
    if weeks < 6 or sums.is_now.all() or not sums.is_now.any():
        return {}
    # The stream of this generator is fixed by numpy for good (NEP 19), unlike that of default_rng.
    chance = np.random.RandomState(_SEED)
    order = chance.rand(DRAWS, weeks).argsort(axis=1)
    drawn = np.vstack([sums.is_now, sums.is_now[order]]).astype(np.float64)
    found: dict[str, tuple[float, float]] = {}
    largest = np.zeros(DRAWS)
    for key in keys:
        values = _STATISTICS[key](sums, drawn)
        if not np.isfinite(values[0]):
            continue
        redrawn = np.where(np.isfinite(values[1:]), values[1:], 0.0)
        spread = float(np.sqrt(np.mean(redrawn**2)))
        found[key] = float(values[0]), spread
        if spread:
            largest = np.maximum(largest, np.abs(redrawn) / spread)
    # The observed split is one of the re-assignments, too.
    place = math.ceil((1 - LEVEL) * (DRAWS + 1)) - 1
    bound = float(np.sort(largest)[min(place, DRAWS - 1)])
    return {
        key: Moved(by, bound * spread, (bound + OFTEN) * spread)
        for key, (by, spread) in found.items()
    }


def _frequency(sums: WeekSums, now: Floats) -> Floats:
    made, weeks = now @ sums.deployments, now.sum(axis=1)
    total, every = sums.deployments.sum(), sums.is_now.size
    if not made[0] or made[0] == total:
        return np.full(now.shape[0], np.nan)
    # Half a deployment more, so that weeks without any have a logarithm.
    ratio: Floats = np.log((made + _HALF) / weeks) - np.log(
        (total - made + _HALF) / (every - weeks)
    )
    return ratio


def _share(events: str) -> Callable[[WeekSums, Floats], Floats]:
    def difference(sums: WeekSums, now: Floats) -> Floats:
        hits: Floats = getattr(sums, events)
        made, hit = now @ sums.deployments, now @ hits
        total, every = sums.deployments.sum(), hits.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = hit / made - (every - hit) / (total - made)
        return found

    return difference


def _durations(table: str) -> Callable[[WeekSums, Floats], Floats]:
    def difference(sums: WeekSums, now: Floats) -> Floats:
        counts: Floats = getattr(sums, table)
        return middles(now @ counts) - middles((1 - now) @ counts)

    return difference


def middles(counts: Floats) -> Floats:
    """The median of each row of counts by step, as a logarithm; nan for an empty row."""
    if not counts.shape[1]:
        return np.full(counts.shape[0], np.nan)
    up_to = counts.cumsum(axis=1)
    half = up_to[:, -1] * _HALF
    step = (up_to < half[:, None]).sum(axis=1).clip(max=counts.shape[1] - 1)
    rows = np.arange(counts.shape[0])
    below = up_to[rows, step] - counts[rows, step]
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (half - below) / counts[rows, step]
        found: Floats = np.where(half > 0, (step + within) / BINS_PER_E, np.nan)
    return found


_STATISTICS: Mapping[str, Callable[[WeekSums, Floats], Floats]] = {
    "frequency": _frequency,
    "lead_time": _durations("leads"),
    "fail_rate": _share("failed"),
    "rework": _share("unplanned"),
    "rollbacks": _share("rollbacks"),
    "recovery": _durations("recoveries"),
}
