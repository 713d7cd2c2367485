"""The process that calls the verbs of a run that needs approval: what the notebook does not get, and how a run ends when it dies."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.initialising import create_workspace
from gitops_nb.errors import ProcessGone
from gitops_nb.model import Status
from gitops_nb.notebook.remote import _connect
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.runs import read_run
from gitops_nb.record.verify import verify_run
from gitops_nb.session.lifecycle import recover
from tests.conftest import COMMAND, Workspace
from tests.engine.stops import ARGUMENTS, STOPPER, left_of, wait_until_free
from tests.samples import few

LOOKS = """\
import os, json, pathlib
from gitops_nb.record import keys
found = {
    "environment": [n for n, v in os.environ.items() if "PRIVATE KEY" in v or n == "GITOPS_NB_RUNNER_KEY"],
    "held": keys.held_key(),
    "writers": [n for n in dir(session) if "writer" in n or n == "_parts"],
    "parent": "PRIVATE KEY" in pathlib.Path(f"/proc/{os.getpid()}/environ").read_text(errors="replace"),
}
print("FOUND " + json.dumps(found))
"""
OWN = """\
def plan(request, state):
    return None
session.step(plan)
"""
NOT_OURS = """\
session._wire.send(call="step", verb="os.system")
print("SAID", session._wire.receive())
"""


def insert(workspace: Workspace, *cells: str, at_begin: bool = False) -> None:
    """Puts cells of a test behind the one that opens the session, or before it."""
    path = workspace.root / "notebooks" / "promotion.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    at = 1 + next(
        i for i, c in enumerate(notebook["cells"]) if "= open_session(" in "".join(c["source"])
    )
    at -= at_begin
    for number, source in enumerate(cells):
        cell = {
            "cell_type": "code", "id": f"test-{number}", "metadata": {}, "source": source,
            "outputs": [], "execution_count": None,
        }  # fmt: skip
        notebook["cells"].insert(at + number, cell)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def texts(workspace: Workspace) -> str:
    """Everything that the cells of the newest run wrote."""
    (path,) = workspace.reports.glob("2*/notebook.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(
        "".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ())
    )


def test_a_notebook_has_neither_the_runners_key_nor_a_writer(workspace, tmp_path):
    """The key comes in CI's variable: the notebook's process finds it nowhere, and the run is signed with it."""
    key = tmp_path / "runner"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True)
    insert(workspace, LOOKS)
    done = workspace.run(
        "run", "promotion", "-p", "application=checkout", GITOPS_NB_RUNNER_KEY=key.read_text()
    )
    assert done.returncode == 2, done.stdout + done.stderr
    found = json.loads(texts(workspace).partition("FOUND ")[2].splitlines()[0])
    assert found == {"environment": [], "held": "", "writers": [], "parent": False}
    assert not (workspace.root / ".gitops-nb/keys/runner").exists()


def test_a_notebooks_own_verb_is_refused(workspace):
    """A cell that calls a plan of its own ends the run; the request is not made, and nothing changed."""
    insert(workspace, OWN)
    done = workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "plan is this notebook's own" in done.stdout + done.stderr
    (directory,) = workspace.reports.glob("2*")
    assert read_run(directory).request is None


def test_no_callable_but_the_slices_verbs_is_called(workspace):
    """Whatever a notebook sends, a name that is no verb of the runbook is refused there."""
    insert(workspace, NOT_OURS)
    done = workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "'os.system' is no verb of this runbook" in texts(workspace)


CASES = [
    (step, mode)
    for step in ("apply", "effect", "verify")
    for mode in ("SIGINT", "SIGTERM", "kernel SIGKILL", "runner SIGKILL", "exception", "os._exit")
]
SAMPLE = [
    pytest.param("verify", "kernel SIGKILL", marks=pytest.mark.torture),
    pytest.param("effect", "SIGTERM", marks=pytest.mark.torture),
    pytest.param("effect", "kernel SIGKILL", marks=pytest.mark.torture),
    ("apply", "runner SIGKILL"),
]
ENDS = {"SIGINT": 130, "SIGTERM": 143}


def stopped_resume(workspace: Workspace, step: str, mode: str) -> int:
    """An approved run whose resume is stopped in its executor; returns the exit code of that."""
    waiting = workspace.run("run", "promotion", *ARGUMENTS["promotion"])
    assert waiting.returncode == 2, waiting.stdout + waiting.stderr
    approved = workspace.run("approve", "last", "--yes")
    assert approved.returncode == 0, approved.stdout + approved.stderr
    mark = f"mark-{os.urandom(8).hex()}"
    environment = {
        "PYTHONPATH": str(STOPPER), "STOP": f"{step}:{mode}", "STOP_IN": "gitops_nb.executor",
        "STOP_FLAG": str(workspace.root / "flag"), "STOP_MARK": mark,
    }  # fmt: skip
    done = subprocess.run(
        (str(COMMAND), "resume", "last"),
        cwd=workspace.root, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert left_of(mark, within_s=20) == []
    (directory,) = workspace.reports.glob("2*")
    wait_until_free(workspace, directory.name)
    return done.returncode


def check_stop(workspace: Workspace, step: str, mode: str) -> None:
    """The record tells the truth, and the next runner brings the run to its end: one commit, nothing twice."""
    code = stopped_resume(workspace, step, mode)
    where = find_workspace(workspace.root)
    recover(where)
    (directory,) = workspace.reports.glob("2*")
    state = read_run(directory)
    assert state.ended
    assert state.status in (Status.NEEDS_ATTENTION, Status.CANCELLED, Status.FAILED)
    if step == "effect" and mode != "runner SIGKILL":
        assert (code, state.status) == (4, Status.NEEDS_ATTENTION)
    elif mode in ENDS:
        assert code == ENDS[mode]
    elif mode == "kernel SIGKILL":
        assert (code, state.status) == (70, Status.FAILED)
        assert (
            f"the process that calls the verbs was killed by SIGKILL during {step}" in state.reason
        )
    assert verify_run(directory).problems == ()
    done = workspace.run("resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    log = subprocess.run(
        ("git", "--git-dir", str(folder), "log", "--format=%B", "main", "-20"),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert log.count(f"Gitops-Nb-Run: {directory.name}") == 1
    checked = workspace.run("verify", "last")
    assert checked.returncode == 0, checked.stdout
    assert open_runner_key(workspace.root)


@pytest.mark.parametrize(("step", "mode"), SAMPLE)
def test_a_run_whose_executor_is_stopped_goes_on(workspace, step, mode):
    """Interrupted, killed, or gone with its engine: the record says so, and resume finishes it (a sample)."""
    check_stop(workspace, step, mode)


@pytest.mark.torture
@pytest.mark.parametrize(("step", "mode"), CASES)
def test_every_stop_of_an_executor(workspace, step, mode):
    """The same in every mode and step."""
    check_stop(workspace, step, mode)


ELSEWHERE = """\
import json, socket
from gitops_nb.session.order import given
import time
wire = socket.socket(socket.AF_UNIX)
for _ in range(2000):
    try:
        wire.connect(given().executor)
        break
    except FileNotFoundError:
        time.sleep(0.01)  # it is not there yet
