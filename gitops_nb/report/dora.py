"""The DORA report: one file for people who decide, from measured values and the run's record.

First page: the finding, each metric with value, interval, n and the window before, what to look at. Then
charts, every service, what was left out, definitions, and how to check all of it. Charts are SVG and need no
script; a second file holds Plotly for who wants to zoom. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import facts, findings, glossary, tables, words
from gitops_nb.dora.definition import DoraDefinition, Start, differences
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.results import Measured, Service
from gitops_nb.dora.statistics import Estimate
from gitops_nb.record.fold import RunState
from gitops_nb.report import (
    dora_cards,
    dora_charts,
    dora_earlier,
    dora_first,
    dora_scales,
    dora_tables,
    layout,
)
from gitops_nb.report.text import Whole, clip, one_line
from gitops_nb.report.words import Times

FIRST_ROWS = 40
"""Services that stand open in the table; the others are folded."""
DRILL_ROWS = 5000
"""Deployments that the page itself holds, the newest; deployments.csv has all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One service in the table; every cell is a text with a smaller one below it."""

    name: str
    spark: str
    spark_width: int
    deployments: tuple[str, str]
    lead: tuple[str, str]
    failing: tuple[str, str]
    recovery: tuple[str, str]
    note: str
    quiet: bool


def render_dora(
    run: RunState,
    measured: Measured,
    state: DoraState,
    *,
    directory: Path,
    now: datetime,
    zone: str = "",
) -> str:
    """Renders the report.

    Args:
        run: Fold of the run's journal.
        measured: What measure returned.
        state: What observe returned.
        directory: The run directory; the table of services is read from it.
        now: When the report is written.
        zone: IANA name of the reader's zone for the time of writing; days and weeks are always in the
            zone that was measured in.
    """
    measured_zone = ZoneInfo(measured.time_zone)
    services = tables.read_services(directory)
    rows = [_row(service, measured, measured_zone) for service in services]
    return layout.page(
        "dora.html.j2",
        styles=("style.css", "dora.css"),
        scripts=(layout.asset("dora.js"),),
        status="",
        sandbox=run.is_sandbox,
        run=run,
        m=measured,
        period=_period(measured, measured_zone),
        by_definition=_by_definition(measured),
        caveats=[*measured.caveats, *_other_definition(run, measured, directory)],
        first=dora_first.first_of(measured),
        cards=[dora_cards.card(metric, measured) for metric in measured.metrics],
        teams=dora_tables.team_rows(measured),
        months=dora_tables.month_rows(measured, measured_zone),
        causes=dora_tables.cause_rows(measured),
        sync=dora_cards.sync_card(measured.sync, measured.environment),
        charts=dora_charts.charts(measured, services, measured_zone),
        weeks=_week_rows(measured, measured_zone),
        stages=dora_tables.stage_rows(measured.stages),
        split=[row for row in dora_tables.stage_rows(measured.split) if row.now[0]],
        sync_history=dora_cards.sync_history(measured),
        # Where the fail rate is known, rollbacks are in it; here they stand for themselves.
        back=None if measured.metric("fail_rate").missing else dora_cards.rollback_card(measured),
        by_version=measured.options.lead_time_start is Start.FIRST_ENVIRONMENT,
        options=differences(measured.options),
        compared=dora_tables.what_if_rows(measured),
        drill=_drill(measured, directory, measured_zone),
        failing_title="Failed" if not measured.metric("fail_rate").missing else "Rolled back",
        rows=rows[:FIRST_ROWS],
        more_rows=rows[FIRST_ROWS:],
        anchors={row.name: f"service-{place}" for place, row in enumerate(rows)},
        excluded=measured.excluded,
        left_out=_left_out_sentence(measured),
        definitions=glossary.texts(
            measured.options,
            first=measured.first_environment or measured.environment,
            target=measured.environment,
        ),
        definition=measured.definition,
        sources=sorted(state.sources.items()),
        files=sorted({**state.files, **measured.files}.items()),
        facts=_facts(state, measured_zone),
        version=importlib.metadata.version("gitops-nb"),
        times=Times(now, zone or measured.time_zone),
    )


def render_interactive(run: RunState, measured: Measured, *, directory: Path) -> str:
    """Renders the charts of the report as Plotly's; the file holds Plotly, packed, and is 2 MB.

    Args:
        run: Fold of the run's journal.
        measured: What measure returned.
        directory: The run directory; the table of services is read from it.
    """
    zone = ZoneInfo(measured.time_zone)
    library = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(library).digest()).decode()
    script = layout.asset("dora_interactive.js")
    return layout.page(
        "dora_interactive.html.j2",
        styles=("style.css", "dora.css"),
        scripts=(script,),
        # Plotly sets styles on its own elements; no text of a run can reach a style from a template.
        policy={
            "style-src": "'unsafe-inline'",
            "img-src": "data:",
            "script-src": f"{layout.source_hash(script)} 'sha256-{digest}'",
        },
        status="",
        sandbox=run.is_sandbox,
        m=measured,
        period=_period(measured, zone),
        charts=dora_charts.charts(measured, tables.read_services(directory), zone),
        plotly=Whole(base64.b64encode(zlib.compress(library)).decode()),
        plotly_version=importlib.metadata.version("plotly"),
    )


def _period(measured: Measured, zone: ZoneInfo) -> str:
    weeks = measured.complete_weeks
    text = f"{words.days(measured.window.start_s, measured.window.end_s, zone)}, {words.count(weeks, 'complete week')}"
    if measured.before is None or measured.before.start_s >= measured.before.end_s:
        return f"{text}, compared with nothing"
    before = words.days(measured.before.start_s, measured.before.end_s, zone)
    return f"{text}, compared with {before}"


def _by_definition(measured: Measured) -> str:
    """The definition on the first page: two reports compare when it is the same."""
    differs = [
        (name, value)
        for name, value in differences(measured.options)
        # Where no commits are known the start is not a choice, and the card says what it is.
        if (name, value) != ("lead_time_start", Start.FIRST_ENVIRONMENT)
    ]
    text = f"definition {measured.definition[:12]}"
    if not differs:
        return f"{text}, the default"
    shown = [f"{name.replace('_', ' ')}={clip(one_line(value), 60)}" for name, value in differs]
    return f"{text}, not the default: {', '.join(shown)}"


def _other_definition(run: RunState, measured: Measured, directory: Path) -> list[str]:
    """That the report before this one, of the same environment, counted by another definition."""
    earlier = dora_earlier.before(directory, environment=measured.environment, run=run.run)
    if earlier is None or measured.definition.startswith(earlier.definition):
        return []
    text = (
        f"The report before this one (run {earlier.run}) counted by another definition, {earlier.definition}: its "
        "numbers do not compare with these."
    )
    return [text]


def _row(service: Service, measured: Measured, zone: ZoneInfo) -> Row:
    counts = service.weeks[-dora_cards.SPARK_WEEKS :]
    rate = "" if service.per_week is None else f"{words.number(service.per_week)} a week"
    if measured.metric("fail_rate").missing:
        failing = (f"{service.rollbacks:,}", f"of {service.deployments:,}")
        recovery = ("", "")
    else:
        failing = _cell("ratio", service.fail_rate)
        if service.deployments:
            bounds = words.interval("ratio", service.fail_rate)
            failing = (failing[0], f"{service.failed:,} of {service.deployments:,}: {bounds}")
        recovery = _recovery_cell(service)
    return Row(
        name=service.name,
        spark=dora_scales.sparkline(counts),
        spark_width=2 * len(counts) + 2,
        deployments=(f"{service.deployments:,}", rate),
        lead=_cell("s", service.lead),
        failing=failing,
        recovery=recovery,
        note=findings.note(service, measured, zone=zone),
        quiet=not service.deployments,
    )


def _cell(unit: str, estimate: Estimate) -> tuple[str, str]:
    if estimate.value is None:
        return "", "no data"
    bounds = words.interval(unit, estimate)
    return words.value(unit, estimate.value), f"{bounds + ', ' if bounds else ''}n {estimate.n:,}"


def _recovery_cell(service: Service) -> tuple[str, str]:
    if not service.failed:
        return "", "no failure"
    if service.failed < DoraDefinition().minimum_failures or service.recovery.value is None:
        still = f", {service.still_open} open" if service.still_open else ""
        return "", f"too few, n {service.failed}{still}"
    return _cell("s", service.recovery)


def _drill(measured: Measured, directory: Path, zone: ZoneInfo) -> Mapping[str, object] | None:
    """The deployments behind the weekly chart, by week, as the page's script shows them; None without any."""
    found = facts.read_table(directory, "deployments")
    if found.empty:
        return None
    borders = [week.start_s for week in measured.weeks]
    rows: list[list[object]] = []
    for row in found.head(DRILL_ROWS).to_dict("records"):
        local = datetime.fromtimestamp(row["finished_s"], zone)
        lead = "" if pd.isna(row["lead_s"]) else words.duration(float(row["lead_s"]))
        rows.append(
            [
                bisect_right(borders, row["finished_s"]) - 1,
                local.strftime("%Y-%m-%d %H:%M %z"),
                clip(one_line(row["service"]), 80),
                clip(one_line(row["version"]), 60),
                row["revision"][:12],
                ", ".join(part for part in (row["failed_by"], row["rework_by"]) if part),
                lead,
            ]
        )
    shown = sorted({str(row[0]) for row in rows}, key=int, reverse=True)
    return {
        "rows": rows,
        "weeks": [(week, words.day(borders[int(week)], zone)) for week in shown],
        "total": len(found),
        "shown": len(rows),
    }


