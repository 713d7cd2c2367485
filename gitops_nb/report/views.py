"""Small values that templates and notebook cards show: facts and gate answers."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_nb.model import Answer, Decision, Status, Verdict
from gitops_nb.record.fold import RunState
from gitops_nb.report import story
from gitops_nb.report.words import Times, listed

Pair = tuple[str, str]
"""A label and its text."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the first screen; ``code`` is a digest or commit, shown in monospace."""

    label: str
    text: str
    note: str = ""
    code: str = ""
    environment: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's answer as a row: ``status`` is passed, waiting, refused or skipped; ``clears`` may be ""."""

    gate: str
    status: str
    word: str
    reason: str
    clears: str = ""


_ORDER = {"refused": 0, "waiting": 1, "passed": 2, "skipped": 3}


def gates(run: RunState, known: story.Parts, times: Times) -> list[Gate]:
    """Answers of all gates and of the approvers; what stops the run comes first."""
    if known.decision is None:
        return []
    rows = [gate_row(verdict, times) for verdict in known.decision.verdicts]
    rows += _approval_rows(run, known, times)
    return sorted(rows, key=lambda row: _ORDER[row.status])


def decision_gates(decision: Decision, times: Times) -> list[Gate]:
    """Answers of the gates of a decision, without the approvals; what stops comes first."""
    rows = [gate_row(verdict, times) for verdict in decision.verdicts]
    return sorted(rows, key=lambda row: _ORDER[row.status])


def gate_row(verdict: Verdict, times: Times) -> Gate:
    """One verdict as a row."""
    name = verdict.gate.replace("_", " ")
    if not verdict.asked:
        return Gate(name, "skipped", "not asked", verdict.reason)
    if verdict.passed:
        return Gate(name, "passed", "passed", verdict.reason)
    clears = ""
    if verdict.clears_at is not None:
        clears = f"{times.near(verdict.clears_at)}, {times.age(verdict.clears_at)}"
    return Gate(name, "refused", "says no", verdict.reason, clears)


def _reasons(known: story.Parts) -> str:
    """Why the approvers said yes, in their own words."""
    said = [f"{one.person}: “{one.reason}”" for one in story.consents(known) if one.reason]
    return f". {'; '.join(said)}" if said else ""


def _approval_rows(run: RunState, known: story.Parts, times: Times) -> list[Gate]:
    decision = known.decision
    if decision is None:
        return []
    rejected = story.rejections(known)
    if rejected:
        last = rejected[-1]
        reason = f": {last.reason}" if last.reason else ""
        return [Gate("approval", "refused", "rejected", f"{last.person} says no{reason}")]
    if not decision.approvals_needed or decision.answer in (Answer.REFUSED, Answer.NOTHING):
        return []
    persons = [approval.person for approval in story.consents(known)]
    counted = f"{len(set(persons))} of {decision.approvals_needed}"
    asked = story.requester(run)
    if len(set(persons)) >= decision.approvals_needed:
        return [
            Gate(
                "approval",
                "passed",
                "passed",
                f"{counted}: {listed(persons)}; not {asked}, who asked{_reasons(known)}",
            )
        ]
    expires = str(run.request.get("expires", "")) if run.request else ""
    clears = (
        f"on signature, until {times.near(expires)}"
        if expires and run.status is Status.WAITING
        else ""
    )
    return [Gate("approval", "waiting", "waiting", f"{counted}; not {asked}, who asked", clears)]
