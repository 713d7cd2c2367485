"""The exact edit, and whether it may be made now. Pure: everything they need is in request, state and rules."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import timedelta

from gitops_nb.argo.images import is_alike
from gitops_nb.catalog.durations import format_duration
from gitops_nb.edits import VERSION, diff, edit_scalar, read_scalar
from gitops_nb.errors import UsageError
from gitops_nb.model import Action, Json, Line, Plan, ResourceChange, Verdict
from gitops_nb.policy import Rules, destructive_change, freeze, not_asked
from gitops_nb.promotion.before import candidates
from gitops_nb.promotion.deleting import deletions, untold_deletions
from gitops_nb.promotion.past import (
    COMPARED,
    can_come_back,
    never_came,
    ran_before,
    why_not,
)
from gitops_nb.promotion.readable import refuse_unreadable
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import (
    Placement,
    PromotedKey,
    PromotionState,
    Side,
    in_words,
    lacking_in_words,
    runs_in_words,
)
from gitops_nb.promotion.versions import FieldProof, is_image, names_beside, shown_by
from gitops_nb.revisions import FULL_ID

_REVISION = "targetRevision"
_FIXED = ("repoURL", "path", "chart", "ref")
"""What of a child's source no promotion moves: where it is from."""


def plan(request: Promotion, state: PromotionState) -> Plan:
    """The edit that brings the version to the target; empty when the target already has it and runs it.

    Raises:
        UsageError: The version cannot be written, or says too little about an application with several keys.
    """
    version = request.revision or state.source.version
    if _comes_from_source(state, version):
        refuse_unreadable(state.source)
    if not VERSION.fullmatch(version):
        raise UsageError(
            f"{request.source} has {version!r}, which is not a version",
            hint="Mend the file in the source environment, or name a revision.",
        )
    wanted = _wanted_values(request, state, version)
    edits = [
        (old, new) for old, new in zip(state.target.keys, wanted, strict=True) if old.value != new
    ]
    target = state.target
    texts = _texts(state, version)
    entry = request.fleet.applications[request.application].promotable[0]
    is_field = isinstance(shown_by(target.keys[0], entry, version), FieldProof)
    changes = _changes(state.repository, edits, texts)
    lagging = tuple(p for p in target.placements if not p.deployed)
    if not edits and lagging:
        # Git already asks for it, the cluster does not run it: a sync is what is missing.
        changes = tuple(
            ResourceChange(
                address=f"Application {p.name} on {p.cluster}",
                action=Action.UPDATE,
                before=", ".join(p.images) or "nothing that was seen",
                after=f"sync to {state.branch}",
            )
            for p in lagging
        )
    if changes:
        changes += (
            _followed(target, edits)
            + _brought_beside(target, edits)
            + (_read_beside(state) if edits else ())
            + _pending(state)
            + _replaced(target)
            + _drifted(target)
            + deletions(target, edits)
        )
    if not changes and not target.placements:
        summary = f"{request.application} {version} is in Git for {request.target}; no cluster there says whether it runs"
    elif not changes:
        summary = f"{request.application} {version} {runs_in_words(by_field=is_field, already=True)} in {request.target}"
    elif edits and target.version == version:
        key, value = edits[0]
        more = f", and {len(edits) - 1} more" if len(edits) > 1 else ""
        summary = f"{request.application} {version}: {key.key} {key.value} -> {value}{more} in {request.target}"
    elif edits:
        summary = f"{request.application} {target.version or '(no value yet)'} -> {version} in {request.target}"
    else:
        summary = f"sync {request.application} {version} in {request.target}"
    if changes and target.running:
        summary += f", which runs {', '.join(target.running)}"
    if edits and state.recalled and version == state.source.version:
        summary += f", with the keys that {request.target} had with it"
    summary += lacking_in_words(target.lacking)
    return _with_way_back(
        state,
        Plan(
            runbook="promotion",
            environment=request.target,
            summary=summary,
            changes=changes,
            materials={
                **{f"{state.repository}:{key.path}": key.blob for key in target.keys},
                # No file's name ends so: what is bound may not be written.
                **{f"{state.repository}:{place}/": known for place, known in state.folders.items()},
            },
            arguments={
                "application": request.application,
                "source": request.source,
                "repository": state.repository,
                "branch": state.branch,
                "folder": target.folder,
                "edits": [
                    {
                        "path": old.path,
                        "key": old.key,
                        "part": old.part,
                        "before": old.value,
                        "after": new,
                        "blob": old.blob,
                        **({"is_text": True} if old in texts else {}),
                    }
                    for old, new in edits
                ],
                "version_before": target.version,
                "version_after": version,
                **({"by_field": True} if is_field else {}),
                **({"running_before": list(target.running)} if target.running else {}),
                "placements": [_placed(p, edits, target.environment) for p in target.placements],
                **({"lacking": list(target.lacking)} if target.lacking else {}),
                "folders": dict(state.folders),
                **({"reverted_by": state.reverted_by} if edits and state.reverted_by else {}),
            },
        ),
    )


