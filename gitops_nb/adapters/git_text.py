"""What git is told and what it says: names and paths checked before they are passed on, its output parsed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from gitops_nb.errors import UsageError
from gitops_nb.model import Commit

SHA = re.compile(r"[0-9a-f]{40}")
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]{0,199}")
LOG_FORMAT = "%H%x00%P%x00%an%x00%aI%x00%cI%x00%s%x00%(trailers:only=true,unfold=true)%x01"


def checked(name: str) -> str:
    """The name of a branch, tag or commit; anything that git could take for more is refused."""
    if not REF.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{name!r} is not a branch, tag or commit", hint="Use letters, digits and . _ / @ + -"
        )
    return name


def full_id(text: str) -> str:
    """A full commit id."""
    if not SHA.fullmatch(text):
        raise UsageError(f"{text!r} is not a full commit id")
    return text


def quoted(path: str) -> str:
    """A path as ``git fast-import`` reads it."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def parse_commit(text: str) -> Commit:
    """One commit of ``git log --format=LOG_FORMAT``."""
    sha, parents, author, authored, committed, subject, trailers = text.lstrip("\n").split(
        "\x00", 6
    )
    pairs = (line.split(": ", 1) for line in trailers.splitlines() if ": " in line)
    return Commit(
        sha=sha,
        parents=tuple(parents.split()),
        author=author,
        authored_at=datetime.fromisoformat(authored).astimezone(UTC),
        committed_at=datetime.fromisoformat(committed).astimezone(UTC),
        subject=subject,
        trailers={key: value.strip() for key, value in pairs},
    )


Columns = tuple[list[str], list[int], list[int], list[str], list[str], list[str]]


def parse_raw(output: bytes, wanted: Callable[[str], bool] | None) -> Columns:
    """Columns of ``git log --raw -z``: sha, authored, committed, path, status, new blob ("" when deleted).

    Columns, because the garbage collector would go through ten thousands of rows again and again.
    """
    columns: Columns = ([], [], [], [], [], [])
    shas, authored, committed, names, statuses, blobs = columns
    sha, written_s, made_s = "", 0, 0
    # Each path is asked about once: many commits touch few files.
    paths: dict[bytes, str] = {}
    parts = iter(output.split(b"\0"))
    for part in parts:
        if part[:1] == b"\x01":
            sha, written, made = part[1:].decode().split(" ")
            written_s, made_s = int(written), int(made)
            continue
        entry = part.lstrip(b"\n")
        if not entry:
            continue
        # :OLDMODE NEWMODE OLDBLOB NEWBLOB STATUS, of fixed lengths; the next part is the path, whatever is in it.
        raw = next(parts)
        path = paths.get(raw)
        if path is None:
            name = raw.decode(errors="replace")
            path = paths[raw] = name if wanted is None or wanted(name) else ""
        if not path or entry[8:14] == b"160000":  # a submodule is not a file
            continue
        status = entry[97:98].decode()
        shas.append(sha)
        authored.append(written_s)
        committed.append(made_s)
        names.append(path)
        statuses.append(status)
        blobs.append("" if status == "D" else entry[56:96].decode())
    return columns
