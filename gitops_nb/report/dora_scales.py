"""Small drawings of the DORA report that need no script: now above before on one scale, and sparklines.

Positions along x are percentages and text has a fixed size, so a drawing reads the same at every width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, HOUR_S, WEEK_S
from gitops_nb.dora.levels import MONTH_S
from gitops_nb.dora.results import Metric
from gitops_nb.dora.statistics import Estimate

_LEFT, _RIGHT = 22.0, 97.0
"""Where the scale begins and ends, in percent; its left holds the words "now" and "before"."""
_APART = 21.0
"""Ticks nearer than this, in percent, would run into each other on a phone."""

_DURATION_TICKS = (
    (1, "1 s"),
    (60, "1 min"),
    (600, "10 min"),
    (HOUR_S, "1 h"),
    (6 * HOUR_S, "6 h"),
    (DAY_S, "1 day"),
    (2 * DAY_S, "2 days"),
    (WEEK_S, "1 week"),
    (MONTH_S, "30 days"),
    (182 * DAY_S, "6 months"),
)
_FREQUENCY_TICKS = (
    (WEEK_S / (182 * DAY_S), "1 in 6 months"),
    (7 / 30, "1 a month"),
    (1, "1 a week"),
    (7, "1 a day"),
    (7 * 24, "1 an hour"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One estimate on a scale: a dot and, where there is an interval, a bar; all in percent."""

    name: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A named place on a scale."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Now above before, with ticks; ``label`` says the same in words. ``good`` is the side of the target that is, in percent."""

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    label: str
    target: Tick | None = None
    good: tuple[float, float] = (0.0, 0.0)


def scale(metric: Metric) -> Scale | None:
    """The drawing of a metric, or None when there is nothing to compare."""
    pairs = [("now", metric.now), ("before", metric.before)]
    known = [(name, e) for name, e in pairs if e is not None and e.value is not None]
    if not metric.has_value:
        return None
    numbers = [n for _, e in known for n in (e.value, e.low, e.high) if n is not None]
    bound = metric.target.bound if metric.target is not None else None
    if bound is not None:
        numbers.append(bound)
    if metric.unit == "ratio":
        place, ticks = _linear(max(numbers))
    else:
        candidates = _DURATION_TICKS if metric.unit == "s" else _FREQUENCY_TICKS
        place, ticks = _logarithmic([n for n in numbers if n > 0], candidates)
    target, good = None, (0.0, 0.0)
    if bound is not None:
        limit = "at least" if metric.key == "frequency" else "at most"
        target = Tick(place(bound), f"target: {limit} {words.value(metric.unit, bound)}")
        good = (target.at, _RIGHT) if metric.key == "frequency" else (_LEFT, target.at)
    return Scale(
        tuple(_mark(name, estimate, place) for name, estimate in known),
        ticks,
        ", ".join(
            [
                *(f"{name} {words.value(metric.unit, e.value or 0)}" for name, e in known),
                *([target.text] if target else []),
            ]
        ),
        target,
        good,
    )


def sparkline(counts: Sequence[int], *, height: int = 20) -> str:
    """Path of one stroke per week, 2 px apart; a week without deployments leaves a gap."""
    top = max(counts, default=0)
    if not top:
        return ""
    return "".join(
        f"M{1.5 + 2 * i:g} {height}V{height - max(1.5, (height - 1) * count / top):.3g}"
        for i, count in enumerate(counts)
        if count
    )


class _Place:
    """Turns a number into percent along the scale."""

    def __init__(self, low: float, high: float, *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        self._low = math.log(low) if logarithmic else low
        self._high = math.log(high) if logarithmic else high

    def __call__(self, number: float) -> float:
        """Percent of the drawing's width, held inside the scale."""
        if self._logarithmic:
            number = math.log(number) if number > 0 else self._low
        share = (number - self._low) / ((self._high - self._low) or 1)
        return round(_LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, share)), 2)


def _linear(largest: float) -> tuple[_Place, tuple[Tick, ...]]:
    top = next((t for t in (0.01, 0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.6) if largest <= t * 0.98), 1.0)
    place = _Place(0.0, top, logarithmic=False)
    return place, tuple(
        Tick(place(share), f"{share * 100:g}{words.NBSP}%") for share in (0, top / 2, top)
    )


def _logarithmic(
    numbers: Sequence[float], candidates: Sequence[tuple[float, str]]
) -> tuple[_Place, tuple[Tick, ...]]:
    low, high = (min(numbers), max(numbers)) if numbers else (1.0, 1.0)
    low, high = low / 1.3, high * 1.3
    if not any(low <= at <= high for at, _ in candidates):
        nearest = min(
            (at for at, _ in candidates),
            key=lambda at: min(abs(math.log(at / low)), abs(math.log(at / high))),
        )
        low, high = min(low, nearest / 1.15), max(high, nearest * 1.15)
    place = _Place(low, high, logarithmic=True)
    ticks: list[Tick] = []
    for at, text in candidates:
        if low <= at <= high and (not ticks or place(at) - ticks[-1].at >= _APART):
            ticks.append(Tick(place(at), text))
    return place, tuple(ticks)


def _mark(name: str, estimate: Estimate, place: _Place) -> Mark:
    return Mark(
        name,
        place(estimate.value or 0),
        None if estimate.low is None else place(estimate.low),
        None if estimate.high is None else place(estimate.high),
    )
