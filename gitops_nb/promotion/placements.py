"""The Argo CD Applications of an environment, each checked against fleet.yaml and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gitops_nb.argo import (
    State,
    current_images,
    current_revisions,
    healthy_since,
    is_automated,
)
from gitops_nb.argo.evidence import Other, Version, running_versions
from gitops_nb.argo.kinds import label
from gitops_nb.argo.sources import sources_of
from gitops_nb.argo.status import PAUSED, is_paused, prunes_itself
from gitops_nb.errors import ConfigurationError, Refused
from gitops_nb.model import Json
from gitops_nb.ports import ArgoReader, GitReader, Snapshot, View
from gitops_nb.promotion.deleting import is_named_after
from gitops_nb.promotion.destination import refuse_elsewhere
from gitops_nb.promotion.drift import drift_of
from gitops_nb.promotion.judging import Release, judge_release
from gitops_nb.promotion.neighbours import others_of, siblings_of
from gitops_nb.promotion.past import syncs_of
from gitops_nb.promotion.places import reads
from gitops_nb.promotion.reading import differences, origin_of
from gitops_nb.promotion.replacing import replaced_by_sync
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import Placement, PromotedKey, Synced
from gitops_nb.promotion.synced import synced_of, where_of
from gitops_nb.promotion.versions import FieldProof, Shown, shown_by
from gitops_nb.revisions import EquivalentRevisions

TRACKING = "argocd.argoproj.io/tracking-id"
INSTANCE = "app.kubernetes.io/instance"
GENERATIONS = 3
"""How far up a parent is looked for: an umbrella of umbrellas is as deep as anybody builds."""


def find_placements(
    view: View,
    request: Promotion,
    environment: str,
    *,
    tip: str,
    folder: str,
    keys: Sequence[PromotedKey],
    before: Sequence[Sequence[str]],
) -> tuple[tuple[Placement, ...], tuple[str, ...]]:
    """Every Application of an environment, one per cluster, and the clusters that have none.

    ``before`` are the earlier values of each key, the newest first.

    Raises:
        ConfigurationError: No cluster of the environment has it.
        Refused: One does not deploy what fleet.yaml edits, or deploys it to another cluster of the fleet.
    """
    name = request.fleet.argocd_name(request.application, environment)
    clusters = [c for c in request.fleet.clusters_of(environment) if c in view.argo]
    found = [
        placement
        for cluster in clusters
        if (snapshot := view.argo[cluster].snapshot(name)).application is not None
        for placement in (
            _placement(
                view,
                request,
                environment,
                snapshot,
                cluster=cluster,
                tip=tip,
                folder=folder,
                keys=keys,
                before=before,
            ),
        )
    ]
    if clusters and not found:
        raise ConfigurationError(
            f"no Argo CD Application {name} on {', '.join(clusters)}",
            hint="Run the bootstrap runbook, or check `argocd` of the application in fleet.yaml.",
        )
    having = {placement.cluster for placement in found}
    return tuple(found), tuple(cluster for cluster in clusters if cluster not in having)


def release_of(
    view: View,
    request: Promotion,
    snapshot: Snapshot,
    *,
    cluster: str,
    parent: str,
    revision: str,
    tip: str,
    folder: str,
    shown: tuple[tuple[PromotedKey, str, Shown], ...],
    where: str = "",
) -> Release:
    """What should run in an Application.

    Args:
        view: Asked for the repository's default branch, where the Application follows it.
        request: What was asked.
        snapshot: The Application, or its parent where that reads the files.
        cluster: Where it is.
        parent: Name of the parent, or "".
        revision: The commit that has to be in force.
        tip: The branch's commit now; any commit between the two with the same files, all that they name included, will do.
        folder: The application's folder.
        shown: The keys that count.
        where: Project and destination that it had when this was planned, "" where nothing binds them.
    """
    name = request.fleet.applications[request.application].repository
    sources = sources_of((snapshot.application or {}).get("spec") or {})
    origin = origin_of(view.git, name, request.fleet.repositories[name], sources)
    # All that its files name elsewhere counts: a base that somebody changed is another release.
    read = reads(view.git, snapshot.application, sources, origin=origin, repository=name, tip=tip)
    folders = dict.fromkeys((folder, *("" if path == "." else path for path in read.places)))
    equal = _Untouched(tuple(EquivalentRevisions(view.git, name, tip, path) for path in folders))
    return Release(
        cluster=cluster,
        name=request.fleet.argocd_name(request.application, _environment_of(request, cluster)),
        parent=parent,
        repository=name,
        revision=revision,
        origin=origin,
        equivalent=equal if revision in equal else (),
        shown=shown,
        where=where,
    )


def shown_keys(
    request: Promotion,
    keys: Sequence[PromotedKey],
    values: Sequence[str],
    before: Sequence[Sequence[str]],
) -> tuple[tuple[PromotedKey, str, Shown], ...]:
    """The keys that count: the first, which is the version, and every other one that has a value.

    An application travels as a whole: a key that did not change now may be one that an earlier promotion did not get into force.

    Args:
        request: What was asked.
        keys: All promotable keys.
        values: The value of each.
        before: The earlier values of each, the newest first.
    """
    declared = request.fleet.applications[request.application].promotable
    found = [
        shown_by(key, entry, value, earlier)
        for key, entry, value, earlier in zip(keys, declared, values, before, strict=True)
    ]
    return tuple(
        (key, value, _beside(one, found))
        for number, (key, value, one) in enumerate(zip(keys, values, found, strict=True))
        if number == 0 or value
    )


def _beside(shown: Shown, found: Sequence[Shown]) -> Shown:
    """The other keys' values are right where they stand: two keys may set versions of one image."""
    if isinstance(shown, FieldProof):
        return shown
    others = (one for one in found if one is not shown and isinstance(one, Version))
    also = tuple(Other(one.value, one.names) for one in others if one.value != shown.value)
    return replace(shown, also=tuple(one for one in also if one.value))


