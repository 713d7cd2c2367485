"""What else stands in real repositories: links, submodules, branches of any name, objects with longer names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UsageError
from gitops_nb.refs import is_branch
from tests.adapters.test_git import git, opened

BRANCHES = ("feature/#42", "größe", "x'y\"z", "a&b;c$d", "tag(1)!", "日本/🚀", "a,b=c", "refs/heads/main", "-".join("ab"), "%41", "a{b}", "@")  # fmt: skip


@pytest.fixture
def work(tmp_path) -> Path:
    """A work tree with a linked file, a linked folder and a submodule."""
    work = tmp_path / "work"
    (work / "base").mkdir(parents=True)
    (work / "apps").mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "base/d.yaml").write_text("image: r/c:v1\n")
    (work / "apps/real.yaml").write_text("image: r/c:v1\n")
    (work / "apps/d.yaml").symlink_to("../base/d.yaml")
    (work / "apps/linked").symlink_to("../base")
    (work / "apps/away.yaml").symlink_to("/etc/hostname")
    git("add", ".", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{'12' * 20},vendor/sub", cwd=work)
    git("commit", "-q", "-m", "odd", cwd=work)
    return work


@pytest.fixture
def bare(work, tmp_path) -> Path:
    """The bare repository of it."""
    git("clone", "-q", "--bare", ".", str(tmp_path / "r.git"), cwd=work)
    return tmp_path / "r.git"


@pytest.fixture
def adapter(bare, tmp_path) -> Git:
    """The adapter with an empty cache."""
    return opened(bare, tmp_path / "cache")


ODD = [
    ("apps/d.yaml", "apps/d.yaml is a symbolic link to base/d.yaml; name base/d.yaml\n"),
    ("apps/linked/d.yaml", "apps/linked is a symbolic link to base; name base/d.yaml\n"),
    ("apps/linked", "apps/linked is a symbolic link to base; name base\n"),
    ("apps/away.yaml", "apps/away.yaml is a symbolic link to /etc/hostname, outside"),
    ("vendor/sub", "vendor/sub is a submodule, another repository at commit 12121212"),
    ("vendor/sub/x.yaml", "vendor/sub is a submodule"),
]


@pytest.mark.parametrize(("path", "said"), ODD)
def test_links_and_submodules_are_named_when_read(adapter, path, said):
    """A link is neither a file with its target in it nor nothing."""
    tip = adapter.tip("r", "main")
    with pytest.raises(UsageError, match=said):
        adapter.read_many("r", tip, ("apps/real.yaml", path))
    assert adapter.read("r", tip, "apps/none.yaml") is None
    assert adapter.read("r", tip, "apps") is None
    found = adapter.read("r", tip, "apps/real.yaml")
    assert found is not None
    assert found.content == b"image: r/c:v1\n"


@pytest.mark.parametrize(("path", "said"), ODD)
def test_nothing_is_written_through_a_link_or_a_submodule(adapter, bare, path, said):
    """The commit would put a file in the place of the link; none is made."""
    tip = adapter.tip("r", "main")
    with pytest.raises(UsageError, match=said):
        adapter.commit("r", branch="main", parent=tip, files={path: b"x: 1\n"}, message="m")
    assert git("rev-parse", "main", cwd=bare) == tip


def test_a_linked_folder_is_named_when_listed(adapter):
    """Instead of a folder that is not there; a folder that is not there stays an empty one."""
    tip = adapter.tip("r", "main")
    with pytest.raises(UsageError, match="apps/linked is a symbolic link"):
        adapter.list_files("r", tip, "apps/linked")
    assert adapter.list_files("r", tip, "nowhere") == ()


def test_in_a_history_a_link_is_no_file(adapter, work, bare):
    """A file that becomes a link has no content from then on, and its status says why."""
    (work / "apps/real.yaml").unlink()
    (work / "apps/real.yaml").symlink_to("../base/d.yaml")
    git("commit", "-q", "-a", "-m", "link", cwd=work)
    git("push", "-q", str(bare), "main", cwd=work)
    tip = adapter.tip("r", "main")
    found = [(c.status, c.content) for c in adapter.changes("r", tip, folders=("apps/real.yaml",))]
    assert found == [("A", b"image: r/c:v1\n"), ("L", None)]


@pytest.mark.parametrize("branch", BRANCHES)
def test_any_branch_is_read_and_written(work, bare, tmp_path, branch):
    """Whatever git accepts as its name, and only that branch moves."""
    git("push", "-q", str(bare), f"main:refs/heads/{branch}", cwd=work)
    adapter = opened(bare, tmp_path / "cache")
    tip = adapter.tip("r", branch)
    sha = adapter.commit(
        "r", branch=branch, parent=tip, files={"base/d.yaml": b"image: r/c:v2\n"}, message="m"
    )
    assert adapter.tip("r", branch) == sha
    assert adapter.tip("r", "main") == tip
    if not branch.startswith("refs/"):  # that is another branch in full
        assert adapter.resolve("r", branch) == sha


def test_a_branch_with_the_other_name_at_its_end_is_another_one(work, bare, tmp_path):
    """The remote lists both for one name, the wrong one first."""
    tip = git("rev-parse", "main", cwd=work)
    git("commit", "-q", "--allow-empty", "-m", "elsewhere", cwd=work)
    git("push", "-q", str(bare), "HEAD:refs/heads/a/refs/heads/main", cwd=work)
    assert opened(bare, tmp_path / "cache").tip("r", "main") == tip


def test_branch_names_are_judged_as_git_judges_them():
    """The same answer as `git check-ref-format`, for names of every forbidden kind."""
    names = [*BRANCHES, "main", "-x", "a..b", "a b", "a~1", "a^", "a:b", "a?b", "a*b", "a[b", "a\\b", ".a", "a/.b", "a.", "a.lock",
             "a.lock/b", "a//b", "/a", "a/", "a@{b", "@", "a@", "@a", "a/@", "\x7f", "a\tb", "a.lockx", "a/b.", "{a}"]  # fmt: skip
    for name in names:
        done = subprocess.run(
            ("git", "check-ref-format", "--branch", name), capture_output=True, check=False
        )
        assert is_branch(name) is (done.returncode == 0), name


def test_a_repository_with_longer_names_is_named(tmp_path):
    """SHA-256 object names are said to be the reason, by every way to it; nothing is said of a missing branch."""
    work = tmp_path / "long"
    work.mkdir()
    git("init", "-q", "-b", "main", "--object-format=sha256", cwd=work)
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=work)
    adapter = Git(
        {"r": Remote(f"file://{work}", "main")},
        cache=tmp_path / "cache",
        processes=LocalProcesses(),
        author=("n", "n@example.org"),
    )
    for ask in (adapter.tip, adapter.resolve):
        with pytest.raises(UsageError, match="repository r uses SHA-256 object names"):
            ask("r", "main")


def test_control_characters_of_a_commit_end_no_reading(work, bare, tmp_path):
    """A byte that Git allows in a message and in a name splits no record: all commits are read, with their trailers."""
    git("commit", "-q", "--allow-empty", "-m", "a\x01b\x02\n\nGitops-Nb-Run: x\x0by\x1cGitops-Nb-Plan: z", cwd=work)  # fmt: skip
    git("-c", "user.name=ev\x01e\x7f", "commit", "-q", "--allow-empty", "-m", "second\n\nA: b", cwd=work)  # fmt: skip
    git("push", "-q", str(bare), "main", cwd=work)
    remotes = {"r": Remote(str(bare), "main")}
    found = GitHistory(remotes, cache=tmp_path / "cache", processes=LocalProcesses(), author=("n", "n@x.org"))  # fmt: skip
    tip = found.tip("r", "main")
    newest, odd, first = found.log("r", tip)
    assert (newest.subject, dict(newest.trailers)) == ("second", {"A": "b"})
    assert odd.subject == "a\x01b\x02"
    assert "Gitops-Nb-Plan" not in odd.trailers
    assert newest.parents == (odd.sha,)
    assert [one.sha for one in found.graph("r", (tip,))] == [newest.sha, odd.sha, first.sha]
