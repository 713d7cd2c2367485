"""What somebody may do to a record afterwards, one class after the other: `verify` finds each and names it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.model import canonical
from gitops_nb.record import dsse, journal
from gitops_nb.record.files import sha256_file
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Ledger, Phase, parse_entry
from tests.record.record_factories import LEDGER, Records, make_records, ssh_key

CLASSES: dict[str, tuple[Callable[[Records], object], str]] = {}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Records:
    """Three runs, untouched."""
    return make_records(tmp_path_factory.mktemp("records") / "a")


@pytest.fixture
def records(pristine, tmp_path) -> Records:
    """A copy to tamper with."""
    return pristine.copy(tmp_path / "records")


def tampers(code: str):
    """Registers a class of tampering and the code word that `verify` has for it."""

    def add(function):
        CLASSES[function.__name__] = (function, code)
        return function

    return add


def payload_of(records: Records, number: int) -> dict:
    return json.loads(dsse.parse(records.slot(number).read_bytes()).payload)


def rewrite(records: Records, number: int, statement: dict, signer=None) -> None:
    """Puts another signed statement into a slot."""
    records.slot(number).write_bytes((signer or records.signer).seal(canonical(statement)))


def edit_statement(records: Records, number: int, change: Callable[[dict], object], signer=None):
    statement = payload_of(records, number)
    change(statement)
    rewrite(records, number, statement, signer)


def rechain(records: Records, start: int, signer=None) -> None:
    """Signs every record from ``start`` on anew, so that the chain holds again."""
    number = start
    while records.slot(number).exists():
        before = hashlib.sha256(records.slot(number - 1).read_bytes()).hexdigest()

        def fit(statement: dict, number: int = number, before: str = before) -> None:
            statement["predicate"]["ledger"] |= {"seq": number, "prev": before}

        edit_statement(records, number, fit, signer)
        number += 1


def rewrite_journal(directory: Path, change: Callable[[list[dict]], object]) -> None:
    """Changes the journal's records and hashes it anew, so that its own chain holds."""
    path = directory / journal.FILE
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(rows)
    prev = journal.ZERO
    lines = []
    for number, row in enumerate(rows):
        value = {
            "seq": number,
            "at": row["at"],
            "kind": row["kind"],
            "body": row["body"],
            "prev": prev,
        }
        prev = hashlib.sha256(canonical(value)).hexdigest()
        lines.append(canonical({**value, "hash": prev}) + b"\n")
    path.write_bytes(b"".join(lines))


# The run's directory


@tampers("edited")
def a_byte_of_the_notebook(records):
    path = records.runs[1] / "notebook.ipynb"
    path.write_bytes(path.read_bytes().replace(b"cells", b"cellz"))


@tampers("edited")
def evidence_replaced_by_that_of_another_run(records):
    shutil.copy(
        records.runs[0] / "evidence" / "plan.json", records.runs[1] / "evidence" / "plan.json"
    )


@tampers("missing")
def an_evidence_file_removed(records):
    (records.runs[1] / "evidence" / "plan.json").unlink()


@tampers("added")
def a_file_added(records):
    (records.runs[1] / "evidence" / "extra.json").write_text("{}")


@tampers("added")
def an_approval_added_afterwards(records):
    (source,) = (records.runs[1] / "approvals").iterdir()
    shutil.copy(source, source.with_name("approve-somebody.json"))


@tampers("link")
def a_file_replaced_by_a_link(records):
    path = records.runs[1] / "notebook.ipynb"
    copy = records.root / "elsewhere.ipynb"
    path.rename(copy)
    path.symlink_to(copy)


@tampers("link")
def the_journal_replaced_by_a_link(records):
    path = records.runs[1] / journal.FILE
    copy = records.root / "elsewhere.jsonl"
    path.rename(copy)
    path.symlink_to(copy)


@tampers("missing")
def a_folder_replaced_by_a_link(records):
    path = records.runs[1] / "evidence"
    copy = records.root / "elsewhere"
    path.rename(copy)
    path.symlink_to(copy)


def _prune(records: Records, number: int) -> None:
    """Removes a run and leaves a tombstone, as a runner does."""
    run = records.runs[number]
    removed = sha256_file(run / journal.FILE).removeprefix("sha256:")
    Ledger(records.store, LEDGER, records.signer).append(
        Phase.PRUNED, run="", attempt=0, subjects={run.name: removed}, body={"reason": "retention"}
    )
    shutil.rmtree(run)


@tampers("edited")
def a_run_edited_before_it_was_pruned(records):
    """The tombstone would hide what was done to it."""
    a_journal_rewritten_as_a_whole(records)
    _prune(records, 1)


