"""The commit graph of a repository through git's plumbing: what a revision contains, and which patches are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_text import SHA, epoch_s, rows_of
from gitops_nb.adapters.git_words import reason_of
from gitops_nb.errors import UnavailableError
from gitops_nb.ports import GraphCommit
from gitops_nb.refs import is_branch

_LOG_S = 120.0
_FORMAT = "%H%x00%P%x00%at%x00%ct%x00%an%x00%ae%x00%B"
_FIELDS = 7
_REVERT = re.compile(r"^This reverts commit ([0-9a-f]{40})", re.MULTILINE)
_BOT = re.compile(
    r"\[bot\]|\b(renovate|dependabot|argocd-image-updater|github-actions|snyk-bot|gitops-nb)\b",
    re.IGNORECASE,
)
_PATCH_COMMITS = 500
"""Commits whose patches are in memory at once."""


class GitHistory(Git):
    """Git with its commit graph; implements ``ports.HistoryReader`` beside what ``Git`` implements."""

    def refresh(self, repository: str) -> None:
        """See ``ports.HistoryReader.refresh``."""
        self._fetch(repository)

    def graph(
        self,
        repository: str,
        revisions: Sequence[str],
        *,
        without: Sequence[str] = (),
        folders: Sequence[str] = (),
    ) -> tuple[GraphCommit, ...]:
        """See ``ports.HistoryReader.graph``."""
        if not revisions:
            return ()
        # Full history: a path alone would let git follow one parent of a merge that changed nothing there.
        paths = ("--full-history", "--", *folders) if folders else ("--",)
        asked = "\n".join([*map(_full, revisions), *(f"^{_full(sha)}" for sha in without)])
        done = self._in_cache(
            repository,
            ("log", "-z", "--topo-order", f"--format={_FORMAT}", "--stdin", *paths),
            stdin=f"{asked}\n".encode(),
            timeout_s=_LOG_S,
        )
        if done.exit_code != 0:
            raise UnavailableError(f"{repository}: {reason_of(done)}")
        return tuple(_parse(row) for row in rows_of(done.stdout, _FIELDS))

    def patch_ids(self, repository: str, shas: Iterable[str]) -> Mapping[str, str]:
        """See ``ports.HistoryReader.patch_ids``."""
        wanted = [_full(sha) for sha in shas]
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _PATCH_COMMITS):
            part = "\n".join(wanted[start : start + _PATCH_COMMITS])
            patches = self._answer(
                repository,
                ("diff-tree", "--stdin", "--root", "-p", "-r", "--no-ext-diff", "--no-textconv"),
                stdin=f"{part}\n".encode(),
                timeout_s=_LOG_S,
            )
            done = self._answer(
                repository, ("patch-id", "--stable"), stdin=patches.output, timeout_s=_LOG_S
            )
            found |= {
                sha: patch for patch, sha in (line.split(" ") for line in done.stdout.splitlines())
            }
        return found

    def resolve_all(self, repository: str, names: Iterable[str]) -> Mapping[str, str]:
        """See ``ports.HistoryReader.resolve_all``."""
        asked = [name for name in dict.fromkeys(names) if is_branch(name)]
        done = self._answer(
            repository,
            ("cat-file", "--batch-check=%(objectname)"),
            stdin="".join(f"{name}^{{commit}}\n" for name in asked).encode(),
            timeout_s=_LOG_S,
        )
        # An unknown or ambiguous name answers with a sentence instead of an id; hints go to stderr.
        answers = done.stdout.splitlines()
        return {
            name: answer
            for name, answer in zip(asked, answers, strict=False)
            if SHA.fullmatch(answer)
        }


def _full(sha: str) -> str:
    if not SHA.fullmatch(sha):
        raise UnavailableError(f"{sha!r} is not a full commit id")
    return sha


def _parse(row: list[str]) -> GraphCommit:
    sha, parents, authored, committed, name, mail, body = row
    reverted = _REVERT.search(body)
    return GraphCommit(
        sha=sha.lstrip("\n"),
        parents=tuple(parents.split()),
        authored_s=epoch_s(authored),
        committed_s=epoch_s(committed),
        is_bot=bool(_BOT.search(f"{name} {mail}")),
        is_revert_of=reverted[1] if reverted else "",
    )
