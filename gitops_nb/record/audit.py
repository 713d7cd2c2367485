"""Checks a whole ledger: form, signatures, chain, time, phases, and the anchors that name its head."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.model import format_time
from gitops_nb.ports import Store
from gitops_nb.record import dsse
from gitops_nb.record.dsse import MalformedError
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.ledger import (
    CLOCK_SKEW,
    FOLDER,
    GENESIS_CHARACTERS,
    NOTHING,
    Entry,
    Phase,
    parse_entry,
)

_ORDER = {Phase.REQUESTED: 0, Phase.START: 1, Phase.END: 2}
"""In which order the phases of one attempt come; a run that waits is asked for again in its next attempt."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A ledger's head as something outside of it remembers it: a commit's trailer, or this machine's last check.

    ``genesis`` is the beginning of the hash of the ledger's first envelope; ``run`` is "" where no run wrote it.
    ``is_own`` is true for what this machine remembers of exactly this ledger.
    """

    size: int
    head: str
    genesis: str
    where: str
    run: str = ""
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """A checked ledger: its records in order, what is wrong, and how much of it an anchor covers."""

    name: str
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    anchored: int = 0
    newest_anchor: Anchor | None = None
    tombstones: Mapping[str, str] = field(default_factory=dict)
    by_run: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)

    @property
    def genesis(self) -> str:
        """Beginning of the hash of the first envelope."""
        return self.entries[0].hash[:GENESIS_CHARACTERS] if self.entries else ""

    @property
    def unanchored(self) -> tuple[Entry, ...]:
        """Records behind the newest anchor: if they went missing, nothing outside would show it."""
        return self.entries[self.anchored :]


def audit(
    store: Store,
    name: str,
    *,
    runners: Sequence[RunnerKey],
    now: datetime,
    anchors: Iterable[Anchor] = (),
) -> Audit:
    """Reads and checks every record of a ledger.

    Args:
        store: Where the ledgers are.
        name: Which one.
        runners: Keys whose signatures count.
        now: Wall time; records dated later are wrong.
        anchors: Heads that others remember; those of other ledgers are left alone.
    """
    findings: list[Finding] = []
    entries: list[Entry] = []
    known = {dsse.fingerprint(runner.key): runner for runner in runners}
    prev, at, number = NOTHING, None, -1
    for key in store.list(f"{FOLDER}/{name}/"):
        if not _is_slot(key, name):
            findings.append(Finding(Code.ADDED, key, "no record has such a name"))
            continue
        content = store.read(key) or b""
        number, before = _number(key), number
        if number != before + 1:
            findings.append(Finding(Code.GAP, key, f"record {before + 1} is missing"))
        try:
            entry = parse_entry(key, content)
        except MalformedError as error:
            findings.append(Finding(Code.MALFORMED, key, str(error)))
            prev = hashlib.sha256(content).hexdigest()
            continue
        findings += signature_findings(entry, known)
        findings += _check_place(entry, name, prev=prev, at=at, size=number)
        if entry.at > now + CLOCK_SKEW:
            text = f"it is dated in the future, {format_time(entry.at)}"
            findings.append(Finding(Code.CLOCK, key, text))
        entries.append(entry)
        prev, at = entry.hash, entry.at
    findings += _check_phases(entries)
    by_run: dict[str, tuple[Entry, ...]] = {}
    for entry in entries:
        if entry.run:
            by_run[entry.run] = (*by_run.get(entry.run, ()), entry)
    checked = Audit(
        name,
        tuple(entries),
        tuple(findings),
        tombstones=_tombstones(entries),
        by_run=by_run,
    )
    return _with_anchors(checked, tuple(anchors))


def signature_findings(entry: Entry, known: Mapping[str, RunnerKey]) -> list[Finding]:
    """What is wrong with who signed a record; ``known`` are the runners' keys by fingerprint."""
    runner = known.get(entry.keyid)
    if runner is None:
        text = f"no runner in trust.yaml has the key {entry.keyid}"
        return [Finding(Code.UNTRUSTED_KEY, entry.key, text)]
    if not dsse.is_signed_by(entry.envelope, dsse.raw_ed25519(runner.key)):
        return [Finding(Code.SIGNATURE, entry.key, f"the key of {runner.name} did not sign this")]
    if not runner.counts_at(entry.at):
        text = f"the key of {runner.name} did not count on {format_time(entry.at)}"
        return [Finding(Code.KEY_VALIDITY, entry.key, text)]
    return []


def _check_place(
    entry: Entry, name: str, *, prev: str, at: datetime | None, size: int
) -> list[Finding]:
    """Whether a record belongs where it lies: behind the envelope ``prev`` and the time ``at``, as number ``size``."""
    found: list[Finding] = []

    def say(code: Code, text: str) -> None:
        found.append(Finding(code, entry.key, text))

    if entry.seq != size or entry.predicate["ledger"].get("name") != name:
        where = f"{entry.predicate['ledger'].get('name')} {entry.seq}"
        say(Code.REPLAYED, f"it is the record {where}, copied here")
    if entry.prev != prev:
        say(Code.CHAIN, "it does not follow the record before it")
    if at is not None and entry.at < at:
        say(Code.CLOCK, f"it is older than the record before it, of {format_time(at)}")
    mark = entry.predicate.get("checkpoint")
    if mark is not None and (mark.get("size"), mark.get("head")) != (size, prev):
        say(Code.CHAIN, "the checkpoint is about another ledger")
    return found


def _check_phases(entries: Sequence[Entry]) -> list[Finding]:
    """Each phase once per attempt, in order; attempts do not go back."""
    found: list[Finding] = []
    reached: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.phase not in _ORDER:
            continue
        step = (entry.attempt, _ORDER[entry.phase])
        last = reached.get(entry.run, (-1, -1))
        if step <= last:
            text = f"a second {entry.phase}, or one out of order, of attempt {entry.attempt} of {entry.run}"
            found.append(Finding(Code.PHASE, entry.key, text))
        reached[entry.run] = max(step, last)
    return found


def _tombstones(entries: Sequence[Entry]) -> Mapping[str, str]:
    """Runs that were pruned, each with the SHA-256 that its journal had."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.phase is Phase.PRUNED:
            found |= {name: value for name, value in entry.subjects.items() if "/" not in name}
    return found


def _with_anchors(checked: Audit, anchors: Sequence[Anchor]) -> Audit:
    """Compares the ledger with what others remember of it."""
    hashes = {entry.seq + 1: entry.hash for entry in checked.entries}
    findings = list(checked.findings)
    newest: Anchor | None = None
    for anchor in anchors:
        if hashes.get(anchor.size) == anchor.head:
            # What this machine remembers shows a rewritten ledger; it is no witness outside of it.
            if not anchor.is_own and (newest is None or anchor.size > newest.size):
                newest = anchor
            continue
        if anchor.is_own or anchor.genesis == checked.genesis or anchor.run in checked.by_run:
            last = checked.entries[-1].seq + 1 if checked.entries else 0
            what = (
                f"{anchor.where} has seen {anchor.size} records, and there are {last}"
                if anchor.size > last
                else f"{anchor.where} has seen another record {anchor.size}"
            )
            where = f"{FOLDER}/{checked.name}"
            findings.append(Finding(Code.TRUNCATED, where, what))
    return replace(
        checked,
        findings=tuple(findings),
        anchored=newest.size if newest else 0,
        newest_anchor=newest,
    )


def _is_slot(key: str, name: str) -> bool:
    text = key.removeprefix(f"{FOLDER}/{name}/").removesuffix(".json")
    return len(text) == 12 and text.isdecimal() and text.isascii() and key.endswith(".json")


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))
