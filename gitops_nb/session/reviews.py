"""Reviews on GitHub: what an environment's reviewer or a pull request's reviewer said about exactly this run.

GitHub's answers carry no digest of our plan. So a review counts only for the workflow run and attempt that made the
request, at the commit that it ran from, and as one approval however many people reviewed. The record says when it was read.

Source: docs.github.com/rest, "Get the review history for a workflow run", "List reviews for a pull request", "List pull
requests associated with a commit", "Get a workflow run"; fields as in npm @octokit/openapi.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitops_nb.errors import Refused, UnavailableError
from gitops_nb.ports import ApiReader

_BOUND = ("repository", "run_id", "run_attempt", "sha")


@dataclass(frozen=True, slots=True)
class Review:
    """One person's yes. ``source`` says where it was given: ``environment/RUN/ATTEMPT`` or ``pull-request/NUMBER``."""

    login: str
    source: str


class GitHubReviews:
    """Reads reviews for the CI run that this process is part of.

    Args:
        api: GitHub's REST API.
        present: The CI run of this process, as ``requester.ci_run`` gives it.
    """

    def __init__(self, api: ApiReader, present: Mapping[str, str]) -> None:
        self._api = api
        self._present = present

    def confirm(self, name: str) -> None:
        """Has GitHub say that this person started this attempt of this run from this commit.

        Raises:
            Refused: It says otherwise: environment variables alone prove nothing.
            UnavailableError: It does not answer.
        """
        run = self._run(self._present)
        actor = _login(run.get("triggering_actor") or run.get("actor"))
        if not _fits(run, self._present) or actor != name:
            raise Refused(
                f"GitHub does not confirm that {name} started run {self._present['run_id']}, attempt {self._present['run_attempt']}"
            )

    def find(self, asked: Mapping[str, str], environment: str) -> tuple[Review, ...]:
        """Everybody who said yes to the run that asked; empty when this process is another run or attempt.

        Args:
            asked: The CI run that wrote the request.
            environment: Where the change goes.

        Raises:
            UnavailableError: GitHub does not answer.
        """
        if not asked or any(asked.get(name) != self._present.get(name) for name in _BOUND):
            return ()
        run = self._run(asked)
        if not _fits(run, asked):
            return ()
        own = {_login(run.get("actor")), _login(run.get("triggering_actor"))}
        found = [*self._environment(asked, environment), *self._pull_requests(asked, own)]
        return tuple(review for review in found if review.login and review.login not in own)

    def _run(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        path = f"repos/{_repository(asked)}/actions/runs/{_number(asked['run_id'])}"
        for page in self._api.pages(path):
            return dict(page.items)
        raise UnavailableError(f"GitHub has no answer to {path}")

    def _environment(self, asked: Mapping[str, str], environment: str) -> list[Review]:
        run = _number(asked["run_id"])
        path = f"repos/{_repository(asked)}/actions/runs/{run}/approvals"
        source = f"environment/{run}/{_number(asked['run_attempt'])}"
        return [
            Review(_login(one.get("user")), source)
            for page in self._api.pages(path)
            for one in page.items
            if one["state"] == "approved"
            and any(named.get("name") == environment for named in one["environments"])
        ]

    def _pull_requests(self, asked: Mapping[str, str], own: set[str]) -> list[Review]:
        repository, sha = _repository(asked), asked["sha"]
        found: list[Review] = []
        for page in self._api.pages(f"repos/{repository}/commits/{sha}/pulls"):
            for pull in page.items:
                own.add(_login(pull.get("user")))
                found += self._reviews(repository, int(pull["number"]), sha)
        return found

    def _reviews(self, repository: str, number: int, sha: str) -> list[Review]:
        """The newest word of each reviewer, when it is a yes to this very commit."""
        newest: dict[str, Mapping[str, Any]] = {}
        for page in self._api.pages(f"repos/{repository}/pulls/{number}/reviews"):
            for one in page.items:
                if one["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
                    newest[_login(one.get("user"))] = one
        return [
            Review(login, f"pull-request/{number}")
            for login, one in newest.items()
            if one["state"] == "APPROVED" and one.get("commit_id") == sha
        ]


def _fits(run: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    return (run.get("head_sha"), str(run.get("run_attempt"))) == (
        asked["sha"],
        asked["run_attempt"],
    )


def _login(user: Any) -> str:
    return str(user.get("login") or "") if isinstance(user, Mapping) else ""


def _repository(asked: Mapping[str, str]) -> str:
    owner, _, name = asked["repository"].partition("/")
    return f"{urllib.parse.quote(owner, safe='')}/{urllib.parse.quote(name, safe='')}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise UnavailableError(f"{text!r} is no number of a workflow run")
    return int(text)
