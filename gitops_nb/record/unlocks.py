"""A person's signed word that the holder of a lock, or of a run, is gone: kept in the ledger.

Signed with ``ssh-keygen -Y sign -n gitops-nb/unlock@v1``; it names one slot or journal head, so that it frees that
holder and no later one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gitops_nb.catalog.trust import LIVE_REALM, Trust
from gitops_nb.model import Json, canonical, format_time, parse_time
from gitops_nb.ports import Processes
from gitops_nb.record.dsse import refuse_twice
from gitops_nb.record.ledger import Entry
from gitops_nb.record.signatures import check_signature, sign
from gitops_nb.redaction import refuse_secret

PURPOSE = "unlock@v1"
SUBJECT = "holder"
"""Name of the ledger record's subject: the digest of what says who holds it."""
_FIELDS = {"v", "what", "holder", "digest", "person", "at", "reason"}


def signed_unlock(
    *,
    what: str,
    holder: str,
    digest: str,
    person: str,
    at: datetime,
    reason: str,
    key: Path,
    processes: Processes,
    realm: str = LIVE_REALM,
) -> Mapping[str, str]:
    """The word as ``statement`` and ``signature``.

    Args:
        what: Name of the lock, or id of the run.
        holder: Who holds it, for people.
        digest: SHA-256 (64 hex) of the lock's slot, of the run's newest journal record, or of its start in the register.
        person: Who says so.
        at: When.
        reason: Why the holder is gone for certain.
        key: The person's.
        processes: Starts ssh-keygen.
        realm: Of the trust that the key is in.

    Raises:
        UsageError: The key cannot sign, or the reason holds a secret.
    """
    refuse_secret("reason", reason)
    statement = canonical(
        {
            "v": 1,
            "what": what,
            "holder": holder,
            "digest": digest,
            "person": person,
            "at": format_time(at),
            "reason": reason,
        }
    )
    signature = sign(statement, PURPOSE, key=key, processes=processes, realm=realm)
    return {"statement": statement.decode(), "signature": signature}


def read_unlock(
    entry: Entry, *, trust: Trust, processes: Processes
) -> tuple[Mapping[str, Json], str]:
    """What a ledger record of an unlock says, and what is wrong with it or the empty text."""
    said, problem = check_unlock(
        entry.predicate.get("unlock") or {}, trust=trust, processes=processes
    )
    if said and entry.subjects.get(SUBJECT) != said["digest"]:
        problem = "it is about another holder"
    return said, problem


def check_unlock(
    outer: Mapping[str, Json], *, trust: Trust, processes: Processes
) -> tuple[Mapping[str, Json], str]:
    """What a signed word says ({} where it is none), and what is wrong with it or the empty text."""
    try:
        text = outer["statement"]
        said = json.loads(text, object_pairs_hook=refuse_twice)
        if set(said) != _FIELDS or said["v"] != 1 or canonical(said) != text.encode():
            return {}, "it is not an unlock of this version"
        at, person = parse_time(said["at"]), str(said["person"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {}, f"it cannot be read ({type(error).__name__})"
    signed = check_signature(
        text.encode(),
        outer.get("signature", ""),
        person,
        PURPOSE,
        trust=trust,
        moments=(at,),
        processes=processes,
    )
    return said, "" if signed else f"no valid key of {person} in trust.yaml signed it"
