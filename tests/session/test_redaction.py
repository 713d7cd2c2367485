"""Canary secrets in a whole headless run: no byte of them on the disk, on the terminal or in the record."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from gitops_nb.redaction.forms import forms
from tests.conftest import COMMAND, REPOSITORY
from tests.engine.stops import prepare as without_approval
from tests.samples import few

CANARY = "c4n4ry/Zq9#vR2 xT7@mK4"
MASK = "[secret env://CANARY]"

SHOW = """\
import base64, html, json, shlex, subprocess, sys
from urllib.parse import quote
from IPython.display import HTML, JSON, display
token = session.secret("token").reveal()
"""
LOUD = """\
print(token)
print(token, file=sys.stderr)
sys.stdout.write(token[:9]); sys.stdout.flush(); sys.stdout.write(token[9:] + "\\n")
print(base64.b64encode(f"bot:{token}".encode()).decode(), quote(token), html.escape(token), shlex.quote(token))
print(json.dumps({"password": token}).replace("/", "\\\\/"), token.encode().hex(), repr(token.encode()))
display(HTML(f"<b title='{token}'>{token}</b>"), JSON({"auth": {token: [token]}}))
display({"application/vnd.plotly.v1+json": {"data": [{"x": [1], "y": [2], "hovertext": token}]}}, raw=True)
display({"text/plain": "x"}, raw=True, metadata={"source": token})
_ = subprocess.run(["echo", token], check=True)
subprocess.run(["sh", "-c", 'echo "$0" >&2', token], check=True)
{"result": token, token: [token]}
"""


@contextmanager
def watched(*folders: Path) -> Iterator[set[str]]:
    """Reads every new version of every file below the folders each 20 ms; yields where a form of the canary was."""
    searched = [form.encode() for form in forms(CANARY)]
    found: set[str] = set()
    seen: dict[str, tuple[int, int]] = {}
    over = threading.Event()

    def look() -> None:
        for folder in folders:
            for base, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(base, name)  # noqa: PTH118  called thousands of times
                    try:
                        state = os.stat(path, follow_symlinks=False)  # noqa: PTH116
                        version = (state.st_mtime_ns, state.st_size)
                        if seen.get(path) == version:
                            continue
                        seen[path] = version
                        content = Path(path).read_bytes()
                    except OSError:
                        continue
                    found.update(path for form in searched if form in content)

    def loop() -> None:
        while not over.wait(0.02):
            look()

    watcher = threading.Thread(target=loop)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        look()
        assert len(seen) > 5, "the watcher saw nothing"


@pytest.fixture
def run(workspace, tmp_path):
    """Runs the promotion with one more parameter of type secret, and cells of the test after the first one."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # Where somebody has to approve a notebook's own cells get no secret at all.
    without_approval(workspace)
    workspace.replace(
        "runbooks/promotion.yaml",
        "parameters:\n",
        "parameters:\n  token: {type: secret, description: A canary.}\n",
    )

    def prepare(*cells: str) -> None:
        notebook = nbformat.read(REPOSITORY / "notebooks" / "promotion.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code" and "open_session(" in cell.source:
                cell.source = cell.source.replace("application=", "token=token, application=")
            if cell.metadata.get("tags") == ["parameters"]:
                cell.source = f"token = None\n{cell.source}"
        at = next(i for i, c in enumerate(notebook.cells) if "Observe" in c.source)
        notebook.cells[at:at] = [nbformat.v4.new_code_cell(source) for source in cells]
        nbformat.write(notebook, workspace.root / "notebooks" / "promotion.ipynb")

    def run(*cells: str, token: str = CANARY, reference: str = "env://CANARY"):
        prepare(*cells)
        folders = (workspace.reports, workspace.root / ".gitops-nb", temporary, tmp_path / "home")
        with watched(*folders) as found:
            done = workspace.run(
                *("run", "promotion", "-p", "application=checkout", "-p", f"token={reference}"),
                CANARY=token,
                TMPDIR=str(temporary),
            )
        assert found == set()
        assert not [form for form in forms(CANARY) if form in done.stdout + done.stderr]
        return done

    run.prepare = prepare
    return run


def notebook_of(workspace) -> str:
    """The text of the newest run's notebook."""
    [path] = workspace.reports.glob("2*/notebook.ipynb")
    return path.read_text(encoding="utf-8")


def test_no_byte_of_a_secret_reaches_the_disk(workspace, run):
    """Streams, pieces, results, displays, metadata, encodings, output of commands: masked before the first save."""
    done = run(SHOW, LOUD)
    assert done.returncode == 0, done.stderr
    shown = notebook_of(workspace)
    assert shown.count(MASK) > 12
    outputs = [o for c in json.loads(shown)["cells"] for o in c.get("outputs", ())]
    assert {o["output_type"] for o in outputs} >= {"stream", "display_data", "execute_result"}


@pytest.mark.parametrize(
    "engine", [(), pytest.param(("--engine", "gitops_nb"), marks=pytest.mark.torture)]
)
def test_papermill_writes_no_secret_either(workspace, run, tmp_path, engine):
    """Its output notebook, its metadata and its log are masked; the parameter in them is the reference.

    A command that a cell starts by itself writes to papermill's own terminal where papermill runs the kernel.
    """
    own = "\n".join(line for line in LOUD.splitlines() if engine or "subprocess.run" not in line)
    run.prepare(SHOW, own)
    output = tmp_path / "temporary" / "out.ipynb"
    arguments = ("notebooks/promotion.ipynb", str(output), "-p", "application", "checkout")
    with watched(workspace.reports, tmp_path) as found:
        done = subprocess.run(
            (
                str(COMMAND.with_name("papermill")),
                *arguments,
                "-p",
                "token",
                "env://CANARY",
                *engine,
            ),
            cwd=workspace.root,
            env={**os.environ, "CANARY": CANARY, "TMPDIR": str(tmp_path / "temporary")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert found == set()
    assert not [form for form in forms(CANARY) if form in done.stdout + done.stderr]
    assert output.read_text("utf-8").count(MASK) > 12, done.stderr


def test_an_exception_does_not_tell_the_secret(workspace, run):
    """Its text is masked in notebook, journal, report and on the terminal; the run fails as it would without it."""
    done = run(SHOW, 'raise RuntimeError(f"cannot log in with {token}")')
    assert done.returncode == 70, done.stderr
    assert f"cannot log in with {MASK}" in notebook_of(workspace)


STEP = """\
import dataclasses, functools
from gitops_nb.promotion import observe as look
@functools.wraps(look)
def observe(view, request):
    state = look(view, request)
    return dataclasses.replace(state, branch=token)
"""


def test_a_secret_in_a_step_refuses_the_run(workspace, run):
    """A step that finds a known secret ends the run before anything of it is recorded."""
    done = run(SHOW, STEP)
    assert done.returncode == 3, done.stderr
    assert "holds a secret: env://CANARY" in done.stderr + done.stdout


@pytest.mark.parametrize(
    "cell",
    few(
        [
            'print(" ".join(token))',
            "print(list(token))",
            # Each line a message of its own.
            "for c in token: print(c, flush=True)",
            'for c in token: print(f"\\x1b[3{ord(c) % 8}m{c}", end="", flush=True)',
        ],
        keep=2,
    ),
)
def test_a_secret_that_cannot_be_masked_stops_the_run(workspace, run, cell):
    """A spread-out secret is withheld, also over several messages, and the next step does not begin."""
    done = run(SHOW, cell, token=CANARY.replace(" ", "+"))
    assert done.returncode == 3, done.stderr
    shown = notebook_of(workspace)
    assert "[withheld" in shown
    texts = [
        "".join(output.get("text", ""))
        for cell in json.loads(shown)["cells"]
        for output in cell.get("outputs", ())
    ]
    letters = re.sub(r"\x1b\[\d+m|\s", "", "".join(texts))
    assert CANARY[:7] not in letters
    assert "cannot be masked" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (CANARY, "the value is not allowed"),
        ("sm://no-such/place/at/all", "the value is not allowed"),
        ("ghp_" + "a1" * 20, "it looks like a secret"),
    ],
)
def test_a_value_where_a_reference_is_due_is_refused(workspace, run, reference, problem):
    """Before a kernel starts, without a record, and without showing it."""
    done = run(SHOW, reference=reference)
    assert done.returncode == 64
    assert problem in done.stderr
    assert reference not in done.stderr
    assert not list(workspace.reports.glob("2*"))


def test_a_short_secret_is_refused(workspace, run):
    """Fewer than eight characters: the run ends before the value was used or shown."""
    done = run(SHOW, "print(token)", token="hunter2")
    assert done.returncode != 0
    assert "fewer than 8 characters" in notebook_of(workspace)
    assert "hunter2" not in notebook_of(workspace)
