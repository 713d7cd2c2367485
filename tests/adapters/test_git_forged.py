"""A cache that somebody changed: replaced, grafted and forged objects, and settings that send a push elsewhere."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.git_proven import blob_id
from gitops_nb.adapters.git_refs import GitRefs
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import ConfigurationError, UnavailableError
from gitops_nb.ports import Completed
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


def unpack(folder: Path) -> None:
    """Each object of a cache as a file of its own."""
    for pack in folder.glob("objects/pack/*.pack"):
        content = pack.read_bytes()
        for other in folder.glob("objects/pack/*"):
            other.unlink()
        subprocess.run(("git", "--git-dir", str(folder), "unpack-objects", "-q"), input=content, check=True)  # fmt: skip


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
    unpack(folder)
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
        with pytest.raises(
            UnavailableError, match=r"was changed by somebody.*nothing is read from it or pushed"
        ):
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


# -- what nobody reads as it is: every reading is of objects that were proven ------------------------


class Between(LocalProcesses):
    """Does something right before a git command begins, and right after it ended."""

    def __init__(self, word: str, before=lambda: None, after=lambda done: done) -> None:
        super().__init__()
        self.word, self.before, self.after, self.count = word, before, after, 0

    def run(self, argv: tuple[str, ...], **options) -> Completed:
        if self.word not in argv:
            return super().run(argv, **options)
        self.count += 1
        self.before()
        return self.after(super().run(argv, **options))


def history(bare: Path, cache: Path, processes: LocalProcesses | None = None) -> GitHistory:
    return GitHistory(
        {"r": Remote(f"file://{bare}", "main")},
        cache=cache, processes=processes or LocalProcesses(), author=("t", "t@example.org"),
    )  # fmt: skip


READINGS = {
    "blobs": lambda git, tip, first: git.blobs("r", tip, "a"),
    "list_files": lambda git, tip, first: git.list_files("r", tip, ""),
    "changes": lambda git, tip, first: list(git.changes("r", tip, folders=("a",))),
    "log": lambda git, tip, first: git.log("r", tip, path="a/x.yaml"),
    "graph": lambda git, tip, first: git.graph("r", [tip]),
    "is_ancestor": lambda git, tip, first: git.is_ancestor("r", first, tip),
    "is_untouched": lambda git, tip, first: git.is_untouched("r", "b", first, tip),
    "patch_ids": lambda git, tip, first: git.patch_ids("r", [tip]),
}
"""What decides what is shown, bound or judged, by the name of the method."""


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("what", ["a tree", "a commit"])
def test_no_reading_takes_a_forged_object(bare, tmp_path, what, reading):
    """The old tree under the id of the new one, or an old commit with another date: named, whatever is asked."""
    adapter = history(bare, tmp_path / "cache")
    folder, tip = cache_of(adapter, tmp_path)
    first, second = git("rev-parse", "main~2", "main~1", cwd=bare).split()
    right = READINGS[reading](adapter, tip, first)
    unpack(folder)
    sha = git("rev-parse", "main:a" if what == "a tree" else second, cwd=bare)
    kind = what.removeprefix("a ")
    old = subprocess.run(
        ("git", "--git-dir", str(folder), "cat-file", kind, f"{first}:a" if kind == "tree" else sha),
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    overwrite(folder, sha, kind, old.replace(b"commit 1", b"commit X"))
    anew = history(bare, tmp_path / "cache")
    with pytest.raises(UnavailableError, match=r"cache of r was changed by somebody.*is not what its id says"):  # fmt: skip
        READINGS[reading](anew, tip, first)
    shutil.rmtree(folder)
    fresh = history(bare, tmp_path / "cache")
    assert fresh.tip("r", "main") == tip
    assert READINGS[reading](fresh, tip, first) == right


def test_an_index_that_calls_an_object_by_anothers_name_is_not_believed(bare, tmp_path):
    """In a pack an object's name stands in the index alone: another index hides a change, and is named."""
    adapter = opened(bare, tmp_path / "cache")
    folder, tip = cache_of(adapter, tmp_path)
    in_cache(folder, "repack", "-adq")
    proven = adapter.blobs("r", tip, "a")
    assert proven  # packed by hand: that goes through
    (path,) = folder.glob("objects/pack/*.idx")
    index = bytearray(path.read_bytes())
    (count,) = struct.unpack(">I", index[8 + 1020 : 8 + 1024])
    names = [bytes(index[1032 + 20 * at : 1052 + 20 * at]).hex() for at in range(count)]
    new, old = (names.index(git("rev-parse", f"{one}:a", cwd=bare)) for one in ("main", "main~1"))
    for begin in (1032 + 20 * count, 1032 + 24 * count):  # checksums, then places
        index[begin + 4 * new : begin + 4 * new + 4] = index[begin + 4 * old : begin + 4 * old + 4]
    index[-20:] = hashlib.sha1(index[:-20], usedforsecurity=False).digest()
    path.chmod(0o644)
    path.write_bytes(index)
    said = [in_cache(folder, "ls-tree", "-r", one, "a") for one in (tip, f"{tip}~1")]
    assert said[0] == said[1]  # git itself believes it
    assert adapter.blobs("r", tip, "a") == proven  # what was proven once is known
    for reading in (
        lambda: adapter.blobs("r", f"{tip}", ""),
        lambda: opened(bare, tmp_path / "cache").blobs("r", tip, "a"),
    ):
        with pytest.raises(UnavailableError, match="does not hold what its index says"):
            reading()


