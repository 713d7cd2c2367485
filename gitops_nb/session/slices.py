"""What each runbook's slice brings: its steps, how its request is built, which writers it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gitops_nb.catalog.engines import EngineChoice
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import FreezeWindow
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Aftermath, Commit, Plan, StepKind
from gitops_nb.ports import ArgoWriter, ClusterWriter, Effects, GitWriter, View
from gitops_nb.record.fold import EffectState, RunState

CHANGE_STEPS = ("observe", "plan", "decide", "apply", "verify")
READ_STEPS = ("observe", "measure", "verify")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a request may depend on besides its parameters."""

    workspace: Path
    directory: Path
    now: datetime
    incidents: Path | None
    time_zone: str
    freezes: tuple[FreezeWindow, ...] = ()
    engine: EngineChoice | None = None


@dataclass(frozen=True, slots=True)
class AllWriters:
    """Every writer that the session can open; a slice takes only its own."""

    view: View
    git: GitWriter
    argo: Mapping[str, ArgoWriter]
    clusters: Mapping[str, ClusterWriter]
    effects: Effects
    requester: str


@dataclass(frozen=True, slots=True)
class Slice:
    """One runbook's part of the package. ``writers`` is None for a runbook that changes nothing.

    ``applies`` says whether its apply step may be repeated without asking. ``verbs`` are its own, in a run that needs
    approval no others are called. ``shown`` tells from the world (a plan, who made a commit, the run's id) which start of a
    request had a first effect: its digest, "newest" where that does not say, "" for none. ``first_effect``
    names the effect of a plan that did not happen where ``shown`` says none, and ``lost`` why one that was begun cannot arrive late
    either, "" while it may. ``beyond`` says what a plan would
    change outside of what was asked for; one that changes something and cannot say so changes nothing.
    ``aftermath`` says what is true once a first effect happened, from plan and journal alone.
    ``fits`` refuses a request that the outside world shows to be a wrong one, before a run of it is made.
    ``brought`` says whether an earlier run brought what this plan, an empty one, found. ``edits`` names the files that a request's
    plan is made for: two plans for one file cannot both be carried out.
    """

    steps: tuple[str, ...]
    request: Callable[[Fleet, Mapping[str, Any], Surroundings], Any]
    writers: Callable[[AllWriters, Any], Any] | None = None
    applies: StepKind = StepKind.EFFECT
    verbs: tuple[Callable[..., Any], ...] = ()
    shown: Callable[[View, Plan, Callable[[Commit], bool], str], str] | None = None
    first_effect: Callable[[Plan], str] | None = None
    lost: Callable[[View, Plan, EffectState], str] | None = None
    beyond: Callable[[Any, Plan], str] | None = None
    aftermath: Callable[[Plan, RunState], Aftermath] | None = None
    fits: Callable[[View, Any], None] | None = None
    brought: Callable[[View, Plan, RunState], bool] | None = None
    edits: Callable[[Any], frozenset[str]] | None = None


def slice_of(runbook: str) -> Slice:
    """The slice of a runbook; imported only when it is needed.

    Raises:
        ConfigurationError: The package has no slice for it.
    """
    match runbook:
        case "promotion":
            from gitops_nb import promotion

            return Slice(
                CHANGE_STEPS,
                lambda fleet, parameters, _: promotion.request(fleet, parameters),
                lambda all_writers, request: promotion.PromotionWriters(
                    view=all_writers.view,
                    git=all_writers.git,
                    argo=all_writers.argo,
                    effects=all_writers.effects,
                    requester=all_writers.requester,
                    repositories=request.fleet.repositories,
                    fleet=request.fleet,
                ),
                verbs=(
                    promotion.observe,
                    promotion.plan,
                    promotion.gates,
                    promotion.apply,
                    promotion.verify,
                ),
                shown=promotion.shown,
                first_effect=promotion.first_effect,
                lost=promotion.lost,
                beyond=promotion.beyond,
                aftermath=promotion.aftermath,
                brought=promotion.brought,
                edits=promotion.edited_files,
            )
        case "bootstrap":
            from gitops_nb import bootstrap

            return Slice(
                CHANGE_STEPS,
                lambda fleet, parameters, _: bootstrap.request(fleet, parameters),
                lambda all_writers, request: bootstrap.BootstrapWriters(
                    view=all_writers.view,
                    cluster=all_writers.clusters[request.cluster],
                    argo=all_writers.argo[request.cluster],
                    effects=all_writers.effects,
                ),
                StepKind.IDEMPOTENT,
                verbs=(
                    bootstrap.observe,
                    bootstrap.plan,
                    bootstrap.gates,
                    bootstrap.apply,
                    bootstrap.verify,
                ),
                beyond=bootstrap.beyond,
                aftermath=bootstrap.aftermath,
                brought=bootstrap.brought,
            )
        case "dora":
            from gitops_nb import dora
            from gitops_nb.session.facts import is_bucket, of_facts, read_bucket

            def facts_of(parameters: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
                named, root = str(parameters["deployments"] or ""), around.workspace
                # Deployments of a file or of the repositories are on this machine already, and are measured here.
                is_stored = bool(named) and (is_bucket(named) or (root / named).is_dir())
                if is_stored and around.engine is not None:
                    return {"engine": of_facts(around.engine, named, root)}
                own = root / ".gitops-nb"
                return {"facts": read_bucket(named, own).folder} if is_bucket(named) else {}

            return Slice(
                READ_STEPS,
                lambda fleet, parameters, around: dora.request(
                    fleet,
                    parameters,
                    workdir=around.directory,
                    now=around.now,
                    base=around.workspace,
                    incidents=around.incidents,
                    time_zone=around.time_zone,
                    freezes=around.freezes,
                    **facts_of(parameters, around),
                ),
                fits=dora.refuse_unknown,
            )
    raise ConfigurationError(
        f"this package has no runbook {runbook!r}", hint="See `gitops-nb list` for those it has."
    )
