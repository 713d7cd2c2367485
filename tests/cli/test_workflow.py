"""The CI workflow that `init` writes."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess

import pytest
import yaml

from gitops_nb import __version__
from gitops_nb.cli.github import markdown
from gitops_nb.cli.initialising import workspace_files
from tests.conftest import SHARED

NAME = ".github/workflows/runbook.yml"


def test_actions_are_pinned_and_inputs_never_reach_a_shell():
    """Each action by its commit; no expression inside a script; the least permissions; no run is cancelled."""
    text = workspace_files()[NAME].decode()
    workflow = yaml.safe_load(text)
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)
    scripts = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert all("${{" not in script for script in scripts)
    assert workflow["permissions"] == {"contents": "read"}
    # Only the job that asks proves who it is; the one that resumes needs no identity.
    assert workflow["jobs"]["run"]["permissions"]["id-token"] == "write"
    assert "id-token" not in workflow["jobs"]["resume"]["permissions"]
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert f"gitops-nb=={__version__}" in text
    assert {"run", "resume"} == set(workflow["jobs"])


def test_the_run_gets_the_runners_signals():
    """`exec`: the shell that a step starts would keep SIGINT and SIGTERM to itself."""
    text = workspace_files()[NAME].decode()
    assert re.findall(r"run: (.*gitops-nb (?:run|resume).*)", text) == [
        'exec gitops-nb run "$RUNBOOK" -f "$RUNNER_TEMP/parameters.yaml"',
        "exec gitops-nb resume last",
    ]


@pytest.fixture
def actionlint(tmp_path) -> str:
    """Actionlint from the PATH, or the packed one that lies with the shared data."""
    found = shutil.which("actionlint")
    if found:
        return found
    packed = SHARED / "lab/bin/actionlint.xz"
    if not packed.is_file():
        pytest.skip("no actionlint: the workflow is not linted here")
    path = tmp_path / "actionlint"
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    path.chmod(0o755)
    return str(path)


def test_actionlint_has_no_complaint(actionlint, tmp_path):
    """The workflow is valid for GitHub Actions."""
    path = tmp_path / "runbook.yml"
    path.write_bytes(workspace_files()[NAME])
    done = subprocess.run((actionlint, str(path)), capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_a_waiting_run_tells_github(workspace, tmp_path):
    """Outputs for later steps, and a summary that says "waiting"."""
    output, summary = tmp_path / "output", tmp_path / "summary"
    done = workspace.run(
        "run", "promotion", "-p", "application=checkout", GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary)
    )  # fmt: skip
    assert done.returncode == 2
    lines = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert lines["exit_code"] == "2"
    assert lines["status"] == "waiting"
    assert "waiting for approval" in summary.read_text()
    assert f"gitops-nb approve {lines['run']}" in summary.read_text()


@pytest.mark.parametrize(
    "text",
    ["[x](javascript:1)", "<img src=x>", "a|b", "```", "# x", "@team", "![i](http://e)", "\n## y"],
)
def test_markdown_of_others_is_inert(text):
    """Every character with a meaning is escaped; line ends become visible."""
    escaped = markdown(text)
    assert "\n" not in escaped
    assert re.search(r"(?<!\\)[\[\]<>|`#@!]", escaped) is None
