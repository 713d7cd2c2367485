"""make calibrate: how often the DORA report claims a change where nothing changed, and how often it tells one that there is.

Histories come from a seed: 13 weeks and 13 weeks of twelve services, of six kinds in which something other than chance moves
the numbers. Each goes through the report's own functions, from counts by week to title and "what to look at". The first
argument is how many unchanged histories of each kind, the second how many changed ones of each; 200 and 100 by default.
One table on stdout, as it stands in docs/dora.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gitops_nb.dora import changepoints, findings, metrics, statistics, tallies, trends, windows
from gitops_nb.dora.definition import WEEK_S, DoraDefinition
from gitops_nb.dora.numbers import Counts, Failed, Leads, Numbers, Recoveries, Span, WeekCounts
from gitops_nb.dora.reassigning import step_of
from gitops_nb.dora.results import Measured, SyncStatus
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.windows import Window

WEEKS = 13
ZONE = ZoneInfo("UTC")
START_S = 1_704_067_200  # a Monday
BEFORE = Window(START_S, START_S + WEEKS * WEEK_S)
NOW = Window(BEFORE.end_s, BEFORE.end_s + WEEKS * WEEK_S)
SCOPE = Scope(
    environment="production",
    window=NOW,
    before=BEFORE,
    zone=ZONE,
    definition=DoraDefinition(),
    no_trend="",
    has_incidents=True,
    is_last=True,
    shown=Window(BEFORE.start_s, NOW.end_s),
)


@dataclass(frozen=True)
class Kind:
    """What moves the numbers of an unchanged history: bursts of a service, slow weeks of the fleet, many commits at once."""

    name: str
    services: int = 12
    burst: float = 0.0
    slow_weeks: float = 0.0
    commits: int = 1


@dataclass(frozen=True)
class Shift:
    """What really changed between the windows."""

    name: str
    metric: str
    often: float = 1.0
    lead: float = 1.0
    fails: float = 0.10


KINDS = (
    Kind("independent"),
    Kind("bursty services", burst=0.5),
    Kind("slow weeks shared by the fleet", slow_weeks=0.5),
    Kind("about 5 commits per deployment", burst=0.3, commits=5),
    Kind("both", burst=0.3, slow_weeks=0.5, commits=5),
    Kind("three services, both", services=3, burst=0.3, slow_weeks=0.5, commits=5),
)
SHIFTS = (
    Shift("frequency +50 %", "frequency", often=1.5),
    Shift("lead +50 %", "lead_time", lead=1.5),
    Shift("lead +100 %", "lead_time", lead=2.0),
    Shift("fail rate 10 to 15 %", "fail_rate", fails=0.15),
    Shift("fail rate 10 to 20 %", "fail_rate", fails=0.20),
)
KEYS = {"frequency", "lead_time", "fail_rate", "recovery", "rework"}
UNCHANGED = Shift("nothing", "")


def history(kind: Kind, shift: Shift, seed: int) -> Numbers:
    """One simulated history, as the engine would answer about it."""
    chance = np.random.RandomState(seed)
    rates = chance.lognormal(np.log(3.0), 0.5, kind.services)
    # All services are alike in lead time and failures: that one is slower or fails more is never true.
    usual = np.full(kind.services, 86_400.0)
    slow = (
        np.exp(chance.normal(0, kind.slow_weeks, 2 * WEEKS))
        if kind.slow_weeks
        else np.ones(2 * WEEKS)
    )
    weeks: dict[tuple[str, int], WeekCounts] = {}
    steps: dict[tuple[int, int], tuple[int, int]] = {}
    failures: list[Failed] = []
    leads: list[dict[str, list[list[int]]]] = [{}, {}]
    counts: list[dict[str, list[int]]] = [{}, {}]
    last: dict[str, int] = {}
    for place in range(kind.services):
        name = f"s{place:02}"
        for week in range(2 * WEEKS):
            is_now = week >= WEEKS
            often = rates[place] * (shift.often if is_now else 1.0)
            if kind.burst:
                often *= chance.gamma(1 / kind.burst, kind.burst)
            made = int(chance.poisson(often))
            fails = chance.random_sample(made) < (shift.fails if is_now else 0.10)
            begins_s = START_S + week * WEEK_S
            for failed in fails:
                at_s = begins_s + int(chance.random_sample() * WEEK_S)
                own = usual[place] * slow[week] * (shift.lead if is_now else 1.0)
                shared = np.exp(chance.normal(0, 0.6)) if kind.commits > 1 else 1.0
                n = 1 + int(chance.poisson(kind.commits - 1)) if kind.commits > 1 else 1
                times = [int(own * shared * np.exp(chance.normal(0, 0.7))) for _ in range(n)]
                leads[not is_now].setdefault(name, []).append(times)
                for time in times:
                    held, _ = steps.get((week, step_of(time)), (0, 0))
                    steps[week, step_of(time)] = (held + 1, held + 1)
                last[name] = max(last.get(name, 0), at_s)
                if failed:
                    took_s = int(np.exp(chance.normal(np.log(7200.0), 1.0)))
                    failures.append(Failed(name, at_s, took_s, is_open=False))
            weeks[name, week] = WeekCounts(made, int(fails.sum()), 0, 0)
            known = counts[not is_now].setdefault(name, [0, 0])
            known[0] += made
            known[1] += int(fails.sum())
    return Numbers(
        spans={f"s{n:02}": Span(START_S - WEEK_S, None) for n in range(kind.services)},
        counts=[{s: Counts(d, f) for s, (d, f) in period.items()} for period in counts],
        failed_by=[{"incident": sum(f for _, f in period.values())} for period in counts],
        rework_by=[{}, {}],
        recoveries=[_recoveries(failures, window) for window in (NOW, BEFORE)],
        leads=[_leads(period) for period in leads],
        lead_values=leads[0],
        weeks=weeks,
        lead_weeks={},
        last_s=last,
        lead_steps=steps,
        failures=failures,
    )


def _recoveries(failures: list[Failed], window: Window) -> dict[str, Recoveries]:
    found: dict[str, Recoveries] = {}
    for one in failures:
        if window.holds(one.finished_s):
            more = Recoveries(ended=(one.took_s,))
            found[one.service] = found.get(one.service, Recoveries()) + more
    return found


def _leads(by_service: dict[str, list[list[int]]]) -> Leads:
    own = {name: [time for one in parts for time in one] for name, parts in by_service.items()}
    every = [float(time) for times in own.values() for time in times]
    return Leads(
        median=statistics.median(every),
        services={name: (len(times), float(np.median(times))) for name, times in own.items()},
    )


def measured_of(known: Numbers) -> Measured:
    """What the report says of a history, as ``measure`` puts it together."""
    moved = trends.moved_metrics(known, SCOPE)
    weeks = tallies.weekly(known, SCOPE)
    services = tallies.services(known, SCOPE, weeks)
    all_metrics = (
        metrics.frequency(known, SCOPE, moved),
        metrics.lead_time(known, SCOPE, moved),
        metrics.fail_rate(known, SCOPE, moved),
        metrics.recovery(known, SCOPE, moved),
        metrics.rework(known, SCOPE, moved),
    )
    values: dict[str, Any] = {
        "environment": "production",
        "first_environment": "development",
        "window": NOW,
        "before": BEFORE,
        "complete_weeks": windows.complete_weeks(NOW, zone=ZONE),
        "time_zone": "UTC",
        "definition": "",
        "metrics": all_metrics,
        "rollbacks": metrics.rollbacks(known, SCOPE, moved),
        "sync": SyncStatus(),
        "weeks": weeks,
        "services": len(services),
        "seen": sum(service.deployments for service in services),
        "excluded": (),
        "shifts": changepoints.shifts(
            [(week.start_s, week.deployments) for week in weeks],
            minimum_weeks=8,
            worth=findings.MUCH,
        ),
    }
    found = Measured(**values)
    return Measured(
        **values,
        title=findings.title(found),
        look_at=findings.look_at(found, services, zone=ZONE),
    )


def claims(measured: Measured) -> set[str]:
    """Everything that a reader would take for a change, or for a service that is unlike the others."""
    found = {
        metric.key
        for metric in measured.metrics
        if metric.change is not None and metric.change.direction in ("up", "down")
    }
    if "steady" not in measured.title and "too little" not in measured.title:
        found.add("title")
    if measured.shifts:
        found.add("pace")
    found |= {"look" for look in measured.look_at if "may be chance" not in look.text}
    return found


MISSED = {
    "lead time beside its interval": ("lead_time", 86_400.0),
    "fail rate beside its interval": ("fail_rate", 0.10),
}
"""What is true of an unchanged history, which 95 % of the intervals should hold."""


def missed(measured: Measured) -> set[str]:
    """Numbers whose interval does not hold what is true."""
    found = set()
    for head, (key, truth) in MISSED.items():
        now = measured.metric(key).now
        if now.low is not None and now.high is not None and not now.low <= truth <= now.high:
            found.add(head)
    return found


def main() -> None:
    """Prints the table."""
    unchanged, changed = (int(text) for text in (*sys.argv[1:3], "200", "100")[:2])
    heads = ("kind", "any false claim", "of a metric", "title", "pace", "what to look at", *MISSED)
    print(f"| {' | '.join((*heads, *(shift.name for shift in SHIFTS)))} | reversed |")
    print("|---" * (len(heads) + len(SHIFTS) + 1) + "|")
    for place, kind in enumerate(KINDS):
        counted: Counter[str] = Counter()
        for seed in range(unchanged):
            measured = measured_of(history(kind, UNCHANGED, 1_000_003 * place + seed))
            found = claims(measured)
            counted.update(missed(measured))
            counted["any"] += bool(found)
            counted["metric"] += bool(found & KEYS)
            counted.update(found & {"title", "pace", "look"})
        keys = ("any", "metric", "title", "pace", "look", *MISSED)
        cells = [f"{counted[key] / unchanged:.1%}" for key in keys]
        told, reversed_claims = [], 0
        for number, shift in enumerate(SHIFTS):
            hits = 0
            for seed in range(changed):
                known = history(kind, shift, 7_000_003 * (place + 1) + 100_003 * number + seed)
                change = measured_of(known).metric(shift.metric).change
                hits += change is not None and change.direction == "up"
                reversed_claims += change is not None and change.direction == "down"
            told.append(f"{hits / changed:.0%}")
        print(f"| {' | '.join((kind.name, *cells, *told, str(reversed_claims)))} |", flush=True)


if __name__ == "__main__":
    main()
