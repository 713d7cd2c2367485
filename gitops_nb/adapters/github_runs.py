"""What GitHub says of an attempt of a workflow run: that it has ended, and so a lock's holder there is gone, or who started it.

Source: docs.github.com/rest, "Get a workflow run attempt"; fields as in npm @octokit/openapi.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json, parse_time
from gitops_nb.ports import ApiReader

_CLOCKS_DIFFER = timedelta(seconds=120)


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

    def contradicts(self, claims: Mapping[str, Json], request: Mapping[str, Json]) -> str:
        """What GitHub says of a run otherwise than a request and its identity's claims do; "" when it says the same.

        That the run made the request it cannot say: a run of somebody's that is known to everybody fits many requests.

        Args:
            claims: Of the identity.
            request: What the run is said to have asked for, while it was going on.

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
        of = found.get("repository")
        said = {
            "repository": of.get("full_name") if isinstance(of, Mapping) else None,
            "id": str(found.get("id")),
            "attempt": str(found.get("run_attempt")),
            "triggering actor": _login(found.get("triggering_actor")),
            "sha": found.get("head_sha"),
            "event_name": found.get("event"),
            "actor": _login(found.get("actor")),
            "workflow": found.get("path"),
        }
        workflow = str(claims.get("workflow_ref") or "").partition("@")[0]
        ci = request.get("ci")
        asked = ci if isinstance(ci, Mapping) else {}
        due = {
            "repository": repository,
            "id": run,
            "attempt": attempt,
            "triggering actor": asked.get("triggering_actor"),
            "sha": claims.get("sha"),
            "event_name": claims.get("event_name"),
            "actor": claims.get("actor"),
            "workflow": workflow.removeprefix(f"{repository}/"),
        }
        others = "; ".join(
            f"GitHub's run {run} has {name} {said[name]}, not {due[name]}"
            for name in due
            if said[name] != due[name]
        )
        return others or _elsewhen(found, str(request.get("created") or ""))


def _elsewhen(found: Mapping[str, Any], created: str) -> str:
    """Why an attempt cannot have asked for something at a moment, "" when it was going on then."""
    try:
        at = parse_time(created)
        began = parse_time(str(found.get("run_started_at")))
        # Of an attempt that goes on GitHub says when it last changed, which is no end.
        is_over = found.get("status") == "completed"
        ended = parse_time(str(found.get("updated_at"))) if is_over else None
    except ValueError:
        return "GitHub does not say when that attempt was going on"
    if at < began - _CLOCKS_DIFFER or (ended is not None and at > ended + _CLOCKS_DIFFER):
        until = f"until {found.get('updated_at')}" if is_over else "and goes on"
        return f"that attempt began at {found.get('run_started_at')} {until}, and the request is of {created}"
    return ""


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
