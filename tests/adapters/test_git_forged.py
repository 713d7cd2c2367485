"""A cache that somebody changed: replaced, grafted and forged objects, and settings that send a push elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from gitops_nb.adapters.git_proven import blob_id
from gitops_nb.errors import ConfigurationError, UnavailableError
from tests.adapters.test_git import adapter, bare, git, opened

__all__ = ["adapter", "bare"]

NEW = {"a/x.yaml": b"v: 3\n"}


def cache_of(adapter, tmp_path: Path) -> tuple[Path, str]:
    """The adapter's cache, and the tip in it."""
    tip = adapter.tip("r", "main")
    return tmp_path / "cache" / "r.git", tip


def in_cache(folder: Path, *arguments: str, text: str = "") -> str:
    return subprocess.run(
        ("git", "--git-dir", str(folder), "-c", "user.name=e", "-c", "user.email=e@x.org", *arguments),
        input=text, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def forged_tree(folder: Path) -> str:
    """A tree with a file that nobody asked for."""
    blob = in_cache(folder, "hash-object", "-w", "--stdin", text="evil: true\n")
    return in_cache(folder, "mktree", text=f"100644 blob {blob}\tevil.yaml\n")


def overwrite(folder: Path, sha: str, kind: str, content: bytes) -> None:
    """Puts other bytes under an object's name."""
    path = folder / "objects" / sha[:2] / sha[2:]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))


def commit(adapter, tip: str) -> str:
    return adapter.commit("r", branch="main", parent=tip, files=NEW, message="three")


def files_of(bare: Path) -> list[str]:
    return sorted(
        git("ls-tree", "-r", "--name-only", "-z", "main", cwd=bare).strip("\0").split("\0")
    )


def test_a_replaced_commit_is_not_followed(adapter, bare, tmp_path):
    """`git replace` in the cache: the commit changes its one file all the same, and nothing comes along."""
    folder, tip = cache_of(adapter, tmp_path)
    before = files_of(bare)
    other = in_cache(folder, "commit-tree", forged_tree(folder), "-m", "x")
    in_cache(folder, "replace", tip, other)
    commit(adapter, tip)
    assert files_of(bare) == before
    assert git("show", "main:a/x.yaml", cwd=bare) == "v: 3"


@pytest.mark.parametrize("what", ["the tree", "the file's folder", "the file"])
def test_a_forged_object_ends_before_the_push(adapter, bare, tmp_path, what):
    """Other bytes under the id of a tree or a file: named, and nothing is pushed; a new cache goes through."""
    folder, tip = cache_of(adapter, tmp_path)
    name = {
        "the tree": f"{tip}^{{tree}}",
        "the file's folder": f"{tip}:a",
        "the file": f"{tip}:a/x.yaml",
    }[what]
    sha = in_cache(folder, "rev-parse", name)
    for pack in folder.glob("objects/pack/*.pack"):
        content = pack.read_bytes()
        for other in folder.glob("objects/pack/*"):
            other.unlink()
        subprocess.run(("git", "--git-dir", str(folder), "unpack-objects", "-q"), input=content, check=True)  # fmt: skip
    if what == "the file":
        overwrite(folder, sha, "blob", b"v: 2 # forged\n")
        with pytest.raises(UnavailableError, match="is not what its id says"):
            adapter.read("r", tip, "a/x.yaml")
    else:
        kind = subprocess.run(
            ("git", "--git-dir", str(folder), "cat-file", "tree", sha), capture_output=True, check=True
        ).stdout  # fmt: skip
        evil = bytes.fromhex(in_cache(folder, "hash-object", "-w", "--stdin", text="evil: true\n"))
        overwrite(folder, sha, "tree", kind + b"100644 zz.yaml\0" + evil)
        with pytest.raises(UnavailableError, match=r"was changed by somebody.*nothing was pushed"):
            commit(adapter, tip)
    assert git("rev-parse", "main", cwd=bare) == tip
    fresh = opened(bare, tmp_path / "fresh")
    assert fresh.read("r", tip, "a/x.yaml").content == b"v: 2\n"
    commit(fresh, tip)
    assert git("show", "main:a/x.yaml", cwd=bare) == "v: 3"


@pytest.mark.parametrize("setting", ["insteadOf", "pushInsteadOf"])
def test_a_persons_settings_move_nothing(adapter, bare, tmp_path, monkeypatch, setting):
    """A push goes to the address of fleet.yaml, whatever this user's configuration makes of it."""
    url = adapter.effective_url("r")
    file = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    moved = ("git", "config", "-f", str(file), f"url.file:///evil.git.{setting}", url)
    subprocess.run(moved, check=True)
    assert adapter.effective_url("r") == url
    commit(adapter, adapter.tip("r", "main"))
    assert git("show", "main:a/x.yaml", cwd=bare) == "v: 3"


@pytest.mark.parametrize(
    "line",
    [
        '[url "file:///evil.git"]\n\tpushInsteadOf = file:///',
        "[http]\n\tproxy = http://127.0.0.1:1",
        "[http] sslVerify = false",
        "[core]\n\tsshCommand = /x",
        "[include]\n\tpath = /x",
    ],
)
def test_a_cache_whose_config_somebody_edited_is_named(adapter, bare, tmp_path, line):
    """Where Git goes, who answers and what it runs are said there: nothing is done; a new cache goes through."""
    folder, tip = cache_of(adapter, tmp_path)
    with (folder / "config").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigurationError, match=r"somebody edited .* its config has"):
        commit(adapter, tip)
    assert git("rev-parse", "main", cwd=bare) == tip
    shutil.rmtree(folder)
    commit(opened(bare, tmp_path / "fresh"), tip)
    assert git("show", "main:a/x.yaml", cwd=bare) == "v: 3"


def test_a_blobs_id_is_gits(bare):
    """The id that is held against a commit's entry is the one that git gives."""
    assert blob_id(b"v: 2\n") == git("rev-parse", "main:a/x.yaml", cwd=bare)
