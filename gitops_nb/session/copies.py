"""Runs in a bucket: this machine writes its own copy first, and sends it.

``<run>/journal/000000000012.json`` is one record of the journal, created once: a second writer of the same number finds
out at once. Only an intent waits until it and everything before it have arrived; other records follow in the background,
files when the run is closed. What could not be sent stays here, and the next command sends it.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConflictError, GitOpsError
from gitops_nb.ports import Store
from gitops_nb.record import journal
from gitops_nb.record.files import replace_file
from gitops_nb.record.ledger import is_inside
from gitops_nb.record.runs import APPROVALS, RUN_ID, files_of, is_run_held
from gitops_nb.session.stores import bucket_store

_JOURNAL = "journal"
_INDEX_ENTRIES = "index.jsonl"
_AT_ONCE = 8
_NAME_CHARACTERS, _PART_BYTES = 1000, 120
"""What a file's name can have on any machine."""
NEWEST = 60
"""How many runs a command looks at that names none: what waits or runs is among the newest."""


class Sender:
    """Sends the journal of one open run, record by record in order.

    Args:
        store: The bucket.
        directory: The run's directory on this machine.
    """

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._sent = -1
        self._lock = threading.Lock()
        self._wishes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._follow, daemon=True).start()

    def follow(self) -> None:
        """Sends what is new in the background."""
        self._wishes.put(True)

    def flush(self) -> None:
        """Sends what is new, and returns when it has arrived.

        Raises:
            UnavailableError: The store does not answer.
            ConflictError: Another machine went on with this run.
        """
        with self._lock:
            lines = _lines(self._directory)
            if self._sent < 0:
                self._sent = self._compare(lines)
            while self._sent < len(lines):
                key = _record_key(self._directory.name, self._sent)
                if not self._store.create(key, lines[self._sent]):
                    raise ConflictError(
                        f"{self._directory.name} went on elsewhere: record {self._sent} is another one there",
                        hint="Leave this copy as it is, and look at the run in the bucket.",
                    )
                self._sent += 1

    def _compare(self, lines: Sequence[bytes]) -> int:
        """How many records the bucket has; they have to be the first ones of ours."""
        run = self._directory.name
        keys = records_in(self._store.list(_records_of(run)), run)
        count = len(keys)
        if count > len(lines) or (count and self._store.read(keys[-1]) != lines[count - 1]):
            raise ConflictError(
                f"{self._directory.name} went on elsewhere: there are {count} records of it",
                hint="Leave this copy as it is, and look at the run in the bucket.",
            )
        return count

    def _follow(self) -> None:
        while self._wishes.get():
            try:
                self.flush()
            except GitOpsError:
                # The next intent, or the end of the run, tries again and says what is wrong.
                continue


def sender(workspace: Workspace, directory: Path) -> Sender | None:
    """Sends an open run where the workspace's records are in a bucket."""
    store = bucket_store(workspace)
    return Sender(store, directory) if store is not None else None


def send_run(workspace: Workspace, directory: Path) -> None:
    """Sends journal, files and index of a closed run; does nothing where reports are a folder.

    Raises:
        UnavailableError: The store does not answer.
        ConflictError: Another machine went on with this run.
    """
    store = bucket_store(workspace)
    if store is None:
        return
    Sender(store, directory).flush()
    names = files_of(directory)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: _send_file(store, directory, name), names))
    _send_index(workspace, store)


def _send_index(workspace: Workspace, store: Store) -> None:
    """Writes the index of all runs of the bucket: what machines know of them is handed on in one object beside it.

    Two machines that close runs in the same moment may each leave the other's out; the next one finds it among the
    bucket's runs and looks at it.
    """
    # pandas-free, but Jinja2 is not: a command that closes nothing does without.
    from gitops_nb.report.files import INDEX, write_index
    from gitops_nb.report.index_entries import merge_entries

    reports, zone, cache = workspace.reports, workspace.time_zone, workspace.index_cache
    settled = merge_entries(cache, zone, store.read(_INDEX_ENTRIES) or b"")
    there = frozenset(name for name in store.folders("") if RUN_ID.fullmatch(name))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda run: _fetch(workspace, store, run), there - settled))
    write_index(reports, now=datetime.now(UTC), zone=zone, cache=cache, elsewhere=there & settled)
    store.replace(_INDEX_ENTRIES, cache.read_bytes())
    store.replace(INDEX, (reports / INDEX).read_bytes())


