"""Field types that several kinds of file share, and how their problems are worded."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}\Z")]
"""A DNS label, as Kubernetes names are."""

RelativePath = Annotated[
    str,
    StringConstraints(pattern=r"^(?!/)(?!.*(^|/)\.\.(/|\Z))[^\x00-\x1f\x7f]{0,500}\Z"),
]
"""A path inside a repository or workspace; never absolute, never with ``..``."""


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
    """The shortest exact form that ``parse_duration`` reads; days at most, so that 30d stays 30d."""
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}[smhdw]$", "examples": ["24h"]}),
]


class Strict(BaseModel):
    """Base of every model of a file: unknown keys are errors, values do not change."""

    # The regular expressions use \Z and look-ahead, which the default engine does not have.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, regex_engine="python-re"
    )
