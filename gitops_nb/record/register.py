"""The register of requests: who began what was asked for, how that ended, and who said no. A copy of the reports does not carry it.

``register/<digest of the request>/000000.json`` is an object that is created and never changed. A runner signs ``start``, ``end``
and ``closed``; a person signs ``reject``, ``withdraw``, ``review`` and ``unlock``. What is not signed by whom it has to be does not count.
A request whose start is open belongs to that start's holder and to nobody else; one that succeeded is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Protocol

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.errors import RecordError, Refused
from gitops_nb.model import Json, Status, canonical, format_time, parse_time
from gitops_nb.ports import Processes, Store
from gitops_nb.record import dsse
from gitops_nb.record.approvals import check_answer
from gitops_nb.record.dsse import MalformedError
from gitops_nb.record.unlocks import check_unlock

FOLDER = "register"
ATTEMPTS = 40
_NAME = re.compile(r"[0-9]{6}\.json")
_PAYLOAD = "application/vnd.{realm}.register+json"


Earlier = Callable[[Mapping[str, Json]], "tuple[Believed, ...]"]
"""Who was believed at the policy commit that the body of a start names; nobody where that is no commit of the branch."""


class Kind(StrEnum):
    """What an entry says."""

    START = "start"
    END = "end"
    CLOSED = "closed"
    UNLOCK = "unlock"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    REVIEW = "review"


_BY_RUNNERS = (Kind.START, Kind.END, Kind.CLOSED)
_ENDS = (Kind.END, Kind.CLOSED, Kind.UNLOCK)


class Seal(Protocol):
    """A runner's key."""

    @property
    def keyid(self) -> str:
        """Fingerprint of the public key."""

    def seal(self, payload: bytes, payload_type: str = ...) -> bytes:
        """The envelope around a statement."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. ``digest`` is the SHA-256 of its bytes (64 hex); ``problem`` says why it does not count, "" when it does.

    ``signer`` is a runner's key or a person; ``body`` what it says beside that. ``was_believed`` says that its signer's key counted
    when it was signed and does not now: a key that is taken away undoes nothing of what it began, ended or refused.
    """

    number: int
    digest: str
    kind: Kind | None
    at: datetime | None
    signer: str
    body: Mapping[str, Json]
    problem: str = ""
    was_believed: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is well signed and in its place."""
        return not self.problem

    @property
    def stands(self) -> bool:
        """Whether it counts or did: enough to forbid, never to allow."""
        return self.counts or self.was_believed


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything that the register says about one request, in its order."""

    request: str
    entries: tuple[Entry, ...] = ()
    strangers: tuple[str, ...] = ()
    """Objects in its place that are no entries by their names."""

    def of(self, *kinds: Kind) -> tuple[Entry, ...]:
        """Entries of these kinds that count."""
        return tuple(entry for entry in self.entries if entry.counts and entry.kind in kinds)

    def standing(self, *kinds: Kind) -> tuple[Entry, ...]:
        """Entries of these kinds that count, or did when they were signed."""
        return tuple(entry for entry in self.entries if entry.stands and entry.kind in kinds)

    @property
    def starts(self) -> tuple[Entry, ...]:
        """Every start, oldest first; also of a runner whose key was taken away since."""
        return self.standing(Kind.START)

    @property
    def open_start(self) -> Entry | None:
        """The start that nothing has ended. What a key that is gone says ends only what the same key began."""
        signers = {one.digest: one.signer for one in self.starts}
        ended = {
            entry.body.get("start")
            for entry in self.standing(*_ENDS)
            if entry.counts
            or (
                entry.kind is Kind.END and signers.get(str(entry.body.get("start"))) == entry.signer
            )
        }
        return next((one for one in reversed(self.starts) if one.digest not in ended), None)

    @property
    def withdrawn(self) -> Mapping[str, datetime]:
        """When each person last took something back, whatever order the entries stand in."""
        found: dict[str, datetime] = {}
        for entry in self.standing(Kind.WITHDRAW):
            if entry.at is not None:
                found[entry.signer] = max(entry.at, found.get(entry.signer, entry.at))
        return found

    @property
    def breaks(self) -> tuple[str, ...]:
        """Where what runners signed does not follow the entry that stands before it: something was taken out, put in or moved."""
        found: list[str] = []
        before = ""
        for entry in self.entries:
            is_runners = entry.counts and entry.kind in _BY_RUNNERS
            if is_runners and entry.body.get("prev") != before:
                found.append(f"entry {entry.number} does not follow the entry before it")
            before = entry.digest
        return tuple(found)

    @property
    def next_number(self) -> int:
        """Of the entry that comes next: behind all that count, where nothing stands yet. Junk in between stops nobody."""
        taken = {entry.number for entry in self.entries}
        number = max((entry.number + 1 for entry in self.entries if entry.stands), default=0)
        while number in taken:
            number += 1
        return number

    @property
    def success(self) -> Entry | None:
        """The end that says that what was asked for is done."""
        return next(
            (one for one in self.standing(Kind.END) if one.body.get("status") == Status.SUCCEEDED),
            None,
        )

    @property
    def done(self) -> Mapping[str, str]:
        """Effects that runners signed to have done, each with the commit that it made or ""."""
        found: dict[str, str] = {}
        for entry in self.standing(Kind.END):
            effects = entry.body.get("effects")
            if isinstance(effects, Mapping):
                found |= {str(key): str(value) for key, value in effects.items()}
        return found

    @property
    def last(self) -> Entry | None:
        """The newest start or end of one, whoever signed it."""
        found = self.standing(Kind.START, *_ENDS)
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Believed:
    """Whose entries count: people and runners by their keys, and who may say that a start's holder is gone."""

    trust: Trust
    runners: tuple[RunnerKey, ...]
    approvers: frozenset[str] = frozenset()

    def runner(self, keyid: str) -> RunnerKey | None:
        """The runner with this key."""
        return next((one for one in self.runners if dsse.fingerprint(one.key) == keyid), None)