def _with_way_back(state: PromotionState, plan: Plan) -> Plan:
    """The plan, with the version that leads back where that is not Git's, or with the one that the gates would refuse."""
    found = candidates(plan)
    if not found:
        return plan
    back = next((one for one in found if can_come_back(state, one)), "")
    arguments = dict(plan.arguments)
    if not back:
        arguments |= {"not_back": found[0], "not_back_for": never_came(state, found[0])}
    elif back != found[-1]:
        arguments["back"] = back
    return replace(plan, arguments=arguments)


def _pending(state: PromotionState) -> tuple[ResourceChange, ...]:
    """What the sync brings along: pushed earlier by others, or not looked at; shown to whoever approves it."""

    def brought(
        address: str, before: str, after: str, lines: tuple[Line, ...] = ()
    ) -> ResourceChange:
        return ResourceChange(address, Action.UPDATE, before, after, lines)

    found = [
        brought(
            f"{state.repository}:{one.path}",
            "no part of it" if one.is_new else "" if one.before is not None else "not there",
            "pushed earlier, and comes into force with this sync"
            if one.after is not None
            else "taken out of Git earlier; the sync leaves its objects",
            diff((one.before or "").encode(), (one.after or "").encode()),
        )
        for one in state.pending
        if not one.is_version_alone
    ]
    synced = [one for placement in state.target.placements for one in placement.synced]
    found += [
        brought(
            f"Application {one.name}, its sources",
            "other ones were synced last"
            if one.sources[0]
            else "none is known that was synced last",
            "what they are now comes into force with this sync",
            diff(one.sources[0].encode(), one.sources[1].encode()),
        )
        for one in synced
        if one.sources != ("", "")
    ]
    found += [
        brought(
            f"Application {one.name}, how it is synced",
            "not known: Argo CD keeps no past of it",
            "in force with this sync",
            diff(b"", one.settings.encode()),
        )
        for one in synced
        if one.settings
    ]
    for one in synced:
        found += [
            brought(
                f"Application {one.name}, source {other}",
                "not looked at",
                "what is there when it is synced comes into force too",
            )
            for other in one.others
        ]
    found += [
        brought(
            f"Application {one.name}",
            "what was synced last is not known",
            "all its files come into force, and what somebody changed on the cluster is undone: that cannot be told",
        )
        for one in synced
        if not one.in_force and one.folders
    ]
    return tuple(found)


def untold(plan: Plan, state: PromotionState) -> tuple[str, ...]:
    """What may have the sync delete or replace something, and nobody can tell."""
    new = {(one["path"], one["key"]): str(one["after"]) for one in plan.arguments["edits"]}
    edits = [
        (key, new[key.path, key.key]) for key in state.target.keys if (key.path, key.key) in new
    ]
    unread = tuple(what for p in state.target.placements for what in p.unread)
    if not state.target.placements:
        unread = (
            f"fleet.yaml names no cluster of {state.target.environment}, so nobody looks at what a sync there does",
        )
    return unread + untold_deletions(state.target, edits)


