"""Effects with a durable intent before and a done after, and no silent repetition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitops_nb.errors import ConflictError, NeedsAttention, Refused, UnavailableError, UsageError
from gitops_nb.model import Json, StepKind, to_json
from gitops_nb.ports import Probe
from gitops_nb.record.fold import EffectState, fold
from gitops_nb.record.journal import Journal, Record

Append = Callable[..., Record]


class JournalEffects:
    """Implements ``ports.Effects`` on a run's journal.

    Args:
        journal: The open journal.
        append: Appends to it (``Journal.append``, or a wrapper that also tells a progress display).
        step: Name of the step that the effects belong to.
    """

    def __init__(self, journal: Journal, append: Append, *, step: str) -> None:
        self._journal = journal
        self._append = append
        self._step = step

    @property
    def run(self) -> str:
        """Id of the run."""
        return str(self._journal.records[0].body["run"])

    @property
    def head(self) -> str:
        """Hash of the newest record."""
        return self._journal.head

    @property
    def anchor(self) -> str:
        """See ``ports.Effects.anchor``."""
        signed = [record for record in self._journal.records if record.kind == "ledger"]
        parts = ("size", "head", "genesis")
        return ":".join(str(signed[-1].body[part]) for part in parts) if signed else ""

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
        if known is not None and not known.is_open and not known.failed:
            return known.result
        if known is not None and known.is_open and kind is StepKind.EFFECT:
            found = self._probe(sentence, probe)
            if found is not None:
                return self._done(key, found, adopted=True)
        self._append("intent", key=key, kind=kind, step=self._step, sentence=sentence)
        try:
            result = act()
        except (ConflictError, UsageError, Refused) as error:
            self._append("void", key=key, reason=error.message)
            raise
        except UnavailableError as error:
            # The answer is missing, not the effect: ask before saying that nothing happened.
            found = self._probe(sentence, probe) if kind is StepKind.EFFECT else None
            if found is not None:
                return self._done(key, found, adopted=True)
            self._append("void", key=key, reason=error.message)
            raise
        return self._done(key, result, adopted=False)

    def settle(self, key: str, found: Mapping[str, Json]) -> None:
        """See ``ports.Effects.settle``."""
        known = self._known(key)
        if known is not None and known.is_open:
            self._done(key, found, adopted=True)

    def _known(self, key: str) -> EffectState | None:
        effects = fold(self._journal.records).effects
        return next((effect for effect in effects if effect.key == key), None)

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
