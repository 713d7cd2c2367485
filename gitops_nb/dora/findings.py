"""Findings in plain words: the title of the report, its first sentence, and what to look at.

A sentence never says more than the numbers carry: without an interval free of "no change" there is no
better or worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from gitops_nb.dora import statistics, words
from gitops_nb.dora.definition import DAY_S, WEEK_S, Start
from gitops_nb.dora.results import Look, Measured, Metric, Service
from gitops_nb.dora.windows import Window

LOOKS = 3
"""How many things to look at stand on the first page; more would be no choice."""

WORTH_SAYING = 0.05
"""With thousands of values a change of one percent is certain, and still no news for a title."""
MUCH = 0.2
"""Below this share of the value before, a change is called "a little"."""

_CLEAR = {
    ("frequency", "up"): "{environment} is deployed to{much} more often",
    ("frequency", "down"): "{environment} is deployed to{much} less often",
    ("lead_time", "down"): "changes reach {environment}{much} faster",
    ("lead_time", "up"): "changes reach {environment}{much} slower",
    ("fail_rate", "up"): "more deployments fail",
    ("fail_rate", "down"): "fewer deployments fail",
    ("recovery", "down"): "failures are mended{much} faster",
    ("recovery", "up"): "failures are mended{much} slower",
    ("rework", "up"): "more deployments are unplanned",
    ("rework", "down"): "fewer deployments are unplanned",
    ("rollbacks", "up"): "more deployments are rolled back",
    ("rollbacks", "down"): "fewer deployments are rolled back",
}
_ASK_OPEN = (
    "Ask whether it is mended: then a deployment or the end of its incident is missing here."
)
_ORDER = ("lead_time", "frequency", "fail_rate", "rollbacks", "rework", "recovery")


def title(measured: Measured) -> str:
    """The finding as one sentence without a full stop."""
    environment = measured.environment
    deployments = measured.metric("frequency").counts.get("deployments", 0)
    if not deployments:
        return f"No deployment to {environment} in this window"
    judged = [m for m in _in_order(measured) if m.change and m.change.direction != "unknown"]
    if not judged:
        return (
            f"{words.count(deployments, 'deployment')} of {words.count(measured.services, 'service')} "
            f"reached {environment}; too little to compare"
        )
    clear = []
    for metric in judged:
        if metric.change and _is_told(metric):
            much = " a little" if _relative(metric) < MUCH else ""
            text = _CLEAR[metric.key, metric.change.direction]
            clear.append(text.format(environment=environment, much=much))
    if not clear:
        if any(m.has_value and m.change and m not in judged for m in measured.metrics):
            return f"Delivery to {environment} is steady where it can be compared"
        return f"Delivery to {environment} is steady: nothing changed much"
    rest = ""
    if len(clear) < len(judged):
        small = any(m.change and m.change.direction != "flat" for m in judged if not _is_told(m))
        rest = "; nothing else changed much" if small else "; nothing else clearly changed"
    text = words.listed(clear) + rest
    return text[:1].upper() + text[1:]


def sentence(measured: Measured) -> str:
    """Two or three sentences with the numbers that the title rests on."""
    frequency, lead, failing = (
        measured.metric(key) for key in ("frequency", "lead_time", "fail_rate")
    )
    deployments = frequency.counts.get("deployments", 0)
    if not deployments:
        return "The numbers below are no data, which is not the same as zero."
    held = _met(measured)
    parts = [held]
    # With targets the first screen says the lead time beside its own.
    if not held and lead.has_value and lead.now.value is not None and lead.now.low is not None:
        was = ""
        if lead.before and lead.before.value is not None:
            was = f", {words.duration(lead.before.value, like=lead.now.value)} before"
        parts.append(
            f"Half of all {_what(measured)} are in {measured.environment} {words.duration(lead.now.value)} after "
            f"{_begin(measured)}{was}."
        )
    made = (
        f"{words.count(measured.services, 'service')} made {words.count(deployments, 'deployment')}"
    )
    back = measured.rollbacks.counts.get("rollbacks", 0)
    if failing.missing:
        parts.append(
            f"{made}, {back:,} of them rollbacks; without an incidents file nobody knows how many failed."
        )
    else:
        failed = failing.counts.get("failed", 0)
        parts.append(f"{made}; {failed:,} failed{_at_target(failing, deployments)}.")
    return " ".join(filter(None, parts))


def _met(measured: Measured) -> str:
    """How many targets are met; "" where nobody set one."""
    verdicts = [m.target.verdict for m in measured.metrics if m.target is not None]
    if not verdicts:
        return ""
    met = verdicts.count("met")
    open_ones = len(verdicts) - met - verdicts.count("missed")
    text = f"{met} of {words.count(len(verdicts), 'target')} {'is' if met == 1 else 'are'} met"
    return f"{text}, {open_ones} cannot be told." if open_ones else f"{text}."


def _at_target(failing: Metric, deployments: int) -> str:
    """How many would have failed at the target, where it is missed."""
    if failing.target is None or failing.target.verdict != "missed":
        return ""
    return f"; at the target it would have been {round(failing.target.bound * deployments):,}"


def _by_version(measured: Measured) -> bool:
    return measured.options.lead_time_start is Start.FIRST_ENVIRONMENT


def _what(measured: Measured) -> str:
    return "versions" if _by_version(measured) else "changes"


def _begin(measured: Measured) -> str:
    if not _by_version(measured):
        return "they were written"
    return f"they first ran in {measured.first_environment}"


def look_at(measured: Measured, services: Sequence[Service], *, zone: ZoneInfo) -> tuple[Look, ...]:
    """What deserves a person's attention, most certain first."""
    found = [
        *_open_failures(services),
        *_fails_most(measured, services),
        *_out_of_sync(measured),
        *_disagreement(measured),
        *_stopped(measured, services, zone=zone),
        *_slowest(measured, services),
        *_rolls_back(measured, services),
        *_left_out(measured),
    ]
    return tuple((found or _failed_most_often(services))[:LOOKS])


