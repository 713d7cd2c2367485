"""The few statistics of the report: intervals for rates, medians and censored times.

They work on small numbers of aggregated values, so exactness and a readable source go before speed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from gitops_nb.dora.definition import Bootstrap

Z = 1.959963984540054
"""97.5 % quantile of the normal distribution: all intervals are two-sided 95 %."""

MINIMUM_CLUSTERS = 6
"""Fewer have no interval: with 5 values even the whole range covers the median with less than 95 %."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
_SEED = 20_260_101
_HALF = 0.5 + 1e-12
"""One half, with room for the rounding of a product of many factors."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, kept in whole millionths: the record of a run holds no floats.

    No value: no data. A value without bounds: too few for an interval.
    """

    value_millionths: int | None = None
    low_millionths: int | None = None
    high_millionths: int | None = None
    n: int = 0

    @classmethod
    def of(
        cls, value: float | None, low: float | None = None, high: float | None = None, *, n: int
    ) -> Estimate:
        """An estimate from floats, each rounded to the nearest millionth."""
        return cls(_millionths(value), _millionths(low), _millionths(high), n)

    @property
    def value(self) -> float | None:
        """The value, or None when there is no data."""
        return _units(self.value_millionths)

    @property
    def low(self) -> float | None:
        """Lower end of the interval, or None."""
        return _units(self.low_millionths)

    @property
    def high(self) -> float | None:
        """Upper end of the interval, or None."""
        return _units(self.high_millionths)


def wilson(hits: int, n: int) -> Estimate:
    """A proportion with its score interval; n = 0 gives no value.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209; recommended by Brown, Cai and DasGupta 2001.

    >>> e = wilson(1, 5)
    >>> round(e.low, 3), round(e.high, 3)
    (0.036, 0.624)
    """
    if n == 0:
        return Estimate()
    share = hits / n
    centre = share + Z * Z / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    # At 0 and n the bound is exactly 0 or 1; the formula misses it by rounding.
    low = 0.0 if hits == 0 else (centre - spread) / scale
    high = 1.0 if hits == n else (centre + spread) / scale
    return Estimate.of(share, low, high, n=n)


def is_above(hits: int, n: int, others: tuple[int, int], *, of: int) -> bool:
    """Whether a proportion lies above that of others, when the highest of so many alike had to be told from chance.

    Args:
        hits: How many of ``n``.
        n: How many there are.
        others: The same of all others together.
        of: How many proportions are looked at: a level of 1 % is shared among them (Bonferroni).
    """
    if not n or not others[1]:
        return False
    pooled = (hits + others[0]) / (n + others[1])
    return hits > n * pooled and _upper_tail(hits, n, pooled) < 0.01 / max(1, of)


def _upper_tail(hits: int, n: int, share: float) -> float:
    """P(B >= hits) for B ~ Bin(n, share), exactly."""
    if share >= 1:
        return 1.0
    scale = math.lgamma(n + 1)
    return sum(
        math.exp(
            scale
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(share)
            + (n - k) * math.log1p(-share)
        )
        for k in range(hits, n + 1)
    )


def dispersion(counts: Sequence[int]) -> float:
    """Variance of counts over their mean, 1 at least: how much more they scatter than chance alone would have it."""
    if len(counts) < 2 or not sum(counts):
        return 1.0
    mean = sum(counts) / len(counts)
    return max(1.0, sum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / mean)


