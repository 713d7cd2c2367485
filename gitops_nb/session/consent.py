"""Requests for approval of one run, and what the answers to them are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused, UsageError
from gitops_nb.model import (
    Approval,
    Decision,
    Json,
    Mode,
    Plan,
    Status,
    canonical,
    format_time,
    from_json,
    parse_time,
    to_json,
)
from gitops_nb.policy import (
    Proof,
    Requester,
    Rules,
    check_approval,
    expires_of,
    is_same_person,
    stands_after,
    unknown_person,
    workflow_problem,
)
from gitops_nb.record.approvals import (
    GITHUB,
    REQUEST_PURPOSE,
    REVIEW_WITHIN,
    Answered,
    askers,
    new_request,
    read_answers,
    request_problem,
)
from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState
from gitops_nb.record.identity import identity_problem
from gitops_nb.record.journal import Record
from gitops_nb.record.reviewed import review_problem
from gitops_nb.record.runs import (
    has_answers,
    is_run_held,
    missing_answers,
    run_directories,
    scan_run,
)
from gitops_nb.record.signatures import sign
from gitops_nb.session.code import code_of
from gitops_nb.session.counting import sandbox_built_s
from gitops_nb.session.platform import Platform
from gitops_nb.session.registers import place_of
from gitops_nb.session.requester import ci_run

APPROVALS = "approvals"
"""Of a sandbox's request: how many have to say yes by the rules that it was made with."""
SEARCHED = timedelta(hours=24)
"""Runs that began earlier cannot be waiting any more: a request lasts four hours at most."""