lines = wire.makefile("rb")
wire.sendall(json.dumps({{"call": "open", "runbook": "promotion", "workspace": {other!r}, "reports": {other!r} + "/reports",
    "mode": "sandbox", "parameters": {{"application": "payments", "source": "staging", "target": "production",
    "revision": None, "timeout": "15m", "patience": "60s", "stable_for": "10s"}}, "is_interactive": False}}).encode() + b"\\n")
from pathlib import Path
Path({said!r}).write_bytes(lines.readline())
"""


@pytest.mark.torture
def test_an_executor_works_where_its_engine_says(workspace, tmp_path):
    """A cell that connects first, with a lax workspace of its own and other parameters, opens nothing."""
    other = Workspace(tmp_path / "lax")
    create_workspace(other.root)
    other.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    insert(
        workspace,
        ELSEWHERE.format(other=str(other.root), said=str(tmp_path / "said")),
        at_begin=True,
    )
    done = workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode not in (0, 2), done.stdout + done.stderr
    assert "a parameter changed" in (tmp_path / "said").read_text(encoding="utf-8")
    assert not list(other.reports.glob("2*"))


KILLED = """\
import os, signal, sys
if "gitops_nb.executor" in " ".join(sys.orig_argv):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("command", few(["run", "resume"], keep=1))
def test_an_executor_that_dies_at_once_is_not_waited_for(workspace, tmp_path, command):
    """Killed before its socket is there: the engine says so within seconds, and nothing of the run is lost."""
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    arguments = ("run", "promotion", *ARGUMENTS["promotion"])
    if command == "resume":
        assert workspace.run(*arguments).returncode == 2
        assert workspace.run("approve", "last", "--yes").returncode == 0
        arguments = ("resume", "last")
    before = time.monotonic()
    done = workspace.run(*arguments, PYTHONPATH=str(tmp_path))
    assert time.monotonic() - before < 30
    assert done.returncode == 70, done.stdout + done.stderr
    said = "the process that calls the verbs was killed by SIGKILL"
    assert said in (done.stdout if command == "run" else done.stderr)
    again = workspace.run("resume", "last")
    assert again.returncode == (2 if command == "run" else 0), again.stdout + again.stderr


def test_a_notebooks_own_executor_that_is_gone_is_not_waited_for(tmp_path):
    """In JupyterLab and behind papermill the notebook's process asks its child, and waits for no socket that cannot come."""
    with pytest.raises(ProcessGone, match="was killed by SIGKILL before it answered"):
        _connect(tmp_path / "executor", lambda: -9)
