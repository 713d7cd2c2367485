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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gitops_nb.catalog.policies import Approver
from gitops_nb.errors import RecordError, UnavailableError, UsageError
from gitops_nb.model import Approval, Json, canonical, digest, format_time, parse_time, to_json
from gitops_nb.ports import Processes
from gitops_nb.record.files import create_file
from gitops_nb.record.runs import APPROVALS as FOLDER

NAMESPACE = "gitops-nb/approval@v1"
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
            "nonce": secrets.token_hex(16),
        }
    )
    return request, digest(request)


def sign_answer(
    directory: Path,
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
) -> Path:
    """Signs an answer and puts it into the run directory.

    Raises:
        UsageError: The key cannot sign.
        RecordError: The file cannot be written.
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
    done = processes.run(
        ("ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key)),
        timeout_s=120,
        stdin=statement,
    )
    if done.exit_code != 0:
        raise UsageError(
            f"{key} cannot sign: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}",
            hint="Name an SSH key with --key; its agent has to be unlocked.",
        )
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{answer}-{person}-{secrets.token_hex(4)}.json"
    create_file(path, canonical({"statement": statement.decode(), "signature": done.stdout}))
    return path


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


def person_of(key: str, approvers: Iterable[Approver]) -> str | None:
    """Whose key this is, or None."""
    body = key.split(" ")[1] if " " in key else key
    return next((a.person for a in approvers if any(k.split(" ")[1] == body for k in a.keys)), None)


def read_answers(
    directory: Path, *, processes: Processes, approvers: Sequence[Approver]
) -> tuple[Answered, ...]:
    """Every answer of a run with its signature checked; order of the file names."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return ()
    return tuple(_read_answer(path, processes, approvers) for path in sorted(folder.glob("*.json")))


def _read_answer(path: Path, processes: Processes, approvers: Sequence[Approver]) -> Answered:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return Answered(path.name, None, "it is too large")
        outer = json.loads(path.read_bytes(), object_pairs_hook=_no_duplicates)
        statement, signature = outer["statement"], outer["signature"]
        inner = json.loads(statement, object_pairs_hook=_no_duplicates)
        if set(inner) != _FIELDS or inner["v"] != 1 or canonical(inner) != statement.encode():
            return Answered(path.name, None, "it is not an answer of this version")
        times = parse_time(inner["at"]), parse_time(inner["expires"])
        person = str(inner["person"])
        if inner["answer"] not in ("approve", "reject"):
            return Answered(path.name, None, f"its answer is {inner['answer']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Answered(path.name, None, f"it cannot be read ({type(error).__name__})")
    fingerprint = _check_signature(statement.encode(), signature, person, processes, approvers)
    if fingerprint is None:
        return Answered(path.name, None, f"no key of {person} in the policy signed it")
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
    return Answered(path.name, approval)


def _check_signature(
    message: bytes, signature: str, person: str, processes: Processes, approvers: Sequence[Approver]
) -> str | None:
    """Fingerprint of the person's key that signed, or None."""
    keys = next((a.keys for a in approvers if a.person == person), ())
    if not keys or not isinstance(signature, str):
        return None
    with tempfile.TemporaryDirectory(prefix="gitops-nb-") as folder:
        allowed = Path(folder, "allowed_signers")
        allowed.write_text(
            "".join(
                f'{person} namespaces="{NAMESPACE}" {" ".join(key.split()[:2])}\n' for key in keys
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
                    NAMESPACE,
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


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value
