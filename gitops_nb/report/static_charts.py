"""Charts without script: the figures of ``dora_charts`` as marks for SVG.

A figure is described once, in the part of Plotly's language that these charts use; here it becomes places that a
template writes down. Along x they are percent and along y pixels, and text has a fixed size, so that a drawing reads the
same on a phone, on paper and in a mail. What a figure asks for and this module does not know is a KeyError or a ValueError,
never a mark left out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_LEFT, _RIGHT = 9.0, 99.5
"""Where the plot begins and ends, in percent; numbers of the vertical axis stand left of it."""
_TOP, _BOTTOM = 24, 26
"""Pixels above and below the plot, for the names of the windows and for the dates."""
_ROW = 34
"""Pixels of one row of a chart with a name per row: the name above its mark."""
_SHADES = 5
_DATES = 5
"""Most dates along one axis; more would run into each other on a phone."""

_COLOURS = {
    "--accent": "accent",
    "--ink": "ink",
    "--ink2": "ink2",
    "--ink3": "ink3",
    "--line": "line",
    "--line2": "line2",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle; ``title`` is what a pointer over it shows, ``week`` the row of the chart's data, -1 for none."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""
    week: int = -1


@dataclass(frozen=True, slots=True)
class Stroke:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point."""

    x: float
    y: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A text; ``anchor`` is start, middle or end."""

    x: float
    y: float
    anchor: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All marks of one chart, in the order in which they are drawn; x is percent, y is pixels."""

    height: int
    boxes: tuple[Box, ...]
    strokes: tuple[Stroke, ...]
    dots: tuple[Dot, ...]
    words: tuple[Words, ...]


def draw(figure: Mapping[str, Any], height: int) -> Drawing:
    """The marks of a figure.

    Args:
        figure: ``{"data": [...], "layout": {...}}`` as ``dora_charts`` makes it.
        height: Pixels of a chart over time; one with a name per row is as high as its rows.

    Raises:
        ValueError: The figure asks for a trace or a shape that nothing here draws.
    """
    layout = figure["layout"]
    if layout["xaxis"].get("type") == "date":
        return _over_time(figure["data"], layout, height)
    if figure["data"][0]["type"] == "heatmap":
        return _grid(figure["data"][0], layout, height)
    return _by_row(figure["data"], layout)


def _over_time(
    traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any], height: int
) -> Drawing:
    """Bars, boxes and short lines over a time axis."""
    begin, end = (_seconds(text) for text in layout["xaxis"]["range"])
    across = _straight(begin, end, _LEFT, _RIGHT)
    top, ticks = _scale(traces, layout["yaxis"])
    up = _straight(0.0, top, float(height - _BOTTOM), float(_TOP))
    boxes: list[Box] = []
    strokes = [Stroke(_LEFT, up(tick), _RIGHT, up(tick), "grid") for tick in ticks]
    for shape in layout.get("shapes", ()):
        match shape["type"]:
            case "rect":
                x0, x1 = across(_seconds(shape["x0"])), across(_seconds(shape["x1"]))
                boxes.append(Box(x0, _TOP, _width(x0, x1), height - _TOP - _BOTTOM, "shade"))
            case "line":
                at = across(_seconds(shape["x0"]))
                strokes.append(Stroke(at, _TOP, at, height - _BOTTOM, _dash(shape)))
            case kind:
                raise ValueError(f"no drawing of a {kind}")
    for trace in traces:
        match trace["type"]:
            case "bar":
                boxes += _bars(trace, across, up, (begin, end))
            case "scatter":
                strokes += _levels(trace, across, up, (begin, end))
            case kind:
                raise ValueError(f"no drawing of a {kind}")
    words = [
        Words(_LEFT - 1.2, up(tick) + 4, "end", "", f"{tick:,g}") for tick in ticks if tick <= top
    ]
    words += _dates(traces, across, height)
    words += [_named(note, across) for note in layout.get("annotations", ())]
    unit = layout["yaxis"].get("title", {}).get("text", "")
    if unit:
        words.append(Words(0, 12, "start", "", unit))
    return Drawing(height, tuple(boxes), tuple(strokes), (), tuple(words))


