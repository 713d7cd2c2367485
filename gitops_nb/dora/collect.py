"""Collectors: from a configuration repository's history, or from files, to events and incidents.

Every problem of an input file is named with file and line (CSV) or row (Parquet), all at once, before
anything is written.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from gitops_nb.dora.collectors.version import read_version
from gitops_nb.dora.facts import Event, Exclusion, Incident, event_columns, event_frame
from gitops_nb.errors import UsageError
from gitops_nb.model import parse_time
from gitops_nb.ports import FileChange

COLUMNS = ("commit", "committed_s", "app", "env", "tag")
INCIDENT_COLUMNS = ("id", "service", "environment", "started", "resolved")
MAX_PROBLEMS = 20
_MILLISECONDS = 100_000_000_000
"""Seconds reach this in the year 5138; a larger number is milliseconds or finer."""
EARLIEST_S = 631_152_000
"""1990-01-01: an earlier time is a default or another unit, not a deployment."""
NO_TIME = "its time cannot be read, or is before 1990"
_SKEW_S = 300
_NO_FILES = {"L": "a symbolic link, not a file", "S": "a submodule, not a file"}


@dataclass(frozen=True, slots=True)
class VersionSource:
    """Where a repository says which version runs where, as in fleet.yaml's ``versions``."""

    repository: str
    branch: str
    path: str
    key: str
    part: str = "value"

    def match(self, path: str) -> tuple[str, str] | None:
        """Service and environment of a path, or None when it is not one of these files."""
        found = _pattern(self.path).fullmatch(path)
        return (found["service"], found["environment"]) if found else None

    def claims(self, path: str) -> bool:
        """Whether a path is one of these files."""
        return _pattern(self.path).fullmatch(path) is not None


@cache
def _pattern(path: str) -> re.Pattern[str]:
    pattern = re.escape(path)
    for name in ("service", "environment"):
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>[^/]+)")
    return re.compile(pattern)


