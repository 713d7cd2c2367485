"""What shows that a version ran in the target before: Argo CD's history of it, where it stood there for long enough.

A version that was there for a moment may never have run: whoever may push can write any version, and take it back while its
pods crash. Dates of commits are theirs to write as well, so Git is asked only where no cluster could say more.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from gitops_nb.argo import history_of, revisions_of
from gitops_nb.argo.images import Image, is_alike, parse_image, shows
from gitops_nb.argo.overrides import pinned_images, set_to
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.edits import KUSTOMIZATIONS, PartReader, kubernetes_objects
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.model import Blob, Json, parse_time
from gitops_nb.ports import GitReader
from gitops_nb.promotion.state import PromotedKey, PromotionState, Side, Stay, Sync, in_words
from gitops_nb.promotion.versions import names_beside

COMPARED = timedelta(minutes=10)
"""What was there for less says nothing: Argo CD compares every three minutes, and a rollout that fails is given up after ten."""


def syncs_of(application: Json, origin: Origin, key: PromotedKey) -> tuple[Sync, ...]:
    """Syncs of the configuration repository that an Application's history has, oldest first, for the key that is the version."""
    asked = sources_of((application or {}).get("spec") or {})
    found: list[Sync] = []
    for entry in history_of(application):
        pairs = zip(revisions_of(entry), sources_of(entry) or asked, strict=False)
        commit = next((str(one) for one, source in pairs if origin.has(source)), "")
        done = entry.get("deployedAt")
        if done:
            # One of other sources brings nothing of ours, and ends what was there all the same.
            begun = entry.get("deployStartedAt") or done
            said = _said({"spec": {"sources": list(sources_of(entry) or asked)}}, key)
            found.append(Sync(commit, parse_time(begun), parse_time(done), said))
    return tuple(found)


def synced_versions(
    git: GitReader, repository: str, key: PromotedKey, histories: Sequence[Sequence[Sync]]
) -> Mapping[str, Stay]:
    """How long each version stood there, by the history of each cluster; not those of commits that are gone."""
    version_of = _reader(git, repository, key)
    return _shortest([(one, [version_of(sync) for sync in one]) for one in histories])


def present_versions(
    git: GitReader, repository: str, key: PromotedKey, histories: Sequence[Sequence[Sync]]
) -> Mapping[str, Stay]:
    """The same of what is there now alone: no more of the past is read than tells since when."""
    version_of = _reader(git, repository, key)
    found: list[tuple[Sequence[Sync], Sequence[str]]] = []
    for history in histories:
        versions: list[str] = []
        for sync in reversed(history):
            versions.insert(0, version_of(sync))
            if versions[0] != versions[-1]:
                break
        # What came before it ends where that begins, and is not told.
        start = 1 if versions and versions[0] != versions[-1] else 0
        found.append((history[len(history) - len(versions) + start :], versions[start:]))
    return _shortest(found)


def _reader(git: GitReader, repository: str, key: PromotedKey) -> Callable[[Sync], str]:
    """Reads the version that a sync brought, "" where nobody can tell; each commit once."""
    reader = PartReader(key.key, key.part)
    known: dict[str, str] = {"": ""}
    folder = posixpath.dirname(key.path)
    beside = [posixpath.join(folder, name) for name in KUSTOMIZATIONS]
    paths = (key.path, *(path for path in beside if path != key.path))

    def version_at(commit: str) -> str:
        if commit not in known:
            try:
                blob, *beside = git.read_many(repository, commit, paths)
                version = reader.read(blob.content) if blob is not None else ""
                known[commit] = "" if _is_overridden(beside, key, version) else version
            except (UnavailableError, UsageError):
                known[commit] = ""
        return known[commit]

    def version_of(sync: Sync) -> str:
        version = version_at(sync.commit)
        return version if all(text == version for text in sync.said) else ""

    return version_of


def _said(application: Json, key: PromotedKey) -> tuple[str, ...]:
    """Versions that an Application sets itself: of the key, and of the image that the key is known to set."""
    text = set_to(application, key.key, key.part)
    names = names_beside(key)
    images = [
        image.tag or image.digest
        for image in pinned_images(application)
        if image.name and any(is_alike(image.name, name) for name in names)
    ]
    return tuple(dict.fromkeys((*images, *(() if text is None else (text,)))))


def _is_overridden(beside: Sequence[Blob | None], key: PromotedKey, version: str) -> bool:
    """Whether a kustomization beside the key's file had another version of its image."""
    for blob in beside:
        for document in kubernetes_objects(blob.content) if blob is not None else ():
            said = (document if isinstance(document, dict) else {}).get("images") or ()
            texts = [
                f"{one.get('newName') or one.get('name')}:{one['newTag']}"
                if one.get("newTag")
                else f"{one.get('newName') or one.get('name')}@{one.get('digest')}"
                for one in said
                if isinstance(one, dict) and (one.get("newTag") or one.get("digest"))
            ]
            if _pins([parse_image(text) for text in texts], key, version):
                return True
    return False


