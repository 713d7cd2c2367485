"""runbooks/policy.yaml: gates and approvals per environment, freeze windows, approvers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StrictBool, StringConstraints, model_validator

from gitops_nb.catalog.fields import Duration, Name, Strict

Person = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")]
PublicKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(256|384|521)|"
        r"sk-ecdsa-sha2-nistp256@openssh\.com|ssh-rsa) [A-Za-z0-9+/]+=*( [^\n\r]*)?\Z"
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
    """A person who may approve, with the SSH keys that prove it."""

    person: Person = Field(description="Login of the person; no wildcards.")
    aliases: tuple[Person, ...] = Field(
        default=(),
        description="Other names of the same person: Git e-mail addresses, CI logins.",
    )
    keys: tuple[PublicKey, ...] = Field(
        min_length=1, description="Public keys, as in an allowed_signers file."
    )
    environments: tuple[Name, ...] = Field(
        min_length=1, description="Where this person may approve."
    )


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

    @model_validator(mode="after")
    def _short_lived(self) -> Self:
        if not timedelta(0) < self.approval_lifetime <= timedelta(hours=4):
            raise ValueError("approval_lifetime is between 1s and 4h")
        return self

    def problems(self, environments: tuple[str, ...]) -> list[tuple[tuple[str | int, ...], str]]:
        """Names that the fleet does not have, and persons or keys that stand in the file twice."""
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
        keys: dict[str, str] = {}
        persons: set[str] = set()
        for index, approver in enumerate(self.approvers):
            named += [
                (("approvers", index, "environments", i), n)
                for i, n in enumerate(approver.environments)
            ]
            if approver.person in persons:
                found.append(
                    (
                        ("approvers", index, "person"),
                        f"{approver.person} stands here twice",
                    )
                )
            persons.add(approver.person)
            for position, key in enumerate(approver.keys):
                body = key.split(" ")[1]
                if body in keys:
                    found.append(
                        (
                            ("approvers", index, "keys", position),
                            f"the same key as one of {keys[body]}",
                        )
                    )
                keys[body] = approver.person
        found += [
            (where, f"unknown environment {name!r}; there are {known}")
            for where, name in named
            if name not in environments
        ]
        return found
