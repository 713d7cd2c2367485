"""SSH signatures of people: made by ssh-keygen or an agent, checked against the keys of trust.yaml.

What a key may sign is decided twice: here, by the times in trust.yaml and by the key that signed, and by OpenSSH, which gets
the same times as ``valid-after`` and ``valid-before`` and the key revocation list. Nothing of that lies in a folder meanwhile.

Source: ssh-keygen(1), ALLOWED SIGNERS and KEY REVOCATION LISTS.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb.catalog.trust import LIVE_REALM, PersonKey, Trust, TrustedPerson
from gitops_nb.errors import RecordError, UnavailableError, UsageError
from gitops_nb.ports import Processes
from gitops_nb.record.sshsig import fingerprint, signing_key

_ALLOWED, _SIGNATURE, _REVOKED = "<allowed_signers>", "<signature>", "<revoked>"
"""Stand for files among ssh-keygen's arguments; no person is called so."""


def sign(
    message: bytes, purpose: str, *, key: Path, processes: Processes, realm: str = LIVE_REALM
) -> str:
    """An SSH signature for a purpose ("approval@v1") in the namespace ``REALM/PURPOSE``.

    Raises:
        UsageError: The key cannot sign.
    """
    done = processes.run(
        ("ssh-keygen", "-Y", "sign", "-q", "-n", f"{realm}/{purpose}", "-f", str(key)),
        timeout_s=120,
        stdin=message,
    )
    if done.exit_code != 0:
        said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise UsageError(
            f"{key} cannot sign: {said[:500] or 'no reason given'}",
            hint="Name an SSH key with --key; its agent has to be unlocked.",
        )
    return done.stdout


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


def check_signature(
    message: bytes,
    signature: str,
    person: str,
    purpose: str,
    *,
    trust: Trust,
    moments: Sequence[datetime],
    processes: Processes,
) -> str | None:
    """Fingerprint of the person's key that signed for this purpose, or None.

    Args:
        message: What was signed.
        signature: As ssh-keygen writes it.
        person: Whose key it has to be, by the name in trust.yaml.
        purpose: What the signature has to be for.
        trust: Keys, their times, and the revocation list; its realm begins the namespace.
        moments: When the key has to count; the first is when it signed.
        processes: Starts ssh-keygen.
    """
    namespace = f"{trust.realm}/{purpose}"
    known = next((one for one in trust.persons if one.person == person), None)
    keys = [
        key
        for key in (known.keys if known else ())
        if all(key.counts_at(moment) for moment in moments)
    ]
    if not keys or not isinstance(signature, str):
        return None
    # Whose key it was is decided here, with the very bytes of trust.yaml; ssh-keygen can only say no.
    signer = signing_key(message, signature, namespace)
    if signer is None or signer not in {_blob(key) for key in keys}:
        return None
    files = {
        _ALLOWED: "".join(_line(person, namespace, key) for key in keys).encode(),
        _SIGNATURE: signature.encode(),
    }
    revoked: tuple[str, ...] = ()
    if trust.revoked:
        files[_REVOKED] = base64.b64decode(trust.revoked)
        revoked = ("-r", _REVOKED)
    try:
        done = processes.run(
            (
                "ssh-keygen", "-Y", "verify", "-f", _ALLOWED, "-I", person, "-n", namespace,
                "-s", _SIGNATURE, "-O", f"verify-time={_time(moments[0])}", *revoked,
            ),
            timeout_s=20,
            stdin=message,
            environment={"TZ": "UTC"},
            files=files,
        )  # fmt: skip
    except UnavailableError as error:
        raise RecordError("ssh-keygen is missing", hint="Install the OpenSSH client.") from error
    return fingerprint(signer) if done.exit_code == 0 else None


def _blob(key: PersonKey) -> bytes:
    return base64.b64decode(key.key.split()[1])


def _line(person: str, namespace: str, key: PersonKey) -> str:
    """A key as a line of an allowed_signers file; its times are UTC because the reader's zone is."""
    options = [f'namespaces="{namespace}"']
    if key.valid_from is not None:
        options.append(f'valid-after="{_time(key.valid_from)}"')
    ends = [moment for moment in (key.valid_until, key.revoked_since) if moment is not None]
    if ends:
        options.append(f'valid-before="{_time(min(ends))}"')
    return f"{person} {','.join(options)} {' '.join(key.key.split()[:2])}\n"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%d%H%M%S}"
