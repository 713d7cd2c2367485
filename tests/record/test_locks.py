"""Locks that several machines see: one holder, never by age, freed only for the proven dead."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
import time

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.gcs import Bucket
from gitops_nb.errors import Refused
from gitops_nb.record.locks import FOLDER, KEPT, Held, Owner, SharedLocks, this_process
from gitops_nb.record.runs import is_locked
from tests.buckets import BUCKET, gcs_server

NAME = "production--checkout"
DIES = """
import dataclasses, json
from gitops_nb.record.locks import this_process
print(json.dumps(dataclasses.asdict(this_process("dead", "test"))))
"""


@pytest.fixture
def store(tmp_path):
    """A folder that two machines see."""
    return Folder(tmp_path / "store")


def race(stores, contenders: int) -> list[Held | Owner]:
    """Takes one lock from many threads at once."""
    results: list[Held | Owner] = []
    barrier = threading.Barrier(contenders)

    def contend(number: int) -> None:
        barrier.wait()
        locks = SharedLocks(stores[number % len(stores)])
        results.append(locks.take(NAME, this_process(f"run {number}", "test")))

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(contenders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_100_contenders_one_holds(store):
    """Everybody else is told who it is."""
    results = race([store], 100)
    (held,) = (r for r in results if isinstance(r, Held))
    others = {str(r) for r in results if isinstance(r, Owner)}
    assert len(results) == 100
    assert len(others) == 1
    assert "run " in others.pop()
    assert held.slot == 0


def test_of_100_contenders_for_a_bucket_one_holds(tmp_path, monkeypatch):
    """The same on fake-gcs-server, from four clients."""
    with gcs_server(tmp_path) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        results = race([Bucket(f"gs://{BUCKET}/shop") for _ in range(4)], 100)
    assert len(results) == 100
    assert len([r for r in results if isinstance(r, Held)]) == 1


def test_a_released_lock_is_free(store):
    """The next one takes it; old slots go."""
    locks = SharedLocks(store)
    for number in range(6):
        held = locks.take(NAME, this_process(f"run {number}", "test"))
        assert isinstance(held, Held)
        assert locks.holder(NAME).who == f"run {number}"
        locks.release(held)
        assert locks.holder(NAME) is None
    assert len(store.list(f"{FOLDER}/")) <= KEPT + 3


def test_releasing_twice_frees_nobody_elses(store):
    """A late release of mine does not free who came after me."""
    locks = SharedLocks(store)
    mine = locks.take(NAME, this_process("me", "test"))
    locks.release(mine)
    theirs = locks.take(NAME, this_process("them", "test"))
    locks.release(mine)
    assert isinstance(theirs, Held)
    assert locks.holder(NAME).who == "them"


def test_a_dead_process_loses_its_lock(store):
    """Its process id is free, or another process has it: either proves that the holder is gone."""
    ended = subprocess.run(
        (sys.executable, "-c", DIES),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    dead = Owner(**json.loads(ended.stdout))
    assert dead.is_proven_dead
    locks = SharedLocks(store)
    assert isinstance(locks.take(NAME, dead), Held)
    assert isinstance(locks.take(NAME, this_process("next", "test")), Held)


def test_a_reused_process_id_is_another_process(store):
    """The same id with another start time is not the holder."""
    alive = this_process("me", "test")
    assert not alive.is_proven_dead
    assert dataclasses.replace(alive, started="1").is_proven_dead


def test_commands_that_a_dead_process_left_keep_its_lock(store, tmp_path):
    """The holder is gone, what it started is not: its file is locked still, and so is the target, until that ends."""
    file = tmp_path / "held"
    file.touch()
    command = subprocess.Popen(
        ("flock", "--exclusive", str(file), "cat"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    dead = dataclasses.replace(this_process("dead", "test", str(file)), started="1")
    locks = SharedLocks(store)
    try:
        deadline = time.monotonic() + 10
        while not is_locked(str(file)) and time.monotonic() < deadline:
            time.sleep(0.01)  # waits for another process, no test of time
        locks.take(NAME, dead)
        other = locks.take(NAME, this_process("next", "test"))
        assert isinstance(other, Owner)
        assert (other.who, other.is_proven_dead, other.left_commands()) == ("dead", True, True)
        # Who has the same file in their own hands knows that nobody else has.
        assert not other.left_commands(dead)
    finally:
        command.communicate()
    assert isinstance(locks.take(NAME, this_process("next", "test")), Held)


@pytest.mark.parametrize("change", [{"boot": "other"}, {"namespace": "pid:[1]"}, {"boot": ""}])
def test_another_machines_process_is_never_proven_dead(store, change):
    """A year-old lock of another host, container or boot stays: age proves nothing."""
    away = dataclasses.replace(
        this_process("away", "test"), pid=999_999_999, since="2020-01-01T00:00:00+00:00", **change
    )
    locks = SharedLocks(store)
    locks.take(NAME, away)
    other = locks.take(NAME, this_process("me", "test"))
    assert isinstance(other, Owner)
    assert other.who == "away"
    assert locks.holder(NAME) == away


def test_a_person_frees_it_by_name(store):
    """The word of a person frees a lock whose holder nobody can ask, and stays readable; once only."""
    locks = SharedLocks(store)
    away = dataclasses.replace(this_process("away", "test"), boot="other")
    locks.take(NAME, away)
    held, owner, digest = locks.held_by(NAME)
    newest = store.list(f"{FOLDER}/{NAME}/")[-1]
    assert (owner.who, digest) == ("away", hashlib.sha256(store.read(newest)).hexdigest())
    locks.unlock(held, by="priya", reason="the host burned")
    assert b"the host burned" in store.read(store.list(f"{FOLDER}/{NAME}/")[-1])
    with pytest.raises(Refused, match="nobody holds"):
        locks.held_by(NAME)
    next_one = locks.take(NAME, this_process("next", "test"))
    with pytest.raises(Refused, match="changed hands"):
        locks.unlock(held, by="priya", reason="again")
    assert isinstance(next_one, Held)
    assert locks.holder(NAME).who == "next"


RUN = {"ci": "GitHub run acme/platform/77/2", "machine": "github-hosted", "boot": "elsewhere"}


def in_ci(**changes):
    """A holder that is a job of another machine."""
    return dataclasses.replace(this_process("ci", "test"), **{**RUN, **changes})


def test_a_completed_attempt_of_a_hosted_run_loses_its_lock(store):
    """GitHub says that exactly this attempt is completed, and its machine went with it; the slot keeps the proof."""
    asked: list[tuple[str, str, str]] = []

    def has_ended(*run: str) -> bool:
        asked.append(run)
        return True

    locks = SharedLocks(store, has_ended=has_ended)
    locks.take(NAME, in_ci())
    assert isinstance(locks.take(NAME, this_process("next", "test")), Held)
    assert asked == [("acme/platform", "77", "2")]
    kept = json.loads(store.read(store.list(f"{FOLDER}/{NAME}/")[-1]))
    assert kept["after"]["ci"] == RUN["ci"]
    assert kept["proof"] == "GitHub says that its attempt is completed"


@pytest.mark.parametrize(
    ("holder", "says"),
    [
        ({}, False),
        ({"machine": "self-hosted"}, True),
        ({"machine": ""}, True),
        ({"ci": ""}, True),
        ({"ci": "GitHub run acme/platform/77/?"}, True),
        ({"ci": "GitHub run acme/platform/../77/2"}, True),
        ({"boot": this_process("x", "y").boot}, True),
    ],
)
def test_a_ci_run_that_is_not_proven_over_keeps_its_lock(store, holder, says):
    """It runs still, nobody can tell, its machine stays behind the run, or it is this machine's living process."""
    locks = SharedLocks(store, has_ended=lambda *_: says)
    mine = in_ci(**holder)
    locks.take(NAME, mine)
    before = store.list(f"{FOLDER}/{NAME}/")
    other = locks.take(NAME, this_process("next", "test"))
    assert isinstance(other, Owner)
    assert locks.holder(NAME) == mine
    assert store.list(f"{FOLDER}/{NAME}/") == before


def test_a_taker_that_was_overtaken_holds_nothing(store):
    """A slot that others left behind and removed gives nothing to whoever creates it late."""
    locks = SharedLocks(store)
    for number in range(8):
        held = locks.take(NAME, this_process(f"run {number}", "test"))
        if number < 7:
            locks.release(held)

    class Late(Folder):
        """Sees the lock as it was long ago, once."""

        def __init__(self, root) -> None:
            super().__init__(root)
            self.is_first = True

        def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
            found = super().list(prefix, after=after)
            if self.is_first:
                self.is_first = False
                return ()
            return found

    late = SharedLocks(Late(store._root))
    other = late.take(NAME, this_process("late", "test"))
    assert isinstance(other, Owner)
    assert other.who == "run 7"