def _unseen(state: PromotionState) -> tuple[str, ...]:
    """Sources that a sync of ours brings and nobody here looks at."""
    synced = (one for placement in state.target.placements for one in placement.synced)
    return tuple(dict.fromkeys(other for one in synced for other in one.others))


def _replaced(target: Side) -> tuple[ResourceChange, ...]:
    """Options that have the sync replace objects: whoever approves reads that nothing is patched there."""
    return tuple(
        ResourceChange(
            address=f"Application {p.name} on {p.cluster}, {option}",
            action=Action.REPLACE,
            before="what runs",
            after="replaced by the sync, or deleted and made anew, not patched",
        )
        for p in target.placements
        for option in p.replaces
    ) + tuple(
        ResourceChange(
            address=f"Application {p.name} on {p.cluster}, {what}",
            action=Action.UPDATE,
            before="what runs",
            after="patched by the sync, or replaced, or deleted and made anew: nobody can tell",
        )
        for p in target.placements
        for what in p.unread
    )


def _drifted(target: Side) -> tuple[ResourceChange, ...]:
    """What somebody changed on the cluster, and the sync undoes: whoever approves may want it to stay."""
    return tuple(
        ResourceChange(
            address=f"Application {one.application} on {p.cluster}, {one.what}",
            action=Action.UPDATE,
            before=one.before,
            after=one.after,
        )
        for p in target.placements
        for one in p.drift
    )


def _following(
    placement: Placement, edits: Sequence[tuple[PromotedKey, str]]
) -> tuple[tuple[str, str, str], ...]:
    """What of a child may change when its parent renders it anew: path, text now, text then, for each that holds a promoted value."""

    def then(path: str, text: str) -> str:
        place = path.rpartition(".")[2]
        if place in _FIXED or not path.startswith(("spec.source.", "spec.sources[")):
            return text
        # Which revision a source follows no image says.
        was = {
            k.value: new for k, new in edits if k.value and not (place == _REVISION and is_image(k))
        }
        longest = sorted(map(re.escape, was), key=len, reverse=True)
        value = re.compile(rf"(?<![0-9.])(?:{'|'.join(longest)})(?![0-9])")
        return value.sub(lambda found: was[found[0]], text) if was else text

    found = ((path, text, then(path, text)) for path, text in placement.follows)
    return tuple(one for one in found if one[1] != one[2])


def _followed(target: Side, edits: Sequence[tuple[PromotedKey, str]]) -> tuple[ResourceChange, ...]:
    """What a child may ask for behind the edit, field by field: nothing else of it may change before it is synced."""
    return tuple(
        ResourceChange(
            address=f"Application {p.name} on {p.cluster}, {path}",
            action=Action.UPDATE,
            before="several lines" if "\n" in before else before,
            after=f"{'several lines' if chr(10) in after else after}, where {p.parent} makes it so",
            diff=diff(before.encode(), after.encode()) if "\n" in before else (),
        )
        for p in target.placements
        for path, before, after in _following(p, edits)
    )


def _brought_beside(
    target: Side, edits: Sequence[tuple[PromotedKey, str]]
) -> tuple[ResourceChange, ...]:
    """Applications that a parent's sync changes: those of which nobody knows whose they are, and those that take what is edited."""
    return tuple(
        ResourceChange(
            address=f"Application {name}, which {p.parent} on {p.cluster} brings",
            action=Action.UPDATE,
            before="not looked at",
            after="what it asks for, and where it deploys to, comes into force with this sync",
        )
        for p in target.placements
        for name, owner in p.neighbours
        if not owner
    ) + tuple(
        ResourceChange(
            address=f"Application {p.parent} on {p.cluster}, which renders other Applications from the edited file too",
            action=Action.UPDATE,
            before="not looked at",
            after=f"what takes the value changes with it: {', '.join(map(_whose, p.siblings))}",
        )
        for p in target.placements
        if p.siblings and edits
    )


