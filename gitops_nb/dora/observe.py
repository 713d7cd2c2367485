"""observe: collects deployments, incidents and sync status; every input is checked before a byte is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops_nb.dora import cards, collect, facts, words
from gitops_nb.dora.facts import Event, Exclusion, Facts
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import SyncStatus
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.ports import View


@dataclass(frozen=True, slots=True)
class DoraState:
    """What was collected, counted. ``files`` maps Parquet files below the run directory to SHA-256.

    ``sources`` maps where facts came from to the commit or the file's SHA-256. ``incidents`` is None without
    an incidents file. ``until_s`` is the last moment up to which facts are known.
    """

    events: int
    deployments: Mapping[str, int]
    services: int
    incidents: int | None
    first_s: int
    until_s: int
    excluded: Mapping[str, int]
    sources: Mapping[str, str]
    files: Mapping[str, str]
    sync: SyncStatus = field(default_factory=SyncStatus)

    @property
    def summary(self) -> str:
        """What was found, in one sentence."""
        found = words.count(sum(self.deployments.values()), "deployment")
        return f"{found} of {words.count(self.services, 'service')} were found"

    def _lines(self) -> cards.Lines:
        return cards.state_lines(
            deployments=tuple(self.deployments.items()),
            incidents=self.incidents,
            known=(self.first_s, self.until_s),
            excluded=tuple(self.excluded.items()),
            sources=tuple(self.sources.items()),
        )

    def _repr_html_(self) -> str:
        return cards.as_html(self.summary, "", self._lines())

    def _repr_pretty_(self, printer: Any, _: Any) -> None:
        printer.text(cards.as_text(self.summary, self._lines()))


def observe(view: View, request: DoraRequest) -> DoraState:
    """Collects deployments and incidents into Parquet facts, and asks Argo CD for its sync status.

    Raises:
        UsageError: An input cannot be right; nothing was written.
    """
    sources: dict[str, str] = {}
    if request.deployments is not None:
        events, left_out = collect.from_file(
            request.deployments, environments=request.environments, now_s=request.now_s
        )
        sources[request.deployments.name] = f"sha256:{facts.sha256(request.deployments)}"
        sync = SyncStatus(missing="deployments come from a file, so no cluster was asked")
        until_s = max((event.finished_s for event in events), default=request.now_s)
    else:
        events, left_out = _from_repositories(view, request, sources)
        sync = _read_sync(view, request)
        until_s = request.now_s
    incidents = None
    if request.incidents is not None:
        found = collect.incidents_from_file(
            request.incidents, environments=request.environments, now_s=request.now_s
        )
        sources[request.incidents.name] = f"sha256:{facts.sha256(request.incidents)}"
        incidents = facts.incident_frame(found)
        latest = (i.resolved_s or i.started_s for i in found)
        until_s = max(until_s, *latest) if found else until_s
    _check_services(request, events)
    table = facts.classify(events, censor_first=request.deployments is not None)
    collected = Facts(table, incidents, facts.ledger(table, left_out))
    files = facts.write(collected, request.workdir)
    deployed = table[table["kind"] == "deployment"]
    counts = deployed.groupby("environment").size()
    return DoraState(
        events=len(table),
        deployments={name: int(counts.get(name, 0)) for name in request.environments},
        services=int(table["service"].nunique()),
        incidents=None if incidents is None else len(incidents),
        first_s=int(table["finished_s"].min()) if len(table) else 0,
        until_s=until_s,
        excluded=dict(Counter(collected.exclusions["reason"])),
        sources=sources,
        files=files,
        sync=sync,
    )


def _from_repositories(
    view: View, request: DoraRequest, sources: dict[str, str]
) -> tuple[list[Event], list[Exclusion]]:
    events: list[Event] = []
    left_out: list[Exclusion] = []
    owners: dict[tuple[str, str], str] = {}
    for source in request.sources:
        tip = view.git.tip(source.repository, source.branch)
        sources[source.repository] = tip
        folders = (source.folder,) if source.folder else ()
        found, excluded = collect.from_history(
            view.git.changes(source.repository, tip, folders=folders),
            source,
            environments=request.environments,
            now_s=request.now_s,
        )
        for event in found:
            place = f"{source.repository}:{source.path}"
            owner = owners.setdefault((event.service, event.environment), place)
            if owner != place:
                raise UsageError(
                    f"{event.service} in {event.environment} has its version in two places: {owner} and {place}",
                    hint="Let the paths in fleet.yaml's versions match different services.",
                )
        events += found
        left_out += excluded
    return events, left_out


def _read_sync(view: View, request: DoraRequest) -> SyncStatus:
    # Several clusters may share one Argo CD, which is asked once.
    readers = list(
        {id(view.argo[c]): view.argo[c] for c in request.clusters if c in view.argo}.values()
    )
    if not readers:
        return SyncStatus(missing=f"the fleet names no Argo CD for {request.environment}")
    try:
        snapshots = [
            (name, reader.snapshot(name).application)
            for reader in readers
            for name in reader.names()
            if not request.argocd or name in request.argocd
        ]
    except UnavailableError as error:
        # The report is about history; a cluster that is down now must not hide it.
        return SyncStatus(missing=f"Argo CD did not answer: {error.message}")
    out_of_sync, unhealthy = [], []
    for name, application in snapshots:
        status = (application or {}).get("status") or {}
        if (status.get("sync") or {}).get("status") != "Synced":
            out_of_sync.append(name)
        if (status.get("health") or {}).get("status") != "Healthy":
            unhealthy.append(name)
    if not snapshots:
        return SyncStatus(missing=f"Argo CD serves no application of {request.environment}")
    return SyncStatus(
        total=len(snapshots),
        synced=len(snapshots) - len(out_of_sync),
        out_of_sync=len(out_of_sync),
        healthy=len(snapshots) - len(unhealthy),
        out_of_sync_names=tuple(out_of_sync),
        unhealthy_names=tuple(unhealthy),
    )


def _check_services(request: DoraRequest, events: Sequence[Event]) -> None:
    known = {event.service for event in events}
    unknown = [name for name in request.services if name not in known]
    if unknown:
        raise UsageError(
            f"services: nothing is known about {', '.join(unknown)}",
            hint=f"There are {len(known)} services, such as {', '.join(sorted(known)[:5]) or 'none'}.",
        )
