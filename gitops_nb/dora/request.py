"""What was asked of the dora runbook: environment, window, services, and where facts come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.dora import windows
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.definition import DoraDefinition
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError


@dataclass(frozen=True, slots=True)
class DoraRequest:
    """What was asked: services (empty: all), the target environment, window, zone, and where facts are.

    ``first_environments`` are those from which the target can be reached and which nothing promotes to;
    it is empty when the target is one itself. ``workdir`` is the run directory. ``argocd`` names the
    Applications whose sync status counts, ``clusters`` those that the environment runs on. ``promotions`` are
    the steps on the way to the target, as pairs of environments.
    """

    environment: str
    environments: tuple[str, ...]
    first_environments: tuple[str, ...]
    is_last: bool
    services: tuple[str, ...]
    window: Window
    before: Window | None
    time_zone: str
    now_s: int
    workdir: Path
    definition: DoraDefinition = field(default_factory=DoraDefinition)
    deployments: Path | None = None
    incidents: Path | None = None
    sources: tuple[VersionSource, ...] = ()
    argocd: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    promotions: tuple[tuple[str, str], ...] = ()

    @property
    def subject(self) -> str:
        """What the run is about."""
        return f"delivery to {self.environment}"


def request(
    fleet: Fleet,
    parameters: Mapping[str, object],
    *,
    workdir: Path,
    now: datetime,
    base: Path,
    incidents: Path | None = None,
    time_zone: str = "UTC",
) -> DoraRequest:
    """Builds the request from checked parameters.

    Args:
        fleet: Environments, their order, and where versions are recorded.
        parameters: As runbooks/dora.yaml declares them.
        workdir: The run directory; facts are written below it.
        now: The moment that relative windows end at, and the latest time that facts may have.
        base: Folder that relative file names start from.
        incidents: The incidents file when the parameter names none.
        time_zone: The zone when the parameter names none.

    Raises:
        UsageError: A window, zone or file that cannot be used, or a fleet that records no versions.
    """
    environment = str(parameters["environment"])
    zone = windows.read_zone(str(parameters["time_zone"] or time_zone))
    now_s = int(now.timestamp())
    window = windows.read_window(str(parameters["window"]), now_s=now_s, zone=zone)
    deployments = _file(parameters, "deployments", base)
    sources = tuple(
        VersionSource(
            repository=versions.repository,
            branch=fleet.repositories[versions.repository].branch,
            path=versions.path,
            key=versions.key,
            part=versions.part,
        )
        for versions in fleet.versions
    )
    if deployments is None and not sources:
        raise UsageError(
            "fleet.yaml says nowhere which version runs where",
            hint="Add `versions` to fleet.yaml, or give deployments=FILE.",
        )
    given = parameters.get("services") or ()
    assert isinstance(given, tuple | list)
    services = tuple(str(name) for name in given)
    return DoraRequest(
        environment=environment,
        environments=tuple(fleet.environments),
        first_environments=_first_environments(fleet, environment),
        is_last=not fleet.promotes_to.get(environment),
        services=services,
        window=window,
        before=windows.before(window, zone=zone) if parameters["compare"] == "previous" else None,
        time_zone=zone.key,
        now_s=now_s,
        workdir=workdir,
        deployments=deployments,
        # Incidents of one platform say nothing about deployments that come from elsewhere.
        incidents=_file(parameters, "incidents", base) or (None if deployments else incidents),
        sources=() if deployments else sources,
        argocd=tuple(
            fleet.argocd_name(name, environment)
            for name in fleet.applications
            if not services or name in services
        ),
        clusters=fleet.clusters_of(environment),
        promotions=tuple(
            (source, target)
            for source in fleet.environments
            for target in fleet.promotes_to.get(source, ())
            if target in _on_the_way(fleet, environment)
        ),
    )


def _first_environments(fleet: Fleet, environment: str) -> tuple[str, ...]:
    """Where versions enter on the way to an environment; () when they enter there."""
    sources = _on_the_way(fleet, environment)
    return tuple(e for e in fleet.first_environments if e in sources and e != environment)


def _on_the_way(fleet: Fleet, environment: str) -> set[str]:
    """The environment and all from which something is promoted to it, directly or not."""
    sources = {environment}
    grown = True
    while grown:
        more = {s for s, targets in fleet.promotes_to.items() if sources & set(targets)} - sources
        sources |= more
        grown = bool(more)
    return sources


def _file(parameters: Mapping[str, object], name: str, base: Path) -> Path | None:
    text = str(parameters.get(name) or "")
    if not text:
        return None
    path = base / text
    if not path.is_file():
        raise UsageError(
            f"{name}: no file {text}", hint=f"Give a path below {base}, or a full one."
        )
    return path
