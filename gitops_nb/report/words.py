"""Numbers and times in words: durations, ages, moments in the reader's zone, counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gitops_nb.model import parse_time

NBSP = "\u00a0"
"""Between a number and its unit, which never break apart."""


def duration(span: timedelta) -> str:
    """A length of time in its two largest units.

    >>> [duration(timedelta(seconds=s)).replace(NBSP, " ") for s in (0.34, 9, 192, 9240, 200000)]
    ['340 ms', '9 s', '3 min 12 s', '2 h 34 min', '2 d 7 h']
    """
    seconds = span.total_seconds()
    if 0 <= seconds < 1:
        return f"{round(seconds * 1000)}{NBSP}ms"
    whole = max(round(seconds), 0)
    for size_s, large, small_s, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size_s:
            rest = whole % size_s // small_s
            return f"{whole // size_s}{NBSP}{large}" + (f" {rest}{NBSP}{small}" if rest else "")
    return f"{whole}{NBSP}s"


def milliseconds(count: int) -> str:
    """As ``duration``, for a count of milliseconds."""
    return duration(timedelta(milliseconds=count))


def count(number: int, noun: str, plural: str = "") -> str:
    r"""A number with its noun.

    >>> count(1, "gate"), count(3, "gate"), count(2, "entry", "entries")
    ('1\xa0gate', '3\xa0gates', '2\xa0entries')
    """
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,}{NBSP}{word}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


@dataclass(frozen=True, slots=True)
class Times:
    """Moments as a reader in ``zone`` sees them, with ages counted to ``now``.

    Every method takes RFC 3339 text, as a journal holds it, or a datetime; "" gives "".
    """

    now: datetime
    zone: str

    def local(self, moment: str | datetime) -> datetime:
        """The moment in the zone."""
        value = parse_time(moment) if isinstance(moment, str) else moment
        return value.astimezone(ZoneInfo(self.zone))

    def clock(self, moment: str | datetime) -> str:
        """Time of day with the offset: ``10:14:12 +01:00``."""
        if not moment:
            return ""
        local = self.local(moment)
        return f"{local:%H:%M:%S}{NBSP}{_offset(local)}"

    def span(self, start: str | datetime, end: str | datetime) -> str:
        """From one time of day to another; the offset stands once when both share it."""
        if not end:
            return self.clock(start)
        first, last = self.local(start), self.local(end)
        begin = f"{first:%H:%M:%S}" if first.utcoffset() == last.utcoffset() else self.clock(start)
        return f"{begin} to {self.clock(end)}"

    def day(self, moment: str | datetime) -> str:
        """The date: ``Mon 23 Nov 2026``."""
        if not moment:
            return ""
        local = self.local(moment)
        return f"{local:%a} {local.day}{NBSP}{local:%b}{NBSP}{local.year}"

    def full(self, moment: str | datetime) -> str:
        """Date and time: ``Mon 23 Nov 2026, 10:14:12 +01:00``."""
        return f"{self.day(moment)}, {self.clock(moment)}" if moment else ""

    def near(self, moment: str | datetime) -> str:
        """The time of day when it is today, else date and time; never without the offset."""
        if not moment:
            return ""
        same_day = self.local(moment).date() == self.local(self.now).date()
        return self.clock(moment) if same_day else self.full(moment)

    def age(self, moment: str | datetime) -> str:
        """How long ago, or how far ahead: ``3 min ago``, ``in 2 h 34 min``."""
        if not moment:
            return ""
        span = self.now - self.local(moment)
        if abs(span) < timedelta(seconds=1):
            return "just now"
        rough = abs(span)
        if timedelta(minutes=1) <= rough < timedelta(hours=1):
            rough -= rough % timedelta(minutes=1)
        return (
            f"in{NBSP}{duration(rough)}" if span < timedelta(0) else f"{duration(rough)}{NBSP}ago"
        )

    def iso(self, moment: str | datetime) -> str:
        """For the ``datetime`` attribute of ``<time>``."""
        return self.local(moment).isoformat(timespec="seconds") if moment else ""


def _offset(local: datetime) -> str:
    raw = f"{local:%z}"
    return f"{raw[:3]}:{raw[3:5]}"
