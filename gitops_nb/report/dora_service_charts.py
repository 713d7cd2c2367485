"""The charts of the DORA report with one line per service: lead times, fail rates, rollbacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, HOUR_S, WEEK_S
from gitops_nb.dora.levels import MONTH_S
from gitops_nb.dora.results import Measured, Service
from gitops_nb.dora.statistics import Estimate
from gitops_nb.report import dora_axes, dora_rows
from gitops_nb.report.text import one_line

ROWS = 14
"""Services in a chart; the table has all of them."""

_TICKS = (
    (1, "1 s"),
    (10, "10 s"),
    (60, "1 min"),
    (300, "5 min"),
    (1800, "30 min"),
    (HOUR_S, "1 h"),
    (3 * HOUR_S, "3 h"),
    (6 * HOUR_S, "6 h"),
    (12 * HOUR_S, "12 h"),
    (DAY_S, "1 day"),
    (2 * DAY_S, "2 days"),
    (3 * DAY_S, "3 days"),
    (WEEK_S, "1 week"),
    (2 * WEEK_S, "2 weeks"),
    (MONTH_S, "30 days"),
    (90 * DAY_S, "90 days"),
)
"""Round durations; a chart takes those in its range, evenly thinned to a handful."""


def lead_times(services: Sequence[Service], measured: Measured) -> dora_axes.Chart:
    """Medians with intervals of the busiest and the slowest."""
    busy = sorted(services, key=lambda s: -s.deployments)[: ROWS - 4]
    slow = sorted(services, key=lambda s: -(s.lead.value or 0))[:4]
    shown = sorted({s.name: s for s in (*busy, *slow)}.values(), key=lambda s: s.lead.value or 0)
    slowest = shown[-1]
    value = words.duration(slowest.lead.value or 0)
    fleet = measured.metric("lead_time").now
    title = "No service is clearly slower than the fleet"
    if (slowest.lead.low or 0) > (fleet.high or 0):
        title = f"{one_line(slowest.name)} is slowest, {value} in the middle"
    numbers = [n for s in shown for n in (s.lead.low, s.lead.high) if n]
    low, high = min(numbers, default=1), max(numbers, default=1)
    low, high = low / 1.25, high * 1.25
    inside: list[tuple[float, str]] = [(at, text) for at, text in _TICKS if low <= at <= high]
    ticks = inside[:: math.ceil(len(inside) / 5) or 1]
    if len(ticks) < 2:  # no two round durations lie in so narrow a range
        ticks = [(at, words.duration(at)) for at in (low * 1.1, math.sqrt(low * high), high / 1.1)]
    layout = dora_axes.layout(
        xaxis={
            "type": "log",
            "range": [math.log10(low), math.log10(high)],
            "tickvals": [at for at, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "showgrid": True,
        },
        yaxis=dora_rows.axis(_names(shown)),
    )
    note = "Median lead time and its 95 % interval, logarithmic."
    if len(services) > len(shown):
        note += f" The busiest and the slowest, {len(shown)} of {len(services)} services."
    trace = _dots(shown, [s.lead for s in shown], 1, "s")
    return dora_rows.chart("services", title, note, trace, layout)


def fail_rates(services: Sequence[Service], measured: Measured) -> dora_axes.Chart:
    """Fail rates with intervals of those that surely fail most."""
    worst = sorted(services, key=lambda s: -(s.fail_rate.low or 0))[:ROWS]
    shown = sorted(worst, key=lambda s: s.fail_rate.value or 0)
    fleet = measured.metric("fail_rate").now.value or 0
    surely = sum((s.fail_rate.low or 0) > fleet for s in services)
    title = (
        f"{words.count(surely, 'service fails', 'services fail')} surely more often than the fleet"
        if surely
        else "No service surely fails more often than the fleet"
    )
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "ticksuffix": " %", "showgrid": True},
        yaxis=dora_rows.axis(_names(shown)),
    )
    layout["shapes"] = [
        dora_axes.vertical(fleet * 100),
    ]
    note = f"Change fail rate and its 95 % interval; the line is the fleet, {words.value('ratio', fleet)}."
    if len(services) > len(shown):
        note += f" {len(shown)} of {len(services)} services with 5 or more deployments."
    trace = _dots(shown, [s.fail_rate for s in shown], 0.01, "ratio")
    return dora_rows.chart("failing", title, note, trace, layout)


def rollbacks(services: Sequence[Service]) -> dora_axes.Chart:
    """How often the services went back that did."""
    rolled = [s for s in services if s.rollbacks]
    most = sorted(rolled, key=lambda s: -s.rollbacks)[:ROWS]
    shown = list(reversed(most))
    title = f"{words.count(len(rolled), 'service')} went back at least once, {one_line(most[0].name)} most often"
    bars = dora_rows.bars(
        _names(shown),
        [s.rollbacks for s in shown],
        [f"{s.rollbacks} of {words.count(s.deployments, 'deployment')}" for s in shown],
    )
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "showgrid": True, "tickformat": ",d"},
        yaxis=dora_rows.axis(_names(shown)),
    )
    note = "Rollbacks in the window. Without an incidents file nobody knows what else failed."
    if len(rolled) > len(shown):
        note += f" {len(shown)} of {len(rolled)} services."
    return dora_rows.chart("rollbacks", title, note, bars, layout)


def _dots(
    services: Sequence[Service], estimates: Sequence[Estimate], size: float, unit: str
) -> dict[str, Any]:
    told = [
        f"{words.value(unit, e.value or 0)}, {words.interval(unit, e)}, n {e.n}" for e in estimates
    ]
    return dora_rows.dots(_names(services), estimates, size, told)


def _names(services: Sequence[Service]) -> list[str]:
    return [service.name for service in services]
