"""What a tombstone may not hide: pruning leaves what is unsettled, so that a removed run that was unsettled was not pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from gitops_nb.catalog.trust import Trust
from gitops_nb.model import Json, Status
from gitops_nb.ports import Processes
from gitops_nb.record.approvals import check_answer
from gitops_nb.record.audit import Audit
from gitops_nb.record.consents import Allowance, AllowanceAt
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.ledger import Entry, Phase

TrustOf = Callable[[Entry], Trust | None]
"""Whose signatures counted when a record was made; None where nobody can tell any more."""


def tombstone_findings(
    ledger: Audit, *, trust_of: TrustOf, processes: Processes, allowance_at: AllowanceAt
) -> list[Finding]:
    """Tombstones of runs that pruning would have left: a review of broken glass is due, or somebody has to look.

    Runs whose records stand by a checkpoint are not looked at.

    Args:
        ledger: Checked before.
        trust_of: See there.
        processes: To check signatures with.
        allowance_at: Who may approve, and so review, in the ledger's environment.
    """
    found: list[Finding] = []
    for entry in ledger.entries:
        if entry.phase is not Phase.PRUNED:
            continue
        for run in entry.subjects:
            before = [one for one in ledger.by_run.get(run, ()) if one.seq < entry.seq]
            ends = [one for one in before if one.phase is Phase.END]
            if ends and ends[-1].predicate.get("status") == Status.NEEDS_ATTENTION:
                text = f"a tombstone of {run}, which needed attention"
                found.append(Finding(Code.PHASE, entry.key, text))
            broken = next(_broken(before), None)
            if broken is not None and not any(
                _counts(one, broken, trust_of, processes, allowance_at) for one in before
            ):
                text = f"a tombstone of {run}, whose broken glass nobody had reviewed"
                found.append(Finding(Code.REVIEW_DUE, entry.key, text))
    return found


def _broken(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Records that effects began without approval."""
    return (
        one
        for one in entries
        if one.phase in (Phase.START, Phase.END)
        and one.predicate.get("break_glass")
        and (one.phase is Phase.START or one.predicate.get("effects"))
    )


def _counts(
    entry: Entry,
    broken: Entry,
    trust_of: TrustOf,
    processes: Processes,
    allowance_at: AllowanceAt,
) -> bool:
    """Whether a record is the review of what was done, by somebody else who may approve there."""
    if entry.phase is not Phase.REVIEWED:
        return False
    trust = trust_of(entry)
    if trust is None:
        return True  # the sandbox was built anew: nobody can tell any more who signed, and the runner's word has to do
    review: Json = entry.predicate.get("review") or {}
    given = check_answer(entry.key, review, processes=processes, trust=trust, now=None).approval
    requester = broken.predicate.get("requester")
    asked = str(requester.get("name")) if isinstance(requester, Mapping) else ""
    known = trust.person(asked)
    if given is None or given.answer != "review":
        return False
    if given.subject != broken.predicate.get("request_digest"):
        return False
    if given.person == asked or (known is not None and known.is_called(given.person)):
        return False
    policy = broken.predicate.get("policy")
    said = allowance_at(
        policy if isinstance(policy, Mapping) else {}, str(broken.predicate.get("environment"))
    )
    return all(given.person in one.approvers for one in said if isinstance(one, Allowance))
