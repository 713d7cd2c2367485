"""Commits and files that nobody can read: each is left out with its reason, and none ends a report."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.dora.collect import NO_TIME, VersionSource, from_history
from gitops_nb.ports import FileChange
from tests.conftest import SEED

NOW_S = 1_764_000_000
SOURCE = VersionSource("r", "main", "apps/{service}/{environment}.yaml", "image", "tag")
PEOPLE = (
    b"A <a@x> 1700000000 +0000",
    b"A <a@x> -5 +0000",
    b"A <a@x> 99999999999999999999 +0000",
    b"A <a@x> 18446744073709551615 +0000",
    b"A <a@x> 253402300800 +0000",
    b"A <a@x> 1700000000 +9999",
    b"A <a@x> today",
    b"A <a@x>",
    b"",
    b"\xff\xfe <\xff> 1700000000 +0000",
)
MESSAGES = (b"x\n", b"", b"\xff\xfe\x01\n", b"a\x01b\n\x01c 1 2", b"Revert \x1b[31m\n")


@pytest.fixture
def odd(tmp_path) -> tuple[GitHistory, str, int]:
    """A history that no git would write, each commit with another version; and how many there are."""
    work = tmp_path / "work"
    work.mkdir()

    def git(*argv: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ("git", *argv), cwd=work, input=given, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    git("init", "-q", "-b", "main")
    parent, count = b"", 0
    for person in PEOPLE:
        for message in MESSAGES:
            count += 1
            entry = git("hash-object", "-w", "--stdin", given=b"image: shop/x:v1.0.%d\n" % count)
            kind, name = "100644 blob", "prod.yaml"
            for above in ("x", "apps", ""):
                entry = git("mktree", given=f"{kind} {entry}\t{name}\n".encode())
                kind, name = "040000 tree", above
            head = b"tree %s\n" % entry.encode() + (b"parent %s\n" % parent if parent else b"")
            text = head + b"author %s\ncommitter %s\n\n%s" % (person, person, message)
            argv = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
            parent = git(*argv, given=text).encode()
    git("update-ref", "refs/heads/main", parent.decode())
    reader = GitHistory(
        {"r": Remote(f"file://{work}", "main")},
        cache=tmp_path / "cache",
        processes=LocalProcesses(),
        author=("t", "t@x.example"),
    )
    return reader, reader.tip("r", "main"), count


def test_commits_of_any_making_are_read_or_left_out(odd):
    """Times that are none, names in no encoding, messages like git's own output."""
    reader, tip, count = odd
    changes = tuple(reader.changes("r", tip))
    events, left_out = from_history(changes, SOURCE, environments=("prod",), now_s=NOW_S)
    assert len(events) + len(left_out) == len(changes) == count
    assert {one.reason for one in left_out} == {NO_TIME}
    assert set(events["finished_s"]) == {1_700_000_000}
    assert len(reader.graph("r", [tip])) == count
    assert len(reader.log("r", tip)) == count


def test_files_of_any_content_are_read_or_left_out(record_property):
    """Bytes, broken YAML, huge numbers, deep nesting: one row or one reason each."""
    chance = random.Random(SEED)
    whole = (Path(__file__).parents[2] / "runbooks/fleet.yaml").read_bytes()
    made = [
        b"image: a:v1",
        b"",
        b"\0",
        b"\xff\xfe",
        b"image: *x",
        b"image: [" * 5000,
        b"- " * 9000,
        b"image: 1e999999",
    ]
    for _ in range(1500):
        text = bytearray(chance.choice((b"image: shop/x:v1.2.3\nother: {a: [b, c]}\n", whole)))
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(text) + 1)
            text[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
        made.append(bytes(text))
    record_property("cases", len(made))
    changes = [
        FileChange(f"{n:040x}", 1_700_000_000, 1_700_000_000 + n, "apps/x/prod.yaml", "M", text)
        for n, text in enumerate(made)
    ]
    events, left_out = from_history(changes, SOURCE, environments=("prod",), now_s=NOW_S)
    assert len(events) + len(left_out) == len(made)
    assert all(one.reason for one in left_out)
    assert len(events) > 10
    assert len(left_out) > 10
