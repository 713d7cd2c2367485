"""Commits the approved edit and asks Argo CD to bring it. The only part of a promotion that changes anything."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops_nb.argo import USERNAME, history_of, operation_state, revisions_of
from gitops_nb.argo.sources import Origin, revisions_for, sources_of
from gitops_nb.argo.status import identifiers, is_made_anew, synced_since
from gitops_nb.catalog.fleet import Fleet, Repository
from gitops_nb.edits import edit_scalar
from gitops_nb.errors import (
    ConfigurationError,
    ConflictError,
    GitOpsError,
    Refused,
    TakenBack,
    UnavailableError,
)
from gitops_nb.model import (
    Answer,
    Applied,
    Commit,
    Decision,
    Json,
    Plan,
    StepKind,
    digest,
)
from gitops_nb.ports import ArgoWriter, Effects, GitWriter, View
from gitops_nb.promotion.asked import carried_out, refuse_other_folders
from gitops_nb.promotion.judging import NOWHERE
from gitops_nb.promotion.neighbours import others_of
from gitops_nb.promotion.overtaken import brought_later, refuse_changed, refuse_overtaken
from gitops_nb.promotion.reading import origin_of
from gitops_nb.promotion.unattended import gone
from gitops_nb.promotion.versions import asks_for
from gitops_nb.record.commits import TRAILER_START

ATTEMPTS = 30
PARENT_S = 120
"""How long a parent may take to have its child ask for the new version."""

SEARCHED_COMMITS = 2000


@dataclass(frozen=True, slots=True)
class PromotionWriters:
    """What a promotion may change: one Git repository, and Argo CD Applications.

    ``argo`` is keyed by cluster; ``repositories`` are fleet.yaml's, by name, and ``fleet`` is all of it.
    """

    view: View
    git: GitWriter
    argo: Mapping[str, ArgoWriter]
    effects: Effects
    requester: str
    repositories: Mapping[str, Repository] = field(default_factory=dict)
    fleet: Fleet | None = None


def apply(writers: PromotionWriters, plan: Plan, decision: Decision) -> Applied:
    """Commits, refreshes and syncs, each as one recorded effect.

    Raises:
        Refused: The decision does not allow this plan.
        ConfigurationError: The writing user may not ask Argo CD; nothing was committed.
        ConflictError: A file of the plan changed meanwhile; nothing was committed.
        NeedsAttention: An interrupted effect can't be told from one that did not happen.
    """
    require_allowed(plan, decision)
    _refuse_forbidden(writers, plan)
    started = writers.view.clock.now()
    results: dict[str, Mapping[str, Json]] = {}
    arguments = plan.arguments
    if arguments["edits"]:
        results["commit"] = writers.effects.perform(
            "commit",
            kind=StepKind.EFFECT,
            sentence=f"commit to {arguments['repository']}, {arguments['branch']}",
            act=lambda: _commit(writers, plan),
            probe=lambda: _find_commit(writers, plan),
        )
        revision = str(results["commit"]["revision"])
    else:
        revision = writers.view.git.tip(arguments["repository"], arguments["branch"])
        # Of the very revision that is synced: another one may be the tip a moment later, or was a moment before.
        refuse_changed(writers.view, plan, None, at=revision)
    try:
        for placement in arguments["placements"]:
            origin = _origin(writers, placement, arguments)
            results |= _deliver(writers, plan, placement, revision, origin=origin)
    except TakenBack as undone:
        writers.effects.undone("commit", undone.found)
        raise
    except GitOpsError:
        _say_what_is_gone(writers, plan)
        raise
    return Applied(results, started)


def _say_what_is_gone(writers: PromotionWriters, plan: Plan) -> None:
    """Records which Applications do not exist any more: whatever was planned, nothing brings the commit to them.

    Of those that exist nobody knows yet what Argo CD does: it may not have looked at the commit.
    """
    if not plan.arguments["edits"]:
        return
    told = {p["cluster"]: gone(writers.view, p) for p in plan.arguments["placements"]}
    found: dict[str, Json] = {cluster: said for cluster, said in told.items() if said}
    if found:
        # What stopped the run is what it says; this only adds to it.
        with contextlib.suppress(GitOpsError):
            writers.effects.undone("commit", {"by_itself": found})


def require_allowed(plan: Plan, decision: Decision) -> None:
    """Refuses to go on without a decision that allows exactly this plan."""
    if decision.answer is not Answer.ALLOWED:
        raise Refused(f"the decision is {decision.answer!r}: {'; '.join(decision.reasons)}")
    if decision.plan_digest != plan.digest:
        raise Refused("the decision is about another plan", hint="Run the runbook again.")


def _origin(
    writers: PromotionWriters, placement: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Origin:
    """Which sources of the Application that reads the files are the configuration repository."""
    reader = (placement.get("parent") or placement)["name"]
    snapshot = writers.view.argo[placement["cluster"]].snapshot(reader)
    sources = sources_of((snapshot.application or {}).get("spec") or {})
    name = str(arguments["repository"])
    return origin_of(writers.view.git, name, writers.repositories[name], sources)


def _refuse_forbidden(writers: PromotionWriters, plan: Plan) -> None:
    """Asked before the commit: one that nobody brings would leave Git and cluster apart."""
    refused = [
        f"{one['name']} (Argo CD of {placement['cluster']})"
        for placement in plan.arguments["placements"]
        for one in filter(None, (placement.get("parent"), placement))
        if not writers.argo[placement["cluster"]].may_act(one["name"])
    ]
    if refused:
        raise ConfigurationError(
            f"we may not patch {', '.join(refused)}; this attempt changed nothing",
            hint="Give the operator context that right; docs/live.md lists what it needs.",
        )


def _deliver(
    writers: PromotionWriters,
    plan: Plan,
    placement: Mapping[str, Any],
    revision: str,
    *,
    origin: Origin,
) -> dict[str, Mapping[str, Json]]:
    """Refresh, and a sync of ours where Argo CD does not sync by itself; of a parent first, where one renders it."""
    cluster, parent = placement["cluster"], placement.get("parent")
    if not parent:
        return _bring(writers, plan, cluster, placement, revision, origin=origin)
    results = _bring(
        writers, plan, cluster, parent, revision, origin=origin, child=placement["name"]
    )
    version = str(plan.arguments["version_after"])
    # Until the parent was applied the child asks for the version before: a sync would bring that.
    if not placement["automated"] and not _asks(writers, placement, version):
        return results | _refreshed(writers, cluster, placement["name"], revision)
    return results | _bring(
        writers, plan, cluster, placement, revision, origin=NOWHERE, is_child=True
    )


def _bring(
    writers: PromotionWriters,
    plan: Plan,
    cluster: str,
    application: Mapping[str, Any],
    revision: str,
    *,
    origin: Origin,
    child: str = "",
    is_child: bool = False,
) -> dict[str, Mapping[str, Json]]:
    """Brings one Application: of a ``child`` its parent, or a child (``is_child``) itself, or one that reads the files."""
    name = application["name"]
    role = "parent " if child else ""
    results = _refreshed(writers, cluster, name, revision, role=role)
    if application["automated"]:
        return results
    argo, git = writers.argo[cluster], writers.view.git
    identifier = f"{writers.effects.run}/{role.strip() and 'parent/'}{cluster}"

    def sync() -> Mapping[str, Json]:
        present = writers.view.argo[cluster].snapshot(name).application
        # A child's sources that follow the branch are brought to the commit as well: what is pushed behind it was not shown.
        own = (
            _origin(writers, {"cluster": cluster, "name": name}, plan.arguments)
            if is_child
            else origin
        )
        revisions = revisions_for(present, own, revision)

        def holds(found: Json) -> None:
            _refuse_other_spec(application, found)
            if child:
                _refuse_neighbours(writers, plan, cluster, application, found, own=child)
            _refuse_synced_since(application, found)
            if revisions_for(found, own, revision) != revisions:
                raise ConflictError(f"{name} changed its sources while a sync was being asked for")
            if history_of(found) != history_of(present):
                raise ConflictError(
                    f"{name} was synced by somebody else while a sync was being asked for",
                    hint=f"Run `gitops-nb resume {writers.effects.run}`: it looks at what is in force now.",
                )

        # Right before the sync: a commit that somebody took back since is not brought.
        ours = {"revision": revision} if plan.arguments["edits"] else None
        refuse_changed(writers.view, plan, ours)
        later = brought_later(git, plan, present, own, revision)
        if later:
            # Somebody synced what holds our commit and more: a sync to ours would take that back.
            return {"application": name, "revision": revision, "brought_by": later}
        holds(present)
        if ours:
            tip = git.tip(plan.arguments["repository"], plan.arguments["branch"])
            refuse_overtaken(git, plan, present, own, ours=revision, tip=tip)
        argo.sync(name, revision=revisions, identifier=identifier, holds=holds)
        return {"application": name, "revision": revision, "identifier": identifier}

    def find_later(present: Json) -> str:
        return brought_later(git, plan, present, origin, revision)

    # A child's own sources have other revisions; its operation is known by its identifier alone.
    # A plan without an edit may find another tip when it is resumed: its operation is known by its identifier, too.
    asked = revision if origin is not NOWHERE else ""
    looked_for = asked if plan.arguments["edits"] else ""
    to = f"to {asked[:8]}" if asked else "to what it asks for"
    results[f"sync {role}{cluster}"] = writers.effects.perform(
        f"sync {role}{cluster}",
        kind=StepKind.EFFECT,
        sentence=f"sync {name} {to}",
        act=sync,
        probe=lambda: _find_sync(
            writers,
            cluster,
            name,
            revision=looked_for,
            identifier=identifier,
            mark=application.get("last"),
            find_later=find_later,
        ),
    )
    return results


def _refuse_other_spec(application: Mapping[str, Any], present: Json | None) -> None:
    """Refuses to sync an Application that asks for something else than it did when the plan was made and shown.

    Its sources say what comes, its destination where it goes, its project and its options what a sync may do there. A child may ask
    for the plan's new values in the very fields that were shown, which its parent has put in, and for nothing else that is new.
    """
    bound = application.get("spec")
    spec = (present or {}).get("spec") or {}
    if bound is not None and bound not in (
        digest(spec),
        digest(_as_before(spec, application.get("follows") or ())),
    ):
        raise ConflictError(
            f"Application {application['name']} asks for something else than when this was planned; it is not synced",
            hint="Look at it in Argo CD, then run the promotion again: it shows what a sync would bring.",
        )


def _refuse_synced_since(application: Mapping[str, Any], present: Json | None) -> None:
    """Refuses to sync what others synced since the plan was made: whatever they brought, this sync may take back."""
    mark = application.get("last")
    if mark is None:
        return
    if is_made_anew(present or {}, str(mark)):
        raise ConflictError(
            f"Application {application['name']} was made anew since this was planned: nobody was shown what a sync of it brings, and "
            "it is not asked for",
            hint="Run the promotion again: it plans on what is there.",
        )
    newer, is_forgotten = synced_since(present or {}, str(mark))
    if newer or is_forgotten:
        by = (newer[-1].get("initiatedBy") or {}).get("username") if newer else ""
        raise ConflictError(
            f"{application['name']} was synced since this was planned{f', by {by}' if by else ''}: another sync may take that back, and is "
            "not asked for",
            hint="Look at it in Argo CD, then run the promotion again: it plans on what is there.",
        )


def _as_before(spec: Json, follows: Sequence[Sequence[str]]) -> Json:
    """What an Application asked for before its parent put new values into these fields: path, text before and after."""
    was = {path: (before, after) for path, before, after in follows}

    def put_back(item: Json, at: str) -> Json:
        if isinstance(item, str):
            before, after = was.get(at, (item, item))
            return before if item == after else item
        if isinstance(item, Mapping):
            return {key: put_back(part, f"{at}.{key}") for key, part in item.items()}
        if isinstance(item, list):
            return [put_back(part, f"{at}[{number}]") for number, part in enumerate(item)]
        return item

    return put_back(spec, "spec")


def _refuse_neighbours(
    writers: PromotionWriters,
    plan: Plan,
    cluster: str,
    parent: Mapping[str, Any],
    present: Json,
    *,
    own: str,
) -> None:
    """Refuses to sync a parent that would change another environment's Application, or one that was not shown, as the comparison right before tells.

    When this was planned Argo CD may not have looked yet at what was pushed.
    """
    if writers.fleet is None:
        return
    others = others_of(
        writers.fleet,
        present,
        plan.environment,
        argo=writers.view.argo[cluster],
        cluster=cluster,
        own=own,
    )
    unseen = [
        (name, owner)
        for name, owner in others
        if owner not in ("", plan.environment) or name not in parent.get("beside", ())
    ]
    if unseen:
        name, owner = unseen[0]
        is_other = owner not in ("", plan.environment)
        whose = f" of {owner}: that" if is_other else ", which was not shown: that"
        raise ConflictError(
            f"Application {parent['name']} also brings Application {name}{whose} is not asked for by a promotion "
            f"to {plan.environment}; it is not synced",
            hint=f"Have {owner} bring it by its own rules first, then run this promotion again."
            if is_other
            else "Look at it in Argo CD, then run the promotion again: it shows what a sync would bring.",
        )


def _refreshed(
    writers: PromotionWriters, cluster: str, name: str, revision: str, *, role: str = ""
) -> dict[str, Mapping[str, Json]]:
    def refresh() -> Mapping[str, Json]:
        writers.argo[cluster].refresh(name)
        return {"application": name, "revision": revision}

    key = f"refresh {role}{cluster}"
    result = writers.effects.perform(
        key,
        kind=StepKind.READ,
        sentence=f"ask Argo CD to compare {name} with Git",
        act=refresh,
        probe=lambda: None,
    )
    return {key: result}


def _asks(writers: PromotionWriters, placement: Mapping[str, Any], version: str) -> bool:
    """Waits for a parent to have its child ask for the version."""
    argo = writers.view.argo[placement["cluster"]]
    snapshots = argo.watch(placement["name"], timeout_s=PARENT_S)
    return any(s.application is not None and asks_for(s.application, version) for s in snapshots)


def _commit(writers: PromotionWriters, plan: Plan) -> Mapping[str, Json]:
    """Edits the files on the branch's present tip; a tip that moves meanwhile starts it again."""
    arguments = plan.arguments
    repository, branch = arguments["repository"], arguments["branch"]
    for attempt in range(1, ATTEMPTS + 1):
        tip = writers.view.git.tip(repository, branch)
        refuse_other_folders(writers.view.git, plan, tip)
        message = _message(writers, plan, tip)
        files: dict[str, bytes] = {}
        for edit in arguments["edits"]:
            path = edit["path"]
            if path not in files:
                blob = writers.view.git.read(repository, tip, path)
                if blob is None or blob.blob_id != edit["blob"]:
                    raise ConflictError(
                        f"{path} changed since the plan was made; nothing was committed",
                        hint="Run the promotion again: it plans on the new file.",
                    )
                files[path] = blob.content
            files[path] = edit_scalar(
                files[path],
                edit["key"],
                edit["part"],
                edit["after"],
                as_text=edit.get("is_text", False),
            )
        try:
            sha = writers.git.commit(
                repository,
                branch=branch,
                parent=tip,
                files=files,
                message=message,
                witness=writers.effects.run,
            )
        except ConflictError:
            writers.view.clock.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311  jitter, no secret
            continue
        return {"revision": sha, "parent": tip, "attempts": attempt}
    raise UnavailableError(
        f"{repository}: {branch} moved {ATTEMPTS} times while committing",
        hint="Try again in a minute.",
    )


