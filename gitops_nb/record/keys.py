"""The runner's key: made at first use, readable by its owner only, never inside a record."""

from __future__ import annotations

import ctypes
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitops_nb.errors import ConfigurationError, RecordError
from gitops_nb.record import dsse

VARIABLE = "GITOPS_NB_RUNNER_KEY"
"""In CI: the key itself, or the path of its file; the workspace's own is used where it is not set."""
_BEGIN = "-----BEGIN"
HELD_HERE = "file of this user"
"""Whoever runs notebooks as this user can read the key, and sign with it."""
_MAKE = "Make one with `ssh-keygen -t ed25519 -N '' -f FILE`."
_DUMPABLE = 4
_ENV_START = 47
"""Place of env_start behind the command's name in /proc/PID/stat (field 50 of proc(5))."""
_given = bytearray()
"""A key that came in the environment; ``hide_given_key`` put it here."""


@dataclass(frozen=True, slots=True)
class RunnerSigner:
    """Signs ledger records; implements ``ledger.Signer``."""

    public: str
    _private: Any = field(repr=False)

    @property
    def keyid(self) -> str:
        """Fingerprint of the public key."""
        return dsse.fingerprint(self.public)

    def seal(self, payload: bytes, payload_type: str = dsse.IN_TOTO) -> bytes:
        """The envelope around a statement."""
        return dsse.seal(payload, payload_type, key=self._private, keyid=self.keyid)

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A signature over the pre-authentication encoding of type and payload."""
        signature: bytes = self._private.sign(dsse.pae(payload_type, payload))
        return signature


def hide_given_key() -> None:
    """Takes a key that came in the environment out of it, before anything else is started.

    What the process began with can be read from /proc by the same user, notebooks included: it is overwritten there,
    and other processes of that user lose the right to look into this one.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.startswith(_BEGIN):
        return
    _given[:] = text.encode()
    del os.environ[VARIABLE]
    begins = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    content = Path("/proc/self/environ").read_bytes()
    where = content.find(f"{VARIABLE}={_BEGIN}".encode())
    if where >= 0:
        end = content.find(b"\0", where)
        ctypes.memset(int(begins[_ENV_START]) + where, 0, end - where)
    ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)


def give_key(text: str) -> None:
    """Takes a key that whoever started this process held in memory; "" for none."""
    if text:
        _given[:] = text.encode()


def held_key() -> str:
    """The key that this process holds in memory, for a process of its own that signs; "" when it has none."""
    return bytes(_given).decode()


def taken_key() -> str:
    """The same, and this process forgets it: from then on another one signs."""
    hide_given_key()
    text = held_key()
    forget_given_key()
    return text


def forget_given_key() -> None:
    """Wipes it; for a process that was forked and has nothing to sign."""
    _given[:] = bytes(len(_given))
    _given.clear()


def custody() -> str:
    """Where the runner's key is held: "memory" or ``HELD_HERE``."""
    if _given or os.environ.get(VARIABLE, "").startswith(_BEGIN):
        return "memory"
    return HELD_HERE


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
    given = bytes(_given) or os.environ.get(VARIABLE, "").encode()
    if given.startswith(_BEGIN.encode()):
        # A secret's last line end is easily lost on the way.
        return _parse(given.strip() + b"\n", VARIABLE)
    path = runner_key_path(root)
    if not _is_there(path):
        if os.environ.get(VARIABLE):
            raise ConfigurationError(f"{VARIABLE} names {path}, and nothing is there")
        _make(path)
    return _read(path)


def note_secret(root: Path) -> bytes:
    """A secret of 32 bytes that only who has this runner's key can make; b"" where the key is not there or cannot be read."""
    given = bytes(_given) or os.environ.get(VARIABLE, "").encode()
    if not given.startswith(_BEGIN.encode()):
        try:
            given = runner_key_path(root).read_bytes()
        except OSError:
            return b""
    return hashlib.sha256(b"gitops-nb/notes\0" + given.strip()).digest()


def made_secret(root: Path) -> bytes:
    """The same; the workspace's own key is made when it is not there yet.

    Raises:
        ConfigurationError: See ``open_runner_key``.
        RecordError: It cannot be made.
    """
    found = note_secret(root)
    if not found:
        open_runner_key(root)
        found = note_secret(root)
    return found


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    is_others = isinstance(error, PermissionError)
    hint = (
        f"Run as the user whose key it is, or name your own in {VARIABLE}." if is_others else _MAKE
    )
    return ConfigurationError(f"cannot read {path}: {error.strerror}", hint=hint)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> RunnerSigner:
    try:
        mode, content = path.stat().st_mode & 0o077, path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    signer = _parse(content, str(path))
    if mode:
        raise ConfigurationError(f"others can read {path}", hint=f"Run `chmod 600 {path}`.")
    return signer


def _parse(content: bytes, where: str) -> RunnerSigner:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_ssh_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{where} is not a readable SSH key without a passphrase", hint=_MAKE
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(f"{where} is not an Ed25519 key", hint=_MAKE)
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
