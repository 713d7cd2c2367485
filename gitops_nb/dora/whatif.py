"""The what-if table: the same facts under the definitions of other tools, so that numbers can be reconciled."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gitops_nb.dora.definition import Frequency
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.profiles import COMPATIBLE, OURS, Profile
from gitops_nb.dora.reckon import Number, reckon
from gitops_nb.dora.results import Cell, WhatIf
from gitops_nb.dora.windows import Window

_UNITS = {
    Frequency.PER_SERVICE_WEEK: "a week, median service",
    Frequency.COUNT: "in the window",
    Frequency.DAYS_PER_WEEK: "days a week with one",
    Frequency.PER_DAY: "a day, all services",
}
_OWN = Profile("This report", OURS, "the definitions below", "")


def compare(
    tables: FactTables, window: Window, *, environment: str, zone: ZoneInfo, until_s: int
) -> tuple[WhatIf, ...]:
    """One row for this report's definition, then one for each other tool."""
    found = []
    for profile in (_OWN, *COMPATIBLE):
        reckoned = reckon(
            tables, profile.definition, window, environment=environment, zone=zone, until_s=until_s
        )
        found.append(
            WhatIf(
                name=profile.name,
                note=profile.note,
                definition=profile.definition.hash,
                frequency_unit=_UNITS[profile.definition.frequency],
                frequency=_cell(reckoned.frequency),
                lead_time=_cell(reckoned.lead_time),
                fail_rate=_cell(reckoned.fail_rate),
                recovery=_cell(reckoned.recovery),
            )
        )
    return tuple(found)


def _cell(number: Number) -> Cell:
    millionths = None if number.value is None else round(number.value * 1_000_000)
    return Cell(millionths, number.n, number.missing)
