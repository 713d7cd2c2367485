"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path

from gitops_nb.errors import RecordError


def create_file(path: Path, content: bytes) -> None:
    """Writes a new file durably; the name appears only when the content is complete.

    Raises:
        RecordError: It exists already, or cannot be written.
    """
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except OSError as error:
        raise RecordError(f"cannot create {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file durably in place of an older one: readers see the old or the new, never a mix.

    Raises:
        RecordError: It cannot be written; the older one is untouched.
    """
    temporary = _write_temporary(path, content)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    fsync_directory(path.parent)


def settled(path: Path) -> Path:
    """A file in a folder that a person named, whose links are followed; in a record's folders none is."""
    return path.parent.resolve() / path.name


def own_folder(folder: Path) -> None:
    """Makes a folder of a record; one that a link leads to would have files of ours made wherever it points.

    Raises:
        RecordError: It cannot be made, is none, or is reached by a link.
    """
    # Before anything is made: a link further up would have it made elsewhere.
    there = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    if there != folder:
        refuse_links(there)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        is_strange = error.errno in (errno.EEXIST, errno.ELOOP, errno.ENOTDIR)
        raise RecordError(
            f"cannot write {folder}: {'it is no folder' if is_strange else error.strerror}",
            hint="Somebody put it there: look at it, then remove it."
            if is_strange
            else "Make the folder writable, or name another with --reports.",
        ) from error
    refuse_links(folder)


def refuse_links(folder: Path) -> None:
    """Refuses a folder that is reached by a link; the reports folder itself may be one, and is opened as where that leads.

    Raises:
        RecordError: It is.
    """
    try:
        leads_to = folder.resolve()
    except (OSError, RuntimeError):  # the latter for links that go round
        leads_to = None
    if leads_to != folder.absolute():
        raise RecordError(
            f"cannot write {folder}: a link stands where a folder of ours is",
            hint="Somebody put it there: look at it, then remove it.",
        )


def _write_temporary(path: Path, content: bytes) -> Path:
    refuse_links(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(
            f"cannot write {path}: {error.strerror}", hint="Free disk space or fix permissions."
        ) from error
    return temporary


def open_regular(path: Path | str, flags: int) -> int:
    """Opens a file, and nothing else: opening a pipe that nobody writes to would never return.

    Where it is written (``flags`` has more than ``O_RDONLY``) a link is not followed either: whoever may write into a
    reports folder may not choose what else this user's files become.

    Raises:
        OSError: It cannot be opened, is no file, or is a link that would be written through.
    """
    nofollow = os.O_NOFOLLOW if flags & (os.O_WRONLY | os.O_RDWR) else 0
    descriptor = os.open(path, flags | nofollow | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return descriptor


def has_other_names(descriptor: int) -> bool:
    """Whether the open file stands elsewhere too, as a hard link: nothing of it may be cut or overwritten in place."""
    return os.fstat(descriptor).st_nlink > 1


def read_regular(path: Path | str) -> bytes:
    """The content of a file, and of nothing else.

    Raises:
        OSError: It cannot be read, or is no file.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb", buffering=0) as file:
        return file.readall()


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """``sha256:`` and the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
