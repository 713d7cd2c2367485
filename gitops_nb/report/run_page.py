"""report.html of one run: first what happened, then what to do, then facts, then proof."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from gitops_nb import __version__
from gitops_nb.model import Answer, Status
from gitops_nb.record.fold import RunState
from gitops_nb.report import diff, story
from gitops_nb.report.document import spans
from gitops_nb.report.layout import page
from gitops_nb.report.timeline import rail, rows
from gitops_nb.report.views import Fact, Gate, Pair, gates
from gitops_nb.report.words import Times, count, duration, listed

_SECTIONS = {
    Status.SUCCEEDED: ("gates", "change", "steps", "evidence", "doubt", "undo"),
    Status.FAILED: ("evidence", "doubt", "undo", "steps", "change", "gates"),
    Status.WAITING: ("approve", "change", "gates", "steps"),
    Status.REFUSED: ("gates", "change", "steps", "doubt"),
    Status.NEEDS_ATTENTION: ("doubt", "steps", "change", "gates", "evidence", "undo"),
}
_OTHERWISE = ("doubt", "steps", "change", "gates", "evidence", "undo")


def render(run: RunState, now: datetime, zone: str) -> str:
    """The page as one HTML document that loads nothing and runs no script.

    Args:
        run: Fold of the run's journal.
        now: When the page is written; ages count to it.
        zone: IANA name of the reader's time zone.
    """
    times = Times(now, zone)
    known = story.parts(run)
    told = story.tell(run)
    answers = gates(run, known, times)
    worked = spans(run)[0] - spans(run)[1]
    return page(
        "run.html.j2",
        status=run.status.value,
        sandbox=run.is_sandbox,
        run=run,
        known=known,
        told=told,
        times=times,
        version=__version__,
        asked=story.requester(run),
        source=""
        if run.opened.get("source") == run.environment
        else run.opened.get("source") or "",
        facts=facts(run, known, times),
        rail=rail(run, known),
        sections=_sections(run, known, answers),
        gates=answers,
        gates_finding=_gates_finding(answers),
        changes=[diff.view(change) for change in known.plan.changes] if known.plan else [],
        change_size=diff.size(known.plan.changes) if known.plan else "",
        steps=rows(run, known, times),
        steps_finding=_steps_finding(run, worked=duration(worked)),
        effects=[(e, _answer(e.result)) for e in run.effects],
        in_doubt=run.in_doubt,
        expires=str(run.request.get("expires", "")) if run.request else "",
        signed=story.signed(run),
        given=len({approval.person for approval in story.consents(known)}),
        parameters=[(str(k), str(v)) for k, v in (run.opened.get("parameters") or {}).items()],
        provenance=_provenance(run, known),
    )


def facts(run: RunState, known: story.Parts, times: Times) -> list[Fact]:
    """The first screen's facts: what, where, who asked, who approved which digest, result, time."""
    asked = story.requester(run)
    evidence = (run.opened.get("requester") or {}).get("evidence", "")
    total, waited = spans(run)
    until = "" if run.ended else ", so far"
    worked = timedelta(seconds=round(total.total_seconds()) - round(waited.total_seconds()))
    parts_of_time = f"worked {duration(worked)}, waited {duration(waited)}" if waited else ""
    items = [
        _what(run, known),
        Fact("Where", run.environment or "nowhere", _where(run), environment=bool(run.environment)),
        Fact(
            "Asked by",
            asked or "unknown",
            f"{times.clock(run.started)}{', ' if evidence else ''}{evidence}",
        ),
        _approved(run, known, times),
        _result(run, known),
        Fact("Took", f"{duration(total)}{until}", parts_of_time),
        Fact(
            "When",
            times.day(run.started),
            f"{times.span(run.started, run.ended)}, {_age(run, times)}",
        ),
    ]
    rules = story.rules_of(run)
    if rules.get("not_in_force"):
        note = f"commit {rules['commit'][:8]}; edits here are not in force"
        items.append(Fact("Rules of", rules["from"], f"{note}: {rules['not_in_force']}"))
    if run.status is Status.WAITING and run.request:
        expires = str(run.request.get("expires", ""))
        return [*items, Fact("Request ends", times.near(expires), times.age(expires))]
    clears = _clears(run, known, times)
    if clears is not None:
        return [*items, clears]
    doubt = [effect.key for effect in run.in_doubt]
    each = "with a recorded result" if len(run.effects) == 1 else "each with a recorded result"
    read_back = f"{count(len(run.effects), 'effect')}, {each}" if run.effects else ""
    return [*items, Fact("In doubt", listed(doubt) or "Nothing", "" if doubt else read_back)]