def _bars(
    trace: Mapping[str, Any],
    across: Callable[[float], float],
    up: Callable[[float], float],
    span: tuple[float, float],
) -> list[Box]:
    boxes = []
    marker = trace["marker"]
    hatched = marker.get("pattern", {}).get("shape", [""] * len(trace["x"]))
    bases = trace.get("base", [0] * len(trace["x"]))
    for place, (moment, value, width_ms, base) in enumerate(
        zip(trace["x"], trace["y"], trace["width"], bases, strict=True)
    ):
        middle, half = _seconds(moment), width_ms / 2000
        left, right = across(max(middle - half, span[0])), across(min(middle + half, span[1]))
        upper, lower = max(up(base + value), _TOP), min(up(base), up(0.0))
        kind = _COLOURS[marker["color"][place]]
        kind += " hatched" if hatched[place] else ""
        kind += " pale" if marker.get("opacity", 1) < 1 else ""
        title = html.unescape(trace["text"][place])
        boxes.append(
            Box(left, upper, _width(left, right), max(lower - upper, 0), kind, title, place)
        )
    return boxes


def _levels(
    trace: Mapping[str, Any],
    across: Callable[[float], float],
    up: Callable[[float], float],
    span: tuple[float, float],
) -> list[Stroke]:
    """Short horizontal lines, one a week."""
    if trace["marker"].get("symbol") != "line-ew":
        raise ValueError(f"no drawing of {trace['marker']}")
    strokes = []
    half = 3 * 86_400
    for moment, value, colour in zip(
        trace["x"], trace["y"], trace["marker"]["line"]["color"], strict=True
    ):
        if up(value) < _TOP - 1:
            continue  # beyond the axis, as its box; the note counts these
        left, right = (
            across(max(_seconds(moment) - half, span[0])),
            across(min(_seconds(moment) + half, span[1])),
        )
        strokes.append(Stroke(left, up(value), right, up(value), f"level {_COLOURS[colour]}"))
    return strokes


def _grid(trace: Mapping[str, Any], layout: Mapping[str, Any], height: int) -> Drawing:
    """Rows of cells, each as dark as its number, with its row's name above."""
    rows, columns = len(trace["y"]), len(trace["x"])
    most = max((value for row in trace["z"] for value in row), default=0) or 1
    across = _straight(0.0, float(columns), 16.0, 100.0)
    tall = (height - _BOTTOM) / rows
    boxes, words = [], []
    for line, (name, values, texts) in enumerate(
        zip(trace["y"], trace["z"], trace["text"], strict=True)
    ):
        y = round(line * tall, 2)
        words.append(Words(0, round(y + tall / 2 + 4, 2), "start", "", name[:3]))
        for place, (value, said) in enumerate(zip(values, texts, strict=True)):
            shade = math.ceil(_SHADES * value / most)
            left = across(place)
            boxes.append(
                Box(
                    left,
                    y,
                    _width(left, across(place + 0.92)),
                    round(tall - 3, 2),
                    f"s{shade}",
                    said,
                )
            )
    words += [
        Words(across(at), height - 8, "start", "", text)
        for at, text in zip(layout["xaxis"]["tickvals"], layout["xaxis"]["ticktext"], strict=True)
    ]
    return Drawing(height, tuple(boxes), (), (), tuple(words))


