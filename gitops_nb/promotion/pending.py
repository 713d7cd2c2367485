"""What a sync brings beside the promotion: files that were pushed to its folders earlier and are not in force yet.

Whoever approves a sync consents to all that it brings, so it is shown, and the folders are bound to what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from gitops_nb.edits import Masks, edit_scalar, whole, without_secret_values
from gitops_nb.errors import UsageError
from gitops_nb.model import digest
from gitops_nb.ports import GitReader
from gitops_nb.promotion.places import ATTRIBUTES, attributes_above, is_manifest
from gitops_nb.promotion.state import Pending, PromotedKey, Synced
from gitops_nb.revisions import FULL_ID


def find_pending(
    git: GitReader,
    repository: str,
    tip: str,
    synced: Sequence[Synced],
    promoted: PromotedKey | None = None,
) -> tuple[Pending, ...]:
    """Files of the Applications' places that differ between what was synced last and the tip, by path.

    A place that was no part of the Application then is new as a whole, and so is all of it where nobody knows what was synced last.

    Args:
        git: Reads the repository.
        repository: Its name in fleet.yaml.
        tip: The commit that would be synced.
        synced: The Applications that are synced.
        promoted: The key whose value at the tip the plan says anyway.

    Raises:
        UnavailableError: The repository does not answer.
    """
    found: dict[Pending, None] = {}
    for one in synced:
        found |= dict.fromkeys(_of_application(git, repository, tip, one, promoted))
    return tuple(sorted(found, key=lambda pending: pending.path))


def _of_application(
    git: GitReader, repository: str, tip: str, synced: Synced, promoted: PromotedKey | None
) -> Iterator[Pending]:
    before: dict[str, str | None] = {}
    after: dict[str, str | None] = {}
    for place in synced.folders if synced.in_force else ():
        if synced.in_force == tip:
            continue
        then = git.blobs(repository, synced.in_force, place)
        now = git.blobs(repository, tip, place)
        for path in {*then, *now}:
            if then.get(path) != now.get(path):
                before[path], after[path] = then.get(path), now.get(path)
    new = {path for place in synced.new for path in git.blobs(repository, tip, place)}
    for place in synced.new:
        # Whatever it was before, nothing of it was brought.
        after |= git.blobs(repository, tip, place)
    old, current = (_contents(git, repository, side) for side in (before, after))
    for path in sorted(after):
        is_new = path in new
        known = None if is_new else old.get(path)
        shown = _pending(path, known, current[path], promoted, synced)
        yield replace(shown, is_new=is_new)


def _pending(
    path: str,
    before: bytes | None,
    after: bytes | None,
    promoted: PromotedKey | None,
    synced: Synced,
) -> Pending:
    """A file that differs, its values of Secrets masked: a plan is signed and kept, and many can read it."""
    masks = Masks()

    def shown(content: bytes | None) -> str | None:
        if content is None:
            return None
        if path in synced.secret:
            return whole(content, masks, "a Secret is made of it").decode()
        are_objects = is_manifest(path, content, synced.values, synced.charts)
        masked = without_secret_values(content, masks, path=path, is_manifest=are_objects)
        return masked.decode(errors="backslashreplace")

    return Pending(
        path, shown(before), shown(after), _is_version_alone(path, before, after, promoted)
    )


def _is_version_alone(
    path: str, before: bytes | None, after: bytes | None, promoted: PromotedKey | None
) -> bool:
    """Whether a file differs, byte for byte, in nothing but the promoted key's value."""
    if promoted is None or promoted.path != path or before is None or after is None:
        return False
    try:
        return edit_scalar(before, promoted.key, promoted.part, promoted.value) == after
    except UsageError:
        return False


def is_known(git: GitReader, repository: str, commit: str, tip: str) -> bool:
    """Whether the repository has a commit, also one that its branch does not hold any more.

    Raises:
        UnavailableError: The repository does not answer.
    """
    if not FULL_ID.fullmatch(commit):
        return False
    return (
        commit == tip
        or git.is_ancestor(repository, commit, tip)
        or git.resolve(repository, commit) is not None
    )


def bound_folders(
    git: GitReader, repository: str, revision: str, folders: Iterable[str]
) -> Mapping[str, str]:
    """A digest of all files below each folder, by folder; the attributes of the root stand for those of all folders above."""
    every = tuple(dict.fromkeys(folders))

    def held(folder: str) -> dict[str, str]:
        if folder != ATTRIBUTES:
            return dict(git.blobs(repository, revision, folder))
        paths = attributes_above(one for one in every if one != ATTRIBUTES)
        try:
            found = git.read_many(repository, revision, paths)
        except UsageError:  # a link, which git does not take
            return {}
        return {blob.path: blob.blob_id for blob in found if blob is not None}

    return {folder: digest(held(folder)) for folder in every}


def _contents(
    git: GitReader, repository: str, blobs: Mapping[str, str | None]
) -> dict[str, bytes | None]:
    """What files hold, whatever their mode: of a link where it leads, of a submodule its commit."""
    files = {path: about for path, about in blobs.items() if about and " commit " not in about}
    contents = git.contents(repository, [about.rpartition(" ")[2] for about in files.values()])
    known = dict(zip(files, contents, strict=True))
    return {
        path: known.get(path, about.encode() if about else None) for path, about in blobs.items()
    }
