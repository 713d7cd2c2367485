"""What a ledger record says about a run: a fold over its journal, and the digests of its files."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from gitops_nb.model import Json, digest
from gitops_nb.record import journal
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase
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


def body_of(phase: Phase, state: RunState, *, signer: str) -> Mapping[str, Json]:
    """The predicate's fields beside run, attempt, time and the ledger's own.

    Args:
        phase: requested, start or end.
        state: Fold of the run's journal.
        signer: "engine" when the notebook's process has no part in signing, "session" when it signs itself.
    """
    opened = state.opened
    body: dict[str, Json] = {
        "signer": signer,
        "environment": state.environment,
        "mode": opened.get("mode", ""),
        "runbook": {
            "name": state.runbook,
            "notebook_digest": opened.get("notebook_digest", ""),
            "risk": opened.get("risk", ""),
        },
        "parameters": opened.get("parameters", {}),
        "parameters_digest": digest(opened.get("parameters", {})),
        "requester": opened.get("requester", {}),
        "tools": [
            {"name": "gitops_nb", "version": opened.get("package", "")},
            {"name": "python", "version": opened.get("python", "") or platform.python_version()},
        ],
        "journal": {"records": state.records, "head": state.head},
        "request_digest": state.request_digest,
    }
    if state.attempts:
        body["policy"] = state.attempts[-1].get("policy", {})
        body["executor"] = {
            name: state.attempts[-1].get(name, "") for name in ("front", "who", "host")
        }
    if state.plan is not None:
        body["plan"] = {
            "digest": state.plan_digest,
            "summary": state.plan["summary"],
            "changes": _counts(state.plan["changes"]),
            "materials": state.plan["materials"],
        }
    if phase is not Phase.REQUESTED and state.decision is not None:
        body["decision"] = {
            "answer": state.decision["answer"],
            "reasons": state.decision["reasons"],
            "approvals_needed": state.decision["approvals_needed"],
        }
        body["approvals"] = [dict(approval) for approval in state.approvals]
    if state.request is not None and state.request.get("break_glass"):
        body["break_glass"] = state.request["break_glass"]
    if phase is Phase.END:
        body |= {
            "status": state.status,
            "exit_code": state.exit_code,
            "reason": state.reason,
            "steps": [
                {
                    "name": step.name,
                    "kind": step.kind,
                    "status": step.status,
                    "started": step.started,
                    "ended": step.ended,
                }
                for step in state.steps
            ],
            "effects": [
                {
                    "key": effect.key,
                    "kind": effect.kind,
                    "step": effect.step,
                    "status": "in doubt"
                    if effect.is_open
                    else "void"
                    if effect.failed
                    else "adopted"
                    if effect.adopted
                    else "done",
                }
                for effect in state.effects
            ],
        }
    return body


def _counts(changes: list[Mapping[str, Json]]) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for change in changes:
        counted[change["action"]] = counted.get(change["action"], 0) + 1
    return counted


def _hex(value: str) -> str:
    return value.removeprefix("sha256:")
