"""The cards on the first page of the DORA report: each metric with its interval, n, level and change, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gitops_nb.dora import benchmarks, words
from gitops_nb.dora.results import Change, Measured, Metric, SyncStatus
from gitops_nb.dora.statistics import Estimate
from gitops_nb.report import dora_scales
from gitops_nb.report.dora_scales import Scale

SPARK_WEEKS = 60
_ICONS = {"up": "up", "down": "down", "flat": "flat", "unknown": ""}
_MINUS = "\u2212"
_COUNTED = ("versions", "deployments", "changes")
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


def card(metric: Metric, measured: Measured) -> Card:
    """One metric with its level and change; what is missing says why."""
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


def rollback_card(measured: Measured) -> Card | None:
    """Rollbacks apart, where there is a number."""
    found = card(measured.rollbacks, measured)
    return found if found.value else None


def _n(metric: Metric) -> str:
    counts = metric.counts
    match metric.key:
        case "frequency":
            return (
                f"{words.count(counts.get('deployments', 0), 'deployment')}, "
                f"{words.count(counts.get('services', 0), 'service')}, "
                f"{words.count(counts.get('weeks', 0), 'week')}"
            )
        case "lead_time":
            # Records keep their keys in alphabetical order, so the first one says nothing.
            kind = next((name for name in _COUNTED if name in counts), "changes")
            return (
                f"{words.count(metric.now.n, kind.removesuffix('s'))}; "
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
        which = "all deployments" if change.compared is None else f"deployments{_compared(change)}"
        more = _visible(metric, change) if change.direction == "flat" else ""
        return f"{lead} {which} {times}.{more}{_strata(change, ('less often', 'more often'))}"
    if change.direction == "flat":
        difference = _signed(metric.unit, change.estimate)
        more = _visible(metric, change)
        return f"No clear change: {difference}{_compared(change)}.{more}{_strata(change)}"
    word = rises if change.direction == "up" else falls
    size = Estimate.of(abs(value), *_absolute(change.estimate), n=change.estimate.n)
    amount, unit = _difference_parts(metric.unit, size.value or 0, size.value or 0)
    low_text, _ = _difference_parts(metric.unit, size.low or 0, size.value or 0)
    high_text, _ = _difference_parts(metric.unit, size.high or 0, size.value or 0)
    return (
        f"{word} by {amount}{words.NBSP}{unit} ({low_text} to {high_text}{words.NBSP}{unit})"
        f"{_compared(change)}.{_strata(change)}"
    )


def _visible(metric: Metric, change: Change) -> str:
    """How large a change would have had to be; what a history this short cannot show is no proof of steadiness."""
    if change.visible is None:
        return ""
    percent = math.ceil(change.visible * 100)
    if metric.unit == "ratio":
        return f" One of {percent} percentage points or more would likely have shown."
    if percent > 900:
        return " So little is known that hardly any change would have shown."
    return f" One of {percent}{words.NBSP}% or more would likely have shown."


def _compared(change: Change) -> str:
    """Which services a change is about, where these are not all."""
    if change.compared is None:
        return ""
    return f" of the {words.count(change.compared, 'service')} in both windows"


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


def _strata(change: Change, names: tuple[str, str] = ("shorter", "longer")) -> str:
    """Whether single services agree with the pooled change; with one service there is nothing to say."""
    down, up = change.stratified
    if down + up < 2:
        return ""
    text = f" Service by service: {down} {names[0]}, {up} {names[1]}."
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


def sync_card(sync: SyncStatus, environment: str) -> Mapping[str, str]:
    """What Argo CD says now, in words."""
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


def sync_history(measured: Measured) -> Mapping[str, object] | None:
    """The share of looks that found an application in sync, week by week; None when nobody looked."""
    looks = sum(week.observed for week in measured.sync_weeks)
    if not looks:
        return None
    synced = sum(week.synced for week in measured.sync_weeks)
    shares = [round(100 * week.synced / week.observed) for week in measured.sync_weeks]
    weeks = words.count(len(shares), "week")
    return {
        "path": dora_scales.sparkline(shares[-SPARK_WEEKS:]),
        "width": 2 * len(shares[-SPARK_WEEKS:]) + 2,
        "label": f"In sync in {words.number(100 * synced / looks)} % of {words.count(looks, 'look')} in {weeks}",
    }