def _by_row(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> Drawing:
    """One row per name, the first of the figure at the bottom: a bar, or a dot in its interval."""
    names = [html.unescape(text) for text in layout["yaxis"]["ticktext"]]
    (trace,) = traces
    axis = layout["xaxis"]
    values = trace["x"]
    bases = trace.get("base", [0.0] * len(values))
    error = trace.get("error_x") or {}
    reach = [
        number
        for value, more, less in zip(
            values,
            error.get("array", [0] * len(values)),
            error.get("arrayminus", [0] * len(values)),
            strict=True,
        )
        for number in (value - less, value, value + more)
    ]
    reach += [base + value for base, value in zip(bases, values, strict=True)]
    marks = [shape["x0"] for shape in layout.get("shapes", ())]
    across, ticks = _row_scale([*reach, *marks], axis)
    height = _ROW * len(names) + 26
    bottom = height - 22
    strokes = [Stroke(across(at), 4, across(at), bottom, "grid") for at, _ in ticks]
    strokes += [
        Stroke(across(shape["x0"]), 4, across(shape["x0"]), bottom, _dash(shape))
        for shape in layout.get("shapes", ())
    ]
    boxes: list[Box] = []
    dots: list[Dot] = []
    words = [
        Words(across(at), height - 6, _anchor(across(at)), "", html.unescape(text))
        for at, text in ticks
    ]
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = _ROW * (len(names) - 1 - place) + 26.0
        said = html.unescape(trace["text"][place])
        title = said.removeprefix(f"{name}: ")
        words.append(Words(0, y - 10, "start", "hi", name))
        words.append(Words(100, y - 10, "end", "", title.split(", ")[0]))
        if trace["type"] == "bar":
            start, end = across(bases[place]), across(bases[place] + value)
            boxes.append(Box(start, y - 3, max(_width(start, end), 0.4), 8, "accent", said))
            continue
        low, high = value - error["arrayminus"][place], value + error["array"][place]
        strokes.append(Stroke(across(low), y, across(high), y, "interval accent"))
        dots.append(Dot(across(value), y, "accent", said))
    return Drawing(height, tuple(boxes), tuple(strokes), tuple(dots), tuple(words))


def _row_scale(
    reach: Sequence[float], axis: Mapping[str, Any]
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    if axis.get("type") == "log":
        low, high = axis["range"]
        straight = _straight(low, high, 1.0, 99.0)
        ticks = list(zip(axis["tickvals"], axis["ticktext"], strict=True))
        return lambda number: straight(math.log10(max(number, 1e-9))), ticks
    top, marks = _nice(max(reach, default=1))
    suffix = axis.get("ticksuffix", "")
    return _straight(0.0, top, 1.0, 99.0), [(mark, f"{mark:,g}{suffix}") for mark in marks]


def _scale(
    traces: Sequence[Mapping[str, Any]], axis: Mapping[str, Any]
) -> tuple[float, list[float]]:
    """The top of a vertical axis that begins at 0, and its ticks."""
    if "range" in axis:
        top = float(axis["range"][1])
        return top, [tick for tick in _nice(top)[1] if tick <= top]
    highest = max((value for trace in traces for value in trace["y"]), default=1)
    return _nice(highest, whole=True)


def _nice(highest: float, *, whole: bool = False) -> tuple[float, list[float]]:
    """A round end at or above a number, and three to six round ticks from 0 to it."""
    if highest <= 0:
        return 1.0, [0.0, 1.0]
    raw = highest / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, float(math.ceil(step)))
    count = math.ceil(highest / step - 1e-9)
    return step * count, [round(step * i, 10) for i in range(count + 1)]


def _dates(
    traces: Sequence[Mapping[str, Any]], across: Callable[[float], float], height: int
) -> list[Words]:
    """A few weeks by name, evenly thinned; a mark stands in the middle of its week, a date at its Monday."""
    moments = sorted({text for trace in traces for text in trace["x"]})
    every = math.ceil(len(moments) / _DATES) or 1
    shown = []
    for text in moments[::every]:
        monday = datetime.fromisoformat(text) - timedelta(days=3)
        at = across(_seconds(text))
        shown.append(Words(at, height - 8, _anchor(at), "", f"{monday.day} {monday:%b}"))
    return shown


def _named(note: Mapping[str, Any], across: Callable[[float], float]) -> Words:
    """The name of a window beside the line where it begins."""
    left = note["xanchor"] == "left"
    at = across(_seconds(note["x"])) + (0.8 if left else -0.8)
    return Words(at, 14, "start" if left else "end", "hi" if left else "", note["text"])


def _dash(shape: Mapping[str, Any]) -> str:
    return "mark" if shape["line"].get("dash") == "dot" else "border"


def _anchor(at: float) -> str:
    if at > 95:
        return "end"
    return "start" if at < 5 else "middle"


def _straight(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """A straight line from numbers to places, rounded to hundredths."""
    span = (high - low) or 1.0
    return lambda number: round(begin + (end - begin) * (number - low) / span, 2)


def _width(left: float, right: float) -> float:
    return round(max(right - left, 0.0), 2)


def _seconds(text: str) -> float:
    """A place on a time axis: dates there are wall-clock texts, compared with each other only."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
