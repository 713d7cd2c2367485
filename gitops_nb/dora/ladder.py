"""Promotion lead time: how long versions take from one environment to the next, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitops_nb.dora import statistics
from gitops_nb.dora.facts import Facts, rows
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window


@dataclass(frozen=True, slots=True)
class Stage:
    """One promotion: the median time of versions that reached ``target`` in the window, in seconds.

    ``before`` is that of the window before; ``excluded`` counts versions without a time, by reason.
    """

    source: str
    target: str
    now: Estimate
    before: Estimate | None
    excluded: Mapping[str, int] = field(default_factory=dict)


def ladder(
    collected: Facts,
    promotions: tuple[tuple[str, str], ...],
    *,
    window: Window,
    before: Window | None,
) -> tuple[Stage, ...]:
    """One stage for each promotion, in the order given; the medians of stages do not add up to a whole."""
    arrivals = _arrivals(collected)
    found = []
    for source, target in promotions:
        now, excluded = _stage(arrivals, source, target, window)
        earlier = _stage(arrivals, source, target, before)[0] if before else None
        found.append(Stage(source, target, now, earlier, dict(excluded.most_common())))
    return tuple(found)


def _arrivals(collected: Facts) -> dict[str, dict[tuple[str, str], tuple[int, bool]]]:
    """By environment: when each (service, version) first arrived, and whether that time is censored."""
    found: dict[str, dict[tuple[str, str], tuple[int, bool]]] = {}
    events = collected.events
    for row in rows(events[events["is_first"]].sort_values("position")):
        place = found.setdefault(row.environment, {})
        place.setdefault((row.service, row.version), (row.finished_s, row.is_censored))
    return found


def _stage(
    arrivals: Mapping[str, Mapping[tuple[str, str], tuple[int, bool]]],
    source: str,
    target: str,
    window: Window,
) -> tuple[Estimate, Counter[str]]:
    begun = arrivals.get(source, {})
    values: list[float] = []
    excluded: Counter[str] = Counter()
    for key, (finished_s, is_censored) in arrivals.get(target, {}).items():
        if not window.holds(finished_s):
            continue
        start = begun.get(key)
        if is_censored or (start and start[1]):
            excluded["there when the history begins (seed)"] += 1
        elif start is None:
            excluded[f"never seen in {source}"] += 1
        elif finished_s < start[0]:
            excluded[f"reached {target} before {source} (negative)"] += 1
        else:
            values.append(finished_s - start[0])
    return statistics.median(values), excluded
