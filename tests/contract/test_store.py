"""The storage port's contract, on a local folder, on refs of a real Git repository, and on a bucket of the real fake-gcs-server."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from gitops_nb.adapters import gcs
from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.gcs import Bucket
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_refs import GitRefs
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.ports import Store
from tests.buckets import BUCKET, Troubles, gcs_server, proxy


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """One fake-gcs-server for the module."""
    with gcs_server(tmp_path_factory.mktemp("gcs")) as address:
        yield address


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path, monkeypatch) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return Folder(tmp_path / "store")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("server"))
    return Bucket(f"gs://{BUCKET}/{uuid.uuid4().hex}")


@pytest.fixture(params=["folder", "bucket", "refs"])
def created(request, tmp_path, monkeypatch) -> Store:
    """An empty store of each kind that can create what is never changed."""
    if request.param == "refs":
        origin = tmp_path / "origin.git"
        subprocess.run(("git", "init", "--quiet", "--bare", str(origin)), check=True)
        return refs(origin, tmp_path / "cache")
    if request.param == "folder":
        return Folder(tmp_path / "store")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("server"))
    return Bucket(f"gs://{BUCKET}/{uuid.uuid4().hex}")


def refs(origin, cache) -> GitRefs:
    """A store in the refs of a repository."""
    return GitRefs(
        "config", Remote(str(origin), "main"), cache=cache, processes=LocalProcesses(),
        author=("t", "t@example.com"),
    )  # fmt: skip


def test_what_was_created_is_read_back(created):
    """Bytes are kept as they are, none and many of them."""
    for key, content in (
        ("a/b.json", b"{}"),
        ("a/empty", b""),
        ("a/big", bytes(range(256)) * 4096),
    ):
        assert created.create(key, content)
        assert created.read(key) == content


def test_an_existing_object_is_never_overwritten(created):
    """A second content under the same key is refused; the first is untouched."""
    assert created.create("a/b", b"first")
    assert not created.create("a/b", b"second")
    assert created.read("a/b") == b"first"


def test_the_same_content_again_is_no_conflict(created):
    """Whoever lost an answer tries again and learns that it is there."""
    assert created.create("a/b", b"same")
    assert created.create("a/b", b"same")


def test_one_of_many_racers_wins(created):
    """16 threads create one key at once: one of them is told that it did."""
    results: list[bool] = []
    barrier = threading.Barrier(16)

    def race(number: int) -> None:
        barrier.wait()
        results.append(created.create("race/lock", f"racer {number}".encode()))

    threads = [threading.Thread(target=race, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 15 + [True]


def test_keys_are_listed_in_order_below_a_prefix(store):
    """Listing knows prefixes, an exclusive beginning, and nothing of other folders."""
    for number in (3, 1, 2):
        store.create(f"run/journal/{number:012}.json", b"x")
    store.create("run/report.html", b"x")
    store.create("running/a", b"x")
    assert store.list("run/journal/") == tuple(f"run/journal/{n:012}.json" for n in (1, 2, 3))
    assert store.list("run/journal/", after="run/journal/000000000001.json") == tuple(
        f"run/journal/{n:012}.json" for n in (2, 3)
    )
    assert store.list("run/") == (*store.list("run/journal/"), "run/report.html")
    assert store.list("nothing/") == ()
    assert store.folders("") == ("run", "running")
    assert store.folders("run/") == ("journal",)


def test_refs_list_what_was_created_and_change_nothing(tmp_path):
    """By prefix and folder, from another machine too; what stands there is neither replaced nor removed, and no branch is."""
    origin = tmp_path / "origin.git"
    subprocess.run(("git", "init", "--quiet", "--bare", str(origin)), check=True)
    one, other = refs(origin, tmp_path / "one"), refs(origin, tmp_path / "other")
    for request in ("aa", "ab"):
        for number in (1, 0):
            assert one.create(f"register/{request}/{number:06}.json", request.encode())
    assert other.list("register/aa/") == ("register/aa/000000.json", "register/aa/000001.json")
    assert other.list("register/aa/", after="register/aa/000000.json") == (
        "register/aa/000001.json",
    )
    assert other.folders("register/") == ("aa", "ab")
    assert other.read("register/ab/000001.json") == b"ab"
    assert other.read("register/zz/000001.json") is None
    with pytest.raises(UsageError):
        one.replace("register/aa/000000.json", b"other")
    with pytest.raises(UsageError):
        one.remove("register/aa/000000.json")
    other.remember("register/")
    one.create("register/aa/000002.json", b"later")
    assert len(other.list("register/aa/")) == 2
    listed = subprocess.run(
        ("git", "--git-dir", str(origin), "for-each-ref", "--format=%(refname)"),
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert listed == ["refs/gitops-nb/register/aa", "refs/gitops-nb/register/ab"]


def test_a_repository_that_takes_no_refs_says_so(tmp_path):
    """A host that refuses the push is named with its own words; nothing is there afterwards."""
    origin = tmp_path / "origin.git"
    subprocess.run(("git", "init", "--quiet", "--bare", str(origin)), check=True)
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho refs are closed here >&2\nexit 1\n")
    hook.chmod(0o755)
    store = refs(origin, tmp_path / "cache")
    with pytest.raises(UnavailableError, match="refuses a push"):
        store.create("register/aa/000000.json", b"x")
    assert store.list("register/") == ()


def test_what_is_not_there_reads_as_none(store):
    """Absence is an answer, not an error; removing it twice does no harm."""
    assert store.read("a/b") is None
    store.create("a/b", b"x")
    store.remove("a/b")
    store.remove("a/b")
    assert store.read("a/b") is None


def test_a_rewritable_object_is_replaced_whole(store):
    """An index has its newest content."""
    store.replace("index.html", b"one")
    store.replace("index.html", b"two, longer")
    assert store.read("index.html") == b"two, longer"


def test_many_are_read_in_their_order(created):
    """However many are asked for at once: each where its key stood, None where there is none."""
    keys = [f"many/{number:012}.json" for number in range(70)]
    for number, key in enumerate(keys):
        if number % 7:
            created.create(key, str(number).encode())
    wanted = [*reversed(keys), "nothing/there"]
    expected = [str(n).encode() if n % 7 else None for n in reversed(range(70))]
    assert list(created.read_many(wanted)) == [*expected, None]
    assert list(created.read_many([])) == []


@pytest.mark.parametrize(
    "key", ["", "/a", "../a", "a/../b", "a//b", "a/./b", ".hidden", "a\n", "a\0"]
)
def test_a_key_cannot_leave_its_place(store, key):
    """Keys that a path or URL could be tricked with are refused before anything is asked."""
    for act in (store.read, store.remove, lambda k: store.create(k, b"x")):
        with pytest.raises(UsageError):
            act(key)
    assert store.list("") == ()


@pytest.mark.torture
def test_records_survive_lost_replies(server, monkeypatch):
    """With 25 % of the replies lost and 10 % refused, 200 of 200 records are there, each once, with its own content."""
    troubles = Troubles(lost_replies=0.25, refused=0.10)
    with proxy(server, troubles) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        store = Bucket(f"gs://{BUCKET}/lossy")
        results: list[bool] = []

        def write(writer: int) -> None:
            for number in range(25):
                results.append(
                    store.create(f"{writer}/{number:012}", f"{writer} {number}".encode())
                )

        threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 200
    assert troubles.counts["lost"] > 20
    assert troubles.counts["429"] + troubles.counts["503"] > 5
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    direct = Bucket(f"gs://{BUCKET}/lossy")
    keys = direct.list("")
    assert len(keys) == 200
    assert {direct.read(k).decode() for k in keys} == {
        f"{w} {n}" for w in range(8) for n in range(25)
    }


def test_an_answer_that_comes_too_late_is_read_back(server, monkeypatch):
    """The server has written it and does not say so in time: the next try is refused, and finds our own content there."""
    monkeypatch.setattr(gcs, "_TRY_S", (1.0, 0.3))
    troubles = Troubles(stalls=3)
    with proxy(server, troubles) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        store = Bucket(f"gs://{BUCKET}/late")
        assert store.create("a", b"ours")
    assert troubles.counts["stalled"] == 3
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    assert Bucket(f"gs://{BUCKET}/late").read("a") == b"ours"


def test_a_store_that_is_down_is_unavailable_within_the_deadline(server, monkeypatch):
    """Nobody waits longer than the deadline, with all tries."""
    with proxy(server, Troubles(down=True)) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        store = Bucket(f"gs://{BUCKET}/down", deadline_s=1.0)
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="does not create a"):
            store.create("a", b"x")
        assert time.monotonic() - begun < 5


def test_a_slow_drip_ends_at_the_deadline(monkeypatch):
    """A server that sends one byte now and then holds nobody up."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.2):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{listener.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="no answer within"):
            Bucket("gs://records/drip", deadline_s=1.5).read("a")
        assert time.monotonic() - begun < 6
        stop.set()
        thread.join(timeout=5)


