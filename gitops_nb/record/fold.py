"""What a journal says: status, steps, effects, plan, decision, outcome of one run.

``fold`` is a pure function over the records. The command line, the notebook panel, report.json,
report.html and the index all show this value and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gitops_nb.errors import RecordError
from gitops_nb.model import Json, Status, StepKind
from gitops_nb.record.journal import Record
from gitops_nb.record.shapes import own_command, shape_problem


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of the run. ``sentence`` is its finding in plain words; times are RFC 3339 UTC or ""."""

    name: str
    kind: str = "read"
    status: Status = Status.PENDING
    sentence: str = ""
    started: str = ""
    ended: str = ""
    took_ms: int = 0
    value: Json = None


@dataclass(frozen=True, slots=True)
class EffectState:
    """One effect: ``intent`` was written at ``started``; ``ended`` is "" while its result is not known.

    ``failed`` says why it surely did not happen; ``adopted`` that a probe found it done after an interruption.
    ``tried`` are the commits that a push of it was made on, also in attempts before: one of them may get its answer late.
    """

    key: str
    kind: str
    step: str
    sentence: str
    started: str
    ended: str = ""
    result: Mapping[str, Json] = field(default_factory=dict)
    adopted: bool = False
    failed: str = ""
    tried: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True when the intent has no result: the effect is in doubt."""
        return not self.ended


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything a run's journal says. JSON parts have the shapes of ``gitops_nb.model``.

    ``opened`` holds the body of the first record: run, runbook, title, owner, risk, rollback, notebook_digest,
    package, mode, environment, source, subject, parameters, requester {name, kind, evidence}, steps, workspace. ``begun`` names
    the start of the newest attempt that began effects, and the register that it is in. ``witnessed`` is False for an end that
    somebody wrote who did not see it; ``unknown`` is True where effects had begun by then, of which the journal has none. ``asked`` is the plan that the request
    was made of: ``plan`` may be a newer one. ``requests`` are the digests of all requests that the journal has: a run makes one. ``outcome`` is what the newest
    attempt found, and ``seen`` what one before it did.
    """

    run: str = ""
    opened: Mapping[str, Json] = field(default_factory=dict)
    status: Status = Status.PENDING
    exit_code: int | None = None
    reason: str = ""
    hint: str = ""
    command: str = ""
    started: str = ""
    ended: str = ""
    witnessed: bool = True
    unknown: bool = False
    redactions: Mapping[str, int] = field(default_factory=dict)
    waited_ms: int = 0
    attempts: tuple[Mapping[str, Json], ...] = ()
    steps: tuple[StepState, ...] = ()
    effects: tuple[EffectState, ...] = ()
    plan: Json = None
    asked: Json = None
    plan_digest: str = ""
    request: Json = None
    request_digest: str = ""
    requests: tuple[str, ...] = ()
    request_signature: str = ""
    request_identity: Mapping[str, Json] = field(default_factory=dict)
    reviewed_before: tuple[str, ...] = ()
    decision: Json = None
    begun: Mapping[str, Json] = field(default_factory=dict)
    approvals: tuple[Mapping[str, Json], ...] = ()
    targets: tuple[Mapping[str, Json], ...] = ()
    outcome: Json = None
    seen: Json = None
    aftermath: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    head: str = ""

    @property
    def runbook(self) -> str:
        """Name of the runbook."""
        return str(self.opened.get("runbook", ""))

    @property
    def environment(self) -> str:
        """The environment that the run changes or reads."""
        return str(self.opened.get("environment", ""))

    @property
    def is_sandbox(self) -> bool:
        """True when nothing real was touched."""
        return self.opened.get("mode") == "sandbox"

    @property
    def touched(self) -> tuple[EffectState, ...]:
        """Effects that happened or may have happened; empty means that nothing was changed."""
        return tuple(effect for effect in self.effects if not effect.failed)

    @property
    def broke_glass(self) -> bool:
        """True when something was begun without approval; whether that was reviewed since, the ledger knows."""
        return bool((self.request or {}).get("break_glass")) and bool(self.touched)

    @property
    def is_unwatched(self) -> bool:
        """True where it ended in doubt, and no look of a later attempt could tell more: nothing is open that it could settle."""
        in_doubt = self.status is Status.NEEDS_ATTENTION and bool(self.ended)
        seen = self.outcome if isinstance(self.outcome, Mapping) else {}
        return in_doubt and seen.get("unwatched") is True and not self.in_doubt

    @property
    def changed(self) -> tuple[EffectState, ...]:
        """Those of them that change something; to ask a system to look again changes nothing."""
        return tuple(effect for effect in self.touched if effect.kind != StepKind.READ)

    def effect(self, key: str) -> EffectState | None:
        """The effect of this key if it happened or may have happened, else None."""
        return next((effect for effect in self.touched if effect.key == key), None)

    @property
    def in_doubt(self) -> tuple[EffectState, ...]:
        """Effects that were begun and whose result is not known; of those that only ask for a look nothing depends."""
        return tuple(e for e in self.effects if e.is_open and e.kind != StepKind.READ)

    def step(self, name: str) -> StepState | None:
        """The step of this name, or None."""
        return next((step for step in self.steps if step.name == name), None)


