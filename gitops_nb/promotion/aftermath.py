"""What is true after a promotion's first effect, from its plan and its journal alone: whoever closes a run knows no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gitops_nb.model import Aftermath, Plan, Status, parse_time
from gitops_nb.promotion.before import version_back
from gitops_nb.promotion.past import COMPARED
from gitops_nb.promotion.state import in_words, runs_in_words
from gitops_nb.record.fold import EffectState, RunState


def aftermath(plan: Plan, run: RunState) -> Aftermath:
    """What Git asks for now, what Argo CD does about it by itself, and the command that brings the version before."""
    back, command = _back(plan, run)
    return Aftermath(_asks(plan, run), " ".join(_by_itself(plan, run)), back, command)


def _asks(plan: Plan, run: RunState) -> str:
    arguments = plan.arguments
    what = f"{arguments['application']} {arguments['version_after']}"
    where = f"in {plan.environment}"
    undone = _undone(run)
    if not arguments["edits"]:
        if undone:
            return f"Git may ask for something else {where} now: {undone}."
        return f"Git asks for {what} {where}, as it did before this run."
    commit = run.effect("commit")
    place = f"{arguments['repository']}, {arguments['branch']}"
    if commit is None:
        return f"Git asks for what it asked for before this run: {arguments['version_before']} {where}."
    if commit.is_open:
        return (
            f"Whether Git asks for {what} {where}, or still for {arguments['version_before']}, is not known: "
            f"the push to {place} got no answer that was recorded{', and may still arrive' if commit.tried else ''}."
        )
    if undone:
        ours = f"commit {_short(commit.result)} of {place}"
        if _set_again(run):
            return f"Git asks for {what} {where}, and not by {ours}, which this run made: {undone}."
        return f"Git does not ask for {what} {where} any more: {undone}. {ours[0].upper()}{ours[1:]} was this run's."
    is_seen = bool(_seen(run)) or commit.adopted
    unseen = "" if is_seen else " Nobody looked at the branch after that commit."
    return f"Git asks for {what} {where}: commit {_short(commit.result)} of {place}.{unseen}"


def _undone(run: RunState) -> str:
    """What somebody else changed of it, as apply or verify saw it; "" where nobody saw such a thing."""
    commit = run.effect("commit")
    seen = (commit.result if commit is not None else {}).get("taken_back")
    return str(seen or _seen(run).get("taken_back") or "")


def _seen(run: RunState) -> Mapping[str, Any]:
    """What was seen at the end of the newest attempt that came so far."""
    return run.outcome or run.seen or {}


def _set_again(run: RunState) -> bool:
    """Whether somebody else set the same again, after this run's commit was taken back."""
    commit = run.effect("commit")
    return bool((commit.result if commit is not None else {}).get("set_again_by"))


def _by_itself(plan: Plan, run: RunState) -> Iterator[str]:
    version = plan.arguments["version_after"]
    if run.status is Status.SUCCEEDED:
        yield f"Nothing more: {version} {runs_in_words(by_field=bool(plan.arguments.get('by_field')))}."
        return
    commit = run.effect("commit")
    if commit is not None and commit.is_open:
        yield "If the commit is there, or comes:" if commit.tried else "If the commit is there:"
    is_undone = bool(_undone(run))
    # What was seen last counts; the plan tells of what nobody looked at.
    seen = commit.result if commit is not None else {}
    told = _seen(run).get("by_itself") or seen.get("by_itself") or {}
    placements = plan.arguments["placements"]
    if not placements:
        yield "Nothing that this run knows of: fleet.yaml names no cluster."
    for placement in placements:
        name = f"{placement['name']} on {placement['cluster']}"
        sync = run.effect(f"sync {placement['cluster']}")
        if is_undone and (placement["automated"] or sync is None):
            when = (
                "by itself" if placement["automated"] else "with the next sync, whoever asks for it"
            )
            yield f"{name} gets what Git asks for now {when}."
        elif told.get(placement["cluster"]) and not is_undone:
            yield str(told[placement["cluster"]])
        elif placement["automated"]:
            yield (
                f"Argo CD syncs {name} without being asked once its controller compares again, within minutes "
                f"or as soon as it is back: {plan.environment} may move after this run has ended."
            )
        elif sync is None:
            yield (
                f"Nothing on {placement['cluster']}: {placement['name']} is synced when somebody asks, and the next "
                f"sync, whoever asks for it, brings {version}."
            )
        elif sync.is_open:
            yield f"Whether the sync of {name} was asked for is not known; if it was, Argo CD carries it out."
        elif is_undone:
            yield (
                f"The sync of {name} was asked for before that was seen, so {version} may run there until the next sync, "
                f"whoever asks for it, brings what Git asks for now."
            )
        else:
            yield (
                f"The sync of {name} was asked for: Argo CD carries it out, also when its controller was away "
                f"meanwhile, so {plan.environment} may move after this run has ended."
            )


