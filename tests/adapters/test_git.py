"""The Git adapter against real repositories: reads, compare-and-swap pushes, and arguments that are none."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_words import is_cut_off, reason_of
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import ConflictError, UnavailableError, UsageError
from gitops_nb.ports import Completed
from gitops_nb.revisions import EquivalentRevisions


def git(*argv: str, cwd: Path, stdin: bytes = b"") -> str:
    """Plain git."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ("git", *identity, *argv), cwd=cwd, input=stdin, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def bare(tmp_path) -> Path:
    """A bare repository with three commits, one of them an executable file."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    for number, (name, text) in enumerate(
        [("a/x.yaml", "v: 1\n"), ("b/ü y.yaml", "w: 1\n"), ("a/x.yaml", "v: 2\n")]
    ):
        path = work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        if number == 0:
            path.chmod(0o755)
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", f"commit {number}\n\nGitops-Nb-Run: r{number}", cwd=work)
    git("tag", "rel-1", cwd=work)
    git("clone", "-q", "--bare", ".", str(tmp_path / "r.git"), cwd=work)
    return tmp_path / "r.git"


@pytest.fixture
def adapter(bare, tmp_path) -> Git:
    """The adapter with an empty cache."""
    return opened(bare, tmp_path / "cache")


def opened(bare: Path, cache: Path) -> Git:
    """An adapter with a cache of its own."""
    return Git(
        {"r": Remote(f"file://{bare}", "main")},
        cache=cache,
        processes=LocalProcesses(),
        author=("n", "n@example.org"),
    )


def test_it_reads_what_git_has(adapter, bare):
    """Tip, file, folder, log with trailers, changes with contents."""
    tip = adapter.tip("r", "main")
    assert tip == git("rev-parse", "main", cwd=bare)
    assert adapter.read("r", tip, "a/x.yaml").content == b"v: 2\n"
    assert adapter.read("r", tip, "a/x.yaml").blob_id == git("rev-parse", "main:a/x.yaml", cwd=bare)
    assert adapter.read("r", tip, "nope") is None
    assert adapter.read("r", tip, "a") is None
    paths = ("a/x.yaml", "nope\t1 blob 9", "a", "b/ü y.yaml", "a/x.yaml")
    found = adapter.read_many("r", tip, paths)
    assert [blob and blob.path for blob in found] == [paths[0], None, None, paths[3], paths[4]]
    assert found[0] == found[4] == adapter.read("r", tip, "a/x.yaml")
    assert found[3].content == git("show", "main:b/ü y.yaml", cwd=bare).encode() + b"\n"
    assert adapter.read_many("r", tip, ()) == ()
    assert adapter.list_files("r", tip, "b") == ("b/ü y.yaml",)
    assert adapter.resolve("r", "rel-1") == tip
    assert adapter.resolve("r", "nope") is None
    assert [c.trailers["Gitops-Nb-Run"] for c in adapter.log("r", tip, path="a/x.yaml")] == [
        "r2",
        "r0",
    ]
    found = [(c.status, c.path, c.content) for c in adapter.changes("r", tip)]
    assert found == [
        ("A", "a/x.yaml", b"v: 1\n"),
        ("A", "b/ü y.yaml", b"w: 1\n"),
        ("M", "a/x.yaml", b"v: 2\n"),
    ]


def test_revisions_are_equal_for_a_folder_that_nobody_touches_between_them(adapter, bare):
    """From the tip down to the commit that changed the folder last, and beyond the tip; for the tip itself git is not asked."""
    tip = adapter.tip("r", "main")
    first, second, third = git("rev-list", "--reverse", "main", cwd=bare).split()
    assert tip == third
    others = (first, second, third, "0" * 40, "8.1.3", "", "main")
    equal = {
        folder: [r for r in others if r in EquivalentRevisions(adapter, "r", tip, folder)]
        for folder in ("a", "b", "nowhere", "")
    }
    assert equal == {
        "a": [third],
        "b": [second, third],
        "nowhere": [first, second, third],
        "": [third],
    }
    assert tip in EquivalentRevisions(None, "r", tip, "a")
    seen_before = EquivalentRevisions(adapter, "r", second, "b"), EquivalentRevisions(adapter, "r", second, "a")  # fmt: skip
    assert [tip in equal for equal in seen_before] == [True, False]


def test_a_change_that_was_taken_back_is_no_equal_revision(adapter, bare):
    """The files are the same again; a cluster that is still at the first revision has not seen either change."""
    tip = adapter.tip("r", "main")
    there = adapter.commit("r", branch="main", parent=tip, files={"a/x.yaml": b"v: 3\n"}, message="there")  # fmt: skip
    back = adapter.commit("r", branch="main", parent=there, files={"a/x.yaml": b"v: 2\n"}, message="back")  # fmt: skip
    assert tip not in EquivalentRevisions(adapter, "r", back, "a")
    assert tip in EquivalentRevisions(adapter, "r", back, "b")


def test_a_commit_changes_its_files_and_nothing_else(adapter, bare):
    """One commit on the given parent; mode and all other files stay."""
    tip = adapter.tip("r", "main")
    sha = adapter.commit(
        "r", branch="main", parent=tip, files={"a/x.yaml": b"v: 3\r\n"}, message="m\n\nA: b\n"
    )
    assert git("rev-parse", "main", cwd=bare) == sha
    assert git("rev-parse", f"{sha}^", cwd=bare) == tip
    assert git("diff", "--name-status", tip, sha, cwd=bare) == "M\ta/x.yaml"
    assert git("ls-tree", sha, "a/x.yaml", cwd=bare).startswith("100755")
    assert adapter.read("r", sha, "a/x.yaml").content == b"v: 3\r\n"
    assert git("fsck", "--strict", cwd=bare) == ""


def test_a_moved_tip_is_a_conflict_and_changes_nothing(adapter, bare, tmp_path):
    """Never a merge, never a rebase."""
    tip = adapter.tip("r", "main")
    other = opened(bare, tmp_path / "other")
    moved = other.commit("r", branch="main", parent=tip, files={"c": b"1"}, message="other")
    with pytest.raises(ConflictError, match="moved"):
        adapter.commit(
            "r", branch="main", parent=tip, files={"a/x.yaml": b"v: 9\n"}, message="late"
        )
    assert git("rev-parse", "main", cwd=bare) == moved


def test_no_update_is_lost_among_racing_writers(bare, tmp_path):
    """Eight writers on one branch: each commit is there once, on a linear history."""

    def write(number: int) -> str:
        adapter = opened(bare, tmp_path / f"cache{number}")
        while True:
            tip = adapter.tip("r", "main")
            try:
                return adapter.commit(
                    "r",
                    branch="main",
                    parent=tip,
                    files={f"w/{number}": b"x"},
                    message=f"w{number}",
                )
            except ConflictError:
                continue

    before = int(git("rev-list", "--count", "main", cwd=bare))
    with ThreadPoolExecutor(8) as pool:
        shas = set(pool.map(write, range(8)))
    assert len(shas) == 8
    assert int(git("rev-list", "--count", "main", cwd=bare)) == before + 8
    assert set(git("rev-list", "-8", "main", cwd=bare).split()) == shas


def test_a_refused_push_is_unavailable_not_a_conflict(adapter, bare):
    """A hook or a protected branch refuses although the tip did not move."""
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    tip = adapter.tip("r", "main")
    with pytest.raises(UnavailableError, match="refuses the push"):
        adapter.commit("r", branch="main", parent=tip, files={"c": b"1"}, message="m")
    assert git("rev-parse", "main", cwd=bare) == tip


def put_hook(bare: Path, script: str, name: str = "pre-receive") -> None:
    """A hook of the server."""
    hook = bare / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_a_refused_push_repeats_all_that_the_remote_says(adapter, bare):
    """Every `remote:` line and git's own reason are in the message; a frame that the server draws and blank lines are not."""
    put_hook(
        bare,
        "echo ======== >&2; echo 'GH013: Repository rule violations found' >&2; echo >&2\n"
        "echo '- Changes must be made through a pull request.' >&2; exit 1",
    )
    tip = adapter.tip("r", "main")
    with pytest.raises(UnavailableError) as caught:
        adapter.commit("r", branch="main", parent=tip, files={"c": b"1"}, message="m")
    assert caught.value.message == (
        "r refuses the push to main: pre-receive hook declined; the remote says: "
        "GH013: Repository rule violations found; - Changes must be made through a pull request."
    )
    assert git("rev-parse", "main", cwd=bare) == tip