class Consent:
    """Everything about approval that one run needs."""

    def __init__(
        self,
        workspace: Workspace,
        platform: Platform,
        directory: Path,
        record: Callable[..., Record],
    ) -> None:
        self._workspace = workspace
        self._platform = platform
        self._directory = directory
        self._record = record

    def request(
        self,
        state: RunState,
        plan: Plan,
        *,
        rules: Rules,
        requester: Requester,
        break_glass: str = "",
    ) -> None:
        """Writes request.json and records it, signed by the requester where that is a person.

        Raises:
            Refused: The requester's key does not sign.
        """
        now = datetime.now(UTC)
        glass = {"reason": break_glass, "review_due": now + REVIEW_WITHIN} if break_glass else None
        request, subject = new_request(
            run=state.run,
            runbook=state.runbook,
            mode=str(state.opened["mode"]),
            notebook_digest=str(state.opened["notebook_digest"]),
            package=str(state.opened["package"]),
            code=code_of(state.runbook),
            parameters=state.opened["parameters"],
            environment=plan.environment,
            targets=self._targets(plan.environment),
            register=place_of(self._workspace, self._platform.fleet, is_sandbox=state.is_sandbox),
            plan_digest=plan.digest,
            materials=to_json(plan.materials),
            requester=to_json(requester),
            created=now,
            expires=now + rules.lifetime,
            policy=self._policy(rules),
            ci=ci_run(),
            break_glass=to_json(glass),
        )
        self._refuse_unknown(request, rules)
        before: list[str] = []
        if requester.proof is Proof.CI and self._platform.reviews is not None:
            self._platform.reviews.confirm(requester.name)
            found = self._platform.reviews.find(request["ci"], rules.environment)
            before = [review.mark for review in found]
        signature = self._sign(request) if requester.proof is Proof.KEY else ""
        identity = self._identity(request, subject, rules) if requester.proof is Proof.CI else {}
        replace_file(self._directory / "request.json", canonical(request) + b"\n")
        self._record(
            "requested",
            request=request,
            digest=subject,
            signature=signature,
            identity=identity,
            reviewed_before=before,
        )

    def _policy(self, rules: Rules) -> Mapping[str, str]:
        """Where the rules were read; files of a sandbox have no commit that could be read again, so the request keeps its count."""
        source = self._platform.policy_source
        if self._platform.mode is not Mode.SANDBOX:
            return source
        return {**source, APPROVALS: str(rules.approvals)}

    def _targets(self, environment: str) -> Json:
        """What could be written to, as it is now; a sandbox has nothing real."""
        if self._platform.mode is Mode.SANDBOX:
            return {}
        return {
            target.system: {"address": target.address, "uid": target.uid}
            for target in self._platform.check_targets(environment=environment)
        }

    @staticmethod
    def _refuse_unknown(request: Json, rules: Rules) -> None:
        requester = from_json(Requester, dict(request["requester"]))
        problem = unknown_person(requester, askers(request), rules)
        if problem:
            raise Refused(problem, hint="List them in trust.yaml, with the CI login as an alias.")

    def _identity(self, request: Json, subject: str, rules: Rules) -> Mapping[str, Json]:
        """What CI signed about its job for exactly this request.

        Raises:
            Refused: It is not the job that the request names, or none that policy.yaml lists.
            UnavailableError: CI or the issuer of its identities does not answer.
        """
        identity = self._platform.prove(request, rules.ci_issuer)
        problem = identity_problem(identity, request, subject)
        hint = "Run the workflow again."
        if not problem:
            problem = workflow_problem(identity["claims"], rules)
            hint = "List it below `workflows` in policy.yaml, if it is to ask for changes there."
        if problem:
            raise Refused(f"{problem}; nothing was asked for", hint=hint)
        return identity

    def _sign(self, request: Json) -> str:
        key, processes = self._platform.requester_key, self._platform.processes
        if key is None:
            raise Refused(
                "there is no SSH key to sign the request with; nothing was asked for",
                hint="Set Git's user.signingkey.",
            )
        try:
            return sign(
                canonical(request),
                REQUEST_PURPOSE,
                key=key,
                processes=processes,
                realm=self._platform.trust.realm,
            )
        except UsageError as error:
            raise Refused(
                f"the request cannot be signed: {error.message}; nothing was asked for",
                hint=error.hint,
            ) from error

    def refuse_unproven(self, state: RunState, rules: Rules) -> None:
        """Refuses to count answers to a request that the requester did not sign.

        Raises:
            Refused: It says what is missing.
        """
        if state.request is None:
            return
        if state.is_sandbox and parse_time(state.started).timestamp() < sandbox_built_s(
            self._workspace
        ):
            raise Refused(
                f"the sandbox was built anew since {state.run} asked: what it planned on is gone",
                hint=f"End it with `gitops-nb withdraw {state.run} --reason TEXT`, then run the runbook again.",
            )
        problem = request_problem(
            state,
            trust=rules.trust,
            processes=self._platform.processes,
            check_identity=self._platform.check_identity,
        ) or (
            workflow_problem(state.request_identity["claims"], rules)
            if state.request_identity and rules.approvals
            else ""
        )
        if problem:
            raise Refused(problem, hint="Run the runbook again.")
        self._refuse_unknown(state.request, rules)

    def answers(
        self, state: RunState, rules: Rules, *, now: datetime, moment: datetime | None = None
    ) -> tuple[tuple[Approval, ...], tuple[Approval, ...]]:
        """Valid approvals (one per person) and valid rejections of the open request; who asked says no by a withdrawal.

        Args:
            state: The run.
            rules: Of the environment.
            now: Keys have to count now.
            moment: When the answers have to last; by default now.
        """
        approvals: dict[str, Approval] = {}
        rejections: list[Approval] = []
        withdrawn: dict[str, datetime] = {}
        for answered, problem in self.checked(state, rules, now=now, moment=moment):
            if answered.approval is None:
                continue
            if _takes_request_back(answered.approval, state, rules):
                rejections.append(answered.approval)
            if problem:
                continue
            if answered.approval.answer == "reject":
                rejections.append(answered.approval)
            elif answered.approval.answer == "withdraw":
                taken = answered.approval
                withdrawn[taken.person] = max(taken.at, withdrawn.get(taken.person, taken.at))
            elif answered.approval.answer == "approve":
                given = answered.approval
                known = approvals.get(given.person)
                # The newest one: it may have been given again after it was withdrawn.
                approvals[given.person] = given if known is None or given.at > known.at else known
        reviewed = self._reviewed(state, rules, now=now, moment=moment)
        if reviewed is not None:
            approvals.setdefault(reviewed.person, reviewed)
        standing = (a for a in approvals.values() if stands_after(a, withdrawn))
        return tuple(standing), tuple(rejections)

    def unheard(self, state: RunState, rules: Rules, *, now: datetime) -> tuple[str, ...]:
        """Approvals of the open request that do not count, each with the reason: whoever gave one waits for nothing else."""
        return tuple(
            f"the approval of {answered.approval.person} does not count: {problem}"
            for answered, problem in self.checked(state, rules, now=now)
            if problem
            and answered.approval is not None
            and answered.approval.answer == "approve"
            and answered.approval.subject == state.request_digest
        )

    def _reviewed(
        self, state: RunState, rules: Rules, *, now: datetime, moment: datetime | None = None
    ) -> Approval | None:
        """A review on GitHub as one approval, however many people reviewed."""
        if state.request is None or self._platform.reviews is None:
            return None
        request = state.request
        # What was said before there was a plan to say it of is no consent to this one.
        before = Counter(state.reviewed_before)
        for review in self._platform.reviews.find(request.get("ci") or {}, rules.environment):
            before[review.mark] -= 1
            if before[review.mark] >= 0 or not review.quotes(state.request_digest):
                continue
            known = rules.trust.person(review.login)
            if known is None:
                continue
            approval = Approval(
                run=state.run,
                subject=state.request_digest,
                answer="approve",
                person=known.person,
                key=f"{GITHUB}{review.source}",
                # One from before the request is consent to something else: `check_approval` finds it older.
                at=review.at or now,
                expires=parse_time(request["expires"]),
                reason=f"{review.login} on GitHub, read at {now:%Y-%m-%dT%H:%M:%SZ}",
                evidence=review.evidence,
            )
            if review_problem(to_json(approval), request, rules.trust):
                continue
            if not self._problem(approval, state, rules, now=now, moment=moment):
                return approval
        return None

    def _problem(
        self,
        approval: Approval,
        state: RunState,
        rules: Rules,
        *,
        now: datetime,
        moment: datetime | None = None,
    ) -> str:
        return check_approval(
            approval,
            subject=state.request_digest,
            run=state.run,
            created=parse_time(state.request["created"]),
            expires=parse_time(state.request["expires"]),
            rules=rules,
            requesters=askers(state.request),
            now=now,
            moment=moment,
        )

    def checked(
        self, state: RunState, rules: Rules, *, now: datetime, moment: datetime | None = None
    ) -> list[tuple[Answered, str]]:
        """Every answer with what is wrong with it, or the empty text."""
        if state.request is None:
            return []
        found: list[tuple[Answered, str]] = []
        for answered in read_answers(
            self._directory,
            processes=self._platform.processes,
            trust=rules.trust,
            now=now,
        ):
            problem = answered.problem
            if answered.approval is not None:
                problem = self._problem(answered.approval, state, rules, now=now, moment=moment)
            found.append((answered, problem))
        return found

    def refuse_stale(self, state: RunState, plan: Plan, rules: Rules, *, now: datetime) -> None:
        """Refuses when an open request no longer fits the plan or the time.

        Raises:
            Refused: It says what changed.
        """
        request = state.request
        if request is None:
            return
        problem = ""
        if request["plan_digest"] != plan.digest:
            asked = state.asked or {}
            what = _what_changed(request["materials"], plan.materials) or _what_differs(asked, plan)
            is_same = asked.get("summary") == plan.summary
            now_it_is = "" if is_same else f" it is now “{plan.summary}”, and"
            problem = f"the plan is stale{what};{now_it_is} that was not asked for"
        elif now >= expires_of(request, rules):
            problem = f"the request expired at {format_time(expires_of(request, rules))}"
        if problem:
            raise Refused(problem, hint="Run the runbook again and ask for a new approval.")

    def refuse_expired(self, decision: Decision, *, now: datetime) -> None:
        """Refuses when the approvals of a decision are no longer enough; asked just before apply.

        Raises:
            Refused: They expired.
        """
        good = {approval.person for approval in decision.approvals if now < approval.expires}
        if len(good) < decision.approvals_needed:
            raise Refused(
                "the approval expired before apply could begin; nothing was changed",
                hint="Run the runbook again and ask for a new approval.",
            )

    def seconds_left(self, state: RunState) -> float:
        """How long the open request still lasts."""
        if state.request is None:
            return 0.0
        return max(0.0, (parse_time(state.request["expires"]) - datetime.now(UTC)).total_seconds())

    def refuse_twins(self, reports: Path, state: RunState, plan: Plan) -> None:
        """Refuses when another run about the same subject and environment waits or runs.

        Raises:
            Refused: It names that run.
        """
        earliest = f"{datetime.now(UTC) - SEARCHED:%Y%m%dT%H%M%SZ}"
        for directory in run_directories(reports):
            if directory.name < earliest:
                return
            if directory.name == state.run:
                continue
            other = scan_run(directory)
            same = (
                other.runbook == state.runbook
                and other.environment == plan.environment
                and other.opened.get("subject") == state.opened.get("subject")
                and other.opened.get("mode") == state.opened.get("mode")
            )
            if same and _is_active(reports, other):
                raise Refused(
                    f"{other.run} is {other.status} for {state.opened.get('subject')} in {plan.environment}",
                    hint=_how_it_goes_on(reports, other),
                )


