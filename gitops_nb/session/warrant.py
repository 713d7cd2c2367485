"""Whether effects of a run may begin or go on, asked right before each of them, of what the run's own record cannot change.

People consent, runners only witness. A journal's decision proves nothing: signatures of people are checked again, against people,
rules and revocations at the protected branch's tip, and the register says whether another runner began the same request.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError, NeedsAttention, Refused, Stop
from gitops_nb.model import (
    Approval,
    Commit,
    Json,
    Mode,
    Plan,
    Verdict,
    format_time,
    from_json,
    parse_time,
    to_json,
)
from gitops_nb.policy import (
    CLOCK_SKEW,
    Proof,
    Requester,
    Rules,
    expires_of,
    is_same_person,
    no_glass,
    rules_for,
    stands_after,
    stricter,
)
from gitops_nb.record.approvals import VERSION
from gitops_nb.record.commits import (
    TRAILER_JOURNAL,
    TRAILER_LEDGER,
    TRAILER_PLAN,
    TRAILER_RUN,
    TRAILER_START,
    signed_by,
    signed_trailers,
)
from gitops_nb.record.consents import contradictions
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import HELD_HERE, custody, open_runner_key
from gitops_nb.record.locks import Owner, this_process
from gitops_nb.record.register import Chain, Entry, Kind, Register
from gitops_nb.session.code import code_of
from gitops_nb.session.consent import APPROVALS, Consent
from gitops_nb.session.notary import anchor
from gitops_nb.session.order import given
from gitops_nb.session.origins import same_place
from gitops_nb.session.platform import Platform
from gitops_nb.session.protected import Ground
from gitops_nb.session.registers import place_of, register_under
from gitops_nb.session.runners import refuse_unlisted_runner, unpinned
from gitops_nb.session.targets import has_ended

NEWEST = "newest"
"""In place of a start's digest: an effect is there, and it does not say which start made it."""
WAIVED_FOR = timedelta(hours=24)
"""How long after its start a change that the world shows may be finished, although its approvals expired."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for a run at one moment: the rules, who said yes, and what the register has."""

    ground: Ground
    rules: Rules
    approvals: tuple[Approval, ...]
    chain: Chain


