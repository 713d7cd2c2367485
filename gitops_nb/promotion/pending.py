"""What a sync brings beside the promotion: files that were pushed to its folders earlier and are not in force yet.

Whoever approves a sync consents to all that it brings, so it is shown, and the folders are bound to what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gitops_nb.errors import UnavailableError
from gitops_nb.model import digest
from gitops_nb.ports import GitReader
from gitops_nb.promotion.state import Pending, Synced


def find_pending(
    git: GitReader, repository: str, tip: str, synced: Sequence[Synced]
) -> tuple[Pending, ...]:
    """Files of the Applications' folders that differ between what was synced last and the tip, by path.

    An Application that was never synced, or whose commit is not in the repository any more, has nothing to compare with.
    """
    found: dict[str, Pending] = {}
    for one in synced:
        if not one.in_force or one.in_force == tip:
            continue
        for folder in one.folders:
            try:
                before = git.blobs(repository, one.in_force, folder)
            except UnavailableError:
                continue
            after = git.blobs(repository, tip, folder)
            paths = sorted(
                path for path in {*before, *after} if before.get(path) != after.get(path)
            )
            old = _texts(git, repository, one.in_force, paths)
            new = _texts(git, repository, tip, paths)
            found |= {path: Pending(path, old[path], new[path]) for path in paths}
    return tuple(found[path] for path in sorted(found))


def bound_folders(
    git: GitReader, repository: str, revision: str, folders: Iterable[str]
) -> Mapping[str, str]:
    """A digest of all files below each folder, by folder."""
    return {
        folder: digest(dict(git.blobs(repository, revision, folder)))
        for folder in dict.fromkeys(folders)
    }


def _texts(
    git: GitReader, repository: str, revision: str, paths: Sequence[str]
) -> dict[str, str | None]:
    blobs = git.read_many(repository, revision, paths)
    return {
        path: None if blob is None else blob.content.decode(errors="replace")
        for path, blob in zip(paths, blobs, strict=True)
    }
