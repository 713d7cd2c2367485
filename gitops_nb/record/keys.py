"""The runner's key: made at first use, readable by its owner only, never inside a record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitops_nb.errors import ConfigurationError, RecordError
from gitops_nb.record import dsse

VARIABLE = "GITOPS_NB_RUNNER_KEY"
"""In CI: path of the key file; the workspace's own is used where it is not set."""


@dataclass(frozen=True, slots=True)
class RunnerSigner:
    """Signs ledger records; implements ``ledger.Signer``."""

    public: str
    _private: Any = field(repr=False)

    @property
    def keyid(self) -> str:
        """Fingerprint of the public key."""
        return dsse.fingerprint(self.public)

    def seal(self, payload: bytes) -> bytes:
        """The envelope around a statement."""
        return dsse.seal(payload, dsse.IN_TOTO, key=self._private, keyid=self.keyid)


def runner_key_path(root: Path) -> Path:
    """Where the runner's private key is: GITOPS_NB_RUNNER_KEY, or ``.gitops-nb/keys/runner`` in the workspace."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else root / ".gitops-nb" / "keys" / "runner"


def open_runner_key(root: Path) -> RunnerSigner:
    """Reads the runner's key; the workspace's own is made when it is not there yet.

    Raises:
        ConfigurationError: The file is no Ed25519 key, or others can read it, or the named one does not exist.
        RecordError: It cannot be made.
    """
    path = runner_key_path(root)
    if not path.exists():
        if os.environ.get(VARIABLE):
            raise ConfigurationError(f"{VARIABLE} names {path}, and nothing is there")
        _make(path)
    return _read(path)


def _read(path: Path) -> RunnerSigner:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        mode = path.stat().st_mode & 0o077
        private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is not a readable SSH key without a passphrase",
            hint="Make one with `ssh-keygen -t ed25519 -N '' -f FILE`.",
        ) from error
    if mode:
        raise ConfigurationError(f"others can read {path}", hint=f"Run `chmod 600 {path}`.")
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is not an Ed25519 key",
            hint="Make one with `ssh-keygen -t ed25519 -N '' -f FILE`.",
        )
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return RunnerSigner(public.decode(), private)


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process was first: its key is the runner's
        finally:
            temporary.unlink()
    except OSError as error:
        raise RecordError(
            f"cannot write {path}: {error.strerror}", hint="Fix permissions of .gitops-nb."
        ) from error
