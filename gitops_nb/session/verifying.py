"""Checks records as a whole: every ledger, the anchors in Git, and every run against its ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import Trust
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError, RecordError, UnavailableError
from gitops_nb.model import Mode, Plan, Status, from_json, parse_time
from gitops_nb.record.audit import Anchor, Audit, audit, environment_of
from gitops_nb.record.commits import claim_findings
from gitops_nb.record.files import replace_file, settled
from gitops_nb.record.findings import Code, Finding, Unasked
from gitops_nb.record.fold import RunState
from gitops_nb.record.intruders import reports_intruders
from gitops_nb.record.journal import FILE
from gitops_nb.record.keys import HELD_HERE
from gitops_nb.record.ledger import Entry, Phase, ledger_name, ledger_names
from gitops_nb.record.runs import is_run_held, run_directories, scan_run, sealed_at, was_here
from gitops_nb.record.tombstones import tombstone_findings
from gitops_nb.record.unlocks import read_unlock
from gitops_nb.record.verify import Recheck, Verification, verify_run
from gitops_nb.session.compared import compared_contents, compared_names, odd_objects
from gitops_nb.session.counting import SANDBOX, Registered, Trusts, Witnessed, runners_of
from gitops_nb.session.held import is_unsigned, open_here, pending
from gitops_nb.session.lifecycle import JUNK
from gitops_nb.session.stores import bucket_store, reports_store
from gitops_nb.session.witnesses import Witnesses, anchors_of

_REMEMBERED = "verified.json"


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """One ledger: how many records, what is wrong, how fresh its newest anchor is."""

    name: str
    records: int
    problems: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was checked; ``folder`` is what does not belong into the reports folder itself."""

    ledgers: tuple[LedgerCheck, ...]
    runs: tuple[Verification, ...]
    folder: tuple[Finding, ...] = ()

    @property
    def holds(self) -> bool:
        """True when everything was checked, and nothing was found."""
        return not (
            self.is_wrong
            or any(one.unchecked for one in self.runs)
            or any(one.unchecked for one in self.ledgers)
        )

    @property
    def is_wrong(self) -> bool:
        """True when something is not what it has to be."""
        return (
            bool(self.folder)
            or any(ledger.problems for ledger in self.ledgers)
            or any(run.problems for run in self.runs)
        )


Read = Callable[..., Audit]
"""How a ledger is read: ``audit`` as a whole, ``audit_since_checkpoint`` from its newest checkpoint on."""


def verify_records(
    workspace: Workspace,
    directories: Sequence[Path],
    *,
    read: Read = audit,
    recheck: Callable[[str], Recheck] | None = None,
) -> Checked:
    """Checks the ledgers of a workspace and these runs.

    Args:
        workspace: Whose records.
        directories: Of the runs.
        read: How the ledgers are read.
        recheck: Makes what asks the Git host at an address again about reviews; None leaves that out.

    Raises:
        ConfigurationError: The catalog is wrong: whose signatures count is not known.
        UnavailableError: There are live records, and origin does not say whose signatures count.
    """
    trusts = Trusts(workspace, load_catalog(workspace.runbooks))
    now = datetime.now(UTC)
    witnesses = Witnessed(workspace, trusts)
    registers = Registered(workspace, trusts)
    audits, notes = _audits(workspace, trusts, witnesses, read, now)
    runs: list[Verification] = []
    check = _RunCheck(
        workspace, trusts, witnesses, registers, audits, open_here(workspace), recheck, now
    )
    for directory in directories:
        try:
            checked = check.run(directory, whole=read is audit or len(directories) == 1)
        except JUNK as error:
            # Only what somebody else wrote can come here: it is this run's trouble, and stops nobody else's check.
            text = f"it cannot be checked, it is no record of this package: {type(error).__name__}"
            checked = Verification(directory.name, 0, 0, (Finding(Code.MALFORMED, FILE, text),))
        runs.append(checked)
    checks = tuple(
        _ledger_check(
            workspace,
            one,
            notes[name],
            now,
            said_so=[
                *_unread(witnesses, name),
                *_check_unlocks(one, trusts.of_ledger(name)),
                *tombstone_findings(
                    one,
                    trust_of=trusts.of_ledger(name),
                    processes=LocalProcesses(),
                    allowance_at=trusts.allowance_of(name),
                ),
            ],
        )
        for name, one in audits.items()
    )
    held = [audits[check.name] for check in checks if not check.problems]
    try:
        _remember(workspace, held)
    except (RecordError, OSError) as error:
        text = f"not remembered here for the next check: {error}"
        checks = tuple(replace(check, notes=(*check.notes, text)) for check in checks)
    gone = _gone(workspace, trusts, witnesses, {*audits})
    folder = reports_intruders(workspace.reports)
    return Checked((*checks, *gone), tuple(runs), tuple(folder))


