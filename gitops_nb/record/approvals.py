"""Requests for approval, and the signed answers to them.

A request is canonical JSON; its digest covers runbook, notebook, package, parameters, environment, plan,
materials, requester, nonce and expiry. An answer is a statement about that digest, signed with
``ssh-keygen -Y sign -n gitops-nb/approval@v1``: a namespace of its own, so that no commit signature passes
for one. Answers lie as ``approvals/*.json`` in the run directory; carrying them there needs no trust.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gitops_nb.catalog.trust import LIVE_REALM, Trust
from gitops_nb.model import Approval, Json, canonical, digest, format_time, parse_time, to_json
from gitops_nb.ports import Processes
from gitops_nb.record.dsse import refuse_twice
from gitops_nb.record.files import create_file, own_folder, read_regular
from gitops_nb.record.fold import RunState
from gitops_nb.record.identity import identity_problem
from gitops_nb.record.runs import APPROVALS as FOLDER
from gitops_nb.record.signatures import check_signature, sign
from gitops_nb.redaction import refuse_secret

PURPOSE = "approval@v1"
GITHUB = "github:"
"""How the key of an approval begins that is a review on GitHub, and no signature."""
REQUEST_PURPOSE = "request@v1"
VERSION = 2
"""Of requests: what an older version asked for is asked for again."""
_MAX_BYTES = 64 * 1024
_FIELDS = {"v", "run", "subject", "answer", "person", "at", "expires", "reason"}


@dataclass(frozen=True, slots=True)
class Answered:
    """One file below approvals/: what it says if it is well signed, else what is wrong with it."""

    file: str
    approval: Approval | None
    problem: str = ""


def new_request(
    *,
    run: str,
    runbook: str,
    mode: str,
    notebook_digest: str,
    package: str,
    code: Json,
    parameters: Json,
    environment: str,
    targets: Json,
    register: Json,
    plan_digest: str,
    materials: Json,
    requester: Json,
    created: datetime,
    expires: datetime,
    policy: Json = None,
    ci: Json = None,
    break_glass: Json = None,
) -> tuple[Json, str]:
    """A request as JSON, and the digest that an approver signs.

    Args:
        run: Id of the run.
        runbook: Its runbook.
        mode: sandbox or live.
        notebook_digest: Of the code in its notebook.
        package: Version of this package.
        code: SHA-256 of the bytes that run: ``package`` and ``slice``.
        parameters: Of the run.
        environment: Where the change lands.
        targets: Systems that could be written to: address, and UID where it is known.
        register: Where it is kept what became of the request (see ``session.registers``).
        plan_digest: Of the plan.
        materials: What the plan was computed from.
        requester: Who asks.
        created: When.
        expires: From when on it is void.
        policy: Where the rules were read: origin, branch, commit.
        ci: The CI run that asks.
        break_glass: Why there is no approval, and until when that is reviewed.
    """
    request = to_json(
        {
            "v": VERSION,
            "run": run,
            "runbook": runbook,
            "mode": mode,
            "notebook_digest": notebook_digest,
            "package": package,
            "code": code,
            "parameters": parameters,
            "environment": environment,
            "targets": targets,
            "register": register,
            "plan_digest": plan_digest,
            "materials": materials,
            "requester": requester,
            "created": created,
            "expires": expires,
            "policy": policy or {},
            "ci": ci or {},
            "break_glass": break_glass or {},
            "nonce": secrets.token_hex(16),
        }
    )
    return request, digest(request)


def sign_answer(directory: Path, **answer: Any) -> Path:
    """Signs an answer (see ``signed_answer``) and puts it into the run directory.

    Raises:
        UsageError: The key cannot sign.
        RecordError: The file cannot be written.
    """
    content = canonical(signed_answer(**answer))
    return keep_answer(directory, answer["answer"], answer["person"], content)


def keep_answer(directory: Path, kind: str, person: str, content: bytes) -> Path:
    """Puts a signed answer into the run directory.

    Raises:
        RecordError: The file cannot be written.
    """
    folder = directory / FOLDER
    own_folder(folder)
    path = folder / f"{kind}-{person}-{secrets.token_hex(4)}.json"
    create_file(path, content)
    return path


def signed_answer(
    *,
    processes: Processes,
    key: Path,
    run: str,
    subject: str,
    answer: str,
    person: str,
    at: datetime,
    expires: datetime,
    reason: str = "",
    realm: str = LIVE_REALM,
) -> Mapping[str, str]:
    """An answer as ``statement`` and ``signature``, signed in the realm of the trust that the key is in.

    Raises:
        UsageError: The key cannot sign, or the reason holds a secret.
    """
    refuse_secret("reason", reason)
    statement = canonical(
        {
            "v": 1,
            "run": run,
            "subject": subject,
            "answer": answer,
            "person": person,
            "at": format_time(at),
            "expires": format_time(expires),
            "reason": reason,
        }
    )
    signature = sign(statement, PURPOSE, key=key, processes=processes, realm=realm)
    return {"statement": statement.decode(), "signature": signature}


IdentityCheck = Callable[[Mapping[str, Json], Mapping[str, Json]], str]
"""Whether CI's identity (first) proves who asked for a request (second), asked of its issuer or host; "" when it does."""


