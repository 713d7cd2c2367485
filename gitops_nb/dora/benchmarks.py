"""What others answered: means and deviations of DORA's 2025 survey, all industries.

The survey has a scale from 0 to 10. Level n of the Quick Check's six answers is (n - 1) / 5 * 10; a percentage
is a tenth of itself, more being worse (its mean and that of rework are the survey's "instability").

Source: dora.dev, editions_2025_industry_metrics.json, "all", CC-BY-4.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gitops_nb.dora.levels import Level

YEAR = 2025


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Mean and standard deviation on the survey's scale, in tenths: 55 is 5.5 of 10."""

    mean_tenths: int
    deviation_tenths: int

    @property
    def percent(self) -> tuple[int, int]:
        """Mean and deviation of a percentage, in percent."""
        return self.mean_tenths, self.deviation_tenths


BENCHMARKS: Mapping[str, Benchmark] = {
    "frequency": Benchmark(48, 28),
    "lead_time": Benchmark(55, 24),
    "fail_rate": Benchmark(19, 21),
    "recovery": Benchmark(74, 21),
    "rework": Benchmark(22, 22),
}
"""By the key of the metric."""


def score_tenths(level: int) -> int:
    """A level from 1 to 6 on the survey's scale, in tenths.

    >>> [score_tenths(level) for level in (1, 2, 6)]
    [0, 20, 100]
    """
    return (level - 1) * 20


def sentence(key: str, level: Level) -> str:
    """The benchmark beside a metric, for a reader; "" when there is none."""
    benchmark = BENCHMARKS.get(key)
    if benchmark is None:
        return ""
    who = f"DORA {YEAR}, all industries"
    if key in ("fail_rate", "rework"):
        percent, points = benchmark.percent
        return f"{who}: mean {percent} %, deviation {points} points"
    if not level.low:
        return ""
    low, high = (f"{score_tenths(n) // 10}" for n in (level.low, level.high))
    here = low if low == high else f"{low} to {high}"
    mean, deviation = benchmark.mean_tenths / 10, benchmark.deviation_tenths / 10
    return f"{who}: mean {mean} of 10, deviation {deviation}; this is {here} of 10"
