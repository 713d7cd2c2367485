"""Whose signature a protected environment relies on: only runners of trust.yaml change it."""

from __future__ import annotations

from datetime import UTC, datetime

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused
from gitops_nb.policy import Rules
from gitops_nb.record import dsse
from gitops_nb.session.notary import runner_key


def refuse_unlisted_runner(workspace: Workspace, rules: Rules) -> None:
    """Refuses to change an environment that needs approval when nobody would believe the record of it.

    Raises:
        Refused: No runner of trust.yaml has this runner's key, or the key does not count now.
    """
    if not rules.approvals:
        return
    public = runner_key(workspace)
    body, now = public.split(" ")[1], datetime.now(UTC)
    listed = [one for one in rules.trust.runners if one.key.split(" ")[1] == body]
    if not any(one.counts_at(now) for one in listed):
        what = (
            f"the key of {listed[0].name} does not count now"
            if listed
            else "it lists no runner with this key"
        )
        raise Refused(
            f"{rules.environment} is changed by runners of trust.yaml, and {what}: {dsse.fingerprint(public)}",
            hint=f"Add to runners there: {{name: NAME, key: {public!r}}}",
        )
