"""What each number means: one frozen value with every option, printed with its hash in the report.

Two reports can be compared when their definitions have the same hash. Six honest-looking definitions of
lead time gave medians from 0.3 h to 13.8 h on the same real data, so no number is shown without its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum

from gitops_nb.catalog.durations import parse_duration
from gitops_nb.errors import UsageError
from gitops_nb.model import digest

HOUR_S = 3600
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S


class Start(StrEnum):
    """Where the clock of a change starts."""

    AUTHORED = "authored"
    COMMITTED = "committed"
    OPENED = "pull request opened"
    MERGED = "merged"
    FIRST_ENVIRONMENT = "first environment"


class Arrival(StrEnum):
    """Which deployment a change arrives with."""

    CONTAINING = "first deployment that contains it"
    NEXT_IN_TIME = "first deployment after its time"
    HEAD_ONLY = "the deployment whose revision it is"


class Moment(StrEnum):
    """When a deployment happened, where it is known; else the moment before."""

    COMMITTED = "committed"
    SYNCED = "synced"
    HEALTHY = "healthy"


class Unit(StrEnum):
    """What has one lead time: each change, or each deployment that of the change written first."""

    CHANGE = "change"
    DEPLOYMENT = "deployment"


class Bootstrap(StrEnum):
    """How the draws of a bootstrap become an interval."""

    PERCENTILE = "percentile"
    BCA = "BCa"


class Aggregate(StrEnum):
    """How many durations become one."""

    MEDIAN = "median"
    MEAN = "mean"
    WINSORISED_MEAN = "mean with the twentieth part at each end pulled in"
    DAILY_MEDIAN = "median of the days' medians"
    KAPLAN_MEIER = "Kaplan-Meier median"


class Frequency(StrEnum):
    """What deployment frequency is."""

    PER_SERVICE_WEEK = "deployments per service and week, median service"
    COUNT = "deployments of the window, all services"
    DAYS_PER_WEEK = "days with a deployment per week, median week"
    PER_DAY = "deployments of all services per day"


class Failure(StrEnum):
    """What makes a deployment a failed one; several may hold, and the first here is the one that is named."""

    ATTEMPT = "attempt"
    ROLLBACK = "rollback"
    REVERT = "reverted"
    INCIDENT = "incident"
    DEGRADED = "degraded"


class Included(StrEnum):
    """Whether something counts."""

    COUNTED = "counted"
    LEFT_OUT = "left out"


class Link(StrEnum):
    """Which deployment an incident belongs to, when it names none."""

    SERVICE = "last deployment of the same service"
    PROJECT = "last deployment of any service"
    EXPLICIT = "none: only deployments that incidents name"


class Numerator(StrEnum):
    """What the change fail rate counts on top of the line."""

    DEPLOYMENTS = "failed deployments, each once"
    INCIDENTS = "incidents, linked or not"


class Recovery(StrEnum):
    """From when until when a failure lasts."""

    DEPLOYMENT_TO_REPAIR = "failed deployment to good deployment or end of incident"
    DEPLOYMENT_TO_RESOLVED = "failed deployment to end of incident"
    INCIDENT_TO_RESOLVED = "begin to end of incident"
    FAILED_TO_SUCCESS = "first failed attempt to next success"


@dataclass(frozen=True, slots=True)
class DoraDefinition:
    """Every choice that changes a number. All fields are text and integers, so that the hash is exact.

    ``lead_time_start`` is where the clock starts: ``first environment`` is the commit that brought the
    version into the environment that nothing promotes to, and what a report uses where no application's
    commits are known. ``deployment_time`` is when a deployment of the configuration repository happened: its commit,
    or when Argo CD had synced it or called it Healthy, where somebody watched. ``attribution_window_s`` is how long after a deployment an incident of the same
    service is linked to it, 0 without limit; ``revert_window_s`` how long after it a revert of one of its
    changes makes it a failed one; ``health_window_s`` how long after a sync an Application that gets Degraded
    does; ``coalesce_s`` how soon after another a deployment of the same service is none of its own. ``seeds``,
    ``resyncs``, ``bots`` (changes that an automation wrote) and ``freezes`` (deployments and time in freeze windows)
    say whether these count. ``hotfix_words`` are looked for in versions, branches and labels.
    ``minimum_failures`` is how many failed deployments a recovery time needs; ``minimum_weeks`` how many
    complete weeks a trend needs, and each side of a changepoint. ``duration_step_s`` rounds each duration up
    to its multiple.

    A report's own numbers follow definitions that differ from the default in ``OPTIONS`` only; others stand in
    its what-if table.
    """

    frequency: Frequency = Frequency.PER_SERVICE_WEEK
    lead_time_start: Start = Start.AUTHORED
    lead_time_arrival: Arrival = Arrival.CONTAINING
    lead_time_aggregate: Aggregate = Aggregate.MEDIAN
    lead_time_unit: Unit = Unit.CHANGE
    deployment_time: Moment = Moment.COMMITTED
    seeds: Included = Included.LEFT_OUT
    resyncs: Included = Included.LEFT_OUT
    bots: Included = Included.COUNTED
    freezes: Included = Included.COUNTED
    coalesce_s: int = 0
    rollback: str = "returns below the newest version that ran, from that newest version"
    failures: tuple[Failure, ...] = (
        Failure.ROLLBACK,
        Failure.REVERT,
        Failure.INCIDENT,
        Failure.DEGRADED,
    )
    revert_window_s: int = WEEK_S
    health_window_s: int = 900
    fail_rate: Numerator = Numerator.DEPLOYMENTS
    incident_link: Link = Link.SERVICE
    attribution_window_s: int = DAY_S
    recovery: Recovery = Recovery.DEPLOYMENT_TO_REPAIR
    recovery_aggregate: Aggregate = Aggregate.KAPLAN_MEIER
    rework: str = "rollback, hotfix, revert, or next deployment while an incident lasts"
    hotfix_words: tuple[str, ...] = ("hotfix",)
    duration_step_s: int = 0
    minimum_failures: int = 5
    minimum_weeks: int = 8
    week: str = "ISO, from Monday"
    interval_percent: int = 95
    bootstrap: Bootstrap = Bootstrap.PERCENTILE
    bootstrap_samples: int = 999

    @property
    def hash(self) -> str:
        """SHA-256 over all options, 64 hex digits."""
        return digest(self).removeprefix("sha256:")

    @property
    def is_for_reports(self) -> bool:
        """True when a report's own numbers can follow it: only ``OPTIONS`` differ from the default."""
        chosen = {name: getattr(self, name) for name in OPTIONS.values()}
        return self == replace(DoraDefinition(), **chosen) and not self.unusable

    @property
    def unusable(self) -> str:
        """What no report can use about the chosen options, or ""."""
        if Failure.ATTEMPT in self.failures:
            return "failures: an attempt that did not succeed never was a deployment"
        return ""