@tampers("phase")
def a_run_pruned_before_it_ended(records):
    records.slot(8).unlink()
    _prune(records, 2)


@tampers("missing")
def the_approval_removed(records):
    (path,) = (records.runs[1] / "approvals").iterdir()
    path.unlink()


@tampers("deleted-run")
def the_whole_run_removed(records):
    shutil.rmtree(records.runs[1])


@tampers("replayed")
def a_run_copied_under_another_name(records):
    run = records.runs[1]
    shutil.copytree(run, run.with_name(run.name[:-4] + "ffff"))


@tampers("journal")
def a_line_of_the_journal_edited(records):
    path = records.runs[1] / journal.FILE
    path.write_bytes(path.read_bytes().replace(b"priya", b"petra", 1))


@tampers("journal")
def a_line_of_the_journal_removed(records):
    path = records.runs[1] / journal.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))


@tampers("journal")
def two_lines_of_the_journal_swapped(records):
    path = records.runs[1] / journal.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    path.write_bytes(b"".join(lines))


@tampers("truncated")
def the_journals_end_cut_off(records):
    path = records.runs[1] / journal.FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))


@tampers("edited")
def a_journal_rewritten_as_a_whole(records):
    def change(rows):
        rows[0]["body"]["requester"]["name"] = "petra"

    rewrite_journal(records.runs[1], change)


@tampers("edited")
def a_journal_rewritten_whose_end_was_never_signed(records):
    """No digest of the whole file is signed yet: the heads in the earlier records show it."""
    records.slot(8).unlink()

    def change(rows):
        rows[0]["body"]["requester"]["name"] = "petra"

    rewrite_journal(records.runs[2], change)


@tampers("contradiction")
def an_effect_without_a_decision(records):
    rewrite_journal(
        records.runs[1],
        lambda rows: rows.pop(next(i for i, r in enumerate(rows) if r["kind"] == "decision")),
    )


@tampers("clock")
def a_journal_whose_clock_goes_back(records):
    def change(rows):
        rows[4]["at"] = "2026-01-01T00:00:00.000Z"

    rewrite_journal(records.runs[1], change)


@tampers("malformed")
def a_sealed_path_that_leaves_the_directory(records):
    def change(rows):
        rows[-1]["body"]["files"]["../../../etc/hostname"] = "sha256:" + "0" * 64

    rewrite_journal(records.runs[1], change)


@tampers("approval")
def an_approval_that_nobody_signed(records):
    """The signature file is replaced, and journal and ledger are made to fit: only the signature does not."""
    (path,) = (records.runs[2] / "approvals").iterdir()
    outer = json.loads(path.read_bytes())
    path.write_bytes(canonical({**outer, "signature": outer["signature"].replace("A", "B", 4)}))


@tampers("approval")
def the_requesters_own_approval(records):
    def change(rows):
        for row in rows:
            if row["kind"] == "requested":
                row["body"]["request"]["requester"]["name"] = "tomas"

    rewrite_journal(records.runs[1], change)


# The ledger


@tampers("gap")
def a_record_in_the_middle_removed(records):
    records.slot(4).unlink()


@tampers("chain")
def a_record_removed_and_the_rest_renumbered(records):
    records.slot(4).unlink()
    for number in range(5, 9):
        statement = payload_of(records, number)
        statement["predicate"]["ledger"]["seq"] = number - 1
        rewrite(records, number - 1, statement)
    records.slot(8).unlink()


@tampers("truncated")
def the_last_records_cut_off(records):
    for number in (7, 8):
        records.slot(number).unlink()


@tampers("truncated")
def the_last_run_removed_with_its_records(records):
    for number in (6, 7, 8):
        records.slot(number).unlink()
    shutil.rmtree(records.runs[2])


@tampers("truncated")
def history_rewritten_with_the_stolen_key(records):
    edit_statement(records, 5, lambda s: s["predicate"].update(reason="nothing happened"))
    rechain(records, 6)


@tampers("truncated")
def the_last_record_edited_with_the_stolen_key(records):
    edit_statement(records, 8, lambda s: s["predicate"].update(reason="nothing happened"))


@tampers("untrusted-key")
def history_signed_with_another_key(records):
    other = open_runner_key(records.root / "other")
    edit_statement(records, 5, lambda s: s["predicate"].update(reason="x"), other)
    rechain(records, 6, other)


