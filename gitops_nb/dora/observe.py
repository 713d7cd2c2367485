"""observe: brings facts into the run directory, from their sources or from the store; every input is checked first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from gitops_nb.dora import cards, collect, facts, published, stored, words
from gitops_nb.dora.engines import remote
from gitops_nb.dora.fact_tables import LAID_OUT, FactTables
from gitops_nb.dora.facts import FOLDER, Exclusion
from gitops_nb.dora.joining import at_moment
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import SyncStatus
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.ports import View
from gitops_nb.record.files import own_folder


@dataclass(frozen=True, slots=True)
class DoraState:
    """What was collected, counted. ``files`` maps Parquet files below the run directory to SHA-256.

    ``sources`` maps where facts came from to the commit or the file's SHA-256. ``incidents`` is None without
    an incidents file. ``until_s`` is the last moment up to which facts are known, ``behind`` the source that ended
    before the others, ``incidents_until_s`` when incidents were last collected (None: nobody noted it), ``commits`` how
    many commits of applications they hold.
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
    commits: int = 0
    behind: str = ""
    incidents_until_s: int | None = None
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
    """Brings deployments, incidents and commits into Parquet facts, and asks Argo CD for its sync status.

    Raises:
        UsageError: An input cannot be right; nothing was written.
    """
    sources: dict[str, str] = {}
    sync = SyncStatus(missing="deployments come from a file, so no cluster was asked")
    ends = stored.Ends(request.now_s)
    if request.engine is not None:
        return _elsewhere(view, request)
    if request.facts is not None:
        store = FactStore(request.facts)
        tables, newest_s = stored.select(store)
        since_s = (request.before or request.window).start_s
        ends = stored.ends_of(store.ends(), newest_s=newest_s, since_s=since_s)
        sources["facts"] = request.facts_from
        sync = _read_sync(view, request)
    elif request.deployments is not None:
        events, left_out = collect.from_file(
            request.deployments, environments=request.environments, now_s=request.now_s
        )
        tables = _tables(events, left_out, censor_first=True)
        sources[request.deployments.name] = f"sha256:{facts.sha256(request.deployments)}"
        if len(events):
            ends = stored.Ends(int(events["finished_s"].max()))
    else:
        events, left_out = _from_repositories(view, request, sources)
        tables = _tables(events, left_out, censor_first=False)
        sync = _read_sync(view, request)
    if request.incidents is not None:
        found = collect.incidents_from_file(
            request.incidents, environments=request.environments, now_s=request.now_s
        )
        sources[request.incidents.name] = f"sha256:{facts.sha256(request.incidents)}"
        tables = replace(tables, incident=facts.incident_frame(found, request.incidents.name))
        newest_s = max((i.resolved_s or i.started_s for i in found), default=0)
        ends = stored.Ends(max(ends.until_s, newest_s), ends.behind)
    tables = at_moment(_select(request, tables), request.definition.deployment_time)
    return _write(request, tables, sources, sync, ends)


def refuse_unknown(view: View, request: DoraRequest) -> None:
    """Refuses services that nothing is known about, before a run is made: its parameters could not be mended.

    Raises:
        UsageError: It names them.
        UnavailableError: A repository does not answer.
    """
    wanted = set(request.services)
    if not wanted:
        return
    if request.engine is not None:
        with remote(request) as engine:
            known = published.services(engine.whole())
    elif request.facts is not None:
        known = set(stored.select(FactStore(request.facts))[0].deployment["service"])
    elif request.deployments is not None:
        events, _ = collect.from_file(
            request.deployments, environments=request.environments, now_s=request.now_s
        )
        known = set(events["service"])
    else:
        known = _services_now(view, request)
        if not wanted <= known:
            # One that is gone has a history all the same.
            known |= set(_from_repositories(view, request, {})[0]["service"])
    _refuse_missing(request, known)


def _services_now(view: View, request: DoraRequest) -> set[str]:
    """Services that have a version in the repositories now: a look at names, not at a history."""
    return {
        found[0]
        for source in request.sources
        for path in view.git.list_files(
            source.repository, view.git.tip(source.repository, source.branch), ""
        )
        if (found := source.match(path)) is not None and found[1] in request.environments
    }


def _refuse_missing(request: DoraRequest, known: AbstractSet[str]) -> None:
    unknown = [name for name in request.services if name not in known]
    if unknown:
        raise UsageError(
            f"services: nothing is known about {', '.join(unknown)}",
            hint=f"There are {len(known)} services, such as {', '.join(sorted(known)[:5]) or 'none'}.",
        )


