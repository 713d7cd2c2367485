"""The yearly checkpoint: what it saves `verify`, what it still finds, and what only a full reading does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.record.audit import Anchor, audit, audit_since_checkpoint
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Ledger, Phase, slot
from gitops_nb.record.ledger import slots as keys_of

NAME = "production"
OLD, NEW = datetime(2025, 3, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Counted(Folder):
    """A folder that knows which objects were read."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self.read_keys: list[str] = []

    def read(self, key):
        self.read_keys.append(key)
        return super().read(key)


def write(store, signer, at, run, phase=Phase.START):
    ledger = Ledger(store, NAME, signer, now=lambda: at)
    return ledger.append(phase, run=run, attempt=1, subjects={"plan": "0" * 64}, body={})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """40 records of 2025, the checkpoint, and 5 of 2026."""
    root = tmp_path_factory.mktemp("ledger")
    signer = open_runner_key(root)
    store = Folder(root / "reports")
    for number in range(40):
        write(store, signer, OLD + timedelta(days=number), f"old-{number}")
    for number in range(5):
        write(store, signer, NEW + timedelta(days=number), f"new-{number}")
    return root, signer


@pytest.fixture
def ledger(made, tmp_path):
    """A copy to look at, and the runner's key."""
    import shutil

    root, signer = made
    shutil.copytree(root / "reports", tmp_path / "reports")
    return Counted(tmp_path / "reports"), signer


def check(ledger, read=audit_since_checkpoint, anchors=()):
    store, signer = ledger
    runners = (RunnerKey(name="here", key=signer.public),)
    return read(store, NAME, runners=runners, now=NOW, anchors=anchors)


def codes(checked):
    return {finding.code for finding in checked.findings}


def test_the_records_before_it_are_not_read(ledger):
    """The checkpoint is found by halving, and stands for the 40 records before it; the report can say so."""
    store, _ = ledger
    checked = check(ledger)
    assert checked.findings == ()
    assert (checked.begin, checked.size, len(checked.entries)) == (40, 46, 6)
    assert checked.checkpoint.phase is Phase.CHECKPOINT
    old = {key for key in store.read_keys if key < slot(NAME, 39)}
    assert len(old) <= 8
    store.read_keys.clear()
    assert check(ledger, audit).checkpoint is None
    assert len(set(store.read_keys)) == 46


def test_both_readings_agree_about_what_is_new(ledger):
    """Runs, genesis and size are the same; an anchor at the checkpoint or behind it counts in both."""
    short, whole = check(ledger), check(ledger, audit)
    assert (short.genesis, short.size) == (whole.genesis, whole.size)
    assert {run: e for run, e in whole.by_run.items() if run.startswith("new")} == dict(
        short.by_run
    )
    for size in (40, 43):
        anchor = Anchor(size, whole.entries[size - 1].hash, whole.genesis, "commit abcd")
        for read in (audit_since_checkpoint, audit):
            checked = check(ledger, read, (anchor,))
            assert checked.findings == ()
            assert [entry.seq for entry in checked.unanchored] == list(range(size, 46))


def test_an_older_anchor_is_left_to_the_full_reading(ledger):
    """It is about records that were not read: no finding, and none when they are."""
    whole = check(ledger, audit)
    right = Anchor(7, whole.entries[6].hash, whole.genesis, "commit abcd")
    wrong = Anchor(7, "f" * 64, whole.genesis, "commit abcd")
    assert codes(check(ledger, anchors=(right, wrong))) == set()
    assert codes(check(ledger, audit, (wrong,))) == {"truncated"}


@pytest.mark.parametrize("number", [0, 17, 39])
def test_a_removed_old_record_is_found_by_its_name(ledger, number):
    """The names before the checkpoint are counted, even if their content is not read."""
    store, _ = ledger
    store.remove(slot(NAME, number))
    assert "gap" in codes(check(ledger))


def test_the_record_before_the_checkpoint_is_bound_to_it(ledger):
    """Its hash stands in the checkpoint."""
    store, _ = ledger
    store.replace(slot(NAME, 39), store.read(slot(NAME, 38)))
    assert "chain" in codes(check(ledger))


def test_an_edited_old_record_is_found_by_the_full_reading_only(ledger):
    """That is what the checkpoint saves, and what `--full` is for."""
    store, _ = ledger
    store.replace(slot(NAME, 3), store.read(slot(NAME, 3)).replace(b"A", b"B", 1))
    assert codes(check(ledger)) == set()
    assert codes(check(ledger, audit)) & {"signature", "malformed", "chain"}


@pytest.mark.parametrize("number", [40, 41, 45])
def test_damage_behind_it_is_found(ledger, number):
    """A checkpoint that is edited itself, or a record after it, is read and found."""
    store, _ = ledger
    content = json.loads(store.read(slot(NAME, number)))
    content["signatures"][0]["sig"] = content["signatures"][0]["sig"][::-1]
    from gitops_nb.model import canonical

    store.replace(slot(NAME, number), canonical(content))
    assert codes(check(ledger)) & {"signature", "malformed"}


def test_a_checkpoint_by_nobodys_key_is_none(ledger, tmp_path):
    """The whole new year written anew by another key: found where it begins."""
    store, _ = ledger
    other = open_runner_key(tmp_path / "other")
    for key in keys_of(store, NAME)[40:]:
        store.remove(key)
    write(store, other, NEW, "new-0")
    assert codes(check(ledger)) == {"untrusted-key"}


def test_without_a_checkpoint_everything_is_read(ledger):
    """A ledger of one year has none."""
    store, _ = ledger
    for key in keys_of(store, NAME)[40:]:
        store.remove(key)
    checked = check(ledger)
    assert (checked.begin, len(checked.entries), checked.findings) == (0, 40, ())


def test_a_record_that_misleads_the_search_changes_nothing(ledger):
    """Wherever the search lands, what it lands on is checked, or everything is."""
    store, _ = ledger
    store.replace(slot(NAME, 23), store.read(slot(NAME, 44)))
    assert codes(check(ledger))
    store.replace(slot(NAME, 23), b"rubbish")
    assert "malformed" in codes(check(ledger))


def test_an_empty_ledger_is_empty(tmp_path, ledger):
    """Nothing to read, nothing found."""
    checked = check((Counted(tmp_path / "none"), ledger[1]))
    assert (checked.size, checked.findings, checked.genesis) == (0, (), "")
