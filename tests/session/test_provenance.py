"""What a record says about its surroundings, also where something is missing."""

from __future__ import annotations

import re
import shutil

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.session.provenance import source_of, tools_of
from gitops_nb.session.requester import ci_identity
from tests.session.test_protected import git


def test_a_missing_tool_is_said_and_stops_nothing(monkeypatch, tmp_path):
    """A run needs neither version; what it needs says so itself."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools_of(LocalProcesses()) == {"git": "not installed", "openssh": "not installed"}


def test_versions_are_the_programs_own():
    """As they print them."""
    found = tools_of(LocalProcesses())
    assert set(found) == {"git", "openssh"}
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())


def test_outside_of_a_repository_there_is_no_source(tmp_path):
    """An empty value, not a wrong one."""
    assert source_of(tmp_path, LocalProcesses()) == {}
    (tmp_path / ".git").mkdir()
    assert source_of(tmp_path, LocalProcesses()) == {}


@pytest.fixture
def repository(tmp_path):
    """A workspace in a subfolder of a repository, with one commit."""
    root = tmp_path / "repository" / "ops"
    (root / "runbooks").mkdir(parents=True)
    (root / "gitops-nb.yaml").write_text("kind: Workspace\n")
    (root / "runbooks" / "fleet.yaml").write_text("kind: Fleet\n")
    (root / ".gitignore").write_text(".ipynb_checkpoints\n")
    git(root, "init", "--quiet", "--initial-branch=main", "..")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "First")
    return root


def is_dirty(root) -> bool:
    found = source_of(root, LocalProcesses())
    assert (found["commit"], found["branch"]) == (git(root, "rev-parse", "HEAD"), "main")
    return found["dirty"]


def test_what_differs_from_the_commit_is_dirty(repository):
    """A file of the workspace that is changed, missing, new or a link; what Git ignores, and others' files, are not."""
    fleet = repository / "runbooks" / "fleet.yaml"
    assert not is_dirty(repository)
    (repository / "notebooks" / ".ipynb_checkpoints").mkdir(parents=True)
    (repository / "notebooks" / ".ipynb_checkpoints" / "a.ipynb").write_text("{}")
    (repository.parent / "README.md").write_text("else")
    assert not is_dirty(repository)
    fleet.write_text("kind: Fleet \n")
    assert is_dirty(repository)
    fleet.unlink()
    assert is_dirty(repository)
    fleet.symlink_to("../gitops-nb.yaml")
    assert is_dirty(repository)
    fleet.unlink()
    fleet.write_text("kind: Fleet\n")
    assert not is_dirty(repository)
    (repository / "notebooks" / "a.ipynb").write_text("{}")
    assert is_dirty(repository)


def test_a_branch_without_a_commit_and_a_commit_without_a_branch_are_said(repository):
    """Both are no names of what is not there."""
    git(repository, "checkout", "--quiet", "--detach")
    assert source_of(repository, LocalProcesses())["branch"] == "(detached)"
    git(repository, "checkout", "--quiet", "--orphan", "next")
    found = source_of(repository, LocalProcesses())
    assert (found["commit"], found["branch"], found["dirty"]) == ("(initial)", "next", True)


@pytest.mark.parametrize("way", ["clean", "process", "hook", "monitor", "promisor"])
def test_nothing_that_a_repository_names_is_run(repository, way):
    """Whoever writes there chooses filters, hooks and remotes: none of them is a program of this process."""
    ran = repository.parent.parent / "ran"
    program = repository.parent.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    program.chmod(0o755)
    folder = repository.parent / ".git"
    match way:
        case "clean" | "process":
            git(repository, "config", f"filter.evil.{way}", str(program))
            (folder / "info").mkdir(exist_ok=True)
            (folder / "info" / "attributes").write_text("*.yaml filter=evil\n")
        case "hook":
            (folder / "hooks").mkdir(exist_ok=True)
            shutil.copy(program, folder / "hooks" / "post-index-change")
        case "monitor":
            git(repository, "config", "core.fsmonitor", str(program))
        case "promisor":
            git(repository, "config", "extensions.partialClone", "origin")
            git(repository, "config", "core.repositoryFormatVersion", "1")
            git(repository, "config", "remote.origin.url", "ssh://nowhere.example/x")
            git(repository, "config", "remote.origin.promisor", "true")
            git(repository, "config", "core.sshCommand", str(program))
            tree = git(repository, "rev-parse", "HEAD^{tree}")
            (folder / "objects" / tree[:2] / tree[2:]).unlink()
    (repository / "gitops-nb.yaml").touch()
    (repository / "runbooks" / "fleet.yaml").write_text("kind: Fleet # other\n")
    assert is_dirty(repository)
    assert not ran.exists()


def test_a_name_that_nobody_proves_is_one_line(monkeypatch):
    """It stands in the commit's message: a second line there could be a trailer that names a ledger or a run."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", "eve\n\nGitops-Nb-Ledger: 9:0:0\x1b[31m")
    asks = ci_identity()
    assert asks is not None
    assert asks.name == "eve  Gitops-Nb-Ledger: 9:0:0 [31m"