def note(service: Service, measured: Measured, *, zone: ZoneInfo) -> str:
    """What a reader should know about one service's row; "" when there is nothing to say."""
    found = []
    silence_s = measured.window.end_s - service.last_s
    if not service.last_s:
        found.append("never deployed")
    elif not service.deployments or silence_s >= 6 * WEEK_S:
        found.append(f"last deployed {words.day(service.last_s, zone)}")
    fleet = measured.metric("fail_rate").now.value
    if fleet is not None and service.fail_rate.low is not None and _fails_more(service, measured):
        found.append("fails more often than the fleet")
    lead = measured.metric("lead_time").now
    if (
        lead.high is not None
        and service.lead.low is not None
        and service.lead.low > lead.high * 1.25
    ):
        found.append("slower than the fleet")
    if service.still_open:
        found.append(words.count(service.still_open, "failure") + " still open")
    return "; ".join(found)


def _in_order(measured: Measured) -> list[Metric]:
    known = {metric.key: metric for metric in (*measured.metrics, measured.rollbacks)}
    keys = [k for k in _ORDER if k != "rollbacks" or known["fail_rate"].missing]
    return [known[key] for key in keys]


def _is_told(metric: Metric) -> bool:
    """Whether a change is clear, large enough for the title, and not the opposite of what services saw."""
    change = metric.change
    return (
        change is not None
        and change.direction in ("up", "down")
        and not change.disagrees
        and _relative(metric) >= WORTH_SAYING
    )


def _relative(metric: Metric) -> float:
    """How large a change is, as a share of the value before; infinite from zero."""
    change = metric.change
    if change is None or change.estimate.value is None:
        return 0.0
    if change.kind == "ratio":
        return abs(change.estimate.value - 1)
    before = metric.before.value if metric.before else None
    return abs(change.estimate.value / before) if before else math.inf


def _disagreement(measured: Measured) -> list[Look]:
    """Pooled one way, most services the other: the mix of services changed, or a few outweigh the rest."""
    found = []
    change = measured.metric("lead_time").change
    if change is not None and change.disagrees:
        pooled = "shorter" if change.direction == "down" else "longer"
        down, up = change.stratified
        text = (
            f"All lead times together got {pooled}, but service by service {down} got shorter and {up} longer: "
            "services with other lead times are deployed more often now than before."
        )
        found.append(Look("", text))
    change = measured.metric("frequency").change
    if change is not None and change.disagrees:
        pooled = "fewer" if change.direction == "down" else "more"
        down, up = change.stratified
        text = (
            f"All deployments together became {pooled}, but {words.count(down, 'service')} deploy less often and "
            f"{up} more often: a few outweigh the rest."
        )
        found.append(Look("", text))
    return found


