"""Removes old runs and leaves a signed tombstone for each: gone, not missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused
from gitops_nb.model import Status, parse_time
from gitops_nb.record import journal
from gitops_nb.record.audit import Audit, audit
from gitops_nb.record.consents import review_findings
from gitops_nb.record.files import sha256_file
from gitops_nb.record.findings import Finding
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Entry, Ledger, Phase, ledger_name
from gitops_nb.record.runs import is_run_held, run_directories, scan_run
from gitops_nb.session.beginnings import is_believed_here
from gitops_nb.session.copies import remove_run
from gitops_nb.session.counting import Registered, Trusts, runners_of
from gitops_nb.session.held import pending
from gitops_nb.session.notary import open_ledger
from gitops_nb.session.stores import reports_store

PER_RECORD = 200
_ATTEMPT = (Phase.REQUESTED, Phase.START, Phase.END)
"""What a ledger says of an attempt, in order."""


@dataclass(frozen=True, slots=True)
class OldRuns:
    """Runs that ended longer ago than they are kept, oldest first, and those of them that stay, each with the reason."""

    removable: tuple[RunState, ...]
    unsettled: tuple[tuple[RunState, str], ...]


def old_runs(workspace: Workspace, kept: Callable[[str], timedelta | None]) -> OldRuns:
    """Sorts out what ended longer ago; what waits, runs, is in doubt or not yet signed is no such run.

    When a run ended is the word of the signed end in its ledger: who may write a journal may write any date into it.

    Args:
        workspace: Whose runs they are.
        kept: How long runs of an environment are kept; None for ever. An environment is "" for a run in none.

    Raises:
        UnavailableError: There are live runs, and origin does not say whose signatures count.
    """
    now = datetime.now(UTC)
    unsigned = set(pending(workspace))
    ends = _Ends(workspace, now)
    removable: list[RunState] = []
    unsettled: list[tuple[RunState, str]] = []
    for directory in reversed(run_directories(workspace.reports)):
        state = scan_run(directory)
        if not state.ended or not state.files or state.in_doubt or state.run in unsigned:
            continue
        age = kept(state.environment)
        # A journal's word is enough to leave a run alone, never to remove it.
        if age is None or parse_time(state.ended) >= now - age:
            continue
        if is_run_held(workspace.reports, state.run):
            continue
        end = ends.of(state)
        if end is not None and end.at >= now - age:
            continue
        reason = ends.unsettled(state, end)
        if reason:
            unsettled.append((state, reason))
        else:
            removable.append(state)
    return OldRuns(tuple(removable), tuple(unsettled))


class _Ends:
    """What runners signed about how runs ended; each ledger is read once, when it is needed."""

    def __init__(self, workspace: Workspace, now: datetime) -> None:
        self._workspace = workspace
        self._now = now
        self._trusts = Trusts(workspace, load_catalog(workspace.runbooks))
        self._registers = Registered(workspace, self._trusts)
        self._known: dict[str, tuple[Audit, frozenset[str]]] = {}

    def of(self, state: RunState) -> Entry | None:
        """The newest record of a run, if it is an end, a runner signed it, and it names the journal as it is."""
        checked, wrong = self._ledger(state)
        entries = [e for e in checked.by_run.get(state.run, ()) if e.phase in _ATTEMPT]
        newest = entries[-1] if entries else None
        if newest is None or newest.phase is not Phase.END or newest.key in wrong:
            return None
        journal_digest = _journal_digest(self._workspace.reports / state.run)
        return newest if newest.subjects.get(journal.FILE) == journal_digest else None

    def unsettled(self, state: RunState, end: Entry | None) -> str:
        """Why a run stays however old it is; "" for one that may go."""
        if end is None:
            return "no runner signed that it ended as its journal says; `gitops-nb verify` tells"
        if state.status is Status.NEEDS_ATTENTION:
            return "it needs attention"
        if state.broke_glass and not self._is_reviewed(state):
            return "what was done with broken glass is not reviewed"
        return ""

    def _is_reviewed(self, state: RunState) -> bool:
        """Whether a review counts; in a sandbox that is gone nobody can be asked any more, and the runner's word has to do."""
        checked, wrong = self._ledger(state)
        trust = self._trusts.of_run(state)
        if trust is None:
            entries = checked.by_run.get(state.run, ())
            return any(e.phase is Phase.REVIEWED and e.key not in wrong for e in entries)
        found = review_findings(
            state,
            journal.read(self._workspace.reports / state.run / journal.FILE)[0],
            checked,
            trust=trust,
            processes=LocalProcesses(),
            # Whatever is still to be reviewed is due at the end of time.
            now=datetime.max.replace(tzinfo=UTC),
            allowance_at=self._trusts.allowance_at(state),
            registered=self._registers.reviews(state),
        )
        return not any(isinstance(one, Finding) for one in found)

    def _ledger(self, state: RunState) -> tuple[Audit, frozenset[str]]:
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        if name not in self._known:
            catalog = self._trusts.of_mode(is_sandbox=state.is_sandbox)
            runners = runners_of(self._workspace, catalog, is_sandbox=state.is_sandbox)
            checked = audit(reports_store(self._workspace), name, runners=runners, now=self._now)
            self._known[name] = checked, frozenset(one.file for one in checked.findings)
        return self._known[name]