def median(values: Sequence[float]) -> Estimate:
    """The median with the interval between two order statistics; under 6 values there is none.

    Source: Hahn and Meeker, Statistical Intervals, 1991, section 5.2: the closest pair of ranks that is
    symmetric and covers the median with at least 95 %, by the binomial distribution.

    >>> e = median([1, 2, 3, 4, 5, 6])
    >>> e.value, e.low, e.high, e.n
    (3.5, 1.0, 6.0, 6)
    """
    n = len(values)
    if n == 0:
        return Estimate()
    ordered = sorted(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    low, high = median_ranks(n)
    if not low:
        return Estimate.of(middle, n=n)
    return Estimate.of(middle, ordered[low - 1], ordered[high - 1], n=n)


def median_ranks(n: int) -> tuple[int, int]:
    """The ranks, from 1, of the two values that bound the median of ``n``; (0, 0) for under 6 values."""
    rank = _median_rank(n)
    return (rank, n - rank + 1) if rank else (0, 0)


def clustered_median(
    clusters: Sequence[Sequence[float]],
    *,
    samples: int,
    bootstrap: Bootstrap = Bootstrap.PERCENTILE,
) -> Estimate:
    """The median of all values, with an interval from a bootstrap that draws whole clusters.

    Changes that arrive with one deployment are not independent: drawing single values would make the interval
    too narrow. Draws are seeded, so the same values always have the same interval; under 6 clusters there is
    none, as in ``median``.

    Args:
        clusters: The values of each deployment; empty ones are left out.
        samples: How many times clusters are drawn.
        bootstrap: BCa moves the interval by the bias of the draws and by how much single clusters matter.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (cluster
    resampling), 5.3.1 (percentile method) and 5.3.2 (BCa).
    """
    filled = [cluster for cluster in clusters if len(cluster)]
    values = np.asarray([value for cluster in filled for value in cluster], dtype=np.float64)
    if not values.size:
        return Estimate()
    centre = float(np.median(values))
    if len(filled) < MINIMUM_CLUSTERS:
        return Estimate.of(centre, n=values.size)
    owner = np.repeat(np.arange(len(filled)), [len(cluster) for cluster in filled])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    # The stream of this generator is fixed by numpy for good (NEP 19), unlike that of default_rng.
    chance = np.random.RandomState(_SEED)
    medians: list[float] = []
    # Rows of draws at a time, so that a service with very many changes fits into memory.
    rows = max(1, min(samples, 2_000_000 // values.size))
    while len(medians) < samples:
        wanted = min(rows, samples - len(medians))
        drawn = chance.randint(0, len(filled), (wanted, len(filled)))
        drawn += np.arange(wanted)[:, None] * len(filled)
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        weight = np.cumsum(times[:, owner], axis=1)
        total = weight[:, -1:]
        # Weighted median: the mean of the two middle values when the total is even.
        low = values[(weight < (total + 1) // 2).sum(axis=1)]
        high = values[(weight < total // 2 + 1).sum(axis=1)]
        medians += ((low + high) / 2).tolist()
    shares = [0.025, 0.975]
    if bootstrap is Bootstrap.BCA:
        shares = _bca_shares(medians, centre, _medians_without(values, owner, len(filled)))
    low, high = np.quantile(medians, shares)
    return Estimate.of(centre, float(low), float(high), n=values.size)


def _bca_shares(draws: Sequence[float], value: float, without: Sequence[float]) -> list[float]:
    """Which quantiles of the draws bound a BCa interval; ``without`` is the value without each cluster."""
    normal = NormalDist()
    below = (np.sum(np.less(draws, value)) + np.sum(np.less_equal(draws, value))) / (2 * len(draws))
    if not 0 < below < 1:
        return [0.025, 0.975]
    bias = normal.inv_cdf(float(below))
    apart = np.mean(without) - np.asarray(without)
    spread = float(np.sum(apart**2))
    acceleration = float(np.sum(apart**3)) / (6 * spread**1.5) if spread else 0.0

    def share(z: float) -> float:
        return normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))

    return [share(-Z), share(Z)]


def _medians_without(values: Floats, owner: Places, clusters: int) -> list[float]:
    """The median of the sorted values without those of each cluster in turn."""
    found = []
    for cluster in range(clusters):
        kept = values[owner != cluster]
        found.append(float((kept[(kept.size - 1) // 2] + kept[kept.size // 2]) / 2))
    return found


def quantile(values: Sequence[float], share: float) -> float | None:
    """Quantile with linear interpolation (type 7, as in numpy and DuckDB's quantile_cont)."""
    if not values:
        return None
    ordered = sorted(values)
    position = (len(ordered) - 1) * share
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def kaplan_meier_median(ended: Sequence[float], still_open: Sequence[float]) -> Estimate:
    """Median of durations of which some have not ended yet, with its interval.

    Args:
        ended: Durations that ended.
        still_open: How long the open ones have lasted so far (right-censored).

    Returns:
        ``value`` is None when the curve does not fall to one half: more than half are still open.
        A bound is None where the curve's band does not cross one half.

    Source: Kaplan and Meier 1958; Greenwood's variance; band on the log-log scale and its inversion for
    the median: Brookmeyer and Crowley 1982, Biometrics 38:29.
    """
    n = len(ended) + len(still_open)
    ends, opens = sorted(map(float, ended)), sorted(map(float, still_open))
    survival, greenwood = 1.0, 0.0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    for t in sorted(set(ends)):
        gone = bisect_left(ends, t)
        at_risk = n - gone - bisect_left(opens, t)
        deaths = bisect_right(ends, t) - gone
        survival *= 1 - deaths / at_risk
        if value is None and survival <= _HALF:
            value = t
        if survival > 0:
            greenwood += deaths / (at_risk * (at_risk - deaths))
            bound = Z * math.sqrt(greenwood) / abs(math.log(survival))
            lower, upper = survival ** math.exp(bound), survival ** math.exp(-bound)
        else:
            lower, upper = 0.0, 0.0
        if low is None and lower <= _HALF:
            low = t
        if high is None and upper <= _HALF:
            high = t
    return Estimate.of(value, low, high, n=n)


def difference(now: Estimate, then: Estimate) -> Estimate:
    """``now`` minus ``then`` with an interval from the intervals of both (square and add).

    Source: Newcombe 1998, Stat. Med. 17:873, method 10; for other estimates Zou and Donner 2008.
    """
    if now.value is None or then.value is None:
        return Estimate()
    change = now.value - then.value
    n = min(now.n, then.n)
    if now.low is None or now.high is None or then.low is None or then.high is None:
        return Estimate.of(change, n=n)
    down = math.hypot(now.value - now.low, then.high - then.value)
    up = math.hypot(now.high - now.value, then.value - then.low)
    return Estimate.of(change, change - down, change + up, n=n)


def _millionths(number: float | None) -> int | None:
    return None if number is None else round(number * 1_000_000)


def _units(millionths: int | None) -> float | None:
    return None if millionths is None else millionths / 1_000_000


def _median_rank(n: int) -> int:
    """The largest rank r with P(r <= B < n - r + 1) >= 0.95 for B ~ Bin(n, 1/2), or 0."""
    if n > 1000:
        # The binomial is normal here to well under one rank in a hundred.
        return math.floor((n + 1) / 2 - Z * math.sqrt(n) / 2)
    tail, rank = 0.0, 0
    scale = n * math.log(2)
    for k in range(n // 2 + 1):
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - scale)
        if tail > 0.025:
            break
        rank = k + 1
    return rank
