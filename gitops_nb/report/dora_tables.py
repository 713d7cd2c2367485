"""Two tables of the DORA report in words: steps between environments, and other tools' definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass(frozen=True, slots=True)
class TeamRow:
    """One team; each cell is a text with a smaller one below it."""

    name: str
    services: str
    deployments: tuple[str, str]
    lead: tuple[str, str]
    failing: tuple[str, str]


_VERDICTS = {"met": "target met", "missed": "target missed", "not clear": "near its target"}


def team_rows(measured: Measured) -> list[TeamRow]:
    """The teams of fleet.yaml that have services here."""

    def held(key: str, text: str, verdicts: Mapping[str, str]) -> str:
        said = _VERDICTS.get(verdicts.get(key, ""), "")
        return f"{text}; {said}" if said else text

    rows = []
    for team in measured.teams:
        lead, rate = team.lead, team.fail_rate
        pace = "" if team.per_week is None else f"a service {words.often(team.per_week)}"
        failing = (
            ("", "no data")
            if rate.value is None
            else (
                words.value("ratio", rate.value),
                held(
                    "fail_rate",
                    f"{team.failed:,} of {team.deployments:,}: {words.interval('ratio', rate)}",
                    team.targets,
                ),
            )
        )
        rows.append(
            TeamRow(
                name=team.name,
                services=f"{team.services:,}",
                deployments=(f"{team.deployments:,}", pace),
                lead=("", "no data")
                if lead.value is None
                else (
                    words.value("s", lead.value),
                    f"{words.interval('s', lead) or 'too few for an interval'}, n {lead.n:,}",
                ),
                failing=failing,
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class MonthRow:
    """One month of the year at a glance."""

    month: str
    deployments: tuple[str, str]
    lead: tuple[str, str]
    failing: tuple[str, str]


def month_rows(measured: Measured, zone: ZoneInfo) -> list[MonthRow]:
    """The last twelve months; one that is not over, or began before the history, says so."""
    rows = []
    for month in measured.months:
        begin = datetime.fromtimestamp(month.start_s, zone)
        after = (begin + timedelta(days=32)).replace(day=1)
        is_whole = month.end_s >= after.timestamp()
        lead, rate = month.lead, month.fail_rate
        rows.append(
            MonthRow(
                month=f"{begin:%b}{words.NBSP}{begin.year}",
                deployments=(f"{month.deployments:,}", "" if is_whole else "not a whole month"),
                lead=("", "no data")
                if lead.value is None
                else (
                    words.value("s", lead.value),
                    f"{words.interval('s', lead) or 'too few for an interval'}, n {lead.n:,}",
                ),
                failing=("", "no data")
                if rate.value is None
                else (
                    words.value("ratio", rate.value),
                    f"{month.failed:,} of {month.deployments:,}: {words.interval('ratio', rate)}",
                ),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One cause of failures."""

    name: str
    failures: str
    recovery: tuple[str, str]


def cause_rows(measured: Measured) -> list[CauseRow]:
    """Why deployments failed, and how long that lasted."""
    return [
        CauseRow(
            name=_CAUSES.get(cause.name, cause.name),
            failures=f"{cause.failures:,}",
            recovery=("", f"too few for a median, {cause.still_open:,} still open")
            if cause.recovery.value is None
            else (
                words.value("s", cause.recovery.value),
                f"{words.interval('s', cause.recovery)}, n {cause.failures:,}, {cause.still_open:,} still open",
            ),
        )
        for cause in measured.causes
    ]


_CAUSES = {
    "rollback": "Rolled back",
    "reverted": "A change in it was reverted",
    "incident": "An incident began after it",
    "degraded": "Argo CD called it Degraded",
    "attempt": "It could not be synced",
}


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
