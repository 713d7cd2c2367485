"""The definitions in sentences, for a reader who has never seen this tool."""

from __future__ import annotations

from datetime import timedelta

from gitops_nb.catalog.durations import format_duration
from gitops_nb.dora.definition import DoraDefinition, Failure, Included, Moment, Start, Unit

_STARTS = {
    Start.AUTHORED: "writing it (for a pull request: its first commit)",
    Start.COMMITTED: "its commit",
    Start.OPENED: "opening its pull request",
    Start.MERGED: "merging its pull request",
}
_UNITS = {
    Unit.CHANGE: "one value per change",
    Unit.DEPLOYMENT: "one value per deployment, that of the change written first",
}
_TIMES = {
    Moment.COMMITTED: "the commit's",
    Moment.SYNCED: "when Argo CD had synced it, where that is known, else the commit's",
    Moment.HEALTHY: "when Argo CD called it Healthy, else had synced it, where that is known, else the commit's",
}
_CAUSES = {
    Failure.ROLLBACK: "rolled back",
    Failure.REVERT: "one of its changes reverted within {revert}",
    Failure.INCIDENT: "an incident of the same service began within {window} after it and before the next one",
    Failure.DEGRADED: "Argo CD called it Degraded within {health} after its sync",
}


def texts(definition: DoraDefinition, *, first: str, target: str) -> tuple[tuple[str, str], ...]:
    """Each term with its definition, where ``first`` is where versions enter and ``target`` the environment."""
    return (
        (
            "Deployment",
            (
                f"a commit of the configuration repository that gives a service another version in {target}; "
                f"its time is {_TIMES[definition.deployment_time]}. The same version again is a resync and "
                f"{'counts too' if definition.resyncs is Included.COUNTED else 'does not count'}. Whether "
                f"{target} reached the version is not in this history, unless Argo CD was watched"
                f"{_apart(definition)}"
            ),
        ),
        (
            "Deployment frequency",
            (
                "deployments per service and week, weeks without any included, from the service's first "
                "deployment on; the value is the median over services"
            ),
        ),
        ("Change lead time", _lead_time(definition, first=first, target=target)),
        (
            "Change fail rate",
            (
                f"failed deployments out of all deployments. Failed: {_failed(definition)}. A deployment counts "
                "once"
                + (
                    ". Without an incidents file this is no data, not 0 %"
                    if Failure.INCIDENT in definition.failures
                    else ""
                )
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
                f"count for as long as they last. Under {definition.minimum_failures} failures there is no value"
            ),
        ),
        (
            "Deployment rework rate",
            (
                "deployments that nobody planned out of all: rollbacks, "
                f"{' or '.join(definition.hotfix_words) or 'nothing'} in the version, branch or label, reverts, and "
                "the next deployment of a service while an incident of the one before it lasts. Without an "
                "incidents file this is no data"
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
                f"{definition.interval_percent} %. Rates: Wilson. Medians of the fleet: order statistics; of one "
                f"service: {definition.bootstrap_samples} bootstrap samples of whole deployments ({definition.bootstrap}). Differences: the "
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
                f"an arrow needs {definition.minimum_weeks} complete weeks in each window and an interval without "
                "'no change'; anything else is no clear change"
            ),
        ),
        (
            "Change of pace",
            (
                "a week from which on the weekly deployments differ: PELT on their logarithms, with at least "
                f"{definition.minimum_weeks} complete weeks before and after"
            ),
        ),
    )


def _lead_time(definition: DoraDefinition, *, first: str, target: str) -> str:
    if definition.lead_time_start is Start.FIRST_ENVIRONMENT:
        return (
            f"from the commit that brought a version into {first} to the commit that first brought it "
            f"into {target}, one value per version, median. The time from writing the code until {first} "
            "is not in it. A version that a service had when its history begins is left out, because "
            "nobody knows when it arrived"
        )
    bots = "" if definition.bots is Included.COUNTED else " Changes of bots are left out."
    return (
        f"from {_STARTS[definition.lead_time_start]} to the first deployment of {target} that contains the change, "
        f"by the commit graph; {_UNITS[definition.lead_time_unit]}, median. What came with the first recorded deployment of a "
        f"service is left out, because nobody knows when it arrived.{bots}"
    ).rstrip(".")


def _failed(definition: DoraDefinition) -> str:
    names = {
        "revert": _span(definition.revert_window_s),
        "window": _span(definition.attribution_window_s),
        "health": _span(definition.health_window_s),
    }
    found = [_CAUSES[cause].format(**names) for cause in definition.failures]
    return ", or ".join(found) or "none, by this definition"


def _apart(definition: DoraDefinition) -> str:
    parts = []
    if definition.coalesce_s:
        parts.append(f"one within {_span(definition.coalesce_s)} after another is none of its own")
    if definition.freezes is not Included.COUNTED:
        parts.append("freeze windows are left out")
    return "".join(f"; {part}" for part in parts)


def _span(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds)) if seconds else "any time"
