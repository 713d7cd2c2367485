"""Objects in a local folder; implements ``ports.Store``."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gitops_nb.errors import RecordError, UsageError
from gitops_nb.record.files import create_file, own_folder, read_regular, replace_file

_KEY = re.compile(r"[A-Za-z0-9_@+=,-][A-Za-z0-9._@+=, -]*(/[A-Za-z0-9._@+=, -]+)*")


class Folder:
    """A folder as a store. A key is a relative path; names that begin with a dot are not objects.

    Args:
        root: The folder; it is made when the first object is.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def create(self, key: str, content: bytes) -> bool:
        """See ``ports.Store.create``: a hard link takes the name only when it is free."""
        path = self._path(key)
        own_folder(path.parent)
        try:
            create_file(path, content)
        except RecordError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            return self.read(key) == content
        return True

    def read(self, key: str) -> bytes | None:
        """See ``ports.Store.read``."""
        check_key(key)
        path = f"{self._root}/{key}"  # a ledger is ten thousand of these: no Path for each
        try:
            return read_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                # A pipe or another special file: something is there, and it says nothing.
                return b""
            raise RecordError(f"cannot read {path}: {error.strerror}") from error

    def read_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """See ``ports.Store.read_many``."""
        return map(self.read, keys)

    def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
        """See ``ports.Store.list``."""
        found: list[str] = []
        stack = [prefix.rpartition("/")[0]]
        while stack:
            here = stack.pop()
            for entry in _entries(f"{self._root}/{here}"):
                if entry.name.startswith("."):
                    continue
                key = f"{here}/{entry.name}" if here else entry.name
                if entry.is_dir(follow_symlinks=False):
                    stack.append(key)
                elif key.startswith(prefix) and key > after:
                    found.append(key)
        return tuple(sorted(found))

    def folders(self, prefix: str) -> tuple[str, ...]:
        """See ``ports.Store.folders``."""
        return tuple(
            sorted(
                entry.name
                for entry in _entries(f"{self._root}/{prefix}")
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
        )

    def replace(self, key: str, content: bytes) -> None:
        """See ``ports.Store.replace``."""
        path = self._path(key)
        own_folder(path.parent)
        replace_file(path, content)

    def remove(self, key: str) -> None:
        """See ``ports.Store.remove``."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(f"cannot remove {path}: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key


def check_key(key: str) -> None:
    """Refuses keys that would leave their folder or bucket prefix.

    Raises:
        UsageError: The key is none.

    >>> check_key("ledger/production/000000000042.json")
    """
    if not _KEY.fullmatch(key) or ".." in key.split("/") or "." in key.split("/"):
        raise UsageError(f"{key!r} is not a key of an object", hint="Use letters, digits and “/”.")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ELOOP:
            return []  # a link that goes round; verify names it
        raise RecordError(f"cannot read {folder}: {error.strerror}") from error