@dataclass(frozen=True, slots=True)
class _Untouched:
    """Commits that are equal to the tip for every folder that an Application reads."""

    folders: tuple[EquivalentRevisions, ...]

    def __contains__(self, revision: object) -> bool:
        return all(revision in equal for equal in self.folders)


def _environment_of(request: Promotion, cluster: str) -> str:
    return request.fleet.clusters[cluster].environment


def _placement(
    view: View,
    request: Promotion,
    environment: str,
    snapshot: Snapshot,
    *,
    cluster: str,
    tip: str,
    folder: str,
    keys: Sequence[PromotedKey],
    before: Sequence[Sequence[str]],
) -> Placement:
    refuse_elsewhere(request.fleet, snapshot.application, cluster)
    reader = _carrier(view, request, environment, snapshot, cluster=cluster, tip=tip, keys=keys)
    parent = reader.name if reader.name != snapshot.name else ""
    if environment == request.target:
        _refuse_paused((reader, snapshot), cluster)
    shown = shown_keys(request, keys, [key.value for key in keys], before)
    release = release_of(
        view,
        request,
        reader,
        cluster=cluster,
        parent=parent,
        revision=tip,
        tip=tip,
        folder=folder,
        shown=shown,
    )
    judgement = judge_release(view, release, snapshot)
    application = snapshot.application
    found = Placement(
        cluster=cluster,
        name=snapshot.name,
        deployed=judgement.state is State.DEPLOYED,
        sentence=judgement.sentence,
        sync=judgement.sync,
        health=judgement.health,
        revision=",".join(current_revisions(application)),
        automated=is_automated(application),
        healthy_since=healthy_since(application, snapshot.workloads),
        images=current_images(snapshot),
        parent=parent,
        parent_automated=bool(parent) and is_automated(reader.application),
        carriers=judgement.carriers,
        running=_running(snapshot, shown[0][2]),
        prunes=_pruning(reader, snapshot),
        commits=syncs_of(reader.application, release.origin, keys[0]),
        objects=_named_after(application, keys),
        where=where_of((application or {}).get("spec") or {}),
    )
    # Nothing is synced in the source.
    is_target = environment == request.target
    return (
        _synced_in(
            view, request, found, release, (reader, snapshot), tip=tip, folder=folder, keys=keys
        )
        if is_target
        else found
    )


def _synced_in(
    view: View,
    request: Promotion,
    found: Placement,
    release: Release,
    snapshots: tuple[Snapshot, Snapshot],
    *,
    tip: str,
    folder: str,
    keys: Sequence[PromotedKey],
) -> Placement:
    """A placement of the target, with what a sync of it and of its parent brings, replaces and undoes."""
    reader, snapshot = snapshots
    parent = found.parent
    readers = [synced_of(view, request, reader, tip, folder=folder)]
    if parent:
        readers.append(synced_of(view, request, snapshot, tip))
    is_parent_ours = bool(parent) and not found.parent_automated
    synced = readers[:1] if is_parent_ours or (not parent and not found.automated) else []
    if parent and not found.automated:
        # The parent changes the promoted values in it, and nothing else: see ``apply``.
        synced.append(readers[1])
    neighbours = (
        others_of(
            request.fleet,
            reader.application,
            request.target,
            argo=view.argo[found.cluster],
            cluster=found.cluster,
            own=found.name,
        )
        if is_parent_ours
        else ()
    )
    replaces, unread = _replaces(view.git, release.repository, snapshots, readers, tip)
    return replace(
        found,
        synced=tuple(synced),
        replaces=replaces,
        unread=unread,
        neighbours=neighbours,
        siblings=siblings_of(
            request.fleet, reader.application, request.target, keys=keys, own=found.name
        )
        if parent
        else (),
        follows=_leaves(snapshot.application) if parent and not found.automated else (),
        drift=tuple(
            one
            for looked, read in zip(
                (reader, snapshot) if parent else (snapshot,), readers, strict=True
            )
            for one in drift_of(
                view,
                release.repository,
                looked,
                read,
                release.origin,
                cluster=found.cluster,
                tip=tip,
                is_asked_for=looked.name in {one.name for one in synced},
            )
        ),
    )


