"""Reads source and target from Git and Argo CD."""

from __future__ import annotations

from datetime import UTC, datetime

from gitops_nb.argo import (
    Expectation,
    State,
    current_images,
    current_revisions,
    healthy_since,
    is_automated,
    judge,
)
from gitops_nb.edits import read_part
from gitops_nb.errors import ConfigurationError, UsageError
from gitops_nb.ports import GitReader, View
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import Placement, PromotedKey, PromotionState, Side, Spell
from gitops_nb.revisions import equivalent_revisions


def observe(view: View, request: Promotion) -> PromotionState:
    """Reads both environments at the tip of the configuration branch.

    Raises:
        ConfigurationError: A promotable key is not where fleet.yaml says.
    """
    name = request.fleet.applications[request.application].repository
    branch = request.fleet.repositories[name].branch
    tip = view.git.tip(name, branch)
    source = _side(view, request, request.source, name, tip)
    target = _side(view, request, request.target, name, tip)
    return PromotionState(
        observed_at=view.clock.now(),
        repository=name,
        branch=branch,
        tip=tip,
        source=source,
        target=target,
        recalled=_recalled(view.git, request, name, source, target),
    )


def _side(view: View, request: Promotion, environment: str, repository: str, tip: str) -> Side:
    folder = request.fleet.path(request.application, environment)
    assert folder is not None  # request() refuses an application without a folder
    keys = _keys(view.git, request, folder, repository, tip)
    return Side(
        environment=environment,
        folder=folder,
        keys=keys,
        spells=_spells(view.git, keys[0], repository, tip),
        placements=_placements(
            view, request, environment, repository=repository, tip=tip, folder=folder
        ),
    )


def _keys(
    git: GitReader, request: Promotion, folder: str, repository: str, tip: str
) -> tuple[PromotedKey, ...]:
    keys: list[PromotedKey] = []
    for declared in request.fleet.applications[request.application].promotable:
        file = declared.file.replace("{application}", request.application)
        path = f"{folder.rstrip('/')}/{file}"
        blob = git.read(repository, tip, path)
        if blob is None:
            raise ConfigurationError(
                f"{repository} has no file {path} at {tip[:8]}",
                hint=f"Check `paths` and `promotable` of {request.application} in fleet.yaml.",
            )
        try:
            value = read_part(blob.content, declared.key, declared.part)
        except UsageError as error:
            raise ConfigurationError(f"{path}: {error.message}", hint=error.hint) from error
        text = blob.content.decode("utf-8")
        keys.append(PromotedKey(path, declared.key, declared.part, blob.blob_id, value, text))
    return tuple(keys)


def _recalled(
    git: GitReader, request: Promotion, repository: str, source: Side, target: Side
) -> tuple[PromotedKey, ...]:
    """All keys as they stood in the target just before the asked version was replaced there."""
    version = request.revision
    if version in (None, source.version, target.version) or len(target.keys) == 1:
        return ()
    spell = target.last_spell(version)
    if spell is None or not spell.replaced_by:
        return ()
    parents = git.log(repository, spell.replaced_by, limit=1)[0].parents
    return _keys(git, request, target.folder, repository, parents[0]) if parents else ()


def _spells(git: GitReader, key: PromotedKey, repository: str, tip: str) -> tuple[Spell, ...]:
    """Which version stood here when, oldest first, from the file's history."""
    spells: list[Spell] = []
    for change in git.changes(repository, tip, folders=(key.path,)):
        at = datetime.fromtimestamp(change.committed_s, UTC)
        try:
            version = read_part(change.content, key.key, key.part) if change.content else ""
        except UsageError:
            version = ""  # an older layout of the file: its versions are not known
        if spells and spells[-1].version == version:
            continue
        if spells:
            spells[-1] = Spell(spells[-1].version, spells[-1].since, at, change.sha)
        spells.append(Spell(version, at))
    return tuple(spells)


def _placements(
    view: View, request: Promotion, environment: str, *, repository: str, tip: str, folder: str
) -> tuple[Placement, ...]:
    name = request.fleet.argocd_name(request.application, environment)
    clusters = [c for c in request.fleet.clusters_of(environment) if c in view.argo]
    if not clusters:
        return ()
    expectation = Expectation(
        revision=tip, equivalent=equivalent_revisions(view.git, repository, tip, folder)
    )
    found: list[Placement] = []
    for cluster in clusters:
        snapshot = view.argo[cluster].snapshot(name)
        if snapshot.application is None:
            continue
        judgement = judge(snapshot, expectation)
        found.append(
            Placement(
                cluster=cluster,
                name=name,
                deployed=judgement.state is State.DEPLOYED,
                sentence=judgement.sentence,
                sync=judgement.sync,
                health=judgement.health,
                revision=",".join(current_revisions(snapshot.application)),
                automated=is_automated(snapshot.application),
                healthy_since=healthy_since(snapshot.application),
                images=current_images(snapshot),
            )
        )
    if not found:
        raise ConfigurationError(
            f"no Argo CD Application {name} on {', '.join(clusters)}",
            hint="Run the bootstrap runbook, or check `argocd` of the application in fleet.yaml.",
        )
    return tuple(found)