def _back(plan: Plan, run: RunState) -> tuple[str, str]:
    arguments = plan.arguments
    before, after = str(arguments["version_before"]), str(arguments["version_after"])
    back = version_back(plan)
    again = (
        f"gitops-nb run promotion -p application={arguments['application']} "
        f"-p source={arguments['source']} -p target={plan.environment} -p revision={back}"
    )
    if _set_again(run) and before != after and back:
        return f"Promote {back} again: a new commit, with its own approval.", again
    if _undone(run):
        was_synced = any(effect.key.startswith("sync ") for effect in run.touched)
        if was_synced and before != after and back == before:
            asked = f"Where Git asks for {before} again, this brings it to the cluster."
            return f"{asked} {_sync_by_hand(plan)}", again
        if was_synced and before != after and back:
            return f"{back} ran before. This commits it and brings it back.", again
        return "Nothing is left to take back in Git: that was done already.", ""
    if not arguments["edits"]:
        return _back_of_a_sync(plan, back, again)
    commit = run.effect("commit")
    if commit is not None and commit.is_open:
        # What is not there yet cannot be taken back: a promotion of the version before would find nothing to do.
        resume = f"gitops-nb resume {run.run}"
        then = (
            f"When it is, promote {back} again: `{again}`."
            if before != after and back
            else "When it is, revert it."
        )
        return f"First `{resume}`: it says whether there is a commit to take back. {then}", resume
    if before != after and back:
        first = (
            f"Promote {back} again: a new commit, with its own approval."
            if back == before
            else f"Promote {back} again, which ran before, and not {before} as Git had it: a new commit, with its own approval."
        )
        said = (first, _was_sick(plan, run), _by_hand(plan, run, commit))
        return " ".join(filter(None, said)), again
    if commit is None:
        return f"`gitops-nb resume {run.run}` says first whether there is a commit to revert.", ""
    gone = str(arguments.get("not_back") or "")
    if gone and gone != before:
        return f"{_refused(plan, gone, 'ran before')}: {_write(plan, 'it')}.", ""
    start = f"{_refused(plan, gone, 'was in Git before')}. " if gone else ""
    sentence = f"{start}Revert the commit in a clone of {arguments['repository']}, {_push(plan)}."
    return sentence, f"git revert --no-edit {commit.result['revision']}"


def _back_of_a_sync(plan: Plan, back: str, again: str) -> tuple[str, str]:
    """How to go back where nothing was committed."""
    if back:
        return (
            f"This run changed nothing in Git; {back} ran before. This commits it and brings it back.",
            again,
        )
    gone = str(plan.arguments.get("not_back") or "")
    if gone:
        sentence = f"This run changed nothing in Git; {_refused(plan, gone, 'ran before')}"
        return f"{sentence}: {_write(plan, 'it')}.", ""
    return (
        "This run changed nothing in Git. To have an earlier version, promote it with revision=VERSION.",
        "",
    )


