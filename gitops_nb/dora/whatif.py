"""The what-if table: the same facts under the definitions of other tools, so that numbers can be reconciled."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

from gitops_nb.dora.definition import Frequency
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.profiles import COMPATIBLE, WINSORISED
from gitops_nb.dora.reckon import Number, reckon
from gitops_nb.dora.results import Cell, Measured, Metric, WhatIf

_UNITS = {
    Frequency.PER_SERVICE_WEEK: "a week, median service",
    Frequency.COUNT: "in the window",
    Frequency.DAYS_PER_WEEK: "days a week with one",
    Frequency.PER_DAY: "a day, all services",
}


def compare(
    engine: Engine,
    question: Question,
    measured: Measured,
    *,
    zone: ZoneInfo,
    has_incidents: bool,
) -> tuple[WhatIf, ...]:
    """One row for this report's own numbers, then one for each other tool's definition of the same facts."""
    found = [_own(measured)]
    for profile in (WINSORISED, *COMPATIBLE):
        reckoned = reckon(
            engine,
            replace(question, definition=profile.definition, freezes=()),
            measured.window,
            zone=zone,
            has_incidents=has_incidents,
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


def _own(measured: Measured) -> WhatIf:
    frequency = measured.metric("frequency")
    return WhatIf(
        name="This report",
        note="the definitions below",
        definition=measured.definition,
        frequency_unit=_UNITS[measured.options.frequency],
        frequency=replace(_of(frequency), n=frequency.counts.get("deployments", 0)),
        lead_time=_of(measured.metric("lead_time")),
        fail_rate=_of(measured.metric("fail_rate")),
        recovery=_of(measured.metric("recovery")),
    )


def _of(metric: Metric) -> Cell:
    return Cell(metric.now.value_millionths, metric.now.n, metric.missing)


def _cell(number: Number) -> Cell:
    millionths = None if number.value is None else round(number.value * 1_000_000)
    return Cell(millionths, number.n, number.missing)
