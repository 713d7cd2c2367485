"""Which workspace a pin is for, and where its register is, is chosen by nobody who writes files there or sets a variable."""

from __future__ import annotations

import shutil

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.session import origins
from gitops_nb.session.protected import protected
from tests.session.test_origins import _pins, ground_of  # noqa: F401  a fixture
from tests.session.test_protected import cloned, git  # noqa: F401  a fixture

LIVE = "kind: Workspace\nmode: live\n"


@pytest.fixture
def pinned(cloned):  # noqa: F811
    """A workspace whose origin is pinned."""
    url = git(cloned.root, "remote", "get-url", "origin")
    origins.pin(cloned.root, url, "main")
    return cloned


def made(folder, pinned):
    """A workspace in a folder, whose production needs no approval."""
    shutil.copytree(pinned.root / "runbooks", folder / "runbooks")
    (folder / "gitops-nb.yaml").write_text(LIVE)
    fleet = folder / "runbooks" / "fleet.yaml"
    text = fleet.read_text()
    fleet.write_text(text.replace("approval_required: true", "approval_required: false"))
    return folder


def rules_here():
    """The rules of the workspace that the current folder, or a variable, chooses."""
    where = find_workspace()
    return protected(where, load_catalog(where.runbooks), LocalProcesses())


@pytest.mark.parametrize("own", [True, False])
def test_a_workspace_inside_a_pinned_one_is_none(pinned, monkeypatch, own):
    """JupyterLab starts a kernel in the notebook's folder: a gitops-nb.yaml there loses no pin, with a repository of its own or not."""
    folder = made(pinned.root / "notebooks", pinned)
    if own:
        git(folder, "init", "--quiet")
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigurationError, match=r"nobody pinned an origin for .*/notebooks"):
        rules_here()
    (folder / "gitops-nb.yaml").unlink()
    assert rules_here().is_pinned


def test_a_workspace_around_or_beside_a_pinned_one_is_none(pinned, tmp_path, monkeypatch):
    """In the same repository whoever writes its tree would choose; elsewhere a folder of its own is a workspace of its own."""
    inner = made(pinned.root / "inner", pinned)
    origins.unpin(pinned.root)
    origins.pin(inner, git(pinned.root, "remote", "get-url", "origin"), "main")
    for folder in (pinned.root, made(pinned.root / "beside", pinned)):
        monkeypatch.chdir(folder)
        with pytest.raises(ConfigurationError, match="which of the two is meant"):
            rules_here()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(made(tmp_path / "elsewhere", pinned))
    assert rules_here().source["from"] == "workspace"


def test_a_variable_names_no_workspace_without_a_pin(pinned, tmp_path, monkeypatch):
    """A person may, on the command line; a variable may name the one that is pinned."""
    folder = made(tmp_path / "other", pinned)
    monkeypatch.chdir(pinned.root)
    monkeypatch.setenv("GITOPS_NB_WORKSPACE", str(folder))
    with pytest.raises(ConfigurationError, match="GITOPS_NB_WORKSPACE names"):
        rules_here()
    said = find_workspace(folder)
    assert not protected(said, load_catalog(said.runbooks), LocalProcesses()).is_pinned
    monkeypatch.setenv("GITOPS_NB_WORKSPACE", str(pinned.root))
    assert rules_here().is_pinned


@pytest.mark.parametrize("is_pinned", [True, False])
@pytest.mark.parametrize("line", ["locks", "reports"])
def test_the_work_tree_does_not_move_the_register(pinned, line, is_pinned):
    """A bucket that nobody merged is refused; merged it counts, and taking it out of the tree is refused again."""
    if not is_pinned:
        origins.unpin(pinned.root)
    file = pinned.root / "gitops-nb.yaml"
    before = file.read_text()
    kept = "".join(x for x in before.splitlines(True) if not x.startswith(f"{line}:"))
    file.write_text(f"{kept}{line}: gs://attackers-bucket/x\n")
    with pytest.raises(ConfigurationError, match="work tree has its locks and register in gs://"):
        ground_of(pinned)
    git(pinned.root, "commit", "--quiet", "-am", "A bucket")
    git(pinned.root, "push", "--quiet", "origin", "HEAD:main")
    assert ground_of(pinned).source["from"] == "origin/main"
    file.write_text(before)
    with pytest.raises(ConfigurationError, match="in no bucket, and origin/main in gs://"):
        ground_of(pinned)
