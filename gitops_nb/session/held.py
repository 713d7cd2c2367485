"""What this machine knows of its own runs: which it began or went on with, and which ends it saw.

``.gitops-nb/runs/RUN`` lies beside the runner's key, where nobody writes who may only write reports. Its first line is empty while
the run is open, and names the newest record of its journal once this machine saw how it came to stop; its second line names the
first record, with mode, parameters and who asks; its third says why the run stopped where its journal could not be written. It is
removed when that is signed. A journal alone proves neither: whoever may write there can write an end into it, or another beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.record.files import replace_file, settled
from gitops_nb.record.journal import FILE, Record, read
from gitops_nb.record.runs import RUN_ID


def hold(workspace: Workspace, run: str, first: str = "") -> None:
    """Notes that this machine works on a run, before anything of it is recorded.

    Args:
        workspace: Of the run.
        run: Its id.
        first: The hash of its first record, where there is one already.

    Raises:
        RecordError: It cannot be written.
    """
    _write(workspace, run, "", first)


def saw_end(workspace: Workspace, run: str, head: str) -> None:
    """Notes that this process saw a run end or begin to wait, with this record as its newest.

    Raises:
        RecordError: It cannot be written.
    """
    _write(workspace, run, head)


def saw_cause(workspace: Workspace, run: str, sentence: str) -> None:
    """Notes why a run stopped whose journal cannot be written: whoever closes it later says that.

    Raises:
        RecordError: Nothing can be written here either.
    """
    _write(workspace, run, "", why=" ".join(sentence.split()))


def cause_of(workspace: Workspace, run: str) -> str:
    """What ``saw_cause`` noted of an open run, "" for nothing."""
    return _read(_folder(workspace) / run)[2]


def forget(workspace: Workspace, run: str) -> None:
    """What a run came to is signed: nothing is left to do."""
    (_folder(workspace) / run).unlink(missing_ok=True)


def open_here(workspace: Workspace) -> dict[str, str]:
    """Runs of this machine of which something is left to do, each with the record that ``saw_end`` noted, "" for none."""
    folder = _folder(workspace)
    if not folder.is_dir():
        return {}
    names = sorted(path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name))
    return {name: _read(folder / name)[0] for name in names}


def began_with(workspace: Workspace, run: str) -> str:
    """The hash of the first record of an open run, as this machine noted it; "" where it noted none."""
    return _read(_folder(workspace) / run)[1]


def refuse_rewritten(workspace: Workspace, run: str, records: Sequence[Record]) -> None:
    """Refuses a journal that begins otherwise than this machine began the run: mode and parameters stand there.

    Raises:
        Refused: Somebody wrote another first record, now or a moment ago.
    """
    noted = began_with(workspace, run)
    if noted and (not records or records[0].hash != noted):
        raise Refused(
            f"the record of {run} does not begin as this machine began it",
            hint="Somebody wrote into its directory: look at it with `gitops-nb verify`, and start a new run.",
        )


def refuse_unseen(workspace: Workspace, run: str, records: Sequence[Record]) -> None:
    """Refuses a journal whose end this machine did not see: whoever wrote it was no process of the run.

    Raises:
        RecordError: It ends otherwise than its process noted, or that noted no end.
    """
    noted = _read(_folder(workspace) / run)[0]
    if not is_seen(noted, records):
        raise RecordError(
            f"the journal of {run} does not end as its process wrote it",
            hint="Somebody wrote into its directory: what it says is not believed. Look at it with `gitops-nb verify`.",
        )


def pending(workspace: Workspace) -> tuple[str, ...]:
    """Runs whose end or waiting this machine saw, and has still to sign."""
    return tuple(run for run, head in open_here(workspace).items() if head)


def is_seen(noted: str, records: Sequence[Record]) -> bool:
    """Whether nothing but a seal came into a journal since this machine saw its run stop."""
    newest = records[-2:] if records and records[-1].kind == "sealed" else records[-1:]
    return bool(noted) and noted in {record.hash for record in newest}


def is_unsigned(directory: Path, noted: str) -> bool:
    """Whether this machine saw how a run came to stop, as its journal says it, and has still to sign that."""
    if not noted:
        return False
    try:
        return is_seen(noted, read(directory / FILE)[0])
    except RecordError:
        return False


def _folder(workspace: Workspace) -> Path:
    return workspace.own / "runs"


def _read(path: Path) -> tuple[str, str, str]:
    """Newest and first record, and why the run stopped."""
    try:
        newest, first, why, *_ = (*path.read_text(encoding="utf-8").split("\n"), "", "")
    except (OSError, ValueError):
        return "", "", ""
    return newest.strip(), first.strip(), why.strip()


def _write(workspace: Workspace, run: str, newest: str, first: str = "", why: str = "") -> None:
    folder = _folder(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror}") from error
    first = first or _read(folder / run)[1]
    # Whole or not at all: a note that a full disk cut says that nobody saw the end.
    replace_file(settled(folder / run), f"{newest}\n{first}\n{why}\n".encode())
