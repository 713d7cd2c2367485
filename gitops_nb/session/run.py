"""A run as a notebook sees it: one step after the other, each recorded, and the gate between plan and apply."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, cast

from gitops_nb.catalog.parameters import SECRET_REFERENCE
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ExitCode, Failed, GitOpsError, NeedsAttention, Refused, UsageError
from gitops_nb.model import (
    Answer,
    Commit,
    Decision,
    Json,
    Mode,
    Outcome,
    Plan,
    Result,
    SecretRef,
    Status,
    StepKind,
    Verdict,
    digest,
    format_time,
    from_json,
)
from gitops_nb.policy import Rules, freeze, rules_for
from gitops_nb.record.fold import RunState, StepState
from gitops_nb.record.journal import Record
from gitops_nb.record.register import Entry
from gitops_nb.redaction import Secret, process_redactor
from gitops_nb.session.gate import Gate
from gitops_nb.session.guarded import FirstPush
from gitops_nb.session.platform import Platform
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.slices import AllWriters, Slice
from gitops_nb.session.warrant import Warrant

T = TypeVar("T")

FRESH = timedelta(seconds=60)
"""How long what was seen or said may be relied upon: cells of a notebook may be run hours apart."""

NOUN = {
    "observe": "state",
    "plan": "plan",
    "apply": "applied",
    "verify": "outcome",
    "measure": "metrics",
}
"""What a verb's value is called when a later verb asks for it by parameter name."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier attempts of a run began, by the register and the world, never by the journal alone.

    ``began`` says that there is a start; ``plan`` is the one that was signed; ``shown`` the start whose first effect is there.
    ``done`` are the effects that runners signed to have done, each with its commit or "".
    """

    began: bool = False
    plan: Plan | None = None
    shown: Entry | None = None
    done: Mapping[str, str] = field(default_factory=dict)

    @property
    def begun(self) -> str:
        """When the effect that is there was begun."""
        moment = self.shown.at if self.shown is not None else None
        return format_time(moment) if moment is not None else ""


@dataclass(frozen=True, slots=True)
class Authority:
    """Asks a warrant about one plan; implements ``record.effects.Authority``."""

    warrant: Warrant
    plan: Plan

    def confirm(self) -> None:
        """See ``Warrant.confirm``."""
        self.warrant.confirm(self.plan)

    def trailers(self, plan: str, parent: str, head: str) -> str:
        """See ``Warrant.trailers``."""
        return self.warrant.trailers(plan, parent, head)

    def made(self, commit: Commit) -> bool:
        """See ``Warrant.made``."""
        return self.warrant.made(commit)


class Front(Protocol):
    """What the session asks of the place it is shown in: JupyterLab, papermill or a terminal."""

    @property
    def is_interactive(self) -> bool:
        """True when a person sits in front and may be waited for."""

    def on_record(self, record: Record) -> None:
        """Told after each journal record."""

    async def wait(
        self, session: Session, poll: Callable[[], Decision | None], timeout_s: float
    ) -> Decision | None:
        """Shows the approval panel until ``poll`` answers; None when the time is over."""


class Session:
    """One run, open for writing. Made by ``open_session``; a notebook holds exactly one.

    Args:
        recorder: The writing side of the run.
        platform: Its handles.
        parts: What its slice brings.
        request: What was asked.
        gate: Decides about the plan.
        warrant: Is asked before effects.
        front: Where the session is shown.
    """

    def __init__(
        self,
        recorder: Recorder,
        platform: Platform,
        *,
        parts: Slice,
        request: Any,
        gate: Gate,
        warrant: Warrant,
        front: Front,
    ) -> None:
        self.platform = platform
        self.request = request
        self._recorder = recorder
        self._parts = parts
        self._gate = gate
        self._front = front
        self._values: dict[str, Any] = {}
        self._warrant = warrant
        self._earlier = Earlier()
        self._gates: Callable[..., tuple[Verdict, ...]] | None = None
        # When the world was looked at, the gates answered and the outcome was seen: cells may be run hours apart.
        self._at: dict[str, datetime] = {}

    @property
    def run(self) -> str:
        """Id of the run."""
        return self._recorder.run

    @property
    def directory(self) -> Path:
        """Its run directory."""
        return self._recorder.directory

    @property
    def workspace(self) -> Workspace:
        """The workspace it belongs to."""
        return self._recorder.workspace

    @property
    def state(self) -> RunState:
        """What the journal says now."""
        return self._recorder.state

    @property
    def mode(self) -> Mode:
        """Sandbox or live."""
        return self.platform.mode

    @property
    def rules(self) -> Rules:
        """Fleet and policy for the environment of this run."""
        return rules_for(
            self.platform.fleet,
            self.platform.policy,
            self.platform.trust,
            self.request.environment,
        )

    @property
    def verbs(self) -> tuple[Callable[..., Any], ...]:
        """The verbs of its runbook's own slice."""
        return self._parts.verbs

    def step(self, verb: Callable[..., T]) -> T:
        """Calls one verb with what it asks for by parameter name, and records it as one step.

        On resume, where the world shows an effect of an earlier attempt, observe and plan return what they did then.

        Raises:
            GitOpsError: What the verb raised; the step is recorded as failed.
            Refused: The run needs approval, and the verb is not its runbook's own.
        """
        name = verb.__name__
        self._reopen()
        self._refuse_strange(verb)
        if name == "apply" and self._decision().answer is Answer.NOTHING:
            self._recorder.append(
                "step", step=name, status=Status.SKIPPED, sentence="nothing to do"
            )
            value = _returned(verb)()
        else:
            value = self._call(name, verb)
        self._values[NOUN.get(name, name)] = value
        return value

    async def gate(self, gates: Callable[..., tuple[Verdict, ...]]) -> Decision:
        """Asks the gates, decides, and waits for approval where a person can be waited for.

        Raises:
            Refused: A gate is closed, somebody rejected, or an approved plan went stale.
            WaitingForApproval: Nobody is here to wait; the run continues with ``gitops-nb resume``.
            PlannedOnly: The run was asked to stop here.
        """
        self._reopen()
        plan = self._values.get("plan")
        if not isinstance(plan, Plan):
            self._out_of_order(
                UsageError(
                    "there is no plan to decide about", hint="Run the cells in order, from the top."
                )
            )
        self._refuse_strange(gates)
        rules = self._rules_of_both()
        self._gates = gates
        if self._earlier.shown is not None:
            decision = self._gate.goes_on(plan, rules, self._earlier.begun)
        else:
            if self._is_old("observe"):
                self._look_again(plan)
            decision = self._gate.decide(
                plan, rules, lambda: gates(**self._arguments(gates, rules))
            )
            if decision.answer is Answer.WAITING:
                waits = self._wait if self._front.is_interactive else None
                decision = await self._gate.wait(plan, rules, decision, waits)
                self._ask_again(plan, gates)
        self._at["gates"] = self._now()
        self._values["decision"] = decision
        return decision

    def _now(self) -> datetime:
        return self.platform.view.clock.now()

    def _is_old(self, what: str) -> bool:
        """Whether something was seen, or said, so long ago that nothing green may rest on it."""
        at = self._at.get(what)
        return at is None or self._now() - at > FRESH

    def _rules_of_both(self) -> Rules:
        """What both the request's rules and today's allow; today's where nobody was asked yet."""
        if self.state.request is None:
            return self.rules
        try:
            return self._warrant.rules()
        except Refused as refusal:
            self._recorder.stop(refusal)

    def _ask_again(self, plan: Plan, gates: Callable[..., tuple[Verdict, ...]]) -> None:
        """After a wait: what was seen and what the gates said before it may be hours old.

        Raises:
            Refused: The plan would be another one now, or a gate is closed.
        """
        self._look_again(plan)
        rules = self._rules_of_both()
        closed = [v for v in gates(**self._arguments(gates, rules)) if not v.passed]
        if closed:
            text = "; ".join(f"{v.gate.replace('_', ' ')}: {v.reason}" for v in closed)
            self._recorder.stop(Refused(text, hint="Mend what it names, then run it again."))
        self._at["gates"] = self._now()

    def _look_again(self, plan: Plan) -> None:
        """Observes anew, so that what follows rests on what is there now.

        Raises:
            Refused: The plan would be another one.
        """
        observe, planned = self._parts.verbs[:2]
        noun = NOUN.get(observe.__name__, observe.__name__)
        before = self._values[noun]
        self._values[noun] = observe(**self._arguments(observe))
        again = planned(**self._arguments(planned))
        if again.digest != plan.digest:
            self._values[noun] = before
            text = f"the plan went stale while it waited; it is now “{again.summary}”"
            self._recorder.stop(Refused(text, hint="Run the runbook again and ask anew."))
        self._at["observe"] = self._now()

    def finish(self) -> RunState:
        """Ends the run, writes its reports, and returns its state.

        Raises:
            Failed: The change did not arrive.
            NeedsAttention: Whether it arrived is in doubt.
        """
        self._reopen()
        outcome = self._values.get("outcome")
        if not isinstance(outcome, Outcome):
            self._out_of_order(
                UsageError(
                    "there is no outcome to finish with",
                    hint="Run the cells in order, from the top.",
                )
            )
        outcome = self._seen_now(outcome)
        text = f"{outcome.title}: {outcome.sentence}"
        hint = f"{outcome.next_step} {outcome.command}".strip()
        error: GitOpsError | None = None
        if outcome.result is Result.FAILED:
            error = Failed(text, hint=hint)
        elif outcome.result is Result.IN_DOUBT:
            error = NeedsAttention(text, hint=hint)
        elif self.state.in_doubt:
            keys = ", ".join(effect.key for effect in self.state.in_doubt)
            error = NeedsAttention(
                f"{text}, and nobody settled: {keys}",
                hint=f"Run `gitops-nb resume {self.run}`: it finds out, and does nothing twice.",
            )
        self._recorder.refuse_leak()
        code = error.exit_code if error else ExitCode.SUCCEEDED
        is_open = code is ExitCode.NEEDS_ATTENTION and not (
            outcome.unwatched and not self.state.in_doubt
        )
        resume = f"gitops-nb resume {self.run}" if is_open else ""
        self._recorder.end(
            code, reason=outcome.title, hint=outcome.next_step, command=outcome.command or resume
        )
        if error:
            raise error
        return self.state

    def _seen_now(self, outcome: Outcome) -> Outcome:
        """The outcome, looked at again where it is green and the verify cell ran long ago.

        Raises:
            Refused: What needed no change then needs one now.
        """
        plan = self._values.get("plan")
        if not isinstance(plan, Plan) or not self._is_old("verify"):
            return outcome
        if outcome.result is Result.NOTHING:
            self._look_again(plan)
        elif outcome.result is Result.DEPLOYED:
            again: Outcome = self.step(self._parts.verbs[-1])
            return again
        return outcome

    def secret(self, parameter: str) -> Secret:
        """The value behind a parameter of type ``secret``, known to the redactor from this moment on.

        A verb gets this method when it asks for ``secrets`` by parameter name.

        Raises:
            UsageError: The run has no such parameter, nothing is there, or the value is too short to be masked.
            UnavailableError: The store does not answer.
        """
        given = (self.state.opened.get("parameters") or {}).get(parameter)
        if not isinstance(given, str) or not SECRET_REFERENCE.fullmatch(given):
            raise UsageError(f"the run has no secret {parameter!r}", hint="Give it with -p.")
        value = self.platform.secrets.read(SecretRef(given))
        process_redactor().register(given, value)
        return Secret(given, value)

    def close(self) -> None:
        """Lets go of the run without ending it; another process may go on with it."""
        self._recorder.close()

    def _call(self, name: str, verb: Callable[..., T]) -> T:
        kind = self._parts.applies if name == "apply" else StepKind.READ
        before = self.state.step(name)
        with self._recorder.step(name, kind) as took_ms:
            if name == self._parts.steps[0]:
                self._earlier = self._look_back()
            value = self._of_earlier(name, verb, before)
            if value is None:
                arguments = self._arguments(verb)
                if "writers" in inspect.signature(verb).parameters:
                    arguments["writers"] = self._open_writers(name)
                value = verb(**arguments)
                self._at[name] = self._now()
            self._recorder.refuse_secrets(name, value)
            self._recorder.save_evidence(name, value)
            self._recorder.append(
                "step",
                step=name,
                status=_found(value),
                sentence=_sentence(value),
                value=value,
                took_ms=took_ms(),
            )
        if isinstance(value, Plan):
            self._recorder.append("planned", plan=value, digest=value.digest)
        if isinstance(value, Outcome):
            self._recorder.append("outcome", outcome=value)
        return value

    def _arguments(self, verb: Callable[..., Any], rules: Rules | None = None) -> dict[str, Any]:
        """What a verb asks for by parameter name; writers come separately."""
        known: dict[str, Any] = {
            **self._values,
            "view": self.platform.view,
            "request": self.request,
            "rules": rules or self.rules,
            "secrets": self.secret,
        }
        wanted = [p for p in inspect.signature(verb).parameters if p != "writers"]
        missing = [p for p in wanted if p not in known]
        if missing:
            raise UsageError(
                f"{verb.__name__} needs {', '.join(missing)}, which no step before it gave",
                hint="Run the cells in order, from the top.",
            )
        return {p: known[p] for p in wanted}

    def _open_writers(self, name: str) -> Any:
        """Operator credentials, opened only inside apply and only for an allowing decision."""
        if name != "apply" or self._parts.writers is None:
            raise UsageError(f"{name} is not apply and gets no writers")
        self._before_apply()
        opened = self.platform.open_writers(
            self._warrant.still_mine,
            environment=self.request.environment,
            files=frozenset(self._values["plan"].materials),
        )
        had_starts = self._warrant.had_starts
        return self._parts.writers(
            AllWriters(
                view=self.platform.view,
                git=opened.git
                if had_starts
                else FirstPush(opened.git, self.platform.git, self._warrant.still_mine),
                argo=opened.argo,
                clusters=opened.clusters,
                effects=self._recorder.effects(
                    name,
                    Authority(self._warrant, self._values["plan"]),
                    may_have_happened=self._earlier.began or had_starts,
                    done_before=self._earlier.done,
                ),
                requester=self.platform.requester.name,
            ),
            self.request,
        )

    def _before_apply(self) -> None:
        """The last checks: the decision allows it, the target is fleet.yaml's, nobody else changes it.

        Raises:
            Refused: One of them does not hold; nothing was changed.
        """
        decision = self._decision()
        if decision.answer is not Answer.ALLOWED:
            raise Refused(
                "apply needs a decision that allows the plan", hint="Run the gate cell first."
            )
        if self.mode is Mode.LIVE:
            for target in self.platform.targets():
                self._recorder.append("target", system=target.system, address=target.address)
                print(f"{target.system}: {target.address}")  # noqa: T201  shown before the first live effect
        where = f"{self.request.environment}--{self.request.subject}".replace("/", "-")
        other = self._recorder.hold_target(where, ci_api=self.rules.ci_api)
        if other:
            raise Refused(
                f"{other} is changing {self.request.subject} in {self.request.environment}",
                hint="Wait for it to end, then run this one again.",
            )
        self.platform.processes.keep_open(*self._recorder.lock_descriptors)
        self._gate.refuse_unlisted_runner(self.rules)
        self._ask_before_apply()
        try:
            self._recorder.sign_start(self._warrant, self._values["plan"], decision)
        except (Refused, NeedsAttention) as refusal:
            if self._earlier.shown is None:
                raise
            # What was begun is looked at to its end, whatever forbids to begin more.
            self._warrant.forbid(refusal)

    def _ask_before_apply(self) -> None:
        """Before the first effect: what the gates said in their cell may be hours old, and the rules others by now.

        Raises:
            Refused: The plan would be another one now, or a gate is closed.
        """
        earlier, plan = self._earlier, self._values["plan"]
        is_half_done = earlier.began and self._parts.applies is StepKind.IDEMPOTENT
        if earlier.shown is not None or is_half_done or self._gates is None:
            return
        frozen = freeze(self._rules_of_both(), self._now())
        if self._is_old("gates") or not frozen.passed:
            self._ask_again(plan, self._gates)

    def _refuse_strange(self, verb: Callable[..., Any]) -> None:
        """In a run that needs approval nothing is called but the verbs of its runbook's own slice.

        Raises:
            Refused: The callable is a notebook's own.
        """
        if self._parts.writers is None or not self.rules.approvals:
            return
        if verb not in self._parts.verbs:
            raise Refused(
                f"{verb.__name__} is not the verb of {self.state.runbook}: {self.request.environment} needs approval, and nothing else is called there",
                hint="Import it from the package, as the shipped notebook does.",
            )

    def _look_back(self) -> Earlier:
        """Which start of this run's request began effects, and what of it the world shows.

        Raises:
            UnavailableError: The register, or what has to show it, does not answer.
        """
        state = self.state
        if state.request is None:
            return Earlier()
        chain = self._warrant.chain()
        starts, done = chain.starts, chain.done
        signed = state.plan is not None and digest(state.plan) == state.request["plan_digest"]
        if not starts or not signed:
            return Earlier(began=bool(starts), done=done)
        plan = from_json(Plan, state.plan)
        shown = None
        if self._parts.shown is not None:
            found = self._parts.shown(
                self.platform.view, plan, self._warrant.made, self._recorder.run
            )
            shown = self._warrant.start_shown(found) if found else None
        if shown is not None:
            self._warrant.waive(shown)
        else:
            self._settle_absent(plan)
        return Earlier(began=True, plan=plan, shown=shown, done=done)

    def _settle_absent(self, plan: Plan) -> None:
        """Records that an effect which was begun did not happen, where the world was asked and it cannot arrive any more.

        That whoever began it has ended is not enough: what they sent may be held up on its way.
        """
        key = self._parts.first_effect(plan) if self._parts.first_effect is not None else ""
        begun = next((one for one in self.state.in_doubt if one.key == key), None)
        if begun is None or self._parts.lost is None or not self._warrant.is_over():
            return
        lost = self._parts.lost(self.platform.view, plan, begun)
        if lost:
            reason = f"looked for where it would be, and it is not there; whoever began it is gone, and {lost}"
            self._recorder.append("void", key=key, reason=reason)

    def _of_earlier(self, name: str, verb: Callable[..., T], before: StepState | None) -> T | None:
        """What a step returned in an earlier attempt, where that still stands; None where it is called again."""
        known = self._earlier
        if name == "plan" and known.plan is not None:
            # Idempotent effects that were begun have changed what a new plan would rest on.
            if known.shown is not None or self._parts.applies is StepKind.IDEMPOTENT:
                return cast("T", known.plan)
        elif name == "observe" and known.shown is not None and before is not None:
            return from_json(_returned(verb), before.value) if before.value is not None else None
        return None

    def _decision(self) -> Decision:
        decision = self._values.get("decision")
        if not isinstance(decision, Decision):
            self._out_of_order(
                UsageError("apply needs a decision", hint="Run the gate cell first.")
            )
        return decision

    def _out_of_order(self, error: UsageError) -> NoReturn:
        """A cell was run before one that it rests on: a person runs that one now; a notebook that is run from end to end lacks it.

        Raises:
            UsageError: What is missing; where nobody sits in front, the run has ended with that.
        """
        if not self._front.is_interactive:
            self._recorder.stop(error)
        raise error

    def _reopen(self) -> None:
        if self._recorder.reopen():
            self._earlier = self._look_back()

    async def _wait(self, poll: Callable[[], Decision | None], timeout_s: float) -> Decision | None:
        return await self._front.wait(self, poll, timeout_s)


def _returned(verb: Callable[..., T]) -> type[T]:
    """The type that a verb is annotated to return."""
    kind = typing.get_type_hints(verb).get("return")
    if not isinstance(kind, type):
        raise UsageError(f"{verb.__name__} does not say what it returns")
    return kind


def _found(value: Any) -> Status:
    """The status of a step that did its work: what it found may be a failure, or be in doubt."""
    result = value.result if isinstance(value, Outcome) else None
    match result:
        case Result.FAILED:
            return Status.FAILED
        case Result.IN_DOUBT:
            return Status.NEEDS_ATTENTION
    return Status.SUCCEEDED


def _sentence(value: Any) -> str:
    """What a step found, in one sentence."""
    match value:
        case Outcome():
            return value.title
        case Plan():
            return value.summary
    results: Mapping[str, Json] | None = getattr(value, "results", None)
    if results is not None:
        return f"{len(results)} effect{'' if len(results) == 1 else 's'}, each with its result recorded"
    return str(getattr(value, "summary", ""))
