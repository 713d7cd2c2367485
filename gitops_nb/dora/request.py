"""What was asked of the dora runbook: environment, window, services, and where facts come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gitops_nb.catalog.engines import EngineChoice
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import FreezeWindow
from gitops_nb.catalog.targets import targets_of
from gitops_nb.dora import windows
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.definition import DoraDefinition, read_definition
from gitops_nb.dora.results import Freeze
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError


@dataclass(frozen=True, slots=True)
class DoraRequest:
    """What was asked: services (empty: all), the target environment, window, zone, and where facts are.

    ``first_environments`` are those from which the target can be reached and which nothing promotes to;
    it is empty when the target is one itself. ``workdir`` is the run directory. ``argocd`` names the
    Applications whose sync status counts, ``clusters`` those that the environment runs on. ``promotions`` are
    the steps on the way to the target, as pairs of environments; ``freezes`` the freeze windows of the target.
    ``team`` is the one that was asked for, ``targets`` what holds for it, by metric, and
    ``teams`` have their services and targets. ``facts`` is a store that was collected before; ``deployments`` a file of them instead of the repositories.
    ``engine`` is where the facts are when they are not to come to this machine; ``facts`` then is not read.
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
    facts: Path | None = None
    facts_from: str = ""
    deployments: Path | None = None
    incidents: Path | None = None
    freezes: tuple[Freeze, ...] = ()
    sources: tuple[VersionSource, ...] = ()
    argocd: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    promotions: tuple[tuple[str, str], ...] = ()
    team: str = ""
    targets: Mapping[str, float] = field(default_factory=dict)
    teams: Mapping[str, tuple[tuple[str, ...], Mapping[str, float]]] = field(default_factory=dict)
    engine: EngineChoice | None = None

    @property
    def subject(self) -> str:
        """What the run is about."""
        return f"delivery to {self.environment}{f' by team {self.team}' if self.team else ''}"


def request(
    fleet: Fleet,
    parameters: Mapping[str, object],
    *,
    workdir: Path,
    now: datetime,
    base: Path,
    incidents: Path | None = None,
    time_zone: str = "UTC",
    freezes: Sequence[FreezeWindow] = (),
    facts: Path | None = None,
    engine: EngineChoice | None = None,
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
        freezes: Those of policy.yaml.
        facts: The store of facts, when it is not a folder that the parameter names.
        engine: What has the facts, when they are stored ones and not to come to this machine.

    Raises:
        UsageError: A window, zone or file that cannot be used, or a fleet that records no versions.
    """
    environment = str(parameters["environment"])
    zone = windows.read_zone(str(parameters["time_zone"] or time_zone))
    now_s = int(now.timestamp())
    window = windows.read_window(str(parameters["window"]), now_s=now_s, zone=zone)
    named = base / str(parameters["deployments"] or "")
    store = facts or (named if parameters["deployments"] and named.is_dir() else None)
    is_stored = store is not None or engine is not None
    deployments = None if is_stored else _file(parameters, "deployments", base)
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
    if deployments is None and not is_stored and not sources:
        raise UsageError(
            "fleet.yaml says nowhere which version runs where",
            hint="Add `versions` to fleet.yaml, or give deployments=FILE.",
        )
    if engine is not None and parameters["incidents"]:
        raise UsageError(
            f"incidents: the facts are in {engine.place}, where no file of this machine is",
            hint="Give the file to `gitops-nb dora collect --incidents`.",
        )
    team = str(parameters.get("team") or "")
    services = _services(fleet, team, _list(parameters, "services"))
    return DoraRequest(
        environment=environment,
        environments=tuple(fleet.environments),
        first_environments=_first_environments(fleet, environment),
        is_last=not fleet.promotes_to.get(environment),
        services=services,
        window=window,
        before=_before(str(parameters["compare_to"]), window, now_s=now_s, zone=zone),
        definition=read_definition(_list(parameters, "definition")),
        facts=store,
        facts_from=str(parameters["deployments"] or store or ""),
        freezes=tuple(
            Freeze(freeze.name, int(freeze.start.timestamp()), int(freeze.end.timestamp()))
            for freeze in freezes
            if environment in freeze.environments
        ),
        time_zone=zone.key,
        now_s=now_s,
        workdir=workdir,
        deployments=deployments,
        # Incidents of one platform say nothing about deployments that come from elsewhere.
        incidents=_file(parameters, "incidents", base)
        or (None if deployments or is_stored else incidents),
        sources=() if deployments or is_stored else sources,
        argocd=tuple(
            fleet.argocd_name(name, environment)
            for name in fleet.applications
            if not services or name in services
        ),
        clusters=fleet.clusters_of(environment),
        team=team,
        targets=targets_of(fleet.targets, environment, team),
        teams={
            name: (own, targets_of(fleet.targets, environment, name))
            for name, own in fleet.teams.items()
        },
        engine=engine,
        promotions=tuple(
            (source, target)
            for source in fleet.environments
            for target in fleet.promotes_to.get(source, ())
            if target in _on_the_way(fleet, environment)
        ),
    )


def _services(fleet: Fleet, team: str, services: tuple[str, ...]) -> tuple[str, ...]:
    """The services that are measured: those that were named, or those of a team."""
    if not team:
        return services
    if services:
        raise UsageError(
            "both team and services were given", hint="Give one of them: a team has its services."
        )
    if team not in fleet.teams:
        raise UsageError(
            f"team: fleet.yaml has no team {team!r}",
            hint=f"There are {', '.join(fleet.teams) or 'none'}; `teams` in fleet.yaml says their services.",
        )
    return fleet.teams[team]


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


def _list(parameters: Mapping[str, object], name: str) -> tuple[str, ...]:
    given = parameters.get(name) or ()
    assert isinstance(given, tuple | list)
    return tuple(str(item) for item in given)


def _before(text: str, window: Window, *, now_s: int, zone: ZoneInfo) -> Window | None:
    """The window to compare with: the one before, none, or one that is named and ends before this one begins."""
    if text == "none":
        return None
    if text == "previous":
        return windows.before(window, zone=zone)
    found = windows.read_window(text, now_s=now_s, zone=zone)
    if found.end_s > window.start_s:
        raise UsageError(
            f"compare_to: {text!r} does not end before the window begins",
            hint="Write previous, none, or an earlier window.",
        )
    return found


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