OPTIONS = {
    "lead_time_start": "lead_time_start",
    "lead_time_unit": "lead_time_unit",
    "deployment_time": "deployment_time",
    "resyncs": "resyncs",
    "bots": "bots",
    "freezes": "freezes",
    "coalesce": "coalesce_s",
    "failures": "failures",
    "revert_window": "revert_window_s",
    "health_window": "health_window_s",
    "attribution_window": "attribution_window_s",
    "hotfix_words": "hotfix_words",
    "minimum_failures": "minimum_failures",
    "minimum_weeks": "minimum_weeks",
    "bootstrap": "bootstrap",
}
"""The options of a report's own definition, by the name that people write."""


def read_definition(pairs: Sequence[str]) -> DoraDefinition:
    """A definition from ``option=value`` texts; options that are not named keep their defaults.

    Durations are written like 24h, choices in the words of this module, several ones with + between.

    Raises:
        UsageError: An option or value that there is not.

    >>> read_definition(["attribution_window=48h", "failures=rollback+incident"]).attribution_window_s
    172800
    """
    chosen: dict[str, object] = {}
    usual = DoraDefinition()
    for pair in pairs:
        option, sign, text = (part.strip() for part in pair.partition("="))
        if not sign or option not in OPTIONS:
            raise UsageError(
                f"definition: {pair!r} is no option", hint=f"There are {', '.join(OPTIONS)}."
            )
        name = OPTIONS[option]
        try:
            chosen[name] = _read(getattr(usual, name), name, text)
        except ValueError as error:
            raise UsageError(f"definition: {option}: {error}") from error
    found = replace(usual, **chosen)  # type: ignore[arg-type]  # each of the type of its default
    if found.unusable:
        raise UsageError(f"definition: {found.unusable}")
    return found


def _read(usual: object, name: str, text: str) -> object:
    if isinstance(usual, StrEnum):
        return _member(type(usual), text)
    if isinstance(usual, tuple):
        parts = [part.strip() for part in text.split("+") if part.strip()]
        if name == "failures":
            return tuple(
                cause for cause in Failure if cause in {_member(Failure, p) for p in parts}
            )
        return tuple(part.lower() for part in parts)
    if name.endswith("_s"):
        found = timedelta(0) if text == "0" else parse_duration(text)
        return int(found.total_seconds())
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _member(kind: type[StrEnum], text: str) -> StrEnum:
    found = {member.value: member for member in kind}
    if text not in found:
        raise ValueError(f"{text!r} is none of {', '.join(found)}")
    return found[text]


def differences(definition: DoraDefinition) -> tuple[tuple[str, str], ...]:
    """What differs from the default, as (option, value)."""
    usual = DoraDefinition()
    return tuple(
        (field.name, str(getattr(definition, field.name)))
        for field in fields(definition)
        if getattr(definition, field.name) != getattr(usual, field.name)
    )