def _message(writers: PromotionWriters, plan: Plan, parent: str) -> str:
    arguments = plan.arguments
    return (
        f"Promote {arguments['application']} {arguments['version_after']} to {plan.environment}\n\n"
        f"From {arguments['source']}; {plan.environment} had {arguments['version_before'] or 'no value yet'}.\n"
        f"Asked for by {writers.requester}.\n\n"
        f"{writers.effects.trailers(plan.digest, parent)}"
    )


def _find_commit(writers: PromotionWriters, plan: Plan) -> Mapping[str, Json] | None:
    """The commit that a start of this run's request made, by what it says, what it holds, and what the branch holds now.

    Raises:
        TakenBack: It is there, and somebody took it back: it is not brought anywhere.
    """
    commit, is_held = find_commit(writers.view, plan, writers.effects.made, writers.effects.run)
    if commit is None:
        return None
    if not is_held:
        branch = plan.arguments["branch"]
        gone = f"{branch} does not hold it any more: its history was rewritten"
        raise TakenBack(
            f"commit {commit.sha[:8]} of this run was taken back: {gone}; nothing more is synced",
            hint="Run the promotion again if it is to be made anew.",
            found={"revision": commit.sha, "parent": commit.parents[0], "taken_back": gone},
        )
    found = {"revision": commit.sha, "parent": commit.parents[0], "attempts": 0}
    refuse_changed(writers.view, plan, found)
    return found


