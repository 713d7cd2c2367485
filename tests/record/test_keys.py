"""The runner's key: where it may come from, and who cannot read it then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitops_nb.errors import ConfigurationError
from gitops_nb.record import keys
from gitops_nb.record.keys import VARIABLE, custody, open_runner_key

LOOKS = """
import os, subprocess, sys
from gitops_nb.record.keys import custody, forget_given_key, hide_given_key, open_runner_key
from pathlib import Path
hide_given_key()
signer = open_runner_key(Path("."))
print(signer.public)
print(custody())
# A program that the engine starts looks for the key: in its own environment, and in that of its parent.
look = "import os, sys; print('GITOPS_NB_RUNNER_KEY' in os.environ)\\n"
look += "try: found = b'PRIVATE KEY' in open(f'/proc/{os.getppid()}/environ', 'rb').read()\\n"
look += "except PermissionError: found = 'denied'\\n"
look += "print(found)"
print(subprocess.run((sys.executable, "-c", look), capture_output=True, text=True).stdout.split())
forget_given_key()
print(Path(".gitops-nb").exists())
"""


@pytest.fixture
def private(tmp_path):
    """The text of a runner's key, and its public half."""
    made = open_runner_key(tmp_path / "made")
    text = (tmp_path / "made" / ".gitops-nb" / "keys" / "runner").read_text()
    return text, made.public


def test_a_key_in_the_environment_stays_in_memory(private, tmp_path):
    """It signs, and neither a child's environment nor what /proc shows of the process has it any more."""
    text, public = private
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        (sys.executable, "-c", LOOKS), cwd=folder, env={**os.environ, VARIABLE: text},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown, held, looked, made = done.stdout.splitlines()
    assert shown == public
    assert held == "memory"
    assert looked in ("['False', 'False']", "['False', 'denied']")
    assert made == "False"


@pytest.mark.parametrize("change", [str.strip, lambda text: text + "\n"])
def test_line_ends_do_not_matter(private, change, monkeypatch, tmp_path):
    """A secret store may lose or add the last one."""
    text, public = private
    monkeypatch.setenv(VARIABLE, change(text))
    assert open_runner_key(tmp_path / "x").public == public
    assert not (tmp_path / "x").exists()


def test_rubbish_in_the_environment_is_refused_without_showing_it(monkeypatch, tmp_path):
    """The error names the variable, not what it holds, and no other key is made in its place."""
    monkeypatch.setenv(VARIABLE, "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n")
    with pytest.raises(ConfigurationError) as caught:
        open_runner_key(tmp_path)
    assert VARIABLE in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
    assert not (tmp_path / ".gitops-nb").exists()


def test_a_fork_forgets(private, monkeypatch, tmp_path):
    """What was held is wiped: nothing of it signs afterwards."""
    monkeypatch.setattr(keys, "_given", bytearray(private[0].encode()))
    assert custody() == "memory"
    keys.forget_given_key()
    assert custody() == "file of this user"
    assert open_runner_key(tmp_path).public != private[1]


def test_a_key_of_another_user_is_named(tmp_path, monkeypatch):
    """A folder that this user may not look into is no reason for a traceback, and none to make another key."""

    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(ConfigurationError, match="keys/runner: Permission denied") as caught:
        open_runner_key(tmp_path)
    assert "Run as the user whose key it is" in caught.value.hint
    assert not (tmp_path / ".gitops-nb").is_dir()
