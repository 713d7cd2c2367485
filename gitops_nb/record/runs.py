"""Run directories: create, find, lock, close, list.

One writer at a time: whoever appends holds the run's lock, a flock on ``.locks/<run>`` in the reports
folder. The kernel frees it when the holder dies, so a lock that can be taken proves that nobody holds it; age proves
nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from gitops_nb.errors import ConflictError, RecordError, UsageError
from gitops_nb.model import Json, Status
from gitops_nb.record import journal
from gitops_nb.record.files import (
    fsync_directory,
    has_other_names,
    open_regular,
    own_folder,
    read_regular,
    sha256_file,
)
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9]([a-z0-9-]{0,120}[a-z0-9])?")
Fits = Callable[[RunState], bool]
"""Whether a command can act on a run."""
LOCKS = ".locks"
APPROVALS = "approvals"
_SEALED = re.compile(
    rb'"hash":"[0-9a-f]{64}","kind":"sealed","prev":"[0-9a-f]{64}","seq":[0-9]+\}\n\Z'
)
"""How a journal ends whose newest record is a seal: canonical JSON has its keys in this order."""
_SEAL_BYTES = 256
_NOT_OURS = (errno.EINVAL, errno.ENXIO, errno.ELOOP, errno.ENOTDIR)
"""What opening a lock ends with where a pipe, a socket or a link stands for it, or for its folder."""
CHECKPOINTS = ".ipynb_checkpoints"
"""What JupyterLab writes beside a file that somebody opens there; no part of the record."""


def new_run_id(runbook: str, environment: str, now: datetime) -> str:
    """``20261123T020812Z-promotion-production-7c1e``: sortable, readable, unique enough to be typed."""
    stem = f"{now:%Y%m%dT%H%M%SZ}-{runbook}-{environment}".rstrip("-")
    return f"{stem}-{secrets.token_hex(2)}"


def create_run(reports: Path, run: str, opened: Mapping[str, Any]) -> tuple[Path, str]:
    """Makes the directory of a new run; its name appears together with the journal's first record.

    Returns:
        The directory, and the hash of that record: what is read back may be somebody else's by then.

    Raises:
        RecordError: The reports folder cannot be written.
    """
    directory = reports / run
    building = reports / f".{run}.new"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        building.mkdir()
        first = Journal.open(building)
        first.append("opened", run=run, **opened)
        begun = first.head
        first.close()
        building.rename(directory)
        fsync_directory(reports)
    except OSError as error:
        raise RecordError(
            f"cannot write {directory}: {error.strerror}",
            hint="Name a writable folder with --reports; nothing was run.",
        ) from error
    return directory, begun


def find_run(reports: Path, name: str, fits: Fits | None = None, *, wanted: str = "") -> Path:
    """The directory of a run, by its id, an unambiguous part of its beginning or end, or ``last``.

    Args:
        reports: Where the runs are.
        name: Which one.
        fits: Which runs ``last`` is the last of, by default all. Where none fits and the newest is still open, it is
            that one: the command that asks says why it cannot act on it.
        wanted: What those runs do or have, for the message where none fits: ``waits for your answer``.

    Raises:
        UsageError: No run, or several, fit.
    """
    # A run's own processes ask for it by its whole id, however many others there are.
    if RUN_ID.fullmatch(name) and (reports / name).is_dir() and not (reports / name).is_symlink():
        return reports / name
    runs = run_directories(reports)
    if name == "last":
        return _last(reports, runs, fits, wanted)
    fitting = [
        path for path in runs if path.name.startswith(name) or path.name.endswith(f"-{name}")
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        some = ", ".join(path.name for path in fitting[:4])
        raise UsageError(
            f"{len(fitting)} runs begin with {name!r}: {some}", hint="Give more of the id."
        )
    raise UsageError(f"no run {name!r} in {reports}", hint="See `gitops-nb list runs`.")


def _last(reports: Path, runs: Sequence[Path], fits: Fits | None, wanted: str) -> Path:
    if not runs:
        raise UsageError(f"no runs in {reports}", hint="Start one with `gitops-nb run RUNBOOK`.")
    # Names tell the second, journals the rest: the runs of a matrix begin at once.
    for _, group in groupby(runs, lambda path: path.name.partition("-")[0]):
        paths = list(group)
        if fits is None and len(paths) == 1:
            return paths[0]
        states = [(scan_run(path), path) for path in paths]
        fitting = [(s.started, path) for s, path in states if fits is None or fits(s)]
        if fitting:
            return max(fitting)[1]
    newest = scan_run(runs[0])
    if wanted and newest.ended:
        raise UsageError(
            f"no run in {reports} {wanted}; the newest, {newest.run}, is {newest.status}",
            hint="See `gitops-nb list runs`, or name the run that you mean.",
        )
    return runs[0]


def run_directories(reports: Path) -> list[Path]:
    """All run directories, newest first."""
    return [reports / name for name in run_ids(reports)]


def run_ids(reports: Path) -> list[str]:
    """Names of all run directories, newest first; cheaper where most of thousands are not wanted."""
    try:
        with os.scandir(reports) as entries:
            found = [
                entry.name
                for entry in entries
                if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, reverse=True)


def scan_run(directory: Path) -> RunState:
    """The state of a run among many: a damaged journal is one run's trouble and stops nobody else's."""
    try:
        state = read_run(directory)
    except (RecordError, KeyError, ValueError, TypeError, AttributeError):
        # The last four: a chain that holds around a body that this package did not write.
        state = RunState()
    return state if state.opened else damaged_run(directory.name)


def damaged_run(run: str) -> RunState:
    """What is shown of a run whose journal tells nothing that could be shown."""
    return RunState(
        run=run,
        status=Status.NEEDS_ATTENTION,
        reason="its journal is damaged",
        command=f"gitops-nb verify {run}",
    )


def read_run(directory: Path) -> RunState:
    """The state of a run as far as its journal holds; a run without a journal is pending."""
    path = directory / journal.FILE
    if not path.is_file():
        return RunState(run=directory.name)
    records, _ = journal.read(path)
    state = fold(records)
    if state.opened and state.run != directory.name:
        # Its id goes into paths and commands: it is the directory's name, which is looked at before it is one of a run.
        raise RecordError(
            f"the journal in {directory.name} is another run's, by its own word",
            hint="Somebody wrote into the directory: look at it with `gitops-nb verify`.",
        )
    return state


def sealed_at(directory: Path) -> int | None:
    """When a run was sealed (nanoseconds of its file's time); None unless its newest record is a seal: something is left to be closed.

    Looks at the end of the journal only, so that a command does not read the history of all runs before its own; what
    the journal is worth is for ``verify`` to say.
    """
    try:
        path = directory / journal.FILE
        if not path.is_file():
            return None  # a pipe would be waited for
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _SEAL_BYTES))
            is_sealed = _SEALED.search(file.read()) is not None
            return os.fstat(file.fileno()).st_mtime_ns if is_sealed else None
    except OSError:
        return None


def has_answers(directory: Path) -> bool:
    """True when somebody put at least one file below approvals/; nothing is said about what it is worth."""
    folder = directory / APPROVALS
    return folder.is_dir() and any(folder.iterdir())


def missing_answers(directory: Path, state: RunState) -> int:
    """How many more people have to say yes before a waiting run can go on, by the files below approvals/.

    None of them is checked: that is for the command that goes on. Where one is no yes to this request nothing is missing
    for certain, and that command says what it is worth.
    """
    folder = directory / APPROVALS
    people: set[str] = set()
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        try:
            said = json.loads(json.loads(read_regular(path))["statement"])
            answer, person, subject = said["answer"], str(said["person"]), said["subject"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return 0
        if answer == "withdraw":
            people.discard(person)
        elif answer == "approve" and subject == state.request_digest:
            people.add(person)
        else:
            return 0
    needed = (state.decision or {}).get("approvals_needed") or 1
    return max(0, int(needed) - len(people))


class Lock:
    """An exclusive lock that the operating system frees when its holder dies."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file = file
        self.path = path

    def release(self) -> None:
        """Frees the lock; doing it twice does no harm."""
        if not self._file.closed:
            self._file.close()

    @property
    def descriptor(self) -> int:
        """The file descriptor; a child that inherits it keeps the lock."""
        return self._file.fileno()


def holder(who: str) -> Mapping[str, Json]:
    """What a lock's holder writes about itself."""
    return {
        "who": who,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def try_lock(reports: Path, name: str, holder: Mapping[str, Json]) -> Lock | None:
    """Takes the lock ``name`` in a reports folder, or returns None when somebody holds it.

    ``holder`` is written into the file, for people: who, why, since when.
    """
    path = reports / LOCKS / name
    try:
        own_folder(path.parent)
        file = os.fdopen(open_regular(path, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
    except OSError as error:
        what = path.parent
        hint = "Make the folder writable, or name another with --reports."
        if error.errno in _NOT_OURS:
            what, hint = path, "Somebody put it there: look at it, then remove it."
        raise RecordError(f"cannot write {what}: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    if has_other_names(file.fileno()):
        return Lock(
            file, path
        )  # a copy by hard links, or somebody's trick: the lock holds, and nothing is overwritten
    file.truncate()
    try:
        json.dump(dict(holder), file)
        file.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            file.close()
        raise RecordError(
            f"cannot write {path.parent}: {error.strerror}", hint="Free disk space, then try again."
        ) from error
    return Lock(file, path)


def lock_holder(reports: Path, name: str) -> Mapping[str, Json]:
    """What the holder of a lock wrote about itself; empty when it cannot be read."""
    try:
        value = json.loads(read_regular(reports / LOCKS / name))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_run_held(reports: Path, run: str) -> bool:
    """Whether a living process works on a run: the notebook that writes it, or the engine around that."""
    return is_held(reports, run) or is_held(reports, engine_lock(run))


def was_here(reports: Path, run: str) -> bool:
    """Whether this machine ever worked on a run; one that was only fetched may be at work elsewhere."""
    return any((reports / LOCKS / name).is_file() for name in (run, engine_lock(run)))


def engine_lock(run: str) -> str:
    """Name of the lock that covers a run from before its directory appears until its record is closed."""
    return f"{run}.engine"


def is_held(reports: Path, name: str) -> bool:
    """Whether a living process holds the lock."""
    # As text, and without a file object: a command asks this of every run of its runbook.
    return is_locked(f"{reports}/{LOCKS}/{name}")


def is_locked(path: str) -> bool:
    """Whether a living process holds the lock on a file; on one that is not there nobody does."""
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _NOT_OURS:
            return False  # no file of ours: nobody holds it, and whoever wants to is told
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(reports: Path, name: str, holder: Mapping[str, Json]) -> Iterator[Lock]:
    """Holds a lock for a block.

    Raises:
        ConflictError: Somebody else holds it; the message says who.
    """
    lock = try_lock(reports, name, holder)
    if lock is None:
        other = lock_holder(reports, name)
        who = f"{other.get('who', 'another process')} (process {other.get('pid', '?')}) since {other.get('since', '?')}"
        raise ConflictError(f"{name} is held by {who}", hint="Wait for it to end, then try again.")
    try:
        yield lock
    finally:
        lock.release()


def files_of(directory: Path) -> tuple[str, ...]:
    """Every file of a run beside its journal, as paths relative to it; links and JupyterLab's checkpoints do not count."""
    return tuple(
        path.relative_to(directory).as_posix()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        and path.name != journal.FILE
        and not path.is_symlink()
        and CHECKPOINTS not in path.parts
    )


def seal(directory: Path, open_journal: Journal) -> None:
    """Writes the digest of every file of the run into the journal; from here on ``verify`` knows them all."""
    files = {name: sha256_file(directory / name) for name in files_of(directory)}
    open_journal.append("sealed", files=files)


def status_now(reports: Path, state: RunState) -> Status:
    """The run's status, corrected by its lock: "running" without a living holder was killed."""
    is_open = state.status in (Status.RUNNING, Status.PENDING)
    if is_open and was_here(reports, state.run) and not is_run_held(reports, state.run):
        return Status.NEEDS_ATTENTION if state.in_doubt else Status.FAILED
    return state.status