@tampers("signature")
def an_envelope_that_claims_the_runners_key(records):
    other = open_runner_key(records.root / "other")
    envelope = json.loads(other.seal(dsse.parse(records.slot(8).read_bytes()).payload))
    envelope["signatures"][0]["keyid"] = records.signer.keyid
    records.slot(8).write_bytes(canonical(envelope))


@tampers("replayed")
def an_old_record_played_again_at_the_end(records):
    shutil.copy(records.slot(5), records.slot(9))


@tampers("phase")
def a_second_end_of_a_run(records):
    statement = payload_of(records, 5)
    statement["predicate"]["ledger"] |= {
        "seq": 9, "prev": hashlib.sha256(records.slot(8).read_bytes()).hexdigest(),
    }  # fmt: skip
    statement["predicate"]["at"] = payload_of(records, 8)["predicate"]["at"]
    rewrite(records, 9, statement)


@tampers("chain")
def two_records_swapped(records):
    first, second = records.slot(4).read_bytes(), records.slot(5).read_bytes()
    records.slot(4).write_bytes(second)
    records.slot(5).write_bytes(first)


@tampers("replayed")
def a_record_of_another_ledger(records):
    other = Ledger(records.store, "staging", records.signer)
    entry = other.append(Phase.START, run="x", attempt=1, subjects={"plan": "0" * 64}, body={})
    shutil.copy(records.reports / entry.key, records.slot(9))


@tampers("malformed")
def a_name_twice_in_the_envelope(records):
    content = records.slot(8).read_bytes()
    records.slot(8).write_bytes(b'{"payload":"e30=",' + content[1:])


@tampers("malformed")
def a_name_twice_in_the_statement(records):
    payload = dsse.parse(records.slot(8).read_bytes()).payload
    records.slot(8).write_bytes(records.signer.seal(b'{"_type":"x",' + payload[1:]))


@tampers("malformed")
def an_envelope_with_white_space(records):
    records.slot(8).write_bytes(records.slot(8).read_bytes() + b"\n")


@tampers("malformed")
def a_second_signature(records):
    envelope = json.loads(records.slot(8).read_bytes())
    envelope["signatures"] *= 2
    records.slot(8).write_bytes(canonical(envelope))


@tampers("malformed")
def another_payload_type(records):
    payload = dsse.parse(records.slot(8).read_bytes()).payload
    key = records.signer._private
    records.slot(8).write_bytes(
        dsse.seal(payload, "text/plain", key=key, keyid=records.signer.keyid)
    )


@tampers("malformed")
def a_subject_that_leaves_the_directory(records):
    def change(statement):
        statement["subject"][0]["name"] = "../../../etc/hostname"

    edit_statement(records, 8, change)


@tampers("malformed")
def an_unknown_predicate(records):
    edit_statement(records, 8, lambda s: s.update(predicateType="https://example.com/other"))


@tampers("malformed")
def an_empty_record(records):
    records.slot(8).write_bytes(b"")


@tampers("clock")
def a_ledger_whose_clock_goes_back(records):
    edit_statement(records, 8, lambda s: s["predicate"].update(at="2020-01-01T00:00:00.000Z"))


@tampers("clock")
def a_record_from_the_future(records):
    later = datetime.now(UTC) + timedelta(hours=3)
    text = later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    edit_statement(records, 8, lambda s: s["predicate"].update(at=text))


@tampers("added")
def a_strange_file_in_the_ledger(records):
    records.slot(8).with_name("000000000008 (copy).json").write_text("{}")


@tampers("unrecorded-run")
def a_run_that_the_ledger_does_not_know(records):
    """A whole run is slipped in, its journal in order: no record of it was ever signed."""
    run = records.runs[1]
    name = run.name[:-4] + "ffff"
    shutil.copytree(run, run.with_name(name))

    def change(rows):
        rows[0]["body"]["run"] = name

    rewrite_journal(run.with_name(name), change)


@tampers("chain")
def a_checkpoint_about_another_ledger(records):
    ledger = Ledger(
        records.store, LEDGER, records.signer, now=lambda: datetime.now(UTC) + timedelta(days=366)
    )
    ledger.append(Phase.START, run="x", attempt=1, subjects={"plan": "0" * 64}, body={})
    edit_statement(records, 9, lambda s: s["predicate"]["checkpoint"].update(size=3))


def test_an_untouched_record_holds(pristine):
    """Nothing is found where nothing was done, and the anchor covers every record."""
    assert pristine.findings() == []
    checked = pristine.audit()
    assert len(checked.entries) == 9
    assert checked.unanchored == ()


def test_a_pruned_run_is_no_finding(records):
    """Gone, with the tombstone of the journal that it ended with."""
    _prune(records, 1)
    found = [f for f in records.findings() if f.code != "deleted-run"]
    assert found == []


