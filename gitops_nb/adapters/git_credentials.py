"""Git as somebody else: with the credentials that were handed over, and with none of this person's own."""

from __future__ import annotations

import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gitops_nb.ports import GitCredentials


@dataclass(frozen=True, slots=True)
class Manner:
    """How git is called: options before its command, and variables."""

    options: tuple[str, ...]
    environment: Mapping[str, str]


@contextmanager
def acting_with(credentials: GitCredentials, url: str) -> Iterator[Manner]:
    """Puts credentials into a private folder for one call, and takes them away again.

    git is told files, never values: arguments and variables of a process can be seen by others.
    """
    with tempfile.TemporaryDirectory(prefix="gitops-nb-git-") as folder:
        # An empty helper forgets those that the person's own configuration names.
        options = ["-c", "credential.helper="]
        if credentials.password:
            store = _private(Path(folder) / "store", _line(credentials, url))
            options += ["-c", f"credential.helper=store --file={store}"]
        yield Manner(
            tuple(options),
            {
                "GIT_ASKPASS": "",
                "GIT_CONFIG_COUNT": "0",
                "GIT_SSH_COMMAND": _ssh(credentials, Path(folder)),
            },
        )


def _line(credentials: GitCredentials, url: str) -> str:
    """A line of git-credential-store: git hands it to this host alone, wherever it is redirected to."""
    parts = urllib.parse.urlsplit(url)
    user, password = (
        urllib.parse.quote(text, safe="")
        for text in (credentials.username or "git", credentials.password)
    )
    return f"{parts.scheme}://{user}:{password}@{parts.netloc.rpartition('@')[2]}\n"


def _ssh(credentials: GitCredentials, folder: Path) -> str:
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentityAgent=none"]  # fmt: skip
    if credentials.ssh_private_key:
        key = _private(folder / "key", credentials.ssh_private_key.rstrip("\n") + "\n")
        words += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    else:
        words += ["-o", "PubkeyAuthentication=no"]
    if credentials.known_hosts:
        hosts = _private(folder / "known_hosts", credentials.known_hosts)
        words += ["-o", f"UserKnownHostsFile={hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
    return " ".join(words)


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
