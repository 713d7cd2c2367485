"""Which sets of a matrix may go at once: what they bring, and which files they edit, tells before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gitops_nb.catalog.load import Catalog
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import UsageError
from gitops_nb.session.slices import Surroundings, slice_of


def refuse_contradicting(one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a set that brings something else to a place of an earlier one.

    Raises:
        UsageError: It names the other set.
    """
    for number, other in enumerate(others, start=1):
        if other and _contradict(one, other):
            raise UsageError(
                f"another version for the same place as set {number}: which came last would be chance",
                hint="Run them one after the other.",
            )


def _contradict(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets bring different things to one place."""
    place, what = ("application", "target", "cluster"), ("source", "revision")

    def same(names: Sequence[str]) -> bool:
        return all(one.get(name) == other.get(name) for name in names)

    return same(place) and not same(what)


def edited_by(
    where: Workspace, catalog: Catalog, runbook: Runbook, parameters: Mapping[str, Any]
) -> frozenset[str]:
    """Files that a run with these parameters may edit, as ``repository:path``; none where its runbook edits no files."""
    parts = slice_of(runbook.name)
    if parts.edits is None:
        return frozenset()
    around = Surroundings(where.root, where.reports, datetime.now(UTC), None, where.time_zone)
    return parts.edits(parts.request(catalog.fleet, parameters, around))


def refuse_waiting(number: int, edits: Sequence[frozenset[str]], waits: Sequence[bool]) -> None:
    """Refuses two sets whose plans would both wait, for one file: whichever is carried out first voids the other's approval.

    Args:
        number: Of the set, from 0; those before it are looked at.
        edits: The files of each set, see ``edited_by``.
        waits: Whether each waits for an approval.

    Raises:
        UsageError: It names the other set, and the file.
    """
    for other in range(number):
        shared = sorted(edits[number] & edits[other])
        if shared and waits[number] and waits[other]:
            raise UsageError(
                f"it edits {shared[0]} as set {other + 1} does, and both wait for an approval: carrying out one voids the other's",
                hint="Run them one after the other.",
            )


def rounds_of(edits: Sequence[frozenset[str]], waits: Sequence[bool]) -> list[list[int]]:
    """Numbers of sets in rounds that follow each other: no two of a round edit one file. A plan is made for a file as a whole.

    What waits for an approval is planned last, when nothing of the others changes its file any more.

    >>> rounds_of([frozenset("a"), frozenset("a"), frozenset("b")], [False, False, False])
    [[0, 2], [1]]
    >>> rounds_of([frozenset("a"), frozenset("a"), frozenset()], [True, False, False])
    [[1, 2], [0]]
    """
    rounds: list[list[int]] = []
    placed: dict[int, int] = {}
    for number in sorted(range(len(edits)), key=lambda one: (waits[one], one)):
        before = [placed[one] for one in placed if edits[one] & edits[number]]
        at = max(before, default=-1) + 1
        placed[number] = at
        rounds.extend([] for _ in range(at + 1 - len(rounds)))
        rounds[at].append(number)
    return [sorted(one) for one in rounds]
