"""Two tables of the DORA report in words: steps between environments, and other tools' definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gitops_nb.dora import words
from gitops_nb.dora.changepoints import Shift
from gitops_nb.dora.results import Cell, Measured, Stage


@dataclass(frozen=True, slots=True)
class StageRow:
    """One promotion; each cell is a text with a smaller one below it."""

    source: str
    target: str
    now: tuple[str, str]
    before: tuple[str, str]
    left_out: str


@dataclass(frozen=True, slots=True)
class WhatIfRow:
    """One definition; each cell is a text with a smaller one below it, which stands alone without a value."""

    name: str
    note: str
    definition: str
    frequency: tuple[str, str]
    lead_time: tuple[str, str]
    fail_rate: tuple[str, str]
    recovery: tuple[str, str]


def stage_rows(stages: Sequence[Stage]) -> list[StageRow]:
    """The promotions that any version took; none when no step was ever seen."""
    if not any(stage.now.n or stage.excluded for stage in stages):
        return []
    return [
        StageRow(
            source=stage.source,
            target=stage.target,
            now=_stage_cell(stage, now=True),
            before=_stage_cell(stage, now=False),
            left_out="; ".join(f"{count:,} {reason}" for reason, count in stage.excluded.items()),
        )
        for stage in stages
    ]


def what_if_rows(measured: Measured) -> list[WhatIfRow]:
    """This report's definition first, then each other tool's; no row when nothing was deployed."""
    if not measured.metric("frequency").counts.get("deployments"):
        return []
    return [
        WhatIfRow(
            name=row.name,
            note=row.note,
            definition=row.definition[:12],
            frequency=_frequency(row.frequency, row.frequency_unit),
            lead_time=_cell("s", row.lead_time),
            fail_rate=_cell("ratio", row.fail_rate),
            recovery=_cell("s", row.recovery),
        )
        for row in measured.compared
    ]


def pace(shifts: Sequence[Shift], zone: ZoneInfo) -> str:
    """Where the pace changed, in a sentence each; "" when it did not."""
    return " ".join(
        f"The pace changed in the week of {words.day(shift.week_s, zone)}, from "
        f"{words.number(shift.before_per_week)} to {words.number(shift.after_per_week)} a week (dotted line)."
        for shift in shifts
    )


def _stage_cell(stage: Stage, *, now: bool) -> tuple[str, str]:
    estimate = stage.now if now else stage.before
    if estimate is None:
        return "", "nothing to compare"
    if estimate.value is None:
        return "", "no data"
    bounds = words.interval("s", estimate)
    return words.value("s", estimate.value), f"{bounds + ', ' if bounds else ''}n {estimate.n:,}"


def _frequency(cell: Cell, unit: str) -> tuple[str, str]:
    if cell.value is None:
        return "", cell.missing
    return words.number(cell.value), f"{unit}, n {cell.n:,}"


def _cell(unit: str, cell: Cell) -> tuple[str, str]:
    if cell.value is None:
        return "", cell.missing
    return words.value(unit, cell.value), f"n {cell.n:,}"