def _gone(
    workspace: Workspace, trusts: Trusts, witnesses: Witnessed, there: set[str]
) -> Iterator[LedgerCheck]:
    """Ledgers that are not there, and of whose runs commits tell: nobody else would miss one that was removed as a whole.

    Where the file leaves the mode open there may have been ledgers of both.
    """
    for mode in Mode if workspace.mode is None else (workspace.mode,):
        is_sandbox = mode is Mode.SANDBOX
        if is_sandbox and not (workspace.sandbox / "origin").exists():
            continue
        try:
            yield from _gone_in(trusts, witnesses, there, is_sandbox=is_sandbox)
        except GitOpsError as error:
            text = f"which ledgers there were in {mode} mode: {error.message}"
            yield LedgerCheck(str(mode), 0, (), unchecked=(text,))


def _gone_in(
    trusts: Trusts, witnesses: Witnessed, there: set[str], *, is_sandbox: bool
) -> Iterator[LedgerCheck]:
    for environment in trusts.of_mode(is_sandbox=is_sandbox).fleet.environments:
        name = ledger_name(environment, is_sandbox=is_sandbox)
        if name in there:
            continue
        seen = witnesses.of(is_sandbox=is_sandbox)
        told = [c for c in seen.commits if f"-{environment}-" in c.run]
        if seen.note and not told:
            text = f"whether there was such a ledger: {seen.note}"
            yield LedgerCheck(name, 0, (), unchecked=(text,))
        elif told:
            text = (
                f"{len(told)} commits name runs of it, the newest {told[0].where} of {told[0].run}, and there is no such "
                "ledger: it was removed, or the runs are another workspace's"
            )
            yield LedgerCheck(name, 0, (Finding(Code.TRUNCATED, f"ledger/{name}", text),))


@dataclass(frozen=True, slots=True)
class _RunCheck:
    """Checks one run after the other against what was read once."""

    workspace: Workspace
    trusts: Trusts
    witnesses: Witnessed
    registers: Registered
    audits: Mapping[str, Audit]
    noted: Mapping[str, str]
    recheck: Callable[[str], Recheck] | None
    now: datetime

    def run(self, directory: Path, *, whole: bool) -> Verification:
        """See ``record.verify.verify_run``."""
        state = scan_run(directory)
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        ledger = self.audits.get(name) or Audit(name, (), ())
        mark = ledger.checkpoint
        is_before = mark is not None and bool(state.started) and parse_time(state.started) < mark.at
        trust, seen = self.trusts.of_run(state), self.witnesses.of(is_sandbox=state.is_sandbox)
        entries = ledger.by_run.get(directory.name, ())
        registered, starts = self.registers.findings(state, entries)
        verified = verify_run(
            directory,
            ledger=None if is_before else ledger,
            trust=trust,
            processes=LocalProcesses(),
            now=self.now,
            recheck=None
            if self.recheck is None
            else self.recheck(self.trusts.live.now.policy.ci_api),
            allowance_at=self.trusts.allowance_at(state),
            commits=seen.commits,
            registered=[
                *registered,
                *self.trusts.untold(state),
                *self.trusts.reach(state),
                *_claims(state, trust, seen, starts),
                *_unseen(self.workspace, state, entries),
                *([] if is_before else _unbegun(self.workspace, state, entries, self.noted)),
            ],
            check_identity=self.trusts.check_identity,
            in_register=self.registers.reviews(state),
            waits_to_be_signed=is_unsigned(directory, self.noted.get(directory.name, "")),
            is_at_work=self._is_at_work(directory.name),
        )
        there = _in_bucket(self.workspace, directory, state, whole=whole)
        if there:
            verified = replace(verified, problems=(*verified.problems, *there))
        if is_before:
            text = "began before the ledger's checkpoint: not compared with the records behind it; --full does"
            verified = replace(verified, notes=(*verified.notes, text))
        return verified

    def _is_at_work(self, run: str) -> bool:
        """Whether a process works on it; with records in a bucket one on another machine may."""
        reports = self.workspace.reports
        return is_run_held(reports, run) or (
            bool(self.workspace.bucket) and not was_here(reports, run)
        )