def find_commit(
    view: View, plan: Plan, made: Callable[[Commit], bool], run: str
) -> tuple[Commit | None, bool]:
    """The newest commit that holds what the plan says and that ``made`` knows as made for it, and whether the branch has it.

    A branch that was reset holds it no longer; the repository still witnesses that it was pushed.
    """
    arguments = plan.arguments
    if not arguments["edits"]:
        return None, False
    repository = arguments["repository"]
    tip = view.git.tip(repository, arguments["branch"])
    path = arguments["edits"][0]["path"]
    for commit in view.git.log(repository, tip, path=path, limit=SEARCHED_COMMITS):
        if made(commit) and not carried_out(view.git, plan, commit.sha):
            return commit, True
    pushed = view.git.witness(repository, run)
    if pushed is not None and made(pushed) and not carried_out(view.git, plan, pushed.sha):
        return pushed, False
    return None, False


def _find_sync(
    writers: PromotionWriters,
    cluster: str,
    name: str,
    *,
    revision: str,
    identifier: str,
    mark: str | None,
    find_later: Callable[[Json], str],
) -> Mapping[str, Json] | None:
    """Whether our sync was taken up: still pending, running, finished, or in the history; or a later one brought it.

    Raises:
        UnavailableError: Others synced since the plan was made, and whether ours was among that cannot be told.
    """
    application = writers.view.argo[cluster].snapshot(name).application or {}
    found = {"application": name, "revision": revision, "identifier": identifier}
    operations = (application.get("operation"), operation_state(application).get("operation"))
    if any(
        identifier in identifiers(operation) and _is_to(operation, revision)
        for operation in operations
        if operation
    ):
        return found
    if mark is not None and is_made_anew(application, mark):
        return None  # of the one that was asked nothing is left; this one nobody asked
    newer, is_forgotten = synced_since(application, mark) if mark is not None else ([], False)
    known = newer if mark is not None else history_of(application)
    if any(_is_ours(entry, revision, mark) for entry in known):
        return found
    later = find_later(application) if revision else ""
    if later:
        return {"application": name, "revision": revision, "brought_by": later}
    if newer or is_forgotten:
        what = (
            "and ours may have been before" if is_forgotten else "and none of it is known as ours"
        )
        raise UnavailableError(
            f"{name} was synced since this was planned, {what}",
            hint="Look at what runs, and at the commit; a new promotion plans on what is there.",
        )
    return None


