"""What a sync brings beside the promotion: files that were pushed to its folders earlier and are not in force yet.

Whoever approves a sync consents to all that it brings, so it is shown, and the folders are bound to what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gitops_nb.edits import without_secret_values
from gitops_nb.errors import UnavailableError
from gitops_nb.model import digest
from gitops_nb.ports import GitReader
from gitops_nb.promotion.places import inside
from gitops_nb.promotion.state import Pending, Synced


def find_pending(
    git: GitReader, repository: str, tip: str, synced: Sequence[Synced]
) -> tuple[Pending, ...]:
    """Files of the Applications' places that differ between what was synced last and the tip, by path.

    A place that was no part of the Application then is new as a whole. An Application that was never synced, or whose commit is
    not in the repository any more, has nothing to compare with.
    """
    found: dict[str, Pending] = {}
    for one in synced:
        if not one.in_force:
            continue
        for place in one.folders:
            is_new = one.was is not None and not any(
                inside(old, place) is not None for old in one.was
            )
            if one.in_force == tip and not is_new:
                continue
            try:
                before = {} if is_new else git.blobs(repository, one.in_force, place)
            except UnavailableError:
                continue
            after = git.blobs(repository, tip, place)
            paths = [path for path in {*before, *after} if before.get(path) != after.get(path)]
            old_texts, new_texts = (
                _texts(git, repository, side, paths) for side in (before, after)
            )
            found |= {path: Pending(path, old_texts[path], new_texts[path]) for path in paths}
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
    git: GitReader, repository: str, blobs: Mapping[str, str], paths: Sequence[str]
) -> dict[str, str | None]:
    """The texts of files, whatever their mode: of a link where it leads, of a submodule its commit.

    Values of Secrets are masked: a plan is signed and kept, and many can read it.
    """
    files = [path for path in paths if path in blobs and " commit " not in blobs[path]]
    contents = git.contents(repository, [blobs[path].rpartition(" ")[2] for path in files])
    known = dict(zip(files, contents, strict=True))
    return {
        path: blobs.get(path)
        if path not in known
        else without_secret_values(known[path]).decode(errors="backslashreplace")
        for path in paths
    }
