"""The numbers week by week and service by service, behind the charts and the table of services."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gitops_nb.dora import statistics, windows
from gitops_nb.dora.metrics import is_present, rate_of, recovery_of
from gitops_nb.dora.numbers import BEFORE, NOW, Counts, Numbers, Recoveries, WeekCounts
from gitops_nb.dora.results import Service, Week
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.statistics import Estimate

_NO_LEADS = (0, None, None, None)


def weekly(numbers: Numbers, scope: Scope) -> tuple[Week, ...]:
    """Every ISO week that the charts show."""
    borders = windows.week_borders(scope.shown.start_s, scope.shown.end_s, zone=scope.zone)
    totals: dict[int, WeekCounts] = {}
    for (_, week), more in numbers.weeks.items():
        known = totals.get(week, WeekCounts())
        totals[week] = WeekCounts(
            known.deployments + more.deployments,
            known.failed + more.failed,
            known.rollbacks + more.rollbacks,
        )
    found = []
    for week, (a, b) in enumerate(itertools.pairwise(borders)):
        counts = totals.get(week, WeekCounts())
        n, *quartiles = numbers.lead_weeks.get(week, _NO_LEADS)
        low_s, median_s, high_s = (None if q is None else round(q) for q in quartiles)
        found.append(
            Week(
                start_s=a,
                end_s=b,
                period=_period(a, b, scope),
                deployments=counts.deployments,
                failed=counts.failed if scope.knows_failures else 0,
                rollbacks=counts.rollbacks,
                lead_n=n,
                lead_low_s=low_s,
                lead_median_s=median_s,
                lead_high_s=high_s,
            )
        )
    return tuple(found)


def services(numbers: Numbers, scope: Scope, weeks: Sequence[Week]) -> tuple[Service, ...]:
    """One row for each service that was in the environment, most deployments first."""
    shown = [index for index, week in enumerate(weeks) if week.end_s > scope.window.start_s]
    found = []
    for name, span in numbers.spans.items():
        counts = numbers.counts[NOW].get(name, Counts())
        if not counts.deployments and not is_present(span, scope.window):
            continue
        failures = numbers.recoveries[NOW].get(name, Recoveries())
        earlier = numbers.counts[BEFORE].get(name, Counts()) if scope.before else Counts()
        found.append(
            Service(
                name=name,
                deployments=counts.deployments,
                before=earlier.deployments,
                per_week=rate_of(counts, span, scope, scope.window),
                lead=statistics.clustered_median(
                    numbers.lead_values.get(name, ()),
                    samples=scope.definition.bootstrap_samples,
                    bootstrap=scope.definition.bootstrap,
                ),
                failed=counts.failed,
                fail_rate=statistics.wilson(counts.failed, counts.deployments)
                if scope.knows_failures
                else Estimate(),
                rollbacks=counts.rollbacks,
                recovery=recovery_of(failures),
                still_open=len(failures.lasting),
                last_s=numbers.last_s.get(name, 0),
                weeks=tuple(
                    numbers.weeks.get((name, index), WeekCounts()).deployments for index in shown
                ),
            )
        )
    return tuple(sorted(found, key=lambda service: (-service.deployments, service.name)))


def _period(start_s: int, end_s: int, scope: Scope) -> str:
    if scope.window.start_s <= start_s and end_s <= scope.window.end_s:
        return "now"
    if scope.before and scope.before.start_s <= start_s and end_s <= scope.before.end_s:
        return "before"
    return "partial"