def request_problem(
    state: RunState,
    *,
    trust: Trust,
    processes: Processes,
    check_identity: IdentityCheck = lambda *_: "nobody asked who signed CI's identity",
) -> str:
    """What is wrong with who asked: "" when the requester's own key signed the request, or CI's identity is bound to it."""
    request = state.request
    if request.get("v") != VERSION:
        return "the request is of another version of this package"
    requester = request["requester"]
    match requester.get("proof", ""):
        case "ci":
            identity = state.request_identity
            return identity_problem(identity, request, state.request_digest) or check_identity(
                identity, request
            )
        case "key":
            created = parse_time(request["created"])
            person = str(requester["name"])
            signed = check_signature(
                canonical(request),
                state.request_signature,
                person,
                REQUEST_PURPOSE,
                trust=trust,
                moments=(created,),
                processes=processes,
            )
            return "" if signed else f"no valid key of {person} signed the request"
    return "nothing proves who asked"


REVIEW_WITHIN = timedelta(hours=24)
"""How soon somebody else has to review what was done with broken glass."""


def review_due(request: Mapping[str, Json]) -> datetime:
    """Until when broken glass has to be reviewed: when the request says, and no later than a day after it was made."""
    latest = parse_time(str(request["created"])) + REVIEW_WITHIN
    return min(parse_time(str(request["break_glass"]["review_due"])), latest)


def askers(request: Mapping[str, Json]) -> tuple[str, ...]:
    """Everybody with a part in asking: the requester, and who started the CI run, first and now."""
    ci = request.get("ci") or {}
    names = (request["requester"]["name"], ci.get("actor"), ci.get("triggering_actor"))
    return tuple(dict.fromkeys(str(name) for name in names if name))


def read_answers(
    directory: Path,
    *,
    processes: Processes,
    trust: Trust,
    now: datetime | None = None,
) -> tuple[Answered, ...]:
    """Every answer of a run with its signature checked; order of the file names.

    A key has to count when the answer was given; with ``now`` also at that moment.
    """
    folder = directory / FOLDER
    if not folder.is_dir():
        return ()
    return tuple(
        _read_answer(path, processes, trust, now) for path in sorted(folder.glob("*.json"))
    )


def _read_answer(path: Path, processes: Processes, trust: Trust, now: datetime | None) -> Answered:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return Answered(path.name, None, "it is too large")
        outer = json.loads(read_regular(path), object_pairs_hook=refuse_twice)
    except (OSError, ValueError, RecursionError) as error:
        return Answered(path.name, None, f"it cannot be read ({type(error).__name__})")
    return check_answer(path.name, outer, processes=processes, trust=trust, now=now)


def check_answer(
    file: str,
    outer: Json,
    *,
    processes: Processes,
    trust: Trust,
    now: datetime | None,
) -> Answered:
    """An answer from its ``statement`` and ``signature``; see ``read_answers``."""
    try:
        statement, signature = outer["statement"], outer["signature"]
        inner = json.loads(statement, object_pairs_hook=refuse_twice)
        if set(inner) != _FIELDS or inner["v"] != 1 or canonical(inner) != statement.encode():
            return Answered(file, None, "it is not an answer of this version")
        times = parse_time(inner["at"]), parse_time(inner["expires"])
        person = str(inner["person"])
        if inner["answer"] not in ("approve", "reject", "withdraw", "review"):
            return Answered(file, None, f"its answer is {inner['answer']!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Answered(file, None, f"it cannot be read ({type(error).__name__})")
    fingerprint = check_signature(
        statement.encode(),
        signature,
        person,
        PURPOSE,
        trust=trust,
        moments=(times[0],) if now is None else (times[0], now),
        processes=processes,
    )
    if fingerprint is None:
        return Answered(file, None, f"no valid key of {person} in trust.yaml signed it")
    approval = Approval(
        run=str(inner["run"]),
        subject=str(inner["subject"]),
        answer=inner["answer"],
        person=person,
        key=fingerprint,
        at=times[0],
        expires=times[1],
        reason=str(inner["reason"]),
    )
    return Answered(file, approval)
