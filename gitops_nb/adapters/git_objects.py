"""Every object that a bare cache holds, proven by its id before Git reads from it; and that nothing moved while it read.

Git believes what lies under an id: `ls-tree`, `log` and `rev-list` hash nothing, and an index may call one object by another's
name. So every file in which Git finds objects is proven once in this process: packs by Git, which computes each id anew and
holds the index against that, loose objects here. What was proven is known by its inode and times: the kernel sets the time of
a change, which nobody but root can put back.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from gitops_nb.errors import ConfigurationError
from gitops_nb.ports import Completed

Verify = Callable[[Path], Completed]
"""Runs ``git index-pack --verify`` on a pack, outside of any repository."""
Stamp = tuple[int, ...]
State = dict[str, Stamp]
"""By its name below the cache, what tells each folder and file from what it was before."""

ODD = (
    "shallow", "commondir", "config.worktree", "info/attributes",
    "objects/info/alternates", "objects/info/http-alternates",
)  # fmt: skip
"""What makes Git read objects of another place, or end a history early; no cache of ours has it."""
UNINDEXED = ("-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false", "-c", "pack.readReverseIndex=false")  # fmt: skip
"""Without these Git reads parents, dates and places of objects in files that are no objects, and that nobody proves."""
TICK_S = 0.012
"""How coarse the kernel's times may be: a file that changed just now may change again and look the same."""
_FAN = re.compile(r"[0-9a-f]{2}")
_CHUNK = 1 << 20
Known = tuple[str, tuple[Stamp, ...]]
_PROVEN: set[Known] = set()
"""Files that were proven in this process, whichever adapter asked, by name and stamps."""


def seen(cache: Path) -> State:
    """Folders and files in which Git finds objects, as they are now.

    Raises:
        ConfigurationError: Something there is no cache's: a link, or what leads Git to another place.
    """
    for name in ODD:
        if os.path.lexists(cache / name):
            raise ConfigurationError(f"it has {name}")
    try:
        return dict(_entries(cache / "objects"))
    except OSError as error:
        raise ConfigurationError(f"its objects cannot be read: {error.strerror}") from error


def _entries(objects: Path) -> Iterator[tuple[str, Stamp]]:
    yield "objects", _folder(str(objects))
    for entry in os.scandir(objects):
        if entry.name != "pack" and not _FAN.fullmatch(entry.name):
            continue
        yield entry.name, _folder(entry.path)
        for inner in os.scandir(entry.path):
            if entry.name == "pack" and not inner.name.endswith((".pack", ".idx")):
                continue
            try:
                status = inner.stat(follow_symlinks=False)
            except FileNotFoundError:  # Git removes what it only wrote on the way
                continue
            if not S_ISREG(status.st_mode):
                raise ConfigurationError(f"objects/{entry.name}/{inner.name} is no file")
            yield f"{entry.name}/{inner.name}", _stamp(status)


def prove(cache: Path, verify: Verify) -> State:
    """What is there, after each object in it was hashed again that this process has not hashed yet.

    Raises:
        ConfigurationError: An object is not what its id says, or cannot be read.
    """
    state = seen(cache)
    new = list(_unproven(state))
    if not new:
        return state
    newest = max(stamp[-1] for _, stamps in new for stamp in stamps)
    if newest > time.time_ns() - int(TICK_S * 1e9):
        time.sleep(TICK_S)
        state = seen(cache)
        new = list(_unproven(state))
    for name, stamps in new:
        path = cache / "objects" / name
        if name.startswith("pack/"):
            done = verify(path)
            if done.exit_code != 0:
                said = (done.stderr.strip().splitlines() or ["it cannot be read"])[-1]
                raise ConfigurationError(
                    f"objects/{name} does not hold what its index says: {said}"
                )
        else:
            _prove_loose(path, name.replace("/", ""))
        _PROVEN.add((name, stamps))
    return state


def _unproven(state: State) -> Iterator[Known]:
    """Names and stamps of what has still to be proven; a pack goes with its index, and is not read without one."""
    for name, stamp in state.items():
        folder, _, inner = name.partition("/")
        if not inner or inner.endswith(".idx"):
            continue
        stamps: tuple[Stamp, ...] = (stamp,)
        if folder == "pack":
            index = state.get(f"{name.removesuffix('.pack')}.idx")
            if index is None:
                continue
            stamps = (stamp, index)
        if (name, stamps) not in _PROVEN:
            yield name, stamps


def _prove_loose(path: Path, sha: str) -> None:
    """Hashes a loose object, some of it at a time.

    Raises:
        ConfigurationError: It is not what its id says.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", sha):
        return  # Git writes under other names first, and reads none of them
    hashed = hashlib.sha1(usedforsecurity=False)
    unpacked = zlib.decompressobj()
    try:
        with path.open("rb") as file:
            while content := file.read(_CHUNK):
                while content:
                    hashed.update(unpacked.decompress(content, _CHUNK))
                    content = unpacked.unconsumed_tail
                if unpacked.eof:
                    break
    except FileNotFoundError:
        return
    except (OSError, zlib.error) as error:
        raise ConfigurationError(f"object {sha[:12]} cannot be read: {error}") from error
    if not unpacked.eof or hashed.hexdigest() != sha:
        raise ConfigurationError(f"object {sha[:12]} is not what its id says")


def _folder(path: str) -> Stamp:
    status = os.lstat(path)
    if not S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{path} is no folder")
    return _stamp(status)


def _stamp(status: os.stat_result) -> Stamp:
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip
