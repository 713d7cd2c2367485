"""Checks the record of one run: chain, files, what the ledger says about it, and its approvals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gitops_nb.catalog.trust import Trust
from gitops_nb.errors import RecordError, UnavailableError
from gitops_nb.model import Answer, Json, Status, parse_time
from gitops_nb.ports import Processes
from gitops_nb.record import journal
from gitops_nb.record.approvals import GITHUB, IdentityCheck
from gitops_nb.record.audit import Audit
from gitops_nb.record.commits import RunCommit, commit_findings
from gitops_nb.record.consents import (
    AllowanceAt,
    consent_findings,
    contradictions,
    review_findings,
)
from gitops_nb.record.evidence import copy_findings
from gitops_nb.record.files import sha256_file
from gitops_nb.record.findings import Code, Finding, Unasked
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.intruders import run_intruders
from gitops_nb.record.journal import Record
from gitops_nb.record.ledger import Entry, Phase, is_inside
from gitops_nb.record.runs import APPROVALS, CHECKPOINTS

Recheck = Callable[[Mapping[str, Json], str], tuple[str, str]]
"""Asks again about the review behind an approval, by its evidence and the digest of the request that it quotes.

Returns what contradicts them and what changed since. What nobody can tell it raises as ``UnavailableError``.
"""


UNSIGNED = (
    "how it came to stop: this machine saw that, and was interrupted or got no answer before it was signed and sent; the "
    "next command that can does that"
)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and what is wrong; ``problems`` and ``unchecked`` are empty when the record holds.

    ``unchecked`` says what nobody could be asked about: a record of which that is so does not hold, and is not wrong either.
    """

    run: str
    records: int
    files: int
    problems: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def verify_run(
    directory: Path,
    *,
    ledger: Audit | None = None,
    trust: Trust | None = None,
    processes: Processes | None = None,
    now: datetime | None = None,
    recheck: Recheck | None = None,
    allowance_at: AllowanceAt | None = None,
    commits: Sequence[RunCommit] = (),
    registered: Sequence[Finding | str | Unasked] = (),
    in_register: Mapping[str, Json] | None = None,
    check_identity: IdentityCheck | None = None,
    waits_to_be_signed: bool = False,
    is_at_work: bool = False,
) -> Verification:
    """Checks one run directory.

    The chain shows edits, removals inside and reordering; the digests of the ``sealed`` record show edited,
    missing and added files. A record that was rewritten as a whole, or went on by somebody else's hand, fits itself: that
    takes the ledger, which names the record at which a runner saw the run wait or end. Its seal counts, and none behind it.

    Args:
        directory: Of the run.
        ledger: Of its environment, checked before; None leaves it out.
        trust: Whose signatures count; None leaves the approvals' signatures out.
        processes: To check signatures with.
        now: Wall time, for reviews that are due; None leaves them out.
        recheck: Asks GitHub again about reviews that counted; None leaves that out, and says so.
        allowance_at: Who may say yes in its environment by the policy that it read; None asks the journal alone.
        commits: Commits whose trailers name runs.
        registered: What the register says otherwise, see ``registered.register_findings``.
        in_register: Signed reviews of broken glass that stand there, by where.
        check_identity: Asks who signed CI's identity; None asks nobody, and says so.
        waits_to_be_signed: This machine saw how the run came to stop, and has still to sign that.
        is_at_work: A process works on it, or one on another machine may.
    """
    try:
        records, problems = journal.read(directory / journal.FILE)
    except RecordError as error:
        finding = Finding(Code.MISSING, journal.FILE, error.message)
        return Verification(directory.name, 0, 0, (finding,))
    found = [Finding(Code.JOURNAL, journal.FILE, problem) for problem in problems]
    try:
        state = fold(records)
    except RecordError as error:
        found.append(Finding(Code.MALFORMED, journal.FILE, error.message))
        return Verification(directory.name, len(records), 0, tuple(found))
    if state.run != directory.name:
        text = f"it is the journal of {state.run or 'no run'}"
        found.append(Finding(Code.REPLAYED, journal.FILE, text))
    if (directory / journal.FILE).is_symlink():
        found.append(Finding(Code.LINK, journal.FILE, "a link where a file was"))
    notes: list[str] = []
    sealed = bool(records) and records[-1].kind == "sealed"
    if sealed:
        found += _check_files(directory, _as_signed(state, records, ledger))
        found += copy_findings(directory, records)
    else:
        notes.append(
            "interrupted, or still going on: its files are checked once it is closed, which the next command does"
        )
    if (directory / CHECKPOINTS).exists():
        notes.append(f"{CHECKPOINTS} is JupyterLab's and no part of the record")
    found += _check_time(records)
    found += _check_statements(state, records)
    found += commit_findings(state, records, commits)
    said: list[Finding | str | Unasked] = list(registered)
    if ledger is not None:
        said += _check_ledger(
            directory, state, records, ledger, sealed=sealed, waits=waits_to_be_signed
        )
        said += _check_behind(state, records, ledger, is_at_work=is_at_work)
    reviews = _check_reviews(state, recheck)
    said += reviews
    said += consent_findings(
        directory,
        state,
        records,
        trust=trust,
        processes=processes,
        allowance_at=allowance_at,
        check_identity=check_identity,
    )
    if trust and processes and ledger is not None and now and state.request is not None:
        said += review_findings(
            state, records, ledger, trust=trust, processes=processes, now=now, allowance_at=allowance_at,
            registered=in_register,
        )  # fmt: skip
    found += [text for text in said if isinstance(text, Finding)]
    notes += [text for text in said if isinstance(text, str)]
    return Verification(
        directory.name,
        len(records),
        len(state.files),
        tuple(found),
        tuple(notes),
        tuple(one.text for one in said if isinstance(one, Unasked)),
    )