def _is_ours(entry: Json, revision: str, mark: str | None) -> bool:
    """Whether a history entry is a sync by us; where no revision is known, one of the run whose target nobody else may hold."""
    if (entry.get("initiatedBy") or {}).get("username") != USERNAME:
        return False
    return revision in revisions_of(entry) if revision else mark is not None


def _is_to(operation: Mapping[str, Json], revision: str) -> bool:
    """Whether an operation syncs to a revision; to any where it is ""."""
    return not revision or revision in revisions_of(operation.get("sync") or {})


def first_effect(plan: Plan) -> str:
    """Key of the effect that surely did not happen where ``shown`` sees nothing; "" where that proves nothing."""
    return "commit" if plan.arguments["edits"] else ""


def shown(view: View, plan: Plan, made: Callable[[Commit], bool], run: str) -> str:
    """Whether the world shows the first effect of a promotion: the digest of the start that made it, "" when it does not."""
    commit, _ = find_commit(view, plan, made, run)
    if commit is not None:
        return commit.trailers[TRAILER_START]
    if plan.arguments["edits"]:
        return ""
    for placement in plan.arguments["placements"]:
        cluster, parent = placement["cluster"], placement.get("parent")
        asked = [(placement, f"{run}/{cluster}")]
        asked += [(parent, f"{run}/parent/{cluster}")] if parent else []
        for one, identifier in asked:
            application = view.argo[cluster].snapshot(one["name"]).application or {}
            operations = (
                application.get("operation"),
                operation_state(application).get("operation"),
            )
            mark = one.get("last")
            newer = synced_since(application, mark)[0] if mark is not None else []
            if any(identifier in identifiers(each) for each in operations if each) or any(
                _is_ours(entry, "", mark) for entry in newer
            ):
                return "newest"
    return ""
