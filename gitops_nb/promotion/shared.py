"""Environments that keep a key in one and the same place of one file: a promotion to one would rewrite the other."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from gitops_nb.argo.sources import is_address
from gitops_nb.catalog.fleet import Promotable, Repository
from gitops_nb.edits import read_scalar
from gitops_nb.errors import Refused, UsageError
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import PromotedKey


def file_of(application: str, folder: str, declared: Promotable) -> str:
    """The path of a promotable file."""
    file = declared.file.replace("{application}", application)
    return posixpath.normpath(posixpath.join(folder, file))


def edited_files(request: Promotion) -> frozenset[str]:
    """Files that a promotion may edit, as ``repository:path``: a plan is made for each as a whole, whatever else stands in it."""
    application = request.fleet.applications[request.application]
    folder = request.fleet.path(request.application, request.target)
    if folder is None:
        return frozenset()
    return frozenset(
        f"{application.repository}:{file_of(request.application, folder, one)}"
        for one in application.promotable
    )


def refuse_shared(request: Promotion, keys: Sequence[PromotedKey]) -> None:
    """Refuses when another environment's key is one of those that this promotion may write.

    Args:
        request: What was asked.
        keys: The target's keys.

    Raises:
        Refused: It names both environments, and the file.
    """
    places = {key.path: key for key in keys}
    for application, environment, declared, path in _elsewhere(request):
        key = places.get(path)
        if key is None or not any(_is_same_place(k, declared) for k in keys if k.path == path):
            continue
        whose = "" if application == request.application else f" of {application}"
        is_environment = environment != request.target
        mine = request.target if is_environment else request.application
        other = f"{environment}{whose}" if is_environment else application
        raise Refused(
            f"{mine} and {other} have {declared.key} in one and the same file, {path}: "
            f"a promotion {'to' if is_environment else 'of'} {mine} would change {environment if is_environment else application} too",
            hint=f"Give each {'environment' if is_environment else 'application'} a place of its own in `paths`, `path` or `promotable` "
            f"of {application} in fleet.yaml.",
        )


def _elsewhere(request: Promotion) -> Iterator[tuple[str, str, Promotable, str]]:
    """Every promotable key in the same repository, whatever fleet.yaml calls it, but for those that are promoted."""
    fleet = request.fleet
    repository = fleet.applications[request.application].repository
    for name, application in fleet.applications.items():
        if not _is_same(fleet.repositories[application.repository], fleet.repositories[repository]):
            continue
        for environment in fleet.environments:
            folder = fleet.path(name, environment)
            if (name, environment) == (request.application, request.target) or folder is None:
                continue
            for declared in application.promotable:
                yield name, environment, declared, file_of(name, folder, declared)


def _is_same(one: Repository, other: Repository) -> bool:
    """Whether two repositories of fleet.yaml are one branch of one place, by whatever name or address."""
    addresses = [(each.url, *each.aliases) for each in (one, other)]
    return one.branch == other.branch and any(is_address(url, addresses[1]) for url in addresses[0])


def _is_same_place(key: PromotedKey, declared: Promotable) -> bool:
    if key.key == declared.key:
        return True
    content = key.content.encode()
    try:
        return read_scalar(content, key.key).start == read_scalar(content, declared.key).start
    except UsageError:
        return False