def _open_failures(services: Sequence[Service]) -> list[Look]:
    opened = [service for service in services if service.still_open]
    if not opened:
        return []
    total = sum(service.still_open for service in opened)
    if len(opened) == 1:
        failed = words.count(total, "failed deployment")
        return [Look(opened[0].name, f"has {failed} without a good one after it.", _ASK_OPEN)]
    names = _names([service.name for service in opened])
    text = f"{total:,} failed deployments have no good one after them: {names}."
    return [Look("", text, _ASK_OPEN)]


def _fails_most(measured: Measured, services: Sequence[Service]) -> list[Look]:
    """The service whose whole interval lies above the fleet's rate."""
    fleet = measured.metric("fail_rate").now.value
    if fleet is None:
        return []
    worse = [s for s in services if _fails_more(s, measured)]
    if not worse:
        return []
    worst = max(worse, key=lambda s: s.fail_rate.low or 0)
    return [
        Look(
            worst.name,
            f"fails more often than the fleet: {worst.failed} of {words.count(worst.deployments, 'deployment')}"
            f", {words.interval('ratio', worst.fail_rate)}.",
            f"Ask what these {words.count(worst.failed, 'failure')} have in common.",
        )
    ]


def _fails_more(service: Service, measured: Measured) -> bool:
    """Whether a service fails more often than the others; of many that are alike one always failed most."""
    counts = measured.metric("fail_rate").counts
    failed, made = counts.get("failed", 0), counts.get("deployments", 0)
    return statistics.is_above(
        service.failed,
        service.deployments,
        (failed - service.failed, made - service.deployments),
        of=measured.services,
    )


def _failed_most_often(services: Sequence[Service]) -> list[Look]:
    """Who failed most, when nothing is certain: a place to begin, and said so."""
    worst = max(services, key=lambda service: (service.failed, service.name), default=None)
    if worst is None or not worst.failed:
        return []
    return [
        Look(
            worst.name,
            f"failed most often, {worst.failed} of {words.count(worst.deployments, 'deployment')}; with so few "
            "it may be chance.",
            "Ask whether these failures have anything in common.",
        )
    ]


def _rolls_back(measured: Measured, services: Sequence[Service]) -> list[Look]:
    """Without incidents, the service that went back most often; with them, failures say more."""
    if not measured.metric("fail_rate").missing:
        return []
    worst = max(services, key=lambda service: service.rollbacks, default=None)
    if worst is None or worst.rollbacks < 3:
        return []
    return [
        Look(
            worst.name,
            f"was rolled back most often: {worst.rollbacks} of {words.count(worst.deployments, 'deployment')}.",
            "Ask what was wrong each time, and record incidents: then the report knows failures.",
        )
    ]


def _out_of_sync(measured: Measured) -> list[Look]:
    sync = measured.sync
    found = []
    if sync.out_of_sync:
        names = _names(sync.out_of_sync_names)
        found.append(
            Look(
                "",
                f"{sync.out_of_sync} of {sync.total} applications are not in sync: {names}.",
                "Ask who changed the cluster, or what the sync waits for.",
            )
        )
    if sync.total > sync.healthy:
        names = _names(sync.unhealthy_names)
        found.append(
            Look(
                "",
                f"{sync.total - sync.healthy} of {sync.total} applications are not healthy: {names}.",
                "Ask whether somebody is at work on it.",
            )
        )
    return found


def _stopped(measured: Measured, services: Sequence[Service], *, zone: ZoneInfo) -> list[Look]:
    """Services whose silence is hard to explain by chance, at the rate and with the bursts that they had before.

    Under 1 % for any of all services: of many one is always quiet for long.
    """
    end_s = measured.window.end_s
    silent = []
    for service in services:
        silence_s = end_s - service.last_s - _frozen(measured, service.last_s, end_s)
        usual = service.before + service.deployments
        weeks = (end_s - (measured.before or measured.window).start_s - silence_s) / WEEK_S
        if not service.last_s or silence_s < 4 * WEEK_S or weeks <= 0 or usual < 4:
            continue
        quiet = math.ceil(silence_s / WEEK_S)
        scatter = statistics.dispersion(service.weeks[: max(0, len(service.weeks) - quiet)])
        chance = math.exp(-usual / weeks * silence_s / WEEK_S / scatter)
        if chance < 0.01 / max(1, len(services)):
            silent.append((service.last_s < measured.window.start_s, chance, service.name, service))
    if not silent:
        return []
    *_, first = min(silent, key=lambda item: item[:3])
    weeks_silent = (end_s - first.last_s) // WEEK_S
    text = f"has not been deployed since {words.day(first.last_s, zone)}, {words.count(weeks_silent, 'week')}"
    more = len(silent) - 1
    said = f"{text}; {more} more went quiet too." if more else f"{text}."
    return [Look(first.name, said, "Ask who looks after it now; the report does not know why.")]


