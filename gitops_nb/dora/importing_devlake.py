"""Apache DevLake: exports of its tables cicd_deployment_commits, project_mapping and incidents, as CSV or JSON.

A project of project_mapping is a service, unless the mapping says which one its name or the id of a scope stands for.
DevLake stores times in UTC. Each row of cicd_deployment_commits is a commit; those of one deployment are one.

Source: apache/incubator-devlake, backend/core/models/domainlayer: devops/cicd_deployment_commit.go, ticket/incident.go,
crossdomain/project_mapping.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from gitops_nb.dora.importing_rows import NO_ENVIRONMENT, Export, Findings, Reading, Row
from gitops_nb.dora.importing_tables import Imported, left_out
from gitops_nb.errors import UsageError

SOURCE = "devlake"
_COMMITS = ("cicd_deployment_id", "cicd_scope_id", "commit_sha", "result", "environment", "started_date", "finished_date")  # fmt: skip
_PROJECTS = ("project_name", "table", "row_id")
_INCIDENTS = ("id", "table", "scope_id", "created_date", "resolution_date")
_OUTCOMES = {"SUCCESS": "succeeded", "FAILURE": "failed"}


def read(exports: Sequence[Export], reading: Reading, findings: Findings) -> Imported:
    """Reads the tables, told by their columns, in any order of files.

    Raises:
        UsageError: A file is none of the three tables, or lacks a column.
    """
    tables: dict[tuple[str, ...], list[Row]] = {_COMMITS: [], _PROJECTS: [], _INCIDENTS: []}
    has_projects = False
    for export in exports:
        table = _table(export)
        tables[table] += export.rows
        has_projects = has_projects or table == _PROJECTS
    tool = _DevLake(
        replace(reading, zone=reading.zone or ZoneInfo("UTC")),
        findings,
        has_projects=has_projects,
    )
    findings.each(tables[_PROJECTS], tool.project)
    findings.each(tables[_COMMITS], tool.deployment)
    findings.each(tables[_INCIDENTS], tool.incident)
    tool.imported.deployments += tool.deployments.values()
    return tool.imported


def _table(export: Export) -> tuple[str, ...]:
    """Which table a file is: that by a column which no other has."""
    for mark, columns in (
        ("cicd_deployment_id", _COMMITS),
        ("project_name", _PROJECTS),
        ("scope_id", _INCIDENTS),
    ):
        if export.has(mark):
            missing = [name for name in columns if not export.has(name)]
            if missing:
                raise UsageError(
                    f"{export.path.name}:1: no column {', '.join(missing)}",
                    hint=f"Export the table with {', '.join(columns)}.",
                )
            return columns
    raise UsageError(
        f"{export.path.name}:1: none of cicd_deployment_commits, project_mapping and incidents",
        hint="Export DevLake's tables with their own column names.",
    )


@dataclass(slots=True)
class _DevLake:
    """What was read so far: projects by table and id of a scope, and deployments by service, environment and id."""

    reading: Reading
    findings: Findings
    has_projects: bool
    imported: Imported = field(default_factory=lambda: Imported(SOURCE))
    projects: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    deployments: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)

    def project(self, row: Row) -> None:
        """Reads a row of project_mapping."""
        key, name = (row.need("table"), row.need("row_id")), row.need("project_name")
        self.projects[key] = tuple(dict.fromkeys((*self.projects.get(key, ()), name)))

    def deployment(self, row: Row) -> None:
        """Reads a row of cicd_deployment_commits."""
        name, sha = row.need("cicd_deployment_id"), row.need("commit_sha")
        scope = row.need("cicd_scope_id")
        result = row.text("result")
        outcome = _OUTCOMES.get(result.upper())
        if outcome is None:
            self.findings.left_out[f"deployments with the result {result or '(none)'}"] += 1
            return
        finished_s = row.moment("finished_date", self.reading)
        started_s = row.maybe_moment("started_date", self.reading)
        if started_s is not None and finished_s < started_s:
            raise ValueError("finished_date is before started_date")
        service = self._service("cicd_scopes", scope)
        if not service:
            return
        written = row.text("environment")
        environment = self.reading.environment(written)
        if environment is None:
            self.findings.environments[written or NO_ENVIRONMENT] += 1
            self.imported.exclusions.append(
                left_out(service, written, finished_s, sha=sha, detail=name)
            )
            return
        found: dict[str, Any] = {
            "deployment_id": f"{SOURCE}:{name}",
            "service": service,
            "environment": environment,
            "version": sha,
            "revision": sha,
            "started_s": finished_s if started_s is None else started_s,
            "finished_s": finished_s,
            "outcome": outcome,
            "source": SOURCE,
        }
        key = (service, environment, name)
        self.deployments[key] = _one_deployment(self.deployments.get(key, found), found)

    def incident(self, row: Row) -> None:
        """Reads a row of incidents."""
        name = row.need("id")
        started_s = row.moment("created_date", self.reading)
        resolved_s = row.maybe_moment("resolution_date", self.reading)
        if resolved_s is not None and resolved_s < started_s:
            raise ValueError("resolution_date is before created_date")
        service = self._service(row.need("table"), row.need("scope_id"))
        self.imported.incident_ids.add(name)
        if not service:
            return
        self.imported.incidents.append(
            {
                "incident_id": name,
                "service": service,
                "environment": self.reading.mapping.environment,
                "started_s": started_s,
                "resolved_s": resolved_s,
                "severity": row.text("severity") or row.text("priority"),
                "source": SOURCE,
            }
        )

    def _service(self, table: str, scope: str) -> str:
        """The service of a scope; "" for one that is in no project, which is counted.

        Raises:
            ValueError: It is in several projects, or nobody can say in which.
        """
        if scope in self.reading.mapping.services:
            return self.reading.service(scope)
        projects = self.projects.get((table, scope), ())
        services = tuple(dict.fromkeys(self.reading.service(name) for name in projects))
        if len(services) > 1:
            raise ValueError(
                f"{scope!r} is of {' and '.join(services)}; say in `services` of the mapping which one is meant"
            )
        if not services and not self.has_projects:
            raise ValueError(
                f"nothing says whose {scope!r} is: give project_mapping, or `services` in the mapping"
            )
        if not services:
            self.findings.left_out[f"rows of {scope}, which is in no project"] += 1
        return next(iter(services), "")


def _one_deployment(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The deployment of several commits: from the first start to the last end, and as its newest commit."""
    both = (before, found)
    newest = max(both, key=lambda one: (one["finished_s"], one["revision"]))
    is_failed = any(one["outcome"] == "failed" for one in both)
    return {
        **newest,
        "started_s": min(one["started_s"] for one in both),
        "outcome": "failed" if is_failed else "succeeded",
    }
