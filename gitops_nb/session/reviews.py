"""Reviews on GitHub: what an environment's reviewer or a pull request's reviewer said about exactly this run.

GitHub's answers carry no digest of our plan. So a review counts only for the workflow run and attempt that made the
request, at the commit that it ran from, and as one approval however many people reviewed. The record says when it was read.

Source: docs.github.com/rest, "Get the review history for a workflow run", "List reviews for a pull request", "List pull
requests associated with a commit", "Get a workflow run"; fields as in npm @octokit/openapi.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gitops_nb.errors import Refused, UnavailableError
from gitops_nb.model import Json, digest, parse_time
from gitops_nb.ports import ApiReader

_BOUND = ("repository", "run_id", "run_attempt", "sha")


@dataclass(frozen=True, slots=True)
class Review:
    """One person's yes. ``source`` says where it was given: ``environment/RUN/ATTEMPT`` or ``pull-request/NUMBER``.

    ``evidence`` is what GitHub answered, so that it can be asked again (see ``recheck``); ``at`` is None where GitHub does not
    say when.
    """

    login: str
    source: str
    at: datetime | None = None
    evidence: Mapping[str, Json] = field(default_factory=dict, compare=False)
    text: str = field(default="", compare=False)

    def quotes(self, request_digest: str) -> bool:
        """Whether its text names the request."""
        return quotes(self.text, request_digest)

    @property
    def mark(self) -> str:
        """What it can be known again by; GitHub gives reviews of environments no number."""
        said = {name: value for name, value in self.evidence.items() if name != "etag"}
        return digest({"login": self.login, "source": self.source, "said": said})


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
            Review(
                _login(one.get("user")),
                source,
                evidence={
                    "kind": "environment",
                    "repository": asked["repository"],
                    "run_id": asked["run_id"],
                    "run_attempt": asked["run_attempt"],
                    "environment": environment,
                    "environment_ids": [named.get("id") for named in one["environments"]],
                    **_common(one, page.etag, "comment"),
                },
                text=str(one.get("comment") or ""),
            )
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
                found += self._reviews(asked["repository"], int(pull["number"]), sha)
        return found

    def _reviews(self, repository: str, number: int, sha: str) -> list[Review]:
        """The newest word of each reviewer, when it is a yes to this very commit."""
        newest: dict[str, tuple[Mapping[str, Any], str]] = {}
        path = f"repos/{_repository({'repository': repository})}/pulls/{number}/reviews"
        for page in self._api.pages(path):
            for one in page.items:
                if one["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
                    newest[_login(one.get("user"))] = one, page.etag
        return [
            Review(
                login,
                f"pull-request/{number}",
                at=_moment(one.get("submitted_at")),
                evidence={
                    "kind": "pull-request",
                    "repository": repository,
                    "number": number,
                    "review_id": one.get("id"),
                    "commit_id": sha,
                    "submitted_at": one.get("submitted_at"),
                    **_common(one, etag, "body"),
                },
                text=str(one.get("body") or ""),
            )
            for login, (one, etag) in newest.items()
            if one["state"] == "APPROVED"
            and one.get("commit_id") == sha
            and one.get("submitted_at")
        ]


def recheck(api: ApiReader, evidence: Mapping[str, Json], request_digest: str) -> tuple[str, str]:
    """Asks GitHub again about a review that counted for a request.

    Whether its evidence is about that request is for ``record.reviewed`` to say.

    Returns:
        What contradicts the record (it never was so), and what changed since; the empty text for nothing.

    Raises:
        UnavailableError: GitHub does not answer, or has it no longer, or its text was changed and names the request no more.
    """
    if evidence.get("kind") == "pull-request":
        return _recheck_pull_request(api, evidence, request_digest)
    path = (
        f"repos/{_repository(evidence)}/actions/runs/{_number(str(evidence['run_id']))}/approvals"
    )
    named = [
        one
        for page in api.pages(path)
        for one in page.items
        if one["state"] == "approved"
        and _is_by(one, evidence)
        and evidence["environment"] in {item.get("name") for item in one["environments"]}
    ]
    if not named:
        return f"GitHub knows no approval of {evidence['environment']} by {evidence['login']}", ""
    # Who reviewed twice has two texts: the one that was read is the one that counted.
    read = [one for one in named if _text_digest(one, "comment") == evidence.get("text_digest")]
    return _compared_text((read or named)[-1], evidence, "comment", request_digest)


def _recheck_pull_request(
    api: ApiReader, evidence: Mapping[str, Json], request_digest: str
) -> tuple[str, str]:
    number, review = _number(str(evidence["number"])), _number(str(evidence["review_id"]))
    path = f"repos/{_repository(evidence)}/pulls/{number}/reviews/{review}"
    for page in api.pages(path):
        one = page.items
        said = (_login(one.get("user")), one.get("commit_id"), one.get("submitted_at"))
        due = (evidence["login"], evidence["commit_id"], evidence["submitted_at"])
        if said != due or not _is_by(one, evidence):
            return f"GitHub's review {review} is by {said[0]}, of {said[1]}, at {said[2]}", ""
        if one["state"] not in ("APPROVED", "DISMISSED"):
            return f"GitHub's review {review} says {one['state']}", ""
        wrong, changed = _compared_text(one, evidence, "body", request_digest)
        since = "dismissed since" if one["state"] == "DISMISSED" else ""
        return wrong, ", and ".join(filter(None, (since, changed)))
    raise UnavailableError(f"GitHub has no answer to {path}")


def _is_by(one: Mapping[str, Any], evidence: Mapping[str, Json]) -> bool:
    """Whether it is by the account that was read: a login may be somebody else's by now."""
    user = one.get("user")
    number = user.get("id") if isinstance(user, Mapping) else None
    return (_login(user), number) == (evidence["login"], evidence.get("user_id"))