def _claims(
    state: RunState, trust: Trust | None, seen: Witnesses, starts: frozenset[str] | None
) -> list[Finding | Unasked]:
    """Commits that the record says its run made have to be there; of a sandbox that is gone ``Trusts.untold`` tells."""
    if state.is_sandbox and trust is None:
        return []
    commits = seen.commits
    there = {commit.sha for commit in commits}
    made = {str(e.result.get("revision") or "") for e in state.touched if e.key == "commit"}
    if made - there - {""} and isinstance(state.plan, Mapping):
        repository = str((state.plan.get("arguments") or {}).get("repository") or "")
        try:
            kept = seen.pushed(repository, state.run) if repository else None
        except GitOpsError:
            kept = None  # then the commit is missed, and that is what is said
        commits = (*commits, kept) if kept is not None else commits
    found = claim_findings(state, commits, starts=starts, unread=seen.unread)
    for commit in seen.commits:
        if commit.run != state.run or not commit.is_signed or commit.plan != state.plan_digest:
            continue
        try:
            wrong = seen.otherwise(commit.sha, from_json(Plan, state.plan))
        except UnavailableError as error:
            found.append(Unasked(f"what {commit.where} changes: {error.message}"))
            continue
        if wrong:
            found.append(Finding(Code.CONTRADICTION, FILE, f"{commit.where}: {wrong}"))
    return found


def _unseen(workspace: Workspace, state: RunState, entries: Sequence[Entry]) -> list[Unasked]:
    """What a run did whose effects began and whose end nobody saw: its journal may have been cut before that was signed."""
    started = {entry.attempt for entry in entries if entry.phase is Phase.START}
    if max(started, default=-1) < len(state.attempts):
        return []
    # Nobody closed it yet, and no process here is at it: on another machine one may be.
    is_left = state.status is Status.RUNNING and not is_run_held(workspace.reports, state.run)
    if not is_left and (not state.ended or state.witnessed):
        return []
    text = f"what it did: its effects began, and nobody saw how they ended; `gitops-nb resume {state.run}` finds out"
    return [Unasked(text)]


def _unbegun(
    workspace: Workspace, state: RunState, entries: Sequence[Entry], noted: Mapping[str, str]
) -> list[Finding]:
    """A run of which neither this machine nor any runner's record knows the beginning: nothing closes it."""
    is_open = sealed_at(workspace.reports / state.run) is None
    if workspace.bucket or entries or not is_open or state.run in noted or not state.opened:
        return []
    if is_run_held(workspace.reports, state.run):
        return []
    text = "nobody began it here, and no runner signed that it began: nothing closes it"
    return [Finding(Code.UNRECORDED_RUN, FILE, text)]


def _in_bucket(
    workspace: Workspace, directory: Path, state: RunState, *, whole: bool
) -> list[Finding]:
    """What the bucket has otherwise than this machine, of a run that was closed and sent."""
    store = bucket_store(workspace)
    is_closed = bool(state.files) and (bool(state.ended) or state.status is Status.WAITING)
    if store is None:
        return []
    if not is_closed or state.run in pending(workspace):
        return odd_objects(store, directory.name)
    compare = compared_contents if whole else compared_names
    return compare(store, directory, state.files)


def _audits(
    workspace: Workspace, trusts: Trusts, witnesses: Witnessed, read: Read, now: datetime
) -> tuple[dict[str, Audit], dict[str, list[str]]]:
    """Every ledger, checked, and what is to be said about it."""
    store = reports_store(workspace)
    remembered = _remembered(workspace)
    names = sorted({*ledger_names(store), *remembered})
    audits: dict[str, Audit] = {}
    notes: dict[str, list[str]] = {}
    for mode in Mode:
        is_sandbox = mode is Mode.SANDBOX
        own = [name for name in names if name.startswith(SANDBOX) is is_sandbox]
        if not own:
            continue
        catalog = trusts.of_mode(is_sandbox=is_sandbox)
        source = "" if is_sandbox else f"keys of trust.yaml as in {trusts.live.source}"
        seen = witnesses.of(is_sandbox=is_sandbox)
        for name in own:
            told = anchors_of(seen.anchors, environment_of(name))
            known = (*told, remembered[name]) if name in remembered else told
            runners = runners_of(workspace, catalog, is_sandbox=is_sandbox)
            audits[name] = read(store, name, runners=runners, now=now, anchors=known)
            there = {path.name for path in run_directories(workspace.reports)}
            there |= {*audits[name].by_run, *audits[name].tombstones}
            strangers = seen.unknown(name.removeprefix(SANDBOX), there)
            notes[name] = [text for text in (source, strangers) if text]
    return audits, notes


