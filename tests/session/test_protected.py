"""Policy and keys come from the protected branch: a change cannot bring its own approver along."""

from __future__ import annotations

import subprocess

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import UnavailableError
from gitops_nb.session.protected import protected

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmQ0Yx1yTqvbSlKkPVQ8n0mJ0Jm0yQv7C6dD0wq0u1a"


def git(folder, *arguments):
    done = subprocess.run(
        ("git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def cloned(workspace, tmp_path):
    """The workspace in a repository whose origin has `main` as its default branch."""
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(workspace.root, "init", "--quiet", "--initial-branch=main")
    git(workspace.root, "add", "-A")
    git(workspace.root, "commit", "--quiet", "-m", "Begin")
    git(workspace.root, "remote", "add", "origin", str(origin))
    git(workspace.root, "push", "--quiet", "origin", "main")
    return workspace


def rules(workspace):
    where = find_workspace(workspace.root)
    return protected(where, load_catalog(where.runbooks), LocalProcesses())


def bring_along(workspace) -> None:
    """A change that makes its author an approver and takes the need for approval away."""
    workspace.replace(
        "runbooks/trust.yaml",
        "persons: []",
        f"persons: [{{person: eve, keys: [{{key: '{KEY}'}}]}}]",
    )
    workspace.replace(
        "runbooks/policy.yaml",
        "approvers: []",
        "approvers: [{person: eve, environments: [production]}]",
    )
    workspace.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")


def test_an_uncommitted_approver_is_none(cloned):
    """Files of the work tree do not say who may approve, nor whether approval is needed."""
    before = rules(cloned)
    source = before.source
    bring_along(cloned)
    found = rules(cloned)
    again = found.source
    assert found.policy.approvers == ()
    assert found.trust.persons == ()
    assert found.fleet.environments["production"].approval_required
    assert {k: v for k, v in again.items() if k != "not_in_force"} == source
    assert again["not_in_force"] == "fleet.yaml, policy.yaml, trust.yaml"
    assert "not_in_force" not in source
    assert before.fleet == found.fleet
    assert source["from"] == "origin/main"
    assert source["commit"] == git(cloned.root, "rev-parse", "HEAD")
    assert source["digest"].startswith("sha256:")
    assert before.policy == found.policy


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Production's cluster under a name that needs no approval.
        ('https://development.clusters.example"', 'https://production.clusters.example"'),
        # An environment of its own, without approval.
        ("  staging: {auto_deploy: true", "  shadow: {auto_deploy: true, approval_required: false}\n  staging: {auto_deploy: true"),
        # One application's files under another's name.
        ("apps/payments/{environment}", "apps/checkout/{environment}"),
    ],
)  # fmt: skip
def test_what_a_name_means_is_the_branchs(cloned, old, new):
    """A fleet of the work tree cannot reach production under another name."""
    before = rules(cloned)
    cloned.replace("runbooks/fleet.yaml", old, new)
    assert rules(cloned).fleet == before.fleet


def test_a_copy_of_the_rules_on_disk_is_not_believed(cloned):
    """What an earlier run read is read again from Git's objects, and a replacement of one is not followed."""
    rules(cloned)
    assert not (cloned.root / ".gitops-nb" / "protected").exists()
    old = git(cloned.root, "rev-parse", "HEAD:runbooks/fleet.yaml")
    cloned.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    new = git(cloned.root, "hash-object", "-w", "runbooks/fleet.yaml")
    git(cloned.root, "replace", old, new)
    assert rules(cloned).fleet.environments["production"].approval_required


def test_asking_leaves_the_history_of_a_clone_whole(cloned, tmp_path):
    """A commit that is fetched for its rules does not make the clone a shallow one."""
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), str(other))
    (other / "more").write_text("x")
    git(other, "add", "-A")
    git(other, "commit", "--quiet", "-m", "More")
    git(other, "push", "--quiet", "origin", "main")
    source = rules(cloned).source
    assert source["commit"] == git(other, "rev-parse", "HEAD")
    assert git(cloned.root, "rev-parse", "--is-shallow-repository") == "false"


def test_an_approver_on_another_branch_is_none(cloned):
    """Neither does a pushed branch: only the default one does, once the change is merged."""
    git(cloned.root, "checkout", "--quiet", "-b", "change")
    bring_along(cloned)
    git(cloned.root, "commit", "--quiet", "-am", "Let me")
    git(cloned.root, "push", "--quiet", "origin", "change")
    assert rules(cloned).policy.approvers == ()
    git(cloned.root, "push", "--quiet", "origin", "change:main")
    found = rules(cloned)
    source = found.source
    assert [a.person for a in found.policy.approvers] == ["eve"]
    assert source["commit"] == git(cloned.root, "rev-parse", "change")


def test_an_origin_that_does_not_answer_is_unavailable(cloned):
    """Nobody falls back to the files of the work tree."""
    git(cloned.root, "remote", "set-url", "origin", str(cloned.root / "gone.git"))
    bring_along(cloned)
    with pytest.raises(UnavailableError, match="origin does not answer"):
        rules(cloned)


def test_only_the_files_that_differ_are_named(cloned):
    """An edit of one file, committed here or not, and a file that only the branch has; a commit elsewhere in the repository is no edit."""
    cloned.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    assert rules(cloned).source["not_in_force"] == "fleet.yaml"
    git(cloned.root, "commit", "--quiet", "-am", "Not pushed")
    assert rules(cloned).source["not_in_force"] == "fleet.yaml"
    git(cloned.root, "push", "--quiet", "origin", "main")
    assert "not_in_force" not in rules(cloned).source
    (cloned.root / "notes").write_text("x")
    git(cloned.root, "add", "-A")
    git(cloned.root, "commit", "--quiet", "-m", "Notes")
    assert "not_in_force" not in rules(cloned).source
    (cloned.root / "runbooks" / "trust.yaml").unlink()
    assert rules(cloned).source["not_in_force"] == "trust.yaml"


def test_a_workspace_without_origin_says_so(workspace):
    """Its files are all there is, and the record says that they were used."""
    assert rules(workspace).source["from"] == "workspace"