def _whose(application: tuple[str, str]) -> str:
    name, owner = application
    return f"{name} ({owner})" if owner else name


def _read_beside(state: PromotionState) -> tuple[ResourceChange, ...]:
    """Applications of other environments that may read what is edited: whoever approves has to know them."""
    return tuple(
        ResourceChange(
            address=f"{who}, which may read any file",
            action=Action.UPDATE,
            before="not looked at",
            after="may change with this commit: nobody can tell",
        )
        for who in state.untold
    )


def _placed(
    placement: Placement, edits: Sequence[tuple[PromotedKey, str]], environment: str
) -> Json:
    """A placement as apply needs it; the parent that renders it comes first there."""
    own: dict[str, Json] = {
        "cluster": placement.cluster,
        "name": placement.name,
        "automated": placement.automated,
        "where": placement.where,
    }
    # Argo CD keeps no past of project and destination: whoever signs reads them each time.
    bound: dict[str, dict[str, Json]] = {
        one.name: {"spec": one.spec, "where": one.where, "last": one.last}
        for one in placement.synced
    }
    own |= bound.get(placement.name, {})
    if placement.follows:
        own["follows"] = [list(one) for one in _following(placement, edits)]
    if placement.parent:
        above: dict[str, Json] = {
            "name": placement.parent,
            "automated": placement.parent_automated,
        }
        above |= bound.get(placement.parent, {})
        beside = [
            name
            for name, owner in (*placement.neighbours, *placement.siblings)
            if owner in ("", environment)
        ]
        if beside:
            above["beside"] = list(dict.fromkeys(beside))
        own["parent"] = above
    return own


def _texts(state: PromotionState, version: str) -> frozenset[PromotedKey]:
    """Keys of the target that hold a number now, and whose new value is a text of digits where it comes from."""
    origin = state.recalled or (state.source.keys if _comes_from_source(state, version) else ())
    found: list[PromotedKey] = []
    for here, there in zip(state.target.keys, origin, strict=False):
        own, new = (read_scalar(key.content.encode(), key.key).seen for key in (here, there))
        if here.part == "value" and type(own) is int and isinstance(new, str) and new.isdigit():
            found.append(here)
    return frozenset(found)


def _changes(
    repository: str, edits: list[tuple[PromotedKey, str]], texts: Container[PromotedKey]
) -> tuple[ResourceChange, ...]:
    """One change per file, with its exact diff."""
    files: dict[str, tuple[bytes, bytes, list[tuple[str, str]]]] = {}
    for old, new in edits:
        before, after, values = files.get(
            old.path, (old.content.encode(), old.content.encode(), [])
        )
        edited = edit_scalar(after, old.key, old.part, new, as_text=old in texts)
        files[old.path] = (before, edited, [*values, (old.value, new)])
    return tuple(
        ResourceChange(
            address=f"{repository}:{path}",
            action=Action.UPDATE,
            before=", ".join(value for value, _ in values),
            after=", ".join(value for _, value in values),
            diff=diff(before, after),
        )
        for path, (before, after, values) in files.items()
    )


def _comes_from_source(state: PromotionState, version: str) -> bool:
    """Whether a version is the source's now, and not one that the target had before with other values, or looked up without it."""
    return version == state.source.version and not state.recalled and not state.source.away


def _wanted_values(request: Promotion, state: PromotionState, version: str) -> tuple[str, ...]:
    """The value of each promotable key after the promotion."""
    source = state.source.keys
    if state.recalled:
        return tuple(key.value for key in state.recalled)
    if version == state.source.version:
        return tuple(key.value for key in source)
    if len(source) > 1 and version != state.target.version:
        raise UsageError(
            f"revision: {request.application} promotes {len(source)} keys, and one version does not say the others",
            hint="Leave revision out, or name a version that the target had before.",
        )
    return (version, *(key.value for key in state.target.keys[1:]))


