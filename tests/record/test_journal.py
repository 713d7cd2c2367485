"""The journal: appended, chained, torn tails cut, everything else reported."""

from __future__ import annotations

import json
import os

import pytest

from gitops_nb.errors import RecordError
from gitops_nb.record import journal
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import sealed_at


@pytest.fixture
def filled(tmp_path):
    """A journal with four records, closed; its folder."""
    opened = Journal.open(tmp_path)
    opened.append("opened", run="r", steps=["observe"])
    opened.append("step", step="observe", status="running")
    opened.append("step", step="observe", status="succeeded", sentence="größer → \u2028 fine")
    opened.append("ended", status="succeeded", exit_code=0, reason="done")
    opened.close()
    return tmp_path


def test_records_are_chained_and_read_back(filled):
    """Each record follows the one before; reading finds no problem."""
    records, problems = journal.read(filled / journal.FILE)
    assert problems == ()
    assert [r.seq for r in records] == [0, 1, 2, 3]
    assert [r.prev for r in records[1:]] == [r.hash for r in records[:-1]]
    assert records[0].prev == journal.ZERO


@pytest.mark.parametrize("tail", [b"", b"\0\0\0\0", b"garbage", b'{"seq": 9'])
def test_every_torn_tail_is_cut(filled, tail):
    """Cut at any byte, with or without rubbish after it, the whole records stay and writing goes on."""
    path = filled / journal.FILE
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(0, len(content), 7):
        path.write_bytes(content[:cut] + tail)
        whole = sum(1 for end in ends if end <= cut)
        opened = Journal.open(filled)
        assert len(opened.records) == whole
        opened.append("step", step="next", status="running")
        opened.close()
        records, problems = journal.read(path)
        assert problems == ()
        assert len(records) == whole + 1


def test_every_changed_byte_is_found(filled):
    """No single byte of the journal can be changed unnoticed."""
    path = filled / journal.FILE
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        _, problems = journal.read(path)
        assert problems, f"byte {position}: {content[position : position + 1]!r}"


def test_removed_and_swapped_records_are_found(filled):
    """A missing record inside, or two in the wrong order, break the chain."""
    path = filled / journal.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (lines[:1] + lines[2:], [lines[1], lines[0], *lines[2:]], [*lines, lines[-1]]):
        path.write_bytes(b"".join(damaged))
        assert journal.read(path)[1]


def test_a_broken_chain_is_not_written_to(filled):
    """Nothing is appended after a record that does not fit; the file stays as evidence."""
    path = filled / journal.FILE
    content = path.read_bytes().replace(b'"seq":1', b'"seq":7')
    path.write_bytes(content)
    with pytest.raises(RecordError, match="line 2"):
        Journal.open(filled)
    assert path.read_bytes() == content


def test_a_failed_write_leaves_the_journal_as_it_was(filled, monkeypatch):
    """On a full disk the append fails with a clear error and no half record."""
    opened = Journal.open(filled)
    before = (filled / journal.FILE).read_bytes()
    real = os.write

    def short(descriptor, content):
        return real(descriptor, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(RecordError, match="full"):
        opened.append("step", step="x", status="running")
    monkeypatch.undo()
    assert (filled / journal.FILE).read_bytes() == before
    opened.append("step", step="x", status="running")
    assert journal.read(filled / journal.FILE)[1] == ()


@pytest.mark.parametrize("is_durable", [False, True], ids=["before", "after"])
def test_an_interrupt_while_a_record_is_written_leaves_the_journal_as_it_was(
    filled, monkeypatch, is_durable
):
    """Ctrl-C or a timeout beside the fsync: no record is there twice or missing, and the next one follows."""
    opened = Journal.open(filled)
    before = (filled / journal.FILE).read_bytes(), opened.records
    fsync = os.fsync

    def interrupted(descriptor):
        if is_durable:
            fsync(descriptor)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened.append("step", step="observe", status="running")
    assert ((filled / journal.FILE).read_bytes(), opened.records) == before
    opened.append("ended", status="cancelled")
    opened.close()
    records, problems = journal.read(filled / journal.FILE)
    assert problems == ()
    assert len(records) == len(before[1]) + 1


def test_lines_are_plain_json(filled):
    """Anybody can read a journal with any JSON parser, line by line."""
    lines = (filled / journal.FILE).read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["kind"] for line in lines if line] == [
        "opened",
        "step",
        "step",
        "ended",
    ]


def test_only_a_whole_seal_at_the_end_counts_as_one(filled):
    """Cut at any byte, or with an attempt after it, a journal does not end sealed; text that looks like a seal is none."""
    look_alike = '"hash":"' + "0" * 64 + '","kind":"sealed","prev":"' + "0" * 64 + '","seq":1}\n'
    opened = Journal.open(filled)
    opened.append("step", step=look_alike, status="running")
    assert sealed_at(filled) is None
    before = (filled / journal.FILE).stat().st_size
    opened.append("sealed", files={"report.json": "1" * 64})
    assert sealed_at(filled)
    content = (filled / journal.FILE).read_bytes()
    for cut in range(before, len(content)):
        (filled / journal.FILE).write_bytes(content[:cut])
        assert sealed_at(filled) is None
    (filled / journal.FILE).write_bytes(content)
    opened.append("attempt", number=2)
    opened.close()
    assert sealed_at(filled) is None
    assert sealed_at(filled / "nowhere") is None
