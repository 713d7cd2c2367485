"""Commits the approved edit and asks Argo CD to bring it. The only part of a promotion that changes anything."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitops_nb.argo import USERNAME, history_of, operation_state, revisions_of
from gitops_nb.argo.status import identifiers
from gitops_nb.edits import edit_scalar
from gitops_nb.errors import ConfigurationError, ConflictError, Refused, UnavailableError
from gitops_nb.model import Answer, Applied, Decision, Json, Plan, StepKind
from gitops_nb.ports import ArgoWriter, Effects, GitWriter, View
from gitops_nb.record.commits import (
    TRAILER_JOURNAL,
    TRAILER_LEDGER,
    TRAILER_PLAN,
    TRAILER_RUN,
)

ATTEMPTS = 30
SEARCHED_COMMITS = 200


@dataclass(frozen=True, slots=True)
class PromotionWriters:
    """What a promotion may change: one Git repository, and Argo CD Applications. ``argo`` is keyed by cluster."""

    view: View
    git: GitWriter
    argo: Mapping[str, ArgoWriter]
    effects: Effects
    requester: str


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
    for placement in arguments["placements"]:
        results |= _deliver(writers, placement, revision)
    return Applied(results, started)


def require_allowed(plan: Plan, decision: Decision) -> None:
    """Refuses to go on without a decision that allows exactly this plan."""
    if decision.answer is not Answer.ALLOWED:
        raise Refused(f"the decision is {decision.answer!r}: {'; '.join(decision.reasons)}")
    if decision.plan_digest != plan.digest:
        raise Refused("the decision is about another plan", hint="Run the runbook again.")


def _refuse_forbidden(writers: PromotionWriters, plan: Plan) -> None:
    """Asked before the commit: one that nobody brings would leave Git and cluster apart."""
    refused = [
        f"{placement['name']} (Argo CD of {placement['cluster']})"
        for placement in plan.arguments["placements"]
        if not writers.argo[placement["cluster"]].may_act(placement["name"])
    ]
    if refused:
        raise ConfigurationError(
            f"we may not patch {', '.join(refused)}; this attempt changed nothing",
            hint="Give the operator context that right; docs/live.md lists what it needs.",
        )


def _deliver(
    writers: PromotionWriters, placement: Mapping[str, Any], revision: str
) -> dict[str, Mapping[str, Json]]:
    """Refresh, and a sync of ours where Argo CD does not sync by itself."""
    cluster, name = placement["cluster"], placement["name"]
    argo = writers.argo[cluster]
    results: dict[str, Mapping[str, Json]] = {}

    def refresh() -> Mapping[str, Json]:
        argo.refresh(name)
        return {"application": name, "revision": revision}

    results[f"refresh {cluster}"] = writers.effects.perform(
        f"refresh {cluster}",
        kind=StepKind.IDEMPOTENT,
        sentence=f"ask Argo CD to compare {name} with Git",
        act=refresh,
        probe=lambda: None,
    )
    if placement["automated"]:
        return results
    identifier = f"{writers.effects.run}/{cluster}"

    def sync() -> Mapping[str, Json]:
        argo.sync(name, revision=revision, identifier=identifier)
        return {"application": name, "revision": revision, "identifier": identifier}

    results[f"sync {cluster}"] = writers.effects.perform(
        f"sync {cluster}",
        kind=StepKind.EFFECT,
        sentence=f"sync {name} to {revision[:8]}",
        act=sync,
        probe=lambda: _find_sync(writers, cluster, name, revision, identifier),
    )
    return results


def _commit(writers: PromotionWriters, plan: Plan) -> Mapping[str, Json]:
    """Edits the files on the branch's present tip; a tip that moves meanwhile starts it again."""
    arguments = plan.arguments
    repository, branch = arguments["repository"], arguments["branch"]
    message = _message(writers, plan)
    for attempt in range(1, ATTEMPTS + 1):
        tip = writers.view.git.tip(repository, branch)
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
            files[path] = edit_scalar(files[path], edit["key"], edit["part"], edit["after"])
        try:
            sha = writers.git.commit(
                repository, branch=branch, parent=tip, files=files, message=message
            )
        except ConflictError:
            writers.view.clock.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311  jitter, no secret
            continue
        return {"revision": sha, "parent": tip, "attempts": attempt}
    raise UnavailableError(
        f"{repository}: {branch} moved {ATTEMPTS} times while committing",
        hint="Try again in a minute.",
    )


def _message(writers: PromotionWriters, plan: Plan) -> str:
    arguments = plan.arguments
    return (
        f"Promote {arguments['application']} {arguments['version_after']} to {plan.environment}\n\n"
        f"From {arguments['source']}; {plan.environment} had {arguments['version_before']}.\n"
        f"Asked for by {writers.requester}.\n\n"
        f"{TRAILER_RUN}: {writers.effects.run}\n"
        f"{TRAILER_PLAN}: {plan.digest}\n"
        f"{TRAILER_JOURNAL}: {writers.effects.head}\n"
        + (f"{TRAILER_LEDGER}: {anchor}\n" if (anchor := writers.effects.anchor) else "")
    )


def _find_commit(writers: PromotionWriters, plan: Plan) -> Mapping[str, Json] | None:
    """The commit of this run on the branch, by its trailer."""
    arguments = plan.arguments
    repository = arguments["repository"]
    tip = writers.view.git.tip(repository, arguments["branch"])
    path = arguments["edits"][0]["path"]
    for commit in writers.view.git.log(repository, tip, path=path, limit=SEARCHED_COMMITS):
        if commit.trailers.get(TRAILER_RUN) == writers.effects.run:
            return {"revision": commit.sha, "parent": commit.parents[0], "attempts": 0}
    return None


def _find_sync(
    writers: PromotionWriters, cluster: str, name: str, revision: str, identifier: str
) -> Mapping[str, Json] | None:
    """Whether our sync was taken up: still pending, running, finished, or in the history."""
    application = writers.view.argo[cluster].snapshot(name).application or {}
    found = {"application": name, "revision": revision, "identifier": identifier}
    operations = (application.get("operation"), operation_state(application).get("operation"))
    if any(identifier in identifiers(operation) for operation in operations if operation):
        return found
    for entry in history_of(application):
        initiator = (entry.get("initiatedBy") or {}).get("username")
        if initiator == USERNAME and revision in revisions_of(entry):
            return found
    return None
