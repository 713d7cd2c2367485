"""Which keys an OpenSSH key revocation list names (format: PROTOCOL.krl of OpenSSH); certificates are none of ours."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"SSHKRL\n\0"
_FIXED_BYTES = 4 + 8 + 8 + 8
"""Format, version, date and flags behind the magic."""
_KEYS, _SHA1, _SHA256 = 2, 3, 5


@dataclass(frozen=True, slots=True)
class RevokedKeys:
    """Keys as a list names them: whole, or by a hash."""

    named: frozenset[bytes] = frozenset()

    def holds(self, key: str) -> bool:
        """Whether a public key (``ssh-ed25519 AAAA...``) is among them."""
        blob = base64.b64decode(key.split(" ")[1])
        sha1 = hashlib.sha1(blob, usedforsecurity=False).digest()
        return not self.named.isdisjoint((blob, sha1, hashlib.sha256(blob).digest()))


def read_krl(content: bytes) -> RevokedKeys:
    """Reads a list.

    Raises:
        ValueError: It is none, or ends in the middle.
    """
    if not content:
        return RevokedKeys()
    if not content.startswith(MAGIC):
        raise ValueError("not a key revocation list of OpenSSH")
    _, at = _text(content, len(MAGIC) + _FIXED_BYTES)
    _, at = _text(content, at)
    named: set[bytes] = set()
    while at < len(content):
        kind = content[at]
        section, at = _text(content, at + 1)
        if kind in (_KEYS, _SHA1, _SHA256):
            named |= set(_texts(section))
    return RevokedKeys(frozenset(named))


def _texts(section: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(section):
        one, at = _text(section, at)
        yield one


def _text(content: bytes, at: int) -> tuple[bytes, int]:
    """A string with its length in four bytes before it, and where it ends."""
    begin = at + 4
    end = begin + int.from_bytes(content[at:begin], "big")
    if begin > len(content) or end > len(content):
        raise ValueError("a key revocation list that ends in the middle")
    return content[begin:end], end