def _clears(run: RunState, known: story.Parts, times: Times) -> Fact | None:
    """When the last of the closed gates could open by itself; only where all of them say so."""
    verdicts = known.decision.verdicts if known.decision else ()
    moments = [verdict.clears_at for verdict in verdicts if not verdict.passed]
    known_moments = [moment for moment in moments if moment is not None]
    if run.status is not Status.REFUSED or not moments or len(known_moments) < len(moments):
        return None
    last = max(known_moments)
    return Fact("Could clear", times.near(last), f"{times.age(last)}; nothing was changed")


def _what(run: RunState, known: story.Parts) -> Fact:
    label = "What changed" if story.touched(run) else "What would change"
    plan = known.plan
    if run.unknown and not story.touched(run):
        return Fact("What changed", "Not known", "its effects had begun")
    if plan is None or plan.is_empty:
        return Fact(
            "What changed", "Nothing", "the run has no change planned" if plan is None else ""
        )
    if not story.touched(run) and run.status not in (Status.WAITING, Status.RUNNING):
        label = "Asked for"
    # A sync names a commit too, which somebody else made.
    commit = next((str(e.result["revision"])[:8] for e in story.done(run) if e.key == "commit"), "")
    note = diff.size(plan.changes) + (", commit" if commit else "")
    first = plan.changes[0]
    if (
        len(plan.changes) == 1
        and first.before
        and first.after
        and len(first.before + first.after) < 80
    ):
        return Fact(label, f"{first.before} → {first.after}", note, commit)
    return Fact(label, count(len(plan.changes), "change"), note, commit)


def _where(run: RunState) -> str:
    """What in the environment, by its parameter's name ("cluster newcomer"), and the systems it acted on."""
    name = run.opened.get("subject")
    given = run.opened.get("parameters") or {}
    whats = [f"{parameter} {name}" for parameter, value in given.items() if name and value == name]
    return ", ".join([*whats[:1], *(str(target.get("address", "")) for target in run.targets[:2])])


def _approved(run: RunState, known: story.Parts, times: Times) -> Fact:
    rejected = story.rejections(known)
    if rejected:
        last = rejected[-1]
        return Fact(
            "Rejected by", last.person, f"{times.clock(last.at)}, digest", last.subject[7:19]
        )
    given = story.consents(known)
    if given:
        when = times.clock(given[-1].at)
        people = listed([approval.person for approval in given])
        said = "; ".join(f"“{approval.reason}”" for approval in given if approval.reason)
        note = f"{said}, {when}, digest" if said else f"{when}, digest"
        return Fact("Approved by", people, note, given[-1].subject[7:19])
    needed = known.decision.approvals_needed if known.decision else 0
    glass = (run.request or {}).get("break_glass")
    if glass:
        return Fact(
            "Approved by",
            "Nobody",
            f"{story.requester(run)} broke the glass: “{glass['reason']}”; {story.review_note(run) or 'nothing was changed'}",
        )
    if known.decision and known.decision.answer is Answer.NOTHING:
        needed = 0
    if run.status is Status.WAITING or needed:
        asked = story.requester(run)
        return Fact(
            "Approved by",
            "Nobody yet" if not run.ended else "Nobody",
            f"0 of {needed}; not {asked}, who asked",
        )
    return Fact("Approved by", "Nobody", "no approval was needed")


