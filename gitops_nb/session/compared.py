"""Whether the bucket still has a run as this machine has it: commands read the copy here, auditors may read the one there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gitops_nb.ports import Store
from gitops_nb.record import journal
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.runs import APPROVALS
from gitops_nb.session.copies import is_odd, records_in


def compared_names(store: Store, directory: Path, files: Mapping[str, str]) -> list[Finding]:
    """Compares which objects there are, and the newest record; ``files`` are the sealed files' digests by name.

    Raises:
        UnavailableError: The store does not answer.
    """
    run = directory.name
    keys = store.list(f"{run}/")
    if not keys:
        return [Finding(Code.DELETED_RUN, run, "this machine has a copy, and the bucket has none")]
    prefix = f"{run}/journal/"
    records = records_in(keys, run)
    lines = (directory / journal.FILE).read_bytes().splitlines()
    found = _odd(keys, run)
    if len(records) != len(lines):
        text = f"the bucket has {len(records)} records of it, and this machine {len(lines)}"
        found.append(Finding(Code.TRUNCATED, prefix, text))
    elif store.read(records[-1]) != lines[-1]:
        found.append(Finding(Code.EDITED, records[-1], "the bucket has another record there"))
    there = {key.removeprefix(f"{run}/") for key in keys if not key.startswith(prefix)}
    found += [
        Finding(Code.MISSING, f"{run}/{name}", "the bucket has no such object")
        for name in sorted(set(files) - there)
    ]
    found += [
        Finding(Code.ADDED, f"{run}/{name}", "an object in the bucket that was never sealed")
        for name in sorted(there - set(files))
        if not name.startswith(f"{APPROVALS}/") and not is_odd(name)
    ]
    return found


def odd_objects(store: Store, run: str) -> list[Finding]:
    """Objects below a run's name that are nothing of a run; they are not brought here, and stop nobody.

    Raises:
        UnavailableError: The store does not answer.
    """
    return _odd(store.list(f"{run}/"), run)


def _odd(keys: Sequence[str], run: str) -> list[Finding]:
    records = {*records_in(keys, run)}
    return [
        Finding(Code.ADDED, key, "an object in the bucket that is no file of a run")
        for key in keys
        if key not in records
        and (key.startswith(f"{run}/journal/") or is_odd(key.removeprefix(f"{run}/")))
    ]


def compared_contents(store: Store, directory: Path, files: Mapping[str, str]) -> list[Finding]:
    """As ``compared_names``, and every record and file as they are there.

    Raises:
        UnavailableError: The store does not answer.
    """
    found = compared_names(store, directory, files)
    if any(one.code in (Code.DELETED_RUN, Code.TRUNCATED) for one in found):
        return found
    run = directory.name
    records = records_in(store.list(f"{run}/journal/"), run)
    lines = (directory / journal.FILE).read_bytes().splitlines()
    for key, there, here in zip(records, store.read_many(records), lines, strict=True):
        if there != here:
            found.append(Finding(Code.EDITED, key, "the bucket has another record there"))
    names = sorted(files)
    for name, there in zip(names, store.read_many([f"{run}/{n}" for n in names]), strict=True):
        if there is not None and f"sha256:{hashlib.sha256(there).hexdigest()}" != files[name]:
            text = "the bucket has something else than was sealed"
            found.append(Finding(Code.EDITED, f"{run}/{name}", text))
    return list(dict.fromkeys(found))
