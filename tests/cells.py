"""The cells of a runbook's notebook, called in this process: without a kernel."""

from __future__ import annotations

import asyncio
from typing import Any

from gitops_nb.errors import GitOpsError
from gitops_nb.record.fold import RunState
from gitops_nb.session import Session


def go_through(session: Session, runbook: Any) -> tuple[RunState, GitOpsError | None]:
    """All verbs of a slice that changes something, then the session is closed; the run and what stopped it, if something did."""
    try:
        session.step(runbook.observe)
        session.step(runbook.plan)
        asyncio.run(session.gate(runbook.gates))
        session.step(runbook.apply)
        session.step(runbook.verify)
        session.finish()
    except GitOpsError as stop:
        return session.state, stop
    finally:
        session.close()
    return session.state, None
