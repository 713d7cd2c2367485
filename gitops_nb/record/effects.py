"""Effects with a durable intent before and a done after, and no silent repetition.

What an earlier attempt recorded is no proof that it happened: a journal can be written by anybody who can write there. So an
effect that may have happened is looked for in the world, and an idempotent one is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from gitops_nb.errors import (
    ConflictError,
    NeedsAttention,
    Refused,
    TakenBack,
    TimedOut,
    Unanswered,
    UnavailableError,
    UsageError,
)
from gitops_nb.model import Commit, Json, StepKind, to_json
from gitops_nb.ports import Probe
from gitops_nb.record.fold import EffectState, fold
from gitops_nb.record.journal import Journal, Record

Append = Callable[..., Record]
GONE = "nothing shows it any more"
"""What is said of an effect that a record says was done, and that is not found in the world."""


class Authority(Protocol):
    """Whether effects may begin, and what a commit says about who made it."""

    def confirm(self) -> None:
        """Raises when nothing more may be begun."""

    def trailers(self, plan: str, parent: str, head: str) -> str:
        """Lines at the end of a commit message; see ``ports.Effects.trailers``."""

    def made(self, commit: Commit) -> bool:
        """Whether a start of this run's request made a commit; see ``ports.Effects.made``."""


class JournalEffects:
    """Implements ``ports.Effects`` on a run's journal.

    Args:
        journal: The open journal.
        append: Appends to it (``Journal.append``, or a wrapper that also tells a progress display).
        step: Name of the step that the effects belong to.
        authority: Asked before each effect.
        may_have_happened: An attempt of this run began before, whether the journal tells of its effects or not.
        done_before: Effects that runners signed to have done, each with its commit or "": a copy of the journal from before
            does not undo them.
    """

    def __init__(
        self,
        journal: Journal,
        append: Append,
        *,
        step: str,
        authority: Authority,
        may_have_happened: bool = False,
        done_before: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._journal = journal
        self._append = append
        self._step = step
        self._authority = authority
        self._may_have_happened = may_have_happened
        self._done_before = done_before
        self._performing = ""

    @property
    def run(self) -> str:
        """Id of the run."""
        return str(self._journal.records[0].body["run"])

    def trailers(self, plan: str, parent: str) -> str:
        """See ``ports.Effects.trailers``."""
        said = self._authority.trailers(plan, parent, self._journal.head)
        # Before anything is sent: where no answer comes, this says whether it can still arrive.
        self._append("tried", key=self._performing, on=parent)
        return said

    def made(self, commit: Commit) -> bool:
        """See ``ports.Effects.made``."""
        return self._authority.made(commit)

    def perform(
        self,
        key: str,
        *,
        kind: StepKind,
        sentence: str,
        act: Callable[[], Mapping[str, Json]],
        probe: Probe,
    ) -> Mapping[str, Json]:
        """See ``ports.Effects.perform``."""
        known = self._known(key)
        is_done = known is not None and not known.is_open and not known.failed
        if known is not None and is_done and self._is_of_this_attempt(key):
            return known.result
        if kind is StepKind.EFFECT and (known is not None or self._may_have_happened):
            is_open = known is not None and known.is_open
            try:
                found = self._probe(sentence, probe)
            except TakenBack as undone:
                # It happened, and somebody undid it: nothing is in doubt, and nothing goes on.
                self._adopt(key, kind, sentence, undone.found, is_open)
                raise
            if found is not None:
                return self._adopt(key, kind, sentence, found, is_open)
            if is_done or key in self._done_before:
                # Whatever is there now, it is not what this run brought.
                result = known.result if known is not None else {}
                gone = {"revision": self._done_before.get(key, ""), **result, "taken_back": GONE}
                self._adopt(key, kind, sentence, gone, is_open)
                raise NeedsAttention(
                    f"the record says that this was done, and nothing in the world shows it: {sentence}",
                    hint="Look at the system itself; a new run plans on what is there.",
                )
        self._authority.confirm()
        # What an attempt before this one sent may arrive whatever becomes of this one.
        sent_before = known is not None and known.is_open and bool(known.tried)
        self._intend(key, kind, sentence)
        self._performing = key
        try:
            result = act()
        except (ConflictError, UnavailableError) as error:
            # The answer is missing, not the effect; and what came first may be an earlier attempt of our own, answered late.
            found = self._looked_for(key, sentence, probe) if kind is StepKind.EFFECT else None
            if found is not None:
                return self._done(key, found, adopted=True)
            if kind is StepKind.EFFECT and isinstance(error, (TimedOut, Unanswered)):
                raise NeedsAttention(
                    f"{sentence} got no answer: it did not happen yet, and may still ({error.message})",
                    hint=f"Wait a minute, then run `gitops-nb resume {self.run}`: it asks, and does nothing twice.",
                ) from error
            if not sent_before:
                self._append("void", key=key, reason=error.message)
            raise
        except (UsageError, Refused) as error:
            # Whoever went on with the run meanwhile may have done it: then that is what its end is about.
            found = self._seen(probe) if kind is StepKind.EFFECT else None
            if found is not None:
                self._done(key, found, adopted=True)
            elif not sent_before:
                self._append("void", key=key, reason=error.message)
            raise
        return self._done(key, result, adopted=False)

    def _looked_for(self, key: str, sentence: str, probe: Probe) -> Mapping[str, Json] | None:
        """What the probe finds of an effect whose intent is open; one that was taken back is recorded, and raised."""
        try:
            return self._probe(sentence, probe)
        except TakenBack as undone:
            self._done(key, undone.found, adopted=True)
            raise

    @staticmethod
    def _seen(probe: Probe) -> Mapping[str, Any] | None:
        """What of an effect is there, also where it was taken back; None where nothing is, or nobody answers."""
        try:
            return probe()
        except TakenBack as undone:
            return undone.found
        except (UnavailableError, ConflictError):
            return None

    def undone(self, key: str, found: Mapping[str, Json]) -> None:
        """See ``ports.Effects.undone``."""
        known = self._known(key)
        if known is not None and not known.is_open:
            self._adopt(key, StepKind(known.kind), known.sentence, {**known.result, **found}, False)

    def settle(self, key: str, found: Mapping[str, Json]) -> None:
        """See ``ports.Effects.settle``."""
        known = self._known(key)
        if known is not None and known.is_open:
            self._done(key, found, adopted=True)

    def _adopt(
        self,
        key: str,
        kind: StepKind,
        sentence: str,
        found: Mapping[str, Any],
        is_open: bool,  # noqa: FBT001  whether the intent stands there already
    ) -> Mapping[str, Json]:
        if not is_open:
            self._intend(key, kind, sentence)
        return self._done(key, found, adopted=True)

    def _intend(self, key: str, kind: StepKind, sentence: str) -> None:
        self._append("intent", key=key, kind=kind, step=self._step, sentence=sentence)

    def _known(self, key: str) -> EffectState | None:
        effects = fold(self._journal.records).effects
        return next((effect for effect in effects if effect.key == key), None)

    def _is_of_this_attempt(self, key: str) -> bool:
        """Whether the newest attempt itself recorded what became of an effect."""
        for record in reversed(self._journal.records):
            if record.kind == "attempt":
                return False
            if record.kind == "done" and record.body["key"] == key:
                return True
        return False

    def _probe(self, sentence: str, probe: Probe) -> Mapping[str, Json] | None:
        try:
            return probe()
        except UnavailableError as error:
            raise NeedsAttention(
                f"nobody can tell whether this happened: {sentence} ({error.message})",
                hint=f"Make the system reachable, then run `gitops-nb resume {self.run}`: it asks again.",
            ) from error

    def _done(self, key: str, result: Mapping[str, Any], *, adopted: bool) -> Mapping[str, Json]:
        plain: Mapping[str, Json] = to_json(result)
        self._append("done", key=key, result=plain, adopted=adopted)
        return plain
