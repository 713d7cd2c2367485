"""Numbers of the report in words: a value with its unit, intervals, dates in the declared zone."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

from gitops_nb.dora.definition import DAY_S, HOUR_S
from gitops_nb.dora.statistics import Estimate

NBSP = "\u00a0"
"""Between a number and its unit: the two never stand on different lines."""

_UNITS = (
    (60, 1, "s"),
    (2 * HOUR_S, 60, "min"),
    (4 * DAY_S, HOUR_S, "h"),
    (math.inf, DAY_S, "days"),
)


def duration(seconds: float, *, like: float | None = None) -> str:
    """A duration in one unit with three digits at most; in the unit of ``like``, if given.

    >>> [duration(s).replace(NBSP, " ") for s in (40, 534, 82440, 600000)]
    ['40 s', '8.9 min', '22.9 h', '6.9 days']
    """
    return NBSP.join(duration_parts(seconds, like=like))


def duration_parts(seconds: float, *, like: float | None = None) -> tuple[str, str]:
    """Number and unit of a duration; the unit is that of ``like``, if given, so that bounds share one."""
    magnitude = abs(seconds if like is None else like)
    size, unit = next((size, unit) for limit, size, unit in _UNITS if magnitude < limit)
    # A tenth of a second is below what a commit's time can tell.
    return number(round(seconds) if size == 1 else seconds / size), unit


def number(value: float) -> str:
    r"""A number with the digits that matter; a true minus sign.

    >>> number(0.0), number(3.84), number(22.94), number(1081.0), number(-0.5)
    ('0', '3.8', '22.9', '1,081', '\u22120.5')
    """
    size = abs(value)
    digits = (
        0 if size >= 99.95 or isinstance(value, int) or value == 0 else 1 if size >= 0.095 else 2
    )
    return f"{value:,.{digits}f}".replace("-", "\u2212")


def value_parts(unit: str, value: float) -> tuple[str, str]:
    """Number and unit of a metric's value, as large type and small type."""
    match unit:
        case "s":
            return duration_parts(value)
        case "ratio":
            return number(value * 100), "%"
    return number(value), "a week"


def value(unit: str, amount: float) -> str:
    """A metric's value with its unit."""
    return NBSP.join(value_parts(unit, amount))


def often(per_week: float) -> str:
    """A pace in everyday words.

    >>> [often(pace).replace(NBSP, " ") for pace in (14, 7, 2.04, 1, 0.5, 0.1)]
    ['2 times a day', 'once a day', '2 times a week', 'once a week', 'once in 2 weeks', 'once in 10 weeks']
    """
    if per_week >= 6.5:
        return _times(per_week / 7, "day")
    if per_week >= 0.95:
        return _times(per_week, "week")
    return f"once in {round(1 / per_week)}{NBSP}weeks" if per_week > 0 else "never"


def _times(count: float, unit: str) -> str:
    rounded = round(count, 1 if count < 10 else 0)
    if rounded == 1:
        return f"once a{NBSP}{unit}"
    return f"{rounded:g}{NBSP}times a{NBSP}{unit}"


def in_how_many(share: float) -> str:
    """A share in everyday words: "1 in 7", "1 in 2"; "" for none at all.

    >>> in_how_many(0.154), in_how_many(0.9), in_how_many(0)
    ('1 in 6', '9 in 10', '')
    """
    if share <= 0:
        return ""
    return f"1 in {round(1 / share)}" if share <= 0.5 else f"{round(share * 10)} in 10"


def interval(unit: str, estimate: Estimate) -> str:
    """The 95 % interval in the unit of its value: "21.1 to 25.1 h"; "" when there is none."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        if estimate.value is not None and unit == "s" and estimate.low is not None:
            low, name = duration_parts(estimate.low, like=estimate.value)
            return f"{low}{NBSP}{name} or more"
        return ""
    match unit:
        case "s":
            # A bound of a thousand minutes says less than one of hours.
            like = estimate.value if estimate.high < 20 * estimate.value else estimate.high
            low, name = duration_parts(estimate.low, like=like)
            high, _ = duration_parts(estimate.high, like=like)
        case "ratio":
            low, high, name = number(estimate.low * 100), number(estimate.high * 100), "%"
        case _:
            low, high, name = number(estimate.low), number(estimate.high), "a week"
    return f"{low} to {high}{NBSP}{name}"


def count(amount: int, noun: str, plural: str = "") -> str:
    """A count with its noun.

    >>> count(1, "week").replace(NBSP, " "), count(1200, "deployment").replace(NBSP, " ")
    ('1 week', '1,200 deployments')
    """
    return f"{amount:,}{NBSP}{noun if amount == 1 else plural or noun + 's'}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Names in a sentence: "a, b and c"."""
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def day(moment_s: int, zone: ZoneInfo) -> str:
    """A date in the zone: "17 Aug 2026"."""
    local = datetime.fromtimestamp(moment_s, zone)
    return f"{local.day}{NBSP}{local:%b}{NBSP}{local.year}"


def days(start_s: int, end_s: int, zone: ZoneInfo) -> str:
    """A window by its first and last day: "17 Aug to 15 Nov 2026"."""
    first = datetime.fromtimestamp(start_s, zone)
    last = datetime.fromtimestamp(end_s - 1, zone)
    year = "" if first.year == last.year else f"{NBSP}{first.year}"
    return f"{first.day}{NBSP}{first:%b}{year} to {last.day}{NBSP}{last:%b}{NBSP}{last.year}"
