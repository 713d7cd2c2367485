"""The private folder of a headless run: connection file and sockets of its kernel, gone when the kernel is.

A runner that was killed could not remove it. Its name follows from the run's directory, so that whoever closes the run finds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 60
"""Characters of the folder that holds it: the path of a socket is short everywhere."""


@contextmanager
def private_folder(directory: Path) -> Iterator[Path]:
    """A new folder of mode 0700 for a run directory, for the block."""
    with tempfile.TemporaryDirectory(prefix=_prefix(directory), dir=_parent()) as name:
        yield Path(name)


def remove_left(directory: Path) -> None:
    """Removes what the killed runner of a run directory left."""
    for path in left_by(directory):
        shutil.rmtree(path, ignore_errors=True)


def left_by(directory: Path) -> list[Path]:
    """Private folders of a run directory that are there.

    In a folder that all share anybody can take a name: what is another user's, or a link, is not meant.
    """
    found = Path(_parent()).glob(f"{_prefix(directory)}*")
    return [path for path in found if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    try:
        seen = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()


def _prefix(directory: Path) -> str:
    return f"gitops-nb-{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]}-"


def _parent() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) < _LONGEST else "/tmp"  # noqa: S108  the folder made in it is private
