"""Many runs of one runbook from preloaded processes: the same as single runs, checked before, none left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid

import pytest

from tests.conftest import COMMAND
from tests.engine.outputs import differences, seen
from tests.engine.stops import left_of
from tests.engine.test_outputs import with_every_kind

SETS = "- {application: checkout}\n- {application: catalog}\n- {application: checkout, stable_for: 1s}\n"


def test_runs_of_a_matrix_are_those_of_single_runs(workspace):
    """Every set is a run of its own, in a process of its own, with the outputs that a single run has."""
    workspace.write("m.yaml", SETS)
    done = workspace.run("run", "promotion", "--matrix", "m.yaml", "--plan", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = json.loads(done.stdout)
    assert [line["parameters"]["application"] for line in lines] == [
        "checkout",
        "catalog",
        "checkout",
    ]
    assert {line["status"] for line in lines} == {"succeeded"}
    single = workspace.run("run", "promotion", "-p", "application=checkout", "--plan", "--json")
    alone = workspace.reports / json.loads(single.stdout)["run"]
    first = workspace.reports / lines[0]["run"]
    assert differences(first / "notebook.ipynb", alone / "notebook.ipynb") == []
    processes = set()
    for line in lines:
        journal = (workspace.reports / line["run"] / "journal.jsonl").read_text().splitlines()
        attempts = [json.loads(record) for record in journal if '"kind":"attempt"' in record]
        processes.add(attempts[0]["body"]["pid"])
    assert len(processes) == 3
    assert workspace.run("verify").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("configured", [False, True])
def test_a_fork_is_a_kernel_as_any_other(workspace, tmp_path, configured, monkeypatch):
    """Every kind of output, and what a cell can see of its shell, also where a person has configured IPython."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    profile = tmp_path / "ipython/profile_default"
    if configured:
        profile.mkdir(parents=True)
        (profile / "ipython_kernel_config.py").write_text(
            "c.InteractiveShell.ast_node_interactivity = 'all'\n"
            "c.InteractiveShellApp.exec_lines = ['configured = 1']\n"
        )
    with_every_kind(workspace.root / "notebooks/promotion.ipynb")
    workspace.replace("notebooks/promotion.ipynb", '"x = 1"', '"7\\n", "globals().get(\'configured\')\\n", "8"')  # fmt: skip
    workspace.write("m.yaml", "- {application: catalog}\n")
    done = workspace.run("run", "promotion", "--matrix", "m.yaml", "--plan", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    single = workspace.run("run", "promotion", "-p", "application=catalog", "--plan", "--json")
    runs = [json.loads(done.stdout)[0]["run"], json.loads(single.stdout)["run"]]
    forked, alone = (workspace.reports / run / "notebook.ipynb" for run in runs)
    assert differences(forked, alone) == []
    cells = seen(json.loads(forked.read_bytes()))
    results = [text for cell in cells for kind, text in cell if kind == "execute_result"]
    assert any('"7"' in text for text in results) is configured


def test_a_wrong_set_starts_nothing(workspace):
    """All sets are checked first; every problem names its set."""
    workspace.write(
        "m.yaml",
        "- {application: checkout}\n- {application: nope}\n- {application: checkout}\n- {target: moon}\n",
    )
    done = workspace.run("run", "promotion", "--matrix", "m.yaml")
    assert done.returncode == 64
    assert "set 2: application: 'nope'" in done.stderr
    assert "set 3: the same as set 1" in done.stderr
    assert "set 4: " in done.stderr
    assert list(workspace.reports.glob("2*")) == []


def test_sets_that_contradict_each_other_start_nothing(workspace):
    """Two versions for one application in one environment: whichever came last would hold, so neither begins."""
    workspace.write(
        "m.yaml",
        "- {application: checkout, revision: v2.32.2}\n- {application: catalog}\n- {application: checkout}\n",
    )
    done = workspace.run("run", "promotion", "--matrix", "m.yaml")
    assert done.returncode == 64
    assert "set 3: another version for the same place as set 1" in done.stderr
    assert list(workspace.reports.glob("2*")) == []


@pytest.mark.torture
def test_a_cancelled_matrix_ends_its_runs_and_begins_no_more(workspace):
    """One SIGTERM: the runs that were going on are cancelled and closed, the others never began, nothing is left."""
    workspace.write(
        "m.yaml", "".join(f"- {{application: checkout, stable_for: {n}s}}\n" for n in range(6))
    )
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        (str(COMMAND), "run", "promotion", "--matrix", "m.yaml", "--workers", "2", "--json"),
        cwd=workspace.root, env={**os.environ, "MARK": mark}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(workspace.reports.glob("2*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)  # waits for another process, no test of time
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert left_of(mark, within_s=5) == []
    lines = json.loads(printed)
    assert len(lines) == 6
    assert {line["status"] for line in lines} <= {"cancelled", "waiting", "refused"}
    assert [line["reason"] for line in lines[-3:]] == ["it was not begun"] * 3
    assert len(list(workspace.reports.glob("2*"))) <= 3
    assert workspace.run("verify").returncode == 0
