"""Answers to requests: real SSH signatures, in a namespace of their own."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.trust import PersonKey, Trust, TrustedPerson
from gitops_nb.errors import UsageError
from gitops_nb.model import canonical
from gitops_nb.record.approvals import FOLDER, new_request, read_answers, sign_answer
from gitops_nb.record.signatures import person_of, public_key
from tests.record.record_factories import HERE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two SSH keys: tomas's and a stranger's."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("tomas", "stranger"):
        subprocess.run(
            ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)), check=True
        )
    return folder


@pytest.fixture
def approvers(keys):
    """Tomas may approve."""
    key = public_key(keys / "tomas", LocalProcesses())
    return (TrustedPerson(person="tomas", keys=(PersonKey(key=key),)),)


def sign(directory, keys, **changes):
    """An approval by tomas, or a changed one."""
    values = {
        "key": keys / "tomas",
        "run": "r1",
        "subject": "sha256:" + "1" * 64,
        "answer": "approve",
        "person": "tomas",
        "at": NOW,
        "expires": NOW + timedelta(hours=1),
        "reason": "CHG",
        **changes,
    }
    return sign_answer(directory, processes=LocalProcesses(), **values)


def read(directory, approvers):
    """All answers with their signatures checked."""
    return read_answers(directory, processes=LocalProcesses(), trust=Trust(persons=approvers))


def test_a_signed_answer_is_read_back(tmp_path, keys, approvers):
    """Person, digest, times, reason and the key's fingerprint are what was signed."""
    sign(tmp_path, keys)
    (answer,) = read(tmp_path, approvers)
    assert answer.approval.person == "tomas"
    assert answer.approval.subject == "sha256:" + "1" * 64
    assert answer.approval.key.startswith("SHA256:")
    assert answer.approval.reason == "CHG"


def test_a_key_that_is_not_the_persons_does_not_count(tmp_path, keys, approvers):
    """A stranger's signature under tomas's name is none."""
    sign(tmp_path, keys, key=keys / "stranger")
    (answer,) = read(tmp_path, approvers)
    assert answer.approval is None
    assert "no valid key of tomas" in answer.problem


def test_every_changed_byte_of_the_statement_is_found(tmp_path, keys, approvers):
    """The signature covers each byte of what it says."""
    path = sign(tmp_path, keys)
    outer = json.loads(path.read_bytes())
    statement = outer["statement"]
    for position in range(0, len(statement), 5):
        changed = (
            statement[:position] + chr(ord(statement[position]) ^ 1) + statement[position + 1 :]
        )
        path.write_bytes(canonical({**outer, "statement": changed}))
        (answer,) = read(tmp_path, approvers)
        assert answer.approval is None, position


def test_a_signature_from_another_namespace_does_not_count(tmp_path, keys, approvers):
    """A commit signature cannot be offered as an approval."""
    path = sign(tmp_path, keys)
    outer = json.loads(path.read_bytes())
    done = subprocess.run(
        ("ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", str(keys / "tomas")),
        input=outer["statement"].encode(), capture_output=True, check=True,
    )  # fmt: skip
    path.write_bytes(canonical({**outer, "signature": done.stdout.decode()}))
    (answer,) = read(tmp_path, approvers)
    assert answer.approval is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"statement": "x", "statement": "y", "signature": ""}',
        b'{"statement": "{}", "signature": ""}',
        b'{"statement": 1, "signature": 2}',
        b"\xff\xfe",
        b"{" * 5000,
        b'"' + b"x" * 70_000 + b'"',
    ],
)
def test_rubbish_is_reported_not_trusted(tmp_path, approvers, content):
    """A file that is no answer is named with its problem."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "x.json").write_bytes(content)
    (answer,) = read(tmp_path, approvers)
    assert answer.approval is None
    assert answer.problem


def test_a_file_that_is_no_key_cannot_sign(tmp_path, keys):
    """The error names the file; no answer is left behind."""
    bad = tmp_path / "bad"
    bad.write_text("no key")
    with pytest.raises(UsageError, match="bad"):
        sign(tmp_path, keys, key=bad)
    assert not (tmp_path / FOLDER).exists()


def test_a_key_is_found_by_its_body(keys, approvers):
    """Comment and options of the line do not matter."""
    key = public_key(keys / "tomas", LocalProcesses())
    assert person_of(f"{key} somebody@somewhere", approvers) == "tomas"
    assert person_of(public_key(keys / "stranger", LocalProcesses()), approvers) is None


def test_two_requests_never_have_the_same_digest():
    """The nonce makes each request its own, so an answer fits one run only."""
    values = {
        "run": "r", "runbook": "promotion", "mode": "live", **HERE, "notebook_digest": "d", "package": "0.1", "parameters": {}, "environment": "production",
        "plan_digest": "p", "materials": {}, "requester": {"name": "priya"}, "created": NOW, "expires": NOW,
    }  # fmt: skip
    assert new_request(**values)[1] != new_request(**values)[1]
