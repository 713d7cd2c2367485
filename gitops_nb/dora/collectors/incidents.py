"""Incidents from files (CSV, JSON, PagerDuty, Alertmanager webhooks, GitHub issues) and from GitHub itself, as one table.

A file is JSON when its name says so; whose JSON it is, is told by its shape. One incident that comes again, as
Alertmanager's firing and resolved do, is one row. Titles, texts and names of persons are not read.

Source: PagerDuty REST API v2 "List incidents"; Alertmanager webhook version 4; GitHub REST "List repository issues".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from gitops_nb.dora import collect, fact_tables, facts
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.schemas import check
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UsageError
from gitops_nb.model import parse_time
from gitops_nb.ports import ApiReader

MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file does not say itself.

    ``environment`` is where incidents of tools that know no environments happened; ``services`` maps such a tool's
    own service names to ours, and names that are not in it stand for themselves.
    """

    environments: tuple[str, ...]
    environment: str
    now_s: int
    services: Mapping[str, str]


def collect_incidents(path: Path, store: FactStore, reading: Reading) -> Collected:
    """Reads one file into the store.

    Raises:
        UsageError: The file cannot be read or holds incidents that cannot be right, each named; nothing was written.
    """
    rows = check("incident", read_incidents(path, reading))
    name = f"incidents {path.name}"
    merged = store.merge("incident", rows)
    digest = facts.sha256(path)
    store.set_resume_point(name, {"sha256": digest})
    return Collected(name, f"sha256:{digest}", len(rows), merged)


def read_incidents(path: Path, reading: Reading) -> pd.DataFrame:
    """The incidents of a file as the table of ``fact_tables``.

    Raises:
        UsageError: As ``collect_incidents``.
    """
    if path.suffix == ".csv":
        found = collect.incidents_from_file(
            path, environments=reading.environments, now_s=reading.now_s
        )
        return facts.incident_frame(found, path.name)
    return _table(_items(path), reading)


def collect_issues(api: ApiReader, store: FactStore, name: str, reading: Reading) -> Collected:
    """Reads the issues with the label incident of a repository on GitHub, those that changed since the last collection.

    Args:
        api: GitHub.
        store: Where facts go.
        name: OWNER/NAME.
        reading: As for a file.

    Raises:
        UsageError: Issues cannot be right, each named by its number; nothing was written.
    """
    source = f"incidents {name}"
    before_s = int(store.resume_point(source).get("updated_s", 0))
    query = {"labels": "incident", "state": "all", "sort": "updated", "direction": "asc"}
    if before_s:
        query["since"] = datetime.fromtimestamp(before_s, UTC).isoformat()
    issues: list[Any] = []
    for page in api.pages(f"repos/{name}/issues", query):
        if not isinstance(page.items, list):
            raise UsageError(f"{source}: GitHub answers no list", hint="Check owner and name.")
        issues += page.items
    items = ((f"{name}#{issue['number']}", "github", issue) for issue in issues)
    rows = _table(items, reading)
    # Numbers are those of one repository; several may tell of one service.
    rows = check("incident", rows.assign(incident_id=name + rows["incident_id"].astype("str")))
    merged = store.merge("incident", rows)
    newest_s = max([before_s, *(_seconds(issue["updated_at"]) or 0 for issue in issues)])
    if newest_s:
        store.set_resume_point(source, {"updated_s": newest_s})
    return Collected(source, "", len(rows), merged)


def _table(items: Iterable[tuple[str, str, Any]], reading: Reading) -> pd.DataFrame:
    """Incidents by place, source and content as one table."""
    incidents: dict[tuple[str, str], dict[str, Any]] = {}
    problems: list[str] = []
    for where, source, item in items:
        try:
            row = _READERS[source](item, reading)
            problem = "" if row is None else _problem(row, reading)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            row, problem = None, f"is no incident of {source}: {error!r}"
        if problem:
            problems.append(f"{where}: {problem}")
        elif row is not None:
            row |= {"source": source}
            key = (row["service"], row["incident_id"])
            before = incidents.get(key, row)
            # A message that came late does not open again what has ended.
            row["resolved_s"] = row["resolved_s"] or before["resolved_s"]
            incidents[key] = row
    collect.refuse(problems)
    return fact_tables.frame(fact_tables.INCIDENT, incidents.values())


