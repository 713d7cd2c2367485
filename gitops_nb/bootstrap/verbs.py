"""The five verbs of the bootstrap over its ten steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitops_nb.bootstrap import brings
from gitops_nb.bootstrap.brings import Brings, arguments_of, find_brings, refuse_pushed
from gitops_nb.bootstrap.context import Context, Finding, Step, open_context, open_trial
from gitops_nb.bootstrap.reach import PlannedCluster, unplanned
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.bootstrap.steps import REFRESH, STEPS, refuse_forbidden
from gitops_nb.errors import ConfigurationError, Failed, Refused, UnavailableError
from gitops_nb.model import (
    Action,
    Answer,
    Applied,
    Decision,
    Fact,
    Json,
    Outcome,
    Plan,
    Result,
    StepKind,
    Table,
    Verdict,
)
from gitops_nb.policy import Rules, destructive_change, freeze
from gitops_nb.ports import ArgoWriter, ClusterWriter, Effects, View

POLL_S = 2.0
OUTAGE_S = 90.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One step's finding before anything was done."""

    key: str
    title: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class BootstrapState:
    """What the ten checks found. ``brings`` is what Argo CD would read first, None where it reads it already."""

    observed_at: datetime
    cluster: str
    steps: tuple[Checked, ...]
    brings: Brings | None = None

    @property
    def summary(self) -> str:
        """What was found, as a sentence."""
        holding = sum(1 for step in self.steps if step.finding.holds)
        return f"{holding} of {len(self.steps)} conditions hold on {self.cluster}"


@dataclass(frozen=True, slots=True)
class BootstrapWriters:
    """What a bootstrap may change: one cluster, and a refresh of its root application."""

    view: View
    cluster: ClusterWriter
    argo: ArgoWriter
    effects: Effects


def observe(view: View, request: Bootstrap) -> BootstrapState:
    """Runs the ten checks; none of them writes.

    Raises:
        UnavailableError: The cluster or the repository does not answer.
        ConfigurationError: Something that bootstrap cannot mend: a missing permission, branch or folder.
    """
    context = open_trial(view, request)
    checked = tuple(Checked(step.key, step.title, step.check(context)) for step in STEPS)
    if not checked[0].finding.holds:
        raise ConfigurationError(
            checked[0].finding.sentence, hint="Wait for the nodes, then run again."
        )
    is_first = any(
        step.key in brings.STEPS and not step.finding.holds and step.finding.changes
        for step in checked
    )
    found = find_brings(context) if is_first else None
    return BootstrapState(view.clock.now(), request.cluster, checked, found)


def plan(request: Bootstrap, state: BootstrapState) -> Plan:
    """Every object that would be created or changed, whole; empty when all ten conditions hold."""
    untried = [name for step in state.steps for name in step.finding.untried]
    changes = tuple(change for step in state.steps for change in step.finding.changes)
    brought = state.brings
    open_steps = [step.title for step in state.steps if not step.finding.holds]
    if not changes and open_steps:
        # Everything is applied and something has not come about: to wait for it is the plan.
        summary = f"wait on {request.cluster} for: {', '.join(open_steps)}"
    elif changes:
        summary = f"bootstrap {request.cluster} with Argo CD {request.install.version}: {len(changes)} changes"
    else:
        summary = f"{request.cluster} is bootstrapped: all {len(state.steps)} conditions hold"
    if brought is not None:
        summary += (
            f"; its root application brings {brought.files} files of {request.path} at {brought.commit[:8]},"
            " and of the folders of its Applications what is there whenever they are synced"
        )
    if untried:
        summary += f"; whether others own fields of {', '.join(untried)} was not tried: the reading user may not apply there"
    return Plan(
        runbook="bootstrap",
        environment=request.environment,
        summary=summary,
        changes=(*changes, *(brought.changes if brought is not None else ())),
        materials={
            request.manifest: request.install.manifest.sha256,
            # No file's name ends so.
            **({f"{request.repository_name}:{request.path}/": brought.digest} if brought else {}),
        },
        arguments={
            "cluster": request.cluster,
            "version": request.install.version,
            "namespace": request.namespace,
            "context": request.context,
            "manifest": request.manifest,
            "root": request.install.root,
            "repository": request.repository_name,
            "branch": request.repository.branch,
            "path": request.path,
            "wanted": request.wanted,
            "open": [step.key for step in state.steps if not step.finding.holds],
            **arguments_of(brought),
        },
    )


def gates(plan: Plan, state: BootstrapState, rules: Rules) -> tuple[Verdict, ...]:
    """Freeze window, destructive change, and whether others own what would be changed."""
    return (
        freeze(rules, state.observed_at),
        destructive_change(rules, plan),
        *_ownership(plan, state),
    )


def _ownership(plan: Plan, state: BootstrapState) -> tuple[Verdict, ...]:
    """What the dry runs found; nothing where none was made, for what is not known is no answer."""
    found = [text for step in state.steps for text in step.finding.conflicts]
    untried = {name for step in state.steps for name in step.finding.untried}
    if found:
        return (Verdict("ownership", passed=False, reason="; ".join(found)),)
    tried = sum(c.action is Action.UPDATE and bool(c.diff) for c in plan.changes) - len(untried)
    if tried <= 0:
        return ()
    some = f"{tried} of {tried + len(untried)}" if untried else str(tried)
    text = f"the API server tried {some} change{'' if tried == 1 else 's'}: nobody else owns a field of them"
    return (Verdict("ownership", passed=True, reason=text),)