def test_a_lock_on_the_server_that_goes_away_is_waited_for(adapter, bare):
    """The same commit is pushed again as soon as the lock of another push is gone."""
    lock = bare / "refs" / "heads" / "main.lock"
    lock.write_bytes(b"")
    # Git looks for the lock after this hook: the third push finds none.
    put_hook(bare, f"echo x >> tried; test $(wc -l < tried) -lt 3 || rm -f '{lock}'")
    tip = adapter.tip("r", "main")
    sha = adapter.commit("r", branch="main", parent=tip, files={"c": b"1"}, message="m")
    assert git("rev-parse", "main", cwd=bare) == sha
    assert len((bare / "tried").read_text().splitlines()) == 3


def test_a_lock_on_the_server_that_stays_is_named(adapter, bare, monkeypatch):
    """After some tries the message has the lock's path, the hint says what to do, and nothing was changed."""
    monkeypatch.setattr("gitops_nb.adapters.git.LOCKED_S", 0.3)
    lock = bare / "refs" / "heads" / "main.lock"
    lock.write_bytes(b"")
    tip = adapter.tip("r", "main")
    with pytest.raises(UnavailableError, match=r"main\.lock") as caught:
        adapter.commit("r", branch="main", parent=tip, files={"c": b"1"}, message="m")
    assert "have it removed there" in caught.value.hint
    assert git("rev-parse", "main", cwd=bare) == tip


