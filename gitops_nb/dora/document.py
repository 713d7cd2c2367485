"""The metrics for programs: one document in report.json and on stdout of ``dora metrics --json``, and one CSV.

``document_schema`` says what each key means. Numbers are decimals of at most six places, times RFC 3339 with the offset
of the zone that was measured in, durations seconds.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gitops_nb.dora.facts import FOLDER
from gitops_nb.dora.levels import Level
from gitops_nb.dora.results import Measured, Metric
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.tables import safe_cell
from gitops_nb.model import Json, to_json

FORMAT = 1
"""Version of the keys; grows when one is renamed or removed."""
CSV_FILE = (FOLDER / "metrics.csv").as_posix()
"""Where a run has the table, below its directory."""
CSV_COLUMNS = (
    "metric",
    "title",
    "environment",
    "window",
    "start",
    "end",
    "value",
    "unit",
    "low",
    "high",
    "n",
    "level",
    "missing",
)
_MILLIONTHS = "_millionths"
_MOMENTS = frozenset({"start_s", "end_s", "week_s"})
"""Fields that are moments; other names that end in ``_s`` are durations."""


def document(measured: Measured, *, known_until_s: int) -> dict[str, Json]:
    """What was measured, as ``metrics`` and ``measured``: the keys that report.json and ``dora metrics --json`` share.

    Args:
        measured: All numbers of one report.
        known_until_s: UTC epoch seconds until which facts are known, as ``DoraState.until_s``.
    """
    zone = ZoneInfo(measured.time_zone)
    shown = replace(
        measured,
        metrics=tuple(_shown(metric) for metric in measured.metrics),
        rollbacks=_shown(measured.rollbacks),
    )
    whole = _plain(to_json(shown), zone)
    assert isinstance(whole, dict)
    metrics, rollbacks = whole.pop("metrics"), whole.pop("rollbacks")
    assert isinstance(metrics, list)
    # Digests of the tables beside the report: a run has them in its seal, and nothing else has the tables.
    whole.pop("files")
    return {
        "metrics": [*metrics, rollbacks],
        "measured": {"format": FORMAT, "known_until": _moment(known_until_s, zone), **whole},
    }


def metrics_csv(measured: Measured) -> str:
    """One row for each metric and window, for spreadsheets.

    It begins with a byte order mark, without which Excel takes UTF-8 for another encoding; LibreOffice reads it either
    way. Text that begins like a formula gets an apostrophe. A range of levels is ``3 to 4``: ``3-4`` becomes a date.

    Returns:
        Columns ``CSV_COLUMNS``; ``window`` is now or before, ``level`` that of now; empty where there is no value.
    """
    zone = ZoneInfo(measured.time_zone)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for metric in map(_shown, (*measured.metrics, measured.rollbacks)):
        found = (("now", measured.window, metric.now), ("before", measured.before, metric.before))
        for name, window, estimate in found:
            if window is None or estimate is None:
                continue
            is_now = name == "now"
            row = (
                metric.key,
                metric.title,
                measured.environment,
                name,
                _moment(window.start_s, zone),
                _moment(window.end_s, zone),
                _decimal(estimate.value_millionths),
                metric.unit,
                _decimal(estimate.low_millionths),
                _decimal(estimate.high_millionths),
                str(estimate.n),
                _levels(metric.level) if is_now else "",
                metric.missing if is_now else "",
            )
            writer.writerow([safe_cell(cell) for cell in row])
    return "\ufeff" + text.getvalue()


def _shown(metric: Metric) -> Metric:
    """The metric without a value that it calls missing: too few are no number for a program either."""
    return replace(metric, now=Estimate(n=metric.now.n)) if metric.missing else metric


def _levels(level: Level) -> str:
    if not level.high:
        return ""
    return str(level.low) if level.is_single else f"{level.low} to {level.high}"


def _plain(value: Json, zone: ZoneInfo) -> Json:
    """The same document with whole millionths as numbers and moments as texts."""
    if isinstance(value, list):
        return [_plain(item, zone) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Json] = {}
    for name, item in value.items():
        if name.endswith(_MILLIONTHS):
            found[name.removesuffix(_MILLIONTHS)] = _number(item)
        elif name in _MOMENTS:
            assert isinstance(item, int)
            found[name.removesuffix("_s")] = _moment(item, zone)
        else:
            found[name] = _plain(item, zone)
    return found


def _number(millionths: Any) -> Json:
    """Millionths as the number that JSON writes without noise: a division by a power of ten is rounded once."""
    if millionths is None:
        return None
    whole, rest = divmod(millionths, 1_000_000)
    return int(whole) if not rest else float(millionths / 1_000_000)


def _decimal(millionths: int | None) -> str:
    """Millionths as a decimal without exponent, "" for none.

    >>> _decimal(1), _decimal(2_500_000), _decimal(3_000_000), _decimal(-1_500_000)
    ('0.000001', '2.5', '3', '-1.5')
    """
    if millionths is None:
        return ""
    whole, rest = divmod(abs(millionths), 1_000_000)
    sign = "-" if millionths < 0 else ""
    return f"{sign}{whole}.{rest:06}".rstrip("0").rstrip(".")


def _moment(at_s: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_s, zone).isoformat()
