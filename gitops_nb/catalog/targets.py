"""Targets and teams in fleet.yaml: what the DORA report holds its numbers against. No person stands in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

from gitops_nb.catalog.fields import Duration, Name, Strict, worded

Service = Annotated[
    str, StringConstraints(max_length=200, pattern=worded(r"^\S+\Z", "a name without blanks"))
]
"""The name of a service as the facts have it."""


def _percent(text: object) -> int:
    """Hundredths of a percent: a record holds no floats."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    number, sign, rest = str(text).strip().partition("%")
    try:
        found = round(float(number) * 100)
    except ValueError:
        found = -1
    if not sign or rest or not 0 <= found <= 10_000:
        raise ValueError(f"{text!r} is no percentage between 0% and 100%, such as 10%")
    return found


Percent = Annotated[
    int,
    BeforeValidator(_percent),
    PlainSerializer(lambda hundredths: f"{hundredths / 100:g}%", return_type=str),
    WithJsonSchema({"type": "string", "examples": ["10%"]}),
]


class Targets(Strict):
    """What a team or a whole environment wants to reach; what is not named has no target."""

    deployments_per_week: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None,
        description="At least so many deployments of a service per week, for example 1.",
    )
    lead_time: Duration | None = Field(
        default=None, description="Median change lead time of at most so long, for example 3d."
    )
    fail_rate: Percent | None = Field(
        default=None, description="At most such a share of deployments fails, for example 10%."
    )
    recovery: Duration | None = Field(
        default=None, description="Median recovery time of at most so long, for example 4h."
    )


class EnvironmentTargets(Targets):
    """Targets of an environment, and those of teams that differ there."""

    teams: dict[Name, Targets] = Field(
        default={}, description="Targets of a team where they differ from the environment's."
    )


def targets_of(
    declared: dict[str, EnvironmentTargets], environment: str, team: str
) -> dict[str, float]:
    """The targets that hold in a report, by metric: a count per week, seconds, or a share of 1.

    Args:
        declared: Those of fleet.yaml, by environment.
        environment: Which one is measured.
        team: The team whose services are measured, "" for all.
    """
    whole = declared.get(environment, EnvironmentTargets())
    own = whole.teams.get(team, Targets())

    found: dict[str, float] = {}
    for one in (whole, own):  # the team's own wins
        if one.deployments_per_week is not None:
            found["frequency"] = one.deployments_per_week
        if one.lead_time is not None:
            found["lead_time"] = one.lead_time.total_seconds()
        if one.fail_rate is not None:
            found["fail_rate"] = one.fail_rate / 10_000
        if one.recovery is not None:
            found["recovery"] = one.recovery.total_seconds()
    return found


Teams = dict[Name, tuple[Service, ...]]
"""Services by team."""