def _check_files(directory: Path, state: RunState) -> list[Finding]:
    found: list[Finding] = []
    present = {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if (path.is_file() or path.is_symlink())
        and path.name != journal.FILE
        and CHECKPOINTS not in path.parts
    }
    for name, expected in state.files.items():
        path = directory / name
        if not is_inside(name):
            found.append(Finding(Code.MALFORMED, journal.FILE, f"{name!r} leaves the directory"))
        elif path.is_symlink():
            found.append(Finding(Code.LINK, name, "a link where a file was"))
        elif name not in present:
            found.append(Finding(Code.MISSING, name, "missing"))
        elif sha256_file(path) != expected:
            text = "edited, its digest differs from the journal's"
            found.append(Finding(Code.EDITED, name, text))
    # Answers arrive while a run waits; once it has ended, nothing is added any more.
    is_open = not state.ended
    late = {
        name
        for name in present - set(state.files)
        if not (is_open and name.startswith(f"{APPROVALS}/"))
    }
    found += [Finding(Code.ADDED, name, "added after the run was closed") for name in sorted(late)]
    return found + run_intruders(directory, list(state.files))


def _check_time(records: Sequence[Record]) -> list[Finding]:
    """Times of a journal come from one machine after the other; two minutes are what clocks may differ."""
    found: list[Finding] = []
    for before, after in itertools.pairwise(records):
        try:
            back_s = (parse_time(before.at) - parse_time(after.at)).total_seconds()
        except (ValueError, TypeError):
            found.append(Finding(Code.MALFORMED, journal.FILE, f"line {after.seq + 1}: no time"))
            continue
        if back_s > 120:
            text = f"line {after.seq + 1}: the clock went back by {back_s:.0f} s"
            found.append(Finding(Code.CLOCK, journal.FILE, text))
    return found


def _check_statements(state: RunState, records: Sequence[Record]) -> list[Finding]:
    """Digests inside the journal that have to fit each other."""
    texts = contradictions(state)
    texts += [
        f"approval of {approval.get('person')}: it answers another request"
        for approval in state.approvals
        if approval.get("subject") != state.request_digest
    ]
    texts += dict.fromkeys(_undecided(state, records))
    return [Finding(Code.CONTRADICTION, journal.FILE, text) for text in texts]


def _undecided(state: RunState, records: Sequence[Record]) -> Iterator[str]:
    """Effects that no allowing decision about the plan of their time stands before.

    What a later attempt decided, a freeze for instance, says nothing about what was begun before it.
    """
    changed = {effect.key for effect in state.changed}
    decision: Mapping[str, Json] | None = None
    plan = ""
    for record in records:
        if record.kind == "planned":
            plan = record.body["digest"]
        elif record.kind == "decision":
            decision = record.body
        elif record.kind == "intent" and record.body["key"] in changed:
            if decision is None:
                yield "effects without any decision"
            elif decision.get("answer") != Answer.ALLOWED:
                yield f"effects without an allowing decision ({decision.get('answer')})"
            elif decision.get("plan_digest") != plan:
                yield "decision: it is about another plan"


