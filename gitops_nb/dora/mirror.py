"""Facts in a bucket: a copy in a local folder that is brought up to date before, and sent back after.

The bucket has the files of the folder under the same names (``@`` for ``%``), so that other engines read it as it is,
and ``index.json``, which says what each file's SHA-256 is. Tables are sent before resume points, as they are written
locally: a collection that dies on the way is repeated from the old point, and repeating it adds nothing. One writer at
a time holds the lock ``collection`` of the bucket; one that died is followed by the next as soon as it is proven dead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gitops_nb.dora.facts import sha256
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import ConflictError, RecordError
from gitops_nb.ports import Store
from gitops_nb.record.files import replace_file, settled
from gitops_nb.record.locks import Owner, SharedLocks

INDEX = "index.json"
LOCK = "collection"
_AT_ONCE = 16


def pull(bucket: Store, folder: Path) -> FactStore:
    """Makes a folder what the bucket holds; files that are the same already are not fetched.

    Raises:
        UnavailableError: The bucket does not answer.
        RecordError: Its index or a file in it cannot be read.
    """
    index = _index(bucket)
    local = _files(folder)
    wanted = [name for name, digest in index.items() if local.get(name) != digest]

    def fetch(name: str) -> None:
        content = bucket.read(_key(name))
        if content is None:
            raise RecordError(
                f"the bucket's index names {name}, which is not there",
                hint="Delete the facts in the bucket and collect again.",
            )
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(settled(path), content)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(fetch, wanted))
    for name in local.keys() - index.keys():
        (folder / name).unlink()
    return FactStore(folder)


def push(bucket: Store, folder: Path) -> int:
    """Sends what differs from the bucket's index, resume points last; returns how many files were sent."""
    index, local = _index(bucket), _files(folder)
    changed = sorted(name for name, digest in local.items() if index.get(name) != digest)
    points = [name for name in changed if name.startswith("sources/")]

    def send(name: str) -> None:
        bucket.replace(_key(name), (folder / name).read_bytes())

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(send, [name for name in changed if name not in points]))
        list(pool.map(send, points))
    gone = sorted(index.keys() - local.keys())
    if changed or gone:
        content = json.dumps(local, indent=1, sort_keys=True) + "\n"
        bucket.replace(INDEX, content.encode())
    for name in gone:
        bucket.remove(_key(name))
    return len(changed)


@contextmanager
def writing(
    bucket: Store, folder: Path, *, locks: SharedLocks, owner: Owner
) -> Iterator[FactStore]:
    """The facts of a bucket for one collection; sent back also when it fails half way, since what is there is whole.

    Raises:
        ConflictError: Somebody else collects, and is not proven to be gone; nothing was read.
    """
    held = locks.take(LOCK, owner)
    if isinstance(held, Owner):
        raise ConflictError(
            f"another collection writes to these facts: {held}",
            hint="Wait until it has ended. If its machine is gone, say so with --take-over REASON.",
        )
    try:
        store = pull(bucket, folder)
        try:
            yield store
        finally:
            push(bucket, folder)
    finally:
        locks.release(held)


def _index(bucket: Store) -> Mapping[str, str]:
    content = bucket.read(INDEX)
    if content is None:
        return {}
    try:
        found = json.loads(content)
        index = {str(name): str(digest) for name, digest in found.items()}
    except (ValueError, AttributeError) as error:
        raise RecordError(
            f"{INDEX} of the facts cannot be read",
            hint="Delete the facts in the bucket and collect again.",
        ) from error
    # A name from outside becomes a path: it has to stay below the folder.
    if any(name.startswith("/") or ".." in name.split("/") for name in index):
        raise RecordError(
            f"{INDEX} of the facts names a file outside", hint="Find out who wrote it."
        )
    return index


def _files(folder: Path) -> dict[str, str]:
    paths = [*folder.glob("*/service=*/*.parquet"), *folder.glob("sources/*.json")]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(paths)}


def _key(name: str) -> str:
    """Names are percent-encoded, which keys of a store do not take; ``@`` never stands in one."""
    return name.replace("%", "@").replace("~", "@7E")