def _takes_request_back(given: Approval, state: RunState, rules: Rules) -> bool:
    """Whether an answer is the requester's own withdrawal of the request: whoever sees it first ends the run."""
    asked_by = str(state.request["requester"]["name"])
    is_own = is_same_person(given.person, asked_by, rules.trust)
    is_of_it = (given.run, given.subject) == (state.run, state.request_digest)
    return given.answer == "withdraw" and is_of_it and is_own


def _what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What makes a plan another one, as far as its materials tell."""
    changed = [name for name, known in now.items() if before.get(name, known) != known]
    if changed:
        return f": {', '.join(changed)} changed"
    # Nothing in it changed where it was not looked at: what is bound depends on how Applications are synced.
    names = (name for name in before.keys() ^ now.keys() if name.endswith("/"))
    # A folder says more than what git itself reads above it.
    other = sorted(names, key=lambda name: (":." in name, name))
    if not other:
        return ""
    which = "now, and was not then" if other[0] in now else "no more"
    return f": {other[0]} counts {which}, since automation or sources of an Application changed"


def _what_differs(asked: Json, plan: Plan) -> str:
    """What else makes a plan another one: changes that came, went, or are others now, by name."""
    before = {str(one["address"]): one for one in asked.get("changes") or ()}
    now = {str(one["address"]): one for one in to_json(plan.changes)}
    said = [f"{name} came" for name in now if name not in before]
    said += [f"{name} went" for name in before if name not in now]
    said += [
        f"{name} is another change" for name in now if name in before and now[name] != before[name]
    ]
    if not said:
        old, new = asked.get("arguments") or {}, to_json(plan.arguments)
        said = [
            f"{name.replace('_', ' ')} changed"
            for name in dict.fromkeys((*old, *new))
            if old.get(name) != new.get(name)
        ]
    return f": {', '.join(said[:3])}{' …' if len(said) > 3 else ''}" if said else ""


def _how_it_goes_on(reports: Path, other: RunState) -> str:
    """The commands that work on a run that is in the way, as it stands: one that waits is not resumed before it is approved."""
    end = f"or end it with `gitops-nb reject {other.run} --reason TEXT`, or `gitops-nb withdraw` by who asked or approved."
    approve = f"Another person runs `gitops-nb approve {other.run}`"
    if other.status is Status.RUNNING:
        return f"Wait for it to end; `gitops-nb report {other.run}` says how it ended."
    if is_run_held(reports, other.run):
        return f"{approve}, and it goes on in the notebook that waits; {end}"
    if has_answers(reports / other.run) and not missing_answers(reports / other.run, other):
        return f"Go on with `gitops-nb resume {other.run}`, which has an answer; {end}"
    return f"{approve}, then `gitops-nb resume {other.run}`; {end}"


def _is_active(reports: Path, other: RunState) -> bool:
    if other.status is Status.RUNNING:
        return is_run_held(reports, other.run) and bool(other.effects)
    if other.status is not Status.WAITING or other.request is None:
        return False
    return datetime.now(UTC) < parse_time(other.request["expires"])
