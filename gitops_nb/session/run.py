"""A run as a notebook sees it: one step after the other, each recorded, and the gate between plan and apply."""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import (
    ConflictError,
    ExitCode,
    Failed,
    GitOpsError,
    NeedsAttention,
    PlannedOnly,
    Refused,
    UsageError,
    WaitingForApproval,
)
from gitops_nb.model import (
    Answer,
    Decision,
    Json,
    Mode,
    Outcome,
    Plan,
    Result,
    Status,
    StepKind,
    Verdict,
    from_json,
    to_json,
)
from gitops_nb.policy import Rules, decide, rules_for
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal, Record
from gitops_nb.record.runs import Lock, lock_holder, try_lock
from gitops_nb.session.consent import Consent
from gitops_nb.session.lifecycle import STATUS_OF, close_run, holder
from gitops_nb.session.platform import Platform
from gitops_nb.session.slices import AllWriters, Slice

T = TypeVar("T")

NOUN = {
    "observe": "state",
    "plan": "plan",
    "apply": "applied",
    "verify": "outcome",
    "measure": "metrics",
}
"""What a verb's value is called when a later verb asks for it by parameter name."""


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
    """One run, open for writing. Made by ``open_session``; a notebook holds exactly one."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        platform: Platform,
        directory: Path,
        journal: Journal,
        lock: Lock,
        parts: Slice,
        request: Any,
        gates: tuple[str, ...],
        front: Front,
        plan_only: bool,
        supervised: bool,
    ) -> None:
        self.workspace = workspace
        self.platform = platform
        self.directory = directory
        self.request = request
        self._journal = journal
        self._lock = lock
        self._parts = parts
        self._gates = gates
        self._front = front
        self._plan_only = plan_only
        self._supervised = supervised
        self._values: dict[str, Any] = {}
        self._target_lock: Lock | None = None
        self._is_closed = False
        # Effects of an earlier attempt fix the plan: from then on finished steps come from the journal.
        self._is_replaying = bool(self.state.effects)
        self.consent = Consent(platform, directory, self._record)

    @property
    def run(self) -> str:
        """Id of the run."""
        return self.directory.name

    @property
    def state(self) -> RunState:
        """What the journal says now."""
        return fold(self._journal.records)

    @property
    def mode(self) -> Mode:
        """Sandbox or live."""
        return self.platform.mode

    @property
    def rules(self) -> Rules:
        """Fleet and policy for the environment of this run."""
        return rules_for(self.platform.fleet, self.platform.policy, self.request.environment)

    # -- verbs -----------------------------------------------------------------------------------

    def step(self, verb: Callable[..., T]) -> T:
        """Calls one verb with what it asks for by parameter name, and records it as one step.

        On resume a step that had finished before the first effect returns its recorded value.

        Raises:
            GitOpsError: What the verb raised; the step is recorded as failed.
        """
        name = verb.__name__
        decision = self._values.get("decision")
        if name == "apply" and isinstance(decision, Decision) and decision.answer is Answer.NOTHING:
            return self._skip_apply(verb)
        done = self.state.step(name)
        if self._is_replaying and name != "verify" and done and done.status is Status.SUCCEEDED:
            value = from_json(_returned(verb), done.value)
        else:
            value = self._recorded(name, verb)
        self._values[NOUN.get(name, name)] = value
        return value

    async def gate(self, gates: Callable[..., tuple[Verdict, ...]]) -> Decision:
        """Asks the gates, decides, and waits for approval where a person can be waited for.

        Raises:
            Refused: A gate is closed, somebody rejected, or an approved plan went stale.
            WaitingForApproval: Nobody is here to wait; the run continues with ``gitops-nb resume``.
            PlannedOnly: The run was asked to stop here.
        """
        plan: Plan = self._values["plan"]
        if self._is_replaying:
            decision = self._replayed_decision()
        else:
            decision = self._decide(gates, plan)
            if decision.answer is Answer.WAITING and not self._plan_only:
                decision = await self._wait(decision, plan)
        self._values["decision"] = decision
        return decision

    def finish(self) -> RunState:
        """Ends the run, writes its reports, and returns its state.

        Raises:
            Failed: The change did not arrive.
            NeedsAttention: Whether it arrived is in doubt.
        """
        outcome: Outcome = self._values["outcome"]
        match outcome.result:
            case Result.FAILED:
                error: GitOpsError | None = Failed(
                    f"{outcome.title}: {outcome.sentence}", hint=_hint(outcome)
                )
            case Result.IN_DOUBT:
                error = NeedsAttention(f"{outcome.title}: {outcome.sentence}", hint=_hint(outcome))
            case _:
                error = None
        code = error.exit_code if error else ExitCode.SUCCEEDED
        self._end(code, reason=outcome.title, hint=outcome.next_step, command=outcome.command)
        if error:
            raise error
        return self.state

    # -- steps -----------------------------------------------------------------------------------

    def _recorded(self, name: str, verb: Callable[..., T]) -> T:
        kind = StepKind.EFFECT if name == "apply" else StepKind.READ
        self._reopen()
        if name == "apply":
            self._before_apply()
        self._record("step", step=name, kind=kind, status=Status.RUNNING)
        begun = time.monotonic()
        try:
            value = verb(**self._arguments(verb, name))
        except BaseException as error:  # the step recorder: nothing may end a step unrecorded
            self._step_failed(name, error, begun)
            raise
        self._save_evidence(name, value)
        self._record(
            "step",
            step=name,
            status=Status.SUCCEEDED,
            sentence=_sentence(value),
            value=value,
            took_ms=int((time.monotonic() - begun) * 1000),
        )
        if isinstance(value, Plan):
            self._record("planned", plan=value, digest=value.digest)
        if isinstance(value, Outcome):
            self._record("outcome", outcome=value)
        return value

    def _arguments(self, verb: Callable[..., Any], name: str) -> dict[str, Any]:
        known: dict[str, Any] = {
            **self._values,
            "view": self.platform.view,
            "request": self.request,
            "rules": self.rules,
        }
        wanted = [p for p in inspect.signature(verb).parameters if p != "writers"]
        missing = [p for p in wanted if p not in known]
        if missing:
            raise UsageError(
                f"{name} needs {', '.join(missing)}, which no step before it gave",
                hint="Run the cells in order, from the top.",
            )
        arguments = {p: known[p] for p in wanted}
        if "writers" in inspect.signature(verb).parameters:
            arguments["writers"] = self._open_writers(name)
        return arguments

    def _open_writers(self, name: str) -> Any:
        """Operator credentials, opened only inside apply and only for an allowing decision."""
        decision = self._values.get("decision")
        if name != "apply" or self._parts.writers is None:
            raise UsageError(f"{name} is not apply and gets no writers")
        if not isinstance(decision, Decision) or decision.answer is not Answer.ALLOWED:
            raise Refused(
                "apply needs a decision that allows the plan", hint="Run the gate cell first."
            )
        opened = self.platform.open_writers()
        return self._parts.writers(
            AllWriters(
                view=self.platform.view,
                git=self.platform.git,
                argo=opened.argo,
                clusters=opened.clusters,
                effects=JournalEffects(self._journal, self._record, step=name),
                requester=self.platform.requester.name,
            ),
            self.request,
        )

    def _before_apply(self) -> None:
        """The last checks: the target is fleet.yaml's, nobody else changes it, the consent still holds."""
        decision = self._values.get("decision")
        if self.mode is Mode.LIVE:
            for target in self.platform.check_targets():
                self._record("target", system=target.system, address=target.address)
                print(f"{target.system}: {target.address}")  # noqa: T201  shown before the first live effect
        name = f"{self.request.environment}--{self.request.subject}".replace("/", "-")
        if self._target_lock is None:
            self._target_lock = try_lock(self.workspace.reports, name, holder(self.run))
            if self._target_lock is None:
                other = lock_holder(self.workspace.reports, name).get("who", "another run")
                self._stop(
                    Refused(
                        f"{other} is changing {self.request.subject} in {self.request.environment}",
                        hint="Wait for it to end, then resume.",
                    )
                )
        if isinstance(decision, Decision) and not self._is_replaying:
            problem = self.consent.expired(decision, now=datetime.now(UTC))
            if problem:
                self._stop(
                    Refused(problem, hint="Run the runbook again and ask for a new approval.")
                )

    def _skip_apply(self, verb: Callable[..., T]) -> T:
        kind = _returned(verb)
        self._record("step", step="apply", status=Status.SKIPPED, sentence="nothing to do")
        value: T = kind()
        self._values["applied"] = value
        return value

    def _step_failed(self, name: str, error: BaseException, begun: float) -> None:
        took = int((time.monotonic() - begun) * 1000)
        status = Status.CANCELLED if isinstance(error, KeyboardInterrupt) else Status.FAILED
        message = (
            error.message if isinstance(error, GitOpsError) else f"{type(error).__name__}: {error}"
        )
        self._record("step", step=name, status=status, sentence=message, took_ms=took)
        if isinstance(error, GitOpsError):
            code, hint = error.exit_code, error.hint
        elif isinstance(error, KeyboardInterrupt):
            code, hint = ExitCode.INTERRUPTED, f"Continue with `gitops-nb resume {self.run}`."
        else:
            code, hint = ExitCode.INTERNAL, "This is a defect of gitops_nb or of its surroundings."
        if self.state.in_doubt:
            code = ExitCode.NEEDS_ATTENTION
            hint = f"Run `gitops-nb resume {self.run}`: it finds out, and does nothing twice."
        self._end(code, reason=message, hint=hint)

    # -- deciding --------------------------------------------------------------------------------

    def _decide(self, gates: Callable[..., tuple[Verdict, ...]], plan: Plan) -> Decision:
        self._reopen()
        self._record("step", step="decide", kind=StepKind.READ, status=Status.RUNNING)
        begun = time.monotonic()
        try:
            verdicts = gates(**self._arguments(gates, "decide")) if not plan.is_empty else ()
            decision = self._decision(plan, verdicts)
            if decision.answer in (Answer.ALLOWED, Answer.WAITING) and not self._plan_only:
                self._refuse_stale(plan)
                self.consent.refuse_twins(self.workspace.reports, self.state, plan)
        except BaseException as error:  # the step recorder, as above
            self._step_failed("decide", error, begun)
            raise
        self._save_evidence("decide", decision)
        self._record("decision", **to_json(decision))
        status = (
            Status.WAITING
            if decision.answer is Answer.WAITING
            else Status.REFUSED
            if decision.answer is Answer.REFUSED
            else Status.SUCCEEDED
        )
        took = int((time.monotonic() - begun) * 1000)
        self._record(
            "step",
            step="decide",
            status=status,
            sentence="; ".join(decision.reasons),
            value=decision,
            took_ms=took,
        )
        if decision.answer is Answer.REFUSED:
            closed = [v.clears_at for v in decision.verdicts if not v.passed and v.clears_at]
            when = (
                f"It could clear at {max(closed):%Y-%m-%d %H:%M} UTC."
                if closed
                else "See the gates in the report."
            )
            self._stop(Refused("; ".join(decision.reasons), hint=when))
        for approval in decision.approvals if decision.answer is Answer.ALLOWED else ():
            self._record("approval", **to_json(approval))
        if self._plan_only:
            self._stop(PlannedOnly(f"planned only: {plan.summary}; {'; '.join(decision.reasons)}"))
        return decision

    def _decision(self, plan: Plan, verdicts: tuple[Verdict, ...]) -> Decision:
        approvals, rejections = self.consent.answers(self.state, self.rules, now=datetime.now(UTC))
        return decide(
            plan,
            verdicts,
            rules=self.rules,
            gates=self._gates,
            requester=self.platform.requester,
            approvals=approvals,
            rejections=rejections,
        )

    def _refuse_stale(self, plan: Plan) -> None:
        """A request that is open from an earlier attempt has to be about this very plan."""
        problem = self.consent.stale(self.state, plan, now=datetime.now(UTC))
        if problem:
            raise Refused(problem, hint="Run the runbook again and ask for a new approval.")

    async def _wait(self, decision: Decision, plan: Plan) -> Decision:
        state = self.state
        if state.request is None:
            self.consent.request(state, plan, rules=self.rules, requester=self.platform.requester)
            state = self.state
        reason = f"waiting for {decision.approvals_needed - len(decision.approvals)} approval of {plan.summary}"
        command = f"gitops-nb approve {self.run}"
        self._record(
            "waiting",
            reason=reason,
            command=command,
            hint=f"Another person runs `{command}`, then `gitops-nb resume {self.run}`.",
        )
        if self._front.is_interactive:
            answered = await self._front.wait(
                self, lambda: self._poll(plan, decision), self.consent.seconds_left(state)
            )
            if answered is not None:
                return self._accept(answered)
            self._stop(
                Refused(
                    "nobody approved before the request expired; nothing was changed",
                    hint="Run the runbook again to ask anew.",
                )
            )
        waiting = WaitingForApproval(
            reason, hint=f"Another person runs `{command}`, then `gitops-nb resume {self.run}`."
        )
        if not self._supervised:
            self._close()
        raise waiting

    def _poll(self, plan: Plan, decision: Decision) -> Decision | None:
        """A new decision once an answer changed it, for the panel."""
        now = self._decision(plan, decision.verdicts)
        return now if now.answer is not Answer.WAITING else None

    def _accept(self, decision: Decision) -> Decision:
        for approval in decision.approvals:
            self._record("approval", **to_json(approval))
        self._record("decision", **to_json(decision))
        status = Status.SUCCEEDED if decision.answer is Answer.ALLOWED else Status.REFUSED
        self._record(
            "step",
            step="decide",
            status=status,
            sentence="; ".join(decision.reasons),
            value=decision,
        )
        if decision.answer is Answer.REFUSED:
            self._stop(Refused("; ".join(decision.reasons)))
        return decision

    def _replayed_decision(self) -> Decision:
        recorded = dict(self.state.decision)
        return from_json(Decision, recorded)

    # -- the record ------------------------------------------------------------------------------

    def _record(self, kind: str, /, **body: Any) -> Record:
        record = self._journal.append(kind, **body)
        self._front.on_record(record)
        return record

    def _save_evidence(self, name: str, value: Any) -> None:
        folder = self.directory / "evidence"
        folder.mkdir(exist_ok=True)
        import json

        text = json.dumps(to_json(value), indent=2, ensure_ascii=False, sort_keys=True)
        replace_file(folder / f"{name}.json", f"{text}\n".encode("utf-8", "backslashreplace"))

    def _stop(self, stop: GitOpsError) -> typing.NoReturn:
        self._end(stop.exit_code, reason=stop.message, hint=stop.hint)
        raise stop

    def _end(self, code: ExitCode, *, reason: str, hint: str = "", command: str = "") -> None:
        status = STATUS_OF.get(code, Status.FAILED)
        self._record(
            "ended", status=status, exit_code=int(code), reason=reason, hint=hint, command=command
        )
        if self._target_lock:
            self._target_lock.release()
            self._target_lock = None
        if not self._supervised:
            self._close()

    def _close(self) -> None:
        """Writes the reports and seals the run; a supervised run leaves that to the engine."""
        close_run(self.workspace, self.directory, self._journal)
        self.close()

    def close(self) -> None:
        """Lets go of the run, so that another process may go on with it; what was recorded stays readable here."""
        if not self._is_closed:
            self._is_closed = True
            self._journal.close()
            self._lock.release()

    def _reopen(self) -> None:
        """A cell that is run again after the run had ended begins a new attempt."""
        if self._is_closed:
            lock = try_lock(self.workspace.reports, self.run, holder(self.platform.requester.name))
            if lock is None:
                other = lock_holder(self.workspace.reports, self.run)
                raise ConflictError(
                    f"{self.run} is open in process {other.get('pid', '?')}",
                    hint="Wait for it to end.",
                )
            self._lock = lock
            self._journal = Journal.open(self.directory)
            self._is_closed = False
        if self.state.ended:
            attempt = len(self.state.attempts) + 1
            self._record("attempt", number=attempt, front="notebook, cell run again")
            self._is_replaying = bool(self.state.effects)


def _returned(verb: Callable[..., T]) -> type[T]:
    """The type that a verb is annotated to return."""
    kind = typing.get_type_hints(verb).get("return")
    if not isinstance(kind, type):
        raise UsageError(f"{verb.__name__} does not say what it returns")
    return kind


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


def _hint(outcome: Outcome) -> str:
    return f"{outcome.next_step} {outcome.command}".strip()
