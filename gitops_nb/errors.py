"""The exceptions of gitops_nb and the exit code each one ends with.

    GitOpsError                 70  internal error
    ├── UsageError              64  wrong usage or parameters
    │   ├── UnreadableFile      64  a file in a repository that cannot be read
    │   └── NoSuchKey           64  a key that such a file does not have
    ├── ConfigurationError      78  fleet, policy, runbook or workspace file is wrong
    ├── UnavailableError        69  an outside system does not answer, or refuses to
    │   ├── TimedOut            69  an external command did not end in its time
    │   └── Unanswered          69  a system got what was asked of it, and its answer was lost
    ├── RecordError             74  the run's record cannot be written or read
    ├── ConflictError            3  the world moved: a lost race, a stale plan, a twin run
    ├── NotContinued           any  a run did not go on; the code is that of what stopped the command
    └── Stop                        a run stops here; not a fault
        ├── WaitingForApproval   2  a person has to approve first
        ├── Refused              3  policy, a rejection, or a stale plan says no
        ├── Failed               1  the change did not arrive, or a check did not hold
        ├── NeedsAttention       4  an effect is in doubt
        └── PlannedOnly          0  the run was asked to stop after decide

A message says what is, with the values, in lower case and without a full stop; ``hint`` says in one
imperative sentence what to do next. A policy "no" is a value (``Verdict``, ``Decision``); ``Stop`` only
carries it out of a notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``gitops-nb``; 64 to 78 follow sysexits.h, 130 and 143 are 128 + signal number."""

    SUCCEEDED = 0
    FAILED = 1
    WAITING = 2
    REFUSED = 3
    NEEDS_ATTENTION = 4
    USAGE = 64
    UNAVAILABLE = 69
    INTERNAL = 70
    CANNOT_RECORD = 74
    CONFIGURATION = 78
    INTERRUPTED = 130
    TERMINATED = 143


class GitOpsError(Exception):
    """Base of every error that gitops_nb raises on purpose."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the sentence, and what to do next."""
        return str(self).splitlines()

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(GitOpsError):
    """A command, parameter or value that cannot be used as given."""

    exit_code = ExitCode.USAGE


class UnreadableFile(UsageError):
    """A file in a repository that Kubernetes would not read either, or that is too large or too deep."""


class NoSuchKey(UsageError):
    """A file in a repository has nothing at the key that was asked for."""


class ConfigurationError(GitOpsError):
    """One or more problems in configuration files, each as ``file:line: path: problem``."""

    exit_code = ExitCode.CONFIGURATION


class UnavailableError(GitOpsError):
    """An outside system did not answer within its deadline, or refused the call."""

    exit_code = ExitCode.UNAVAILABLE


class TimedOut(UnavailableError):
    """An external command did not end within the time its adapter gives it; it was stopped."""


class Unanswered(UnavailableError):
    """A system got what was asked of it and its answer was lost: it may have done it, or may still do it."""


class RecordError(GitOpsError):
    """The run's record cannot be written, or what is there cannot be trusted."""

    exit_code = ExitCode.CANNOT_RECORD


class ProcessGone(GitOpsError):
    """The process that calls the verbs of a run ended in the middle of it."""


class ConflictError(GitOpsError):
    """Somebody else changed the same thing first; nothing of ours was written."""

    exit_code = ExitCode.REFUSED


class TakenBack(ConflictError):
    """An effect of this run is there, and somebody undid it since; ``found`` is what the effect resulted in.

    Its ``taken_back`` says in words what stands there now.
    """

    def __init__(self, message: str, *, hint: str = "", found: Mapping[str, object]) -> None:
        super().__init__(message, hint=hint)
        self.found = found


class NotContinued(GitOpsError):
    """A command was to go on with a run and was stopped before it began; the run is as it was."""

    def __init__(self, message: str, *, hint: str = "", exit_code: ExitCode) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Stop(GitOpsError):
    """A run stops here, on purpose; later cells do not run."""


class WaitingForApproval(Stop):
    """The plan needs a person's consent, and no valid approval is there yet."""

    exit_code = ExitCode.WAITING


class Refused(Stop):
    """Policy, a rejection or a stale plan says no; nothing was changed.

    ``is_final`` says that this run can never go on: what is wanted takes a new one.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *, hint: str = "", is_final: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_final = is_final


class Failed(Stop):
    """The change did not arrive as planned, or a check did not hold."""

    exit_code = ExitCode.FAILED


class NeedsAttention(Stop):
    """An effect was begun and nobody can tell by machine whether it happened."""

    exit_code = ExitCode.NEEDS_ATTENTION


class PlannedOnly(Stop):
    """The run was asked to stop after decide; nothing was changed."""

    exit_code = ExitCode.SUCCEEDED


def described(name: str, text: str) -> str:
    r"""An exception of somebody else in one line: its name, and the first line of what it says, if it says anything.

    >>> described("ValueError", "\nboom\nand more"), described("KeyError", "")
    ('ValueError: boom', 'KeyError')
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{name}: {first}" if first else name


def said_by(error: BaseException) -> str:
    """What an exception says; one whose text cannot be made says that."""
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001  any class may have a broken __str__, and the record has to go on
        return f"its text cannot be shown ({type(problem).__name__})"
