"""Reads source and target from Git and Argo CD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from gitops_nb.catalog.fleet import Promotable
from gitops_nb.edits import PartReader, read_part
from gitops_nb.errors import ConfigurationError, UnavailableError, UsageError
from gitops_nb.ports import GitReader, View
from gitops_nb.promotion.neighbours import refuse_neighbours
from gitops_nb.promotion.past import present_versions, synced_versions
from gitops_nb.promotion.pending import bound_folders, find_pending
from gitops_nb.promotion.placements import find_placements
from gitops_nb.promotion.readers import refuse_readers
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.shared import file_of, refuse_shared
from gitops_nb.promotion.state import PromotedKey, PromotionState, Side, Spell
from gitops_nb.record.commits import TRAILER_RUN

EARLIER = 10
"""How many earlier versions are known again where they run: of an older one nobody says that it was left behind."""


def observe(view: View, request: Promotion) -> PromotionState:
    """Reads both environments at the tip of the configuration branch.

    Raises:
        ConfigurationError: A promotable key is not where fleet.yaml says.
        Refused: Another environment has its key in the same place or reads the file, an Application does not deploy these files, or its parent
            would bring what is another environment's.
    """
    name = request.fleet.applications[request.application].repository
    branch = request.fleet.repositories[name].branch
    tip = view.git.tip(name, branch)
    sides = (request.source, request.target)
    folders = tuple(_folder(request, environment) for environment in sides)
    keys = dict(zip(sides, keys_at(view.git, request, folders, name, tip), strict=True))
    refuse_shared(request, keys[request.target])
    spells = spells_of(view.git, list(chain.from_iterable(keys.values())), name, tip)

    def side(environment: str) -> Side:
        folder = _folder(request, environment)
        own = keys[environment]
        placements, lacking = find_placements(
            view,
            request,
            environment,
            tip=tip,
            folder=folder,
            keys=own,
            before=[earlier(spells[key], key.value) for key in own],
        )
        return Side(environment, folder, own, spells[own[0]], placements, lacking)

    target = side(request.target)
    try:
        source = side(request.source)
    except (UnavailableError, ConfigurationError) as error:
        if target.last_spell(request.revision or "") is None:
            raise
        # The way back asks nothing of the source: the version comes from the target's own past.
        own = keys[request.source]
        folder = _folder(request, request.source)
        source = Side(request.source, folder, own, spells[own[0]], (), away=error.message)
    histories = [p.commits for p in target.placements]
    is_all_asked = request.revision or any(not p.deployed for p in target.placements)
    look = synced_versions if is_all_asked else present_versions
    target = replace(target, synced=look(view.git, name, target.keys[0], histories))
    if not source.away:
        there = [p.commits for p in source.placements]
        source = replace(source, synced=present_versions(view.git, name, source.keys[0], there))
    synced = [one for placement in target.placements for one in placement.synced]
    pending = find_pending(view.git, name, tip, synced, target.keys[0])
    refuse_neighbours(request, target, pending)
    untold = refuse_readers(view, request, target, tip)
    return PromotionState(
        observed_at=view.clock.now(),
        repository=name,
        branch=branch,
        tip=tip,
        source=source,
        target=target,
        recalled=_recalled(view.git, request, name, source, target),
        pending=pending,
        reverted_by=_reverted_by(view.git, name, target, request.revision or source.version),
        untold=untold,
        folders=bound_folders(
            view.git, name, tip, [folder for one in synced for folder in one.folders]
        ),
    )


def _folder(request: Promotion, environment: str) -> str:
    folder = request.fleet.path(request.application, environment)
    assert folder is not None  # request() refuses an application without a folder
    return folder


def keys_at(
    git: GitReader, request: Promotion, folders: tuple[str, ...], repository: str, revision: str
) -> tuple[tuple[PromotedKey, ...], ...]:
    """All promotable keys as they stand in each of the folders."""
    promotable = request.fleet.applications[request.application].promotable
    paths = [
        [file_of(request.application, folder, declared) for declared in promotable]
        for folder in folders
    ]
    every = list(chain.from_iterable(paths))
    blobs = dict(zip(every, git.read_many(repository, revision, every), strict=True))

    def key(path: str, declared: Promotable) -> PromotedKey:
        blob = blobs[path]
        if blob is None:
            raise ConfigurationError(
                f"{repository} has no file {path} at {revision[:8]}",
                hint=f"Check `paths` and `promotable` of {request.application} in fleet.yaml.",
            )
        try:
            value = read_part(blob.content, declared.key, declared.part)
        except UsageError as error:
            raise ConfigurationError(f"{path}: {error.message}", hint=error.hint) from error
        text = blob.content.decode("utf-8")
        return PromotedKey(path, declared.key, declared.part, blob.blob_id, value, text)

    return tuple(tuple(map(key, own, promotable)) for own in paths)


def _recalled(
    git: GitReader, request: Promotion, repository: str, source: Side, target: Side
) -> tuple[PromotedKey, ...]:
    """All keys as they were synced with the asked version, or else as they stood just before it was replaced in Git.

    Whoever pushes may have had it there for a moment with other values.
    """
    version = request.revision
    if version is None or version == target.version or len(target.keys) == 1:
        return ()
    stay = target.synced.get(version)
    found: tuple[PromotedKey, ...] = ()
    try:
        if stay is not None:
            found = keys_at(git, request, (target.folder,), repository, stay.commit)[0]
    except ConfigurationError:
        stay = None  # a key came into the files since: how it stood in Git is all there is
    if stay is None:
        commit = _before_it_was_replaced(git, repository, target, version)
        found = keys_at(git, request, (target.folder,), repository, commit)[0] if commit else ()
    is_as_in_source = [key.value for key in found] == [key.value for key in source.keys]
    return () if is_as_in_source and not source.away else found


def _before_it_was_replaced(git: GitReader, repository: str, target: Side, version: str) -> str:
    """The last commit of the newest time that a version stood in Git; "" where there is none."""
    spell = target.last_spell(version)
    if spell is None or not spell.replaced_by:
        return ""
    parents = git.log(repository, spell.replaced_by, limit=1)[0].parents
    return parents[0] if parents else ""


def _reverted_by(git: GitReader, repository: str, target: Side, version: str) -> str:
    """The commit of somebody, and of no run, that put the version before a version back; "" where none did, or it stands again."""
    spells = target.spells
    last = max((n for n, spell in enumerate(spells) if spell.version == version), default=0)
    if not 0 < last < len(spells) - 1 or spells[last - 1].version != spells[last + 1].version:
        return ""
    commit = spells[last].replaced_by
    by = git.log(repository, commit, limit=1)
    return commit if by and TRAILER_RUN not in by[0].trailers else ""


def spells_of(
    git: GitReader, keys: Sequence[PromotedKey], repository: str, revision: str
) -> dict[PromotedKey, tuple[Spell, ...]]:
    """Which value of each key stood in its file when, oldest first, from one walk of the history of a commit."""
    found: dict[PromotedKey, list[Spell]] = {key: [] for key in keys}
    readers = {key: PartReader(key.key, key.part) for key in keys}
    by_path: dict[str, list[PromotedKey]] = {}
    for key in keys:
        by_path.setdefault(key.path, []).append(key)
    for change in git.changes(repository, revision, folders=tuple(by_path)):
        at = datetime.fromtimestamp(change.committed_s, UTC)
        for key in by_path[change.path]:
            spells = found[key]
            try:
                version = readers[key].read(change.content) if change.content else ""
            except UsageError:
                version = ""  # an older layout of the file: its versions are not known
            if spells and spells[-1].version == version:
                continue
            if spells:
                spells[-1] = Spell(spells[-1].version, spells[-1].since, at, change.sha)
            spells.append(Spell(version, at))
    return {key: tuple(spells) for key, spells in found.items()}


def earlier(spells: Sequence[Spell], value: str) -> tuple[str, ...]:
    """The values that stood before the present one, the newest first: what still runs one of them was left behind."""
    found = dict.fromkeys(spell.version for spell in reversed(spells))
    return tuple(text for text in found if text not in ("", value))[:EARLIER]
