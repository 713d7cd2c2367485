"""The ledger: envelopes that others can read, numbered slots, one chain under concurrency."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.errors import ConfigurationError, RecordError
from gitops_nb.model import canonical
from gitops_nb.record import dsse
from gitops_nb.record.audit import audit
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Ledger, Phase, size, slot

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def signer(tmp_path):
    """A runner's key."""
    return open_runner_key(tmp_path)


def append(ledger, run="r", phase=Phase.START, attempt=1):
    return ledger.append(
        phase, run=run, attempt=attempt, subjects={"plan": "0" * 64}, body={"reason": "x"}
    )


def findings(store, signer, now=START):
    runners = (RunnerKey(name="here", key=signer.public),)
    return audit(store, "production", runners=runners, now=now).findings


def test_securesystemslib_verifies_our_envelopes(signer):
    """The other implementation of DSSE reads and accepts what we sign, and refuses a changed payload."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    content = signer.seal(canonical({"a": 1}))
    public = SSlibKey(
        signer.keyid, "ed25519", "ed25519", {"public": dsse.raw_ed25519(signer.public).hex()}
    )
    theirs = Envelope.from_dict(json.loads(content))
    assert theirs.payload == b'{"a":1}'
    assert theirs.payload_type == dsse.IN_TOTO
    assert theirs.verify([public], 1)
    theirs.payload = b'{"a":2}'
    with pytest.raises(VerificationError):
        theirs.verify([public], 1)


def test_we_verify_securesystemslibs_envelopes(signer):
    """What the other implementation signs is accepted here, and a changed payload is not."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    theirs = Envelope(b'{"a":1}', dsse.IN_TOTO, {})
    theirs.sign(CryptoSigner(signer._private))
    value = theirs.to_dict()
    envelope = dsse.parse(canonical(value))
    assert dsse.is_signed_by(envelope, dsse.raw_ed25519(signer.public))
    changed = dsse.Envelope(b'{"a":2}', envelope.payload_type, envelope.keyid, envelope.signature)
    assert not dsse.is_signed_by(changed, dsse.raw_ed25519(signer.public))


def test_the_type_of_the_payload_is_signed_too(signer):
    """The same payload under another type is another message."""
    envelope = dsse.parse(signer.seal(b"{}"))
    other = dsse.Envelope(envelope.payload, "text/plain", envelope.keyid, envelope.signature)
    assert not dsse.is_signed_by(other, dsse.raw_ed25519(signer.public))


def test_racing_writers_make_one_chain(tmp_path, signer):
    """8 writers with 10 records each: 80 records, every one chained to the one before."""
    store = Folder(tmp_path / "reports")
    failures: list[Exception] = []

    def write(name: str) -> None:
        try:
            for number in range(10):
                append(Ledger(store, "production", signer), run=f"{name}-{number}")
        except RecordError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.list("ledger/production/")) == 80
    assert findings(store, signer, datetime.now(UTC)) == ()


def test_a_new_year_begins_with_a_checkpoint(tmp_path, signer):
    """The first record of a year stands behind one that says how long the ledger is and what its head is."""
    store = Folder(tmp_path / "reports")
    last = append(Ledger(store, "production", signer, now=lambda: START))
    later = START + timedelta(days=60)
    entry = append(Ledger(store, "production", signer, now=lambda: later), run="s")
    assert entry.seq == 2
    mark = Ledger(store, "production", signer).entry(slot("production", 1))
    assert mark.phase is Phase.CHECKPOINT
    assert mark.predicate["checkpoint"] == {"size": 1, "head": last.hash, "year": 2026}
    assert findings(store, signer, later) == ()


def test_a_clock_behind_the_ledger_is_refused(tmp_path, signer):
    """A record is never dated before the one it follows; the ledger is as it was."""
    store = Folder(tmp_path / "reports")
    append(Ledger(store, "production", signer, now=lambda: START))
    early = START - timedelta(minutes=10)
    with pytest.raises(RecordError, match="clock"):
        append(Ledger(store, "production", signer, now=lambda: early), run="s")
    assert len(store.list("ledger/")) == 1


def test_a_runs_records_are_found_among_those_of_others(tmp_path, signer):
    """Newest first, looking back as far as clocks may differ; its own damaged record is said, like one nobody can read."""
    store = Folder(tmp_path / "reports")
    at = [START - timedelta(hours=1)]
    ledger = Ledger(store, "production", signer, now=lambda: at[0])
    old = append(ledger)
    at[0] = START
    own = [append(ledger, run=run) for run in ("r", "s", "t", "r")]
    assert [e.key for e in ledger.find("r", since=START)] == [own[3].key, own[0].key]
    assert [e.key for e in ledger.find("r", since=old.at)][-1] == old.key
    assert size(store, "production") == 5
    assert size(store, "staging") == 0
    assert [e.key for e in ledger.find("r", since=START, after=own[3].seq)] == [own[3].key]
    assert ledger.find("r", since=START, after=size(store, "production")) == ()
    envelope = json.loads(store.read(own[0].key))
    store.replace(own[0].key, json.dumps(envelope, indent=1).encode())
    with pytest.raises(RecordError, match=own[0].key):
        ledger.find("r", since=START)
    store.replace(own[1].key, b"[]")
    with pytest.raises(RecordError, match=own[1].key):
        ledger.find("t", since=START)


def test_a_damaged_newest_record_stops_the_ledger(tmp_path, signer):
    """Nothing is written behind a record that cannot be read; it is kept as evidence."""
    store = Folder(tmp_path / "reports")
    entry = append(Ledger(store, "production", signer, now=lambda: START))
    store.replace(entry.key, b"{}")
    with pytest.raises(RecordError, match="envelope"):
        append(Ledger(store, "production", signer, now=lambda: START), run="s")
    assert store.list("ledger/") == (entry.key,)


def test_the_runners_key_is_private(tmp_path):
    """The key is made once, outside of the reports, readable by its owner only; another mode is refused."""
    first = open_runner_key(tmp_path)
    path = tmp_path / ".gitops-nb" / "keys" / "runner"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert open_runner_key(tmp_path).keyid == first.keyid
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others can read"):
        open_runner_key(tmp_path)


def test_a_named_key_has_to_exist(tmp_path, monkeypatch):
    """In CI the key comes from where GITOPS_NB_RUNNER_KEY says; no other one is made in its place."""
    monkeypatch.setenv("GITOPS_NB_RUNNER_KEY", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="nothing is there"):
        open_runner_key(tmp_path)
    assert not (tmp_path / ".gitops-nb").exists()


def test_the_fingerprint_is_the_one_of_ssh_keygen(tmp_path, signer):
    """What doctor shows can be compared with `ssh-keygen -l`."""
    import subprocess

    path = tmp_path / "runner.pub"
    path.write_text(signer.public + "\n")
    shown = subprocess.run(
        ("ssh-keygen", "-l", "-f", str(path)), capture_output=True, text=True, check=True
    ).stdout
    assert signer.keyid in shown
