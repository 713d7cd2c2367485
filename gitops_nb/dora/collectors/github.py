"""GitHub: pull requests, for when a squashed change began; deployments and workflow runs. No names of persons are read.

Source: GitHub's OpenAPI description 2022-11-28: "List pull requests", "List commits on a pull request", "List
deployments", "List deployment statuses", "List workflow runs for a repository".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from gitops_nb.dora import fact_tables
from gitops_nb.dora.collectors.application import PullRequest
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.schemas import PULL_REQUEST, check
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UsageError
from gitops_nb.model import Json, parse_time
from gitops_nb.ports import ApiReader

OVERLAP_S = 300
"""How far an increment goes back, so that what was updated while the last one ran is not missed."""
WORKFLOW_OVERLAP_S = 35 * 86_400
"""A run may be attempted again for 30 days after it was created, and run for days."""
_STATES = {"success": "succeeded", "failure": "failed", "error": "failed"}
_CONCLUSIONS = {"success": "succeeded", "failure": "failed", "timed_out": "failed"}


@dataclass(frozen=True, slots=True)
class Hosted:
    """A repository of the fleet and its name on GitHub, OWNER/NAME, for one service."""

    service: str
    repository: str
    name: str


def collect_pull_requests(api: ApiReader, store: FactStore, hosted: Hosted) -> Collected:
    """Reads merged pull requests, newest update first, down to where the last collection ended.

    The rows of each page are stored before the next one is asked for; the resume point only moves when all are
    read, so that a collection that dies loses nothing and repeats cheaply: known pull requests cost no call.
    """
    source = f"github pulls {hosted.service} {hosted.name}"
    point = store.resume_point(source)
    until_s = int(point.get("updated_s", 0)) - OVERLAP_S
    newest_s, rows, merged = 0, 0, Merged()
    known = store.read("pull_request", (hosted.service,))
    numbers = set(known[known["repository"] == hosted.repository]["number"])
    relabelled: dict[int, str] = {}
    query = {"state": "closed", "sort": "updated", "direction": "desc"}
    for page in api.pages(f"repos/{hosted.name}/pulls", query):
        found: list[dict[str, Any]] = []
        is_done = False
        for item in _list(page.items, source):
            updated_s = _seconds(item["updated_at"])
            newest_s = max(newest_s, updated_s)
            if updated_s < until_s:
                is_done = True
                break
            if item["merged_at"] and item["number"] not in numbers:
                found.append(_pull_row(api, hosted, item))
            elif item["merged_at"]:
                # Labels may come after the merge; its commits stay, so nothing is asked again.
                relabelled[item["number"]] = _labels(item)
        if found:
            table = check("pull_request", fact_tables.frame(PULL_REQUEST, found))
            merged += store.merge("pull_request", table)
            rows += len(found)
        if is_done:
            break
    merged += store.merge("pull_request", _with_labels(known, hosted, relabelled))
    if newest_s:
        store.set_resume_point(source, {"updated_s": newest_s})
    return Collected(source, "", rows, merged)


def _with_labels(known: pd.DataFrame, hosted: Hosted, labels: Mapping[int, str]) -> pd.DataFrame:
    """Stored pull requests with the labels that they have now."""
    mine = known[(known["repository"] == hosted.repository) & known["number"].isin(list(labels))]
    return mine.assign(labels=mine["number"].map(labels).astype("str"))


def pull_requests(store: FactStore, *, service: str, repository: str) -> tuple[PullRequest, ...]:
    """The stored pull requests of a service's repository, as ``collect_application`` takes them."""
    table = store.read("pull_request", (service,))
    rows: Iterable[Any] = table[table["repository"] == repository].itertuples(index=False)
    return tuple(
        PullRequest(
            row.sha,
            None if pd.isna(row.first_authored_s) else int(row.first_authored_s),
            row.opened_s,
            row.merged_s,
            row.branch,
            row.labels,
        )
        for row in rows
    )


