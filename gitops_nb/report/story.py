"""What happened, what to do next and how to take it back, in sentences; from the fold only.

Free of the reader's zone and of the present moment, so that report.json and report.html say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from gitops_nb.model import (
    Answer,
    Approval,
    Decision,
    Outcome,
    Plan,
    Result,
    Status,
    format_time,
    from_json,
)
from gitops_nb.record.approvals import review_due
from gitops_nb.record.fold import EffectState, RunState
from gitops_nb.report.text import Whole
from gitops_nb.report.words import count, listed

WORDS = {
    Status.PENDING: "pending",
    Status.RUNNING: "not ended",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.SKIPPED: "skipped",
    Status.WAITING: "waiting for approval",
    Status.REFUSED: "refused",
    Status.NEEDS_ATTENTION: "needs attention",
    Status.CANCELLED: "cancelled",
}
"""The word beside the shape and the colour of a status."""


@dataclass(frozen=True, slots=True)
class Story:
    """A run in sentences. ``title`` is the finding; ``command`` is what to type next, "" for nothing.

    ``after`` says what is true once something was changed, as labels and sentences: what Git asks for, what happens by
    itself, and the way back, whose command is ``undo``.
    """

    word: str
    title: str
    sentence: str
    next_word: str
    next_sentence: str
    command: str
    undo_sentence: str
    undo: str
    after: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """The JSON parts of a fold as values; None where the run did not come so far."""

    plan: Plan | None
    decision: Decision | None
    outcome: Outcome | None
    approvals: tuple[Approval, ...]


def parts(run: RunState) -> Parts:
    """Reads the JSON parts of the fold."""
    return Parts(
        plan=from_json(Plan, run.plan) if run.plan else None,
        decision=from_json(Decision, run.decision) if run.decision else None,
        outcome=from_json(Outcome, run.outcome) if run.outcome else None,
        approvals=tuple(from_json(Approval, item) for item in run.approvals),
    )


def tell(run: RunState) -> Story:
    """Chooses title, sentence and next step by the run's status."""
    known = parts(run)
    title, finding = _finding(run, known)
    next_word, next_sentence, command = _next(run, known)
    undo_sentence, undo = _undo(run, known)
    return Story(
        word=WORDS[run.status],
        title=title,
        sentence=finding,
        next_word=next_word,
        next_sentence=next_sentence,
        command=command,
        undo_sentence=undo_sentence,
        undo=undo,
        after=after(run),
    )


def after(run: RunState) -> tuple[tuple[str, str], ...]:
    """What is true after the first effect, as labels and sentences; empty where nothing was changed."""
    labels = (("asks", "In Git"), ("by_itself", "By itself"), ("back", "Way back"))
    told = [(label, run.aftermath[key]) for key, label in labels if run.aftermath.get(key)]
    if run.broke_glass:
        told.append(("Review", f"Broken glass: {_REVIEW}{_until(run)}."))
    return tuple(told)


_REVIEW = "somebody else who may approve there has to look at it "


def review_note(run: RunState) -> str:
    """That the glass was broken and until when somebody has to review it; "" where that is not so."""
    if not run.broke_glass:
        return ""
    return f"broken glass, to be reviewed until {format_time(review_due(run.request))}"


def _until(run: RunState) -> str:
    return f"until {format_time(review_due(run.request))}, with `gitops-nb approve {run.run}`"


def subject(run: RunState) -> str:
    """What the run is about, in a few words: its subject, else its runbook."""
    return str(run.opened.get("subject") or run.opened.get("title") or run.runbook or "this run")


def about(run: RunState, known: Parts) -> str:
    """What the run is about, as precise as it is known: the plan's sentence when it is short, else the subject."""
    summary = known.plan.summary if known.plan and not known.plan.is_empty else ""
    return summary.replace(" -> ", " → ").rstrip(".") if 0 < len(summary) <= 80 else subject(run)


def requester(run: RunState) -> str:
    """The person or automation that asked for the run."""
    value = run.opened.get("requester")
    name = cast("Mapping[str, object]", value).get("name") if isinstance(value, Mapping) else value
    return str(name or "")


def rules_of(run: RunState) -> Mapping[str, str]:
    """Where the newest attempt read fleet, policy and keys: ``from``, ``commit``, ``digest``, ``not_in_force``."""
    found = run.attempts[-1].get("policy") if run.attempts else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def rules_sentence(rules: Mapping[str, str]) -> str:
    """Which rules a run obeys, "" where that is not recorded.

    >>> rules_sentence({"from": "origin/main", "commit": "ab" * 20, "not_in_force": "fleet.yaml"})
    'fleet and policy of origin/main at abababab; edits of fleet.yaml here are not in force'
    """
    match rules.get("from", ""):
        case "":
            return ""
        case "sandbox":
            return "fleet and policy of this workspace's files, as the sandbox plays them"
        case "workspace":
            return "fleet and policy of this workspace's files; no remote origin protects them"
    said = f"fleet and policy of {rules['from']} at {rules.get('commit', '')[:8]}"
    edited = rules.get("not_in_force")
    return f"{said}; edits of {edited} here are not in force" if edited else said