def remove_run(workspace: Workspace, run: str) -> None:
    """Removes a run's objects from the bucket; does nothing where reports are a folder.

    Raises:
        UnavailableError: The store does not answer.
    """
    store = bucket_store(workspace)
    if store is not None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(store.remove, store.list(f"{run}/")))


def send_answer(workspace: Workspace, path: Path) -> None:
    """Sends one answer to a request.

    Raises:
        UnavailableError: The store does not answer; the file is here.
    """
    store = bucket_store(workspace)
    if store is not None:
        _send_file(store, path.parent.parent, f"{APPROVALS}/{path.name}")


def fetch_runs(workspace: Workspace, *, newest: int | None = NEWEST) -> None:
    """Brings the newest runs (None: all) of the bucket here, as far as they are not.

    A run that this machine works on, or that went on in two places, stays as it is here.

    Raises:
        UnavailableError: The store does not answer.
    """
    store = bucket_store(workspace)
    if store is None:
        return
    runs = [name for name in store.folders("") if RUN_ID.fullmatch(name)]
    chosen = runs if newest is None else runs[-newest:]
    workspace.reports.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda run: _fetch(workspace, store, run), chosen))


def fetch_answers(workspace: Workspace, directory: Path) -> None:
    """Brings answers that arrived in the bucket into a run's directory."""
    store = bucket_store(workspace)
    if store is None:
        return
    prefix = f"{directory.name}/{APPROVALS}/"
    _fetch_files(store, directory, store.list(prefix), only_missing=True)


def _fetch(workspace: Workspace, store: Store, run: str) -> None:
    directory = workspace.reports / run
    if is_run_held(workspace.reports, run):
        return
    keys = store.list(f"{run}/")
    records = records_in(keys, run)
    files = [key for key in keys if not key.startswith(_records_of(run))]
    here = _lines(directory)
    if not records:
        return
    grew = len(records) > len(here)
    if grew:
        if here and store.read(records[len(here) - 1]) != here[-1]:
            return
        new = [store.read(key) or b"" for key in records[len(here) :]]
        directory.mkdir(exist_ok=True)
        content = b"".join(line + b"\n" for line in (*here, *new))
        # Files first: a run whose journal is here has its files, too.
        _fetch_files(store, directory, files, only_missing=False)
        replace_file(directory / journal.FILE, content)
    else:
        _fetch_files(store, directory, files, only_missing=True)


def _fetch_files(store: Store, directory: Path, keys: Iterable[str], *, only_missing: bool) -> None:
    for key in keys:
        name = key.partition("/")[2]
        if is_odd(name):
            continue  # `verify` names it; whoever wrote it stops nobody
        path = directory / name
        if path.exists() and (only_missing or name.startswith(f"{APPROVALS}/")):
            continue
        content = store.read(key)
        # An object may have the name of another's folder: then there is no place for one of the two.
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, content)


def is_odd(name: str) -> bool:
    """Whether an object below a run's name is no file of a run: names in a bucket are as untrusted as what is in the objects."""
    return (
        not is_inside(name)
        or name == journal.FILE
        or len(name) > _NAME_CHARACTERS
        or any(
            part.startswith(".") or len(part) > _PART_BYTES for part in PurePosixPath(name).parts
        )
    )


def records_in(keys: Iterable[str], run: str) -> list[str]:
    """Those of a run's objects that are records of its journal by their names, in order."""
    prefix = re.escape(_records_of(run))
    return [key for key in keys if re.fullmatch(rf"{prefix}[0-9]{{12}}\.json", key)]


def _send_file(store: Store, directory: Path, name: str) -> None:
    content = (directory / name).read_bytes()
    key = f"{directory.name}/{name}"
    if not name.startswith(f"{APPROVALS}/"):
        store.replace(key, content)
    elif not store.create(key, content):
        raise ConflictError(f"{key} is another answer in the bucket", hint="Find out who wrote it.")


def _lines(directory: Path) -> Sequence[bytes]:
    """The whole lines of a journal; a torn last one is not sent."""
    path = directory / journal.FILE
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else ()


def _records_of(run: str) -> str:
    return f"{run}/{_JOURNAL}/"


def _record_key(run: str, number: int) -> str:
    return f"{_records_of(run)}{number:012}.json"