def _result(run: RunState, known: story.Parts) -> Fact:
    code = "" if run.exit_code is None else f"exit code {run.exit_code}"
    if known.outcome:
        return Fact("Result", known.outcome.result.value.capitalize(), code)
    if run.status is Status.SUCCEEDED and not story.touched(run):
        return Fact(
            "Result", "Nothing to do" if story.is_nothing_to_do(known) else "Planned only", code
        )
    if run.status in (Status.WAITING, Status.RUNNING, Status.PENDING):
        return Fact("Result", "None yet", f"{count(len(run.effects), 'effect')} begun")
    return Fact("Result", story.WORDS[run.status].capitalize(), code)


def _age(run: RunState, times: Times) -> str:
    return f"ended {times.age(run.ended)}" if run.ended else f"begun {times.age(run.started)}"


def _sections(run: RunState, known: story.Parts, answers: list[Gate]) -> list[tuple[str, str]]:
    filled = {
        "gates": bool(answers),
        "change": bool(known.plan and known.plan.changes),
        "evidence": bool(known.outcome and (known.outcome.facts or known.outcome.tables))
        or (run.status is Status.FAILED and bool(run.reason)),
        "doubt": bool(run.effects),
        "undo": bool(story.touched(run)) or run.unknown,
        "approve": bool(run.request),
        "steps": bool(run.steps),
    }
    titles = {
        "gates": "Gates",
        "change": "Change",
        "evidence": "Reason" if run.status is Status.FAILED else "Evidence",
        "doubt": "In doubt",
        "undo": "How to undo",
        "approve": "Approve",
        "steps": "Steps",
    }
    order = _SECTIONS.get(run.status, _OTHERWISE)
    return [(name, titles[name]) for name in order if filled[name]] + [("provenance", "Provenance")]


def _gates_finding(answers: list[Gate]) -> str:
    closed = [gate.gate for gate in answers if gate.status == "refused"]
    open_ = [gate.gate for gate in answers if gate.status == "waiting"]
    passed = sum(gate.status == "passed" for gate in answers)
    skipped = [gate.gate for gate in answers if gate.status == "skipped"]
    more = f" Not asked: {listed(skipped)}." if skipped else ""
    asked = len(answers) - len(skipped)
    if closed:
        verb = "says" if len(closed) == 1 else "say"
        names = listed(closed)
        return f"{names[0].upper()}{names[1:]} {verb} no; {passed} of {asked} passed.{more}"
    if open_:
        return f"{passed} passed, {listed(open_)} is waiting, none says no.{more}"
    if not asked:
        return f"None was asked.{more}"
    return (f"All {asked} passed." if asked > 1 else "It passed.") + more


def _steps_finding(run: RunState, *, worked: str) -> str:
    waited = spans(run)[1]
    more = f" and {duration(waited)} of waiting for a person" if waited else ""
    tries = (
        f" Started {len(run.attempts)} times; steps as they last ran."
        if len(run.attempts) > 1
        else ""
    )
    return f"{worked} of work{more}.{tries}"


def _answer(result: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in result.items())


def _provenance(run: RunState, known: story.Parts) -> list[Pair]:
    opened = run.opened
    risk = f", risk “{opened['risk']}”" if opened.get("risk") else ""
    owner = f", owner {opened['owner']}" if opened.get("owner") else ""
    pairs = [
        ("Run", run.run),
        ("Runbook", f"{run.runbook}{risk}{owner}"),
        ("Notebook", str(opened.get("notebook_digest", ""))),
        ("Package", f"gitops_nb {opened.get('package', '')}"),
        ("Mode", str(opened.get("mode", ""))),
        ("Rules", story.sentence(story.rules_sentence(story.rules_of(run)))),
        ("Register", story.sentence(story.register_sentence(run))),
    ]
    pairs += [(str(t.get("system", "")), str(t.get("address", ""))) for t in run.targets]
    pairs += [(name, blob) for name, blob in (known.plan.materials if known.plan else {}).items()]
    pairs += [(f"Key of {approval.person}", approval.key) for approval in story.consents(known)]
    pairs += [("Journal", f"{count(run.records, 'record')}, head {run.head}")]
    return [pair for pair in pairs if pair[1]]
