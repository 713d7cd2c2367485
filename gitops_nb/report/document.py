"""report.json: what report.html says, for programs. Its keys are stable; new ones may be added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gitops_nb.model import Json, Status, from_json, parse_time, to_json
from gitops_nb.record.fold import RunState
from gitops_nb.report import story

FORMAT = 1
"""Version of the keys below; grows when one is renamed or removed."""


def summary(run: RunState) -> dict[str, Json]:
    """The run as JSON.

    Keys:
        format: 1.
        run, runbook, environment, subject, mode ("sandbox" or "live"), package, notebook_digest: Texts.
        status: A word of ``model.Status``. exit_code: Integer, null while the run has not ended.
        title, sentence: The finding. reason: Why the run stopped, "" when it went through.
        next: {word, sentence, command}. undo: {sentence, command}. Commands are "" when there is none.
        aftermath: {asks, by_itself, back, command} once something was changed, else null: what Git asks for now, what
            happens without anybody, and the exact way back.
        parameters: Object. requester: {name, kind, evidence}.
        plan: {digest, summary, changes} or null. request: {digest, expires} or null.
        gates: List of {gate, passed, reason, clears_at}.
        approvals: List of ``model.Approval``. approvals_needed, approvals_missing: Integers.
        steps: List of {name, kind, status, sentence, started, ended, took_ms}.
        effects: List of {key, kind, step, sentence, started, ended, adopted, result}.
        in_doubt: Keys of the effects whose result is not known.
        outcome: ``model.Outcome`` or null. targets: List of what the run compared before its first live effect.
        times: {started, ended, total_ms, worked_ms, waited_ms}; RFC 3339 UTC, "" when not yet.
        attempts: How often the run was started or resumed.
        rules: {from, commit, digest, not_in_force}: where fleet, policy and keys were read, and files whose local edits
            do not count; {} before the first attempt.
        register: {start, place}: digest of the start that a request's register has, and where that is; empty before.
        journal: {records, head}. files: Name to digest, as sealed; empty before.
        metrics, measured: What a dora run that succeeded measured, as ``gitops-nb dora schema`` says; [] and null in others.
    """
    known = story.parts(run)
    told = story.tell(run)
    total, waited = spans(run)
    return {
        "format": FORMAT,
        "run": run.run,
        "runbook": run.runbook,
        "environment": run.environment,
        "subject": story.subject(run),
        "mode": run.opened.get("mode", ""),
        "package": run.opened.get("package", ""),
        "notebook_digest": run.opened.get("notebook_digest", ""),
        "status": run.status.value,
        "exit_code": run.exit_code,
        "title": told.title,
        "sentence": told.sentence,
        "reason": run.reason,
        "next": {"word": told.next_word, "sentence": told.next_sentence, "command": told.command},
        "aftermath": dict(run.aftermath) or None,
        "undo": {"sentence": told.undo_sentence, "command": told.undo},
        "parameters": to_json(run.opened.get("parameters") or {}),
        "requester": to_json(run.opened.get("requester") or {}),
        "plan": _plan(run),
        "request": _request(run),
        "gates": to_json(known.decision.verdicts) if known.decision else [],
        "approvals": to_json(story.consents(known) + story.rejections(known)),
        "approvals_needed": known.decision.approvals_needed if known.decision else 0,
        "approvals_missing": story.missing_approvals(known) if run.status is Status.WAITING else 0,
        "steps": [_fields(step, "value") for step in to_json(run.steps)],
        "effects": to_json(run.effects),
        "in_doubt": [effect.key for effect in run.in_doubt],
        "outcome": run.outcome,
        "targets": to_json(run.targets),
        "times": {
            "started": run.started,
            "ended": run.ended,
            "total_ms": _ms(total),
            "worked_ms": _ms(total - waited),
            "waited_ms": _ms(waited),
        },
        "attempts": len(run.attempts),
        "rules": dict(story.rules_of(run)),
        "register": {
            "start": str(run.begun.get("start", "")),
            "place": to_json(run.begun.get("register") or {}),
        },
        "journal": {"records": run.records, "head": run.head},
        "files": dict(run.files),
        **_measured(run),
    }


def _measured(run: RunState) -> dict[str, Json]:
    observed, measured = run.step("observe"), run.step("measure")
    # Numbers that verify did not confirm are in evidence/ only; programs take what stands here for the result.
    is_result = run.runbook == "dora" and run.status is Status.SUCCEEDED
    if not (is_result and observed and observed.value and measured and measured.value):
        return {"metrics": [], "measured": None}
    from gitops_nb.dora import DoraState, Measured
    from gitops_nb.dora.document import document

    state = from_json(DoraState, observed.value)
    return document(from_json(Measured, measured.value), known_until_s=state.until_s)


def spans(run: RunState) -> tuple[timedelta, timedelta]:
    """Length of the run from its start to its end (or last sign of life), and the part spent waiting."""
    if not run.started:
        return timedelta(0), timedelta(0)
    total = parse_time(run.ended or last_sign(run)) - parse_time(run.started)
    return total, min(timedelta(milliseconds=run.waited_ms), total)


def last_sign(run: RunState) -> str:
    """The newest time that the fold keeps; RFC 3339 UTC."""
    times = [run.started, run.ended]
    times += [str(attempt.get("at", "")) for attempt in run.attempts]
    times += [time for step in run.steps for time in (step.started, step.ended)]
    times += [time for effect in run.effects for time in (effect.started, effect.ended)]
    return max(times)


def _plan(run: RunState) -> Json:
    if run.plan is None:
        return None
    return {
        "digest": run.plan_digest,
        "summary": run.plan["summary"],
        "changes": run.plan["changes"],
    }


def _request(run: RunState) -> Json:
    if run.request is None:
        return None
    return {"digest": run.request_digest, "expires": run.request.get("expires", "")}


def _fields(value: Mapping[str, Any], left_out: str) -> dict[str, Json]:
    return {key: item for key, item in value.items() if key != left_out}


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
