"""The charts of the DORA report as Plotly figures in plain JSON; ``templates/dora.js`` draws them.

Colours are names of the style sheet's variables (``--accent``): the page resolves them, so that charts
follow dark mode and print. A title is the finding; what the chart shows stands below it. Text from outside
goes through ``label``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, Start
from gitops_nb.dora.results import Measured, Service, Week
from gitops_nb.report import dora_axes, dora_pattern_charts, dora_service_charts, dora_tables


def charts(
    measured: Measured, services: Sequence[Service], zone: ZoneInfo
) -> tuple[dora_axes.Chart, ...]:
    """All charts that have something to draw, in the order of the page."""
    found = []
    weeks = measured.weeks
    if any(week.deployments for week in weeks):
        found.append(_frequency(measured, zone))
    if any(week.lead_n for week in weeks):
        found.append(_lead_time(measured, zone))
    leads = [s for s in services if s.lead.low is not None]
    if len(leads) > 1:
        found.append(dora_service_charts.lead_times(leads, measured))
    shown = [s for s in services if s.deployments >= 5]
    if shown and not measured.metric("fail_rate").missing:
        found.append(dora_service_charts.fail_rates(shown, measured))
    elif shown and measured.rollbacks.counts.get("rollbacks"):
        found.append(dora_service_charts.rollbacks(shown))
    return (*found, *dora_pattern_charts.patterns(measured))


def _frequency(measured: Measured, zone: ZoneInfo) -> dora_axes.Chart:
    weeks = measured.weeks
    means = {
        period: sum(w.deployments for w in weeks if w.period == period)
        / (sum(w.period == period for w in weeks) or 1)
        for period in ("now", "before")
    }
    title = f"About {dora_axes.about(means['now'])} deployments a week"
    if any(week.period == "before" for week in weeks):
        title += f", {dora_axes.about(means['before'])} before"
    bars = {
        "type": "bar",
        "x": [dora_axes.monday(week, zone) for week in weeks],
        "y": [week.deployments for week in weeks],
        "width": [6 * DAY_S * 1000] * len(weeks),
        "marker": {
            "color": [_colour(week, measured) for week in weeks],
            "pattern": {
                "shape": ["/" if week.period == "partial" else "" for week in weeks],
                "fillmode": "replace",
                "size": 5,
                "solidity": 0.35,
            },
            "line": {
                "color": [_colour(week, measured) for week in weeks],
                "width": [1 if week.period == "partial" else 0 for week in weeks],
            },
        },
        "text": [
            f"week of {words.day(week.start_s, zone)}: {words.count(week.deployments, 'deployment')}"
            f"{', not a whole week of the window' if week.period == 'partial' else ''}"
            for week in weeks
        ],
        "textposition": "none",
        "hoverinfo": "text",
    }
    total = sum(week.deployments for week in weeks)
    axis: dict[str, Any] = {"rangemode": "tozero", "title": {"text": "per week"}}
    if max(week.deployments for week in weeks) <= 5:
        axis["dtick"] = 1
    layout = dora_axes.layout(xaxis=dora_axes.time_axis(measured, zone), yaxis=axis)
    layout |= dora_axes.window_mark(measured, zone)
    marks = [dora_axes.vertical(dora_axes.day(shift.week_s, zone)) for shift in measured.shifts]
    layout["shapes"] = [*dora_axes.shades(measured, zone), *layout.get("shapes", ()), *marks]
    note = f"Deployments to {measured.environment} per week, all services, n = {total:,}."
    if measured.shifts:
        note += f" {dora_tables.pace(measured.shifts, zone)}"
    note += dora_axes.freeze_note(measured, zone)
    if any(week.period == "partial" and week.deployments for week in weeks):
        note += " Hatched: not a whole week."
    return dora_axes.Chart("frequency", title, note, title, 260, {"data": [bars], "layout": layout})


def _lead_time(measured: Measured, zone: ZoneInfo) -> dora_axes.Chart:
    weeks = [week for week in measured.weeks if week.lead_n]
    middles = [week.lead_median_s for week in weeks if week.lead_median_s is not None]
    size, unit = dora_axes.unit(sorted(middles)[len(middles) // 2])
    lead = measured.metric("lead_time")
    title = "Lead time, week by week"
    if lead.change and lead.now.value is not None and lead.before and lead.before.value is not None:
        now = words.duration(lead.now.value)
        then = words.duration(lead.before.value, like=lead.now.value)
        what = (
            "versions" if measured.options.lead_time_start is Start.FIRST_ENVIRONMENT else "changes"
        )
        title = f"Half of all {what} take {now} or less, {then} before"
    x = [dora_axes.monday(week, zone) for week in weeks]
    hover = [
        f"week of {words.day(week.start_s, zone)}: {words.duration(week.lead_median_s or 0)}, "
        f"middle half {words.duration(week.lead_low_s or 0)} to {words.duration(week.lead_high_s or 0)}, "
        f"n {week.lead_n}"
        for week in weeks
    ]
    boxes = {
        "type": "bar",
        "x": x,
        "base": [(week.lead_low_s or 0) / size for week in weeks],
        "y": [((week.lead_high_s or 0) - (week.lead_low_s or 0)) / size for week in weeks],
        "width": [6 * DAY_S * 1000] * len(weeks),
        "marker": {"color": [_colour(week, measured) for week in weeks], "opacity": 0.38},
        "text": hover,
        "textposition": "none",
        "hoverinfo": "text",
    }
    medians = {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": [(week.lead_median_s or 0) / size for week in weeks],
        "marker": {
            "symbol": "line-ew",
            "size": max(3, min(9, 330 // len(weeks))),
            "line": {
                "width": 2.5,
                "color": ["--accent" if _is_now(w, measured) else "--ink2" for w in weeks],
            },
        },
        "hoverinfo": "skip",
    }
    # One strange week must not flatten all others: the axis ends at twice the usual upper quartile.
    highs = sorted(week.lead_high_s or 0 for week in weeks)
    top = min(highs[-1], 2 * highs[(len(highs) * 3) // 4]) / size or 1
    cut = sum(high / size > top * 1.06 for high in highs)
    layout = dora_axes.layout(
        xaxis=dora_axes.time_axis(measured, zone),
        yaxis={"range": [0, top * 1.06], "title": {"text": unit}},
    )
    layout |= dora_axes.window_mark(measured, zone)
    layout["shapes"] = [*dora_axes.shades(measured, zone), *layout.get("shapes", ())]
    total = sum(week.lead_n for week in weeks)
    by_version = measured.options.lead_time_start is Start.FIRST_ENVIRONMENT
    begin = measured.first_environment if by_version else "writing a change"
    note = (
        f"{unit.capitalize()} from {begin} to {measured.environment}: median (line) and "
        f"middle half (box) of each week, n = {total:,}."
    )
    if cut:
        note += f" {words.count(cut, 'box reaches', 'boxes reach')} beyond the axis."
    return dora_axes.Chart(
        "lead", title, note, title, 260, {"data": [boxes, medians], "layout": layout}
    )


def _is_now(week: Week, measured: Measured) -> bool:
    return week.end_s > measured.window.start_s


def _colour(week: Week, measured: Measured) -> str:
    return "--accent" if _is_now(week, measured) else "--line2"
