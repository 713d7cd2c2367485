"""Where the pace of deployments changed: one method, with a minimum length of what lies between two changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PENALTY = 4
"""Twice the weight of Schwarz's criterion: a change that is told in vain costs a reader more than a missed one."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A week from which on the pace differs: deployments and weeks of the segments before and after it."""

    week_s: int
    before_deployments: int
    before_weeks: int
    after_deployments: int
    after_weeks: int

    @property
    def before_per_week(self) -> float:
        """Deployments of all services per week in the segment before."""
        return self.before_deployments / self.before_weeks

    @property
    def after_per_week(self) -> float:
        """Deployments of all services per week in the segment that begins here."""
        return self.after_deployments / self.after_weeks


def changepoints(counts: Sequence[int], *, minimum_weeks: int) -> tuple[int, ...]:
    """Indexes of the weeks where a new segment begins; none in a series shorter than two segments.

    The best segments of the logarithms of the weekly counts, least squares, at least ``minimum_weeks`` each. A
    further segment has to pay ``PENALTY`` times the logarithm of the number of weeks in units of the noise, which
    is judged from the differences of neighbouring weeks, so that a step hardly counts as noise.

    Source: Jackson et al. 2005, IEEE Signal Process. Lett. 12:105 (optimal partitioning, which PELT prunes: Killick,
    Fearnhead and Eckley 2012, J. Am. Stat. Assoc. 107:1590); noise by differences: von Neumann 1941.
    """
    if len(counts) < 2 * minimum_weeks:
        return ()
    logarithms = np.log1p(np.asarray(counts, dtype=np.float64))
    noise = float(np.mean(np.diff(logarithms) ** 2)) / 2
    if noise == 0:
        return ()
    return _best_borders(logarithms, minimum_weeks, PENALTY * noise * math.log(len(counts)))


def _best_borders(values: np.ndarray, shortest: int, penalty: float) -> tuple[int, ...]:
    """Where the segments with the least squares begin, each further one at a price; exact, for hundreds of values.

    A library that does this brings a second of imports for what is one loop.
    """
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    count = len(values)
    best = np.full(count + 1, np.inf)
    best[0] = -penalty
    begins = [0] * (count + 1)
    for end in range(shortest, count + 1):
        starts = np.arange(0, end - shortest + 1)
        own = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        costs = best[starts] + own + penalty
        begins[end] = int(starts[np.argmin(costs)])
        best[end] = costs.min()
    borders: list[int] = []
    at = begins[count]
    while at:
        borders.append(at)
        at = begins[at]
    return tuple(reversed(borders))


def shifts(
    weeks: Sequence[tuple[int, int]], *, minimum_weeks: int, worth: float
) -> tuple[Shift, ...]:
    """The changepoints of a series of complete weeks as (start, deployments), of ``worth`` or more.

    ``worth`` is the least relative change of the pace that is worth a word.
    """
    counts = [count for _, count in weeks]
    borders = [0, *changepoints(counts, minimum_weeks=minimum_weeks), len(counts)]
    found = []
    for start, middle, end in zip(borders, borders[1:], borders[2:], strict=False):
        shift = Shift(
            weeks[middle][0],
            sum(counts[start:middle]),
            middle - start,
            sum(counts[middle:end]),
            end - middle,
        )
        if abs(shift.after_per_week - shift.before_per_week) >= worth * shift.before_per_week:
            found.append(shift)
    return tuple(found)
