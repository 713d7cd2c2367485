"""The numbers week by week and service by service, behind the charts and the table of services."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence

from gitops_nb.dora import statistics, windows
from gitops_nb.dora.definition import WEEK_S
from gitops_nb.dora.history import Deployment, History
from gitops_nb.dora.metrics import Scope, is_present, rate_of, recovery_of
from gitops_nb.dora.results import Service, Week
from gitops_nb.dora.statistics import Estimate


def weekly(history: History, scope: Scope, *, until_s: int) -> tuple[Week, ...]:
    """Every ISO week from the earlier window to ``until_s`` or the window's end, whichever is later."""
    start_s = scope.before.start_s if scope.before else scope.window.start_s
    end_s = max(scope.window.end_s, min(until_s, scope.window.end_s + WEEK_S))
    borders = windows.week_borders(start_s, end_s, zone=scope.zone)
    rows: list[list[Deployment]] = [[] for _ in borders]
    for row in itertools.chain.from_iterable(history.deployments.values()):
        if borders[0] <= row.finished_s < borders[-1]:
            rows[bisect_right(borders, row.finished_s) - 1].append(row)
    found = []
    for (a, b), inside in zip(itertools.pairwise(borders), rows, strict=False):
        leads = [row.lead_s for row in inside if row.lead_s is not None]
        found.append(
            Week(
                start_s=a,
                end_s=b,
                period=_period(a, b, scope),
                deployments=len(inside),
                failed=sum(bool(row.failed_by) for row in inside) if scope.has_incidents else 0,
                rollbacks=sum(row.is_rollback for row in inside),
                lead_n=len(leads),
                lead_low_s=_seconds(statistics.quantile(leads, 0.25)),
                lead_median_s=_seconds(statistics.quantile(leads, 0.5)),
                lead_high_s=_seconds(statistics.quantile(leads, 0.75)),
            )
        )
    return tuple(found)


def services(history: History, scope: Scope, weeks: Sequence[Week]) -> tuple[Service, ...]:
    """One row for each service that was in the environment, most deployments first."""
    borders = [week.start_s for week in weeks if week.end_s > scope.window.start_s]
    found = []
    for name, span in history.spans.items():
        rows = history.deployments.get(name, ())
        inside = [row for row in rows if scope.window.holds(row.finished_s)]
        if not inside and not is_present(span, scope.window):
            continue
        recovery_time, still_open = recovery_of(inside)
        failed = sum(bool(row.failed_by) for row in inside)
        counts = [0] * len(borders)
        for row in rows:
            index = bisect_right(borders, row.finished_s) - 1
            if 0 <= index < len(borders) and row.finished_s < weeks[-1].end_s:
                counts[index] += 1
        known = [row for row in rows if row.finished_s < scope.window.end_s]
        found.append(
            Service(
                name=name,
                deployments=len(inside),
                before=sum(scope.before.holds(r.finished_s) for r in rows) if scope.before else 0,
                per_week=rate_of(rows, span, scope.window),
                lead=statistics.clustered_median(
                    [(r.lead_s,) for r in inside if r.lead_s is not None],
                    samples=scope.definition.bootstrap_samples,
                ),
                failed=failed,
                fail_rate=statistics.wilson(failed, len(inside))
                if scope.has_incidents
                else Estimate(),
                rollbacks=sum(row.is_rollback for row in inside),
                recovery=recovery_time,
                still_open=still_open,
                last_s=known[-1].finished_s if known else 0,
                weeks=tuple(counts),
            )
        )
    return tuple(sorted(found, key=lambda service: (-service.deployments, service.name)))


def _seconds(number: float | None) -> int | None:
    return None if number is None else round(number)


def _period(start_s: int, end_s: int, scope: Scope) -> str:
    if scope.window.start_s <= start_s and end_s <= scope.window.end_s:
        return "now"
    if scope.before and scope.before.start_s <= start_s and end_s <= scope.before.end_s:
        return "before"
    return "partial"
