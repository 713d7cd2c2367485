"""Where collected facts are: a folder, or a bucket of which this machine keeps copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gitops_nb.errors import Refused
from gitops_nb.record.locks import SharedLocks, this_process
from gitops_nb.session.stores import open_store
from gitops_nb.session.targets import has_ended

if TYPE_CHECKING:
    from gitops_nb.dora.store import FactStore


def is_bucket(facts: str) -> bool:
    """Whether a name of facts is that of a bucket."""
    return facts.startswith("gs://")


def read_bucket(url: str, own: Path) -> FactStore:
    """The facts of a bucket as they are now; the copy is one for reading, which a collection never has in hand.

    Args:
        url: ``gs://BUCKET/PREFIX``.
        own: Folder for what belongs to this machine.
    """
    from gitops_nb.dora import mirror

    return mirror.pull(open_store(url), own / f"facts-{_short(url)}-read")


@contextmanager
def write_bucket(
    url: str, own: Path, *, who: str, ci_api: str, take_over: str = ""
) -> Iterator[FactStore]:
    """The facts of a bucket for one collection.

    Args:
        url: ``gs://BUCKET/PREFIX``.
        own: Folder for what belongs to this machine.
        who: Who collects.
        ci_api: Who is asked whether a CI run that collects has ended, by policy.yaml.
        take_over: Why a collection that nobody can ask about is over; "" when nobody says so.

    Raises:
        ConflictError: Somebody else collects, and is not proven to be gone.
        Refused: Who is to be taken over from lives on this machine.
    """
    from gitops_nb.dora import mirror

    store = open_store(url)
    locks = SharedLocks(store, has_ended=partial(has_ended, ci_api))
    if take_over and locks.holder(mirror.LOCK) is not None:
        held, owner, _ = locks.held_by(mirror.LOCK)
        if owner.is_here and not owner.is_proven_dead:
            raise Refused(f"{owner} lives", hint="Wait for it to end, or end it.")
        locks.unlock(held, by=who, reason=take_over)
    folder = own / f"facts-{_short(url)}"
    owner = this_process(who, "dora collect")
    with mirror.writing(store, folder, locks=locks, owner=owner) as facts:
        yield facts


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:12]
