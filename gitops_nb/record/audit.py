"""Checks a whole ledger: form, signatures, chain, time, phases, and the anchors that name its head."""

from __future__ import annotations

import gc
import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.model import format_time
from gitops_nb.ports import Store
from gitops_nb.record import dsse
from gitops_nb.record.dsse import MalformedError
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.journal import FILE as JOURNAL
from gitops_nb.record.ledger import (
    CLOCK_SKEW,
    FOLDER,
    GENESIS_CHARACTERS,
    NOTHING,
    Entry,
    Phase,
    parse_entry,
    slot,
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
    """A checked ledger: its records in order, what is wrong, and how much of it an anchor covers.

    ``begin`` is the number of the first record that was read, ``before`` the hash of the one before it, ``genesis`` the
    beginning of the hash of the very first.
    """

    name: str
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    begin: int = 0
    before: str = NOTHING
    genesis: str = ""
    anchored: int = 0
    newest_anchor: Anchor | None = None
    tombstones: Mapping[str, str] = field(default_factory=dict)
    by_run: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many records there are, read or not."""
        return self.entries[-1].seq + 1 if self.entries else self.begin

    @property
    def checkpoint(self) -> Entry | None:
        """The record that reading began with, where it stands for those before it."""
        return self.entries[0] if self.begin and self.entries else None

    @property
    def unanchored(self) -> tuple[Entry, ...]:
        """Records behind the newest anchor: if they went missing, nothing outside would show it."""
        return self.entries[max(0, self.anchored - self.begin) :]


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
    keys = store.list(f"{FOLDER}/{name}/")
    checked = _audit(store, name, keys, begin=0, runners=runners, now=now)
    return _with_anchors(checked, tuple(anchors))


def audit_since_checkpoint(
    store: Store,
    name: str,
    *,
    runners: Sequence[RunnerKey],
    now: datetime,
    anchors: Iterable[Anchor] = (),
) -> Audit:
    """As ``audit``, from the newest checkpoint on: of the records before it only the names are looked at.

    The checkpoint is signed, and says how many records came before and what the hash of the last one is. A ledger
    without one, or one that cannot be found because a record is damaged, is read as a whole.
    """
    keys = store.list(f"{FOLDER}/{name}/")
    begin = _newest_checkpoint(store, [key for key in keys if _is_slot(key, name)])
    checked = _audit(store, name, keys, begin=begin, runners=runners, now=now)
    return _with_anchors(checked, tuple(anchors))


def _newest_checkpoint(store: Store, keys: Sequence[str]) -> int:
    """Number of the record that the newest year begins with, if it is a checkpoint; else 0."""
    if not keys:
        return 0

    def entry(number: int) -> Entry:
        return parse_entry(keys[number], store.read(keys[number]) or b"")

    try:
        year = entry(len(keys) - 1).at.year
        first = bisect_left(range(len(keys)), year, key=lambda number: entry(number).at.year)
        is_one = entry(first).phase is Phase.CHECKPOINT
    except MalformedError:
        return 0
    # A gap before it would shift the numbers: then everything is read, and the gap found.
    return first if is_one and keys[first] == slot(keys[first].split("/")[1], first) else 0


def _audit(
    store: Store,
    name: str,
    keys: Sequence[str],
    *,
    begin: int,
    runners: Sequence[RunnerKey],
    now: datetime,
) -> Audit:
    """Checks the records from number ``begin`` on, and that the ones before it are there."""
    findings: list[Finding] = []
    entries: list[Entry] = []
    known = {dsse.fingerprint(runner.key): runner for runner in runners}
    slots = [key for key in keys if _is_slot(key, name)]
    findings += [
        Finding(Code.ADDED, key, "no record has such a name")
        for key in keys
        if not _is_slot(key, name)
    ]
    findings += [
        Finding(Code.GAP, after, f"record {_number(before) + 1} is missing")
        for before, after in itertools.pairwise([f"{FOLDER}/{name}/{-1:012}.json", *slots])
        if _number(after) != _number(before) + 1
    ]
    prev, at = NOTHING, None
    if begin:
        prev = hashlib.sha256(store.read(slots[begin - 1]) or b"").hexdigest()
    before = prev
    with _garbage_uncollected():
        for key, content in zip(slots[begin:], store.read_many(slots[begin:]), strict=True):
            try:
                entry = parse_entry(key, content or b"")
            except MalformedError as error:
                findings.append(Finding(Code.MALFORMED, key, str(error)))
                prev = hashlib.sha256(content or b"").hexdigest()
                continue
            findings += signature_findings(entry, known, environment_of(name))
            findings += _check_place(entry, name, prev=prev, at=at, size=_number(key))
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
    findings += _check_tombstones(entries, by_run)
    return Audit(
        name,
        tuple(entries),
        tuple(findings),
        begin=begin,
        before=before,
        genesis=_genesis(store, slots),
        tombstones=_tombstones(entries),
        by_run=by_run,
    )


@contextmanager
def _garbage_uncollected() -> Iterator[None]:
    """Looks for no cycles during the block: among thousands of records, which have none, that takes a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _genesis(store: Store, slots: Sequence[str]) -> str:
    """Beginning of the hash of the first envelope."""
    if not slots:
        return ""
    return hashlib.sha256(store.read(slots[0]) or b"").hexdigest()[:GENESIS_CHARACTERS]


def environment_of(ledger: str) -> str:
    """Whose ledger it is, by its name."""
    return ledger.removeprefix("sandbox.")


def signature_findings(
    entry: Entry, known: Mapping[str, RunnerKey], environment: str
) -> list[Finding]:
    """What is wrong with who signed a record of an environment; ``known`` are the runners' keys by fingerprint."""
    runner = known.get(entry.keyid)
    if runner is None:
        text = f"no runner in trust.yaml has the key {entry.keyid}"
        return [Finding(Code.UNTRUSTED_KEY, entry.key, text)]
    if not dsse.is_signed_by(entry.envelope, dsse.raw_ed25519(runner.key)):
        return [Finding(Code.SIGNATURE, entry.key, f"the key of {runner.name} did not sign this")]
    if not runner.is_trusted_in(environment):
        text = f"trust.yaml does not list the key of {runner.name} for {environment}"
        return [Finding(Code.UNTRUSTED_KEY, entry.key, text)]
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


def _check_tombstones(
    entries: Sequence[Entry], by_run: Mapping[str, Sequence[Entry]]
) -> list[Finding]:
    """A run is removed with the journal that it ended with: a tombstone hides neither an edit nor a run in doubt."""
    found: list[Finding] = []
    for entry in entries:
        if entry.phase is not Phase.PRUNED:
            continue
        for run, removed in entry.subjects.items():
            before = [one for one in by_run.get(run, ()) if one.seq < entry.seq]
            last = next((one for one in reversed(before) if one.phase in _ORDER), None)
            if last is None:
                continue  # its records stand by a checkpoint
            if last.phase is not Phase.END:
                text = f"a tombstone of {run}, which had not ended"
                found.append(Finding(Code.PHASE, entry.key, text))
            elif last.subjects.get(JOURNAL) != removed:
                text = f"the journal of {run} was another when it was removed than when it ended"
                found.append(Finding(Code.EDITED, entry.key, text))
    return found


def _with_anchors(checked: Audit, anchors: Sequence[Anchor]) -> Audit:
    """Compares the ledger with what others remember of it."""
    hashes = {entry.seq + 1: entry.hash for entry in checked.entries}
    if checked.begin:
        hashes[checked.begin] = checked.before
    findings = list(checked.findings)
    newest: Anchor | None = None
    for anchor in anchors:
        if anchor.size < checked.begin:
            continue  # about records that the checkpoint stands for
        if hashes.get(anchor.size) == anchor.head:
            # What this machine remembers shows a rewritten ledger; it is no witness outside of it.
            if not anchor.is_own and (newest is None or anchor.size > newest.size):
                newest = anchor
            continue
        if anchor.is_own or anchor.genesis == checked.genesis or anchor.run in checked.by_run:
            last = checked.size
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
