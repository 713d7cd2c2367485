"""Which commits are the same for an application: those that do not touch its folder."""

from __future__ import annotations

from gitops_nb.ports import GitReader

SEARCHED_COMMITS = 500
"""How far back commits count as equal for an application whose folder they do not touch."""


def equivalent_revisions(git: GitReader, repository: str, tip: str, folder: str) -> tuple[str, ...]:
    """Commits with the same files below ``folder`` as the tip, newest first, the tip included."""
    changed = git.log(repository, tip, path=folder, limit=1)
    if not changed:
        return (tip,)
    revisions: list[str] = []
    for commit in git.log(repository, tip, limit=SEARCHED_COMMITS):
        revisions.append(commit.sha)
        if commit.sha == changed[0].sha:
            break
    return tuple(revisions)
