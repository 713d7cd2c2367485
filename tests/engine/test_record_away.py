"""The store of the record goes away once the effect is done: the end is told all the same, and the record is completed later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gitops_nb.record.runs import read_run, run_directories

GONE = """\
#!/bin/sh
while read -r old new ref; do
  if [ "$ref" = refs/heads/main ]; then mv "$PWD" "$PWD.away"; fi
done
"""
REFUSES = """\
#!/bin/sh
case "$1" in refs/gitops-nb/*) [ "$(git rev-parse main)" = {tip} ] || exit 1 ;; esac
"""


def approved(workspace) -> Path:
    """A promotion that waits with an approval; its register is in the repository that it changes."""
    waiting = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert waiting.returncode == 2, waiting.stdout + waiting.stderr
    assert workspace.run("approve", "last", "--yes").returncode == 0
    (directory,) = run_directories(workspace.reports)
    return directory


def hook(workspace, name: str, text: str) -> Path:
    """A hook of the repository that takes the commit; returns the repository."""
    repository = workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    (repository / "hooks").mkdir(exist_ok=True)
    path = repository / "hooks" / name
    tip = (repository / "refs/heads/main").read_text().strip()
    path.write_text(text.format(tip=tip))
    path.chmod(0o755)
    return repository


@pytest.mark.parametrize("how", ["the repository is gone", "the register is refused"])
def test_an_end_whose_record_cannot_be_sent_is_told(workspace, how):
    """Status, commit, way back and command are on the terminal; `list` and `verify` say what is left, and the next command does it."""
    directory = approved(workspace)
    is_gone = how == "the repository is gone"
    repository = hook(workspace, *(("post-receive", GONE) if is_gone else ("update", REFUSES)))
    done = workspace.run("resume", "last")
    assert done.returncode == 74, done.stdout + done.stderr
    state = read_run(directory)
    word = "failed" if is_gone else "succeeded"
    assert f"\n{word}  {state.reason[:30]}" in done.stdout
    for text in (
        "In Git     Git asks for checkout",
        "By itself",
        "Way back",
        state.aftermath["command"],
    ):
        assert text in done.stdout
    assert f"report  {directory}/report.html" in done.stdout
    assert f"{state.run} is {word}, and its record is complete only on this machine" in done.stderr
    assert "The next gitops-nb command in this workspace sends it." in done.stderr
    if is_gone:
        assert f"gitops-nb resume {state.run}" in done.stdout
    listed = workspace.run("list", "runs").stdout
    assert "complete only on this machine, until a command can send it" in listed
    assert f"gitops-nb {'resume' if is_gone else 'report'} {state.run}" in listed
    checked = workspace.run("verify")
    assert checked.returncode == 69, checked.stdout + checked.stderr
    assert "MISMATCH" not in checked.stdout
    assert "not checked: how it came to stop" in checked.stdout
    if is_gone:
        repository.with_name(f"{repository.name}.away").rename(repository)
    for path in (repository / "hooks").iterdir():
        path.unlink()
    again = workspace.run("resume", "last") if is_gone else workspace.run("report", "last")
    assert again.returncode == 0, again.stdout + again.stderr
    checked = workspace.run("verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "complete only" not in workspace.run("list", "runs").stdout


def test_the_one_document_of_such_an_end_is_whole(workspace):
    """`--json` has the run, what is true after it, and why its record is not complete."""
    approved(workspace)
    hook(workspace, "update", REFUSES)
    done = workspace.run("resume", "last", "--json")
    assert done.returncode == 74, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["aftermath"]["command"] != "") == ("succeeded", True)
    assert "complete only on this machine" in told["error"]
