"""Incidents from a tool's CSV, as a mapping file describes it; what was merged or listed twice is one incident.

Jira and ServiceNow write one row for an incident, with their own columns, words and times. A row that names the incident
that it is a duplicate or a part of is folded into it, where both are of the same service and environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gitops_nb.dora.importing_rows import NO_ENVIRONMENT, Columns, Export, Findings, Reading, Row
from gitops_nb.dora.importing_tables import Imported, left_out
from gitops_nb.errors import UsageError

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Listed:
    """One incident of one service as a row has it."""

    where: str
    id: str
    service: str
    environment: str
    started_s: int
    resolved_s: int | None
    severity: str


def read(exports: Sequence[Export], reading: Reading, findings: Findings) -> Imported:
    """Reads exports of incidents by the columns of the mapping.

    Raises:
        UsageError: The mapping names no columns, or a file lacks one of them.
    """
    columns = reading.mapping.columns
    if columns is None:
        raise UsageError(
            "incidents: the mapping names no columns",
            hint="Give --map FILE with columns: id, service, started, resolved.",
        )
    _require(exports, columns)
    imported = Imported(reading.mapping.source)
    listed: dict[tuple[str, str], _Listed] = {}
    parents: dict[str, tuple[str, str]] = {}

    def read_row(row: Row) -> None:
        found = _listed(row, columns, reading, findings, imported)
        name = row.text(columns.id)
        imported.incident_ids.add(name)
        parent = row.text(columns.merged_into) if columns.merged_into else ""
        if parent and parent != name:
            parents[name] = (parent, row.where)
        for one in found:
            _add(listed, one)

    for export in exports:
        findings.each(export.rows, read_row)
    roots = {name: _root(name, parents, findings) for _, name in listed}
    imported.incidents += _merged(listed.values(), roots, imported.source)
    return imported


def _require(exports: Sequence[Export], columns: Columns) -> None:
    wanted = [name for name in columns.model_dump().values() if name]
    for export in exports:
        missing = [name for name in wanted if not export.has(name)]
        # An empty list of JSON rows has no columns and nothing to read.
        if missing and (export.rows or export.columns):
            raise UsageError(
                f"{export.path.name}:1: no column {', '.join(missing)}; there are "
                f"{', '.join(export.columns)}",
                hint="Write under `columns` of the mapping what the file calls them.",
            )


def _listed(
    row: Row, columns: Columns, reading: Reading, findings: Findings, imported: Imported
) -> list[_Listed]:
    name = row.need(columns.id)
    started_s = row.moment(columns.started, reading)
    resolved_s = row.maybe_moment(columns.resolved, reading)
    if resolved_s is not None and resolved_s < started_s:
        raise ValueError(f"{columns.resolved} is before {columns.started}")
    named = row.all(columns.service) if columns.service else ()
    services = dict.fromkeys(reading.service(service) for service in named or ("",))
    if "" in services:
        raise ValueError(
            f"{columns.service or 'service'}: it has no value, and the mapping no service"
        )
    written = row.text(columns.environment) if columns.environment else ""
    environment = reading.environment(written) if written else reading.mapping.environment
    if environment is None:
        findings.environments[written or NO_ENVIRONMENT] += 1
        imported.exclusions += [
            left_out(service, written, started_s, detail=name) for service in services
        ]
        return []
    severity = row.text(columns.severity) if columns.severity else ""
    return [
        _Listed(row.where, name, service, environment, started_s, resolved_s, severity)
        for service in services
    ]


def _add(listed: dict[tuple[str, str], _Listed], one: _Listed) -> None:
    """Adds a row to the one of the same incident.

    Raises:
        ValueError: That one is in another environment.
    """
    key = (one.service, one.id)
    before = listed.get(key)
    if before is not None:
        if before.environment != one.environment:
            raise ValueError(
                f"{one.id!r} is in {one.environment} here, and in {before.environment} at {before.where}"
            )
        ends = [end for end in (before.resolved_s, one.resolved_s) if end is not None]
        one = replace(
            before,
            started_s=min(before.started_s, one.started_s),
            # A row that came late does not open again what has ended.
            resolved_s=max(ends, default=None),
            severity=before.severity or one.severity,
        )
    listed[key] = one


def _root(name: str, parents: Mapping[str, tuple[str, str]], findings: Findings) -> str:
    seen = [name]
    while (parent := parents.get(seen[-1])) is not None:
        if parent[0] in seen:
            findings.problems.append(
                f"{parent[1]}: {' and '.join(seen)} are merged into each other"
            )
            return name
        seen.append(parent[0])
    return seen[-1]


def _merged(
    listed: Iterable[_Listed], roots: Mapping[str, str], source: str
) -> list[dict[str, object]]:
    groups: dict[_Key, list[_Listed]] = {}
    for one in listed:
        groups.setdefault((one.service, one.environment, roots[one.id]), []).append(one)
    rows: list[dict[str, object]] = []
    for (service, environment, root), members in sorted(groups.items()):
        # What it was merged into may be of another service, or not in the file: then the smallest id stands for all.
        first = next((m for m in members if m.id == root), min(members, key=lambda m: m.id))
        ends = [member.resolved_s for member in members]
        if first.id == root:
            resolved_s = first.resolved_s
        else:
            resolved_s = None if None in ends else max(end for end in ends if end is not None)
        severities = (first.severity, *(member.severity for member in members))
        rows.append(
            {
                "incident_id": first.id,
                "service": service,
                "environment": environment,
                "started_s": min(member.started_s for member in members),
                "resolved_s": resolved_s,
                "severity": next((text for text in severities if text), ""),
                "source": source,
            }
        )
    return rows
