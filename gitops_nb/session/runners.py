"""Whose signature a protected environment relies on: only runners of trust.yaml change it, or vouch for CI's identity."""

from __future__ import annotations

from datetime import UTC, datetime

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused
from gitops_nb.model import parse_time
from gitops_nb.policy import Proof, Rules
from gitops_nb.record import dsse
from gitops_nb.record.audit import signature_findings
from gitops_nb.record.fold import RunState
from gitops_nb.record.ledger import Phase, find_entries, ledger_name
from gitops_nb.session.notary import runner_key
from gitops_nb.session.stores import reports_store


def refuse_unlisted_runner(workspace: Workspace, state: RunState, rules: Rules) -> None:
    """Refuses to change an environment that needs approval when nobody would believe the record of it.

    Raises:
        Refused: No runner of trust.yaml has this runner's key, or the key does not count now.
    """
    if state.is_sandbox or not rules.approvals:
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


def refuse_unattested(workspace: Workspace, state: RunState, rules: Rules) -> None:
    """Refuses a request by CI whose identity no listed runner signed into the ledger: a journal alone could say anything.

    Raises:
        Refused: The ledger has no such record, or another one.
        RecordError: The ledger cannot be read.
        UnavailableError: Its store does not answer.
    """
    request = state.request
    if state.is_sandbox or request is None or not rules.approvals:
        return
    if request["requester"].get("proof") != Proof.CI:
        return
    known = {dsse.fingerprint(runner.key): runner for runner in rules.trust.runners}
    name = ledger_name(state.environment, is_sandbox=False)
    since = parse_time(state.started)
    for entry in find_entries(reports_store(workspace), name, state.run, since=since):
        if (
            entry.phase is Phase.REQUESTED
            and entry.subjects.get("request") == state.request_digest.removeprefix("sha256:")
            and entry.predicate.get("identity") == state.request_identity
            and not signature_findings(entry, known)
        ):
            return
    raise Refused(
        "no runner of trust.yaml signed into the ledger that CI's identity was proven for this request",
        hint="Run the workflow again.",
    )