@pytest.mark.parametrize("name", CLASSES)
def test_tampering_is_found(records, name):
    """Each class of tampering is found, under its code word."""
    tamper, code = CLASSES[name]
    tamper(records)
    found = records.findings()
    assert code in {finding.code for finding in found}, [str(f) for f in found]


def test_there_are_as_many_classes_as_before():
    """The list does not shrink unseen."""
    assert len(CLASSES) >= 49


def test_a_key_counts_only_in_its_time(pristine):
    """A record outside of its key's validity, or after the key was stolen, is found."""
    now = datetime.now(UTC)
    for limits in (
        {"valid_from": now + timedelta(days=1)},
        {"valid_until": now - timedelta(days=1)},
        {"revoked_since": now - timedelta(days=1)},
    ):
        runner = RunnerKey(name="here", key=pristine.signer.public, **limits)
        checked = Records(pristine.root, pristine.signer, Trust(runners=(runner,)), ())
        assert {f.code for f in checked.audit().findings} == {"key-validity"}, limits


def test_records_behind_the_newest_anchor_are_named(pristine):
    """An anchor at the fourth record leaves five that nothing outside knows."""
    first = parse_entry("x", pristine.slot(3).read_bytes())
    genesis = pristine.audit().genesis
    from gitops_nb.record.audit import Anchor

    anchor = Anchor(4, first.hash, genesis, "commit abcd", first.run)
    checked = Records(pristine.root, pristine.signer, pristine.trust, (anchor,)).audit()
    assert checked.findings == ()
    assert [entry.seq for entry in checked.unanchored] == [4, 5, 6, 7, 8]


def test_anchors_of_other_ledgers_are_left_alone(pristine):
    """A colleague's own ledger leaves its trailers in the same repository."""
    from gitops_nb.record.audit import Anchor

    foreign = Anchor(77, "f" * 64, "0" * 12, "commit beef", "20260101T000000Z-x-y-0000")
    checked = Records(pristine.root, pristine.signer, pristine.trust, (foreign,)).audit()
    assert checked.findings == ()
    assert checked.anchored == 0


def flips(content: bytes, positions):
    for position in positions:
        yield (
            position,
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :],
        )


def check_flips(records: Records, sample: int | None) -> int:
    """Flips bytes of notebook and envelope one after the other; returns how many were tried."""
    tried = 0
    chosen = random.Random(20261123)
    notebook = records.runs[2] / "notebook.ipynb"
    for path in (notebook, records.slot(8)):
        content = path.read_bytes()
        all_positions = range(len(content))
        positions = (
            all_positions
            if sample is None
            else chosen.sample(all_positions, min(sample, len(content)))
        )
        for position, flipped in flips(content, positions):
            path.write_bytes(flipped)
            if path is notebook:
                from gitops_nb.record.verify import verify_run

                found = verify_run(records.runs[2]).problems
            else:
                found = records.audit().findings
            assert found, f"{path.name}: byte {position}"
            tried += 1
        path.write_bytes(content)
    return tried


def test_a_sample_of_byte_flips_is_found(records):
    """A flipped bit of notebook or envelope is found wherever it is."""
    assert check_flips(records, sample=40) >= 60


@pytest.mark.torture
def test_every_byte_flip_is_found(records):
    """The same for every byte."""
    assert check_flips(records, sample=None) > 3000


def test_base64_of_another_form_is_refused(records):
    """One payload has one form of bytes: unused bits of the last base64 digit cannot carry a second."""
    envelope = json.loads(records.slot(8).read_bytes())
    signature = envelope["signatures"][0]["sig"]
    assert signature.endswith("==")
    other = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    assert base64.b64decode(other) == base64.b64decode(signature)
    envelope["signatures"][0]["sig"] = other
    records.slot(8).write_bytes(canonical(envelope))
    assert "malformed" in {f.code for f in records.audit().findings}


def test_the_stolen_person_key_is_found(records):
    """An approval by a key that was revoked before counts no more."""
    key = ssh_key(records.root / "keys", "thief")
    assert key.exists()
    persons = tuple(
        p.model_copy(
            update={
                "keys": tuple(
                    k.model_copy(update={"revoked_since": datetime(2026, 1, 1, tzinfo=UTC)})
                    for k in p.keys
                )
            }
        )
        for p in records.trust.persons
    )
    trust = records.trust.model_copy(update={"persons": persons})
    found = Records(records.root, records.signer, trust, records.anchors).findings()
    assert {f.code for f in found} == {"approval"}
