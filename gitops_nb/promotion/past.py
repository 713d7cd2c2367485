"""What shows that a version ran in the target before: Argo CD's history of it, or Git, where it stood there for long enough.

A version that stood in Git for a moment may never have been brought: whoever may push can write any version and take it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gitops_nb.argo import history_of, revisions_of
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.edits import PartReader
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.model import Json, parse_time
from gitops_nb.ports import GitReader
from gitops_nb.promotion.state import PromotedKey, PromotionState, in_words

COMPARED = timedelta(minutes=10)
"""What stands in Git for less may never have been compared: Argo CD looks every three minutes, when it is well."""


def synced_commits(application: Json, origin: Origin) -> tuple[tuple[str, datetime], ...]:
    """Commits of the configuration repository that an Application's history names, with the time of each sync, oldest first."""
    asked = sources_of((application or {}).get("spec") or {})
    found: list[tuple[str, datetime]] = []
    for entry in history_of(application):
        pairs = zip(revisions_of(entry), sources_of(entry) or asked, strict=False)
        commit = next((str(one) for one, source in pairs if origin.has(source)), "")
        if commit and entry.get("deployedAt"):
            found.append((commit, parse_time(entry["deployedAt"])))
    return tuple(found)


def synced_versions(
    git: GitReader, repository: str, key: PromotedKey, commits: Sequence[tuple[str, datetime]]
) -> Mapping[str, datetime]:
    """The version that each synced commit had, with the time of its newest sync; not of commits that are gone."""
    reader = PartReader(key.key, key.part)
    found: dict[str, datetime] = {}
    for commit, at in commits:
        try:
            blob = git.read(repository, commit, key.path)
            version = reader.read(blob.content) if blob is not None else ""
        except (UnavailableError, UsageError):
            continue
        if version:
            found[version] = at
    return found


def ran_before(state: PromotionState, version: str, needed: timedelta = COMPARED) -> str:
    """What shows that a version ran in the target, as a sentence; "" when nothing does.

    Args:
        state: What was observed.
        version: The version that would come back.
        needed: How long it has to have stood in Git where Argo CD's history does not have it.
    """
    target = state.target
    if version in target.synced:
        at = target.synced[version]
        return f"Argo CD synced {version} in {target.environment} at {at:%Y-%m-%d %H:%M} UTC"
    stood = stood_for(state, version)
    if stood is None or stood < max(needed, COMPARED):
        return ""
    spell = target.last_spell(version)
    until = "now" if spell is None or spell.until is None else f"{spell.until:%Y-%m-%d %H:%M} UTC"
    # Git is what is known of that past: nobody keeps what was seen then.
    return (
        f"Git asked for {version} in {target.environment} until {until}, for {in_words(stood)} "
        "(Argo CD's history does not have it)"
    )


def why_not(state: PromotionState, version: str) -> str:
    """Why a version is not known to have run in the target, as a sentence."""
    where, stood = state.target.environment, stood_for(state, version)
    if stood is None:
        return f"Git never asked for {version} in {where}"
    return (
        f"nothing shows that {version} ran in {where}: Argo CD's history of it has no such commit, and Git asked for it "
        f"for {in_words(stood)} only"
    )


def stood_for(state: PromotionState, version: str) -> timedelta | None:
    """The longest time that a version stood in the target's file without a break; None where it never did."""
    times = [
        (spell.until or state.observed_at) - spell.since
        for spell in state.target.spells
        if spell.version == version
    ]
    return max(times, default=None)
