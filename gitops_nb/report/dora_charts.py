"""The charts of the DORA report as Plotly figures in plain JSON; ``templates/dora.js`` draws them.

Colours are names of the style sheet's variables (``--accent``): the page resolves them, so that charts
follow dark mode and print. A title is the finding; what the chart shows stands below it. Text from outside
goes through ``label``.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, HOUR_S, WEEK_S, Included, Start
from gitops_nb.dora.levels import MONTH_S
from gitops_nb.dora.results import Measured, Service, Week
from gitops_nb.dora.statistics import Estimate
from gitops_nb.report import dora_tables
from gitops_nb.report.text import clip, one_line

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


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its finding (``title``), what it shows (``note``) and the same in words (``label``)."""

    key: str
    title: str
    note: str
    label: str
    height: int
    figure: dict[str, Any]


def label(name: str) -> str:
    """Untrusted text for Plotly, which reads tags, entities, ``$`` (MathJax) and ``%{`` (templates)."""
    safe = html.escape(clip(one_line(name), 48))
    return safe.replace("$", "&#36;").replace("%{", "%&#123;")


def charts(measured: Measured, services: Sequence[Service], zone: ZoneInfo) -> tuple[Chart, ...]:
    """All charts that have something to draw, in the order of the page."""
    found = []
    weeks = measured.weeks
    if any(week.deployments for week in weeks):
        found.append(_frequency(measured, zone))
    if any(week.lead_n for week in weeks):
        found.append(_lead_time(measured, zone))
    leads = [s for s in services if s.lead.low is not None]
    if len(leads) > 1:
        found.append(_services_lead(leads, measured))
    shown = [s for s in services if s.deployments >= 5]
    if shown and not measured.metric("fail_rate").missing:
        found.append(_services_failing(shown, measured))
    elif shown and measured.rollbacks.counts.get("rollbacks"):
        found.append(_services_rolled_back(shown))
    return tuple(found)


