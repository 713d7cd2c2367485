"""What a ledger record says about a run: a fold over its journal, and the digests of its files."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from gitops_nb.catalog.parameters import SECRET_REFERENCE
from gitops_nb.model import Json, digest
from gitops_nb.record import journal
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import EffectState, RunState, StepState
from gitops_nb.record.ledger import CLOCK_SKEW, Phase
from gitops_nb.record.runs import files_of


def subjects_of(phase: Phase, state: RunState, directory: Path) -> Mapping[str, str]:
    """SHA-256 (hex) by name: of the request, of the plan, or of every file of a run that ended."""
    match phase:
        case Phase.REQUESTED:
            return {"request": _hex(state.request_digest)}
        case Phase.START:
            return {"plan": _hex(state.plan_digest)}
    names = (*files_of(directory), journal.FILE)
    return {name: _hex(sha256_file(directory / name)) for name in names}


def body_of(phase: Phase, state: RunState, *, signer: str, key_held: str) -> Mapping[str, Json]:
    """The predicate's fields beside run, attempt, time and the ledger's own; ``docs/record.md`` lists them.

    Args:
        phase: requested, start or end.
        state: Fold of the run's journal.
        signer: "engine" when the notebook's process has no part in signing, "session" when it signs itself.
        key_held: Where the key is that signs (see ``keys.custody``).
    """
    opened = state.opened
    attempt = state.attempts[-1] if state.attempts else {}
    parameters = opened.get("parameters", {})
    body: dict[str, Json] = {
        "signer": signer,
        "key_held": key_held,
        "environment": state.environment,
        "mode": opened.get("mode", ""),
        "subject": opened.get("subject", ""),
        "runbook": {
            "name": state.runbook,
            "notebook_digest": opened.get("notebook_digest", ""),
            "risk": opened.get("risk", ""),
        },
        "parameters": parameters,
        "parameters_digest": digest(parameters),
        "secret_references": sorted(
            name
            for name, value in parameters.items()
            if isinstance(value, str) and SECRET_REFERENCE.fullmatch(value)
        ),
        "source": attempt.get("source") or {},
        "requester": opened.get("requester", {}),
        "identity": dict(state.request_identity),
        "executor": {name: attempt.get(name, "") for name in ("front", "who", "host")},
        "may": attempt.get("may") or {},
        "policy": attempt.get("policy") or {},
        "tools": [
            {"name": "gitops_nb", "version": opened.get("package", "")},
            {"name": "python", "version": opened.get("python", "") or platform.python_version()},
            *(
                {"name": name, "version": version}
                for name, version in sorted((attempt.get("tools") or {}).items())
            ),
        ],
        "journal": {"records": state.records, "head": state.head},
        "clock": _clock(state),
        "plan": _plan(state),
        "request_digest": state.request_digest,
        "break_glass": (state.request or {}).get("break_glass") or {},
        "ci": (state.request or {}).get("ci") or {},
    }
    if phase is not Phase.REQUESTED:
        decision = state.decision or {}
        body |= {
            "decision": {name: decision[name] for name in _DECISION if name in decision},
            "approvals": [dict(approval) for approval in state.approvals],
            "targets": [dict(target) for target in state.targets],
        }
    if phase is Phase.END:
        body |= {
            "status": state.status,
            "witnessed": state.witnessed,
            "exit_code": state.exit_code,
            "reason": state.reason,
            "attempts": len(state.attempts),
            "waited_ms": state.waited_ms,
            "redactions": dict(state.redactions),
            "steps": [_step(step, state) for step in state.steps],
            "effects": [_effect(effect) for effect in state.effects],
        }
    return body


_DECISION = ("answer", "reasons", "approvals_needed", "verdicts")


def _clock(state: RunState) -> Mapping[str, Json]:
    """What two clocks may differ by, and how far this one was ahead of CI's when that is known."""
    known = state.request_identity.get("clock_ahead_s")
    tolerated: dict[str, Json] = {"tolerance_s": int(CLOCK_SKEW.total_seconds())}
    return tolerated if known is None else {**tolerated, "ahead_of_issuer_s": known}


def _plan(state: RunState) -> Mapping[str, Json]:
    if state.plan is None:
        return {}
    return {
        "digest": state.plan_digest,
        "summary": state.plan["summary"],
        "changes": _counts(state.plan["changes"]),
        "materials": state.plan["materials"],
    }


def _step(step: StepState, state: RunState) -> Mapping[str, Json]:
    evidence = f"evidence/{step.name}.json"
    return {
        "name": step.name,
        "kind": step.kind,
        "status": step.status,
        "started": step.started,
        "ended": step.ended,
        "took_ms": step.took_ms,
        "evidence": state.files.get(evidence, ""),
    }


def _effect(effect: EffectState) -> Mapping[str, Json]:
    status = "done"
    if effect.is_open:
        status = "in doubt"
    elif effect.failed:
        status = "void"
    elif effect.adopted:
        status = "adopted"
    return {
        "key": effect.key,
        "kind": effect.kind,
        "step": effect.step,
        "status": status,
        "started": effect.started,
        "ended": effect.ended,
        "result_digest": "" if effect.is_open or effect.failed else digest(dict(effect.result)),
    }


def _counts(changes: list[Mapping[str, Json]]) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for change in changes:
        counted[change["action"]] = counted.get(change["action"], 0) + 1
    return counted


def _hex(value: str) -> str:
    return value.removeprefix("sha256:")