class Register:
    """The register of one place.

    Args:
        store: Where it is kept.
        believed: Whose entries count now; ``trust`` also says in whose realm they sign.
        once: Who was believed when the request was made, or since; what they signed still forbids.
        earlier: Which runners were believed at a policy commit that a start names; asked for starts that nobody else knows.
        processes: Checks people's signatures.
        is_shared: False where it is kept on this machine only, so that a copy elsewhere knows nothing of it.
    """

    def __init__(
        self,
        store: Store,
        *,
        believed: Believed,
        processes: Processes,
        is_shared: bool = True,
        once: tuple[Believed, ...] = (),
        earlier: Earlier | None = None,
    ) -> None:
        self._store = store
        self._believed = believed
        self._once = once
        self._earlier = earlier
        self._starters: dict[str, RunnerKey] = {}
        self._processes = processes
        self._read: dict[str, Entry] = {}
        self.is_shared = is_shared

    def chain(self, request: str) -> Chain:
        """What is there about a request (its digest), read now.

        Raises:
            UnavailableError: The place does not answer.
        """
        listed = self._store.list(_folder(request))
        keys = [key for key in listed if _is_entry(request, key)]
        new = [key for key in keys if key not in self._read]
        for key, content in zip(new, self._store.read_many(new), strict=True):
            self._read[key] = self._parse(request, key, content or b"")
        strangers = tuple(key for key in listed if not _is_entry(request, key))
        return Chain(request, tuple(self._read[key] for key in keys), strangers)

    @property
    def starters(self) -> tuple[RunnerKey, ...]:
        """Runners whose starts stand in the chains that were read, each as it was believed."""
        return tuple(self._starters.values())

    def remember(self) -> None:
        """Looks up the whole register once; for whoever checks many requests and writes nothing."""
        keep = getattr(self._store, "remember", None)
        if keep is not None:
            keep(f"{FOLDER}/")

    def count(self, request: str) -> int:
        """How many entries there are now; asks once and reads none."""
        return sum(_is_entry(request, key) for key in self._store.list(_folder(request)))

    def append(self, request: str, write: Callable[[Chain], bytes]) -> Entry:
        """Adds an entry behind all that are there.

        Args:
            request: Digest of the request.
            write: Makes the entry for the chain as it is; raises where there is nothing to be added to it. Called again
                when somebody else's entry came first.

        Raises:
            UnavailableError: The place does not answer, or does not let us write.
            RecordError: Others always came first.
        """
        for _ in range(ATTEMPTS):
            chain = self.chain(request)
            key = f"{_folder(request)}{chain.next_number:06}.json"
            content = write(chain)
            if self._store.create(key, content):
                entry = self._read[key] = self._parse(request, key, content)
                return entry
        raise RecordError(f"{ATTEMPTS} entries of others came first", hint="Try again.")

    def by_runner(
        self, signer: Seal, chain: Chain, kind: Kind, *, at: datetime, body: Mapping[str, Json]
    ) -> bytes:
        """An entry of a runner, signed."""
        if kind is Kind.START and chain.breaks:
            raise Refused(
                f"the register of this request was changed: {chain.breaks[0]}; nothing was begun",
                hint="Look at it with `gitops-nb verify`; a new run asks anew.",
            )
        statement = {
            **body,
            "v": 1,
            "kind": kind,
            "request": chain.request,
            "at": format_time(at),
            "prev": _before(chain),
        }
        return signer.seal(canonical(statement), _PAYLOAD.format(realm=self._believed.trust.realm))

    def _parse(self, request: str, key: str, content: bytes) -> Entry:
        number = int(key.rpartition("/")[2].removesuffix(".json"))
        found = hashlib.sha256(content).hexdigest()
        try:
            value = dsse.parse_canonical(content)
            if isinstance(value, dict) and "statement" in value:
                judge = partial(self._of_person, request, number, found, value)
            else:
                judge = partial(self._of_runner, request, number, found, content)
            return self._by_then(judge, judge(self._believed))
        except (
            MalformedError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            return Entry(number, found, None, None, "", {}, f"it is no entry: {error}")

    def _by_then(self, judge: Callable[[Believed], Entry], entry: Entry) -> Entry:
        """The entry as it is judged now, and whether it counted by those who were believed once."""
        if entry.counts:
            return self._noted(entry, self._believed)
        others = [*self._once]
        if entry.kind is Kind.START and self._earlier is not None:
            others += self._earlier(entry.body)
        starter = self._starters.get(str(entry.body.get("start")))
        if entry.kind is Kind.END and starter is not None:
            others.append(Believed(self._believed.trust, (starter,)))
        for one in others:
            then = judge(one)
            if then.counts:
                self._noted(then, one)
                return replace(then, problem=entry.problem, was_believed=True)
        return entry

    def _noted(self, entry: Entry, believed: Believed) -> Entry:
        runner = believed.runner(entry.signer) if entry.kind is Kind.START else None
        if runner is not None:
            self._starters[entry.digest] = runner
        return entry

    def _of_runner(
        self, request: str, number: int, found: str, content: bytes, believed: Believed
    ) -> Entry:
        envelope = dsse.parse(content)
        body = dsse.parse_canonical(envelope.payload)
        kind, at = Kind(body["kind"]), parse_time(body["at"])
        runner = believed.runner(envelope.keyid)
        problem = ""
        if envelope.payload_type != _PAYLOAD.format(realm=believed.trust.realm):
            problem = f"it is a {envelope.payload_type!r}"
        elif kind not in _BY_RUNNERS or body["request"] != request or not _is_whole(body):
            problem = "it is about something else"
        elif runner is None:
            problem = f"no runner that counts here has the key {envelope.keyid}"
        elif not dsse.is_signed_by(envelope, dsse.raw_ed25519(runner.key)):
            problem = f"the key of {runner.name} did not sign it"
        elif not runner.counts_at(at):
            problem = f"the key of {runner.name} did not count at {format_time(at)}"
        return Entry(number, found, kind, at, envelope.keyid, body, problem)

    def _of_person(
        self, request: str, number: int, found: str, value: Mapping[str, Json], believed: Believed
    ) -> Entry:
        """A rejection or withdrawal of the request, or the word that a start's holder is gone."""
        said, problem = check_unlock(value, trust=believed.trust, processes=self._processes)
        if said:
            freed = {"start": said["digest"], "reason": said["reason"], "what": said["what"]}
            at, person = parse_time(said["at"]), str(said["person"])
            if not problem and person not in believed.approvers:
                problem = f"{person} may not approve there, and so not unlock"
            return Entry(number, found, Kind.UNLOCK, at, person, freed, problem)
        answered = check_answer(
            str(number), value, processes=self._processes, trust=believed.trust, now=None
        )
        given = answered.approval
        if given is None:
            return Entry(number, found, None, None, "", {}, answered.problem)
        body: dict[str, Json] = {"reason": given.reason, "key": given.key}
        if given.answer == Kind.REVIEW:
            # Who may review is asked of the rules of its time, by whoever counts it.
            body["review"] = dict(value)
        problem = "" if given.subject == request else "it is about another request"
        kind = Kind(given.answer)
        return Entry(number, found, kind, given.at, given.person, body, problem)


def _is_whole(body: Mapping[str, Json]) -> bool:
    """Whether the fields that are compared later are texts."""
    return all(isinstance(body.get(name, ""), str) for name in ("start", "run", "plan", "prev"))


def _is_entry(request: str, key: str) -> bool:
    folder = _folder(request)
    return key.startswith(folder) and _NAME.fullmatch(key[len(folder) :]) is not None


def _before(chain: Chain) -> str:
    """Digest of the entry that stands before the next one; "" when it is the first."""
    number = chain.next_number
    return next((one.digest for one in reversed(chain.entries) if one.number < number), "")


def _folder(request: str) -> str:
    return f"{FOLDER}/{request.removeprefix('sha256:')}/"
