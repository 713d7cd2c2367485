"""The gate between plan and apply: gates asked, decision made, approval waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gitops_nb.errors import PlannedOnly, Refused, WaitingForApproval
from gitops_nb.model import Answer, Decision, Plan, Status, StepKind, Verdict, from_json, to_json
from gitops_nb.policy import Proof, Requester, RequesterKind, Rules, decide
from gitops_nb.record.fold import RunState
from gitops_nb.session.beginnings import was_started
from gitops_nb.session.consent import Consent
from gitops_nb.session.earlier import earlier_success, refuse_same_key, unsettled
from gitops_nb.session.platform import Platform
from gitops_nb.session.recorder import Recorder
from gitops_nb.session.requester import proof_hint
from gitops_nb.session.runners import refuse_unlisted_runner, refuse_unpinned

Wait = Callable[[Callable[[], Decision | None], float], Awaitable[Decision | None]]
"""Shows a panel and polls until there is a decision or the seconds are over."""

_STATUS = {Answer.WAITING: Status.WAITING, Answer.REFUSED: Status.REFUSED}


class Gate:
    """Decides about one run's plan.

    Args:
        recorder: Of the run.
        platform: Its handles.
        names: Gates that have to be answered.
        plan_only: Stop after the decision, whatever it is.
        break_glass: Why the requester goes on without approval, "" when they do not.
        again: Lets automation do again what an earlier run did, where nobody has to approve.
    """

    def __init__(
        self,
        recorder: Recorder,
        platform: Platform,
        *,
        names: Sequence[str],
        plan_only: bool,
        again: bool,
        break_glass: str = "",
    ) -> None:
        self._recorder = recorder
        self._names = names
        self._platform = platform
        self._plan_only = plan_only
        self._again = again
        self._break_glass = break_glass
        self.consent = self._consent = Consent(
            recorder.workspace, platform, recorder.directory, recorder.append
        )

    def decide(self, plan: Plan, rules: Rules, ask: Callable[[], tuple[Verdict, ...]]) -> Decision:
        """Asks the gates and decides, as one recorded step.

        Returns:
            Allowed, nothing to do, or waiting.

        Raises:
            Refused: A gate is closed, somebody rejected, a twin is active, or an approved plan went stale.
            PlannedOnly: The run was asked to stop here.
        """
        had_nothing = (self._recorder.state.decision or {}).get("answer") == Answer.NOTHING
        with self._recorder.step("decide", StepKind.READ) as took_ms:
            verdicts = ask() if not plan.is_empty else ()
            decision = self._explained(plan, self._decision(plan, rules, verdicts))
            hint = self._hint(decision, rules)
            other = unsettled(
                self._recorder.workspace.reports, self._recorder.state, self._platform.view
            )
            if other is not None and decision.answer is not Answer.REFUSED:
                decision = self._told_of(other, decision)
                hint = f"Run `gitops-nb resume {other.run}` first: it finds out. {hint}"
            if had_nothing and not plan.is_empty:
                decision, hint = self._only_looked_at(plan, decision)
            if decision.answer in (Answer.ALLOWED, Answer.WAITING) and not self._plan_only:
                try:
                    self._refuse_by_record(plan, rules)
                    if decision.answer is Answer.ALLOWED:
                        self._ask(plan, rules)
                except Refused as refusal:
                    # The gates' answers stay in the record beside the reason that counts.
                    decision = replace(decision, answer=Answer.REFUSED, reasons=(refusal.message,))
                    hint = refusal.hint
            self._record(decision, hint=hint, took_ms=took_ms())
        if self._plan_only and decision.answer is not Answer.REFUSED:
            parts = dict.fromkeys((plan.summary, *decision.reasons))
            missing = decision.approvals_needed - len(decision.approvals)
            hint = "" if plan.is_empty else "Run it without `--plan` to have it carried out."
            if hint and decision.answer is Answer.WAITING:
                hint = f"Run it without `--plan`: it asks for {missing} approval{'' if missing == 1 else 's'} first."
            self._recorder.stop(PlannedOnly(f"planned only: {'; '.join(parts)}", hint=hint))
        return decision

    async def wait(
        self, plan: Plan, rules: Rules, decision: Decision, wait: Wait | None
    ) -> Decision:
        """Writes the request, and waits where a person can be waited for.

        Raises:
            WaitingForApproval: Nobody is here to wait; the run continues with ``gitops-nb resume``.
            Refused: Somebody rejected, or nobody answered in time.
        """
        recorder = self._recorder
        self._ask(plan, rules)
        missing = decision.approvals_needed - len(decision.approvals)
        reason = f"waiting for {missing} approval{'' if missing == 1 else 's'} of {plan.summary}"
        command = f"gitops-nb approve {recorder.run}"
        hint = f"Another person runs `{command}`, then `gitops-nb resume {recorder.run}`."
        recorder.append("waiting", reason=reason, command=command, hint=hint)
        if wait is None:
            recorder.pause()
            raise WaitingForApproval(reason, hint=hint)

        recorder.sign_request()

        def poll() -> Decision | None:
            recorder.fetch_answers()
            now = self._decision(plan, rules, decision.verdicts)
            return now if now.answer is not Answer.WAITING else None

        try:
            answered = await wait(poll, self._consent.seconds_left(recorder.state))
        except BaseException:
            # The person stopped the cell: the request stays open, and a terminal may go on with the run.
            recorder.pause()
            raise
        if answered is None:
            recorder.stop(
                Refused(
                    "nobody approved before the request expired; nothing was changed",
                    hint="Run the runbook again to ask anew.",
                )
            )
        self._record(answered, hint=_when(answered))
        return answered

    def goes_on(self, plan: Plan, rules: Rules, begun: str) -> Decision:
        """The decision over a plan whose first effect the world shows: it is looked at to its end.

        Gates that are about time are not asked again. Whether anything more may be begun is asked before each effect.
        """
        approvals, _ = self._consent.answers(self._recorder.state, rules, now=datetime.now(UTC))
        decision = Decision(
            answer=Answer.ALLOWED,
            plan_digest=plan.digest,
            environment=plan.environment,
            reasons=(f"its first effect is there, begun at {begun}",),
            approvals=approvals,
            approvals_needed=rules.approvals,
        )
        self._record(decision, hint="")
        return decision

    def refuse_unlisted_runner(self, rules: Rules) -> None:
        """Asked before apply, on resume too: see ``runners.refuse_unlisted_runner``."""
        refuse_unlisted_runner(self._recorder.workspace, rules)

    def _glass(self) -> str:
        """Why the glass is broken: what the signed request says, once there is one."""
        request = self._recorder.state.request
        if request is None:
            return self._break_glass
        return str((request.get("break_glass") or {}).get("reason", ""))

    def _refuse_glass_of_others(self) -> None:
        """Refuses a request without approval that a record alone has: a notebook signs one with the key of whoever runs it.

        The command says that the glass is broken; on resume a runner's signed start does, which was begun by such a command.
        """
        reason = self._glass()
        recorder = self._recorder
        if (
            not reason
            or reason == self._break_glass
            or was_started(recorder.workspace, recorder.state)
        ):
            return
        raise Refused(
            "its record breaks the glass, and no command that is known here did: nothing was begun by it",
            hint="Run the runbook again, with `--break-glass` if you mean that.",
        )

    def _ask(self, plan: Plan, rules: Rules) -> None:
        """Writes the request, once."""
        recorder = self._recorder
        if recorder.state.request is None:
            self._consent.request(
                recorder.state,
                plan,
                rules=rules,
                requester=_requester(recorder),
                break_glass=self._break_glass,
            )

    def _decision(self, plan: Plan, rules: Rules, verdicts: tuple[Verdict, ...]) -> Decision:
        approvals, rejections = self._consent.answers(
            self._recorder.state, rules, now=datetime.now(UTC)
        )
        decision = decide(
            plan,
            verdicts,
            rules=rules,
            gates=self._names,
            requester=_requester(self._recorder),
            approvals=approvals,
            rejections=rejections,
            break_glass=self._glass(),
        )
        if decision.answer is not Answer.WAITING:
            return decision
        unheard = self._consent.unheard(self._recorder.state, rules, now=datetime.now(UTC))
        return replace(decision, reasons=(*decision.reasons, *unheard))

    def _hint(self, decision: Decision, rules: Rules) -> str:
        if rules.stopped and decision.answer is Answer.REFUSED:
            return (
                "When the line `stop:` is taken out of the protected branch, run the runbook again."
            )
        requester = _requester(self._recorder)
        if (
            decision.answer is Answer.REFUSED
            and requester.proof is Proof.NONE
            and all(verdict.passed for verdict in decision.verdicts)
        ):
            return proof_hint(requester)
        return _when(decision)

    def _explained(self, plan: Plan, decision: Decision) -> Decision:
        """The decision, with the run that did the same before.

        That run answers nothing: where something is left to do it was taken back since. A person sees that in the reasons,
        and so does an approver; automation that nobody stops would undo a revert for ever, so it is asked to say --again.
        """
        state = self._recorder.state
        if decision.answer is Answer.REFUSED:
            return decision
        earlier = earlier_success(
            self._recorder.workspace.reports, state, plan, self._platform.view
        )
        # The record may be elsewhere, and other lines of the file may have changed: Git tells of a revert all the same.
        reverted = str(plan.arguments.get("reverted_by") or "")
        if earlier is None and not reverted:
            return decision
        if earlier is not None and plan.is_empty:
            return replace(decision, reasons=(*decision.reasons, f"{earlier.run} brought it"))
        reason = (
            f"{earlier.run} did exactly this at {earlier.ended}, and it was taken back since"
            if earlier is not None
            else f"somebody took this back by commit {reverted[:8]}"
        )
        is_unwatched = (
            decision.answer is Answer.ALLOWED
            and not decision.approvals_needed
            and _requester(self._recorder).kind is RequesterKind.AUTOMATION
        )
        if is_unwatched and not self._again and not self._plan_only:
            ask = f"{reason}; automation does it once more only with --again"
            return replace(decision, answer=Answer.REFUSED, reasons=(ask,))
        return replace(decision, reasons=(*decision.reasons, reason))

    def _only_looked_at(self, plan: Plan, decision: Decision) -> tuple[Decision, str]:
        """The refusal, and its hint, of a run that had nothing to do: what came since is nobody's wish, and may be somebody's will.

        A commit that was taken back meanwhile looks just like something that is left to do.
        """
        state = self._recorder.state
        reason = f"there was nothing to do when {state.run} asked, and there would be now: {plan.summary}"
        hint = f"Run the {state.runbook} again if that is to be done: it is another undertaking."
        return replace(decision, answer=Answer.REFUSED, reasons=(reason,)), hint

    def _told_of(self, other: RunState, decision: Decision) -> Decision:
        """The decision beside another run whose effect may still arrive: that nothing is to be done is no answer then."""
        keys = ", ".join(effect.key for effect in other.in_doubt)
        where = f"{other.opened.get('subject')} in {other.environment}"
        reason = f"what {other.run} began for {where} got no answer and may still happen: {keys}"
        if decision.answer is Answer.NOTHING and not self._plan_only:
            return replace(decision, answer=Answer.REFUSED, reasons=(reason,))
        return replace(decision, reasons=(*decision.reasons, reason))

    def _refuse_by_record(self, plan: Plan, rules: Rules) -> None:
        """Refuses what the record speaks against: another plan was approved, or a twin is active."""
        recorder = self._recorder
        self._refuse_glass_of_others()
        refuse_unlisted_runner(recorder.workspace, rules)
        refuse_unpinned(self._platform, rules)
        self._consent.refuse_unproven(recorder.state, rules)
        self._consent.refuse_stale(recorder.state, plan, rules, now=datetime.now(UTC))
        self._consent.refuse_twins(recorder.workspace.reports, recorder.state, plan)
        refuse_same_key(recorder.workspace.reports, recorder.state, plan)

    def _record(self, decision: Decision, *, hint: str, took_ms: int = 0) -> None:
        """Records a decision with what it rests on; a refusal ends the run."""
        recorder = self._recorder
        recorder.save_evidence("decide", decision)
        answers = decision.approvals if decision.answer is Answer.ALLOWED else decision.rejections
        for answer in answers:
            recorder.append("approval", **to_json(answer))
        recorder.append("decision", **to_json(decision))
        reasons = "; ".join(decision.reasons)
        recorder.append(
            "step",
            step="decide",
            status=_STATUS.get(decision.answer, Status.SUCCEEDED),
            sentence=reasons,
            value=decision,
            took_ms=took_ms,
        )
        if decision.answer is Answer.REFUSED:
            recorder.stop(Refused(reasons, hint=hint))


def _requester(recorder: Recorder) -> Requester:
    """Who asked for this run; whoever resumes it later is somebody else."""
    return from_json(Requester, dict(recorder.state.opened["requester"]))


def _when(decision: Decision) -> str:
    """When the closed gates could open, as far as they know."""
    opens = [v.clears_at for v in decision.verdicts if not v.passed and v.clears_at]
    if not opens:
        is_closed = not all(verdict.passed for verdict in decision.verdicts)
        named = "the gates name" if is_closed else "the reason names"
        return f"Mend what {named}, then run it again."
    return f"It could clear at {max(opens).astimezone(UTC):%Y-%m-%d %H:%M} UTC."
