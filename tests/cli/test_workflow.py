"""The CI workflow that `init` writes."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import subprocess
import sys

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


REPOSITORY = {"id": 7, "full_name": "acme/platform", "default_branch": "main"}
WAITING = {
    "id": 4711,
    "path": NAME,
    "head_branch": "main",
    "event": "workflow_dispatch",
    "status": "completed",
    "head_repository": {"id": 7, "full_name": "acme/platform"},
}
BY_ITSELF = {
    "GITHUB_REPOSITORY": "acme/platform",
    "GITHUB_WORKFLOW_REF": f"acme/platform/{NAME}@refs/heads/main",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_PROTECTED": "true",
    "RESUME_FROM": "4711",
}


def check_source(tmp_path, run, **environment) -> subprocess.CompletedProcess[str]:
    """The workflow's own check, as bash runs it on a runner; `gh` answers what GitHub would."""
    steps = yaml.safe_load(workspace_files()[NAME])["jobs"]["resume"]["steps"]
    names = [step.get("name") for step in steps]
    script = steps[names.index("Check where the waiting run comes from")]["run"]
    assert names.index("Check where the waiting run comes from") < names.index(
        "Fetch the waiting run"
    )
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "repository").write_text(json.dumps(REPOSITORY))
    (answers / "run").write_text(json.dumps(run))
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$2" >> {tmp_path}/asked\n'
        f'case "$2" in */actions/runs/*) cat {answers}/run ;; *) cat {answers}/repository ;; esac\n'
    )
    gh.chmod(0o755)
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    return subprocess.run(
        ("bash", "-e", "-c", script),
        env={**BY_ITSELF, "PATH": f"{tmp_path}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("path", [NAME, f"{NAME}@main", f"{NAME}@refs/heads/main"])
def test_a_run_of_this_workflow_on_the_protected_branch_is_resumed(tmp_path, path):
    """GitHub is asked by the run's number, and its artifact is taken."""
    done = check_source(tmp_path, {**WAITING, "path": path})
    assert done.returncode == 0, done.stderr
    assert "repos/acme/platform/actions/runs/4711" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("run", "environment", "says"),
    [
        ({"path": ".github/workflows/evil.yml"}, {}, "it is a run of .github/workflows/evil.yml"),
        ({"path": f"x/{NAME}"}, {}, "it is a run of x/"),
        ({"path": None}, {}, "it is a run of None"),
        ({"head_branch": "change"}, {}, "it ran on change, not on main"),
        ({"event": "pull_request"}, {}, "started by pull_request"),
        ({"head_repository": {"id": 8, "full_name": "eve/platform"}}, {}, "it ran in eve/platform"),
        ({"head_repository": None}, {}, "it ran in None"),
        ({"id": 4712}, {}, "GitHub answered about run 4712"),
        ({"status": "in_progress"}, {}, "it has not ended"),
        ({}, {"GITHUB_REF": "refs/heads/change"}, "this run is not on the branch main"),
        ({}, {"GITHUB_REF_PROTECTED": "false"}, "the branch main is not protected"),
        ({}, {"RESUME_FROM": "1/../../x"}, "is not the number of a workflow run"),
        ({}, {"RESUME_FROM": ""}, "is not the number of a workflow run"),
    ],
)  # fmt: skip
def test_an_artifact_from_elsewhere_is_not_taken(tmp_path, run, environment, says):
    """Another workflow file, branch, repository or event, an unprotected branch: the job ends before it downloads anything."""
    done = check_source(tmp_path, {**WAITING, **run}, **environment)
    assert done.returncode != 0
    assert says in done.stderr
    if "RESUME_FROM" in environment:
        assert not (tmp_path / "asked").exists()


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
