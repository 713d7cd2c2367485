"""What each number means: one frozen value with every option, printed with its hash in the report.

Two reports can be compared when their definitions have the same hash. Six honest-looking definitions of
lead time gave medians from 0.3 h to 13.8 h on the same real data, so no number is shown without its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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


class Aggregate(StrEnum):
    """How many durations become one."""

    MEDIAN = "median"
    MEAN = "mean"
    DAILY_MEDIAN = "median of the days' medians"
    KAPLAN_MEIER = "Kaplan-Meier median"


class Frequency(StrEnum):
    """What deployment frequency is."""

    PER_SERVICE_WEEK = "deployments per service and week, median service"
    COUNT = "deployments of the window, all services"
    DAYS_PER_WEEK = "days with a deployment per week, median week"
    PER_DAY = "deployments of all services per day"


class Failure(StrEnum):
    """What makes a deployment a failed one; several may hold."""

    ROLLBACK = "rolled back"
    INCIDENT = "linked incident"
    ATTEMPT = "attempt that did not succeed"


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
    version into the environment that nothing promotes to. ``attribution_window_s`` is how long after a
    deployment an incident of the same service is linked to it, 0 without limit. ``seeds`` and ``resyncs``
    say whether first recorded deployments and the same version again count. ``minimum_failures`` is how
    many failed deployments a recovery time needs; ``minimum_weeks`` how many complete weeks a trend needs,
    and each side of a changepoint. ``duration_step_s`` rounds each duration up to its multiple.

    A report's own numbers follow the defaults; definitions that differ in more than the ``minimum_`` fields
    and ``attribution_window_s`` stand in its what-if table.
    """

    frequency: Frequency = Frequency.PER_SERVICE_WEEK
    lead_time_start: Start = Start.FIRST_ENVIRONMENT
    lead_time_arrival: Arrival = Arrival.CONTAINING
    lead_time_aggregate: Aggregate = Aggregate.MEDIAN
    lead_time_unit: str = "version"
    seeds: str = "left out"
    resyncs: str = "left out"
    rollback: str = "returns below the newest version that ran, from that newest version"
    failures: tuple[Failure, ...] = (Failure.ROLLBACK, Failure.INCIDENT)
    fail_rate: Numerator = Numerator.DEPLOYMENTS
    incident_link: Link = Link.SERVICE
    attribution_window_s: int = DAY_S
    recovery: Recovery = Recovery.DEPLOYMENT_TO_REPAIR
    recovery_aggregate: Aggregate = Aggregate.KAPLAN_MEIER
    rework: str = (
        "rollback, hotfix in the version's name, or next deployment while an incident lasts"
    )
    duration_step_s: int = 0
    minimum_failures: int = 5
    minimum_weeks: int = 8
    week: str = "ISO, from Monday"
    interval_percent: int = 95
    bootstrap_samples: int = 999

    @property
    def hash(self) -> str:
        """SHA-256 over all options, 64 hex digits."""
        return digest(self).removeprefix("sha256:")

    @property
    def is_for_reports(self) -> bool:
        """True when a report's own numbers can follow it: only windows and minimums differ from the default."""
        return self == DoraDefinition(
            attribution_window_s=self.attribution_window_s,
            minimum_failures=self.minimum_failures,
            minimum_weeks=self.minimum_weeks,
        )

    def texts(self, *, first: str, target: str) -> tuple[tuple[str, str], ...]:
        """The definitions in sentences, for a reader who has never seen this tool."""
        hours = self.attribution_window_s // HOUR_S
        return (
            (
                "Deployment",
                (
                    f"a commit of the configuration repository that gives a service another version in {target}; "
                    "its time is the commit's. The same version again is a resync and does not count. Whether "
                    f"{target} reached the version is not in this history"
                ),
            ),
            (
                "Deployment frequency",
                (
                    "deployments per service and week, weeks without any included, from the service's first "
                    "deployment on; the value is the median over services"
                ),
            ),
            (
                "Change lead time",
                (
                    f"from the commit that brought a version into {first} to the commit that first brought it "
                    f"into {target}, one value per version, median. The time from writing the code until {first} "
                    "is not in it. A version that a service had when its history begins is left out, because "
                    "nobody knows when it arrived"
                ),
            ),
            (
                "Change fail rate",
                (
                    "failed deployments out of all deployments. Failed: rolled back, or an incident of the same "
                    f"service began within {hours} h after it and before the next one. A deployment counts once. "
                    "Without an incidents file this is no data, not 0 %"
                ),
            ),
            (
                "Rollback",
                (
                    "a deployment of a version below the newest that ran there, directly after that newest. "
                    "Versions like v12 or 1.4.2 are ordered by number; others cannot be compared, and only a "
                    "return to one that ran before is seen"
                ),
            ),
            (
                "Failed deployment recovery time",
                (
                    "from a failed deployment to the first later one that did not fail, or to the end of its "
                    "incident, whichever is earlier; median by Kaplan-Meier, so failures that are still open "
                    f"count for as long as they last. Under {self.minimum_failures} failures there is no value"
                ),
            ),
            (
                "Deployment rework rate",
                (
                    "deployments that nobody planned out of all: rollbacks, versions named hotfix, and the next "
                    "deployment of a service while an incident of the one before it lasts. Without an incidents "
                    "file this is no data"
                ),
            ),
            (
                "Promotion lead time",
                (
                    "from a version's first arrival in one environment to its first in the next, for versions "
                    "that reached the next in the window; median. Medians of steps do not add up"
                ),
            ),
            (
                "Sync status",
                (
                    f"what Argo CD says about the applications of {target} at the moment of the run; it has no "
                    "history and is not a DORA metric"
                ),
            ),
            (
                "Interval",
                (
                    f"{self.interval_percent} %. Rates: Wilson. Medians of the fleet: order statistics; of one "
                    f"service: {self.bootstrap_samples} bootstrap samples of whole deployments. Differences: the "
                    "square-and-add method of Newcombe. Frequency ratio: Poisson, widened by the scatter of "
                    "the weeks"
                ),
            ),
            (
                "Level",
                (
                    "answer of DORA's Quick Check (1 slowest, 6 fastest; dora.dev, CC-BY-4.0); shown as one level "
                    "only when the whole interval stays in it"
                ),
            ),
            (
                "Trend",
                (
                    f"an arrow needs {self.minimum_weeks} complete weeks in each window and an interval without "
                    "'no change'; anything else is no clear change"
                ),
            ),
            (
                "Change of pace",
                (
                    "a week from which on the weekly deployments differ: PELT on their logarithms, with at least "
                    f"{self.minimum_weeks} complete weeks before and after"
                ),
            ),
        )
