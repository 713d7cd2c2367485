"""Requests for approval, and the signed answers to them.

A request is canonical JSON; its digest covers runbook, notebook, package, parameters, environment, plan,
materials, requester, nonce and expiry. An answer is a statement about that digest, signed with
``ssh-keygen -Y sign -n gitops-nb/approval@v1``: a namespace of its own, so that no commit signature passes
for one. Answers lie as ``approvals/*.json`` in the run directory; carrying them there needs no trust.
"""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gitops_nb.catalog.trust import PersonKey, TrustedPerson
from gitops_nb.errors import RecordError, UnavailableError, UsageError
from gitops_nb.model import Approval, Json, canonical, digest, format_time, parse_time, to_json
from gitops_nb.ports import Processes
from gitops_nb.record.dsse import refuse_twice
from gitops_nb.record.files import create_file
from gitops_nb.record.runs import APPROVALS as FOLDER

NAMESPACE = "gitops-nb/approval@v1"
GITHUB = "github:"
"""How the key of an approval begins that is a review on GitHub, and no signature."""
REQUEST_NAMESPACE = "gitops-nb/request@v1"
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
    notebook_digest: str,
    package: str,
    parameters: Json,
    environment: str,
    plan_digest: str,
    materials: Json,
    requester: Json,
    created: datetime,
    expires: datetime,
    policy: Json = None,
    ci: Json = None,
    break_glass: Json = None,
) -> tuple[Json, str]:
    """A request as JSON, and the digest that an approver signs."""
    request = to_json(
        {
            "v": 1,
            "run": run,
            "runbook": runbook,
            "notebook_digest": notebook_digest,
            "package": package,
            "parameters": parameters,
            "environment": environment,
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
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{answer['answer']}-{answer['person']}-{secrets.token_hex(4)}.json"
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
) -> Mapping[str, str]:
    """An answer as ``statement`` and ``signature``.

    Raises:
        UsageError: The key cannot sign.
    """
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
    signature = sign(statement, NAMESPACE, key=key, processes=processes)
    return {"statement": statement.decode(), "signature": signature}


def sign(message: bytes, namespace: str, *, key: Path, processes: Processes) -> str:
    """An SSH signature in a namespace.

    Raises:
        UsageError: The key cannot sign.
    """
    done = processes.run(
        ("ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(key)),
        timeout_s=120,
        stdin=message,
    )
    if done.exit_code != 0:
        said = done.stderr.strip().splitlines()
        raise UsageError(
            f"{key} cannot sign: {said[-1] if said else 'no reason given'}",
            hint="Name an SSH key with --key; its agent has to be unlocked.",
        )
    return done.stdout


def request_problem(
    request: Json, signature: str, *, persons: Sequence[TrustedPerson], processes: Processes
) -> str:
    """What is wrong with who asked: "" when the requester's own key signed the request, or CI asked."""
    requester = request["requester"]
    match requester.get("proof", ""):
        case "ci":
            return ""
        case "key":
            known = next((p for p in persons if p.person == requester["name"]), None)
            keys = keys_at(parse_time(request["created"]), known)
            person = str(requester["name"])
            signed = check_signature(
                canonical(request),
                signature,
                person,
                REQUEST_NAMESPACE,
                keys=keys,
                processes=processes,
            )
            return "" if signed else f"no valid key of {person} signed the request"
    return "nothing proves who asked"


def public_key(key: Path, processes: Processes) -> str:
    """The public half of a key file: "TYPE BASE64".

    Raises:
        UsageError: The file is not an SSH key.
    """
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    if public.is_file():
        text = public.read_text(encoding="utf-8")
    else:
        done = processes.run(("ssh-keygen", "-y", "-P", "", "-f", str(key)), timeout_s=20)
        if done.exit_code != 0:
            raise UsageError(f"{key} is not a readable SSH key", hint="Name one with --key.")
        text = done.stdout
    return " ".join(text.split()[:2])


def person_of(key: str, persons: Iterable[TrustedPerson]) -> str | None:
    """Whose key this is, or None."""
    found = key_of(key, persons)
    return found[0].person if found else None


def key_of(key: str, persons: Iterable[TrustedPerson]) -> tuple[TrustedPerson, PersonKey] | None:
    """The person whose key this is, with the key's entry, or None."""
    body = key.split(" ")[1] if " " in key else key
    return next(((p, k) for p in persons for k in p.keys if k.key.split(" ")[1] == body), None)


def read_answers(
    directory: Path,
    *,
    processes: Processes,
    persons: Sequence[TrustedPerson],
    now: datetime | None = None,
) -> tuple[Answered, ...]:
    """Every answer of a run with its signature checked; order of the file names.

    A key has to count when the answer was given; with ``now`` also at that moment.
    """
    folder = directory / FOLDER
    if not folder.is_dir():
        return ()
    return tuple(
        _read_answer(path, processes, persons, now) for path in sorted(folder.glob("*.json"))
    )


def _read_answer(
    path: Path, processes: Processes, persons: Sequence[TrustedPerson], now: datetime | None
) -> Answered:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return Answered(path.name, None, "it is too large")
        outer = json.loads(path.read_bytes(), object_pairs_hook=refuse_twice)
    except (OSError, ValueError, RecursionError) as error:
        return Answered(path.name, None, f"it cannot be read ({type(error).__name__})")
    return check_answer(path.name, outer, processes=processes, persons=persons, now=now)


def check_answer(
    file: str,
    outer: Json,
    *,
    processes: Processes,
    persons: Sequence[TrustedPerson],
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
        if inner["answer"] not in ("approve", "reject", "review"):
            return Answered(file, None, f"its answer is {inner['answer']!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Answered(file, None, f"it cannot be read ({type(error).__name__})")
    known = next((p for p in persons if p.person == person), None)
    keys = tuple(k for k in keys_at(times[0], known) if now is None or k in keys_at(now, known))
    fingerprint = check_signature(
        statement.encode(), signature, person, NAMESPACE, keys=keys, processes=processes
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


def keys_at(moment: datetime, person: TrustedPerson | None) -> tuple[str, ...]:
    """A person's keys that count at a moment."""
    return tuple(k.key for k in person.keys if k.counts_at(moment)) if person else ()


def check_signature(
    message: bytes,
    signature: str,
    person: str,
    namespace: str,
    *,
    keys: Sequence[str],
    processes: Processes,
) -> str | None:
    """Fingerprint of the key out of ``keys`` that signed in this namespace, or None."""
    if not keys or not isinstance(signature, str):
        return None
    with tempfile.TemporaryDirectory(prefix="gitops-nb-") as folder:
        allowed = Path(folder, "allowed_signers")
        allowed.write_text(
            "".join(
                f'{person} namespaces="{namespace}" {" ".join(key.split()[:2])}\n' for key in keys
            ),
            encoding="utf-8",
        )
        file = Path(folder, "signature")
        file.write_text(signature, encoding="utf-8")
        try:
            done = processes.run(
                (
                    "ssh-keygen",
                    "-Y",
                    "verify",
                    "-f",
                    str(allowed),
                    "-I",
                    person,
                    "-n",
                    namespace,
                    "-s",
                    str(file),
                ),
                timeout_s=20,
                stdin=message,
            )
        except UnavailableError as error:
            raise RecordError(
                "ssh-keygen is missing", hint="Install the OpenSSH client."
            ) from error
    if done.exit_code != 0:
        return None
    match = re.search(r"SHA256:[A-Za-z0-9+/]+", done.stdout)
    return match[0] if match else "unknown key"
