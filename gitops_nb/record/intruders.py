"""What does not belong into a record's folders: links in place of folders, added folders, pipes and other special files.

The digests of a run cover its files. A link that stands for a folder of theirs, or something that is no file at all, would
be passed over by them, and reading a pipe that nobody writes to would never end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.runs import APPROVALS, CHECKPOINTS, LOCKS, RUN_ID

LEDGER = "ledger"
_OWN_FOLDERS = (APPROVALS, "evidence")
"""Folders of a run that may be empty."""


def run_intruders(directory: Path, files: Iterator[str] | list[str]) -> list[Finding]:
    """Folders and special files of a closed run that its seal does not account for; files are its digests' to judge."""
    folders = {*_OWN_FOLDERS}
    for name in files:
        folders |= {str(parent) for parent in Path(name).parents if str(parent) != "."}
    found: list[Finding] = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if CHECKPOINTS in path.parts or path.is_symlink():
            continue
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if name not in folders:
                found.append(Finding(Code.ADDED, name, "a folder that no run makes"))
        elif not stat.S_ISREG(mode):
            found.append(Finding(Code.ADDED, name, f"{_kind(mode)} where only files are"))
    return found


def reports_intruders(reports: Path) -> list[Finding]:
    """Runs and ledgers that are links or no folders, and special files among a ledger's records."""
    found: list[Finding] = []
    for entry in _entries(reports):
        is_ours = RUN_ID.fullmatch(entry.name) or entry.name in (LEDGER, LOCKS)
        if is_ours and not entry.is_dir(follow_symlinks=False):
            found.append(_wrong(entry, entry.name))
    found += [
        _wrong(entry, f"{LOCKS}/{entry.name}")
        for entry in _entries(reports / LOCKS)
        if not entry.is_file(follow_symlinks=False)
    ]
    for ledger in _entries(reports / LEDGER):
        name = f"{LEDGER}/{ledger.name}"
        if not ledger.is_dir(follow_symlinks=False):
            found.append(_wrong(ledger, name))
            continue
        found += [
            _wrong(entry, f"{name}/{entry.name}")
            for entry in _entries(reports / LEDGER / ledger.name)
            if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False)
        ]
    return found


def _wrong(entry: os.DirEntry[str], name: str) -> Finding:
    if entry.is_symlink():
        return Finding(Code.LINK, name, "a link: what it leads to is not checked as this record")
    return Finding(
        Code.ADDED, name, f"{_kind(entry.stat(follow_symlinks=False).st_mode)} in a record's place"
    )


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a file" if stat.S_ISREG(mode) else "a device"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if folder.is_symlink() and folder.name in (LEDGER, LOCKS):
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
