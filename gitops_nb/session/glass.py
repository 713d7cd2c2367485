"""Whether what was done with broken glass has been reviewed: a review counts when its signature does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import Trust
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Json, parse_time
from gitops_nb.record import journal
from gitops_nb.record.audit import Audit
from gitops_nb.record.consents import review_findings
from gitops_nb.record.findings import Finding
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Entry, Phase, find_entries, ledger_name
from gitops_nb.session.beginnings import is_by_runner
from gitops_nb.session.counting import Registered, Trusts
from gitops_nb.session.stores import reports_store


class Glass:
    """Asks for several runs of a workspace; whose signatures count is read once, and only where there is a review.

    Args:
        workspace: Whose runs.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def _trusts(self) -> Trusts:
        return Trusts(self._workspace, load_catalog(self._workspace.runbooks))

    @cached_property
    def _registers(self) -> Registered:
        return Registered(self._workspace, self._trusts)

    def is_reviewed(self, state: RunState) -> bool:
        """Whether somebody who might reviewed a run. Where nobody can be asked it is still to be reviewed."""
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        try:
            found = find_entries(
                reports_store(self._workspace), name, state.run, since=parse_time(state.started)
            )
            reviews = tuple(entry for entry in found if entry.phase is Phase.REVIEWED)
            trust = self._trusts.of_run(state)
            if trust is None:
                # A sandbox that was built anew has other persons: the runner's word has to do.
                return any(is_by_runner(self._workspace, state, entry) for entry in reviews)
            return self._counts(name, state, trust, reviews, {}) or self._counts(
                name, state, trust, (), self._registers.reviews(state)
            )
        except GitOpsError:
            return False

    def _counts(
        self,
        name: str,
        state: RunState,
        trust: Trust,
        entries: tuple[Entry, ...],
        registered: Mapping[str, Json],
    ) -> bool:
        if not entries and not registered:
            return False
        said = review_findings(
            state,
            journal.read(self._workspace.reports / state.run / journal.FILE)[0],
            Audit(name, entries, (), by_run={state.run: entries}),
            trust=trust,
            processes=LocalProcesses(),
            # Whatever is still to be reviewed is due at the end of time.
            now=datetime.max.replace(tzinfo=UTC),
            allowance_at=self._trusts.allowance_at(state),
            registered=registered,
        )
        return not any(isinstance(one, Finding) for one in said)


def is_reviewed(where: Workspace, state: RunState) -> bool:
    """See ``Glass.is_reviewed``."""
    return Glass(where).is_reviewed(state)
