"""What is true after a promotion's first effect, from its plan and its journal alone: whoever closes a run knows no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gitops_nb.edits import VERSION
from gitops_nb.model import Aftermath, Plan, Status
from gitops_nb.record.fold import RunState


def aftermath(plan: Plan, run: RunState) -> Aftermath:
    """What Git asks for now, what Argo CD does about it by itself, and the command that brings the version before."""
    back, command = _back(plan, run)
    return Aftermath(_asks(plan, run), " ".join(_by_itself(plan, run)), back, command)


def _asks(plan: Plan, run: RunState) -> str:
    arguments = plan.arguments
    what = f"{arguments['application']} {arguments['version_after']}"
    where = f"in {plan.environment}"
    if not arguments["edits"]:
        return f"Git asks for {what} {where}, as it did before this run."
    commit = run.effect("commit")
    place = f"{arguments['repository']}, {arguments['branch']}"
    if commit is None:
        return f"Git asks for what it asked for before this run: {arguments['version_before']} {where}."
    if commit.is_open:
        return (
            f"Whether Git asks for {what} {where}, or still for {arguments['version_before']}, is not known: "
            f"the push to {place} got no answer that was recorded."
        )
    if commit.result.get("taken_back"):
        return (
            f"Git does not ask for {what} {where} any more: commit {_short(commit.result)} of {place} was taken back "
            f"by somebody else."
        )
    return f"Git asks for {what} {where}: commit {_short(commit.result)} of {place}."


def _by_itself(plan: Plan, run: RunState) -> Iterator[str]:
    version = plan.arguments["version_after"]
    if run.status is Status.SUCCEEDED:
        yield f"Nothing more: {version} runs."
        return
    commit = run.effect("commit")
    if commit is not None and commit.is_open:
        yield "If the commit is there:"
    is_undone = commit is not None and bool(commit.result.get("taken_back"))
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
        else:
            yield (
                f"The sync of {name} was asked for: Argo CD carries it out, also when its controller was away "
                f"meanwhile, so {plan.environment} may move after this run has ended."
            )


def _back(plan: Plan, run: RunState) -> tuple[str, str]:
    arguments = plan.arguments
    before, after = str(arguments["version_before"]), str(arguments["version_after"])
    if not arguments["edits"]:
        return (
            "This run changed nothing in Git. To have an earlier version, promote it with revision=VERSION.",
            "",
        )
    commit = run.effect("commit")
    if commit is not None and commit.result.get("taken_back"):
        return "Nothing is left to take back in Git: that was done already.", ""
    if before != after and VERSION.fullmatch(before):
        sentence = f"Promote {before} again: a new commit, with its own approval."
        return sentence, (
            f"gitops-nb run promotion -p application={arguments['application']} "
            f"-p source={arguments['source']} -p target={plan.environment} -p revision={before}"
        )
    if commit is None or commit.is_open:
        return f"`gitops-nb resume {run.run}` says first whether there is a commit to revert.", ""
    sentence = f"Revert the commit in a clone of {arguments['repository']}, and push it to {arguments['branch']}."
    return sentence, f"git revert --no-edit {commit.result['revision']}"


def _short(result: Mapping[str, Any]) -> str:
    return str(result.get("revision", "unknown"))[:8]
