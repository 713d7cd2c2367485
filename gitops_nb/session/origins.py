"""Which origin a workspace has to have: pinned outside of it, so that nobody who can write there chooses whose rules count.

``gitops-nb trust origin`` writes the pin into the home of this machine's user, as the user database has it: the variable HOME does
not choose it. A notebook's process is of the same user. So what a process read first it holds to, and a command tells its own
process that calls the verbs what it read before anything of the notebook ran.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path

from gitops_nb.errors import ConfigurationError, RecordError
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


_SEEN: dict[Path, Pin | None] = {}
"""By workspace: what this process read first, or was told."""


def pinned(root: Path) -> Pin | None:
    """The pin of a workspace; None where nobody set one.

    Raises:
        ConfigurationError: It is another one than this process read before, or was told.
    """
    found = _read(root)
    seen = _SEEN.setdefault(root.resolve(), found)
    if _parts(seen) != _parts(found):
        before, now = (one.url if one is not None else "none" for one in (seen, found))
        raise ConfigurationError(
            f"the pin of this workspace was changed meanwhile: it was {before}, and is {now}; nothing was done",
            hint="Find out who changed it; if it was you, run the command again, in a notebook after a restart of its kernel.",
        )
    return found


def pin_text(root: Path) -> str:
    """The pin of a workspace, for a process of one's own (see ``hold_to``); "" where nobody set one.

    Raises:
        ConfigurationError: See ``pinned``.
    """
    found = pinned(root)
    return "" if found is None else json.dumps(_parts(found))


def hold_to(root: Path, text: str) -> None:
    """Has this process take no other pin for a workspace than whoever started it read (``pin_text``)."""
    _SEEN[root.resolve()] = Pin(*json.loads(text)) if text else None


def _parts(one: Pin | None) -> tuple[str, str, str | None] | None:
    return None if one is None else (one.url, one.branch, one.inside)


def _read(root: Path) -> Pin | None:
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
    _SEEN.pop(root.resolve(), None)
    return path


def unpin(root: Path) -> None:
    """Forgets the pin of a workspace."""
    _path(root).unlink(missing_ok=True)
    _SEEN.pop(root.resolve(), None)


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
