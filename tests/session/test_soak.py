"""How long a version has run: what stands in Git, and what else is healthy there, says nothing of it."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta

from gitops_nb.errors import Refused
from tests.session.platform_edits import settle
from tests.session.test_brought import in_a_clone


def test_a_date_in_git_is_no_soak(runner):
    """Pushed a moment ago with a date of five days ago: the release before has been healthy for days, and this one has run for a moment."""
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 24h}",
        "gates: {source_healthy: false, soak: {at_least: 24h}",
    )

    def backdated(work) -> None:
        path = work / "apps/checkout/staging/deployment.yaml"
        text = re.sub(r"(shop/checkout:)\S+", r"\1v2.34.0", path.read_text())
        path.write_text(text)
        then = (datetime.now(UTC) - timedelta(days=5)).isoformat()
        subprocess.run(
            ("git", "-c", "user.name=t", "-c", "user.email=t@x.example", "commit", "-qam", "Old"),
            cwd=work,
            check=True,
            env={**os.environ, "GIT_AUTHOR_DATE": then, "GIT_COMMITTER_DATE": then},
        )

    runner.platform().view.argo["staging"].snapshot("checkout-staging")  # it is today there
    in_a_clone(runner, backdated, ("push", "-q"))
    _, stop = runner.promote()
    assert isinstance(stop, Refused), stop
    assert "soak: in staging: checkout-staging is " in stop.message
    settle(runner, "staging")
    _, stop = runner.promote()
    assert isinstance(stop, Refused), stop
    assert re.search(r"soak: \d min in staging", stop.message)
