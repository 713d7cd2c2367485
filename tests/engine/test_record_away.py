"""The store of the record goes away once the effect is done: the end is told all the same, and the record is completed later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gitops_nb.record.journal import FILE, read
from gitops_nb.record.runs import read_run, run_directories

ONCE_MAIN_MOVED = """\
#!/bin/sh
while read -r old new ref; do
  if [ "$ref" = refs/heads/main ]; then {does}; fi
done
"""
REFUSES = """\
#!/bin/sh
case "$1" in refs/gitops-nb/*) [ "$(git rev-parse main)" = {tip} ] || exit 1 ;; esac
"""

FULL = """\
import errno, os
fsync = os.fsync
def full(descriptor):
    path = os.readlink(f"/proc/self/fd/{{descriptor}}")
    if "/reports/" in path and {where!r} in path and os.path.exists({flag!r}):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync(descriptor)
os.fsync = full
"""
"""A disk for the reports that is full once the flag is there: ``where`` says for which files."""


def approved(workspace, stable_for: str = "0s") -> Path:
    """A promotion that waits with an approval; its register is in the repository that it changes."""
    waiting = workspace.run(
        "run", "promotion", "-p", "application=checkout", "-p", f"stable_for={stable_for}"
    )
    assert waiting.returncode == 2, waiting.stdout + waiting.stderr
    assert workspace.run("approve", "last", "--yes").returncode == 0
    (directory,) = run_directories(workspace.reports)
    return directory


def hook(workspace, name: str, text: str, does: str = 'mv "$PWD" "$PWD.away"') -> Path:
    """A hook of the repository that takes the commit; returns the repository."""
    repository = workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    (repository / "hooks").mkdir(exist_ok=True)
    path = repository / "hooks" / name
    tip = (repository / "refs/heads/main").read_text().strip()
    path.write_text(text.format(tip=tip, does=does))
    path.chmod(0o755)
    return repository


@pytest.mark.parametrize(
    "how",
    ["the repository is gone", pytest.param("the register is refused", marks=pytest.mark.torture)],
)
def test_an_end_whose_record_cannot_be_sent_is_told(workspace, how):
    """Status, commit, way back and command are on the terminal; `list` and `verify` say what is left, and the next command does it."""
    directory = approved(workspace)
    is_gone = how == "the repository is gone"
    repository = hook(
        workspace, *(("post-receive", ONCE_MAIN_MOVED) if is_gone else ("update", REFUSES))
    )
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


@pytest.mark.torture
def test_the_one_document_of_such_an_end_is_whole(workspace):
    """`--json` has the run, what is true after it, and why its record is not complete."""
    approved(workspace)
    hook(workspace, "update", REFUSES)
    done = workspace.run("resume", "last", "--json")
    assert done.returncode == 74, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["aftermath"]["command"] != "") == ("succeeded", True)
    assert "complete only on this machine" in told["error"]


@pytest.mark.parametrize(
    "where",
    [
        "",
        pytest.param("notebook.ipynb", marks=pytest.mark.torture),
        pytest.param("report.html", marks=pytest.mark.torture),
    ],
)
def test_a_disk_that_is_full_after_the_push_hides_nothing(workspace, tmp_path, where):
    """The end on the terminal has the true cause, the commit and the way back; so has the record, once there is space again."""
    # Long enough that the engine saves its notebook meanwhile.
    directory = approved(workspace, stable_for="6s" if where == "notebook.ipynb" else "0s")
    flag = tmp_path / "full"
    hook(workspace, "post-receive", ONCE_MAIN_MOVED, f"touch {flag}")
    (tmp_path / "site").mkdir()
    customize = FULL.format(where=where, flag=str(flag))
    (tmp_path / "site" / "sitecustomize.py").write_text(customize)
    done = workspace.run("resume", "last", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 74, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "BrokenPipe" not in done.stdout + done.stderr
    after = (
        "  In Git     ",
        "  By itself  ",
        "  Way back   ",
        " -p target=production -p revision=",
    )
    for text in after:
        assert text in done.stdout
    # On a busy machine the run may have its end before the engine saves its notebook.
    has_ended = where == "report.html" or (where and "\nsucceeded  checkout " in done.stdout)
    if has_ended:
        assert "\nsucceeded  checkout " in done.stdout
    else:
        # Where only the notebook could not be saved the run may be past its effects, or amid them.
        words = ("needs attention", "failed") if where else ("needs attention",)
        said = [f"\n{word}  cannot write {directory}" in done.stdout for word in words]
        assert any(said), done.stdout
        assert f"gitops-nb resume {directory.name}" in done.stdout
    flag.unlink()
    again = workspace.run("report" if has_ended else "resume", "last")
    assert again.returncode == 0, again.stdout + again.stderr
    checked = workspace.run("verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    ends = [r.body["reason"] for r in read(directory / FILE)[0] if r.kind == "ended"]
    assert "killed" not in " ".join(ends), ends
    assert ("No space left on device" in " ".join(ends)) is not bool(has_ended)
