"""What this machine knows of its own runs: which it began or went on with, and which ends it saw.

``.gitops-nb/runs/RUN`` is a note. Its first line is empty while the run is open, and names the newest record of its journal once
this machine saw how it came to stop; its second line names the first record, with mode, parameters and who asks; its third says
why the run stopped where its journal could not be written. It is removed when that is signed. A journal alone proves neither:
whoever may write there can write an end into it, or another beginning.

Nor does a file: a notebook's process is of the same user. So the fourth line is a code (HMAC-SHA256) over the others and the run's
id, with a secret made of the runner's key: a note whose code does not hold is none. Who can read the key can write notes, and
could as well sign as the runner. What this process itself began it remembers, whatever the file says.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from pathlib import Path

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import RecordError, Refused
from gitops_nb.record.files import replace_file, settled
from gitops_nb.record.journal import FILE, Record, read
from gitops_nb.record.keys import made_secret, note_secret
from gitops_nb.record.runs import RUN_ID

_BEGAN: dict[str, str] = {}
"""By run: the first record of those that this process made or opened."""


def hold(workspace: Workspace, run: str, first: str = "") -> None:
    """Notes that this machine works on a run, before anything of it is recorded.

    Args:
        workspace: Of the run.
        run: Its id.
        first: The hash of its first record, where there is one already.

    Raises:
        RecordError: It cannot be written.
    """
    if first:
        _BEGAN[run] = first
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
    return _read(workspace, run)[2]


def forget(workspace: Workspace, run: str) -> None:
    """What a run came to is signed: nothing is left to do."""
    (_folder(workspace) / run).unlink(missing_ok=True)


def open_here(workspace: Workspace) -> dict[str, str]:
    """Runs of this machine of which something is left to do, each with the record that ``saw_end`` noted, "" for none."""
    folder = _folder(workspace)
    if not folder.is_dir():
        return {}
    names = sorted(path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name))
    found = {name: _noted(workspace, name) for name in names}
    return {name: note[0] for name, note in found.items() if note is not None}


def began_with(workspace: Workspace, run: str) -> str:
    """The hash of the first record of an open run, as this machine noted it; "" where it noted none."""
    return _BEGAN.get(run) or _read(workspace, run)[1]


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


def refuse_another(run: str, records: Sequence[Record], head: str) -> None:
    """Refuses a journal that is not the one that a command saw: mode, parameters, attempts and request may be others.

    Args:
        run: Its id.
        records: The journal now.
        head: Hash of the newest record that the command saw, "" where there is no command.

    Raises:
        Refused: It was written since, in whole or in part.
    """
    if head and (not records or records[-1].hash != head):
        raise Refused(
            f"the record of {run} is not what its command saw: somebody wrote it since",
            hint="Look at it with `gitops-nb verify`, and at the notebook; then start a new run.",
        )


def refuse_other_beginning(run: str, records: Sequence[Record], head: str) -> None:
    """Refuses a journal that does not go on from what a command saw; ``head`` is as in ``refuse_another``.

    Raises:
        Refused: What the command saw is not in it any more.
    """
    if head and head not in {record.hash for record in records}:
        raise Refused(
            f"the record of {run} does not go on from what its command saw: somebody wrote it since",
            hint="Look at it with `gitops-nb verify`, and at the notebook; then start a new run.",
        )


def is_stop_noted(workspace: Workspace, run: str, records: Sequence[Record]) -> bool:
    """Whether a journal ends as this machine saw the run stop: whoever wrote another end was no process of the run."""
    return is_seen(_read(workspace, run)[0], records)


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


def _read(workspace: Workspace, run: str) -> tuple[str, str, str]:
    """Newest and first record, and why the run stopped; nothing of a note that this machine did not write."""
    return _noted(workspace, run) or ("", "", "")


def _noted(workspace: Workspace, run: str) -> tuple[str, str, str] | None:
    """The note of a run, None where there is none of this machine's."""
    try:
        text = (_folder(workspace) / run).read_text(encoding="utf-8")
        newest, first, why, code, _ = text.split("\n")
    except (OSError, ValueError):
        return None
    secret = note_secret(workspace.root)
    if not secret or not hmac.compare_digest(
        code.encode(), _code(secret, run, newest, first, why).encode()
    ):
        return None
    return newest, first, why


def _code(secret: bytes, *said: str) -> str:
    return hmac.digest(secret, json.dumps(said).encode(), "sha256").hex()


def _write(workspace: Workspace, run: str, newest: str, first: str = "", why: str = "") -> None:
    folder = _folder(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror}") from error
    first = first or began_with(workspace, run)
    code = _code(made_secret(workspace.root), run, newest, first, why)
    # Whole or not at all: a note that a full disk cut says that nobody saw the end.
    replace_file(settled(folder / run), f"{newest}\n{first}\n{why}\n{code}\n".encode())
