"""What the charts of the DORA report have in common: untrusted names, axes of time, marks, one look."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.definition import DAY_S, HOUR_S, Included
from gitops_nb.dora.results import Measured, Week
from gitops_nb.report.static_charts import Drawing, draw
from gitops_nb.report.text import clip, one_line


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its finding (``title``), what it shows (``note``) and the same in words (``label``)."""

    key: str
    title: str
    note: str
    label: str
    height: int
    figure: dict[str, Any]

    @property
    def drawing(self) -> Drawing:
        """The figure as marks that need no script."""
        return draw(self.figure, self.height)


def label(name: str) -> str:
    """Untrusted text for Plotly, which reads tags, entities, ``$`` (MathJax) and ``%{`` (templates)."""
    safe = html.escape(clip(one_line(name), 48))
    return safe.replace("$", "&#36;").replace("%{", "%&#123;")


def layout(
    *, xaxis: dict[str, Any] | None = None, yaxis: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The look that every chart has, with its own axes."""
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


def about(mean: float) -> str:
    """A mean in a title, without digits that nobody needs."""
    return words.number(round(mean) if mean >= 10 else mean)


def time_axis(measured: Measured, zone: ZoneInfo) -> dict[str, Any]:
    """The same weeks in every chart over time, also where nothing happened."""
    ends = (measured.weeks[0].start_s, measured.weeks[-1].end_s)
    return {
        "type": "date",
        "range": [day(moment_s, zone) for moment_s in ends],
    }


def day(moment_s: int, zone: ZoneInfo) -> str:
    """A day on a time axis."""
    return datetime.fromtimestamp(moment_s, zone).strftime("%Y-%m-%d")


def window_mark(measured: Measured, zone: ZoneInfo) -> dict[str, Any]:
    """A line where the window begins, named, when there is a window before it."""
    if measured.before is None:
        return {}
    at = day(measured.window.start_s, zone)
    name = {"yref": "paper", "y": 1.0, "yanchor": "bottom", "showarrow": False, "x": at}
    return {
        "shapes": [{**vertical(at), "line": {"color": "--line2", "width": 1}}],
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


def shades(measured: Measured, zone: ZoneInfo) -> list[dict[str, Any]]:
    """A shade behind the weeks of each freeze window."""
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": day(max(freeze.start_s, measured.weeks[0].start_s), zone),
            "x1": day(min(freeze.end_s, measured.weeks[-1].end_s), zone),
            "y0": 0,
            "y1": 1,
            "fillcolor": "--line",
            "opacity": 0.6,
            "line": {"width": 0},
            "layer": "below",
        }
        for freeze in measured.freezes
    ]


def freeze_note(measured: Measured, zone: ZoneInfo) -> str:
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


def vertical(at: float | str) -> dict[str, Any]:
    """A dotted line from bottom to top."""
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": "--ink3", "width": 1, "dash": "dot"},
    }


def unit(seconds: float) -> tuple[float, str]:
    """Seconds and name of the unit that an axis of durations takes."""
    if seconds < 2 * HOUR_S:
        return 60, "minutes"
    return (HOUR_S, "hours") if seconds < 4 * DAY_S else (DAY_S, "days")


def monday(week: Week, zone: ZoneInfo) -> str:
    """The middle of the week as a date, where its bar stands."""
    return datetime.fromtimestamp((week.start_s + week.end_s) / 2, zone).strftime("%Y-%m-%d %H:%M")
