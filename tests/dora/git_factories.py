"""Small real repositories with clocks under the test's control."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.process import LocalProcesses

T = 1_760_000_000


@dataclass
class Repository:
    """A work tree that commits at given times."""

    path: Path
    now_s: int = T
    commits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begins an empty repository."""
        self.path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *argv: str, authored_s: int | None = None, author: str = "Ann Author") -> str:
        """Plain git; commits get the present time, and another author time when one is given."""
        done = subprocess.run(
            ("git", *argv),
            cwd=self.path,
            capture_output=True,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_AUTHOR_NAME": author,
                "GIT_AUTHOR_EMAIL": "ann@example.org",
                "GIT_COMMITTER_NAME": "c",
                "GIT_COMMITTER_EMAIL": "c@example.org",
                "GIT_AUTHOR_DATE": f"{authored_s or self.now_s} +0000",
                "GIT_COMMITTER_DATE": f"{self.now_s} +0000",
            },
        )
        return done.stdout.decode().strip()

    def commit(
        self,
        files: dict[str, str | None],
        *,
        message: str = "change",
        after_s: int = 60,
        authored_s: int | None = None,
        author: str = "Ann Author",
    ) -> str:
        """Writes files (None: deletes) and commits them ``after_s`` later."""
        self.now_s += after_s
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git(
            "commit", "-q", "--allow-empty", "-m", message, authored_s=authored_s, author=author
        )
        return self.head()

    def head(self) -> str:
        """The commit that is checked out."""
        sha = self.git("rev-parse", "HEAD")
        self.commits.append(sha)
        return sha


def reader(cache: Path, **repositories: Path) -> GitHistory:
    """The adapter over repositories by name, on their branch main."""
    return GitHistory(
        {name: Remote(f"file://{path}", "main") for name, path in repositories.items()},
        cache=cache,
        processes=LocalProcesses(),
        author=("t", "t@example.org"),
    )