def _week_rows(measured: Measured, zone: ZoneInfo) -> Sequence[tuple[str, ...]]:
    """The charts over time as a table, for keyboards, screen readers and paper."""
    words_of = {"before": "before", "now": "now", "partial": "not a whole week"}
    return [
        (
            words.day(week.start_s, zone),
            words_of[week.period],
            f"{week.deployments:,}",
            f"{week.rollbacks:,}",
            "" if week.lead_median_s is None else words.duration(week.lead_median_s),
            f"{week.lead_n:,}",
        )
        for week in measured.weeks
    ]


def _left_out_sentence(measured: Measured) -> str:
    counted = measured.metric("frequency").counts.get("deployments", 0)
    lead = measured.metric("lead_time").counts
    words_of_lead = "versions" if "versions" in lead else "changes"
    return (
        f"Seen in the window: {words.count(measured.seen, 'event')} of {measured.environment}. Counted: "
        f"{words.count(counted, 'deployment')}, {measured.metric('lead_time').now.n:,} {words_of_lead} with a lead time."
    )


def _facts(state: DoraState, zone: ZoneInfo) -> list[tuple[str, str]]:
    incidents = "no file" if state.incidents is None else words.count(state.incidents, "incident")
    known = "nothing" if not state.events else words.days(state.first_s, state.until_s + 1, zone)
    return [
        ("Known", known),
        ("Events", f"{state.events:,} of {words.count(state.services, 'service')}"),
        *((f"Deployments, {name}", f"{count:,}") for name, count in state.deployments.items()),
        ("Incidents", incidents),
        ("No person", "authors' names are never stored; no number here is about a person"),
    ]