def _refused(plan: Plan, version: str, how: str) -> str:
    """Why no promotion brings a version back, without a full stop."""
    because = plan.arguments.get("not_back_for") or f"Git never asked for it in {plan.environment}"
    return f"{version} {how}, and {because}, so the gates let no promotion bring it back"


def _write(plan: Plan, version: str) -> str:
    """What a person does with their own hands, without a full stop."""
    return f"write {version} into {_file(plan)} in a clone of {plan.arguments['repository']}, {_push(plan)}"


def _push(plan: Plan) -> str:
    """The end of what is done by hand: Git alone moves nothing that is synced when somebody asks."""
    branch = plan.arguments["branch"]
    names = dict.fromkeys(
        f"{one['name']} on {placement['cluster']}"
        for placement in plan.arguments["placements"]
        for one in (placement.get("parent"), placement)
        if one and not one["automated"]
    )
    if not names:
        return f"and push it to {branch}"
    return f"push it to {branch}, and sync {', then '.join(names)} in Argo CD"


def _file(plan: Plan) -> str:
    """The file that has the version."""
    start = f"{plan.arguments['repository']}:"
    files = (name.removeprefix(start) for name in plan.materials if not name.endswith("/"))
    return next(files, str(plan.arguments["folder"]))


def _sync_by_hand(plan: Plan) -> str:
    """How what Git asks for already comes to the clusters where the command is refused."""
    names = dict.fromkeys(
        f"{one['name']} on {placement['cluster']}"
        for placement in plan.arguments["placements"]
        for one in (placement.get("parent"), placement)
        if one
    )
    return f"Where the gates refuse that, sync {', then '.join(names)} in Argo CD."


def _by_hand(plan: Plan, run: RunState, commit: EffectState | None) -> str:
    """How to go back where the command is refused: which rules will be in force then no journal can know."""
    if commit is None or commit.is_open:
        return ""
    back = version_back(plan)
    when = f"While {plan.environment} is stopped or frozen"
    if _is_new(plan, run):
        when += f", or where {back} was there for less than {in_words(COMPARED)}"
    if back != str(plan.arguments["version_before"]):
        return f"{when} that is refused: {_write(plan, back)} then."
    how = f"revert {_short(commit.result)} in a clone of {plan.arguments['repository']} then"
    return f"{when} that is refused: {how}, {_push(plan)}."


def _is_new(plan: Plan, run: RunState) -> bool:
    """Whether the version before was there for so short that nothing shows that it ran."""
    target = _seen_before(plan, run)
    stay = (target.get("synced") or {}).get(version_back(plan)) if target else None
    if target is None or not stay:
        return False
    until = parse_time(str(stay.get("until") or target["observed_at"]))
    return until - parse_time(str(stay["since"])) < COMPARED


def _was_sick(plan: Plan, run: RunState) -> str:
    """The sentence that the version before was not healthy where it was seen; "" where it was, or nobody looked."""
    target, back = _seen_before(plan, run), version_back(plan)
    if target is None or back != str(plan.arguments["version_before"]):
        return ""
    found = dict.fromkeys(
        f"{one['name']} on {one['cluster']} was {one['health']}"
        for one in target.get("placements") or ()
        if one.get("health") not in ("Healthy", "", None)
    )
    return f"With {back} {', '.join(found)} when this run began." if found else ""


def _seen_before(plan: Plan, run: RunState) -> Mapping[str, Any] | None:
    """What observe saw of the target, with the time, while it had the version before; None where a later look took its place."""
    observed = run.step("observe")
    try:
        value = dict(observed.value or {}) if observed is not None else {}
        target = dict(value["target"])
        is_before = target["keys"][0]["value"] == plan.arguments["version_before"]
        return {**target, "observed_at": value["observed_at"]} if is_before else None
    except (KeyError, IndexError, TypeError, ValueError):
        # A journal of another package, or of nobody's: nothing is claimed.
        return None


def _short(result: Mapping[str, Any]) -> str:
    return str(result.get("revision", "unknown"))[:8]
