"""Which commits are the same for an application: those that do not touch its folder."""

from __future__ import annotations

from gitops_nb.ports import GitReader

SEARCHED_COMMITS = 500
"""How far back commits count as equal for an application whose folder they do not touch."""


class EquivalentRevisions:
    """Commits with the same files below ``folder`` as the tip, the tip included; a ``Container`` of their ids.

    Most often a cluster is at the tip itself, so the others are looked for when another one is asked about.
    """

    def __init__(self, git: GitReader, repository: str, tip: str, folder: str) -> None:
        self._git = git
        self._repository = repository
        self._tip = tip
        self._folder = folder

    def __contains__(self, revision: object) -> bool:
        """Whether it is one of them."""
        return revision == self._tip or revision in self._all()

    def _all(self) -> tuple[str, ...]:
        """Newest first; what was asked already is not asked again of Git."""
        changed = self._git.revisions(self._repository, self._tip, path=self._folder, limit=1)
        every = self._git.revisions(self._repository, self._tip, limit=SEARCHED_COMMITS)
        if not changed:
            return ()
        return every[: every.index(changed[0]) + 1] if changed[0] in every else every