class Warrant:
    """Asks before effects, and writes their start into the register.

    Args:
        workspace: Of the run.
        platform: Its handles.
        consent: Checks requests and answers.
        state: The run as its journal says now.
        environment: Where the change lands, from the parameters and the fleet; what the record says has to be the same.
        beyond: What a plan would change outside of that, in words.
        other_code: What of the run's code is not what it began with.
    """

    def __init__(
        self,
        workspace: Workspace,
        platform: Platform,
        consent: Consent,
        state: Callable[[], RunState],
        *,
        environment: str,
        beyond: Callable[[Plan], str],
        other_code: tuple[str, ...] = (),
    ) -> None:
        self._workspace = workspace
        self._platform = platform
        self._consent = consent
        self._state = state
        self._environment = environment
        self._beyond = beyond
        self._other_code = other_code
        self._start: Entry | None = None
        self._entries = 0
        self._register: Register | None = None
        self._waiver: Entry | None = None
        self._forbidden: Stop | None = None
        self.anchor = ""
        self.had_starts = False
        self._begun_by: Rules | None = None

    @property
    def start(self) -> Entry | None:
        """What this process wrote into the register; None before."""
        return self._start

    def chain(self) -> Chain:
        """What the register has about the request of this run; nothing where there is no request.

        Raises:
            UnavailableError: The register does not answer.
        """
        digest = self._state().request_digest
        if not digest:
            return Chain("")
        ground = self._platform.look_again()
        return self._open(ground, self._rules(ground)).chain(digest)

    def standing(self, plan: Plan) -> Standing:
        """Who said yes to exactly this plan, and that it may begin or go on now.

        Raises:
            Refused: It may not; the message says what is missing.
            UnavailableError: Somebody who has to be asked does not answer.
        """
        state, ground = self._state(), self._platform.look_again()
        now = datetime.now(UTC)
        self._refuse_unbound(state, plan)
        rules = self._rules(ground)
        if rules.stopped:
            raise Refused(
                f"{rules.environment} is stopped by policy.yaml: {rules.stopped}",
                hint="When the line is taken out of the protected branch, a run that has begun is resumed; any other is run again.",
            )
        self._refuse_other_place(state, ground)
        self._refuse_other_code(state)
        self._refuse_other_target(state, ground)
        self._refuse_unbelieved(rules, ground)
        register = self._open(ground, rules)
        chain = register.chain(state.request_digest)
        self._entries = len(chain.entries)
        self._refuse_by_people(chain, rules)
        self._consent.refuse_unproven(state, rules)
        begun = self._waiver
        if begun is not None and begun.at is not None and now >= begun.at + WAIVED_FOR:
            raise Refused(
                f"it began at {format_time(begun.at)}: after {WAIVED_FOR // timedelta(hours=1)} hours nothing goes on without a new approval",
                hint="Run the runbook again and ask anew.",
                is_final=True,
            )
        moment = begun.at if begun is not None and begun.at is not None else now
        approvals, rejections = self._consent.answers(state, rules, now=now, moment=moment)
        taken = chain.withdrawn
        approvals = tuple(a for a in approvals if stands_after(a, taken))
        if rejections:
            names = ", ".join(f"{one.person} ({one.reason})" for one in rejections)
            raise Refused(f"rejected by {names}", is_final=True)
        self._refuse_missing(state, rules, approvals, moment)
        return Standing(ground, rules, approvals, chain)

    def begin(self, plan: Plan, verdicts: Sequence[Verdict]) -> Mapping[str, Json]:
        """Writes into the register that effects begin; nobody else may begin the same request from then on.

        Raises:
            Refused: It may not begin, or is done.
            NeedsAttention: Another runner began it, and nothing says that it ended.
            UnavailableError: The register does not answer.
        """
        held = self.standing(plan)
        # Before anything is written there: an entry that nobody believes can never be taken away.
        refuse_unlisted_runner(self._workspace, held.rules)
        register = self._open(held.ground, held.rules)
        signer = open_runner_key(self._workspace.root)
        state = self._state()
        holder = this_process(state.run, f"carries out {state.run}")
        nonce = secrets.token_hex(16)
        if self._start is not None and held.chain.open_start == self._start:
            # The same cell once more: what it did is looked for, and nobody else began meanwhile.
            self.had_starts = True
            return self._told(held.ground)
        self._close_dead(register, state, held.rules)
        self.had_starts = bool(register.chain(state.request_digest).starts)

        def write(chain: Chain) -> bytes:
            self._refuse_by_people(chain, held.rules)
            self._refuse_begun(chain)
            body = {
                "run": state.run,
                "attempt": len(state.attempts),
                "plan": plan.digest,
                "environment": state.environment,
                "nonce": nonce,
                "holder": asdict(holder),
                "after": chain.last.digest if chain.last is not None else "",
                "answers": [_named(approval) for approval in held.approvals],
                "policy": dict(held.ground.source),
                "verdicts": to_json(tuple(verdicts)),
                "key_held": custody(),
            }
            return register.by_runner(signer, chain, Kind.START, at=datetime.now(UTC), body=body)

        self._start = register.append(state.request_digest, write)
        if not self._start.counts:
            raise Refused(
                f"{state.environment} does not believe this runner: {self._start.problem}",
                hint="List its key below `runners` in trust.yaml; `gitops-nb doctor` prints the line.",
            )
        self._begun_by = held.rules
        self._entries = self._start.number + 1
        self._register = register
        return self._told(held.ground)

    def _told(self, ground: Ground) -> Mapping[str, Json]:
        assert self._start is not None
        return {"start": self._start.digest, "register": place_of_json(self._place(ground))}

    def find(self, digest: str) -> None:
        """Goes on with a start that the engine wrote for this process.

        Raises:
            Refused: The register has no such start, or another entry behind it.
        """
        ground = self._platform.look_again()
        rules = self._rules(ground)
        register = self._open(ground, rules)
        found = register.chain(self._state().request_digest).open_start
        if found is None or found.digest != digest:
            raise Refused("another runner went on with this request")
        self._start, self._register, self._entries = found, register, found.number + 1
        self._begun_by = rules
        self.had_starts = found.number > 0

    def trailers(self, plan: str, parent: str, head: str) -> str:
        """See ``ports.Effects.trailers``."""
        start = self._start.digest if self._start is not None else ""
        notary = given().notary
        if notary:
            # The engine signs what it knows itself; a notebook's process only says which parent it means.
            return anchor(notary, parent)
        said = {
            TRAILER_RUN: self._state().run,
            TRAILER_PLAN: plan,
            TRAILER_JOURNAL: head,
            TRAILER_LEDGER: self.anchor,
            TRAILER_START: start,
        }
        return signed_trailers(
            said,
            parent,
            signer=open_runner_key(self._workspace.root),
            realm=self._platform.trust.realm,
        )

    def made(self, commit: Commit) -> bool:
        """See ``ports.Effects.made``."""
        started = commit.trailers.get(TRAILER_START, "")
        if len(commit.parents) != 1 or commit.trailers.get(TRAILER_RUN) != self._state().run:
            return False
        ground = self._platform.look_again()
        rules = self._rules(ground)
        register = self._open(ground, rules)
        if started not in {
            one.digest for one in register.chain(self._state().request_digest).starts
        }:
            return False
        # What a runner made is made, also when its key was taken away since.
        return bool(
            signed_by(
                commit.trailers,
                commit.parents[0],
                at=commit.committed_at,
                runners=register.starters,
                realm=rules.trust.realm,
            )
        )

    def is_over(self) -> bool:
        """Whether nobody can still be at what was begun: every start has ended, or its holder is proven gone."""
        held = self.chain().open_start
        if held is None:
            return True
        ground = self._platform.look_again()
        return bool(gone(_owner(held), self._rules(ground).ci_api))

    def start_shown(self, digest: str) -> Entry | None:
        """The start of this digest, or the newest one for ``NEWEST``; None where it is none that counts."""
        starts = self.chain().starts
        if digest == NEWEST:
            return starts[-1] if starts else None
        return next((one for one in starts if one.digest == digest), None)

    def waive(self, start: Entry) -> None:
        """The world shows an effect of this start: its time limits are not asked again, for a day."""
        rules = self._rules(self._platform.look_again())
        expires = expires_of(self._state().request, rules)
        if start.counts and start.at is not None and start.at < expires:
            self._waiver = start

    def forbid(self, refusal: Stop) -> None:
        """Effects are only looked at from now on, and none begins."""
        self._forbidden = refusal

    def confirm(self, plan: Plan) -> None:
        """Asked before each effect: everything that held when it began holds still.

        Raises:
            Refused: Something does not.
        """
        if self._forbidden is not None:
            raise self._forbidden
        self.standing(plan)
        self._refuse_lost()

    def still_mine(self) -> None:
        """Asked before each write: no entry of the register came behind this process's own start.

        Raises:
            Refused: Somebody else went on with the request, ended it, or said no.
        """
        if self._forbidden is not None:
            raise self._forbidden
        if self._start is None or self._register is None:
            raise Refused("nothing was begun that could write")
        request = self._state().request_digest
        if self._register.count(request) != self._entries:
            self._entries = len(self._register.chain(request).entries)
            self._refuse_lost()

    def _refuse_lost(self) -> None:
        if self._start is None or self._register is None:
            raise Refused("nothing was begun that could write")
        chain = self._register.chain(self._state().request_digest)
        if self._begun_by is not None:
            self._refuse_by_people(chain, self._begun_by)
            self._refuse_taken(chain, self._start, self._begun_by)
        found = chain.open_start
        if found is None or found.digest != self._start.digest:
            raise Refused(
                "another runner went on with this request, or somebody said that this one is gone; nothing more is written here",
                hint="Look at the run in its register; `gitops-nb list runs` names it.",
            )

    def _refuse_taken(self, chain: Chain, start: Entry, rules: Rules) -> None:
        """An approval that the start rests on was taken back since, and too few are left."""
        answers = start.body.get("answers")
        given = (
            [one for one in answers if isinstance(one, Mapping)]
            if isinstance(answers, list)
            else []
        )
        taken = chain.withdrawn
        gone = [
            str(one["person"])
            for one in given
            if (at := taken.get(str(one["person"])))
            and parse_time(str(one["at"])) <= at + CLOCK_SKEW
        ]
        glass = (self._state().request or {}).get("break_glass")
        left = {str(one["person"]) for one in given} - set(gone)
        if gone and not glass and len(left) < rules.approvals:
            raise Refused(f"{gone[0]} took the approval back; nothing more is written")

    def rules(self) -> Rules:
        """What both the request's policy and today's allow, asked now.

        Raises:
            Refused: The request's policy is no commit of the protected branch.
        """
        return self._rules(self._platform.look_again())

    def _rules(self, ground: Ground) -> Rules:
        """What both the request's policy and today's allow.

        Raises:
            Refused: The request's policy is no commit of the protected branch.
        """
        state = self._state()
        environment = self._environment
        if environment not in ground.fleet.environments:
            raise Refused(f"the fleet has no environment {environment} any more")
        now = rules_for(ground.fleet, ground.policy, ground.trust, environment)
        commit = str(((state.request or {}).get("policy") or {}).get("commit") or "")
        if state.is_sandbox and state.request is not None:
            return _with_its_count(now, state.request)
        if ground.at is None or commit == ground.source.get("commit"):
            return now
        if not commit:
            if state.request is None:
                return now
            # What limits a request is not left to who asks.
            raise Refused(
                "the request does not name the commit of the rules that it was made with",
                hint="Run the runbook again.",
                is_final=True,
            )
        try:
            before, why = ground.at(commit)
        except ConfigurationError as error:
            raise Refused(f"the policy of {commit[:8]} cannot be read: {error.message}") from error
        if before is None:
            known = f"cannot be told: {why}" if why else "is none"
            raise Refused(
                f"whether the request's policy {commit[:8]} is a commit of {ground.source['from']} {known}",
                hint="Fetch the branch whole, or run the runbook again.",
            )
        if environment not in before.fleet.environments:
            raise Refused(f"{environment} was no environment when this was asked for")
        then = rules_for(before.fleet, before.policy, before.trust, environment)
        return stricter(then, now)

    def _refuse_unbound(self, state: RunState, plan: Plan) -> None:
        request = state.request
        if request is None:
            raise Refused("nobody asked for this", hint="Run the runbook again.")
        problems = contradictions(state)
        if {state.environment, request.get("environment"), plan.environment} != {self._environment}:
            problems.append(
                f"{self._environment} is asked for, and the record is about another environment"
            )
        beyond = self._beyond(plan)
        if beyond:
            problems.append(f"the plan is not of what was asked for: {beyond}")
        if request.get("v") != VERSION:
            problems.append("the request is of another version of this package")
        if request.get("plan_digest") != plan.digest:
            problems.append("the request is about another plan")
        if request.get("mode") != self._platform.mode:
            problems.append(f"the request is for the {request.get('mode')} platform")
        if problems:
            raise Refused("; ".join(problems), hint="Run the runbook again.", is_final=True)

    def _place(self, ground: Ground) -> Mapping[str, Json]:
        sandbox = self._state().is_sandbox
        return place_of(self._workspace, ground.fleet, is_sandbox=sandbox)

    def _refuse_other_place(self, state: RunState, ground: Ground) -> None:
        here = place_of_json(self._place(ground))
        asked = state.request.get("register")
        if here != asked:
            raise Refused(
                f"the request is registered in {_words(asked)}, and this workspace keeps its register in {_words(here)}",
                hint="Use the workspace and reports that the request was made in, or run the runbook again.",
            )
        asked_origin = (state.request.get("policy") or {}).get("origin", "")
        if not same_place(asked_origin, ground.source.get("origin", "")):
            raise Refused(
                f"the request's rules are of {asked_origin or 'no origin'}, and this workspace's of {ground.source.get('origin') or 'no origin'}",
                hint="Run the runbook again.",
            )

    def _refuse_other_code(self, state: RunState) -> None:
        now = code_of(state.runbook)
        differs = [
            f"the {name}" for name, value in now.items() if state.request["code"].get(name) != value
        ]
        differs = list(dict.fromkeys((*self._other_code, *differs)))
        if differs:
            raise Refused(
                f"{' and '.join(differs)} changed since it was asked for: other code looks at what was begun, and begins nothing",
                hint="Resume with the code that was asked for, or run the runbook again.",
            )

    def _refuse_other_target(self, state: RunState, ground: Ground) -> None:
        if state.is_sandbox:
            return
        found_now = self._platform.check_targets(ground.fleet, state.environment)
        now = {target.system: target for target in found_now}
        named = state.request.get("targets") or {}
        bound = {f"cluster {name}" for name in ground.fleet.clusters_of(state.environment)}
        bound |= {name for name in now if name.startswith("repository ")}
        unnamed = sorted(bound & now.keys() - named.keys())
        if unnamed:
            raise Refused(
                f"the request does not say which {unnamed[0]} it is for",
                hint="Run the runbook again.",
                is_final=True,
            )
        for system, asked in named.items():
            found = now.get(system)
            if found is None or found.address != asked.get("address"):
                raise Refused(
                    f"{system} was {asked.get('address')} when this was asked for, and is {found.address if found else 'not in fleet.yaml'}",
                    hint="Run the runbook again.",
                )
            if asked.get("uid") and found.uid != asked["uid"]:
                raise Refused(
                    f"{system} is another cluster than was asked for: its kube-system has UID {found.uid or 'nobody may read'}",
                    hint="Run the runbook again.",
                )

    def _refuse_unbelieved(self, rules: Rules, ground: Ground) -> None:
        """Live changes that need approval are made by proven runners, by rules of a pinned origin."""
        if self._platform.mode is not Mode.LIVE or not rules.approvals:
            return
        if "commit" not in ground.source or not ground.is_pinned:
            raise unpinned(rules, ground.source)
        if custody() == HELD_HERE and not rules.believes_told:
            raise Refused(
                f"{rules.environment} believes only runners whose key no notebook can read, and this one's is a file",
                hint=f"Let CI hold it in GITOPS_NB_RUNNER_KEY, or write `runner_proof: told` for {rules.environment} into policy.yaml.",
            )

    def _refuse_by_people(self, chain: Chain, rules: Rules) -> None:
        """A registered no of somebody who may say it, or the requester's own withdrawal."""
        asked_by = str(self._state().request["requester"]["name"])
        may = rules.noes
        for entry in chain.standing(Kind.REJECT, Kind.WITHDRAW):
            own = is_same_person(entry.signer, asked_by, rules.trust)
            if entry.kind is Kind.REJECT and (own or entry.signer in may):
                said = f"{entry.signer} rejected it: {entry.body.get('reason')}"
                raise Refused(said, is_final=True)
            if entry.kind is Kind.WITHDRAW and own:
                said = f"{entry.signer} withdrew the request: {entry.body.get('reason')}"
                raise Refused(said, is_final=True)

    def _refuse_missing(
        self,
        state: RunState,
        rules: Rules,
        approvals: Sequence[Approval],
        moment: datetime,
    ) -> None:
        request = state.request
        requester = from_json(Requester, dict(request["requester"]))
        glass = request.get("break_glass") or {}
        expires = expires_of(request, rules)
        if rules.approvals and moment >= expires:
            raise Refused(
                f"the request expired at {format_time(expires)}",
                hint="Run the runbook again and ask for a new approval.",
                is_final=True,
            )
        if glass and rules.approvals:
            may = {one.person for one in rules.approvers if one.break_glass}
            if requester.proof is not Proof.KEY or requester.name not in may:
                raise Refused(no_glass(requester, rules))
            return
        persons = {approval.person for approval in approvals if moment < approval.expires}
        if len(persons) < rules.approvals:
            raise Refused(
                f"{len(persons)} of {rules.approvals} approvals count now; nothing more is begun",
                hint="Run the runbook again and ask for a new approval.",
                is_final=True,
            )

    def _refuse_begun(self, chain: Chain) -> None:
        done = chain.success
        if done is not None:
            raise Refused(
                f"this request was carried out already: {done.body.get('run')}, ended {format_time(done.at) if done.at else '?'}",
                hint="Start a new run.",
                is_final=True,
            )
        held = chain.open_start
        if held is not None:
            owner = _owner(held)
            raise NeedsAttention(
                f"{owner} began this request, and nothing says that it ended",
                hint=f"Wait for it; when it is gone for certain, run `gitops-nb unlock {held.body.get('run')} --reason TEXT`.",
            )

    def _close_dead(self, register: Register, state: RunState, rules: Rules) -> None:
        """Ends the start of a runner that is proven gone: what it did, nobody saw."""
        held = register.chain(state.request_digest).open_start
        if held is None:
            return
        proof = gone(_owner(held), rules.ci_api)
        if not proof:
            return
        signer = open_runner_key(self._workspace.root)
        open_digest = held.digest

        def write(chain: Chain) -> bytes:
            now = chain.open_start
            if now is None or now.digest != open_digest:
                raise Refused("another runner went on with this request meanwhile")
            body = {
                "start": open_digest,
                "run": state.run,
                "status": "not witnessed",
                "proof": proof,
            }
            return register.by_runner(signer, chain, Kind.CLOSED, at=datetime.now(UTC), body=body)

        register.append(state.request_digest, write)

    def _open(self, ground: Ground, rules: Rules) -> Register:
        return register_under(
            self._workspace,
            ground,
            rules,
            self._platform.processes,
            is_sandbox=self._state().is_sandbox,
        )


