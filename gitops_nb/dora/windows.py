"""Windows and weeks in one declared time zone. Facts are UTC epoch seconds; only borders know the zone."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gitops_nb.errors import UsageError

_RELATIVE = re.compile(r"([1-9]\d{0,3})([dw])")
_YEAR = re.compile(r"(\d{4})(?:-Q([1-4]))?")
_BETWEEN = re.compile(r"(\d{4}-\d\d-\d\d)/(\d{4}-\d\d-\d\d)")
_SHAPES = "90d, 13w, 2024, 2024-Q3 or 2024-01-01/2024-07-01 (the last day is not in it)"


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open [start_s, end_s), in UTC epoch seconds; both are midnights in the declared zone."""

    start_s: int
    end_s: int

    @property
    def seconds(self) -> int:
        """Its length."""
        return self.end_s - self.start_s

    def holds(self, moment_s: int) -> bool:
        """True when the moment lies in it."""
        return self.start_s <= moment_s < self.end_s


def read_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        UsageError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"time_zone: {name!r} is no IANA time zone", hint="Use one like Europe/Berlin or UTC."
        ) from error


def read_window(text: str, *, now_s: int, zone: ZoneInfo) -> Window:
    """Reads a window parameter.

    ``90d`` and ``13w`` mean that many complete ISO weeks before the present one (90d is 13 weeks), so that
    every week in the window is complete. A year, a quarter and a pair of dates mean exactly these days.

    Raises:
        UsageError: The text has none of these shapes, or the window is empty or begins in the future.
    """
    match = _RELATIVE.fullmatch(text)
    if match:
        weeks = max(1, round(int(match[1]) / 7)) if match[2] == "d" else int(match[1])
        end = week_start(datetime.fromtimestamp(now_s, zone).date())
        return _days(end - timedelta(weeks=weeks), end, zone=zone)
    match = _YEAR.fullmatch(text)
    if match:
        year, quarter = int(match[1]), int(match[2] or 0)
        if quarter:
            last = date(year + 1, 1, 1) if quarter == 4 else date(year, quarter * 3 + 1, 1)
            return _past(_days(date(year, quarter * 3 - 2, 1), last, zone=zone), text, now_s)
        return _past(_days(date(year, 1, 1), date(year + 1, 1, 1), zone=zone), text, now_s)
    match = _BETWEEN.fullmatch(text)
    if match:
        try:
            start, end = date.fromisoformat(match[1]), date.fromisoformat(match[2])
        except ValueError as error:
            raise UsageError(f"window: {text!r}: {error}", hint=f"Write {_SHAPES}.") from error
        if start >= end:
            raise UsageError(
                f"window: {text!r} ends before it begins", hint="Write the earlier day first."
            )
        return _past(_days(start, end, zone=zone), text, now_s)
    raise UsageError(f"window: {text!r} is not a window", hint=f"Write {_SHAPES}.")


def before(window: Window, *, zone: ZoneInfo) -> Window:
    """The window of the same length that ends where this one begins.

    Whole months are shifted by months, so that the one before 2024 is 2023; all others by days.
    """
    first = datetime.fromtimestamp(window.start_s, zone).date()
    last = datetime.fromtimestamp(window.end_s, zone).date()
    if first.day == last.day == 1:
        months = first.year * 12 + first.month - 1
        earlier = 2 * months - (last.year * 12 + last.month - 1)
        return _days(date(earlier // 12, earlier % 12 + 1, 1), first, zone=zone)
    return _days(first - (last - first), first, zone=zone)


def week_start(day: date) -> date:
    """The Monday of a day's ISO week."""
    return day - timedelta(days=day.weekday())


def week_borders(start_s: int, end_s: int, *, zone: ZoneInfo) -> tuple[int, ...]:
    """Mondays at midnight that cover [start_s, end_s): n weeks have n + 1 borders.

    Weeks with a change of daylight saving time are an hour longer or shorter.
    """
    monday = week_start(datetime.fromtimestamp(start_s, zone).date())
    borders = [_midnight(monday, zone)]
    while borders[-1] < end_s:
        monday += timedelta(weeks=1)
        borders.append(_midnight(monday, zone))
    return tuple(borders)


def day_borders(start_s: int, end_s: int, *, zone: ZoneInfo) -> tuple[int, ...]:
    """Midnights that cover [start_s, end_s): n days have n + 1 borders."""
    day = datetime.fromtimestamp(start_s, zone).date()
    borders = [_midnight(day, zone)]
    while borders[-1] < end_s:
        day += timedelta(days=1)
        borders.append(_midnight(day, zone))
    return tuple(borders)


def complete_weeks(window: Window, *, zone: ZoneInfo) -> int:
    """How many whole ISO weeks the window holds."""
    borders = week_borders(window.start_s, window.end_s, zone=zone)
    return sum(window.start_s <= a and b <= window.end_s for a, b in itertools.pairwise(borders))


def _past(window: Window, text: str, now_s: int) -> Window:
    if window.start_s >= now_s:
        raise UsageError(f"window: {text!r} begins in the future", hint=f"Write {_SHAPES}.")
    return window


def _days(start: date, end: date, *, zone: ZoneInfo) -> Window:
    return Window(_midnight(start, zone), _midnight(end, zone))


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).astimezone(UTC).timestamp())
