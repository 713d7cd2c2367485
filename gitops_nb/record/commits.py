"""What commits say about the runs that made them: a witness outside of the record, for everybody who can read the branch."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.model import canonical
from gitops_nb.record import dsse
from gitops_nb.record.findings import Code, Finding, Unasked
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE, Record

TRAILER_RUN = "Gitops-Nb-Run"
TRAILER_PLAN = "Gitops-Nb-Plan"
TRAILER_JOURNAL = "Gitops-Nb-Journal"
TRAILER_LEDGER = "Gitops-Nb-Ledger"
TRAILER_START = "Gitops-Nb-Start"
TRAILER_SIGNATURE = "Gitops-Nb-Signature"
SIGNED = (TRAILER_RUN, TRAILER_PLAN, TRAILER_JOURNAL, TRAILER_LEDGER, TRAILER_START)
_PAYLOAD = "application/vnd.{realm}.anchor+json"


class Signs(Protocol):
    """A runner's key."""

    @property
    def keyid(self) -> str:
        """Fingerprint of the public key."""

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A signature over the pre-authentication encoding of type and payload."""


def signed_trailers(said: Mapping[str, str], parent: str, *, signer: Signs, realm: str) -> str:
    """Trailers of a commit with this parent, one line each, the runner's signature over all of them last.

    Args:
        said: By the names in ``SIGNED``; what there is nothing to say of is left out.
        parent: The commit's only parent.
        signer: The runner's key.
        realm: Of the trust that lists it.
    """
    signature = signer.sign(_signed(said, parent), _PAYLOAD.format(realm=realm))
    lines = [f"{name}: {said[name]}" for name in SIGNED if said.get(name)]
    lines.append(f"{TRAILER_SIGNATURE}: {signer.keyid} {base64.b64encode(signature).decode()}")
    return "\n".join(lines) + "\n"


def signed_by(
    trailers: Mapping[str, str],
    parent: str,
    *,
    at: datetime,
    runners: Iterable[RunnerKey],
    realm: str,
) -> RunnerKey | None:
    """The runner that signed a commit's trailers for exactly this parent; None when nobody did that counts.

    Trailers that somebody copies to another commit are signed for another parent. ``at`` is when the commit was made: the
    runner's key has to count then.
    """
    keyid, _, text = trailers.get(TRAILER_SIGNATURE, "").partition(" ")
    runner = next((one for one in runners if dsse.fingerprint(one.key) == keyid), None)
    if runner is None or not runner.counts_at(at):
        return None
    try:
        signature = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    envelope = dsse.Envelope(
        _signed(trailers, parent), _PAYLOAD.format(realm=realm), keyid, signature
    )
    return runner if dsse.is_signed_by(envelope, dsse.raw_ed25519(runner.key)) else None


def _signed(said: Mapping[str, str], parent: str) -> bytes:
    return canonical({"parent": parent, **{name: said.get(name, "") for name in SIGNED}})


@dataclass(frozen=True, slots=True)
class RunCommit:
    """A commit whose trailers name a run: its plan, the newest record of its journal then, and its start; "" where there is none.

    ``is_signed`` says that a runner that counts signed them, for this commit's own parent.
    """

    sha: str
    where: str
    run: str
    plan: str = ""
    journal: str = ""
    is_signed: bool = True
    start: str = ""


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
        if not commit.is_signed:
            text = f"{commit.where} says that this run made it, and no runner signed that"
            found.append(Finding(Code.CONTRADICTION, FILE, text))
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


def claim_findings(
    state: RunState,
    commits: Iterable[RunCommit],
    *,
    starts: Collection[str] | None,
    unread: str = "",
) -> list[Finding | Unasked]:
    """Whether the commits that a record says its run made are there, and are its own.

    Args:
        state: Fold of the run's journal.
        commits: Commits of the configuration branches whose trailers name runs.
        starts: The run's starts that count in the register; None where it did not answer.
        unread: Why not every commit of these branches was read, "" when each was.
    """
    said: list[Finding | Unasked] = []
    there = {commit.sha: commit for commit in commits if commit.run == state.run}
    for effect in state.touched:
        revision = str(effect.result.get("revision") or "")
        if effect.key != "commit" or not revision:
            continue
        commit = there.get(revision)
        if commit is None and unread:
            said.append(Unasked(f"its commit {revision[:8]} was not looked for: {unread}"))
        elif commit is None:
            text = f"it says that it made commit {revision[:8]}, and no configuration branch has such a commit of this run"
            said.append(Finding(Code.CONTRADICTION, FILE, text))
        elif commit.is_signed and (not commit.plan or not commit.start):
            text = f"{commit.where} does not say which plan and start it is of"
            said.append(Finding(Code.CONTRADICTION, FILE, text))
        elif commit.is_signed and starts is not None and commit.start not in starts:
            text = f"{commit.where} is of a start that the register does not have for this run"
            said.append(Finding(Code.CONTRADICTION, FILE, text))
    return said
