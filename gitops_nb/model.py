"""The values that runbooks hand on: frozen, comparable, and equal again after a trip through JSON.

Everything here is plain data. ``to_json`` and ``from_json`` are inverse for every type in this module
and for the request and state types of the slices; ``digest`` is computed over the canonical JSON.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any, TypeVar, cast

from gitops_nb.imports import unplugged

Json = Any
"""What ``json.loads`` returns. Journal values never hold floats where they are digested."""

T = TypeVar("T")


class Status(StrEnum):
    """The words for a run and for each of its steps."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"
    REFUSED = "refused"
    NEEDS_ATTENTION = "needs_attention"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing more happens to a run in this status without a new command."""
        return self not in (Status.PENDING, Status.RUNNING, Status.WAITING)


class StepKind(StrEnum):
    """How a step may be repeated: ``read`` freely, ``idempotent`` with the same key, ``effect`` never silently."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    EFFECT = "effect"


class Mode(StrEnum):
    """Where a run acts: on the embedded platform, or on the real one."""

    SANDBOX = "sandbox"
    LIVE = "live"


class Risk(StrEnum):
    """What a runbook can do to the platform."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


class Action(StrEnum):
    """What happens to one resource, in OpenTofu's words."""

    NO_OP = "no-op"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a diff: ``sign`` is " ", "-" or "+"; ``number`` counts from 1."""

    sign: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One thing that an apply would change.

    ``address`` names it for a person (``platform-config:apps/checkout/production/deployment.yaml``);
    ``before`` and ``after`` are short texts; ``diff`` is the change in context, empty for objects
    that are created or deleted whole.
    """

    address: str
    action: Action
    before: str = ""
    after: str = ""
    diff: tuple[Line, ...] = ()

    @property
    def is_destructive(self) -> bool:
        """True when something that runs would be deleted or replaced."""
        return self.action in (Action.DELETE, Action.REPLACE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would do, and the materials it was computed from.

    ``environment`` is where the change lands. ``summary`` is one sentence. ``materials`` maps a name
    (``repository:path``) to a Git blob id or an object version: the plan is stale when one differs.
    ``arguments`` holds what the slice's ``apply`` needs, as JSON without floats. An empty ``changes`` means
    "nothing to do".
    """

    runbook: str
    environment: str
    summary: str
    changes: tuple[ResourceChange, ...]
    materials: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Json] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest over the whole plan; an approval consents to exactly this."""
        return digest(self)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to do."""
        return not self.changes


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer. ``clears_at`` says when a closed gate could open by itself, if that is known.

    ``asked`` is False where the policy does not ask the gate: it stands in nobody's way, and nothing was found out.
    """

    gate: str
    passed: bool
    reason: str
    clears_at: datetime | None = None
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's signed answer to one request digest, good for a short time and one use.

    ``key`` is the fingerprint of the key that signed (``SHA256:…``). ``answer`` is "approve" or "reject".
    ``evidence`` is what was read where it is a review on GitHub; a signature needs none.
    """

    run: str
    subject: str
    answer: str
    person: str
    key: str
    at: datetime
    expires: datetime
    reason: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)


class Answer(StrEnum):
    """What ``decide`` says about a plan."""

    ALLOWED = "allowed"
    WAITING = "waiting"
    REFUSED = "refused"
    NOTHING = "nothing to do"


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, waiting, refused or nothing to do, with reasons, for exactly one plan digest."""

    answer: Answer
    plan_digest: str
    environment: str
    reasons: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    approvals: tuple[Approval, ...] = ()
    rejections: tuple[Approval, ...] = ()
    approvals_needed: int = 0


class Result(StrEnum):
    """What verify found."""

    DEPLOYED = "deployed"
    FAILED = "failed"
    IN_DOUBT = "in doubt"
    NOTHING = "nothing to do"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled observation, as shown in a report: ("Pod", "checkout-7d9f-x2kqp")."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of observations with a title, as shown in a report; all cells are text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What verify found, with its evidence.

    ``title`` is the finding as a sentence ("checkout v2.31.1 runs in production"), ``sentence`` the next one.
    ``next_step`` says what to do now, ``command`` is the exact command for it (empty when there is none);
    ``undo`` is the command that takes the change back (empty when there is nothing to take back).
    ``taken_back`` says what somebody else changed of it meanwhile (empty when all of it stands). ``by_itself`` says for each cluster
    what was seen to come without anybody asking, where that was looked at. ``unwatched`` says of a doubt that no look of a later
    attempt could end it: nobody watches the target.
    """

    result: Result
    title: str
    sentence: str = ""
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    next_step: str = ""
    command: str = ""
    undo: str = ""
    taken_back: str = ""
    by_itself: Mapping[str, str] = field(default_factory=dict)
    unwatched: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What apply did: one entry per effect, in order, each with what was read back.

    ``results`` maps an effect's key ("commit", "sync") to what its system answered.
    """

    results: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is true after a run's first effect, however the run ended; each part is one or more sentences.

    ``asks`` says what Git asks for now, ``by_itself`` what happens without anybody, ``back`` how the change is taken back
    and ``command`` the exact command for that (empty when there is none). ``later`` is the run that changed the same since.
    """

    asks: str
    by_itself: str
    back: str
    command: str = ""
    later: str = ""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept, never its value: ``sm://project/name@version``."""

    uri: str


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names one Kubernetes object. ``namespace`` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in Git at one revision; ``blob_id`` is Git's 40-hex object name."""

    path: str
    blob_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; times are UTC, ``trailers`` are the message's ``Key: value`` lines."""

    sha: str
    parents: tuple[str, ...]
    author: str
    authored_at: datetime
    committed_at: datetime
    subject: str
    trailers: Mapping[str, str] = field(default_factory=dict)


_PLAIN = frozenset({str, int, bool, float, type(None)})


def to_json(value: Any) -> Json:
    """Turns a value of this package into what ``json.dumps`` takes.

    Dataclasses become objects, datetimes RFC 3339 text in UTC, timedeltas seconds, enums their value.

    Raises:
        TypeError: The value holds a type that has no JSON form here, or a naive datetime.
    """
    # First what most values are, by their very type: the classes asked for below are slow to answer.
    kind = type(value)
    if kind in _PLAIN:
        return cast("Json", value)
    if kind is dict:
        return {str(key): to_json(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(kind):
        return {name: to_json(getattr(value, name)) for name in _field_names(kind)}
    match value:
        case None | bool() | int() | float():
            return value.value if isinstance(value, Enum) else value
        case Enum():
            return value.value
        case str():
            return value
        case datetime():
            return format_time(value)
        case timedelta():
            return int(value.total_seconds())
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [to_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def from_json(kind: type[T], value: Json) -> T:
    """Builds a value of ``kind`` (a dataclass of this package) from ``to_json``'s result.

    Raises:
        pydantic.ValidationError: The JSON does not fit the type.
    """
    return cast("T", reader(cast("Any", kind)).validate_python(value))


@functools.cache
def reader(kind: Any) -> Any:
    """What ``from_json`` reads a type with; building one costs milliseconds, and an index reads thousands of values."""
    from pydantic import TypeAdapter  # costs 0.1 s: only runs pay for it, not `gitops-nb list`

    with unplugged():
        return TypeAdapter(kind)


def canonical(value: Any) -> bytes:
    """Canonical JSON as in RFC 8785, for values without floats: sorted keys, no blanks, UTF-8.

    Raises:
        TypeError: The value holds a float; two programs may print the same float differently.
    """
    plain = to_json(value)
    _refuse_floats(plain)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse_number(text: str) -> Json:
    raise ValueError(f"{text} is no whole number")


read_exact = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number).decode
"""Reads JSON text without floats; ValueError where there is one."""
write_exact = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""Canonical JSON, as text, of what ``read_exact`` read: it needs no conversion, which is the better half of ``canonical``."""


def digest(value: Any) -> str:
    """``sha256:`` and the hex digest of the value's canonical JSON.

    >>> digest({"b": 1, "a": "x"})
    'sha256:cdab067e9f3beb32d1252cfd63e492592fecbf591b0d08cadb24bb17f3864246'
    """
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond, with a Z."""
    if moment.tzinfo is None:
        raise TypeError(f"naive datetime {moment.isoformat()}; times carry their zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Reads RFC 3339 text with an offset; the result is in UTC.

    Raises:
        ValueError: The text is not a time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return moment.astimezone(UTC)


def _refuse_floats(value: Json) -> None:
    match value:
        case float():
            raise TypeError(f"float {value!r} in a digested value")
        case dict():
            for item in value.values():
                _refuse_floats(item)
        case list():
            for item in value:
                _refuse_floats(item)
