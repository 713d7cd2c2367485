"""SSH signatures, read and verified in this process: which key signed a message for a namespace.

Source: PROTOCOL.sshsig and PROTOCOL.u2f of OpenSSH; RFC 4253, RFC 5656, RFC 8332, RFC 8709 (keys and signatures).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA = {b"rsa-sha2-256": "SHA256", b"rsa-sha2-512": "SHA512"}
_CURVES = {b"nistp256": "SECP256R1", b"nistp384": "SECP384R1", b"nistp521": "SECP521R1"}
_CURVE_HASHES = {b"nistp256": "SHA256", b"nistp384": "SHA384", b"nistp521": "SHA512"}
_PRESENT = 0x01
"""A hand was on the key when it signed."""
_RSA_BITS = 1024


class NoSignatureError(ValueError):
    """Text that is no signature, or of a kind that is not made with a person's key."""


@dataclass(frozen=True, slots=True)
class _Signature:
    key: bytes
    namespace: bytes
    hash_name: bytes
    kind: bytes
    rest: bytes


def signing_key(message: bytes, signature: str, namespace: str) -> bytes | None:
    """The public key, as SSH writes it, that signed exactly this message for this namespace; None where none did.

    The key comes with the signature: whose it is has to be looked up.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        read = _read(signature)
        if read.namespace != namespace.encode() or read.hash_name not in _HASHES:
            return None
        hashed = _HASHES[read.hash_name](message).digest()
        _verify(read, _MAGIC + _texts(read.namespace, b"", read.hash_name, hashed))
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return None
    return read.key


def fingerprint(key: bytes) -> str:
    """A public key as OpenSSH names it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _read(text: str) -> _Signature:
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise NoSignatureError("not armoured as OpenSSH does it")
    content = _Bytes(base64.b64decode("".join(lines[1:-1]), validate=True))
    if content.take(len(_MAGIC)) != _MAGIC or content.number() != _VERSION:
        raise NoSignatureError("of another version")
    key, namespace, _, hash_name = (content.text() for _ in range(4))
    made = _Bytes(content.text())
    content.end()
    return _Signature(key, namespace, hash_name, made.text(), made.left())


def _verify(read: _Signature, signed: bytes) -> None:
    """Raises unless the key made the signature of these bytes."""
    key = _Bytes(read.key)
    kind = key.text()
    expected = tuple(_RSA) if kind == b"ssh-rsa" else (kind,)
    if read.kind not in expected:
        raise NoSignatureError("another kind of signature than of key")
    made = _Bytes(read.rest)
    signature = made.text()
    match kind:
        case b"ssh-ed25519":
            made.end()
            _verify_ed25519(key.text(), signature, signed)
        case b"sk-ssh-ed25519@openssh.com":
            public, application = key.text(), key.text()
            _verify_ed25519(public, signature, _by_hardware(made, application, signed))
        case b"ssh-rsa":
            made.end()
            _verify_rsa(key, read.kind, signature, signed)
        case b"sk-ecdsa-sha2-nistp256@openssh.com":
            curve, point, application = key.text(), key.text(), key.text()
            _verify_ecdsa(curve, point, signature, _by_hardware(made, application, signed))
        case b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521":
            made.end()
            curve, point = key.text(), key.text()
            if not kind.endswith(b"-" + curve):
                raise NoSignatureError("a key of two curves")
            _verify_ecdsa(curve, point, signature, signed)
        case _:
            raise NoSignatureError("a key of an unknown kind")
    key.end()


def _verify_ed25519(public: bytes, signature: bytes, signed: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)


def _verify_ecdsa(curve: bytes, point: bytes, signature: bytes, signed: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    if curve not in _CURVES:
        raise NoSignatureError("an unknown curve")
    public = ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, _CURVES[curve])(), point)
    both = _Bytes(signature)
    r, s = (int.from_bytes(both.text(), "big", signed=True) for _ in range(2))
    both.end()
    algorithm = getattr(hashes, _CURVE_HASHES[curve])()
    public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(algorithm))


def _verify_rsa(key: _Bytes, kind: bytes, signature: bytes, signed: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    exponent, modulus = (int.from_bytes(key.text(), "big", signed=True) for _ in range(2))
    if modulus.bit_length() < _RSA_BITS:
        raise NoSignatureError("too short a key")
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    # A signature that begins with zeros may be written without them.
    whole = signature.rjust((modulus.bit_length() + 7) // 8, b"\0")
    public.verify(whole, signed, padding.PKCS1v15(), getattr(hashes, _RSA[kind])())


def _by_hardware(made: _Bytes, application: bytes, signed: bytes) -> bytes:
    """What a key on hardware really signs; behind the signature stand its flags and how often it signed."""
    flags, counter = made.take(1), made.take(4)
    made.end()
    if not flags[0] & _PRESENT:
        raise NoSignatureError("nobody's hand was on the key")
    parts = (hashlib.sha256(application).digest(), flags, counter, hashlib.sha256(signed).digest())
    return b"".join(parts)


def _texts(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class _Bytes:
    """Bytes that are read from the front."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many."""
        found = self._content[self._at : self._at + count]
        if len(found) != count:
            raise NoSignatureError("it ends in the middle")
        self._at += count
        return found

    def number(self) -> int:
        """The next four bytes."""
        return int.from_bytes(self.take(4), "big")

    def text(self) -> bytes:
        """The next bytes, with their length before them."""
        return self.take(self.number())

    def left(self) -> bytes:
        """All that was not read."""
        return self.take(len(self._content) - self._at)

    def end(self) -> None:
        """Raises when something is left."""
        if self._at != len(self._content):
            raise NoSignatureError("something follows it")