def _check_ledger(
    directory: Path,
    state: RunState,
    records: Sequence[Record],
    ledger: Audit,
    *,
    sealed: bool,
    waits: bool,
) -> list[Finding | Unasked]:
    """What the ledger said about this run has to be what its journal and files say now."""
    found: list[Finding | Unasked] = []
    phases = (Phase.REQUESTED, Phase.START, Phase.END)
    entries = [entry for entry in ledger.by_run.get(state.run, ()) if entry.phase in phases]
    for entry in entries:
        said = entry.predicate.get("journal") or {}
        count = said.get("records")
        if not isinstance(count, int) or not 0 < count <= len(records):
            text = f"{entry.key} knows {count} records, and there are {len(records)}"
            found.append(Finding(Code.TRUNCATED, journal.FILE, text))
        elif records[count - 1].hash != said.get("head"):
            text = f"line {count} is not what {entry.key} knows"
            found.append(Finding(Code.EDITED, journal.FILE, text))
    if state.effects and Phase.START not in {entry.phase for entry in entries}:
        text = f"effects, and ledger {ledger.name} knows no start of them"
        found.append(Finding(Code.UNRECORDED_RUN, journal.FILE, text))
    if not sealed:
        return found
    due = Phase.REQUESTED if state.status is Status.WAITING else Phase.END
    signed = _signed_stop(state, ledger)
    if signed is None and waits:
        found.append(Unasked(UNSIGNED))
    elif signed is None:
        text = f"ledger {ledger.name} has no {due} of it"
        found.append(Finding(Code.UNRECORDED_RUN, journal.FILE, text))
    elif due is Phase.END:
        found += _check_subjects(directory, signed)
    return found


def _signed_stop(state: RunState, ledger: Audit) -> Entry | None:
    """What runners signed of how a run's newest attempt came to wait or to end."""
    due = Phase.REQUESTED if state.status is Status.WAITING else Phase.END
    attempt = len(state.attempts)
    entries = ledger.by_run.get(state.run, ())
    return next((e for e in entries if (e.phase, e.attempt) == (due, attempt)), None)


def _place(entry: Entry, records: Sequence[Record]) -> int:
    """How many records a journal had at a ledger's entry; 0 where it is not that journal."""
    said = entry.predicate.get("journal") or {}
    count = said.get("records")
    if not isinstance(count, int) or not 0 < count <= len(records):
        return 0
    return count if records[count - 1].hash == said.get("head") else 0


def _as_signed(state: RunState, records: Sequence[Record], ledger: Audit | None) -> RunState:
    """The run as it was when a runner signed it, with the files of that seal; as its journal is where none did."""
    entry = _signed_stop(state, ledger) if ledger is not None else None
    count = _place(entry, records) if entry is not None else 0
    return fold(records[:count]) if count and records[count - 1].kind == "sealed" else state


def _check_behind(
    state: RunState, records: Sequence[Record], ledger: Audit, *, is_at_work: bool
) -> list[Finding | Unasked]:
    """Records behind what a runner signed: only a process of the run writes there, and what it comes to is signed too."""
    phases = (Phase.REQUESTED, Phase.START, Phase.END)
    entries = [entry for entry in ledger.by_run.get(state.run, ()) if entry.phase in phases]
    signed = _signed_stop(state, ledger)
    if signed is not None and 0 < _place(signed, records) < len(records):
        count = len(records) - _place(signed, records)
        text = f"{count} records behind the one that {signed.key} knows, and no attempt began since"
        return [Finding(Code.ADDED, journal.FILE, text)]
    if entries and records[-1].kind != "sealed" and not is_at_work:
        return [Unasked(f"what came after {entries[-1].key}: nobody closed it yet")]
    return []


def _check_subjects(directory: Path, entry: Entry) -> list[Finding]:
    found: list[Finding] = []
    for name, expected in entry.subjects.items():
        path = directory / name
        if path.is_symlink():
            found.append(Finding(Code.LINK, name, "a link where a file was"))
        elif not path.is_file():
            found.append(Finding(Code.MISSING, name, f"missing, and {entry.key} knows it"))
        elif sha256_file(path) != f"sha256:{expected}":
            found.append(Finding(Code.EDITED, name, f"it is not what {entry.key} knows"))
    return found


def _check_reviews(state: RunState, recheck: Recheck | None) -> list[Finding | str | Unasked]:
    """Reviews on GitHub that counted: rechecked where somebody asks again, else not checked: a runner alone says that they were.

    Whether what was read is about this request is asked with the consent, see ``reviewed.review_problem``.
    """
    said: list[Finding | str | Unasked] = []
    for approval in state.approvals:
        if not str(approval.get("key")).startswith(GITHUB):
            continue
        what = f"{approval.get('person')}'s review on GitHub ({approval['key']})"
        evidence = approval.get("evidence") or {}
        if recheck is None or not evidence:
            why = "--online asks again" if evidence else "the record does not hold what was read"
            said.append(Unasked(f"{what}: not rechecked; {why}"))
            continue
        try:
            wrong, changed = recheck(evidence, str(state.request_digest))
        except UnavailableError as error:
            said.append(Unasked(f"{what}: not rechecked; {error.message}"))
            continue
        if wrong:
            said.append(Finding(Code.APPROVAL, APPROVALS, f"{what}: rechecked, and {wrong}"))
        else:
            said.append(f"{what}: rechecked, {changed or 'it is as it was read'}")
    return said