def _unread(witnesses: Witnessed, ledger: str) -> list[Unasked]:
    """Why nobody looked for commits that know more of a ledger than is there: one that was cut with its runs fits itself."""
    note = witnesses.of(is_sandbox=ledger.startswith(SANDBOX)).note
    return [Unasked(note)] if note else []


def _check_unlocks(
    checked: Audit, trust_of: Callable[[Entry], Trust | None]
) -> list[Finding | str | Unasked]:
    """Whether a person signed each unlock, and what they said."""
    said: list[Finding | str | Unasked] = []
    for entry in checked.entries:
        if entry.phase is not Phase.UNLOCKED:
            continue
        trust = trust_of(entry)
        if trust is None:
            said.append(Unasked(f"who signed {entry.key}: its sandbox was built anew since"))
            continue
        word, problem = read_unlock(entry, trust=trust, processes=LocalProcesses())
        if problem:
            said.append(Finding(Code.SIGNATURE, entry.key, f"the unlock does not count: {problem}"))
        else:
            said.append(f"{word['what']} freed by the word of {word['person']}: {word['reason']}")
    return said


def _ledger_check(
    workspace: Workspace,
    checked: Audit,
    notes: Sequence[str],
    now: datetime,
    *,
    said_so: Sequence[Finding | str | Unasked],
) -> LedgerCheck:
    findings = [*checked.findings]
    for run, entries in checked.by_run.items():
        directory = workspace.reports / run
        is_there = directory.is_dir() and not directory.is_symlink()
        if is_there or run in checked.tombstones:
            continue
        text = f"{entries[0].key} knows it, and its directory is gone"
        findings.append(Finding(Code.DELETED_RUN, run, text))
    said = list(notes)
    findings += [text for text in said_so if isinstance(text, Finding)]
    said += [text for text in said_so if isinstance(text, str)]
    for run, entries in checked.by_run.items():
        last = entries[-1]
        held = is_run_held(workspace.reports, run)
        if last.phase is Phase.START and not held:
            said.append(f"{run} began effects, and no end of it is signed")
    if checked.checkpoint is not None:
        mark = checked.checkpoint
        said.append(
            f"records 0 to {checked.begin - 1} stand by the signed checkpoint of {mark.at:%Y-%m-%d}; --full reads them"
        )
    readable = sum(one.predicate.get("key_held") == HELD_HERE for one in checked.entries)
    if readable:
        said.append(
            f"{readable} signed with a key in a file that notebooks of the same user can read"
        )
    anchor = checked.newest_anchor
    behind = len(checked.unanchored)
    if anchor is None:
        said.append(f"no anchor: {behind} records that nothing outside of the ledger knows")
    elif behind:
        first, last = checked.unanchored[0], checked.unanchored[-1]
        seqs = f"{first.seq}" if behind == 1 else f"{first.seq} to {last.seq}"
        since = max(0, int((now - first.at).total_seconds() // 60))
        said.append(
            f"newest anchor: {anchor.where}, {anchor.size} record{'' if anchor.size == 1 else 's'}; not anchored: {seqs}, for {since} min"
        )
    else:
        said.append(f"newest anchor: {anchor.where}, all {anchor.size} records")
    unasked = tuple(one.text for one in said_so if isinstance(one, Unasked))
    return LedgerCheck(checked.name, checked.size, tuple(findings), tuple(said), unasked)


def _remembered(workspace: Workspace) -> dict[str, Anchor]:
    """What this machine saw when it last found each ledger in order."""
    path = workspace.root / ".gitops-nb" / _REMEMBERED
    try:
        known = json.loads(path.read_bytes())[str(workspace.reports)]
        return {
            name: Anchor(
                int(one["size"]), str(one["head"]), "", f"the check of {one['at']}", is_own=True
            )
            for name, one in known.items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(workspace: Workspace, audits: Sequence[Audit]) -> None:
    path = workspace.root / ".gitops-nb" / _REMEMBERED
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        known = {}
    here = known.setdefault(str(workspace.reports), {})
    for one in audits:
        if one.entries:
            last = one.entries[-1]
            now = datetime.now(UTC).isoformat(timespec="seconds")
            here[one.name] = {"size": one.size, "head": last.hash, "at": now}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(settled(path), (json.dumps(known, indent=1) + "\n").encode())
