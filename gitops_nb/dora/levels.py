"""Levels: the answers of DORA's Quick Check, and which of them an interval stays in.

Source: dora.dev Quick Check, metrics_question_responses.json, CC-BY-4.0. The check asks for a percentage
where it asks for the change fail rate, so there is no level for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gitops_nb.dora.definition import DAY_S, HOUR_S, WEEK_S
from gitops_nb.dora.statistics import Estimate

MONTH_S = 30 * DAY_S
HALF_YEAR_S = 182 * DAY_S

_DURATIONS: tuple[tuple[float, int, str], ...] = (
    (HOUR_S, 6, "less than one hour"),
    (DAY_S, 5, "less than one day"),
    (WEEK_S, 4, "one day to one week"),
    (MONTH_S, 3, "one week to one month"),
    (HALF_YEAR_S, 2, "one to six months"),
    (float("inf"), 1, "more than six months"),
)
"""Upper bound in seconds, level, answer; for change lead time and recovery time."""

_FREQUENCIES: tuple[tuple[float, int, str], ...] = (
    (7 * 24, 6, "on demand, several a day"),
    (7, 5, "between once an hour and once a day"),
    (1, 4, "between once a day and once a week"),
    (WEEK_S / MONTH_S, 3, "between once a week and once a month"),
    (WEEK_S / HALF_YEAR_S, 2, "between once a month and once in six months"),
    (0, 1, "less than once in six months"),
)
"""Lower bound per week, level, answer. The two top answers overlap; ours is 6 from once an hour on."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level from 1 (slowest) to 6 (fastest), or the range that the interval spans; 0 is none.

    ``answer`` is the Quick Check's wording, or why there is no level.
    """

    low: int = 0
    high: int = 0
    answer: str = ""

    @property
    def is_single(self) -> bool:
        """True when the whole interval stays in one level."""
        return self.low == self.high > 0


def duration_level(estimate: Estimate) -> Level:
    """Level of a duration in seconds."""
    return _level(estimate, _of_duration)


def frequency_level(estimate: Estimate) -> Level:
    """Level of a frequency in deployments per service and week."""
    return _level(estimate, _of_frequency)


def _level(estimate: Estimate, find: Callable[[float], tuple[int, str]]) -> Level:
    if estimate.value is None:
        return Level(answer="no data")
    if estimate.low is None or estimate.high is None:
        return Level(answer="too few for an interval, so no level")
    (one, answer), (other, _) = find(estimate.low), find(estimate.high)
    if one == other:
        return Level(one, one, answer)
    return Level(min(one, other), max(one, other), "the interval spans them, so no single level")


def _of_duration(seconds: float) -> tuple[int, str]:
    return next((level, answer) for bound, level, answer in _DURATIONS if seconds < bound)


def _of_frequency(per_week: float) -> tuple[int, str]:
    return next((level, answer) for bound, level, answer in _FREQUENCIES if per_week >= bound)
