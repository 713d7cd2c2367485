"""Which origin a workspace has to have: pinned outside of it, so that nobody who can write there chooses whose rules count.

``gitops-nb trust origin`` writes the pin into the home of this machine's user, as the user database has it: the variable HOME does
not choose it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path

from gitops_nb.errors import RecordError
from gitops_nb.record.files import replace_file, settled

HOME = Path(pwd.getpwuid(os.geteuid()).pw_dir)
FOLDER = HOME / ".config" / "gitops-nb" / "origins"
CACHES = HOME / ".cache" / "gitops-nb" / "origins"
"""Where the pinned branches are kept: in the workspace's own repository whoever writes there chooses what Git reads."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An origin that somebody trusts for a workspace: its address and its protected branch.

    ``inside`` is the folder of the branch that has the rules; None in a pin that does not say it.
    """

    url: str
    branch: str
    inside: str | None = field(default=None, compare=False)


def pinned(root: Path) -> Pin | None:
    """The pin of a workspace; None where nobody set one."""
    try:
        value = json.loads(_path(root).read_bytes())
        inside = value.get("inside")
        return Pin(str(value["url"]), str(value["branch"]), None if inside is None else str(inside))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def pinned_roots() -> tuple[Path, ...]:
    """The workspaces of this machine's user that have a pin."""
    found: list[Path] = []
    for path in sorted(FOLDER.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.append(Path(str(json.loads(path.read_bytes())["workspace"])))
    return tuple(found)


def pin(root: Path, url: str, branch: str, inside: str | None = None) -> Path:
    """Writes the pin of a workspace; returns where.

    Raises:
        RecordError: It cannot be written.
    """
    path = _path(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = {"workspace": str(root.resolve()), "url": url, "branch": branch}
        if inside is not None:
            content["inside"] = inside
        replace_file(settled(path), (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    return path


def unpin(root: Path) -> None:
    """Forgets the pin of a workspace."""
    _path(root).unlink(missing_ok=True)


def same_place(one: str, other: str) -> bool:
    """Whether two addresses are of one repository: by https here, by ssh there, with and without ``.git``.

    >>> same_place("https://git.example/acme/x.git", "git@git.example:acme/x")
    True
    """
    return _place(one) == _place(other)


def _place(url: str) -> str:
    text = url.strip().rstrip("/").removesuffix(".git")
    scheme, found, rest = text.partition("://")
    if found and scheme in ("https", "ssh"):
        host, _, path = rest.rpartition("@")[2].partition("/")
        return f"{host.partition(':')[0].casefold()}/{path.strip('/')}"
    if not found and "@" in text.partition(":")[0]:
        host, _, path = text.rpartition("@")[2].partition(":")
        return f"{host.casefold()}/{path.strip('/')}"
    return text.removeprefix("file://")


def _path(root: Path) -> Path:
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32]
    return FOLDER / f"{name}.json"