def register_sentence(run: RunState) -> str:
    """Where it is kept that this run's effects began, "" where none did."""
    place = run.begun.get("register")
    if not isinstance(place, Mapping):
        return ""
    start = f"start {str(run.begun.get('start'))[:12]}"
    match place.get("kind"):
        case "bucket":
            return f"{start} in {place.get('at')}"
        case "git":
            return f"{start} in refs of {place.get('name')}"
    return f"{start}, on the machine that ran it only: another one would not know of it"


def signed(run: RunState) -> list[tuple[str, str]]:
    """Every field of the request that is signed, and of the plan behind its digest what no change shows; texts are whole."""
    if run.request is None:
        return []
    plan = run.plan or {}
    covered = {
        **run.request,
        "plan": {"summary": plan.get("summary", ""), "arguments": plan.get("arguments", {})},
    }
    return [(label, Whole(text)) for label, text in _flat(covered, "")]


def _flat(value: object, label: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{label}: {name}" if label else str(name).replace("_", " "))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{label} {number}")
    else:
        nothing = value in (None, "", [], {}, ())
        yield label, "none" if nothing else str(value)


def done(run: RunState) -> tuple[EffectState, ...]:
    """Effects whose result is recorded."""
    return tuple(effect for effect in run.effects if not effect.is_open and not effect.failed)


def touched(run: RunState) -> tuple[EffectState, ...]:
    """Effects that happened or may have happened; empty means that nothing was changed."""
    return tuple(effect for effect in run.effects if not effect.failed)


def consents(known: Parts) -> tuple[Approval, ...]:
    """Approvals that say yes; those of the decision count, else those that the journal received."""
    given = (
        known.decision.approvals if known.decision and known.decision.approvals else known.approvals
    )
    return tuple(approval for approval in given if approval.answer == "approve")


def rejections(known: Parts) -> tuple[Approval, ...]:
    """Answers that say no."""
    given = (*known.approvals, *(known.decision.approvals if known.decision else ()))
    unique = {(item.person, item.at): item for item in given if item.answer == "reject"}
    return tuple(unique.values())


def missing_approvals(known: Parts) -> int:
    """How many more persons have to say yes."""
    if known.decision is None:
        return 0
    persons = {approval.person for approval in consents(known)}
    return max(known.decision.approvals_needed - len(persons), 0)


def is_nothing_to_do(known: Parts) -> bool:
    """True when the plan held no change and the run ended well because of that."""
    if known.outcome is not None:
        return known.outcome.result is Result.NOTHING
    return known.plan is not None and known.plan.is_empty


def _finding(run: RunState, known: Parts) -> tuple[str, str]:
    name = about(run, known)
    match run.status:
        case Status.SUCCEEDED | Status.FAILED if known.outcome:
            return known.outcome.title, known.outcome.sentence or sentence(run.reason)
        case Status.NEEDS_ATTENTION if known.outcome and not run.in_doubt:
            return known.outcome.title, known.outcome.sentence or sentence(run.reason)
        case Status.SUCCEEDED if is_nothing_to_do(known):
            reasons = " ".join(known.decision.reasons) if known.decision else ""
            return f"{name}: nothing to do", sentence(reasons or run.reason)
        case Status.SUCCEEDED:
            changed = "nothing was changed" if not touched(run) else ""
            title = f"{name}: planned, {changed}" if changed else f"{name}: done"
            return title, sentence(run.reason)
        case Status.FAILED:
            step = next((s.name for s in run.steps if s.status is Status.FAILED), "")
            return f"{name} failed" + (f" in {step}" if step else ""), sentence(
                run.reason
            ) or _changed(run)
        case Status.WAITING:
            needed = missing_approvals(known)
            what = f"waits for {count(needed, 'approval')}" if needed else "waits"
            return f"{name} {what}", "Nothing has changed yet."
        case Status.REFUSED:
            return _refusal(run, known)
        case Status.NEEDS_ATTENTION if not run.in_doubt:
            return f"{name} needs attention", sentence(run.reason)
        case Status.NEEDS_ATTENTION:
            return (
                f"{name} needs attention: {count(len(run.in_doubt), 'effect')} in doubt",
                sentence(run.reason) or "An effect was begun and its result was never recorded.",
            )
        case Status.CANCELLED:
            return f"{name} was cancelled", f"{sentence(run.reason)} {_changed(run)}".strip()
        case Status.PENDING:
            return f"{name} has not begun", "Its journal is empty."
    step = next((s.name for s in run.steps if s.status is Status.RUNNING), "")
    where = f"The last record is from step {step}. " if step else ""
    return (
        f"{name}: no end is recorded",
        f"{where}Either the run still goes on, or its runner was killed; a journal cannot tell.",
    )


