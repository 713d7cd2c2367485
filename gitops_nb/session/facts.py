"""Where collected facts are: a folder, or a bucket of which this machine keeps copies; and the engine that measures them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gitops_nb.catalog.engines import SPARK, EngineChoice
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused
from gitops_nb.model import Mode
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


def engine_for(where: Workspace, mode: Mode, *, named: str | None = None) -> EngineChoice | None:
    """The engine that measures facts where they are, with its place in a mode; None for DuckDB on this machine.

    Args:
        where: The workspace, which says which one.
        mode: Whose facts; each mode has tables of its own.
        named: The engine that a command names, None for the workspace's.

    Raises:
        ConfigurationError: Nothing says where its tables are.
    """
    choice = where.engine.named(named or "")
    if not choice.is_remote:
        return None
    own = where.sandbox if mode is Mode.SANDBOX else where.own
    return choice.at(str(mode), own=own, root=where.root)


def of_facts(engine: EngineChoice, facts: str, root: Path) -> EngineChoice:
    """The engine for the facts that somebody names, a folder or a bucket; it has to have their tables.

    Raises:
        ConfigurationError: The engine needs something that this machine lacks.
    """
    from gitops_nb.dora.engines import ready

    ready(engine)
    return replace(engine, facts=name_of(facts, root) if facts else "")


def name_of(facts: str, root: Path) -> str:
    """The name under which tables say whose they are: a bucket's, or the whole path of a folder."""
    return facts.rstrip("/") if is_bucket(facts) else str((root / facts).resolve())


def publish(engine: EngineChoice, store: FactStore, *, facts: str) -> dict[str, int]:
    """Writes the tables of a store where an engine reads them; returns rows by table.

    Args:
        engine: Which engine, and where.
        store: The facts.
        facts: Their name, see ``name_of``.

    Raises:
        UnavailableError: The place does not answer.
        ConfigurationError: The engine needs something that this machine lacks.
    """
    from gitops_nb.dora import publishing

    if engine.kind != SPARK:
        from gitops_nb.dora.engine_bigquery import load

        return load(engine, store, facts=facts)
    if is_bucket(engine.tables):
        bucket = open_store(engine.tables)
        return publishing.to_bucket(store, bucket, facts=facts, place=engine.tables)
    return publishing.to_folder(store, Path(engine.tables), facts=facts)


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:12]
