"""Keys of trust.yaml's revocation list count neither for people nor for runners, however the list names them."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime

import pytest

from gitops_nb.catalog.krl import read_krl
from gitops_nb.catalog.trust import PersonKey, RunnerKey, Trust, TrustedPerson
from gitops_nb.policy import trust_then


def make_key(folder, name: str) -> str:
    path = folder / name
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)), check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def make_krl(folder, text: str) -> bytes:
    """What ssh-keygen makes of a specification, or of a public key."""
    (folder / "spec").write_text(text)
    subprocess.run(
        ("ssh-keygen", "-q", "-k", "-f", str(folder / "krl"), str(folder / "spec")), check=True
    )
    return (folder / "krl").read_bytes()


WAYS = {"the key": "{}\n", "its SHA-1": "sha1: {}\n", "its SHA-256": "sha256: {}\n"}


@pytest.mark.parametrize("way", WAYS)
def test_a_list_names_keys_in_three_ways(tmp_path, way):
    """As ssh-keygen writes them; another key is not in it."""
    gone, other = make_key(tmp_path, "gone"), make_key(tmp_path, "other")
    listed = read_krl(make_krl(tmp_path, WAYS[way].format(gone)))
    assert listed.holds(gone)
    assert not listed.holds(other)


def test_a_revoked_key_never_counts(tmp_path):
    """Neither a person's nor a runner's, now or earlier, nor in a trust file from before that did not list it."""
    gone, stays = make_key(tmp_path, "gone"), make_key(tmp_path, "stays")
    text = base64.b64encode(make_krl(tmp_path, f"{gone}\n")).decode()
    keys = {
        "persons": (TrustedPerson(person="p", keys=(PersonKey(key=stays),)),),
        "runners": (RunnerKey(name="r", key=gone),),
    }
    trust = Trust(**keys, revoked=text)
    moments = (datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC))
    assert not any(trust.runners[0].counts_at(moment) for moment in moments)
    assert all(trust.persons[0].keys[0].counts_at(moment) for moment in moments)
    before = trust_then(Trust(**keys), Trust(revoked=text))
    assert not any(before.runners[0].counts_at(moment) for moment in moments)
    person = Trust(persons=(TrustedPerson(person="p", keys=(PersonKey(key=gone),)),), revoked=text)
    assert not person.persons[0].keys[0].counts_at(moments[1])


@pytest.mark.parametrize("content", [b"SSHKRL\n\0", b"SSHKRL\n\0" + bytes(28), b"x"])
def test_what_is_no_list_is_refused(content):
    """Another format, and one that ends in the middle."""
    with pytest.raises(ValueError, match="key revocation list"):
        read_krl(content)
    with pytest.raises(ValueError, match="key revocation list"):
        Trust(revoked=base64.b64encode(content).decode())