def _tables(events: pd.DataFrame, left_out: list[Exclusion], *, censor_first: bool) -> FactTables:
    return FactTables.of(
        deployment=facts.deployments_of(events, censor_first=censor_first),
        exclusion=facts.exclusion_frame(left_out),
    )


def _write(
    request: DoraRequest,
    tables: FactTables,
    sources: Mapping[str, str],
    sync: SyncStatus,
    ends: stored.Ends,
) -> DoraState:
    folder = request.workdir / FOLDER
    own_folder(folder)
    files = {
        (FOLDER / f"{name}.parquet").as_posix(): facts.write_table(
            table, folder / f"{name}.parquet", order=LAID_OUT.get(name, "")
        )
        for name, table in tables.frames().items()
    }
    deployment = tables.deployment
    is_none = deployment["trigger"].isin(("removal", "resync", "heal")) | deployment["is_seed"]
    reached = deployment[~is_none & (deployment["outcome"] != "failed")]
    counts = reached.groupby("environment").size()
    kinds = Counter(
        deployment["trigger"][deployment["trigger"].isin(("removal", "resync", "heal"))]
    )
    kinds["seed"] = int(deployment["is_seed"].sum())
    return DoraState(
        events=len(deployment),
        deployments={name: int(counts.get(name, 0)) for name in request.environments},
        services=int(deployment["service"].nunique()),
        incidents=None if tables.incident is None else len(tables.incident),
        first_s=int(deployment["finished_s"].min()) if len(deployment) else 0,
        until_s=ends.until_s,
        behind=ends.behind,
        incidents_until_s=ends.incidents_s,
        excluded={
            **dict(sorted(Counter(tables.exclusion["reason"]).items())),
            **{kind: count for kind, count in sorted(kinds.items()) if count},
        },
        sources=sources,
        files=files,
        commits=len(tables.change),
        sync=sync,
    )


def _select(request: DoraRequest, tables: FactTables) -> FactTables:
    """Only the services that were asked for, each of which has to be there."""
    if not request.services:
        return tables
    _refuse_missing(request, set(tables.deployment["service"]))
    chosen = {
        name: table[table["service"].isin(request.services)]
        for name, table in tables.frames().items()
    }
    return FactTables.of(**chosen)


def _elsewhere(view: View, request: DoraRequest) -> DoraState:
    """The state of facts that stay where they are: counts of them, and no file."""
    with remote(request) as engine:
        # How far the facts go, and whether anybody recorded incidents, is said of all of them.
        whole = engine.whole()
        newest_s = published.newest_s(whole)
        if request.services:
            _refuse_missing(request, published.services(whole))
        counts = published.counts(engine)
        has_incidents = published.count(whole, "incident") > 0
        sources = engine.warehouse.publication.ends
    own_folder(request.workdir / FOLDER)
    since_s = (request.before or request.window).start_s
    ends = stored.ends_of(sources, newest_s=newest_s, since_s=since_s)
    return DoraState(
        events=counts.events,
        deployments={name: counts.reached.get(name, 0) for name in request.environments},
        services=counts.services,
        incidents=counts.incidents if has_incidents else None,
        first_s=counts.first_s,
        until_s=ends.until_s,
        behind=ends.behind,
        incidents_until_s=ends.incidents_s,
        excluded={**counts.excluded, **counts.kinds},
        sources={"facts": request.facts_from},
        files={},
        commits=counts.commits,
        sync=_read_sync(view, request),
    )


def _from_repositories(
    view: View, request: DoraRequest, sources: dict[str, str]
) -> tuple[pd.DataFrame, list[Exclusion]]:
    events: list[pd.DataFrame] = [facts.event_frame(())]
    left_out: list[Exclusion] = []
    owners: dict[tuple[str, str], str] = {}
    for source in request.sources:
        tip = view.git.tip(source.repository, source.branch)
        sources[source.repository] = tip
        found, excluded = collect.from_history(
            view.git.changes(source.repository, tip, wanted=source.claims),
            source,
            environments=request.environments,
            now_s=request.now_s,
        )
        place = f"{source.repository}:{source.path}"
        for service, environment in sorted(
            set(zip(found["service"], found["environment"], strict=True))
        ):
            owner = owners.setdefault((service, environment), place)
            if owner != place:
                raise UsageError(
                    f"{service} in {environment} has its version in two places: {owner} and {place}",
                    hint="Let the paths in fleet.yaml's versions match different services.",
                )
        events.append(found)
        left_out += excluded
    return pd.concat(events, ignore_index=True), left_out


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