def apply(writers: BootstrapWriters, plan: Plan, decision: Decision, request: Bootstrap) -> Applied:
    """Goes through the ten steps: what holds is passed over, what does not is brought about and waited for.

    Raises:
        Refused: The decision does not allow this plan.
        Failed: A step's condition did not come about within its time; the message says which and why.
    """
    if decision.answer is not Answer.ALLOWED or decision.plan_digest != plan.digest:
        raise Refused("the decision does not allow this plan", hint="Run the runbook again.")
    started = writers.view.clock.now()
    context = open_context(writers.view, request)
    refuse_forbidden(context, writers.cluster)
    results: dict[str, Mapping[str, Json]] = {}
    for number, step in enumerate(STEPS, start=1):
        found = _bring_about(writers, context, plan, step, number)
        if found is not None:
            results[step.key] = found
    return Applied(results, started)


def _bring_about(
    writers: BootstrapWriters, context: Context, plan: Plan, step: Step, number: int
) -> Mapping[str, Json] | None:
    """What was found after the step's effect; None where nothing had to be done, or only to be waited for.

    Raises:
        Refused: It would change an object that was as wanted when the plan was made and shown.
    """
    finding = _check(context, step)
    act = step.act
    acted = not finding.holds and act is not None and bool(finding.changes)
    if acted and act is not None:
        planned = {change.address: change for change in plan.changes if change.after != REFRESH}
        cluster = PlannedCluster(context.cluster, writers.cluster, planned)
        strange = [
            change.address
            for change in finding.changes
            if change.address not in planned and change.after != REFRESH
        ]
        if strange:
            raise unplanned(f"{strange[0]} was as wanted when this was planned, and is not now")
        if step.key in brings.STEPS:
            refuse_pushed(context, plan)
        writers.effects.perform(
            step.key,
            kind=StepKind.IDEMPOTENT,
            sentence=f"{number} of {len(STEPS)}: {step.title}",
            act=lambda: act(context, cluster, writers.argo),
            probe=lambda: None,
        )
    finding = _wait_for(context, step)
    if finding.holds:
        writers.effects.settle(step.key, {"sentence": finding.sentence})
    if not finding.holds:
        raise Failed(
            f"{step.title}: {finding.sentence}",
            hint="Mend that, then run the bootstrap again; what holds is not done twice.",
        )
    return {"sentence": finding.sentence} if acted else None


def _wait_for(context: Context, step: Step) -> Finding:
    """Checks again until the condition holds or the step's time is over; returns the last finding."""
    clock = context.view.clock
    deadline = clock.now() + context.request.timeout
    while not (finding := _check(context, step)).holds and clock.now() < deadline:
        clock.sleep(POLL_S)
    return finding


def _check(context: Context, step: Step) -> Finding:
    """One check, of a server that may be away for a minute: a bootstrap restarts what it talks to.

    Raises:
        UnavailableError: It stays away.
    """
    clock = context.view.clock
    deadline = clock.now() + timedelta(seconds=OUTAGE_S)
    while True:
        try:
            return step.check(context)
        except UnavailableError:
            if clock.now() >= deadline:
                raise
            clock.sleep(POLL_S)


def verify(view: View, request: Bootstrap, plan: Plan, applied: Applied) -> Outcome:
    """Runs the ten checks once more, over everything; waits for what is still coming about."""
    context = open_context(view, request)
    rows: list[tuple[str, str, str]] = []
    broken: list[tuple[Step, Finding]] = []
    unjudged: list[str] = []
    for number, step in enumerate(STEPS, start=1):
        # After the first condition that does not come about, waiting for the others tells nothing.
        finding = _check(context, step) if broken else _wait_for(context, step)
        result = _how(step, plan, applied) if finding.holds else "does not hold"
        rows.append((f"{number}. {step.title}", result, finding.sentence))
        unjudged += finding.unjudged
        if not finding.holds:
            broken.append((step, finding))
    table = (Table("The ten steps", ("Step", "Result", "What was found"), tuple(rows)),)
    facts = (
        Fact("Cluster", f"{request.cluster}, {context.cluster.server}"),
        Fact("Argo CD", request.install.version),
        Fact("Root application", f"{request.install.root}, {request.path}"),
    )
    left_out = f" Nobody here can judge {', '.join(unjudged)}." if unjudged else ""
    if broken:
        step, finding = broken[0]
        return Outcome(
            result=Result.FAILED,
            title=f"{request.cluster} is not bootstrapped: {step.title.lower()} does not hold",
            sentence=f"{finding.sentence}.",
            facts=facts,
            tables=table,
            next_step="Mend that, then run the bootstrap again; what holds is not done twice.",
            command=f"gitops-nb run bootstrap -p cluster={request.cluster}",
        )
    if plan.is_empty:
        return Outcome(
            result=Result.NOTHING,
            title=f"{request.cluster} is bootstrapped already{_as_far(unjudged)}",
            sentence=f"All {len(STEPS)} conditions hold; nothing was changed.{left_out}",
            facts=facts,
            tables=table,
            next_step="Nothing to do.",
        )
    return Outcome(
        result=Result.DEPLOYED,
        title=f"{request.cluster} runs Argo CD {request.install.version} and its applications{_as_far(unjudged)}",
        sentence=f"All {len(STEPS)} conditions hold; the table says which of them this run brought about.{left_out}",
        facts=facts,
        tables=table,
        next_step="Nothing to do.",
    )


def _as_far(unjudged: list[str]) -> str:
    """What a title leaves open."""
    count = len(unjudged)
    return f"; {count} object{'' if count == 1 else 's'} not judged" if count else ""


def _how(step: Step, plan: Plan, applied: Applied) -> str:
    """How a condition that holds came to hold."""
    if step.key in applied.results:
        return "changed"
    # What an earlier step's effect brings, or a controller, is nobody's change here.
    return "came about" if step.key in plan.arguments["open"] else "held already"