def collect_deployments(
    api: ApiReader, store: FactStore, hosted: Hosted, *, environments: tuple[str, ...]
) -> Collected:
    """Reads deployments that ended, with their newest final status; environments are exact names of the fleet."""
    source = f"github deployments {hosted.service} {hosted.name}"
    known = store.read("deployment", (hosted.service,))
    ids = set(known["deployment_id"])
    count, merged = 0, Merged()
    left_out: list[dict[str, Any]] = []
    for page in api.pages(f"repos/{hosted.name}/deployments"):
        rows: list[dict[str, Any]] = []
        for item in _list(page.items, source):
            if f"github:{item['id']}" in ids:
                continue
            if item["environment"] not in environments:
                left_out.append(
                    {
                        "reason": "environment is not in the fleet",
                        "left_out_of": "everything",
                        "service": hosted.service,
                        "environment": item["environment"],
                        "sha": item["sha"],
                        "finished_s": _seconds(item["created_at"]),
                        "detail": f"github:{item['id']}",
                    }
                )
                continue
            statuses = _every(api, f"repos/{hosted.name}/deployments/{item['id']}/statuses", source)
            row = deployment_row(item, statuses, service=hosted.service)
            rows += [row] if row else []
        # Each page is stored before the next one is asked for: a collection that dies asks for no status twice.
        table = check("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, rows))
        merged += store.merge("deployment", table)
        count += len(rows)
    merged += store.merge("exclusion", fact_tables.frame(fact_tables.EXCLUSION, left_out))
    return Collected(source, "", count, merged, len(left_out))


def deployment_row(
    item: Mapping[str, Any], statuses: Iterable[Mapping[str, Any]], *, service: str
) -> dict[str, Any] | None:
    """A deployment with its first final status; None while it has none (queued, in progress, inactive only)."""
    final = sorted(
        (status for status in statuses if status["state"] in _STATES),
        key=lambda status: (_seconds(status["created_at"]), status["id"]),
    )
    if not final:
        return None
    return {
        "deployment_id": f"github:{item['id']}",
        "service": service,
        "environment": item["environment"],
        "version": item["ref"],
        "revision": item["sha"],
        "started_s": _seconds(item["created_at"]),
        "finished_s": _seconds(final[0]["created_at"]),
        "outcome": _STATES[final[0]["state"]],
        "trigger": "promotion",
        "source": "github",
    }


def workflow_row(
    run: Mapping[str, Any], *, service: str, environment: str
) -> dict[str, Any] | None:
    """A finished run of a deploying workflow as a deployment; None for one that was skipped, cancelled or goes on."""
    outcome = _CONCLUSIONS.get(run["conclusion"] or "")
    if run["status"] != "completed" or outcome is None:
        return None
    return {
        "deployment_id": f"github-run:{run['id']}.{run.get('run_attempt', 1)}",
        "service": service,
        "environment": environment,
        "version": run["head_branch"] or "",
        "revision": run["head_sha"],
        "started_s": _seconds(run.get("run_started_at") or run["created_at"]),
        "finished_s": _seconds(run["updated_at"]),
        "outcome": outcome,
        "trigger": "automated" if run["event"] in ("push", "schedule") else "promotion",
        "source": "github",
    }


def collect_workflow_runs(
    api: ApiReader, store: FactStore, hosted: Hosted, *, workflow: str, environment: str
) -> Collected:
    """Reads the runs of a deploying workflow, newest first, down to where the last collection ended.

    Args:
        api: GitHub.
        store: Where facts go.
        hosted: The service and its repository.
        workflow: The workflow's file name, as in .github/workflows.
        environment: Where it deploys to; a run does not say so itself.
    """
    source = f"github workflow {hosted.service} {hosted.name} {workflow}"
    until_s = int(store.resume_point(source).get("created_s", 0)) - WORKFLOW_OVERLAP_S
    newest_s, rows, merged = 0, 0, Merged()
    for page in api.pages(f"repos/{hosted.name}/actions/workflows/{workflow}/runs"):
        runs = page.items.get("workflow_runs") if isinstance(page.items, Mapping) else None
        if not isinstance(runs, list):
            raise UsageError(f"{source}: GitHub answers no runs", hint="Check the workflow's name.")
        created = [_seconds(run["created_at"]) for run in runs]
        newest_s = max([newest_s, *created])
        found = [
            workflow_row(run, service=hosted.service, environment=environment)
            for run, created_s in zip(runs, created, strict=True)
            if created_s >= until_s
        ]
        known = [row for row in found if row]
        merged += store.merge(
            "deployment",
            check("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, known)),
        )
        rows += len(known)
        if min(created, default=until_s) < until_s:
            break
    if newest_s:
        store.set_resume_point(source, {"created_s": newest_s})
    return Collected(source, "", rows, merged)


def _pull_row(api: ApiReader, hosted: Hosted, item: Mapping[str, Any]) -> dict[str, Any]:
    path = f"repos/{hosted.name}/pulls/{item['number']}/commits"
    authored = [
        _seconds(commit["commit"]["author"]["date"])
        for commit in _every(api, path, path)
        if commit["commit"]["author"]
    ]
    return {
        "service": hosted.service,
        "repository": hosted.repository,
        "number": item["number"],
        "sha": item["merge_commit_sha"],
        "first_authored_s": min(authored, default=None),
        "opened_s": _seconds(item["created_at"]),
        "merged_s": _seconds(item["merged_at"]),
        "branch": item["head"]["ref"],
        "labels": _labels(item),
    }


def _labels(item: Mapping[str, Any]) -> str:
    return " ".join(sorted(label["name"] for label in item["labels"]))


def _every(api: ApiReader, path: str, source: str) -> Iterator[Mapping[str, Any]]:
    # GitHub shows at most 250 commits of a pull request.
    for page in islice(api.pages(path), 10):
        yield from _list(page.items, source)


def _list(items: Json, source: str) -> list[Mapping[str, Any]]:
    if not isinstance(items, list):
        raise UsageError(f"{source}: GitHub answers no list", hint="Check owner and name.")
    return items


def _seconds(text: str) -> int:
    return int(parse_time(text).timestamp())
