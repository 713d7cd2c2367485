"""How facts and metrics show themselves at the end of a notebook cell: a small table, escaped, without style."""

from __future__ import annotations

import html
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.results import Measured, Metric

Lines = Sequence[Sequence[str]]


def measured_lines(measured: Measured) -> Lines:
    """One line per metric: name, value, 95 % interval, n, the window before."""
    lines = [("", "now", "95 % interval", "n", "before")]
    for metric in (*measured.metrics, measured.rollbacks):
        before = metric.before.value if metric.before else None
        lines.append(
            (
                metric.title,
                _value(metric),
                words.interval(metric.unit, metric.now) if metric.has_value else "",
                f"{metric.now.n:,}",
                "" if before is None else words.value(metric.unit, before),
            )
        )
    return lines


def state_lines(
    *,
    deployments: Sequence[tuple[str, int]],
    incidents: int | None,
    known: tuple[int, int],
    excluded: Sequence[tuple[str, int]],
    sources: Sequence[tuple[str, str]],
) -> Lines:
    """What was collected, one line each."""
    first, last = (words.day(moment, ZoneInfo("UTC")) for moment in known)
    return [
        ("Known (UTC)", f"{first} to {last}"),
        *((f"Deployments, {name}", f"{count:,}") for name, count in deployments),
        ("Incidents", "no file" if incidents is None else f"{incidents:,}"),
        *((f"Left out: {reason}", f"{count:,}") for reason, count in excluded),
        *((f"From {name}", source[:20]) for name, source in sources),
    ]


def as_html(title: str, sentence: str, lines: Lines) -> str:
    """A heading, a sentence and a table; every text is escaped."""
    rows = "".join(
        f"<tr><th>{html.escape(first)}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in lines
    )
    below = f"<p>{html.escape(sentence)}</p>" if sentence else ""
    return f"<p><b>{html.escape(title)}</b></p>{below}<table>{rows}</table>"


def as_text(title: str, lines: Lines) -> str:
    """The same in plain text, in columns; what could steer a terminal is shown as an escape."""
    shown = [[_plain(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    table = (
        "  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in shown
    )
    return "\n".join((_plain(title), *table))


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace(words.NBSP, " "))


def _value(metric: Metric) -> str:
    if metric.has_value and metric.now.value is not None:
        return words.value(metric.unit, metric.now.value)
    return "too few" if metric.missing.startswith("too few") else "no data"
