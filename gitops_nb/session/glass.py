"""Whether what was done with broken glass has been reviewed, as the ledger says."""

from __future__ import annotations

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import parse_time
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase, find_entries, ledger_name
from gitops_nb.session.stores import reports_store


def is_reviewed(where: Workspace, state: RunState) -> bool:
    """Whether the ledger has a review of a run; whether that one counts, ``verify`` says."""
    name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
    try:
        found = find_entries(reports_store(where), name, state.run, since=parse_time(state.started))
    except GitOpsError:
        return False
    return any(entry.phase is Phase.REVIEWED for entry in found)