def _items(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Each incident with its place in the file and whose shape it has."""
    for where, document in _documents(path):
        if isinstance(document, dict) and isinstance(document.get("alerts"), list):
            source, name, items = "alertmanager", "alerts", document["alerts"]
        elif isinstance(document, dict) and isinstance(document.get("incidents"), list):
            source, name, items = "pagerduty", "incidents", document["incidents"]
        elif isinstance(document, list):
            is_github = any(isinstance(i, dict) and "number" in i for i in document[:1])
            source, name, items = "github" if is_github else "file", "", document
        elif isinstance(document, dict) and isinstance(document.get("issue"), dict):
            source, name, items = "github", "issue", [document["issue"]]
        else:
            raise UsageError(
                f"{where}: neither a list of incidents nor PagerDuty's, Alertmanager's or GitHub's",
                hint="Give a list of objects with id, service, environment, started and resolved.",
            )
        for index, item in enumerate(items):
            yield f"{where}: {name}[{index}]", source, item


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".jsonl":
            yield f"{path.name}", json.loads(text)
            return
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path.name}: cannot be read as JSON: {error}", hint="Check the path and the file."
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path.name}:{number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path.name}:{number}: cannot be read as JSON: {error}") from error


def _from_file(item: Any, _: Reading) -> dict[str, Any]:
    return {
        "incident_id": str(item["id"]),
        "service": str(item["service"]),
        "environment": str(item["environment"]),
        "started_s": _seconds(item["started"]),
        "resolved_s": _seconds(item.get("resolved")),
        "severity": str(item.get("severity") or ""),
        "deployment_id": str(item.get("deployment_id") or ""),
    }


def _from_pagerduty(item: Any, reading: Reading) -> dict[str, Any]:
    name = str(item["service"].get("summary") or item["service"]["id"])
    resolved = item.get("resolved_at")
    if resolved is None and item["status"] == "resolved":
        resolved = item["last_status_change_at"]
    priority = item.get("priority") or {}
    return {
        "incident_id": str(item["id"]),
        "service": reading.services.get(name, name),
        "environment": reading.environment,
        "started_s": _seconds(item["created_at"]),
        "resolved_s": _seconds(resolved),
        "severity": str(priority.get("summary") or item.get("urgency") or ""),
    }


def _from_alertmanager(item: Any, reading: Reading) -> dict[str, Any]:
    labels = item["labels"]
    name = str(labels["service"])
    ended = str(item.get("endsAt") or "")
    # Alertmanager writes the year 1, or the time when the alert would expire, for what still fires.
    is_over = item["status"] == "resolved" and not ended.startswith("0001-")
    return {
        "incident_id": f"{item['fingerprint']}@{_seconds(item['startsAt'])}",
        "service": reading.services.get(name, name),
        "environment": str(labels.get("environment") or reading.environment),
        "started_s": _seconds(item["startsAt"]),
        "resolved_s": _seconds(ended) if is_over else None,
        "severity": str(labels.get("severity") or ""),
    }


def _from_github(item: Any, reading: Reading) -> dict[str, Any] | None:
    """An issue with the label incident; labels like ``service:checkout`` say the rest."""
    if item.get("pull_request"):
        return None
    names = [str(label if isinstance(label, str) else label["name"]) for label in item["labels"]]
    if "incident" not in names:
        return None
    said = dict(name.split(":", 1) for name in names if ":" in name)
    if "service" not in said:
        raise ValueError("it has no label like service:checkout")
    name = said["service"].strip()
    return {
        "incident_id": f"#{item['number']}",
        "service": reading.services.get(name, name),
        "environment": said.get("environment", reading.environment).strip(),
        "started_s": _seconds(item["created_at"]),
        "resolved_s": _seconds(item.get("closed_at")),
        "severity": said.get("severity", "").strip(),
        "deployment_id": said.get("deployment", "").strip(),
    }


_READERS: Mapping[str, Callable[[Any, Reading], dict[str, Any] | None]] = {
    "file": _from_file,
    "pagerduty": _from_pagerduty,
    "alertmanager": _from_alertmanager,
    "github": _from_github,
}


def _problem(row: Mapping[str, Any], reading: Reading) -> str:
    if not row["incident_id"] or not row["service"]:
        return "id and service have to have a value"
    if row["environment"] not in reading.environments:
        return (
            f"environment: unknown environment {row['environment']!r}; "
            f"the fleet has {', '.join(reading.environments)}"
        )
    if row["started_s"] is None:
        return "it has no beginning"
    for name in ("started_s", "resolved_s"):
        if row[name] is not None and (problem := collect.time_problem(row[name], reading.now_s)):
            return f"{name}: {problem}"
    if row["resolved_s"] is not None and row["resolved_s"] < row["started_s"]:
        return "resolved is before started"
    return ""


def _seconds(text: Any) -> int | None:
    if not text:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no time like 2026-11-23T10:14:00Z")
    return int(parse_time(text).timestamp())
