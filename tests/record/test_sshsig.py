"""Whose key made a signature is decided by this process, with bytes that nobody else can write."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tempfile
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.trust import PersonKey, Trust, TrustedPerson
from gitops_nb.record.signatures import check_signature, public_key, sign
from gitops_nb.record.sshsig import signing_key

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PURPOSE = "approval@v1"
NAMESPACE = f"gitops-nb/{PURPOSE}"


def make_key(folder, *options: str):
    """A new key file."""
    path = folder / "-".join(("key", *options[1:]))
    asked = ("ssh-keygen", "-q", *options, "-N", "", "-f", str(path))
    subprocess.run(asked, check=True)
    return path


def trust_in(key: str, revoked: str = "") -> Trust:
    """Tomas, with one key."""
    tomas = TrustedPerson(person="tomas", keys=(PersonKey(key=key),))
    return Trust(persons=(tomas,), revoked=revoked)


def check(message: bytes, signature: str, trust: Trust):
    """The fingerprint of tomas's key, when it signed."""
    return check_signature(
        message, signature, "tomas", PURPOSE, trust=trust, moments=(NOW,), processes=LocalProcesses()
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [("-t", "ed25519"), ("-t", "rsa", "-b", "2048")]
    + [("-t", "ecdsa", "-b", size) for size in ("256", "384", "521")],
)
def test_keys_of_every_kind_sign_what_they_sign(tmp_path, options):
    """The person's signature counts; for another message it does not."""
    path = make_key(tmp_path, *options)
    trust = trust_in(public_key(path, LocalProcesses()))
    signature = sign(b"yes", PURPOSE, key=path, processes=LocalProcesses())
    shown = subprocess.run(("ssh-keygen", "-lf", f"{path}.pub"), capture_output=True, check=True)
    assert check(b"yes", signature, trust) == shown.stdout.decode().split()[1]
    assert check(b"no", signature, trust) is None


def on_hardware(message: bytes, flags: bytes) -> tuple[str, str]:
    """Key and signature as a key on hardware would make them."""
    private = Ed25519PrivateKey.generate()

    def texts(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def lines(content: bytes) -> str:
        return base64.b64encode(content).decode()

    kind = b"sk-ssh-ed25519@openssh.com"
    key = texts(kind, private.public_key().public_bytes_raw(), b"ssh:")
    inner = b"SSHSIG" + texts(NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(message).digest())
    counter = (7).to_bytes(4, "big")
    signed = hashlib.sha256(b"ssh:").digest() + flags + counter + hashlib.sha256(inner).digest()
    made = texts(kind, private.sign(signed)) + flags + counter
    whole = (
        b"SSHSIG" + (1).to_bytes(4, "big") + texts(key, NAMESPACE.encode(), b"", b"sha512", made)
    )
    armoured = f"-----BEGIN SSH SIGNATURE-----\n{lines(whole)}\n-----END SSH SIGNATURE-----\n"
    return f"{kind.decode()} {lines(key)}", armoured


def test_a_key_on_hardware_counts_when_a_hand_was_on_it():
    """Flags and counter are part of what it signs."""
    key, signature = on_hardware(b"yes", b"\x01")
    assert check(b"yes", signature, trust_in(key))
    key, unseen = on_hardware(b"yes", b"\x00")
    assert check(b"yes", unseen, trust_in(key)) is None


def test_the_word_of_ssh_keygen_alone_makes_nobody_s_signature_count(tmp_path, monkeypatch):
    """What ssh-keygen was given, or is, may be somebody else's: the key has to be the person's all the same."""
    own, other = make_key(tmp_path, "-t", "ed25519"), make_key(tmp_path, "-t", "ecdsa")
    trust = trust_in(public_key(own, LocalProcesses()))
    theirs = sign(b"yes", PURPOSE, key=other, processes=LocalProcesses())
    ours = sign(b"yes", PURPOSE, key=own, processes=LocalProcesses())
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\necho 'Good signature with key SHA256:abc'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert check(b"yes", theirs, trust) is None
    assert check(b"yes", ours, trust)


def test_nothing_of_a_check_lies_in_the_folder_of_temporary_files(tmp_path, monkeypatch):
    """A folder that others may write, or that is not there, has no part in it."""
    path = make_key(tmp_path, "-t", "ed25519")
    signature = sign(b"yes", PURPOSE, key=path, processes=LocalProcesses())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert check(b"yes", signature, trust_in(public_key(path, LocalProcesses())))


def test_a_listed_key_is_revoked_for_ssh_keygen_too(tmp_path):
    """The list goes the same way as the keys."""
    path, other = make_key(tmp_path, "-t", "ed25519"), make_key(tmp_path, "-t", "ecdsa")
    signature = sign(b"yes", PURPOSE, key=path, processes=LocalProcesses())
    for listed, counts in ((path, False), (other, True)):
        krl = tmp_path / "krl"
        made = ("ssh-keygen", "-q", "-k", "-f", str(krl), f"{listed}.pub")
        subprocess.run(made, check=True)
        revoked = base64.b64encode(krl.read_bytes()).decode()
        trust = trust_in(public_key(path, LocalProcesses()), revoked)
        assert bool(check(b"yes", signature, trust)) is counts


@pytest.mark.parametrize("at", range(3))
def test_a_signature_that_is_cut_or_longer_is_none(tmp_path, at):
    """Each part has its length, and nothing follows the last."""
    path = make_key(tmp_path, "-t", "ed25519")
    first, *middle, last = sign(b"yes", PURPOSE, key=path, processes=LocalProcesses()).splitlines()
    content = base64.b64decode("".join(middle))
    other = content[:-2] + bytes((content[-2] ^ 1, content[-1]))
    changed = (content[:-1], content + b"\0", other)[at]
    text = "\n".join((first, base64.b64encode(changed).decode(), last))
    assert signing_key(b"yes", text, NAMESPACE) is None
