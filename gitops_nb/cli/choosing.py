"""What ``last`` means for each command: the newest run that it can act on, not merely the newest."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError, UsageError
from gitops_nb.model import Mode, Status, parse_time
from gitops_nb.policy import stands_after
from gitops_nb.record.approvals import read_answers
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import Fits, is_run_held, read_run
from gitops_nb.session.earlier import is_settled
from gitops_nb.session.endings import ENDED_FOR_GOOD
from gitops_nb.session.glass import Glass
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.requester import find_signer

HAS_REPORT = "report.html"


def recorded(directory: Path) -> RunState:
    """A run that somebody named, as its journal has it.

    Raises:
        UsageError: Nothing is recorded there.
        RecordError: The journal is damaged.
    """
    state = read_run(directory)
    if not state.opened:
        raise UsageError(
            f"{directory.name} has no record: its journal is empty",
            hint="`gitops-nb verify` tells what is there and does not belong there.",
        )
    return state


def to_resume(where: Workspace) -> Fits:
    """Runs that stopped before their end, that no living process works on, and whose change no later run made or settled."""

    def test(state: RunState) -> bool:
        is_elsewhere = bool(where.bucket) and state.status is Status.RUNNING
        is_over = state.status in ENDED_FOR_GOOD or state.is_unwatched
        is_open = bool(state.opened) and not is_over
        is_free = is_open and not is_elsewhere and not is_run_held(where.reports, state.run)
        return is_free and not is_settled(where.reports, state)

    return test


def to_report(where: Workspace) -> Fits:
    """Runs that have a report."""
    return lambda state: (where.reports / state.run / HAS_REPORT).is_file()


def to_answer(where: Workspace, kind: str, key: Path | None) -> Fits:
    """Runs that wait for an answer which this person did not give yet; for an approval also what is to be reviewed."""
    signers = _Signers(where, key)
    broken = Glass(where)

    def test(state: RunState) -> bool:
        if state.request is None:
            return False
        if state.status is Status.WAITING:
            is_open = parse_time(state.request["expires"]) > datetime.now(UTC)
            return is_open and not signers.answered(state, kind)
        glass = kind == "approve" and state.ended and state.request.get("break_glass")
        return bool(glass) and not broken.is_reviewed(state)

    return test


def to_withdraw(state: RunState) -> bool:
    """Whether a run asked for something that is not over: one that asked nobody has nothing to take back."""
    return state.request is not None and state.status not in ENDED_FOR_GOOD


class _Signers:
    """Who would sign, by mode; opened once, and only when a run asks for it."""

    def __init__(self, where: Workspace, key: Path | None) -> None:
        self._where = where
        self._key = key
        self._known: dict[str, tuple[Platform, str] | None] = {}

    def answered(self, state: RunState, kind: str) -> bool:
        """Whether an answer of theirs stands that leaves nothing to say: who approved may still reject."""
        found = self._of(str(state.opened["mode"]))
        if found is None:
            return False
        platform, person = found
        answers = read_answers(
            self._where.reports / state.run, processes=platform.processes, trust=platform.trust
        )
        own = [a.approval for a in answers if a.approval and a.approval.person == person]
        moments = [one.at for one in own if one.answer == "withdraw"]
        taken = {person: max(moments)} if moments else {}
        return any(
            given.subject == state.request_digest
            and given.answer in ("reject", kind)
            and stands_after(given, taken)
            for given in own
        )

    def _of(self, mode: str) -> tuple[Platform, str] | None:
        """None where nobody can tell; the command says why when it comes to sign."""
        if mode not in self._known:
            self._known[mode] = None
            with contextlib.suppress(GitOpsError):
                platform = open_platform(
                    self._where, load_catalog(self._where.runbooks), Mode(mode)
                )
                key = self._key or platform.signing_key
                if key is not None:
                    person = find_signer(Path(key).expanduser(), platform.processes, platform.trust)
                    self._known[mode] = platform, person
        return self._known[mode]
