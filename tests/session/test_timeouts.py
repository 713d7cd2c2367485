"""A command of a step that does not end: the record says that it was the command, which one, and what to do."""

from __future__ import annotations

import os

from gitops_nb.adapters import git
from gitops_nb.errors import ExitCode, TimedOut
from gitops_nb.model import Status
from gitops_nb.record.verify import verify_run


def test_a_command_timeout_stands_in_the_record(runner, tmp_path, monkeypatch):
    """Git hangs while it asks the remote: the step failed, the run can be resumed, and it succeeds when git answers."""
    folder = tmp_path / "bin"
    folder.mkdir()
    slow = folder / "git"
    slow.write_text(
        '#!/bin/sh\ncase "$*" in *ls-remote*) exec sleep 60;; esac\nexec /usr/bin/env PATH="$REST" git "$@"\n'
    )
    slow.chmod(0o755)
    rest = os.environ["PATH"]
    slow.write_text(slow.read_text().replace("$REST", rest))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{folder}:{rest}")
        patched.setattr(git, "REMOTE_S", 1.0)
        failed, stop = runner.promote()
    assert isinstance(stop, TimedOut)
    assert (failed.status, failed.exit_code) == (Status.FAILED, ExitCode.UNAVAILABLE)
    assert failed.reason == "command timeout: git ls-remote did not end within 1 s"
    assert failed.step("observe").status is Status.FAILED
    assert f"gitops-nb resume {failed.run}" in failed.command
    assert verify_run(runner.workspace.reports / failed.run).problems == ()
    waiting, _ = runner.promote(run=failed.run)
    assert waiting.status is Status.WAITING
