"""runbooks/policy.yaml: gates and approvals per environment, freeze windows, approvers."""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StrictBool, StringConstraints, model_validator

from gitops_nb.catalog.fields import Duration, Name, Ref, Strict, worded
from gitops_nb.catalog.trust import PersonName

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB_API = "https://api.github.com"
Issuer = Annotated[
    str,
    # http only on this machine: an issuer of tests.
    StringConstraints(
        pattern=worded(
            r"^(https://[a-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*[A-Za-z0-9_~-])?|http://127\.0\.0\.1:\d+)\Z",
            "an address that begins with https:// and has no slash at its end",
        )
    ),
]


class SoakGate(Strict):
    """How long a version has to run in the source without a break."""

    at_least: Duration = Field(description="Shortest time, for example 24h.")


class DestructiveGate(Strict):
    """Whether a plan may delete or replace something."""

    allow: StrictBool = Field(
        default=False, description="True lets deletions and replacements pass."
    )


class Gates(Strict):
    """The gates of one environment; a gate that is not named is not asked."""

    source_healthy: StrictBool = Field(
        default=True, description="The version is synced and healthy in the source."
    )
    soak: SoakGate | None = Field(
        default=None, description="The version has run long enough in the source."
    )
    freeze: StrictBool = Field(default=True, description="No freeze window is open.")
    destructive_change: DestructiveGate = Field(
        default=DestructiveGate(), description="Nothing is deleted or replaced."
    )


class EnvironmentPolicy(Strict):
    """Rules of one environment."""

    gates: Gates = Field(default=Gates(), description="What has to hold before a change.")
    approvals: Annotated[int, Field(ge=1, le=10)] = Field(
        default=1,
        description="How many people approve, where the fleet requires approval.",
    )
    runner_proof: Literal["held", "told"] = Field(
        default="held",
        description="held: only runners whose key no notebook can read; told: a key file on a workstation is believed too.",
    )


class FreezeWindow(Strict):
    """A time without changes."""

    name: str = Field(min_length=1, max_length=100, description="What people call it.")
    environments: tuple[Name, ...] = Field(min_length=1, description="Where it holds.")
    start: AwareDatetime = Field(description="First moment, with UTC offset.")
    end: AwareDatetime = Field(description="First moment after it, with UTC offset.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end is not after start")
        return self


class Approver(Strict):
    """A person of trust.yaml who may approve."""

    person: PersonName = Field(description="Login of the person, as in trust.yaml; no wildcards.")
    environments: tuple[Name, ...] = Field(
        min_length=1, description="Where this person may approve."
    )
    break_glass: StrictBool = Field(
        default=False,
        description="True for those who may change something without approval, to be reviewed afterwards.",
    )


class Workflow(Strict):
    """A GitHub workflow that may ask for changes, as the identity token of its jobs names it."""

    repository: Annotated[
        str,
        StringConstraints(
            pattern=worded(
                r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}\Z",
                "a repository as OWNER/NAME, for example acme/platform",
            )
        ),
    ] = Field(description="OWNER/NAME of the repository whose workflow it is.")
    repository_id: (
        Annotated[
            str,
            StringConstraints(pattern=worded(r"^\d{1,20}\Z", "a number in quotes, of digits only")),
        ]
        | None
    ) = Field(
        default=None, description="Its number: a repository made anew has the name, not the number."
    )
    workflow: Annotated[
        str,
        StringConstraints(
            pattern=worded(
                r"^\.github/workflows/[A-Za-z0-9_.-]+\.ya?ml\Z",
                "a workflow file, for example .github/workflows/runbook.yml",
            )
        ),
    ] = Field(description="File of the workflow, for example .github/workflows/runbook.yml.")
    ref: Ref = Field(description="Branch or tag that it runs from, for example refs/heads/main.")
    environments: tuple[Name, ...] = Field(
        min_length=1, description="Where it may ask for changes."
    )
    events: tuple[Literal["workflow_dispatch", "schedule", "push", "repository_dispatch"], ...] = (
        Field(
            default=("workflow_dispatch",),
            min_length=1,
            description="What may start it. A person starts workflow_dispatch; pull requests never may.",
        )
    )
    job_environment: Name | None = Field(
        default=None,
        description="GitHub environment that its job has to name, so that the rules of that one hold too.",
    )


class StopLine(Strict):
    """An order to begin no further effect; what was begun is still looked at, and its end says the way back."""

    environments: tuple[Name, ...] = Field(min_length=1, description="Where nothing goes on.")
    reason: str = Field(min_length=1, max_length=200, description="Why; every refused run says it.")


class Policy(Strict):
    """All rules."""

    kind: Literal["Policy"] = Field(default="Policy", description="What this file is.")
    environments: dict[Name, EnvironmentPolicy] = Field(
        default={}, description="Rules per environment."
    )
    approval_lifetime: Duration = Field(
        default=timedelta(hours=4),
        description="How long a request stays open; 4h at most.",
    )
    freeze_windows: tuple[FreezeWindow, ...] = Field(
        default=(), description="Times without changes."
    )
    approvers: tuple[Approver, ...] = Field(default=(), description="Who may approve what.")
    workflows: tuple[Workflow, ...] = Field(
        default=(), description="Which CI workflows may ask for changes that need approval."
    )
    ci_issuer: Issuer = Field(
        default=GITHUB_ISSUER,
        description="Who signs the identity of CI jobs; GitHub Enterprise Server has an address of its own.",
    )
    ci_api: Issuer = Field(
        default=GITHUB_API,
        description="Who is asked about CI runs and reviews; GitHub Enterprise Server has an address of its own.",
    )
    stop: tuple[StopLine, ...] = Field(
        default=(),
        description="Environments in which nothing begins or goes on until the line is taken out.",
    )

    @model_validator(mode="after")
    def _short_lived(self) -> Self:
        if not timedelta(0) < self.approval_lifetime <= timedelta(hours=4):
            raise ValueError("approval_lifetime is between 1s and 4h")
        return self

    def problems(
        self, environments: tuple[str, ...], persons: Container[str]
    ) -> list[tuple[tuple[str | int, ...], str]]:
        """Names that fleet or trust file do not have, and persons that stand in the file twice."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        known = ", ".join(environments)
        named: list[tuple[tuple[str | int, ...], str]] = [
            (("environments", name), name) for name in self.environments
        ]
        for index, window in enumerate(self.freeze_windows):
            named += [
                (("freeze_windows", index, "environments", i), n)
                for i, n in enumerate(window.environments)
            ]
        for index, line in enumerate(self.stop):
            named += [
                (("stop", index, "environments", i), n) for i, n in enumerate(line.environments)
            ]
        for index, workflow in enumerate(self.workflows):
            named += [
                (("workflows", index, "environments", i), n)
                for i, n in enumerate(workflow.environments)
            ]
        listed: set[str] = set()
        for index, approver in enumerate(self.approvers):
            named += [
                (("approvers", index, "environments", i), n)
                for i, n in enumerate(approver.environments)
            ]
            where = ("approvers", index, "person")
            if approver.person in listed:
                found.append((where, f"{approver.person} stands here twice"))
            elif approver.person not in persons:
                found.append((where, f"{approver.person} has no entry in trust.yaml"))
            listed.add(approver.person)
        found += [
            (where, f"unknown environment {name!r}; there are {known}")
            for where, name in named
            if name not in environments
        ]
        return found
