"""Step by step: from one environment to the next, and from writing a change to its health."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import ibis.expr.types as ir

from gitops_nb.dora import leading, windows
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import Question, inside, unbound, week_of
from gitops_nb.dora.numbers import median_of
from gitops_nb.dora.results import Stage, SyncWeek
from gitops_nb.dora.windows import Window

_LEFT_OUT = (
    "",
    "there when the history begins (seed)",
    "never seen in {source}",
    "reached {target} before {source} (negative)",
)
_STAGES = (
    ("written", "pull request opened"),
    ("pull request opened", "merged"),
    ("merged", "configuration commit"),
    ("configuration commit", "synced"),
    ("synced", "healthy"),
)


def promotions(
    engine: Engine,
    steps: Sequence[tuple[str, str]],
    periods: Sequence[Window],
    *,
    is_native: bool,
) -> tuple[Stage, ...]:
    """One stage for each promotion, in the order given; the medians of stages do not add up to a whole."""
    found = []
    for source, target in steps:
        estimates = []
        for window in periods:
            rows = leading.promotions(source, target, window)
            known = rows.filter(rows.reason == 0)
            estimates.append(median_of(engine, known, "lead_s", is_native=is_native))
        excluded = _reasons(engine, leading.promotions(source, target, periods[0]))
        texts = {
            _LEFT_OUT[reason].format(source=source, target=target): n
            for reason, n in sorted(excluded.items(), key=lambda item: (-item[1], item[0]))
        }
        found.append(
            Stage(source, target, estimates[0], estimates[1] if periods[1:] else None, texts)
        )
    return tuple(found)


def split(engine: Engine, question: Question, periods: Sequence[Window]) -> tuple[Stage, ...]:
    """The stages of changes whose both ends are known; none without commits of applications."""
    if not question.has_commits:
        return ()
    rows = engine.keep("stages", leading.stages(question))
    found = []
    for place, (source, target) in enumerate(_STAGES):
        mine = rows.filter(rows.stage == place)
        now, *before = (
            median_of(engine, inside(mine, window), "lead_s", is_native=question.is_native)
            for window in periods
        )
        found.append(Stage(source, target, now, before[0] if before else None))
    return tuple(found)


def sync_status(question: Question, window: Window, *, zone: ZoneInfo) -> ir.Table:
    """What Argo CD said per week: week, observed, synced, healthy."""
    seen = unbound()["observation"]
    rows = seen.filter(
        seen.environment == question.environment,
        seen.observed_s >= window.start_s,
        seen.observed_s < window.end_s,
    )
    rows = rows.mutate(week=week_of(rows.observed_s, window, zone=zone))
    return rows.group_by("week").agg(
        observed=rows.count(),
        synced=(rows["sync"] == "Synced").sum().cast("int64"),
        healthy=(rows.health == "Healthy").sum().cast("int64"),
    )


def sync_weeks(
    engine: Engine, question: Question, window: Window, *, zone: ZoneInfo
) -> tuple[SyncWeek, ...]:
    """The weeks in which Argo CD was asked, earliest first."""
    borders = windows.week_borders(window.start_s, window.end_s, zone=zone)
    return tuple(
        SyncWeek(borders[week], observed, synced, healthy)
        for week, observed, synced, healthy in sorted(
            engine.rows(sync_status(question, window, zone=zone))
        )
    )


def _reasons(engine: Engine, rows: ir.Table) -> dict[int, int]:
    missing = rows.filter(rows.reason > 0)
    return dict(engine.rows(missing.group_by("reason").agg(n=missing.count())))
