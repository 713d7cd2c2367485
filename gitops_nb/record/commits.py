"""What commits say about the runs that made them: a witness outside of the record, for everybody who can read the branch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE, Record

TRAILER_RUN = "Gitops-Nb-Run"
TRAILER_PLAN = "Gitops-Nb-Plan"
TRAILER_JOURNAL = "Gitops-Nb-Journal"
TRAILER_LEDGER = "Gitops-Nb-Ledger"


@dataclass(frozen=True, slots=True)
class RunCommit:
    """A commit whose trailers name a run: its plan, and the newest record of its journal then; "" where there is none."""

    sha: str
    where: str
    run: str
    plan: str = ""
    journal: str = ""


def commit_findings(
    state: RunState, records: Sequence[Record], commits: Iterable[RunCommit]
) -> list[Finding]:
    """Where commits that name a run, and its record, do not say the same."""
    found: list[Finding] = []
    hashes = {record.hash for record in records}
    recorded = {str(effect.result.get("revision")) for effect in state.effects}
    for commit in commits:
        if commit.run != state.run:
            continue
        if commit.plan and commit.plan != state.plan_digest:
            text = f"{commit.where} says that it is plan {commit.plan}"
            found.append(Finding(Code.CONTRADICTION, FILE, text))
        if commit.journal and commit.journal not in hashes:
            text = f"{commit.where} names a record of it that is not there"
            found.append(Finding(Code.EDITED, FILE, text))
        # A run whose commit is in doubt may have made it all the same.
        if state.ended and not state.in_doubt and commit.sha not in recorded:
            text = f"{commit.where} says that this run made it, and the record has no such commit"
            found.append(Finding(Code.CONTRADICTION, FILE, text))
    return found
