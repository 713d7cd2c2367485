"""What each number means: one frozen value with every option, printed with its hash in the report.

Two reports can be compared when their definitions have the same hash. Six honest-looking definitions of
lead time gave medians from 0.3 h to 13.8 h on the same real data, so no number is shown without its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from gitops_nb.model import digest

HOUR_S = 3600
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S


@dataclass(frozen=True, slots=True)
class DoraDefinition:
    """Every choice that changes a number. All fields are text and integers, so that the hash is exact.

    ``lead_time_start`` is where the clock starts: ``first environment`` is the commit that brought the
    version into the environment that nothing promotes to. ``attribution_window_s`` is how long after a
    deployment an incident of the same service is linked to it. ``minimum_failures`` is how many failed
    deployments a recovery time needs; ``minimum_weeks`` how many complete weeks a trend needs.
    """

    lead_time_start: str = "first environment"
    lead_time_unit: str = "version"
    same_version_again: str = "resync, left out"
    rollback: str = "returns below the newest version that ran, from that newest version"
    attribution_window_s: int = DAY_S
    minimum_failures: int = 5
    minimum_weeks: int = 8
    week: str = "ISO, from Monday"
    interval_percent: int = 95

    @property
    def hash(self) -> str:
        """SHA-256 over all options, 64 hex digits."""
        return digest(self).removeprefix("sha256:")

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
                "Sync status",
                (
                    f"what Argo CD says about the applications of {target} at the moment of the run; it has no "
                    "history and is not a DORA metric"
                ),
            ),
            (
                "Interval",
                (
                    f"{self.interval_percent} %. Rates: Wilson. Medians: order statistics. Differences: the "
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
        )
