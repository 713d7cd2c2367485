"""What was asked: application, source, target, and optionally which version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gitops_nb.catalog.durations import format_duration, parse_duration
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.edits import VERSION
from gitops_nb.errors import UsageError


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion.

    ``revision`` is the version to promote, None for what the source runs. ``timeout`` bounds the wait for the rollout,
    ``patience`` how long a failing pod may recover, ``stable_for`` how long the result has to hold.
    """

    fleet: Fleet
    application: str
    source: str
    target: str
    revision: str | None = None
    timeout: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(seconds=60)
    stable_for: timedelta = timedelta(seconds=10)

    @property
    def environment(self) -> str:
        """Where the change lands."""
        return self.target

    @property
    def subject(self) -> str:
        """What the run is about; two runs about the same subject exclude each other."""
        return self.application

    def command(self, revision: str) -> str:
        """The command that promotes another version over the same way."""
        return (
            f"gitops-nb run promotion -p application={self.application} -p source={self.source} "
            f"-p target={self.target} -p revision={revision}"
        )


def request(fleet: Fleet, parameters: Mapping[str, Any]) -> Promotion:
    """Builds the request from checked parameters.

    Raises:
        UsageError: The target does not follow the source, the application lives in only one of them, or the timeout is too
            short to see anything.
    """
    source, target = parameters["source"], parameters["target"]
    following = fleet.promotes_to.get(source, ())
    if target not in following:
        ways = "; ".join(f"{s} -> {', '.join(t)}" for s, t in fleet.promotes_to.items() if t)
        raise UsageError(
            f"target: {target} does not follow {source}; the fleet has {ways or 'no order'}",
            hint="Choose a source and a target that follow each other, or change promotes_to in fleet.yaml.",
        )
    application = parameters["application"]
    for environment in (source, target):
        if fleet.path(application, environment) is None:
            raise UsageError(
                f"application: {application} has no folder for {environment}",
                hint="Add it to `paths` of the application in fleet.yaml.",
            )
    revision = parameters.get("revision") or None
    if revision is not None and not VERSION.fullmatch(revision):
        raise UsageError(f"revision: {revision!r} is not a version")
    found = Promotion(
        fleet=fleet,
        application=application,
        source=source,
        target=target,
        revision=revision,
        timeout=parse_duration(parameters.get("timeout") or "15m"),
        patience=parse_duration(parameters.get("patience") or "60s"),
        stable_for=parse_duration(parameters.get("stable_for") or "10s"),
    )
    _refuse_too_short(found)
    return found


def _refuse_too_short(asked: Promotion) -> None:
    """A wait in which no roll-out can be seen to hold would leave every run in doubt, and each resume of it."""
    if not asked.timeout:
        raise UsageError(
            "timeout: in no time nobody sees whether the version runs", hint="Give for example 15m."
        )
    if asked.timeout < asked.stable_for:
        raise UsageError(
            f"timeout: {format_duration(asked.timeout)} is shorter than stable_for, {format_duration(asked.stable_for)}",
            hint="Give a longer timeout: the roll-out, and then stable_for, have to fit into it.",
        )
