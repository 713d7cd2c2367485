"""Numbers held against targets, and the table of teams: met or missed only where the whole interval says so."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gitops_nb.dora import metrics, statistics
from gitops_nb.dora.numbers import Numbers
from gitops_nb.dora.results import Metric, Service, Target, Team
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.statistics import Estimate

MORE_IS_BETTER = frozenset({"frequency"})


def held_against(metric: Metric, targets: Mapping[str, float]) -> Metric:
    """A metric with the verdict on its target; as it is where there is none.

    Args:
        metric: As measured.
        targets: Bounds by metric: per week, seconds, or a share of 1.
    """
    bound = targets.get(metric.key)
    if bound is None:
        return metric
    now = metric.now if metric.has_value else Estimate()
    return replace(metric, target=Target(round(bound * 1_000_000), verdict(metric.key, now, bound)))


def verdict(key: str, now: Estimate, bound: float) -> str:
    """Whether an estimate reaches a bound: "met", "missed", "not clear" or "no data".

    A value on the good side whose interval reaches over the bound may be chance, and is neither.
    """
    if now.value is None:
        return "no data"
    if now.low is None or now.high is None:
        return "not clear"
    low, high = (now.low, now.high) if key not in MORE_IS_BETTER else (-now.high, -now.low)
    limit = bound if key not in MORE_IS_BETTER else -bound
    if high <= limit:
        return "met"
    return "missed" if low > limit else "not clear"


def teams(
    numbers: Numbers,
    scope: Scope,
    services: Sequence[Service],
    declared: Mapping[str, tuple[tuple[str, ...], Mapping[str, float]]],
) -> tuple[Team, ...]:
    """One row for each team that has a service here, in the order of fleet.yaml.

    Args:
        numbers: What the engine answered.
        scope: Of the report.
        services: Its rows of services.
        declared: Services and targets by team.
    """
    known = {service.name: service for service in services}
    found = []
    for name, (own, targets) in declared.items():
        rows = [known[service] for service in own if service in known]
        if not rows:
            continue
        deployments = sum(row.deployments for row in rows)
        failed = sum(row.failed for row in rows)
        lead = statistics.clustered_median(
            tuple(
                itertools.chain.from_iterable(numbers.lead_values.get(row.name, ()) for row in rows)
            ),
            samples=scope.definition.bootstrap_samples,
            bootstrap=scope.definition.bootstrap,
        )
        rate = Estimate()
        if scope.knows_failures:
            names = frozenset(row.name for row in rows)
            rate = metrics.share(numbers, scope, "failed", only=names)
        paces = [row.per_week for row in rows if row.per_week is not None]
        found.append(
            Team(
                name=name,
                services=len(rows),
                deployments=deployments,
                per_week_millionths=statistics.median(paces).value_millionths,
                lead=lead,
                failed=failed,
                fail_rate=rate,
                # Whether a lead time reaches its target whole weeks have to say: a team's own report asks them.
                targets={"fail_rate": verdict("fail_rate", rate, targets["fail_rate"])}
                if "fail_rate" in targets
                else {},
            )
        )
    return tuple(found)
