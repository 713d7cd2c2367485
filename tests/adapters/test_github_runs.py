"""Whether a CI run has ended: only GitHub's own word about exactly that attempt says so."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.github import GitHub
from gitops_nb.adapters.github_runs import GitHubRuns
from gitops_nb.errors import UnavailableError
from gitops_nb.ports import Page
from tests.conftest import REPOSITORY
from tests.issuer import local_issuer

ENDED = {
    "id": 77, "run_attempt": 2, "status": "completed", "conclusion": "failure",
    "repository": {"full_name": "acme/platform"},
}  # fmt: skip
PATH = "repos/acme/platform/actions/runs/77/attempts/2"


class Api:
    """GitHub with one answer."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def pages(self, path, parameters=None, *, start=""):
        self.asked.append(path)
        if self.answer is None:
            raise UnavailableError("GitHub answers 404")
        yield Page(self.answer, "")


def test_a_completed_attempt_has_ended():
    """Run, attempt and repository are the ones that were asked about."""
    api = Api(ENDED)
    assert GitHubRuns(api).has_ended("acme/platform", "77", "2")
    assert api.asked == [PATH]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "completed",
        {},
        *({**ENDED, "status": word} for word in ("in_progress", "queued", "waiting", "requested", "pending", None)),
        {**ENDED, "id": 78},
        {**ENDED, "run_attempt": 1},
        {**ENDED, "repository": {"full_name": "eve/platform"}},
        {**ENDED, "repository": None},
    ],
)  # fmt: skip
def test_anything_else_has_not(answer):
    """Still running, another run, an answer of another form, or none: nobody is proven dead."""
    assert not GitHubRuns(Api(answer)).has_ended("acme/platform", "77", "2")


@pytest.mark.parametrize("run", ["", "?", "77/../78", "\u0667", "-1"])
def test_a_run_that_is_no_number_is_not_asked_about(run):
    """What a lock's file says is as untrusted as any file."""
    api = Api(ENDED)
    assert not GitHubRuns(api).has_ended("acme/platform", run, "2")
    assert api.asked == []


def test_an_api_that_drips_ends_at_the_deadline():
    """One byte now and then holds nobody up, and proves nobody dead."""
    with local_issuer() as server:
        server.drips = True
        begun = time.monotonic()
        api = GitHub(server.url, token="", clock=WallClock(), deadline_s=0.5)
        assert not GitHubRuns(api).has_ended("acme/platform", "77", "2")
        assert time.monotonic() - begun < 5


def test_every_field_that_is_read_is_in_githubs_description():
    """Against npm @octokit/openapi, where it is installed: path, fields, and the word."""
    named = os.environ.get("OCTOKIT_OPENAPI") or (
        REPOSITORY / "node_modules/@octokit/openapi/generated/api.github.com.json"
    )
    if not Path(named).is_file():
        pytest.skip("npm @octokit/openapi is not installed, GitHub's shapes were NOT checked")
    from tests.dora.test_github import _resolved

    document = json.loads(Path(named).read_text())
    path = "/repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}"
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    schema = _resolved(document, answer["schema"])
    assert {"id", "run_attempt", "status", "repository"} <= set(schema["properties"])
    repository = _resolved(document, schema["properties"]["repository"])
    assert "full_name" in repository["properties"]
    assert (
        "completed" in document["components"]["parameters"]["workflow-run-status"]["schema"]["enum"]
    )
