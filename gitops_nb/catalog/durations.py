"""Durations as people write them in YAML: 30s, 15m, 24h, 7d, 2w."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

_DURATION = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: Any) -> timedelta:
    """Reads ``30s``, ``15m``, ``24h``, ``7d`` or ``2w``.

    >>> parse_duration("24h")
    datetime.timedelta(days=1)
    """
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a duration is a whole number and s, m, h, d or w, for example 24h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def format_duration(duration: timedelta) -> str:
    """The shortest exact form that ``parse_duration`` reads, in days at most.

    >>> format_duration(timedelta(hours=36))
    '36h'
    """
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