@pytest.mark.parametrize(
    "name", ["shallow", "objects/info/alternates", "commondir", "info/attributes"]
)
def test_a_file_that_leads_git_elsewhere_is_named(adapter, tmp_path, name):
    """A history that ends early, objects of another place: the cache is not read."""
    folder, tip = cache_of(adapter, tmp_path)
    (folder / name).write_text(f"{tip}\n")
    with pytest.raises(UnavailableError, match=f"changed by somebody: it has {name}"):
        adapter.log("r", tip)
    (folder / name).unlink()
    assert len(adapter.log("r", tip)) == 3


def test_an_object_that_is_forged_while_git_reads_is_not_taken(bare, tmp_path):
    """Put there right before git reads and back right after: what it said counts for nothing."""
    opened(bare, tmp_path / "cache").tip("r", "main")
    folder = tmp_path / "cache" / "r.git"
    unpack(folder)
    sha, tip = git("rev-parse", "main:a", "main", cwd=bare).split()
    old = subprocess.run(("git", "cat-file", "tree", "main~1:a"), cwd=bare, capture_output=True, check=True).stdout  # fmt: skip
    path = folder / "objects" / sha[:2] / sha[2:]
    true = path.read_bytes()

    def restore(done: Completed) -> Completed:
        path.chmod(0o644)
        path.write_bytes(true)
        return done

    processes = Between("ls-tree", lambda: overwrite(folder, sha, "tree", old), restore)
    adapter = history(bare, tmp_path / "cache", processes)
    with pytest.raises(UnavailableError, match="changes while it is read"):
        adapter.blobs("r", tip, "a")
    assert processes.count > 1


def test_a_fetch_of_another_run_meanwhile_is_no_harm(bare, tmp_path):
    """What another run brings into the cache is proven, and the question asked once more."""
    opened(bare, tmp_path / "cache").tip("r", "main")
    folder = tmp_path / "cache" / "r.git"
    texts = iter(["brought by another run"])

    def fetch() -> None:
        for text in texts:
            in_cache(folder, "hash-object", "-w", "--stdin", text=text)

    processes = Between("ls-tree", fetch)
    adapter = history(bare, tmp_path / "cache", processes)
    tip = git("rev-parse", "main", cwd=bare)
    assert list(adapter.blobs("r", tip, "a")) == ["a/x.yaml"]
    assert processes.count == 2


