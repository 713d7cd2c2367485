"""Intervals of one window: its whole weeks are drawn anew, and with them whole deployments.

What arrives in one week depends on each other: changes travel in one deployment, and a week may be slow for a whole fleet. An
interval over single changes or deployments is too narrow then; one over weeks holds whatever happens within a week.

Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (whole clusters); Korn and Graubard 1998,
Survey Methodology 24:193 (a score interval at the effective number); Student's t in place of the normal for few weeks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gitops_nb.dora.reassigning import Floats, middles
from gitops_nb.dora.statistics import Estimate, Z, wilson

DRAWS = 999
LEAST_WEEKS = 6
"""Fewer weeks tell too little of how weeks differ."""
_SEED = 20_260_102


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t, to two parts in a thousand from five degrees of freedom on.

    Source: Abramowitz and Stegun 1964, 26.7.5.

    >>> round(t_quantile(12), 3)
    2.179
    """
    z, n = Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def median_by_weeks(estimate: Estimate, steps: Floats) -> Estimate:
    """A median of durations in seconds with the interval of its weeks; as it is where there are too few of them.

    Args:
        estimate: The median.
        steps: How many durations each week has of each step of ``reassigning.step_of``: weeks by steps.
    """
    filled = steps[steps.sum(axis=1) > 0]
    weeks = filled.shape[0]
    if estimate.value is None or weeks < LEAST_WEEKS:
        return estimate
    found = middles(_draws(weeks) @ filled)
    reach = _reach(found, weeks)
    unit = estimate.value + 1
    low, high = (unit * math.exp(side * reach) - 1 for side in (-1, 1))
    return Estimate.of(estimate.value, max(0.0, low), high, n=estimate.n)


def share_by_weeks(hits: Floats, made: Floats) -> Estimate:
    """A share of deployments with a score interval at the number that the scatter of its weeks leaves; see ``wilson``.

    Args:
        hits: How many such deployments each week has.
        made: How many deployments each week has.
    """
    total, n = int(hits.sum()), int(made.sum())
    plain = wilson(total, n)
    weeks = int((made > 0).sum())
    if weeks < LEAST_WEEKS or total in (0, n):
        return plain
    share = total / n
    apart = hits - share * made
    by_weeks = weeks / (weeks - 1) * float(apart @ apart) / n**2
    effect = max(1.0, by_weeks / (share * (1 - share) / n)) * (t_quantile(weeks - 1) / Z) ** 2
    low, high = _score(share, n / effect)
    return Estimate.of(share, low, high, n=n)


def rate_by_weeks(estimate: Estimate, counts: Floats, present: Floats) -> Estimate:
    """The median service's deployments per week with the interval of its weeks; as it is where there are too few of them.

    Args:
        estimate: The median of the services' rates.
        counts: Deployments: services by weeks.
        present: Which part of each week each service was there, likewise.
    """
    weeks = counts.shape[1]
    if estimate.value is None or weeks < LEAST_WEEKS or not counts.shape[0]:
        return estimate
    drawn = _draws(weeks)
    there = drawn @ present.T
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(there >= 1, (drawn @ counts.T) / there, np.nan)
    rates = rates[:, ~np.isnan(rates).all(axis=0)]
    reach = _reach(np.nanmedian(rates, axis=1), weeks)
    low, high = max(0.0, estimate.value - reach), estimate.value + reach
    return Estimate.of(estimate.value, low, high, n=estimate.n)


def _draws(weeks: int) -> Floats:
    """How often each week is drawn, of so many: draws by weeks."""
    # The stream of this generator is fixed by numpy for good (NEP 19), unlike that of default_rng.
    chance: Any = np.random.RandomState(_SEED)
    found: Floats = chance.multinomial(weeks, np.full(weeks, 1 / weeks), size=DRAWS).astype(float)
    return found


def _reach(values: Floats, weeks: int) -> float:
    spread = float(np.std(values[np.isfinite(values)]))
    return t_quantile(weeks - 1) * spread * math.sqrt(weeks / (weeks - 1))


def _score(share: float, n: float) -> tuple[float, float]:
    scale = 1 + Z * Z / n
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    centre = share + Z * Z / (2 * n)
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
