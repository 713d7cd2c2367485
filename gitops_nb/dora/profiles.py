"""Definitions that other tools use, so that their numbers can be reproduced and ours reconciled with them.

Each profile says what the tool's source does, also where that is known to be wrong; it is for comparing,
never a recommendation. What a tool takes from systems that the facts do not hold (pull requests, tickets)
has no value in the table that uses these profiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitops_nb.dora.definition import (
    Aggregate,
    Arrival,
    DoraDefinition,
    Failure,
    Frequency,
    Included,
    Link,
    Numerator,
    Recovery,
    Start,
)

OURS = DoraDefinition()


@dataclass(frozen=True, slots=True)
class Profile:
    """A definition with the name of the tool that uses it, and what a reader should know about it."""

    name: str
    definition: DoraDefinition
    note: str
    source: str


METRIK = Profile(
    "metrik",
    replace(
        OURS,
        frequency=Frequency.COUNT,
        lead_time_start=Start.COMMITTED,
        lead_time_aggregate=Aggregate.MEAN,
        seeds=Included.COUNTED,
        resyncs=Included.COUNTED,
        failures=(Failure.ATTEMPT,),
        recovery=Recovery.FAILED_TO_SUCCESS,
        recovery_aggregate=Aggregate.MEAN,
        minimum_failures=1,
    ),
    "means; only failed attempts of the pipeline are failures, incidents never are",
    source="thoughtworks/metrik@def6a52",
)
DEVLAKE = Profile(
    "DevLake",
    replace(
        OURS,
        frequency=Frequency.DAYS_PER_WEEK,
        lead_time_start=Start.AUTHORED,
        failures=(Failure.INCIDENT,),
        incident_link=Link.PROJECT,
        attribution_window_s=0,
        recovery=Recovery.DEPLOYMENT_TO_RESOLVED,
        recovery_aggregate=Aggregate.MEDIAN,
        resyncs=Included.COUNTED,
        duration_step_s=60,
        minimum_failures=1,
    ),
    "an incident belongs to the last deployment of the whole project, however long ago",
    source="apache/incubator-devlake@420e494",
)
FOURKEYS = Profile(
    "Four Keys",
    replace(
        OURS,
        frequency=Frequency.DAYS_PER_WEEK,
        lead_time_start=Start.COMMITTED,
        lead_time_arrival=Arrival.HEAD_ONLY,
        lead_time_aggregate=Aggregate.DAILY_MEDIAN,
        seeds=Included.COUNTED,
        resyncs=Included.COUNTED,
        failures=(Failure.INCIDENT,),
        incident_link=Link.EXPLICIT,
        recovery=Recovery.INCIDENT_TO_RESOLVED,
        recovery_aggregate=Aggregate.MEDIAN,
        week="from Sunday",
        minimum_failures=1,
    ),
    "the median of daily medians; an incident counts only when it names the deployment",
    source="dora-team/fourkeys",
)
MIDDLEWARE = Profile(
    "Middleware",
    replace(
        OURS,
        frequency=Frequency.PER_DAY,
        lead_time_start=Start.AUTHORED,
        lead_time_arrival=Arrival.NEXT_IN_TIME,
        lead_time_aggregate=Aggregate.MEAN,
        seeds=Included.COUNTED,
        resyncs=Included.COUNTED,
        failures=(Failure.INCIDENT,),
        incident_link=Link.PROJECT,
        attribution_window_s=0,
        recovery=Recovery.INCIDENT_TO_RESOLVED,
        recovery_aggregate=Aggregate.MEAN,
        minimum_failures=1,
    ),
    "means, and the first deployment after a change's time, whether it contains it or not; the tool rounds deployments per day down "
    "to whole ones, here they keep their fraction",
    source="middlewarehq/middleware",
)
PELORUS = Profile(
    "Pelorus",
    replace(
        OURS,
        frequency=Frequency.COUNT,
        lead_time_start=Start.COMMITTED,
        lead_time_arrival=Arrival.HEAD_ONLY,
        lead_time_aggregate=Aggregate.MEAN,
        seeds=Included.COUNTED,
        resyncs=Included.COUNTED,
        failures=(Failure.INCIDENT,),
        fail_rate=Numerator.INCIDENTS,
        recovery=Recovery.INCIDENT_TO_RESOLVED,
        recovery_aggregate=Aggregate.MEAN,
        minimum_failures=1,
    ),
    "means over the commit of each image; the tool takes the mean of each application's mean, here every commit weighs the same; "
    "incidents over deployments can pass 100 %",
    source="dora-metrics/pelorus",
)
GITLAB = Profile(
    "GitLab",
    replace(
        OURS,
        frequency=Frequency.PER_DAY,
        lead_time_start=Start.MERGED,
        seeds=Included.COUNTED,
        resyncs=Included.COUNTED,
        failures=(Failure.INCIDENT,),
        fail_rate=Numerator.INCIDENTS,
        recovery=Recovery.INCIDENT_TO_RESOLVED,
        recovery_aggregate=Aggregate.MEDIAN,
        minimum_failures=1,
    ),
    "the clock starts at the merge, so waiting for review is not in it",
    source="docs.gitlab.com, DORA metrics",
)
WINSORISED = Profile(
    "Mean without tails",
    replace(OURS, lead_time_aggregate=Aggregate.WINSORISED_MEAN),
    "as this report, but the mean, with the fastest and slowest 5 % pulled in: how much single changes weigh",
    source="Dixon and Tukey 1968, Technometrics 10:83",
)
COMPATIBLE = (DEVLAKE, FOURKEYS, MIDDLEWARE, PELORUS, METRIK, GITLAB)
"""The profiles of other tools, in the order of the what-if table."""
