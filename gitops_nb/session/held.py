"""What this machine knows of its own runs: which it began or went on with, and which ends it saw.

``.gitops-nb/runs/RUN`` lies beside the runner's key, where nobody writes who may only write reports. It is empty while the run is
open, and names the newest record of its journal once this machine saw how it came to stop. It is removed when that is signed.
A journal alone proves neither: whoever may write there can write an end into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import RecordError
from gitops_nb.record.journal import Record
from gitops_nb.record.runs import RUN_ID


def hold(workspace: Workspace, run: str) -> None:
    """Notes that this machine works on a run, before anything of it is recorded.

    Raises:
        RecordError: It cannot be written.
    """
    _write(workspace, run, "")


def saw_end(workspace: Workspace, run: str, head: str) -> None:
    """Notes that this process saw a run end or begin to wait, with this record as its newest.

    Raises:
        RecordError: It cannot be written.
    """
    _write(workspace, run, head)


def forget(workspace: Workspace, run: str) -> None:
    """What a run came to is signed: nothing is left to do."""
    (_folder(workspace) / run).unlink(missing_ok=True)


def open_here(workspace: Workspace) -> dict[str, str]:
    """Runs of this machine of which something is left to do, each with the record that ``saw_end`` noted, "" for none."""
    folder = _folder(workspace)
    if not folder.is_dir():
        return {}
    names = sorted(path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name))
    return {name: _read(folder / name) for name in names}


def pending(workspace: Workspace) -> tuple[str, ...]:
    """Runs whose end or waiting this machine saw, and has still to sign."""
    return tuple(run for run, head in open_here(workspace).items() if head)


def is_seen(noted: str, records: Sequence[Record]) -> bool:
    """Whether nothing but a seal came into a journal since this machine saw its run stop."""
    newest = records[-2:] if records and records[-1].kind == "sealed" else records[-1:]
    return bool(noted) and noted in {record.hash for record in newest}


def _folder(workspace: Workspace) -> Path:
    return workspace.own / "runs"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _write(workspace: Workspace, run: str, text: str) -> None:
    folder = _folder(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / run).write_text(text, encoding="ascii")
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror}") from error
