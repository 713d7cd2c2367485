"""The charts of the DORA report about steps, hours and sizes; see ``dora_charts`` for what a chart is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from gitops_nb.dora import words
from gitops_nb.dora.results import Measured, Size, Stage
from gitops_nb.report import dora_axes
from gitops_nb.report.text import one_line

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def patterns(measured: Measured) -> tuple[dora_axes.Chart, ...]:
    """Those that have something to draw."""
    found = []
    stages = [s for s in measured.split if s.now.n] or [s for s in measured.stages if s.now.n]
    if len(stages) > 1:
        found.append(_waterfall(stages))
    if sum(measured.hours):
        found.append(_hours(measured))
    sizes = [size for size in measured.sizes if size.deployments]
    if len(sizes) > 1 and not measured.metric("fail_rate").missing:
        found.append(_sizes(sizes))
    return tuple(found)


def _waterfall(stages: Sequence[Stage]) -> dora_axes.Chart:
    """One bar per step, each where the one before ends; the longest is named."""
    medians = [stage.now.value or 0.0 for stage in stages]
    longest = max(stages, key=lambda stage: stage.now.value or 0)
    size, unit = dora_axes.unit(sum(medians))
    bases = [0.0, *itertools.accumulate(medians)][:-1]
    shown = list(reversed(list(zip(stages, medians, bases, strict=True))))
    title = (
        f"The longest step is {one_line(longest.source)} to {one_line(longest.target)}: "
        f"{words.duration(longest.now.value or 0)} in the middle"
    )
    names = [f"{s.source} to {s.target}" for s, _, _ in shown]
    bars: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(shown))),
        "x": [median / size for _, median, _ in shown],
        "base": [base / size for _, _, base in shown],
        "width": 0.55,
        "marker": {"color": "--accent"},
        "text": [
            f"{dora_axes.label(name)}: {words.duration(median)}, {words.interval('s', s.now)}, n {s.now.n}"
            for name, (s, median, _) in zip(names, shown, strict=True)
        ],
        "textposition": "none",
        "hoverinfo": "text",
    }
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "showgrid": True, "ticksuffix": f" {unit[0]}"},
        yaxis=_rows(names),
    )
    note = f"Medians of each step in {unit}, one behind the other. They do not add up to the median of the whole."
    return _chart("steps", title, note, bars, layout)


def _hours(measured: Measured) -> dora_axes.Chart:
    counts = [measured.hours[24 * day : 24 * day + 24] for day in range(7)]
    total = sum(measured.hours)
    busiest = max(range(7), key=lambda day: sum(counts[day]))
    weekend = sum(map(sum, counts[5:]))
    title = f"{DAYS[busiest]} is the busiest day: {words.count(sum(counts[busiest]), 'deployment')} of {total:,}"
    cells: dict[str, Any] = {
        "type": "heatmap",
        "x": list(range(24)),
        "y": list(DAYS),
        "z": [list(row) for row in counts],
        "text": [
            [
                f"{DAYS[day]} {hour} h: {words.count(count, 'deployment')}"
                for hour, count in enumerate(row)
            ]
            for day, row in enumerate(counts)
        ],
        "hoverinfo": "text",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "colorscale": [[0, "--line"], [1, "--accent"]],
    }
    layout = dora_axes.layout(
        xaxis={"tickvals": [0, 6, 12, 18], "ticktext": ["0 h", "6 h", "12 h", "18 h"]},
        yaxis={"autorange": "reversed"},
    )
    note = (
        f"Deployments of the window by weekday and hour in {measured.time_zone}, n = {total:,}; {weekend:,} of them on "
        "Saturday or Sunday."
    )
    return dora_axes.Chart("hours", title, note, title, 260, {"data": [cells], "layout": layout})


def _sizes(sizes: Sequence[Size]) -> dora_axes.Chart:
    """The fail rate of small and large deployments, each with its interval."""
    shown = list(reversed(sizes))
    names = [_size(size) for size in shown]
    values = [100 * (size.fail_rate.value or 0) for size in shown]
    dots: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "y": list(range(len(shown))),
        "x": values,
        "marker": {"color": "--accent", "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [
                100 * (s.fail_rate.high or 0) - v for s, v in zip(shown, values, strict=True)
            ],
            "arrayminus": [
                v - 100 * (s.fail_rate.low or 0) for s, v in zip(shown, values, strict=True)
            ],
            "color": "--accent",
            "thickness": 2.5,
            "width": 0,
        },
        "text": [
            f"{name}: {words.value('ratio', size.fail_rate.value or 0)}, {words.interval('ratio', size.fail_rate)}, "
            f"{size.failed} of {size.deployments}"
            for name, size in zip(names, shown, strict=True)
        ],
        "hoverinfo": "text",
    }
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "ticksuffix": " %", "showgrid": True}, yaxis=_rows(names)
    )
    total = sum(size.deployments for size in sizes)
    title = "Size of a deployment beside its fail rate"
    note = f"Changes that one deployment brought, the share of such deployments that failed, and its 95 % interval; n = {total:,}."
    return _chart("sizes", title, note, dots, layout)


def _size(size: Size) -> str:
    if size.low == size.high:
        return words.count(size.low, "change")
    return f"{size.low} to {size.high} changes" if size.high else f"{size.low} changes or more"


def _rows(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [dora_axes.label(name) for name in names],
        "tickfont": {"color": "--ink"},
        "showgrid": False,
        "range": [-0.7, len(names) - 0.3],
    }


def _chart(
    key: str, title: str, note: str, trace: dict[str, Any], layout: dict[str, Any]
) -> dora_axes.Chart:
    height = 60 + 24 * max(3, len(trace["y"]))
    return dora_axes.Chart(key, title, note, title, height, {"data": [trace], "layout": layout})