def _pins(images: Sequence[Image], key: PromotedKey, version: str) -> bool:
    names = names_beside(key)
    return any(
        any(is_alike(image.name, name) for name in names) and not shows(image, version)
        for image in images
        if image.name
    )


def _shortest(
    histories: Sequence[tuple[Sequence[Sync], Sequence[str]]],
) -> Mapping[str, Stay]:
    """The stays of each version, of several clusters the shortest."""
    found: dict[str, Stay] = {}
    for history, versions in histories:
        for version, stay in _longest(history, versions).items():
            found[version] = min(found.get(version, stay), stay, key=_lasts)
    return found


def _longest(history: Sequence[Sync], versions: Sequence[str]) -> Mapping[str, Stay]:
    """The longest stay of each version in one cluster."""
    found: dict[str, Stay] = {}
    number = 0
    while number < len(history):
        after = number + 1
        while after < len(history) and versions[after] == versions[number]:
            after += 1
        until = history[after].begun if after < len(history) else None
        stay = Stay(history[number].done, until, history[after - 1].commit)
        if version := versions[number]:
            found[version] = max(found.get(version, stay), stay, key=_lasts)
        number = after
    return found


def _lasts(stay: Stay) -> tuple[bool, timedelta]:
    """Orders stays by their length; what is there now goes on, and began at some time."""
    if stay.until is None:
        return True, -(stay.since - datetime.min.replace(tzinfo=stay.since.tzinfo))
    return False, stay.until - stay.since


def ran_before(state: PromotionState, version: str, needed: timedelta = COMPARED) -> str:
    """What shows that a version ran in the target, as a sentence; "" when nothing does.

    Args:
        state: What was observed.
        version: The version that would come back.
        needed: How long it has to have stood in Git where no cluster of the target could say more.
    """
    target = state.target
    if version in target.synced:
        stay = target.synced[version]
        stood = (stay.until or state.observed_at) - stay.since
        if stood >= COMPARED and not _is_sick(target, stay):
            return (
                f"Argo CD synced {version} in {target.environment} at {stay.since:%Y-%m-%d %H:%M} UTC, and it stayed for "
                f"{in_words(stood)}"
            )
    if not is_by_dates(target):
        return ""
    stood_there = stood_for(state, version)
    if stood_there is None or stood_there < max(needed, COMPARED):
        return ""
    spell = target.last_spell(version)
    until = "now" if spell is None or spell.until is None else f"{spell.until:%Y-%m-%d %H:%M} UTC"
    # Git is all that is known of that past: no cluster has one to tell.
    return (
        f"Git asked for {version} in {target.environment} until {until}, for {in_words(stood_there)} "
        "(no cluster there says more)"
    )


def is_by_dates(target: Side) -> bool:
    """Whether dates in Git are all that tells of an environment's past: whoever pushes writes them."""
    return not target.placements and not target.lacking


def _is_sick(target: Side, stay: Stay) -> bool:
    """Whether what is there now can be seen not to run."""
    return stay.until is None and any(
        p.health in ("Degraded", "Missing") for p in target.placements
    )


def why_not(state: PromotionState, version: str) -> str:
    """Why a version is not known to have run in the target, as a sentence."""
    target, stood = state.target, stood_for(state, version)
    where = target.environment
    if version in target.synced:
        stay = target.synced[version]
        if _is_sick(target, stay):
            return f"{version} is there in {where} and is not healthy"
        stayed = in_words((stay.until or state.observed_at) - stay.since)
        return (
            f"nothing shows that {version} ran in {where}: Argo CD synced it at {stay.since:%Y-%m-%d %H:%M} UTC, and it stayed "
            f"for {stayed} only"
        )
    if stood is None:
        return f"Git never asked for {version} in {where}"
    if is_by_dates(target):
        return f"nothing shows that {version} ran in {where}: Git asked for it for {in_words(stood)} only"
    return (
        f"nothing shows that {version} ran in {where}: Argo CD's history of it has no such commit, and dates in Git, which whoever "
        "pushes writes, prove nothing"
    )


def can_come_back(state: PromotionState, version: str) -> bool:
    """Whether a later promotion of a version that is there now, or was, may be let through, as far as it can be told today."""
    target = state.target
    if target.last_spell(version) is None:
        return False
    return is_by_dates(target) or version in target.synced


def never_came(state: PromotionState, version: str) -> str:
    """Why a version cannot come back, in words that stay true while somebody is asked."""
    where = state.target.environment
    if state.target.last_spell(version) is None:
        return f"Git never asked for it in {where}"
    return f"Argo CD's history has no sync of it in {where}"


def stood_for(state: PromotionState, version: str) -> timedelta | None:
    """The longest time that a version stood in the target's file without a break; None where it never did."""
    times = [
        (spell.until or state.observed_at) - spell.since
        for spell in state.target.spells
        if spell.version == version
    ]
    return max(times, default=None)
