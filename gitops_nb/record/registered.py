"""Whether what a run's record says of its effects is what the register of requests has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gitops_nb.model import parse_time
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.fold import RunState
from gitops_nb.record.journal import FILE
from gitops_nb.record.ledger import CLOCK_SKEW, Entry, Phase
from gitops_nb.record.register import Chain, Kind


def register_findings(
    state: RunState,
    chain: Chain,
    *,
    approvers: Collection[str],
    is_shared: bool,
    ledger: Sequence[Entry] = (),
) -> list[Finding | str]:
    """Compares a run with its request's register.

    Args:
        state: Fold of the run's journal.
        chain: What the register has about its request.
        approvers: Who may say no.
        is_shared: Whether a copy of the reports elsewhere would see the same register.
        ledger: What the ledger has about the run.
    """
    said: list[Finding | str] = []
    where = "the register"
    if state.request is not None and not is_shared and state.effects:
        said.append(
            "the register is kept on one machine only: another one would not see this start"
        )
    starts = [one for one in chain.starts if one.body.get("run") == state.run]
    if state.effects and not starts:
        text = f"effects, and {where} knows no start of them that a runner signed"
        said.append(Finding(Code.UNRECORDED_RUN, FILE, text))
    if state.begun and state.begun.get("start") not in {one.digest for one in chain.starts}:
        text = f"its start {str(state.begun.get('start'))[:12]} is not in {where}"
        said.append(Finding(Code.CONTRADICTION, FILE, text))
    attempts = [one.body.get("attempt") for one in starts if one.counts]
    for twice in {one for one in attempts if attempts.count(one) > 1}:
        text = f"{where} has two starts of its attempt {twice}: the record was put back to an earlier time in between"
        said.append(Finding(Code.CONTRADICTION, FILE, text))
    for start in starts:
        if start.body.get("plan") != (state.request or {}).get("plan_digest"):
            text = f"{where} has a start of it with another plan"
            said.append(Finding(Code.CONTRADICTION, FILE, text))
    said += _noes(state, chain, approvers)
    for entry in chain.entries:
        if entry.kind is None:
            text = f"entry {entry.number} does not count: {entry.problem}"
            said.append(Finding(Code.MALFORMED, where, text))
        elif entry.problem:
            said.append(f"entry {entry.number} of {where} does not count: {entry.problem}")
        elif entry.kind is Kind.CLOSED:
            said.append("an attempt of it was not witnessed to its end: its runner died")
        elif entry.kind is Kind.UNLOCK:
            said.append(
                f"its start was freed by the word of {entry.signer}: {entry.body['reason']}"
            )
        elif entry.kind in (Kind.REJECT, Kind.WITHDRAW):
            word = "rejected" if entry.kind is Kind.REJECT else "withdrew"
            said.append(f"{entry.signer} {word} it: {entry.body['reason']}")
    said += [
        Finding(Code.MALFORMED, where, f"{key!r} is no entry by its name")
        for key in chain.strangers
    ]
    said += [Finding(Code.CHAIN, where, text) for text in chain.breaks]
    said += _times(state, chain)
    said += _rewound(state, chain, ledger)
    if state.effects and chain.open_start is not None and state.ended:
        said.append(f"{where} has no end of its last start")
    return said


def _noes(state: RunState, chain: Chain, approvers: Collection[str]) -> Iterator[Finding]:
    """Effects that were begun after somebody said no, or took back the request or the approval that they rest on."""
    requester = str(((state.request or {}).get("requester") or {}).get("name") or "")
    yes = {str(one.get("person")): one for one in state.approvals if one.get("answer") == "approve"}
    for no in chain.standing(Kind.REJECT, Kind.WITHDRAW):
        if no.at is None:
            continue
        word = "rejected it"
        if no.kind is Kind.WITHDRAW:
            given = yes.get(no.signer)
            is_later = given is not None and parse_time(given["at"]) > no.at + CLOCK_SKEW
            if no.signer != requester and (given is None or is_later):
                continue
            word = "withdrew it" if no.signer == requester else "took the approval back"
        elif no.signer not in approvers:
            continue
        # The register's order is sure; the times of two machines are not.
        is_begun = any(one.number > no.number for one in chain.starts)
        late = [
            effect
            for effect in state.touched
            if not effect.adopted and (is_begun or parse_time(effect.started) > no.at + CLOCK_SKEW)
        ]
        if late:
            text = f"{late[0].key} was begun after {no.signer} {word}"
            yield Finding(Code.APPROVAL, FILE, text)


def _times(state: RunState, chain: Chain) -> Iterator[Finding]:
    """Nothing is said about a request before it was made, and runners write one after the other."""
    newest = parse_time(state.request["created"]) if state.request is not None else None
    for entry in chain.of(Kind.START, Kind.END, Kind.CLOSED):
        if entry.at is None:
            continue
        if newest is not None and entry.at < newest - CLOCK_SKEW:
            text = f"entry {entry.number} is older than what comes before it"
            yield Finding(Code.CLOCK, "the register", text)
        newest = entry.at if newest is None else max(newest, entry.at)


def _rewound(state: RunState, chain: Chain, ledger: Sequence[Entry]) -> Iterator[Finding]:
    """An end that its runner saw is in both: a register that has the start alone was put back to what it was then."""
    began = {entry.attempt for entry in ledger if entry.phase is Phase.START}
    there = {
        entry.body.get("attempt")
        for entry in chain.of(Kind.END, Kind.CLOSED)
        if entry.body.get("run") == state.run
    }
    freed = {entry.body.get("start") for entry in chain.of(Kind.UNLOCK, Kind.CLOSED)}
    for entry in ledger:
        was_seen = entry.phase is Phase.END and entry.predicate.get("witnessed", True) is not False
        if not was_seen or entry.attempt not in began - there:
            continue
        held = chain.open_start
        if held is not None and held.body.get("run") == state.run and held.digest not in freed:
            text = f"{entry.key} knows the end of attempt {entry.attempt}, and the register has none: it was put back"
            yield Finding(Code.TRUNCATED, "the register", text)
