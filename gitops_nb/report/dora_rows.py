"""What charts with one row per name have in common: bars, dots in their intervals, the axis of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gitops_nb.dora.statistics import Estimate
from gitops_nb.report import dora_axes

_PLAIN = {"color": "--accent"}


def bars(names: Sequence[str], values: Sequence[float], told: Sequence[str]) -> dict[str, Any]:
    """A bar per name; ``told`` is what a pointer over each shows behind its name."""
    return {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(names))),
        "x": list(values),
        "width": 0.55,
        "marker": dict(_PLAIN),
        "text": _texts(names, told),
        "textposition": "none",
        "hoverinfo": "text",
    }


def dots(
    names: Sequence[str], estimates: Sequence[Estimate], size: float, told: Sequence[str]
) -> dict[str, Any]:
    """A dot per name in its interval, in units of ``size``; ``told`` as in ``bars``."""
    values = [(e.value or 0) / size for e in estimates]
    highs = [(e.high or e.value or 0) / size for e in estimates]
    lows = [(e.low or 0) / size for e in estimates]
    return {
        "type": "scatter",
        "mode": "markers",
        "y": list(range(len(names))),
        "x": values,
        "marker": {**_PLAIN, "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - v for high, v in zip(highs, values, strict=True)],
            "arrayminus": [v - low for low, v in zip(lows, values, strict=True)],
            **_PLAIN,
            "thickness": 2.5,
            "width": 0,
        },
        "text": _texts(names, told),
        "hoverinfo": "text",
    }


def chart(
    key: str, title: str, note: str, trace: dict[str, Any], layout: dict[str, Any]
) -> dora_axes.Chart:
    """A chart as high as its rows; its title says it in words, too."""
    height = 60 + 24 * max(3, len(trace["y"]))
    return dora_axes.Chart(key, title, note, title, height, {"data": [trace], "layout": layout})


def axis(names: Sequence[str]) -> dict[str, Any]:
    """The vertical axis with the names, the first of them at the bottom."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [dora_axes.label(name) for name in names],
        "tickfont": {"color": "--ink"},
        "showgrid": False,
        "range": [-0.7, len(names) - 0.3],
    }


def _texts(names: Sequence[str], told: Sequence[str]) -> list[str]:
    return [f"{dora_axes.label(name)}: {text}" for name, text in zip(names, told, strict=True)]