def test_a_lock_that_a_killed_git_left_in_a_cache_is_removed(adapter, bare, tmp_path):
    """An old lock of ours stops no run; a new one, of a git that may live, is left alone."""
    adapter.tip("r", "main")
    lock = tmp_path / "cache" / "r.git" / "refs" / "heads" / "main.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(b"")
    work = bare.parent / "work"

    def move_on() -> None:
        git("commit", "-q", "--allow-empty", "-m", "more", cwd=work)
        git("push", "-q", str(bare), "main", cwd=work)

    move_on()
    with pytest.raises(UnavailableError, match=r"main\.lock"):
        adapter.tip("r", "main")
    assert lock.exists()
    move_on()
    os.utime(lock, (0, 0))
    assert adapter.tip("r", "main") == git("rev-parse", "main", cwd=bare)
    assert not lock.exists()


def test_the_cause_is_told_and_not_the_advice_behind_it():
    """Of what ssh and git say the reason stands in the message, not the last line."""
    said = (
        "git@git.example: Permission denied (publickey).\r\n"
        "fatal: Could not read from remote repository.\n\n"
        "Please make sure you have the correct access rights\nand the repository exists.\n"
    )
    denied = Completed((), 128, b"", said)
    assert reason_of(denied) == "git@git.example: Permission denied (publickey)."
    assert reason_of(Completed((), 1, b"", "")) == "no reason given"
    assert reason_of(Completed((), 1, b"", "remote: Not found.\n")) == (
        "the remote says: Not found."
    )


@pytest.mark.parametrize(
    "name",
    [
        "--upload-pack=touch x",
        "-x",
        "a..b",
        "a b",
        "a\nb",
        "",
        "@{u}",
        "a" * 300,
        "x.lock",
        "a/.b",
    ],
)
def test_a_ref_is_never_an_option(adapter, name):
    """What could be read as an option or a range is refused before git starts."""
    with pytest.raises(UsageError):
        adapter.tip("r", name)
    with pytest.raises(UsageError):
        adapter.resolve("r", name)


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c x", "--upload-pack=x", "ssh://-oProxyCommand=x/y", "http://x/y", "x", "fd::17"],
)
def test_only_known_protocols_are_used(url, tmp_path):
    """An address that could run a program is refused when the fleet is read."""
    with pytest.raises(UsageError):
        Git(
            {"r": Remote(url, "main")},
            cache=tmp_path,
            processes=LocalProcesses(),
            author=("n", "n@x"),
        )


def test_a_missing_repository_is_unavailable(tmp_path):
    """The error names the repository and what to check."""
    adapter = opened(tmp_path / "nope.git", tmp_path / "cache")
    with pytest.raises(UnavailableError, match="cannot reach repository r"):
        adapter.tip("r", "main")


def test_a_pushed_commit_is_witnessed_also_when_the_branch_is_set_back(adapter, bare):
    """The branch moves together with a ref of the run's name; another name knows nothing."""
    tip = adapter.tip("r", "main")
    sha = adapter.commit(
        "r", branch="main", parent=tip, files={"c": b"1"}, message="m\n\nGitops-Nb-Run: r9", witness="r9"
    )  # fmt: skip
    git("update-ref", "refs/heads/main", tip, cwd=bare)
    found = adapter.witness("r", "r9")
    assert (found.sha, found.parents, found.trailers["Gitops-Nb-Run"]) == (sha, (tip,), "r9")
    assert adapter.witness("r", "r8") is None


def test_a_server_that_wants_no_witness_gets_the_branch(adapter, bare):
    """Where a hook lets nobody make other refs the push goes through without; one that is refused moves neither."""
    put_hook(
        bare, "while read -r old new ref; do case $ref in refs/gitops-nb/*) exit 1;; esac; done"
    )
    tip = adapter.tip("r", "main")
    sha = adapter.commit(
        "r", branch="main", parent=tip, files={"c": b"1"}, message="m", witness="r9"
    )
    assert git("rev-parse", "main", cwd=bare) == sha
    assert adapter.witness("r", "r9") is None
    put_hook(bare, "exit 1")
    with pytest.raises(UnavailableError):
        adapter.commit("r", branch="main", parent=sha, files={"c": b"2"}, message="m", witness="r9")
    assert git("rev-parse", "main", cwd=bare) == sha


def test_an_answer_that_is_lost_is_told_apart():
    """The connection broke behind the push, or the server was never asked, or said no."""
    for text, lost in (
        ("send-pack: unexpected disconnect while reading sideband packet", True),
        ("error: RPC failed; curl 56 Recv failure: Connection reset by peer", True),
        ("ssh: Could not resolve hostname x\nfatal: the remote end hung up unexpectedly", False),
        (
            "git@x: Permission denied (publickey).\nfatal: the remote end hung up unexpectedly",
            False,
        ),
        ("!\tA:refs/heads/main\t[remote rejected] (hook declined)\nfatal: early EOF", False),
        ("error: failed to push some refs", False),
    ):
        assert is_cut_off(Completed((), 1, b"", text)) is lost, text
