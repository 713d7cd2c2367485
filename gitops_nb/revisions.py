"""Which commits are the same for an application: those between which nobody touches its folder."""

from __future__ import annotations

import re

from gitops_nb.ports import GitReader

FULL_ID = re.compile(r"[0-9a-f]{40}")


class EquivalentRevisions:
    """Commits with the same files below ``folder`` as the tip, the tip included; a ``Container`` of their ids.

    From any of them to the tip no commit touches the folder, not even one that a later one takes back: a cluster behind
    that has both still before it.
    """

    def __init__(self, git: GitReader, repository: str, tip: str, folder: str) -> None:
        self._git = git
        self._repository = repository
        self._tip = tip
        self._folder = folder

    def __contains__(self, revision: object) -> bool:
        """Whether it is one of them. Most often a cluster is at the tip itself, and Git is not asked."""
        if revision == self._tip:
            return True
        # A chart's revision is its version.
        return (
            isinstance(revision, str)
            and FULL_ID.fullmatch(revision) is not None
            and self._git.is_untouched(self._repository, self._folder, revision, self._tip)
        )
