"""Signed envelopes: DSSE v1 with Ed25519, canonical JSON on disk.

Source: github.com/secure-systems-lab/dsse, protocol.md and envelope.md. An envelope of ours is
``{"payload": base64, "payloadType": text, "signatures": [{"keyid": "SHA256:…", "sig": base64}]}`` as
canonical JSON; a reader that finds it encoded otherwise refuses it, so that one envelope has one form of bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gitops_nb.model import Json, read_exact, write_exact

IN_TOTO = "application/vnd.in-toto+json"


class MalformedError(ValueError):
    """Bytes that are no envelope, statement or key of the kind that is due."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One signed payload; ``signature`` was made by the key that ``keyid`` names, or claims to be."""

    payload: bytes
    payload_type: str
    keyid: str
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of type and payload.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, payload_type: str, *, key: Any, keyid: str) -> bytes:
    """The envelope's bytes. ``key`` is an Ed25519PrivateKey."""
    signature = key.sign(pae(payload_type, payload))
    return _bytes_of(Envelope(payload, payload_type, keyid, signature))


def parse(content: bytes) -> Envelope:
    """Reads an envelope without checking its signature.

    Raises:
        MalformedError: It is not exactly an envelope of ours: other fields, other encoding, a name twice.
    """
    try:
        value = read_exact(content.decode())
        (signature,) = value["signatures"]
        envelope = Envelope(
            payload=base64.b64decode(value["payload"], validate=True),
            payload_type=str(value["payloadType"]),
            keyid=str(signature["keyid"]),
            signature=base64.b64decode(signature["sig"], validate=True),
        )
    except MalformedError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        parse_canonical(content)  # may say more
        raise MalformedError("it is not an envelope with one signature") from error
    # What is signed can be written in one way only.
    if _bytes_of(envelope) != content:
        parse_canonical(content)
        raise MalformedError("it holds more than an envelope, or base64 of another form")
    return envelope


def _bytes_of(envelope: Envelope) -> bytes:
    """Canonical JSON of an envelope; put together by hand, because writing a long text as JSON takes its time."""
    return b'{"payload":"%b","payloadType":%b,"signatures":[{"keyid":%b,"sig":"%b"}]}' % (
        base64.b64encode(envelope.payload),
        write_exact(envelope.payload_type).encode(),
        write_exact(envelope.keyid).encode(),
        base64.b64encode(envelope.signature),
    )


def is_signed_by(envelope: Envelope, public: bytes) -> bool:
    """Whether the raw 32-byte Ed25519 key ``public`` made the signature."""
    from cryptography.exceptions import InvalidSignature

    try:
        _key_of(public).verify(envelope.signature, pae(envelope.payload_type, envelope.payload))
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=64)
def _key_of(public: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public)


def parse_canonical(content: bytes) -> Any:
    """Reads canonical JSON that holds no name twice.

    Raises:
        MalformedError: It is JSON of another form, or none.
    """
    try:
        value = read_exact(content.decode())
        # What is read needs no conversion: `model.canonical` would take as long as the signature. A name that stands
        # twice is not written twice, so that the two differ.
        is_canonical = write_exact(value).encode() == content
        if not is_canonical:
            json.loads(content, object_pairs_hook=refuse_twice)  # says what is wrong, where it can
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"it is not JSON as due ({type(error).__name__})") from error
    if not is_canonical:
        raise MalformedError("it is not canonical JSON")
    return value


def refuse_twice(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """For ``json.loads``: a name that stands twice could be read differently by another parser."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedError("a name stands in it twice")
    return value


def raw_ed25519(public_key: str) -> bytes:
    """The 32 key bytes of ``ssh-ed25519 BASE64``.

    Raises:
        MalformedError: It is no such key.
    """
    kind, _, rest = public_key.partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except (ValueError, binascii.Error) as error:
        raise MalformedError("not an SSH public key") from error
    # Two length-prefixed texts: the kind, then 32 bytes.
    due = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 "
    if kind != "ssh-ed25519" or not blob.startswith(due) or len(blob) != len(due) + 32:
        raise MalformedError("not an ssh-ed25519 key")
    return blob[len(due) :]


def fingerprint(public_key: str) -> str:
    """``SHA256:`` and the base64 digest of an SSH public key, as ``ssh-keygen -l`` prints it."""
    try:
        blob = base64.b64decode(public_key.split(" ")[1], validate=True)
    except (IndexError, ValueError, binascii.Error) as error:
        raise MalformedError("not an SSH public key") from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