def from_history(
    changes: Iterable[FileChange],
    source: VersionSource,
    *,
    environments: Sequence[str],
    now_s: int,
    offset: int = 0,
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """Reads which version each commit of a repository's first-parent line put where, as a table of ``Event``.

    The files of the first commit are what ran already when the history begins (seed); a positive ``offset`` is
    the number of changes that were read before, and then none of these is the first. A path with an
    environment that the fleet does not have, a file without a readable version and a time in the future are
    left out, each with its reason: a past commit cannot be mended.
    """
    # Columns, because the garbage collector would go through ten thousands of rows again and again.
    names: list[str] = []
    where: list[str] = []
    versions: list[str] = []
    shas: list[str] = []
    moments: list[int] = []
    positions: list[int] = []
    seeds: list[bool] = []
    left_out: list[Exclusion] = []
    known = frozenset(environments)
    # Few paths and few contents make up a long history.
    places = cache(source.match)
    read = lru_cache(maxsize=1 << 16)(partial(read_version, key=source.key, part=source.part))
    first_sha = None
    for position, change in enumerate(changes, start=offset):
        first_sha = first_sha or ("none" if offset else change.sha)
        place = places(change.path)
        if place is None:
            continue
        service, environment = place
        version, problem = "", ""
        if environment not in known:
            problem = "environment is not in the fleet"
        elif change.committed_s > now_s + _SKEW_S:
            problem = "time in the future"
        elif change.status in _NO_FILES:
            problem = _NO_FILES[change.status]
        elif change.committed_s < EARLIEST_S:
            problem = NO_TIME
        elif change.content is not None:
            version, problem = read(change.content, path=_suffix(change.path))
        if problem:
            left_out.append(
                Exclusion(
                    reason=problem,
                    left_out_of="everything",
                    service=service,
                    environment=environment,
                    sha=change.sha,
                    finished_s=change.committed_s,
                    detail=change.path,
                )
            )
            continue
        names.append(service)
        where.append(environment)
        versions.append(version)
        shas.append(change.sha)
        moments.append(change.committed_s)
        positions.append(position)
        seeds.append(change.sha == first_sha)
    columns = (names, where, versions, shas, moments, positions, seeds)
    return event_columns(columns), left_out


def _suffix(path: str) -> str:
    """What tells the format of a file: equal contents of many paths are read once."""
    return path[path.rfind(".") :] if "." in path else ""


def from_file(
    path: Path, *, environments: Sequence[str], now_s: int
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """Reads deployments from a Parquet or CSV file with the columns commit, committed_s, app, env, tag.

    ``committed_s`` is in UTC epoch seconds; rows may have any order.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds rows that cannot be right.
    """
    rows = _read_rows(path)
    problems: list[str] = []
    known = frozenset(environments)
    for where, commit, committed_s, app, env, tag in rows:
        if not app or not tag or not commit:
            problems.append(f"{where}: commit, app and tag have to have a value")
        elif env not in known:
            problems.append(
                f"{where}: env: unknown environment {env!r}; the fleet has {', '.join(environments)}"
            )
        else:
            problem = time_problem(committed_s, now_s)
            if problem:
                problems.append(f"{where}: committed_s: {problem}")
    refuse(problems)
    # Equal times keep the order of the file, which is the only order that is known.
    ordered = sorted((int(row[2]), index) for index, row in enumerate(rows))
    chosen = (rows[index] for _, index in ordered)
    events = (
        Event(app, env, tag, commit, int(at), position)
        for position, (_, commit, at, app, env, tag) in enumerate(chosen)
    )
    return event_frame(events), []


def incidents_from_file(path: Path, *, environments: Sequence[str], now_s: int) -> list[Incident]:
    """Reads incidents from a CSV with the columns id, service, environment, started, resolved[, severity].

    Times are RFC 3339 with an offset; an empty ``resolved`` means that the incident lasts.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds lines that cannot be right.
    """
    incidents: list[Incident] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for where, row in _read_csv(path, INCIDENT_COLUMNS):
        incident, problem = _read_incident(row, environments=environments, now_s=now_s)
        if problem:
            problems.append(f"{where}: {problem}")
        elif incident.id in seen:
            problems.append(f"{where}: id: {incident.id!r} is also on {seen[incident.id]}")
        else:
            seen[incident.id] = f"line {where.rpartition(':')[2]}"
            incidents.append(incident)
    refuse(problems)
    return incidents


def _read_incident(
    row: dict[str, str], *, environments: Sequence[str], now_s: int
) -> tuple[Incident, str]:
    nothing = Incident("", "", "", 0, None)
    if not row["id"] or not row["service"]:
        return nothing, "id and service have to have a value"
    if row["environment"] not in environments:
        return nothing, (
            f"environment: unknown environment {row['environment']!r}; "
            f"the fleet has {', '.join(environments)}"
        )
    try:
        started = int(parse_time(row["started"]).timestamp())
        resolved = int(parse_time(row["resolved"]).timestamp()) if row["resolved"] else None
    except ValueError:
        return nothing, (
            f"started {row['started']!r}, resolved {row['resolved']!r}: a time is written like "
            "2026-11-23T10:14:00Z, with its offset"
        )
    for name, moment in (("started", started), ("resolved", resolved)):
        problem = time_problem(moment, now_s) if moment is not None else ""
        if problem:
            return nothing, f"{name}: {problem}"
    if resolved is not None and resolved < started:
        return nothing, "resolved is before started"
    found = Incident(
        row["id"], row["service"], row["environment"], started, resolved, row.get("severity") or ""
    )
    return found, ""


def _read_rows(path: Path) -> list[tuple[Any, ...]]:
    """Each row after the place in the file that it has."""
    if path.suffix != ".parquet":
        return [
            (where, *(row[name] for name in COLUMNS)) for where, row in _read_csv(path, COLUMNS)
        ]
    with duckdb.connect() as connection:
        try:
            table = connection.read_parquet(str(path))
            _require(path.name, COLUMNS, table.columns)
            rows = table.select(*COLUMNS).fetchall()
        except duckdb.Error as error:
            raise UsageError(
                f"{path.name}: cannot be read as Parquet", hint="Check the path and the file."
            ) from error
    return [(f"{path.name}: row {number}", *row) for number, row in enumerate(rows, start=1)]


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            _require(f"{path.name}:1", columns, reader.fieldnames or ())
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                if None in row:
                    raise UsageError(
                        f"{where}: more fields than the header has", hint="Mend the line."
                    )
                yield where, {name: (value or "").strip() for name, value in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path.name}: cannot be read as CSV: {error}", hint="Check the path and the file."
        ) from error


def _require(where: str, needed: Sequence[str], given: Sequence[str]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise UsageError(
            f"{where}: no column {', '.join(missing)}; there are {', '.join(given) or 'none'}",
            hint=f"Give the file the columns {', '.join(needed)}.",
        )


def time_problem(moment: Any, now_s: int) -> str:
    """What is wrong with a time in UTC epoch seconds, or "": another unit, before 1990, in the future."""
    try:
        seconds = int(moment)
    except (TypeError, ValueError):
        return f"{moment!r} is not a whole number of seconds"
    if seconds >= _MILLISECONDS:
        return f"{seconds} is not in seconds since 1970; it looks like milliseconds"
    if seconds < EARLIEST_S:
        return f"{seconds} is before 1990; times are UTC seconds since 1970"
    if seconds > now_s + _SKEW_S:
        return f"{seconds} is in the future"
    return ""


def refuse(problems: Sequence[str]) -> None:
    """Raises ``UsageError`` with the first 20 problems, and how many more there are; nothing where there is none."""
    if not problems:
        return
    shown = list(problems[:MAX_PROBLEMS])
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    raise UsageError("\n".join(shown), hint="Mend the file; nothing was written.")
