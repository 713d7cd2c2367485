"""The charts of the DORA report about steps, hours and sizes; see ``dora_charts`` for what a chart is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from gitops_nb.dora import words
from gitops_nb.dora.results import Measured, Size, Stage
from gitops_nb.report import dora_axes, dora_rows
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
    named = f"{one_line(longest.source)} to {one_line(longest.target)}"
    value = words.duration(longest.now.value or 0)
    title = f"The longest step is {named}: {value} in the middle"
    if not _is_clear(longest, stages):
        title = f"No step is clearly the longest; {named} has the largest median, {value}"
    names = [f"{s.source} to {s.target}" for s, _, _ in shown]
    bars = dora_rows.bars(
        names,
        [median / size for _, median, _ in shown],
        [
            f"{words.duration(median)}, {words.interval('s', s.now)}, n {s.now.n}"
            for s, median, _ in shown
        ],
    )
    bars["base"] = [base / size for _, _, base in shown]
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "showgrid": True, "ticksuffix": f" {unit[0]}"},
        yaxis=dora_rows.axis(names),
    )
    note = f"Medians of each step in {unit}, one behind the other. They do not add up to the median of the whole."
    return dora_rows.chart("steps", title, note, bars, layout)


def _is_clear(longest: Stage, stages: Sequence[Stage]) -> bool:
    """Whether the whole interval of a step lies above those of all others: of several alike one is always the longest."""
    low = longest.now.low
    highs = [stage.now.high for stage in stages if stage is not longest]
    return low is not None and all(high is not None and high < low for high in highs)


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
    rates = [size.fail_rate for size in shown]
    told = [
        f"{words.value('ratio', e.value or 0)}, {words.interval('ratio', e)}, {size.failed} of {size.deployments}"
        for e, size in zip(rates, shown, strict=True)
    ]
    dots = dora_rows.dots(names, rates, 0.01, told)
    layout = dora_axes.layout(
        xaxis={"rangemode": "tozero", "ticksuffix": " %", "showgrid": True},
        yaxis=dora_rows.axis(names),
    )
    total = sum(size.deployments for size in sizes)
    title = "Size of a deployment beside its fail rate"
    note = f"Changes that one deployment brought, the share of such deployments that failed, and its 95 % interval; n = {total:,}."
    return dora_rows.chart("sizes", title, note, dots, layout)


def _size(size: Size) -> str:
    if size.low == size.high:
        return words.count(size.low, "change")
    return f"{size.low} to {size.high} changes" if size.high else f"{size.low} changes or more"