def _leaves(application: Json, path: str = "spec") -> tuple[tuple[str, str], ...]:
    """Every text of what an Application asks for, by its path."""
    spec = (application or {}).get("spec") or {}

    def below(value: Json, at: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, str):
            yield at, value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from below(item, f"{at}.{key}")
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                yield from below(item, f"{at}[{number}]")

    return tuple(below(spec, path))


def _named_after(application: Json | None, keys: Sequence[PromotedKey]) -> tuple[str, ...]:
    """Objects of an Application whose names hold a promoted value."""
    resources = ((application or {}).get("status") or {}).get("resources") or ()
    return tuple(
        label(one)
        for one in resources
        if any(is_named_after(str(one.get("name") or ""), key.value) for key in keys)
    )


def _refuse_paused(snapshots: Sequence[Snapshot], cluster: str) -> None:
    """Asked before anything is planned: a commit that nobody brings would leave Git and cluster apart."""
    for snapshot in snapshots:
        if is_paused(snapshot.application):
            raise Refused(
                f"Application {snapshot.name} on {cluster} is paused by its annotation {PAUSED}: Argo CD neither compares nor syncs it",
                hint="Take the annotation away, then run the promotion again; nothing was committed.",
            )


def _replaces(
    git: GitReader,
    repository: str,
    snapshots: Sequence[Snapshot],
    read: Sequence[Synced],
    tip: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a sync would replace, and what nobody can tell about that, by Application."""
    found: list[str] = []
    unread: list[str] = []
    for snapshot, one in zip(snapshots, read, strict=False):
        said = replaced_by_sync(git, snapshot, repository=repository, tip=tip, places=one.folders)
        found += [f"{snapshot.name}: {option}" for option in said.found]
        unread += [f"{snapshot.name}: {what}" for what in said.unread]
    return tuple(found), tuple(unread)


def _pruning(*snapshots: Snapshot) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.name for one in snapshots if prunes_itself(one.application)))


def _running(snapshot: Snapshot, shown: Shown) -> tuple[str, ...]:
    return () if isinstance(shown, FieldProof) else running_versions(snapshot, shown)


def _carrier(
    view: View,
    request: Promotion,
    environment: str,
    snapshot: Snapshot,
    *,
    cluster: str,
    tip: str,
    keys: Sequence[PromotedKey],
) -> Snapshot:
    """The Application that reads the promoted files: this one, or a parent that renders it from them.

    Raises:
        Refused: None does; it says what differs from fleet.yaml.
    """
    name = request.fleet.applications[request.application].repository
    repository = request.fleet.repositories[name]
    files = [key.path for key in keys]
    declared = request.fleet.argocd_parent(request.application, environment)
    argo = view.argo[cluster]
    said: tuple[str, ...] = ()
    at = snapshot
    for generation in range(GENERATIONS + 1):
        if generation or declared is None:
            sources = sources_of((at.application or {}).get("spec") or {})
            origin = origin_of(view.git, name, repository, sources)
            differ = differences(
                view.git, at.application, origin=origin, repository=name, tip=tip, files=files
            )
            if not differ:
                return at
            said = said or differ
        above = parent_of(argo, at.application, declared if not generation else None)
        if above is None:
            break
        at = above
    who = f"Application {declared or snapshot.name} on {cluster}"
    raise Refused(
        f"{who} does not deploy what fleet.yaml edits: {'; '.join(said) or 'it does not exist'}",
        hint=f"Mend `repository`, `path` or `argocd` of {request.application} in fleet.yaml, or the Application.",
    )


def parent_of(argo: ArgoReader, application: Json, declared: str | None = None) -> Snapshot | None:
    """The Application that manages this one, as declared or as Argo CD's tracking says."""
    metadata = application.get("metadata") or {}
    tracked, _, rest = str((metadata.get("annotations") or {}).get(TRACKING) or "").partition(":")
    # A copied annotation names another object.
    if not rest.endswith(f"/{metadata.get('name')}"):
        tracked = ""
    name = declared or tracked or str((metadata.get("labels") or {}).get(INSTANCE) or "")
    if not name or name == metadata.get("name"):
        return None
    found = argo.snapshot(name)
    return found if found.application is not None else None