@pytest.mark.parametrize(
    ("word", "ask"),
    [
        ("ls-tree", lambda git, tip: git.blobs("r", tip, "a")),
        ("ls-tree", lambda git, tip: git.list_files("r", tip, "")),
        ("log", lambda git, tip: git.log("r", tip)),
        ("log", lambda git, tip: list(git.changes("r", tip))),
        ("cat-file", lambda git, tip: git.read("r", tip, "a/x.yaml")),
        ("patch-id", lambda git, tip: git.patch_ids("r", [tip])),
    ],
)
def test_a_partial_answer_is_none(bare, tmp_path, word, ask):
    """Git that ends before its time may have said something: it is refused, with git's own reason."""
    tip = history(bare, tmp_path / "cache").tip("r", "main")
    broken = Between(word, after=lambda done: Completed(done.argv, 128, done.output[:-9], "fatal: no"))  # fmt: skip
    adapter = history(bare, tmp_path / "cache", broken)
    adapter._held.add(("r", tip))
    with pytest.raises(UnavailableError, match="cannot be read: fatal: no"):
        ask(adapter, tip)


def test_a_register_hides_nothing_that_was_forged(bare, tmp_path):
    """A tree without its second entry under the newest one's id: no entry is missing in silence."""

    def register(cache: str) -> GitRefs:
        return GitRefs(
            "r", Remote(f"file://{bare}", "main"),
            cache=tmp_path / cache, processes=LocalProcesses(), author=("t", "t@example.org"),
        )  # fmt: skip

    one = register("one")
    assert one.create("register/x/000001.json", b"start")
    assert one.create("register/x/000002.json", b"reject")
    folder = tmp_path / "one" / "r.git"
    unpack(folder)
    new, old = git("rev-parse", "refs/gitops-nb/register/x^{tree}", "refs/gitops-nb/register/x~1^{tree}", cwd=bare).split()  # fmt: skip
    content = subprocess.run(("git", "cat-file", "tree", old), cwd=bare, capture_output=True, check=True).stdout  # fmt: skip
    overwrite(folder, new, "tree", content)
    for ask, key in ((one.list, "register/x/"), (one.read, "register/x/000002.json")):
        with pytest.raises(UnavailableError, match="is not what its id says"):
            ask(key)
    assert len(register("two").list("register/x/")) == 2


def test_an_entry_goes_with_no_push_to_the_register(bare, tmp_path):
    """The tree that a new entry is put into is forged while it is built: nothing is pushed, and what was there stays."""

    def register(cache: str, processes: LocalProcesses) -> GitRefs:
        return GitRefs(
            "r", Remote(f"file://{bare}", "main"),
            cache=tmp_path / cache, processes=processes, author=("t", "t@example.org"),
        )  # fmt: skip

    one = register("one", LocalProcesses())
    for number in (1, 2):
        assert one.create(f"register/x/00000{number}.json", b"word %d" % number)
    folder = tmp_path / "one" / "r.git"
    unpack(folder)
    new, old = git("rev-parse", "refs/gitops-nb/register/x^{tree}", "refs/gitops-nb/register/x~1^{tree}", cwd=bare).split()  # fmt: skip
    content = subprocess.run(("git", "cat-file", "tree", old), cwd=bare, capture_output=True, check=True).stdout  # fmt: skip
    path = folder / "objects" / new[:2] / new[2:]
    true = path.read_bytes()

    def restore(done: Completed) -> Completed:
        path.chmod(0o644)
        path.write_bytes(true)
        return done

    forging = Between("fast-import", lambda: overwrite(folder, new, "tree", content), restore)
    with pytest.raises(UnavailableError):
        register("one", forging).create("register/x/000003.json", b"word 3")
    assert forging.count == 1
    assert len(register("two", LocalProcesses()).list("register/x/")) == 2
    assert one.create("register/x/000003.json", b"word 3")
    assert len(register("two", LocalProcesses()).list("register/x/")) == 3


def test_a_tag_that_only_the_cache_has_names_nothing(bare, tmp_path):
    """Put there by somebody, or removed from the repository since: gone with the next fetch; the others stay."""
    adapter = history(bare, tmp_path / "cache")
    folder, tip = cache_of(adapter, tmp_path)
    in_cache(folder, "tag", "rel-2", f"{tip}~1")
    in_cache(folder, "update-ref", "refs/tags/rel-1", f"{tip}~1")
    adapter.refresh("r")
    assert adapter.resolve_all("r", ["rel-1", "rel-2"]) == {"rel-1": tip}
    assert (adapter.resolve("r", "rel-1"), adapter.resolve("r", "rel-2")) == (tip, None)