def _frequency(measured: Measured, zone: ZoneInfo) -> Chart:
    weeks = measured.weeks
    means = {
        period: sum(w.deployments for w in weeks if w.period == period)
        / (sum(w.period == period for w in weeks) or 1)
        for period in ("now", "before")
    }
    title = f"About {_about(means['now'])} deployments a week"
    if any(week.period == "before" for week in weeks):
        title += f", {_about(means['before'])} before"
    bars = {
        "type": "bar",
        "x": [_monday(week, zone) for week in weeks],
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
    layout = _layout(xaxis=_time_axis(measured, zone), yaxis=axis)
    layout |= _window_mark(measured, zone)
    marks = [_vertical(_day(shift.week_s, zone)) for shift in measured.shifts]
    layout["shapes"] = [*_freezes(measured, zone), *layout.get("shapes", ()), *marks]
    note = f"Deployments to {measured.environment} per week, all services, n = {total:,}."
    if measured.shifts:
        note += f" {dora_tables.pace(measured.shifts, zone)}"
    note += _freeze_note(measured, zone)
    if any(week.period == "partial" and week.deployments for week in weeks):
        note += " Hatched: not a whole week."
    return Chart("frequency", title, note, title, 260, {"data": [bars], "layout": layout})


def _lead_time(measured: Measured, zone: ZoneInfo) -> Chart:
    weeks = [week for week in measured.weeks if week.lead_n]
    middles = [week.lead_median_s for week in weeks if week.lead_median_s is not None]
    size, unit = _unit(sorted(middles)[len(middles) // 2])
    lead = measured.metric("lead_time")
    title = "Lead time, week by week"
    if lead.change and lead.now.value is not None and lead.before and lead.before.value is not None:
        now = words.duration(lead.now.value)
        then = words.duration(lead.before.value, like=lead.now.value)
        what = (
            "versions" if measured.options.lead_time_start is Start.FIRST_ENVIRONMENT else "changes"
        )
        title = f"Half of all {what} take {now} or less, {then} before"
    x = [_monday(week, zone) for week in weeks]
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
    layout = _layout(
        xaxis=_time_axis(measured, zone),
        yaxis={"range": [0, top * 1.06], "title": {"text": unit}},
    )
    layout |= _window_mark(measured, zone)
    layout["shapes"] = [*_freezes(measured, zone), *layout.get("shapes", ())]
    total = sum(week.lead_n for week in weeks)
    by_version = measured.options.lead_time_start is Start.FIRST_ENVIRONMENT
    begin = measured.first_environment if by_version else "writing a change"
    note = (
        f"{unit.capitalize()} from {begin} to {measured.environment}: median (line) and "
        f"middle half (box) of each week, n = {total:,}."
    )
    if cut:
        note += f" {words.count(cut, 'box reaches', 'boxes reach')} beyond the axis."
    return Chart("lead", title, note, title, 260, {"data": [boxes, medians], "layout": layout})


def _services_lead(services: Sequence[Service], measured: Measured) -> Chart:
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
    layout = _layout(
        xaxis={
            "type": "log",
            "range": [math.log10(low), math.log10(high)],
            "tickvals": [at for at, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "showgrid": True,
        },
        yaxis=_names(shown),
    )
    note = "Median lead time and its 95 % interval, logarithmic."
    if len(services) > len(shown):
        note += f" The busiest and the slowest, {len(shown)} of {len(services)} services."
    trace = _dots(shown, [s.lead for s in shown], 1, "s")
    return Chart(
        "services", title, note, title, _height(shown), {"data": [trace], "layout": layout}
    )


def _services_failing(services: Sequence[Service], measured: Measured) -> Chart:
    worst = sorted(services, key=lambda s: -(s.fail_rate.low or 0))[:ROWS]
    shown = sorted(worst, key=lambda s: s.fail_rate.value or 0)
    fleet = measured.metric("fail_rate").now.value or 0
    surely = sum((s.fail_rate.low or 0) > fleet for s in services)
    title = (
        f"{words.count(surely, 'service fails', 'services fail')} surely more often than the fleet"
        if surely
        else "No service surely fails more often than the fleet"
    )
    layout = _layout(
        xaxis={"rangemode": "tozero", "ticksuffix": " %", "showgrid": True}, yaxis=_names(shown)
    )
    layout["shapes"] = [
        _vertical(fleet * 100),
    ]
    note = f"Change fail rate and its 95 % interval; the line is the fleet, {words.value('ratio', fleet)}."
    if len(services) > len(shown):
        note += f" {len(shown)} of {len(services)} services with 5 or more deployments."
    trace = _dots(shown, [s.fail_rate for s in shown], 0.01, "ratio")
    return Chart("failing", title, note, title, _height(shown), {"data": [trace], "layout": layout})


def _services_rolled_back(services: Sequence[Service]) -> Chart:
    rolled = [s for s in services if s.rollbacks]
    most = sorted(rolled, key=lambda s: -s.rollbacks)[:ROWS]
    shown = list(reversed(most))
    title = f"{words.count(len(rolled), 'service')} went back at least once, {one_line(most[0].name)} most often"
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(shown))),
        "x": [s.rollbacks for s in shown],
        "width": 0.55,
        "marker": {"color": "--accent"},
        "text": [
            f"{label(s.name)}: {s.rollbacks} of {words.count(s.deployments, 'deployment')}"
            for s in shown
        ],
        "textposition": "none",
        "hoverinfo": "text",
    }
    layout = _layout(
        xaxis={"rangemode": "tozero", "showgrid": True, "tickformat": ",d"}, yaxis=_names(shown)
    )
    note = "Rollbacks in the window. Without an incidents file nobody knows what else failed."
    if len(rolled) > len(shown):
        note += f" {len(shown)} of {len(rolled)} services."
    return Chart(
        "rollbacks", title, note, title, _height(shown), {"data": [bars], "layout": layout}
    )


def _dots(
    services: Sequence[Service], estimates: Sequence[Estimate], size: float, unit: str
) -> dict[str, Any]:
    values = [(e.value or 0) / size for e in estimates]
    return {
        "type": "scatter",
        "mode": "markers",
        "y": list(range(len(services))),
        "x": values,
        "marker": {"color": "--accent", "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [
                (e.high or e.value or 0) / size - v for e, v in zip(estimates, values, strict=True)
            ],
            "arrayminus": [v - (e.low or 0) / size for e, v in zip(estimates, values, strict=True)],
            "color": "--accent",
            "thickness": 2.5,
            "width": 0,
        },
        "text": [
            f"{label(s.name)}: {words.value(unit, e.value or 0)}, {words.interval(unit, e)}, n {e.n}"
            for s, e in zip(services, estimates, strict=True)
        ],
        "hoverinfo": "text",
    }