def _with_its_count(now: Rules, request: Mapping[str, Json]) -> Rules:
    """The rules with the greater number of approvals, the request's or today's."""
    policy = request.get("policy")
    said = str(policy.get(APPROVALS) or "") if isinstance(policy, Mapping) else ""
    count = int(said) if said.isascii() and said.isdecimal() and len(said) < 4 else 0
    return replace(
        now,
        approvals=max(now.approvals, count),
        approval_required=now.approval_required or count > 0,
    )


def gone(owner: Owner, ci_api: str) -> str:
    """What proves that a start's holder is gone with all it started, in words; the empty text when nothing does."""
    if owner.is_here:
        return "its process is gone" if owner.is_proven_dead and not owner.left_commands() else ""
    run = owner.hosted_run
    return (
        "the CI host says that its attempt is completed" if run and has_ended(ci_api, *run) else ""
    )


def _owner(start: Entry) -> Owner:
    return Owner(**start.body["holder"])


def place_of_json(place: Mapping[str, Json]) -> Json:
    """A place as it stands in requests."""
    return {name: str(value) for name, value in place.items()}


def _words(place: Json) -> str:
    if not isinstance(place, Mapping):
        return "no known place"
    return f"{place.get('kind')} {place.get('at')}".strip()


def _named(approval: Approval) -> Mapping[str, Json]:
    return {
        "person": approval.person,
        "answer": approval.answer,
        "key": approval.key,
        "at": format_time(approval.at),
        "expires": format_time(approval.expires),
    }