def gates(plan: Plan, state: PromotionState, rules: Rules) -> tuple[Verdict, ...]:
    """Answers of the gates: source healthy, soak, freeze, destructive change."""
    version = str(plan.arguments["version_after"])
    return (
        _source_healthy(state, version)
        if rules.gates.source_healthy
        else not_asked("source_healthy", rules),
        _soak(state, version, rules),
        freeze(rules, state.observed_at),
        destructive_change(rules, plan, untold(plan, state), _unseen(state)),
    )


def _source_healthy(state: PromotionState, version: str) -> Verdict:
    source = state.source
    gate = "source_healthy"
    if not _comes_from_source(state, version):
        return _ran_before(gate, state, version)
    if not source.placements:
        return Verdict(
            gate, passed=False, reason=f"{source.environment} has no cluster that could say so"
        )
    bad = [p for p in source.placements if not p.deployed]
    if bad:
        return Verdict(gate, passed=False, reason=f"in {source.environment}: {bad[0].sentence}")
    other = _of_another_image(state)
    if other:
        return Verdict(gate, passed=False, reason=other)
    first = source.placements[0]
    at = ",".join(
        part[:8] if FULL_ID.fullmatch(part) else part for part in first.revision.split(",")
    )
    seen = ", ".join(dict.fromkeys(name for p in source.placements for name in p.carriers))
    more = (f", and seen in {seen}" if seen else "") + lacking_in_words(source.lacking)
    return Verdict(
        gate,
        passed=True,
        reason=f"{version} is synced and healthy in {source.environment} at {at}{more}",
    )


def _of_another_image(state: PromotionState) -> str:
    """That a version was seen in the source in an image that the target does not have, as a sentence; "" for none."""
    for there, here in zip(state.source.keys, state.target.keys, strict=True):
        one, other = names_beside(there), names_beside(here)
        if one and other and not any(is_alike(name, own) for name in one for own in other):
            return (
                f"{state.source.environment} has {there.value} of {one[-1]}, and {state.target.environment} has {other[-1]}: what is "
                "healthy there is another image"
            )
    return ""


def _ran_before(
    gate: str, state: PromotionState, version: str, needed: timedelta = COMPARED
) -> Verdict:
    """A version that does not come from the source: only one that the target ran before may come back."""
    source = state.source
    reason = ran_before(state, version, needed)
    if reason:
        return Verdict(gate, passed=True, reason=reason)
    instead = (
        f"{source.environment} was not looked at"
        if source.away
        else f"{source.environment} runs {source.version}"
    )
    return Verdict(gate, passed=False, reason=f"{instead}, and {why_not(state, version)}")


def _soak(state: PromotionState, version: str, rules: Rules) -> Verdict:
    gate = "soak"
    needed = rules.gates.soak.at_least if rules.gates.soak else timedelta(0)
    source = state.source
    if not needed:
        return not_asked(gate, rules)
    if not _comes_from_source(state, version):
        return _ran_before(gate, state, version, needed)
    unseen = next((p.sentence for p in source.placements if not p.deployed), "")
    if unseen:
        # How long it stands in Git, and how long something else is healthy there, says nothing of it.
        return Verdict(gate, passed=False, reason=f"in {source.environment}: {unseen}")
    starts = [source.since, *(p.healthy_since for p in source.placements)]
    if version in source.synced:
        # Whoever pushes writes the dates of commits; Argo CD writes its own.
        starts.append(source.synced[version].since)
    if not source.placements or any(start is None for start in starts):
        return Verdict(
            gate, passed=False, reason=f"{version} is not healthy in {source.environment} now"
        )
    began = max(start for start in starts if start is not None)
    soaked = state.observed_at - began
    shown = f"{in_words(soaked)} in {source.environment}; policy asks for {format_duration(needed)}"
    if soaked >= needed:
        return Verdict(gate, passed=True, reason=shown)
    return Verdict(gate, passed=False, reason=shown, clears_at=began + needed)