def test_a_missing_bucket_says_so(server, monkeypatch):
    """A wrong name is no reason to try for a minute."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="does not create a"):
        Bucket("gs://no-such-bucket").create("a", b"x")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("beside", ["register/abc/x", "register"])
def test_a_ref_in_the_way_is_named(tmp_path, beside):
    """Somebody pushes a ref above or below the one that is due: nothing is created, and the error says which ref it is."""
    origin = tmp_path / "origin.git"
    subprocess.run(("git", "init", "--quiet", "--bare", str(origin)), check=True)
    assert refs(origin, tmp_path / "cache").create("other/a.json", b"{}")
    tip = ("git", "--git-dir", str(origin), "rev-parse", "refs/gitops-nb/other")
    sha = subprocess.run(tip, check=True, capture_output=True, text=True).stdout.strip()
    make = ("git", "--git-dir", str(origin), "update-ref", f"refs/gitops-nb/{beside}", sha)
    subprocess.run(make, check=True)
    store = refs(origin, tmp_path / "cache")
    with pytest.raises(UnavailableError, match=f"has a ref refs/gitops-nb/{beside}, and no"):
        store.create("register/abc/000000.json", b"{}")
    assert store.read("register/abc/000000.json") is None
    assert store.create("another/abc/000000.json", b"{}")
