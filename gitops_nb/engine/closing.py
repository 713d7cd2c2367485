"""The end of a supervised run's record, when its kernel is gone: by whoever saw it, or as an end that nobody saw."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConflictError, RecordError
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import FILE, Journal, Unwritten, read
from gitops_nb.record.runs import holder, try_lock
from gitops_nb.session.beginnings import has_open_start
from gitops_nb.session.endings import Cause, Death, append_end, is_cut_short
from gitops_nb.session.held import is_stop_noted, refuse_other_beginning, saw_cause, saw_end
from gitops_nb.session.lifecycle import close_run

if TYPE_CHECKING:
    from gitops_nb.engine.document import Document
    from gitops_nb.engine.supervise import Order

RELEASED_S = 10.0
"""How long the lock of a process that is gone may take to be free."""


class Unrecorded(RecordError):
    """A run came to its stop, and its record could not be completed; ``state`` is what is known of it.

    The next command completes it.
    """

    def __init__(self, error: RecordError, state: RunState) -> None:
        super().__init__(error.message, hint=error.hint)
        self.state = state


def close(
    workspace: Workspace,
    directory: Path,
    order: Order,
    *,
    before: int,
    cause: Cause | None = None,
    death: Death | None = None,
    document: Document | None = None,
    written: str = "",
) -> RunState:
    """Closes the record after the kernel is gone.

    ``before`` counts the attempts that were there before. ``written`` is the newest record by the word of the process that writes
    the journal, "" where the notebook's own process does.

    Raises:
        ConflictError: Another process holds the run.
        Unrecorded: The record cannot be written or sent; the next command does what is left.
        RecordError: Nothing of the run can be read either.
        Refused: The journal does not go on from what the command saw.
    """
    deadline = time.monotonic() + RELEASED_S
    while (lock := try_lock(workspace.reports, directory.name, holder(order.requester))) is None:
        if time.monotonic() > deadline:
            raise ConflictError(
                f"{directory.name} is still held", hint="Run any gitops-nb command later."
            )
        time.sleep(0.05)
    try:
        return close_journal(
            workspace,
            directory,
            order,
            before=before,
            cause=cause,
            death=death,
            document=document,
            written=written,
        )
    except RecordError as error:
        raise _unrecorded(
            workspace, directory, error, before=before, cause=cause, death=death
        ) from error
    finally:
        lock.release()


def close_journal(
    workspace: Workspace,
    directory: Path,
    order: Order,
    *,
    before: int,
    cause: Cause | None,
    death: Death | None,
    document: Document | None,
    written: str,
) -> RunState:
    """The same, for who holds the run's lock.

    Raises:
        RecordError: The record cannot be written or sent.
        Refused: The journal does not go on from what the command saw.
    """
    journal = Journal.open(directory)
    try:
        # Another beginning is never signed: it would be another run, in the name of who asked for this one.
        refuse_other_beginning(directory.name, journal.records, order.head)
        state = fold(journal.records)
        if written and journal.head != written:
            return _close_unseen(workspace, directory, journal, document)
        if before and len(state.attempts) == before:
            return state  # nothing of it was touched: it is closed as it was
        if document is not None:
            document.end_running()
        if is_cut_short(state, cause) and state.status is not Status.WAITING:
            append_end(journal, cause=cause, death=death)
            saw_end(workspace, directory.name, journal.head)
        elif not written and not is_stop_noted(workspace, directory.name, journal.records):
            return _close_unseen(workspace, directory, journal, document)
        if document is not None:
            document.save(fold(journal.records))
        shows_index = order.shows_index or cause is not None
        return close_run(workspace, directory, journal, shows_index=shows_index)
    finally:
        journal.close()


def _close_unseen(
    workspace: Workspace, directory: Path, journal: Journal, document: Document | None
) -> RunState:
    """Closes a run whose journal somebody else wrote: whatever it says of its end, nobody saw that."""
    why = "its journal does not end as its process wrote it: somebody wrote into its directory"
    append_end(
        journal,
        death=Death(why, hint="Look at it with `gitops-nb verify`, and at the notebook."),
        was_witnessed=False,
        has_begun=has_open_start(workspace, fold(journal.records)),
    )
    if document is not None:
        document.save(fold(journal.records))
    return close_run(workspace, directory, journal)


def _unrecorded(
    workspace: Workspace,
    directory: Path,
    error: RecordError,
    *,
    before: int,
    cause: Cause | None,
    death: Death | None,
) -> RecordError:
    """What is known of a run whose record cannot be completed: its journal, and the end that would stand behind it."""
    try:
        known = Unwritten(read(directory / FILE)[0])
        state = fold(known.records)
    except RecordError:
        return error
    if before and len(state.attempts) == before:
        return error
    if is_cut_short(state, cause) and state.status is not Status.WAITING:
        why = death or Death(error.message, error.exit_code, error.hint)
        append_end(known, cause=cause, death=why)
        with contextlib.suppress(RecordError):
            saw_cause(workspace, directory.name, cause.sentence if cause else why.sentence)
    return Unrecorded(error, fold(known.records))
