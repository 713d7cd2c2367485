"""The writing side of one run: journal, lock, evidence, and how a run ends."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import (
    ConflictError,
    ExitCode,
    GitOpsError,
    NeedsAttention,
    RecordError,
    Refused,
    TakenBack,
    UnavailableError,
    described,
    said_by,
)
from gitops_nb.model import Decision, Plan, Status, StepKind, to_json
from gitops_nb.record.effects import Authority, JournalEffects
from gitops_nb.record.evidence import evidence_text
from gitops_nb.record.files import own_folder, replace_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal, Record
from gitops_nb.record.runs import Lock, holder, lock_holder, read_run, try_lock
from gitops_nb.redaction import process_redactor
from gitops_nb.session.aftermath import tell_aftermath
from gitops_nb.session.alarm import Alarm
from gitops_nb.session.copies import Sender, fetch_answers, sender
from gitops_nb.session.endings import ENDED_FOR_GOOD, STATUS_OF
from gitops_nb.session.lifecycle import close_run
from gitops_nb.session.notary import begin, note_open, note_stop, settle, sign_start
from gitops_nb.session.order import given
from gitops_nb.session.targets import TargetLock, take_target
from gitops_nb.session.warrant import Warrant

FETCHED_EVERY_S = 5.0


class Recorder:
    """One run, open for writing.

    Args:
        workspace: Where the run is.
        directory: Its run directory.
        journal: Its open journal.
        lock: Its lock, held.
        on_record: Told after each record.
        is_supervised: True when the engine writes the reports after the kernel has ended.
        alarm: Watches the time of steps where no engine does.
        who: Who holds the lock, for people.
    """

    def __init__(
        self,
        workspace: Workspace,
        directory: Path,
        *,
        journal: Journal,
        lock: Lock,
        on_record: Callable[[Record], None],
        is_supervised: bool,
        alarm: Alarm | None,
        who: str,
    ) -> None:
        self.workspace = workspace
        self.directory = directory
        self._journal = journal
        self._lock = lock
        self._on_record = on_record
        self._is_supervised = is_supervised
        self._alarm = alarm
        self._who = who
        self._sender = sender(workspace, directory)
        self._fetched_s = -math.inf
        self._target_lock: TargetLock | None = None
        self._is_closed = False
        self._state = RunState()
        self._redactor = process_redactor()
        self._leaks_before = len(self._redactor.tripped)
        self._masked_before = self._redactor.counts

    @property
    def run(self) -> str:
        """Id of the run."""
        return self.directory.name

    @property
    def state(self) -> RunState:
        """What the journal says now."""
        records = self._journal.records
        if len(records) != self._state.records:
            self._state = fold(records)
        return self._state

    def append(self, kind: str, /, **body: Any) -> Record:
        """Appends to the journal and tells whoever watches."""
        # Before the chain's hash: what is hashed is what is kept.
        record = self._journal.append(kind, **self._redactor.json(to_json(body)))
        self._on_record(record)
        if self._sender is not None:
            self._send(self._sender, record)
        return record

    def _send(self, sender: Sender, record: Record) -> None:
        """Sends the journal to the bucket; an intent waits until it has arrived, and so does what a push is made on.

        Raises:
            RecordError: It did not arrive; the effect was not begun.
        """
        if record.kind not in ("intent", "tried"):
            sender.follow()
            return
        try:
            sender.flush()
        except (UnavailableError, ConflictError) as error:
            reason = f"the record store: {error.message}"
            known = self.state.effect(str(record.body["key"]))
            sent = known.tried[: -1 if record.kind == "tried" else None] if known else ()
            if not sent:  # else an attempt before this one sent it, and that may arrive
                self._on_record(self._journal.append("void", key=record.body["key"], reason=reason))
            raise RecordError(
                f"{reason}; the effect was not begun, and nothing is lost here",
                hint=f"When the store answers, run `gitops-nb resume {self.run}`.",
            ) from error

    def effects(
        self,
        step: str,
        authority: Authority,
        *,
        may_have_happened: bool,
        done_before: Mapping[str, str],
    ) -> JournalEffects:
        """The recorder of a step's effects."""
        return JournalEffects(
            self._journal,
            self.append,
            step=step,
            authority=authority,
            may_have_happened=may_have_happened,
            done_before=done_before,
        )

    @contextmanager
    def step(self, name: str, kind: StepKind) -> Iterator[Callable[[], int]]:
        """Records a step as running, and as failed with the end of the run when the block raises.

        Yields a function that tells the milliseconds since the step began.
        """
        self.append("step", step=name, kind=kind, status=Status.RUNNING)
        begun = time.monotonic()

        def took_ms() -> int:
            return int((time.monotonic() - begun) * 1000)

        try:
            with self._alarm.watch(name) if self._alarm else contextlib.nullcontext():
                yield took_ms
        except BaseException as error:  # the step recorder: nothing may end a step unrecorded
            self._fail(name, error, took_ms())
            raise

    def save_evidence(self, name: str, value: Any) -> None:
        """Writes a step's value beside the journal, for people and programs that read files."""
        folder = self.directory / "evidence"
        own_folder(folder)
        shown = self._redactor.json(to_json(value))
        replace_file(folder / f"{name}.json", evidence_text(shown))

    def refuse_secrets(self, name: str, value: Any) -> None:
        """Refuses a step whose value holds a secret: values are recorded, and a masked one could not be used again.

        A plan is refused also for what only looks like a secret; elsewhere that is masked.

        Raises:
            Refused: It does; the value was written nowhere.
        """
        plain = to_json(value)
        found = self._redactor.find_known(plain)
        if found is None and isinstance(value, Plan):
            found = self._redactor.find(plain)
        if found is not None:
            changes = value.changes if isinstance(value, Plan) else ()
            where = next((c.address for c in changes if self._redactor.find(to_json(c))), "")
            hint = "Keep its value in the secret store and only its reference in Git."
            if where:
                hint = (
                    f"Take the text out of {where} in Git, and rotate the secret. A plan also shows the line that goes: where the text "
                    "was synced before, sync the Application in Argo CD first; then run this again."
                )
            raise Refused(
                f"what {name} found holds a secret: {found}{f', in {where}' if where else ''}",
                hint=hint,
            )
        self.refuse_leak()

    def refuse_leak(self) -> None:
        """Stops a run in which a secret showed up in a form that could only be withheld.

        Raises:
            Refused: One did.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        leaked = self._redactor.tripped[self._leaks_before :]
        if leaked:
            raise Refused(
                f"an output held {', '.join(leaked)} in a form that cannot be masked; it was withheld",
                hint="Find out which cell or command shows it, then start a new run.",
            )

    @property
    def lock_descriptors(self) -> tuple[int, ...]:
        """Of the locks that this run holds; a command that outlives us keeps them held."""
        locks = (self._lock, self._target_lock)
        return tuple(lock.descriptor for lock in locks if lock is not None)

    def hold_target(self, name: str, *, ci_api: str) -> str:
        """Takes the lock of what an apply changes; returns who holds it instead, or the empty text."""
        if self._target_lock is None:
            taken = take_target(self.workspace, name, self.run, ci_api=ci_api)
            if isinstance(taken, str):
                return taken
            self._target_lock = taken
        return ""

    def sign_request(self) -> None:
        """Has the ledger say that this run waits, where its own process does the waiting.

        Reports are written and sealed before: what an approver reads then is what is signed.
        """
        close_run(self.workspace, self.directory, self._journal, signer="session")
        note_open(self.workspace, self.run)

    def fetch_answers(self) -> None:
        """Brings answers that arrived in the bucket, at most every five seconds."""
        if self._sender is not None and time.monotonic() - self._fetched_s >= FETCHED_EVERY_S:
            self._fetched_s = time.monotonic()
            fetch_answers(self.workspace, self.directory)

    def sign_start(self, warrant: Warrant, plan: Plan, decision: Decision) -> None:
        """Has register and ledger say that effects begin, before the first one does.

        Raises:
            Refused: They may not.
            RecordError: The ledger cannot be written; nothing was begun.
            UnavailableError: A store does not answer; nothing was begun.
        """
        notary = given().notary
        if notary:
            told = dict(begin(notary))
            warrant.find(str(told["start"]))
        else:
            started = warrant.begin(plan, decision.verdicts)
            signed = sign_start(
                self.workspace, self.directory, signer="session", head=self._journal.head
            )
            told = {**signed, **started}
        warrant.anchor = ":".join(str(told[part]) for part in ("size", "head", "genesis"))
        self.append("ledger", phase="start", **told)

    def stop(self, stop: GitOpsError) -> NoReturn:
        """Ends the run on purpose and raises what says so."""
        self.end(stop.exit_code, reason=stop.message, hint=stop.hint)
        raise stop

    def end(self, code: ExitCode, *, reason: str, hint: str = "", command: str = "") -> None:
        """Records the end; unless an engine does it later, writes the reports and seals the run."""
        if self.state.in_doubt and code in (ExitCode.REFUSED, ExitCode.FAILED):
            # Whatever stopped it now says nothing of what was begun: the run stays one that can be looked at again.
            code = ExitCode.NEEDS_ATTENTION
            reason = self._with_doubt(reason)
            hint = f"Look at the system itself; `gitops-nb resume {self.run}` asks it again. {hint}".rstrip()
        status = STATUS_OF.get(code, Status.FAILED)
        tell_aftermath(self.append, self.state, status, reports=self.workspace.reports)
        self.append(
            "ended",
            status=status,
            exit_code=int(code),
            reason=reason,
            hint=hint,
            command=command,
            redactions=self._redacted(),
        )
        note_stop(self.workspace, self.run, self._journal.head)
        self._release_target()
        self.pause()

    def _with_doubt(self, reason: str) -> str:
        """Why a run stopped, and what of it nobody knows."""
        keys = ", ".join(effect.key for effect in self.state.in_doubt)
        return f"{reason}; whether this happened is not known: {keys}"

    def _redacted(self) -> dict[str, int]:
        """How often each secret or rule masked something in this attempt; a kernel may have had other runs."""
        before = self._masked_before
        return {
            name: count - before.get(name, 0)
            for name, count in self._redactor.counts.items()
            if count > before.get(name, 0)
        }

    def pause(self) -> None:
        """Writes the reports and lets go of the run; a supervised run leaves that to the engine."""
        if self._is_supervised and not self.state.ended:
            # The engine believes a journal that ends as this process saw it end, or wait.
            note_stop(self.workspace, self.run, self._journal.head)
        if not self._is_supervised:
            if self._journal.records[-1].kind != "sealed":
                close_run(self.workspace, self.directory, self._journal, signer="session")
            else:  # it waited in its cell, and nothing came since
                settle(self.workspace, self.directory, self.state, signer="session")
            self.close()

    def close(self) -> None:
        """Lets go of the run, so that another process may go on with it; what was recorded stays readable."""
        if not self._is_closed:
            self._is_closed = True
            self._release_target()
            self._journal.close()
            self._lock.release()

    def reopen(self) -> bool:
        """A cell that is run again after the run had stopped begins a new attempt; returns whether one began.

        So it does where the run waits: what it came to then is signed, and nothing is written behind that in the same attempt.

        Raises:
            Refused: It has ended for good: what it was asked for is done, or will not be, and its record stays as it is.
            ConflictError: Another process works on the run.
        """
        state = read_run(self.directory) if self._is_closed else self.state
        if state.ended and state.status in ENDED_FOR_GOOD:
            raise Refused(
                f"{self.run} has ended: {state.status}; a cell that is run again changes nothing of it",
                hint="Its report says what was done. Run the notebook from its first cell for a new run.",
            )
        waits = self._is_closed and state.status is Status.WAITING
        if self._is_closed:
            lock = try_lock(self.workspace.reports, self.run, holder(self._who))
            if lock is None:
                other = lock_holder(self.workspace.reports, self.run)
                raise ConflictError(
                    f"{self.run} is open in process {other.get('pid', '?')}",
                    hint="Wait for it to end.",
                )
            self._lock = lock
            self._journal = Journal.open(self.directory)
            self._is_closed = False
        if not self.state.ended and not waits:
            return False
        note_open(self.workspace, self.run)
        number = len(self.state.attempts) + 1
        self.append("attempt", number=number, front="notebook, cell run again", who=self._who)
        return True

    def _release_target(self) -> None:
        if self._target_lock:
            self._target_lock.release()
            self._target_lock = None

    def _fail(self, name: str, error: BaseException, took_ms: int) -> None:
        """Records a step that raised, and ends the run."""
        if self.state.ended:
            return  # it ended itself, on purpose
        if isinstance(error, GitOpsError):
            code, message, hint = error.exit_code, error.message, error.hint
        elif isinstance(error, KeyboardInterrupt):
            code, message = ExitCode.INTERRUPTED, f"interrupted during {name}"
            hint = f"Continue with `gitops-nb resume {self.run}`."
        else:
            code = ExitCode.INTERNAL
            message = described(type(error).__name__, said_by(error))
            hint = f"Read the notebook in the run directory, then `gitops-nb resume {self.run}`."
        is_final = isinstance(error, Refused) and error.is_final
        is_changed = any(effect.ended and not effect.failed for effect in self.state.effects)
        is_refused = code is ExitCode.REFUSED and not isinstance(error, TakenBack)
        if is_refused and is_changed:
            # Something was changed, and nothing more may be: that is for a person. The run may go on later, or never.
            code = ExitCode.FAILED if is_final else ExitCode.NEEDS_ATTENTION
        if isinstance(error, TakenBack) and any(
            effect.ended and effect.kind == StepKind.EFFECT and not effect.result.get("taken_back")
            for effect in self.state.touched
        ):
            # Something else of this run still stands: a sync brought it, and nobody took that back.
            code = ExitCode.FAILED
        status = STATUS_OF.get(code, Status.FAILED)
        self.append("step", step=name, status=status, sentence=message, took_ms=took_ms)
        if self.state.in_doubt:
            code = ExitCode.NEEDS_ATTENTION
            hint = f"Run `gitops-nb resume {self.run}`: it finds out, and does nothing twice."
            if not isinstance(error, NeedsAttention):  # that one says itself what is not known
                message = self._with_doubt(message)
        # What was asked for wrongly stays wrong: its parameters cannot be changed.
        is_over = (
            is_final or isinstance(error, TakenBack) or code in (ExitCode.REFUSED, ExitCode.USAGE)
        )
        command = "" if is_over else f"gitops-nb resume {self.run}"
        self.end(code, reason=message, hint=hint, command=command)