def _compared_text(
    one: Mapping[str, Any], evidence: Mapping[str, Json], name: str, request_digest: str
) -> tuple[str, str]:
    """Whether a review quotes the request, as ``recheck`` says it; its text may have been edited since it was read."""
    is_same = _text_digest(one, name) == evidence.get("text_digest")
    if quotes(str(one.get(name) or ""), request_digest):
        return "", "" if is_same else "its text was changed since"
    if is_same:
        return "its text does not quote the request", ""
    raise UnavailableError("its text was changed since, and does not quote the request")


def quotes(text: str, request_digest: str) -> bool:
    """Whether a text names the request: what GitHub shows beside the button does not say which plan it is about."""
    return bool(request_digest) and request_digest.removeprefix("sha256:") in text


def _text_digest(one: Mapping[str, Any], name: str) -> str:
    return digest(one.get(name) or "")


def _common(one: Mapping[str, Any], etag: str, text: str) -> Mapping[str, Json]:
    user = one.get("user")
    return {
        "login": _login(user),
        "user_id": user.get("id") if isinstance(user, Mapping) else None,
        "text_digest": _text_digest(one, text),
        "etag": etag,
    }


def _fits(run: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    return (run.get("head_sha"), str(run.get("run_attempt"))) == (
        asked["sha"],
        asked["run_attempt"],
    )


def _moment(text: Any) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, TypeError) as error:
        raise UnavailableError(f"GitHub says that a review was submitted at {text!r}") from error


def _login(user: Any) -> str:
    return str(user.get("login") or "") if isinstance(user, Mapping) else ""


def _repository(asked: Mapping[str, Json]) -> str:
    owner, _, name = str(asked["repository"]).partition("/")
    return f"{urllib.parse.quote(owner, safe='')}/{urllib.parse.quote(name, safe='')}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise UnavailableError(f"{text!r} is no number of a workflow run")
    return int(text)