def _frozen(measured: Measured, start_s: int, end_s: int) -> int:
    """Seconds of freezes in a time: silence that was asked for is none."""
    parts = ((max(f.start_s, start_s), min(f.end_s, end_s)) for f in measured.freezes)
    return sum(max(0, b - a) for a, b in parts)


def _slowest(measured: Measured, services: Sequence[Service]) -> list[Look]:
    """The slowest service whose whole interval lies above the fleet's, by more than a quarter."""
    fleet = measured.metric("lead_time").now
    if fleet.high is None:
        return []
    slow = [s for s in services if s.lead.low is not None and s.lead.low > fleet.high * 1.25]
    if not slow:
        return []
    worst = max(slow, key=lambda s: s.lead.value or 0)
    value = words.duration(worst.lead.value or 0)
    return [
        Look(
            worst.name,
            f"is slowest: {value} in the middle, {words.interval('s', worst.lead)}.",
            "Ask which step of its way takes so long.",
        )
    ]


def _left_out(measured: Measured) -> list[Look]:
    """When a tenth or more of the versions has no lead time for one reason that is a fault of the data."""
    lead = measured.metric("lead_time")
    total = lead.now.n + lead.counts.get("left out", 0)
    for reason, rows in lead.excluded.items():
        if rows * 10 >= total and "rollback or repeat" not in reason and lead.has_value:
            return [
                Look(
                    "",
                    f"{rows:,} of {total:,} {_what(measured)} have no lead time: {reason}. "
                    "The lead time may be wrong by more than its interval says.",
                )
            ]
    return []


def _names(names: Sequence[str]) -> str:
    shown = list(names[:3])
    if len(names) > 3:
        shown.append(f"{len(names) - 3} more")
    return words.listed(shown)


def caveats(
    measured: Measured,
    *,
    asked: tuple[Window | None, Window],
    until: tuple[int, str],
    zone: ZoneInfo,
) -> tuple[str, ...]:
    """What a reader has to know before the numbers: a window that is known in part only.

    ``until`` is when the facts end, and the source that ended there before the others.
    """
    found = []
    until_s, behind = until
    asked_before, asked_end_s = asked[0], asked[1].end_s
    if asked_before and measured.before and measured.before.start_s > asked_before.start_s:
        weeks = (measured.before.end_s - measured.before.start_s) // WEEK_S
        is_later = not measured.seen and not measured.services
        found.append(
            f"The history begins inside the window before: that one has {words.count(weeks, 'complete week')} "
            f"from {words.day(measured.before.start_s, zone)} on. Numbers are per week, so they compare."
            if weeks
            else f"The history begins {'after' if is_later else 'inside'} this window, so there is nothing to "
            "compare with."
        )
    if asked_end_s - until_s > DAY_S and measured.window.end_s < asked_end_s:
        why = f", when “{behind}” was last collected" if behind else ""
        found.append(
            f"Facts are known until {words.day(until_s, zone)}{why}; the window ends there and not on "
            f"{words.day(asked_end_s - 1, zone)}."
        )
    return tuple(found)


def notes(measured: Measured, *, zone: ZoneInfo) -> tuple[str, ...]:
    """What a reader has to know before the charts: a partial week."""
    found = []
    last = measured.weeks[-1] if measured.weeks else None
    if (
        last
        and last.period == "partial"
        and last.deployments
        and last.end_s > measured.window.end_s
    ):
        found.append(
            f"The week of {words.day(last.start_s, zone)} is not complete: "
            f"{words.count(last.deployments, 'deployment')} so far. It is drawn hatched and no weekly "
            "comparison counts it."
        )
    return tuple(found)
