"""The DORA report: one file for people who decide, from measured values and the run's record.

First page: the finding, each metric with value, interval, n and the window before, what to look at. Then
charts, every service, what was left out, definitions, and how to check all of it. Charts are drawn by the
Plotly that is installed; nothing is loaded from anywhere.
"""

from __future__ import annotations

import importlib.metadata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import benchmarks, facts, findings, glossary, tables, words
from gitops_nb.dora.definition import DoraDefinition, Start, differences
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.results import Change, Measured, Metric, Service, SyncStatus
from gitops_nb.dora.statistics import Estimate
from gitops_nb.record.fold import RunState
from gitops_nb.report import dora_charts, dora_scales, dora_tables, layout
from gitops_nb.report.dora_scales import Scale
from gitops_nb.report.text import clip, one_line
from gitops_nb.report.words import Times

FIRST_ROWS = 40
"""Services that stand open in the table; the others are folded."""
DRILL_ROWS = 5000
"""Deployments that the page itself holds, the newest; deployments.csv has all."""
_SPARK_WEEKS = 60
_ICONS = {"up": "up", "down": "down", "flat": "flat", "unknown": ""}
_MINUS = "\u2212"
_DIRECTIONS = {
    "frequency": ("Less often", "More often"),
    "lead_time": ("Shorter", "Longer"),
    "fail_rate": ("Lower", "Higher"),
    "recovery": ("Shorter", "Longer"),
    "rollbacks": ("Fewer", "More"),
    "rework": ("Lower", "Higher"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """One metric as the first page shows it. ``value`` is "" when ``missing`` says why there is none."""

    key: str
    title: str
    question: str
    value: str
    unit: str
    interval: str
    n: str
    scale: Scale | None
    level: str
    level_more: str
    change_icon: str
    change: str
    missing: str
    aside: str = ""
    benchmark: str = ""


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
    from plotly.offline import get_plotlyjs  # 0.3 s: other reports do without

    measured_zone = ZoneInfo(measured.time_zone)
    services = tables.read_services(directory)
    rows = [_row(service, measured, measured_zone) for service in services]
    return layout.page(
        "dora.html.j2",
        styles=("style.css", "dora.css"),
        scripts=(get_plotlyjs(), layout.asset("dora.js")),
        # Plotly sets styles on its own elements; no text of a run can reach a style from a template.
        policy={"style-src": "'unsafe-inline'", "img-src": "data:"},
        status="",
        sandbox=run.is_sandbox,
        run=run,
        m=measured,
        period=_period(measured, measured_zone),
        cards=[_card(metric, measured) for metric in measured.metrics],
        sync=_sync_card(measured.sync, measured.environment),
        charts=dora_charts.charts(measured, services, measured_zone),
        weeks=_week_rows(measured, measured_zone),
        stages=dora_tables.stage_rows(measured.stages),
        split=[row for row in dora_tables.stage_rows(measured.split) if row.now[0]],
        sync_history=_sync_history(measured),
        # Where the fail rate is known, rollbacks are in it; here they stand for themselves.
        back=None if measured.metric("fail_rate").missing else _rollback_card(measured),
        by_version=measured.options.lead_time_start is Start.FIRST_ENVIRONMENT,
        options=differences(measured.options),
        compared=dora_tables.what_if_rows(measured),
        drill=_drill(measured, directory, measured_zone),
        failing_title="Failed" if not measured.metric("fail_rate").missing else "Rolled back",
        rows=rows[:FIRST_ROWS],
        more_rows=rows[FIRST_ROWS:],
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


def _period(measured: Measured, zone: ZoneInfo) -> str:
    weeks = measured.complete_weeks
    text = f"{words.days(measured.window.start_s, measured.window.end_s, zone)}, {words.count(weeks, 'complete week')}"
    if measured.before is None:
        return f"{text}, compared with nothing"
    before = words.days(measured.before.start_s, measured.before.end_s, zone)
    return f"{text}, compared with {before}"


def _card(metric: Metric, measured: Measured) -> Card:
    aside = ""
    if metric.key == "fail_rate" and metric.missing:
        aside = _rollback_sentence(measured.rollbacks)
    card = Card(
        key=metric.key,
        title=metric.title,
        question=metric.question,
        value="",
        unit="",
        interval="",
        n=_n(metric),
        scale=None,
        level="",
        level_more="",
        change_icon="",
        change="",
        missing=metric.missing,
        aside=aside,
    )
    if not metric.has_value or metric.now.value is None:
        return card
    value, unit = words.value_parts(metric.unit, metric.now.value)
    level, more = _level(metric, measured)
    return replace(
        card,
        value=value,
        unit={"per week": "a week, median service", "s": f"{unit}, median"}.get(metric.unit, unit),
        interval=words.interval(metric.unit, metric.now),
        scale=dora_scales.scale(metric),
        level=level,
        level_more=more,
        change_icon=_ICONS[metric.change.direction] if metric.change else "",
        change=_change(metric, metric.change) if metric.change else "",
        benchmark=benchmarks.sentence(metric.key, metric.level) if measured.is_last else "",
    )


def _rollback_card(measured: Measured) -> Card | None:
    card = _card(measured.rollbacks, measured)
    return card if card.value else None


def _n(metric: Metric) -> str:
    counts = metric.counts
    match metric.key:
        case "frequency":
            return (
                f"{words.count(counts.get('deployments', 0), 'deployment')}, "
                f"{words.count(counts.get('services', 0), 'service')}"
            )
        case "lead_time":
            return (
                f"{words.count(metric.now.n, 'version' if 'versions' in counts else 'change')}; "
                f"{counts.get('left out', 0):,} left out"
            )
        case "fail_rate" if counts:
            return f"{counts['failed']:,} of {words.count(counts['deployments'], 'deployment')}"
        case "rollbacks":
            return f"{counts['rollbacks']:,} of {words.count(counts['deployments'], 'deployment')}"
        case "rework" if counts:
            return f"{counts['unplanned']:,} of {words.count(counts['deployments'], 'deployment')}"
        case "recovery" if counts:
            text = words.count(counts["failed"], "failed deployment")
            return f"{text}, {counts['open']:,} still open" if counts["open"] else text
    return ""


def _level(metric: Metric, measured: Measured) -> tuple[str, str]:
    level = metric.level
    if metric.key == "lead_time" and level.low and "versions" in metric.counts:
        # The Quick Check asks from the commit of the code, which lies before our start.
        span = f"{level.low}" if level.is_single else f"{level.low} to {level.high}"
        return (
            f"Level {span} of 6 at best",
            f": the time from writing the code to {measured.first_environment} is not in it",
        )
    if level.is_single:
        return f"Level {level.low} of 6", f", {level.answer}"
    if level.low:
        return f"Between level {level.low} and {level.high} of 6", f": {level.answer}"
    return "", level.answer[:1].upper() + level.answer[1:]


def _change(metric: Metric, change: Change) -> str:
    """The change in one sentence; a direction only where the interval has one."""
    value = change.estimate.value
    if change.direction == "unknown" or value is None:
        return f"No comparison: {change.reason}."
    falls, rises = _DIRECTIONS[metric.key]
    if change.kind == "ratio":
        low, high = change.estimate.low or 0, change.estimate.high or 0
        times = f"{value:.2f} times the window before ({low:.2f} to {high:.2f})"
        lead = {"up": f"{rises}:", "down": f"{falls}:"}.get(change.direction, "No clear change:")
        return f"{lead} all deployments {times}."
    if change.direction == "flat":
        return f"No clear change: {_signed(metric.unit, change.estimate)}.{_strata(change)}"
    word = rises if change.direction == "up" else falls
    size = Estimate.of(abs(value), *_absolute(change.estimate), n=change.estimate.n)
    amount, unit = _difference_parts(metric.unit, size.value or 0, size.value or 0)
    low_text, _ = _difference_parts(metric.unit, size.low or 0, size.value or 0)
    high_text, _ = _difference_parts(metric.unit, size.high or 0, size.value or 0)
    return (
        f"{word} by {amount}{words.NBSP}{unit} ({low_text} to {high_text}{words.NBSP}{unit})."
        f"{_strata(change)}"
    )


def _absolute(estimate: Estimate) -> tuple[float, float]:
    bounds = sorted((abs(estimate.low or 0), abs(estimate.high or 0)))
    return bounds[0], bounds[1]


def _signed(unit: str, estimate: Estimate) -> str:
    parts = [
        _difference_parts(unit, number or 0, estimate.high or estimate.value or 0)
        for number in (estimate.value, estimate.low, estimate.high)
    ]
    texts = [text if text.startswith(_MINUS) or text == "0" else f"+{text}" for text, _ in parts]
    name = parts[0][1]
    return f"{texts[0]}{words.NBSP}{name} ({texts[1]} to {texts[2]}{words.NBSP}{name})"


def _difference_parts(unit: str, number: float, like: float) -> tuple[str, str]:
    if unit == "ratio":
        return words.number(number * 100), "points"
    return words.duration_parts(number, like=like)


def _strata(change: Change) -> str:
    """Whether single services agree with the pooled change; with one service there is nothing to say."""
    down, up = change.stratified
    if down + up < 2:
        return ""
    text = f" Service by service: {down} shorter, {up} longer."
    return f"{text} Most services say the opposite." if change.disagrees else text


def _rollback_sentence(metric: Metric) -> str:
    count, total = metric.counts.get("rollbacks", 0), metric.counts.get("deployments", 0)
    if not total:
        return ""
    text = (
        f"Shown apart: {count:,} of {words.count(total, 'deployment')} went back from the newest version, "
        f"{words.interval('ratio', metric.now)}."
    )
    unknown = metric.counts.get("not comparable", 0)
    if unknown:
        text += f" {words.count(unknown, 'version has', 'versions have')} no number to compare."
    return text


def _sync_card(sync: SyncStatus, environment: str) -> Mapping[str, str]:
    if sync.missing:
        return {"value": "", "missing": sync.missing, "detail": "", "environment": environment}
    detail = f"{sync.healthy:,} of {sync.total:,} healthy"
    if sync.out_of_sync:
        names = words.listed(sync.out_of_sync_names[:3])
        detail += f"; not in sync: {names}"
        if sync.out_of_sync > 3:
            detail += f" and {sync.out_of_sync - 3} more"
    return {
        "value": f"{sync.synced:,}",
        "unit": f"of {sync.total:,} in sync",
        "missing": "",
        "detail": detail,
        "environment": environment,
    }


def _sync_history(measured: Measured) -> Mapping[str, object] | None:
    """The share of looks that found an application in sync, week by week; None when nobody looked."""
    looks = sum(week.observed for week in measured.sync_weeks)
    if not looks:
        return None
    synced = sum(week.synced for week in measured.sync_weeks)
    shares = [round(100 * week.synced / week.observed) for week in measured.sync_weeks]
    weeks = words.count(len(shares), "week")
    return {
        "path": dora_scales.sparkline(shares[-_SPARK_WEEKS:]),
        "width": 2 * len(shares[-_SPARK_WEEKS:]) + 2,
        "label": f"In sync in {words.number(100 * synced / looks)} % of {words.count(looks, 'look')} in {weeks}",
    }


def _row(service: Service, measured: Measured, zone: ZoneInfo) -> Row:
    counts = service.weeks[-_SPARK_WEEKS:]
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