def prune(workspace: Workspace, runs: Sequence[RunState]) -> None:
    """Signs a tombstone for these runs, then removes them here and in the bucket.

    Raises:
        RecordError: The ledger cannot be written; nothing was removed.
        Refused: This machine's word counts nowhere there, or a run is not as it was shown; nothing was removed.
    """
    by_ledger: dict[str, list[RunState]] = {}
    for state in runs:
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        by_ledger.setdefault(name, []).append(state)
    for states in by_ledger.values():
        _refuse_unfit(workspace, states)
    for name, states in by_ledger.items():
        ledger = open_ledger(workspace, name)
        _witness_reviews(workspace, ledger, states)
        for begin in range(0, len(states), PER_RECORD):
            part = states[begin : begin + PER_RECORD]
            ledger.append(
                Phase.PRUNED,
                run="",
                attempt=0,
                subjects={
                    state.run: _journal_digest(workspace.reports / state.run) for state in part
                },
                body={"reason": "retention"},
            )
            for state in part:
                remove_run(workspace, state.run)
                shutil.rmtree(workspace.reports / state.run)
    if runs:
        from gitops_nb.report.files import write_index

        write_index(
            workspace.reports,
            now=datetime.now(UTC),
            zone=workspace.time_zone,
            cache=workspace.index_cache,
        )


def _witness_reviews(workspace: Workspace, ledger: Ledger, states: Sequence[RunState]) -> None:
    """Puts reviews that the register alone has into the ledger: a tombstone is read beside what stands there before it."""
    broken = [state for state in states if state.broke_glass]
    if not broken:
        return
    registers = Registered(workspace, Trusts(workspace, load_catalog(workspace.runbooks)))
    for state in broken:
        for review in registers.reviews(state).values():
            ledger.append(
                Phase.REVIEWED,
                run=state.run,
                attempt=len(state.attempts),
                subjects={"request": state.request_digest.removeprefix("sha256:")},
                body={"review": review},
            )


def _refuse_unfit(workspace: Workspace, states: Sequence[RunState]) -> None:
    """Refuses to sign tombstones that count nowhere, or of runs that went on since somebody was shown them.

    Raises:
        Refused: Nothing was removed.
    """
    if not is_believed_here(workspace, states[0]):
        raise Refused(
            f"this machine is no runner of {states[0].environment}, so a tombstone that it signs counts nowhere; nothing was removed",
            hint="Prune on a machine that `runners` in trust.yaml lists.",
        )
    for state in states:
        if scan_run(workspace.reports / state.run).head != state.head:
            raise Refused(
                f"{state.run} went on meanwhile; nothing was removed",
                hint="Look again what is to be removed.",
            )


def _journal_digest(directory: Path) -> str:
    return sha256_file(directory / journal.FILE).removeprefix("sha256:")