def _layout(
    *, xaxis: dict[str, Any] | None = None, yaxis: dict[str, Any] | None = None
) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "automargin": True,
        "fixedrange": True,
        "gridcolor": "--line",
        "linecolor": "--line2",
        "zeroline": False,
        "tickfont": {"color": "--ink3"},
        "title": {"font": {"size": 12, "color": "--ink3"}, "standoff": 8},
    }
    merged = dict(yaxis or {})
    title = {**axis["title"], **merged.pop("title", {})}
    return {
        "margin": {"l": 8, "r": 12, "t": 22, "b": 8, "pad": 4},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": "--ink3"},
        "hoverlabel": {"bgcolor": "--card", "font": {"color": "--ink"}, "bordercolor": "--line2"},
        "showlegend": False,
        "bargap": 0.2,
        "barmode": "overlay",
        "dragmode": False,
        "xaxis": {**axis, "showgrid": False, **(xaxis or {})},
        "yaxis": {**axis, **merged, "title": title},
    }


def _about(mean: float) -> str:
    return words.number(round(mean) if mean >= 10 else mean)


def _time_axis(measured: Measured, zone: ZoneInfo) -> dict[str, Any]:
    """The same weeks in every chart over time, also where nothing happened."""
    ends = (measured.weeks[0].start_s, measured.weeks[-1].end_s)
    return {
        "type": "date",
        "range": [_day(moment_s, zone) for moment_s in ends],
    }


def _day(moment_s: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(moment_s, zone).strftime("%Y-%m-%d")


def _window_mark(measured: Measured, zone: ZoneInfo) -> dict[str, Any]:
    """A line where the window begins, named, when there is a window before it."""
    if measured.before is None:
        return {}
    at = _day(measured.window.start_s, zone)
    name = {"yref": "paper", "y": 1.0, "yanchor": "bottom", "showarrow": False, "x": at}
    return {
        "shapes": [{**_vertical(at), "line": {"color": "--line2", "width": 1}}],
        "annotations": [
            {**name, "xanchor": "right", "text": "before", "xshift": -4},
            {
                **name,
                "xanchor": "left",
                "text": "now",
                "xshift": 4,
                "font": {"color": "--ink", "weight": 600},
            },
        ],
    }


def _freezes(measured: Measured, zone: ZoneInfo) -> list[dict[str, Any]]:
    """A shade behind the weeks of each freeze window."""
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": _day(max(freeze.start_s, measured.weeks[0].start_s), zone),
            "x1": _day(min(freeze.end_s, measured.weeks[-1].end_s), zone),
            "y0": 0,
            "y1": 1,
            "fillcolor": "--line",
            "opacity": 0.6,
            "line": {"width": 0},
            "layer": "below",
        }
        for freeze in measured.freezes
    ]


def _freeze_note(measured: Measured, zone: ZoneInfo) -> str:
    """The freeze windows by name, since a shade has none."""
    if not measured.freezes:
        return ""
    shown = [
        f"{one_line(clip(freeze.name, 40))} ({words.days(freeze.start_s, freeze.end_s, zone)})"
        for freeze in measured.freezes[:3]
    ]
    more = len(measured.freezes) - 3
    counts = "" if measured.options.freezes is Included.COUNTED else ", left out of the numbers"
    return f" Shaded: frozen{counts}: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}."


def _vertical(at: float | str) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": "--ink3", "width": 1, "dash": "dot"},
    }


def _names(services: Sequence[Service]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(services))),
        "ticktext": [label(service.name) for service in services],
        "tickfont": {"color": "--ink"},
        "showgrid": False,
        "range": [-0.7, len(services) - 0.3],
    }


def _height(services: Sequence[Service]) -> int:
    return 60 + 24 * max(3, len(services))


def _is_now(week: Week, measured: Measured) -> bool:
    return week.end_s > measured.window.start_s


def _colour(week: Week, measured: Measured) -> str:
    return "--accent" if _is_now(week, measured) else "--line2"


def _unit(seconds: float) -> tuple[float, str]:
    if seconds < 2 * HOUR_S:
        return 60, "minutes"
    return (HOUR_S, "hours") if seconds < 4 * DAY_S else (DAY_S, "days")


def _monday(week: Week, zone: ZoneInfo) -> str:
    """The middle of the week as a date, where its bar stands."""
    return datetime.fromtimestamp((week.start_s + week.end_s) / 2, zone).strftime("%Y-%m-%d %H:%M")