def fold(records: Iterable[Record]) -> RunState:
    """Folds a journal into the state of its run.

    Raises:
        RecordError: A record is none that this package writes.
    """
    state = RunState()
    waiting_since = ""
    for record in records:
        problem = shape_problem(record.kind, record.at, record.body)
        if problem:
            raise RecordError(
                f"line {record.seq + 1} is no record of this package: {problem}",
                hint="Keep the directory as evidence and run `gitops-nb verify` on it.",
            )
        state = replace(state, records=record.seq + 1, head=record.hash)
        if record.kind == "attempt" and waiting_since:
            state = replace(
                state, waited_ms=state.waited_ms + _ms_between(waiting_since, record.at)
            )
            waiting_since = ""
        if record.kind == "waiting":
            waiting_since = waiting_since or record.at
        if record.kind == "approval" and waiting_since:
            state = replace(
                state, waited_ms=state.waited_ms + _ms_between(waiting_since, record.at)
            )
            waiting_since = ""
        state = _apply(state, record)
    return state


def _apply(state: RunState, record: Record) -> RunState:
    body = record.body
    match record.kind:
        case "opened":
            steps = tuple(StepState(name) for name in body["steps"])
            return replace(
                state,
                run=body["run"],
                opened=body,
                status=Status.RUNNING,
                started=record.at,
                steps=steps,
            )
        case "attempt":
            return replace(
                state,
                attempts=(*state.attempts, {**body, "at": record.at}),
                status=Status.RUNNING,
                exit_code=None,
                reason="",
                hint="",
                command="",
                ended="",
                witnessed=True,
                unknown=False,
                aftermath={},
                # What an earlier attempt saw is no finding of this one.
                outcome=None,
                seen=state.outcome or state.seen,
                # What was sealed is about to change.
                files={},
            )
        case "step":
            return _fold_step(state, record)
        case "planned":
            if state.changed and state.plan_digest == (state.request or {}).get("plan_digest"):
                return state  # what was begun was begun by that plan; a later look answers what would be planned now
            return replace(state, plan=body["plan"], plan_digest=body["digest"])
        case "requested":
            return replace(
                state,
                asked=state.plan,
                request=body["request"],
                request_digest=body["digest"],
                requests=(*state.requests, body["digest"]),
                request_signature=body.get("signature", ""),
                request_identity=body.get("identity") or {},
                reviewed_before=tuple(body.get("reviewed_before") or ()),
            )
        case "decision":
            return replace(state, decision=body)
        case "approval":
            return replace(state, approvals=(*state.approvals, body), status=Status.RUNNING)
        case "target":
            return replace(state, targets=(*state.targets, body))
        case "intent":
            before = next((e for e in state.effects if e.key == body["key"] and e.is_open), None)
            effect = EffectState(
                body["key"],
                body["kind"],
                body["step"],
                body["sentence"],
                record.at,
                # No answer came to what an attempt before this one sent, and it is the same effect.
                tried=before.tried if before is not None else (),
            )
            others = tuple(e for e in state.effects if e.key != effect.key)
            return replace(state, effects=(*others, effect))
        case "tried":
            return replace(
                state,
                effects=tuple(
                    replace(e, tried=(*e.tried, body["on"])) if e.key == body["key"] else e
                    for e in state.effects
                ),
            )
        case "done":
            return replace(
                state,
                effects=tuple(
                    _finish(e, record) if e.key == body["key"] else e for e in state.effects
                ),
            )
        case "void":
            return replace(
                state,
                effects=tuple(
                    replace(e, ended=record.at, failed=body["reason"])
                    if e.key == body["key"]
                    else e
                    for e in state.effects
                ),
            )
        case "ledger":
            return replace(state, begun=body if body.get("start") else {})
        case "outcome":
            return replace(state, outcome=_safe(body["outcome"]))
        case "aftermath":
            return replace(state, aftermath=_safe({k: str(v) for k, v in body.items()}))
        case "waiting":
            return replace(
                state,
                status=Status.WAITING,
                reason=body["reason"],
                hint=body.get("hint", ""),
                command=own_command(body.get("command", "")),
            )
        case "ended":
            return replace(
                state,
                status=Status(body["status"]),
                exit_code=body["exit_code"],
                reason=body["reason"],
                hint=body.get("hint", ""),
                command=own_command(body.get("command", "")),
                ended=record.at,
                witnessed=body.get("witnessed", True) is not False,
                unknown=body.get("unknown", False),
                # What a journal says came out of a run counts with the end that was seen.
                outcome=state.outcome if body.get("witnessed", True) is not False else None,
                redactions=body.get("redactions") or {},
            )
        case "sealed":
            return replace(state, files=body["files"])
    return state


def _safe(said: Json) -> Json:
    """The same without a command that is none of ours."""
    if not isinstance(said, Mapping):
        return said
    own = {n: own_command(str(said[n])) for n in ("command", "undo") if said.get(n)}
    return {**said, **own}


def _fold_step(state: RunState, record: Record) -> RunState:
    body = record.body
    name = body["step"]
    status = Status(body["status"])
    old = state.step(name) or StepState(name)
    if status is Status.RUNNING:
        new = StepState(name, body.get("kind", old.kind), status, started=record.at)
    else:
        new = replace(
            old,
            status=status,
            sentence=body.get("sentence", ""),
            ended=record.at,
            took_ms=body.get("took_ms", 0),
            value=body.get("value"),
        )
    if state.step(name) is None:
        return replace(state, steps=(*state.steps, new))
    return replace(state, steps=tuple(new if s.name == name else s for s in state.steps))


def _finish(effect: EffectState, record: Record) -> EffectState:
    body = record.body
    return replace(
        effect,
        ended=record.at,
        result=body["result"],
        adopted=body.get("adopted", False),
    )


def _ms_between(earlier: str, later: str) -> int:
    from datetime import datetime

    return int(
        (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() * 1000
    )
