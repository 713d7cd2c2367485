"""What git is told and what it says: names and paths checked before they are passed on, its output parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from gitops_nb.errors import UsageError
from gitops_nb.model import Commit
from gitops_nb.refs import is_branch

SHA = re.compile(r"[0-9a-f]{40}")
_SHA_256 = re.compile(r"[0-9a-f]{64}")
LOG_FORMAT = "%H%x00%P%x00%an%x00%aI%x00%cI%x00%s%x00%(trailers:only=true,unfold=true)"
"""Of ``git log -z``: seven fields a commit, each ended by a zero, which is the one byte that no name and no message can hold."""
LOG_FIELDS = 7


def checked(name: str) -> str:
    """The name of a branch, tag or commit; anything that git could take for more is refused."""
    if not is_branch(name):
        raise UsageError(
            f"{name!r} is not a branch, tag or commit",
            hint="Use a name that `git check-ref-format --branch` accepts.",
        )
    return name


def refuse_sha_256(repository: str, said: str) -> None:
    """Names a repository whose objects have names of another length than ours, before anything untrue is said of it.

    Args:
        repository: Its name in fleet.yaml.
        said: What git printed: an id, or its words about a repository of another format.
    """
    if _SHA_256.fullmatch(said) or "mismatched algorithms" in said or "object format" in said:
        raise UsageError(
            f"repository {repository} uses SHA-256 object names, and gitops_nb reads SHA-1 repositories only",
            hint="Name a repository that was made with `git init --object-format=sha1`, which is the default.",
        )


def full_id(text: str) -> str:
    """A full commit id."""
    if not SHA.fullmatch(text):
        raise UsageError(f"{text!r} is not a full commit id")
    return text


def quoted(path: str) -> str:
    """A path as ``git fast-import`` reads it."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def rows_of(output: str, fields: int) -> Iterator[list[str]]:
    """The fields of each commit of ``git log -z``, with as many zeros in its format as there are fields between them."""
    parts = output.split("\x00")
    for begin in range(0, len(parts) - fields + 1, fields):
        yield parts[begin : begin + fields]


def parse_commits(output: str) -> tuple[Commit, ...]:
    """The commits of ``git log -z --format=LOG_FORMAT``."""
    return tuple(_commit(row) for row in rows_of(output, LOG_FIELDS))


def _moment(text: str) -> datetime:
    """A time as Git prints it; the beginning of all where whoever made the commit wrote one that is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def _commit(row: list[str]) -> Commit:
    sha, parents, author, authored, committed, subject, trailers = row
    pairs = (line.split(": ", 1) for line in trailers.split("\n") if ": " in line)
    return Commit(
        sha=sha.lstrip("\n"),
        parents=tuple(parents.split()),
        author=author,
        authored_at=_moment(authored),
        committed_at=_moment(committed),
        subject=subject,
        trailers={key: value.strip() for key, value in pairs},
    )


_NO_FILES = {b"160000": "S", b"120000": "L"}


@dataclass(frozen=True, slots=True)
class GitObject:
    """One object of ``git cat-file --batch``."""

    sha: str
    kind: str
    content: bytes


def parse_batch(output: bytes, count: int) -> list[GitObject | None]:
    """The objects of ``git cat-file --batch`` in the order they were asked for; None where there is none."""
    found: list[GitObject | None] = []
    at = 0
    for _ in range(count):
        end = output.index(b"\n", at)
        header = output[at:end]
        at = end + 1
        # Of a path that is not there git repeats the name, which may hold anything.
        said = re.fullmatch(rb"([0-9a-f]{40,64}) ([a-z]+) ([0-9]+)", header)
        if said is None:
            found.append(None)
            continue
        size = int(said[3])
        found.append(GitObject(said[1].decode(), said[2].decode(), output[at : at + size]))
        at += size + 1
    return found


def path_of(raw: bytes) -> str:
    """A path as text; bytes that are no UTF-8 are written out, so that two names stay two."""
    return raw.decode(errors="backslashreplace")


def parse_tree(content: bytes) -> Iterator[tuple[str, str]]:
    """Name and mode of each entry of a tree object, as git stores it: mode, name, a zero, 20 bytes of id."""
    at = 0
    while at < len(content):
        end = content.index(b"\0", at)
        mode, _, name = content[at:end].partition(b" ")
        yield path_of(name), mode.decode()
        at = end + 21


def epoch_s(text: str) -> int:
    """Seconds since 1970 as git prints them; 0 where whoever made the commit wrote none, or one that no calendar has.

    >>> epoch_s("1700000000"), epoch_s(""), epoch_s("-5"), epoch_s("99999999999999999999")
    (1700000000, 0, 0, 0)
    """
    return int(text) if text.isascii() and text.isdigit() and int(text) <= LATEST_S else 0


LATEST_S = 253_402_300_799
"""The last second of the year 9999."""
Columns = tuple[list[str], list[int], list[int], list[str], list[str], list[str]]


def parse_raw(output: bytes, wanted: Callable[[str], bool] | None) -> Columns:
    """Columns of ``git log --raw -z``: sha, authored, committed, path, status, new blob ("" when deleted).

    A symbolic link has the status L and a submodule S; they have no blob.

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
            written_s, made_s = epoch_s(written), epoch_s(made)
            continue
        entry = part.lstrip(b"\n")
        if not entry:
            continue
        # :OLDMODE NEWMODE OLDBLOB NEWBLOB STATUS, of fixed lengths; the next part is the path, whatever is in it.
        raw = next(parts)
        path = paths.get(raw)
        if path is None:
            name = path_of(raw)
            path = paths[raw] = name if wanted is None or wanted(name) else ""
        if not path:
            continue
        status = entry[97:98].decode()
        # A submodule or a symbolic link is no file; where a file was there is none any more.
        status = _NO_FILES.get(entry[8:14], status)
        shas.append(sha)
        authored.append(written_s)
        committed.append(made_s)
        names.append(path)
        statuses.append(status)
        blobs.append("" if status in ("D", "L", "S") else entry[56:96].decode())
    return columns
