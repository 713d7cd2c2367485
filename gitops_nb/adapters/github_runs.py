"""Whether an attempt of a GitHub workflow run has ended: what proves that a lock's holder there is gone.

Source: docs.github.com/rest, "Get a workflow run attempt"; fields as in npm @octokit/openapi.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json
from gitops_nb.ports import ApiReader


class GitHubRuns:
    """Asks GitHub about workflow runs.

    Args:
        api: GitHub's REST API.
    """

    def __init__(self, api: ApiReader) -> None:
        self._api = api

    def has_ended(self, repository: str, run: str, attempt: str) -> bool:
        """True when GitHub says that exactly this attempt is completed; False when it runs, or nobody can tell."""
        if not all(text.isascii() and text.isdecimal() for text in (run, attempt)):
            return False
        owner, _, name = repository.partition("/")
        quoted = f"{urllib.parse.quote(owner, safe='')}/{urllib.parse.quote(name, safe='')}"
        path = f"repos/{quoted}/actions/runs/{int(run)}/attempts/{int(attempt)}"
        try:
            page = next(iter(self._api.pages(path)), None)
        except UnavailableError:
            return False
        found = page.items if page is not None else None
        return isinstance(found, Mapping) and _is_completed(found, repository, run, attempt)

    def contradicts(self, claims: Mapping[str, Json]) -> str:
        """What GitHub says of a run otherwise than an identity's claims do; "" when it says the same.

        Raises:
            UnavailableError: GitHub does not answer, or has the run no longer.
        """
        repository, run, attempt = (
            str(claims.get(name) or "") for name in ("repository", "run_id", "run_attempt")
        )
        if not all(text.isascii() and text.isdecimal() for text in (run, attempt)):
            return "it names no run"
        owner, _, name = repository.partition("/")
        quoted = f"{urllib.parse.quote(owner, safe='')}/{urllib.parse.quote(name, safe='')}"
        path = f"repos/{quoted}/actions/runs/{int(run)}/attempts/{int(attempt)}"
        page = next(iter(self._api.pages(path)), None)
        found = page.items if page is not None else None
        if not isinstance(found, Mapping):
            raise UnavailableError(f"GitHub has no answer to {path}")
        said = {
            "sha": found.get("head_sha"),
            "event_name": found.get("event"),
            "actor": _login(found.get("actor")),
            "workflow": found.get("path"),
        }
        workflow = str(claims.get("workflow_ref") or "").partition("@")[0]
        due = {
            "sha": claims.get("sha"),
            "event_name": claims.get("event_name"),
            "actor": claims.get("actor"),
            "workflow": workflow.removeprefix(f"{repository}/"),
        }
        return "; ".join(
            f"GitHub's run {run} has {name} {said[name]}, not {due[name]}"
            for name in due
            if said[name] != due[name]
        )


def _login(user: Any) -> str:
    return str(user.get("login") or "") if isinstance(user, Mapping) else ""


def _is_completed(found: Mapping[str, Any], repository: str, run: str, attempt: str) -> bool:
    of = found.get("repository")
    named = of.get("full_name") if isinstance(of, Mapping) else None
    return (
        found.get("status") == "completed"
        and (str(found.get("id")), str(found.get("run_attempt"))) == (run, attempt)
        and named == repository
    )