def _refusal(run: RunState, known: Parts) -> tuple[str, str]:
    name = about(run, known)
    rejected = rejections(known)
    if rejected:
        reason = f"“{rejected[-1].reason}”. " if rejected[-1].reason else ""
        return f"{rejected[-1].person} rejected {name}", f"{reason}{_changed(run)}"
    closed = (
        [verdict for verdict in known.decision.verdicts if not verdict.passed]
        if known.decision
        else []
    )
    if closed and known.decision and known.decision.answer is Answer.REFUSED:
        gates = listed([f"“{verdict.gate.replace('_', ' ')}”" for verdict in closed])
        reasons = " ".join(dict.fromkeys(sentence(verdict.reason) for verdict in closed))
        who = f"Gate {gates} refuses" if len(closed) == 1 else f"Gates {gates} refuse"
        return f"{who} {name}", f"{reasons} {_changed(run)}"
    verb = "was rejected" if " rejected it" in run.reason else "was refused"
    return f"{name} {verb}", f"{sentence(run.reason)} {_changed(run)}".strip()


def _changed(run: RunState) -> str:
    if not touched(run):
        return "What it changed is not known." if run.unknown else "Nothing was changed."
    names = listed([effect.key for effect in done(run)])
    text = f"{count(len(done(run)), 'effect')} done before: {names}." if names else ""
    if run.in_doubt:
        text = f"{text} In doubt: {listed([effect.key for effect in run.in_doubt])}.".strip()
    return text


def _next(run: RunState, known: Parts) -> tuple[str, str, str]:
    outcome = known.outcome
    match run.status:
        case Status.WAITING:
            asked = requester(run)
            who = f"Another person than {asked}" if asked else "Another person"
            return (
                "Next",
                f"{who} reads the change and the gates, then approves or rejects.",
                run.command or f"gitops-nb approve {run.run}",
            )
        case Status.NEEDS_ATTENTION if outcome and not run.in_doubt:
            if run.is_unwatched:
                return "Next", run.hint or outcome.next_step, run.command or outcome.command
            command = run.command or outcome.command or f"gitops-nb resume {run.run}"
            return "Settle", run.hint or outcome.next_step, command
        case Status.NEEDS_ATTENTION:
            asks = "Resume asks the outside system whether the effect happened, and repeats nothing silently."
            return "Settle", run.hint or asks, run.command or f"gitops-nb resume {run.run}"
        case Status.PENDING:
            return "Next", "Start it again.", ""
        case Status.RUNNING:
            return (
                "Next",
                "If nothing runs any more, resume: finished steps are kept, interrupted effects are probed.",
                run.command or f"gitops-nb resume {run.run}",
            )
        case Status.CANCELLED:
            goes_on = "Resume goes on where the run stopped; finished effects are not repeated."
            return "Next", run.hint or goes_on, run.command or f"gitops-nb resume {run.run}"
        case Status.FAILED if outcome:
            command = outcome.command or outcome.undo or run.command
            text = outcome.next_step or run.hint or "Read the reason below."
            if command == outcome.undo and run.aftermath.get("later"):
                return "Next", f"Look at `gitops-nb report {run.aftermath['later']}`.", ""
            return ("Go back" if command and command == outcome.undo else "Next"), text, command
        case Status.SUCCEEDED if run.broke_glass:
            # A journal does not tell whether that was done since; the ledger does, and `list runs` reads it.
            due = f"{_REVIEW}until {format_time(review_due(run.request))}, if nobody has yet."
            return "Review", due[0].upper() + due[1:], f"gitops-nb approve {run.run}"
        case Status.SUCCEEDED if outcome and (outcome.next_step or outcome.command):
            return "Next", outcome.next_step, outcome.command
        case Status.SUCCEEDED:
            return "Next", run.hint or "Nothing to do.", run.command
    is_closed = known.decision is not None and not all(v.passed for v in known.decision.verdicts)
    if known.decision and known.decision.answer is Answer.REFUSED and is_closed:
        return "Next", "Mend what the gates name, or wait for it, then run it again.", run.command
    return "Next", run.hint or "Read the reason, then ask again.", run.command


def _undo(run: RunState, known: Parts) -> tuple[str, str]:
    if not touched(run) and run.unknown:
        return run.aftermath.get("back", "What this run changed is not known."), ""
    if not touched(run):
        return "This run changed nothing, so there is nothing to take back.", ""
    told = run.aftermath.get("command", "")
    if run.aftermath.get("later"):
        return run.aftermath["back"], ""
    command = (known.outcome.undo if known.outcome else "") or told
    rollback = str(run.opened.get("rollback") or "The runbook declares no way back.")
    # The sentence that belongs to the command: a declared one knows nothing of this run.
    return (run.aftermath["back"] if command and command == told else rollback), command


def sentence(message: str) -> str:
    """A message as a sentence of its own; messages come in lower case and without a full stop.

    A name that it begins with stays as it is written.

    >>> sentence("the soak is too short")
    'The soak is too short.'
    >>> sentence("tomasz.zielinski rejected it")
    'tomasz.zielinski rejected it.'
    """
    if not message:
        return ""
    is_word = message.split(maxsplit=1)[0].rstrip(",:;").isalpha()
    first = message[0].upper() + message[1:] if is_word else message
    return first if first[-1] in ".!?”" else f"{first}."
