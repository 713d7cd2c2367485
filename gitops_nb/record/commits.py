"""What commits say about the runs that made them: a witness outside of the record, for everybody who can read the branch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.model import canonical
from gitops_nb.record import dsse
from gitops_nb.record.findings import Code, Finding
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
    trailers: Mapping[str, str], parent: str, *, runners: Iterable[RunnerKey], realm: str
) -> RunnerKey | None:
    """The runner that signed a commit's trailers for exactly this parent; None when nobody did that counts.

    Trailers that somebody copies to another commit are signed for another parent.
    """
    keyid, _, text = trailers.get(TRAILER_SIGNATURE, "").partition(" ")
    runner = next((one for one in runners if dsse.fingerprint(one.key) == keyid), None)
    if runner is None:
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
    """A commit whose trailers name a run: its plan, and the newest record of its journal then; "" where there is none.

    ``is_signed`` says that a runner that counts signed them, for this commit's own parent.
    """

    sha: str
    where: str
    run: str
    plan: str = ""
    journal: str = ""
    is_signed: bool = True


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
