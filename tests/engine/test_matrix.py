"""Many runs of one runbook from preloaded processes: the same as single runs, checked before, none left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid

import pytest

from tests.conftest import COMMAND
from tests.engine.outputs import differences, seen
from tests.engine.stops import left_of
from tests.engine.test_outputs import with_every_kind
from tests.session.conftest import Runner
from tests.session.platform_edits import adopt_fleet, commit, read

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
@pytest.mark.parametrize("configured", [pytest.param(False, marks=pytest.mark.torture), True])
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


RELEASES = "shared/{}/releases.yaml"


@pytest.fixture
def one_file(workspace):
    """Checkout and catalog have their versions in one file of an environment; no cluster of theirs is watched."""
    fleet = workspace.root / "runbooks/fleet.yaml"
    text = fleet.read_text()
    for environment in ("staging", "production"):
        text = text.replace(
            f'  {environment}: {{environment: {environment}, server: "https://{environment}.clusters.example"}}\n', ""
        )  # fmt: skip
    fleet.write_text(text)
    shutil.rmtree(workspace.root / ".gitops-nb/sandbox")
    runner = Runner(workspace)
    for environment, version in (("staging", "v3"), ("production", "v2")):
        tags = "".join(f"{one}: {{tag: {version}}}\n" for one in ("checkout", "catalog"))
        commit(runner, {RELEASES.format(environment): tags})
    for one in ("checkout", "catalog"):
        text = text.replace(f"path: apps/{one}/{{environment}}", "path: shared/{environment}")
        key = f'{{file: deployment.yaml, key: "spec.template.spec.containers[name={one}].image", part: tag}}'
        text = text.replace(key, f"{{file: releases.yaml, key: {one}.tag}}")
    fleet.write_text(text)
    adopt_fleet(runner)
    workspace.write(
        "m.yaml", "- {application: payments}\n- {application: checkout}\n- {application: catalog}\n"
    )
    return runner


def test_sets_that_wait_for_one_file_start_nothing(one_file):
    """Both plans would wait for an approval, and carrying out the one voids the other's: said before anything starts."""
    workspace = one_file.workspace
    done = workspace.run("run", "promotion", "--matrix", "m.yaml")
    assert done.returncode == 64, done.stdout + done.stderr
    assert (
        "set 3: it edits platform-config:shared/production/releases.yaml as set 2 does"
        in done.stderr
    )
    assert "both wait for an approval" in done.stderr
    assert list(workspace.reports.glob("2*")) == []
    # Runs that only plan are in nobody's way.
    planned = workspace.run("run", "promotion", "--matrix", "m.yaml", "--plan")
    assert "set 3" not in planned.stderr


def test_sets_that_edit_one_file_go_one_after_the_other(one_file):
    """A plan is made for a file as a whole: the second is made when the first has ended, and both bring their version."""
    workspace = one_file.workspace
    workspace.replace(
        "runbooks/fleet.yaml", "production: {auto_deploy: false, approval_required: true",
        "production: {auto_deploy: false, approval_required: false",
    )  # fmt: skip
    workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 24h}, destructive_change: {allow: false}}\n    approvals: 1",
        "gates: {source_healthy: false, soak: {at_least: 0s}, destructive_change: {allow: true}}",
    )
    adopt_fleet(one_file)
    workspace.write("m.yaml", "- {application: checkout}\n- {application: catalog}\n")
    done = workspace.run(
        "run", "promotion", "--matrix", "m.yaml", "-p", "stable_for=0s", "--workers", "2"
    )
    assert "after others that edit the same file: set 2" in done.stdout
    # Nobody watches there: committed, and not seen to run.
    assert done.returncode == 4, done.stdout + done.stderr
    assert "refused" not in done.stdout
    assert read(one_file, RELEASES.format("production")).count("v3") == 2


@pytest.mark.torture
def test_a_cancelled_matrix_ends_its_runs_and_begins_no_more(workspace):
    """One SIGTERM: the runs that were going on are cancelled and closed, the others never began, nothing is left."""
    workspace.write(
        "m.yaml",
        "".join(
            f"- {{application: {one}, source: {source}, target: {target}}}\n"
            for one in ("checkout", "catalog", "payments")
            for source, target in (("staging", "production"), ("development", "staging"))
        ),
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
