"""Runs in this process: the notebook's calls without a kernel, on a sandbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_nb import promotion
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Mode, parse_time
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import find_run, read_run
from gitops_nb.session import Session, open_session
from gitops_nb.session.order import Order
from gitops_nb.session.platform import open_platform
from tests.cells import go_through


class Runner:
    """Promotions as their notebook makes them."""

    def __init__(self, workspace) -> None:
        self.workspace = workspace
        self.order = Order()

    def open(self, run: str | None = None, **parameters: Any) -> Session:
        """Opens a new run, or the next attempt of one."""
        chosen = {"application": "checkout", "stable_for": "0s", **parameters}
        order = replace(self.order, run=run or "")
        return open_session("promotion", workspace=self.workspace.root, order=order, **chosen)

    def promote(
        self, run: str | None = None, **parameters: Any
    ) -> tuple[RunState, GitOpsError | None]:
        """All cells of the promotion notebook; returns the run and what stopped it, if something did."""
        return self.go_through(self.open(run, **parameters))

    def promote_again(self, run: str) -> tuple[RunState | None, GitOpsError | None]:
        """The same for a run that may have ended meanwhile: what refuses to open it is told too."""
        try:
            return self.promote(run=run)
        except GitOpsError as stop:
            return None, stop

    def go_through(self, session: Session) -> tuple[RunState, GitOpsError | None]:
        """The same in an open session, which is closed."""
        return go_through(session, promotion)

    def answer(self, run: str, kind: str = "approve", /, **changes: Any) -> None:
        """An answer of the sandbox's second person, or a damaged one."""
        directory = find_run(self.workspace.reports, run)
        state = read_run(directory)
        platform = self.platform()
        values = {
            "processes": platform.processes,
            "key": platform.signing_key,
            "run": state.run,
            "subject": state.request_digest,
            "answer": kind,
            "person": platform.second_person,
            "at": datetime.now(UTC),
            "expires": parse_time(state.request["expires"]),
            "reason": "test",
            "realm": platform.trust.realm,
            **changes,
        }
        sign_answer(directory, **values)

    def platform(self):
        """The handles of the sandbox."""
        where = find_workspace(self.workspace.root)
        return open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)

    def tip(self) -> str:
        """The configuration branch's commit now."""
        return self.platform().git.tip("platform-config", "main")


@pytest.fixture
def runner(workspace) -> Runner:
    """Promotions in a new workspace."""
    return Runner(workspace)
