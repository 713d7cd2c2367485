"""Facts: what happened, as tables of int64 UTC epoch seconds, in Parquet below the run directory.

``events.parquet``, one row per (service, environment, commit) that named a version, in the order of history:

    service, environment, version, sha    string; version is "" when the file was removed
    finished_s     int64   commit time
    position       int64   place in the history, from 0: decides between equal times
    kind           string  deployment | resync | seed | removed
    previous       string  version before it in that environment, "" when none is known
    is_first       bool    the version was never in that environment before
    is_censored    bool    nobody knows when it really arrived: the history begins with it
    is_comparable  bool    the version has a number, so newer and older can be told
    is_rollback    bool    goes back below the newest version, directly from it

``incidents.parquet``: id, service, environment (string), started_s (int64), resolved_s (int64, null: open),
severity (string). ``exclusions.parquet``: reason, left_out_of, service, environment, version, sha, detail
(string), finished_s (int64): every row that was seen and does not count, with its one reason. No table
holds a person's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

FOLDER = Path("evidence") / "dora"
KINDS = ("deployment", "resync", "seed", "removed")

_NUMBERED = re.compile(r"v(\d{1,9})|v?(\d{1,9}(?:\.\d{1,9}){1,3})")


@dataclass(frozen=True, slots=True)
class Event:
    """One version of one service in one environment, as history names it; ``version`` "" is a removal."""

    service: str
    environment: str
    version: str
    sha: str
    finished_s: int
    position: int
    is_seed: bool = False


@dataclass(frozen=True, slots=True)
class Incident:
    """One degradation; ``resolved_s`` is None while it lasts."""

    id: str
    service: str
    environment: str
    started_s: int
    resolved_s: int | None
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One row that was seen and does not count. ``left_out_of`` names the metric, or "everything"."""

    reason: str
    left_out_of: str
    service: str = ""
    environment: str = ""
    version: str = ""
    sha: str = ""
    finished_s: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """The three tables as frames; columns and types as in the module's docstring."""

    events: pd.DataFrame
    incidents: pd.DataFrame | None
    exclusions: pd.DataFrame


@dataclass(slots=True)
class _Stage:
    """What is known about one (service, environment) while its history is read."""

    previous: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    highest: tuple[int, ...] | None = None
    has_history: bool = False


def version_number(version: str) -> tuple[int, ...] | None:
    """The number of a version, for ordering; None when it has none (a commit id, a branch).

    A bare number is none: one in thirty abbreviated commit ids has only digits.

    >>> version_number("v12"), version_number("1.4.2"), version_number("release-3d6c674")
    ((12,), (1, 4, 2), None)
    """
    match = _NUMBERED.fullmatch(version)
    if match is None:
        return None
    return tuple(int(part) for part in (match[1] or match[2]).split("."))


def classify(events: Iterable[Event], *, censor_first: bool) -> pd.DataFrame:
    """Tells deployments from resyncs, seeds and removals, and marks rollbacks.

    Args:
        events: In the order of history.
        censor_first: True when the source begins somewhere in time (an export): the first version of each
            service and environment may have been there before.

    Returns:
        The table of events.
    """
    stages: dict[tuple[str, str], _Stage] = {}
    table = []
    for event in events:
        stage = stages.setdefault((event.service, event.environment), _Stage())
        kind = _kind(event, stage)
        number = version_number(event.version)
        is_first = kind != "removed" and event.version not in stage.seen
        table.append(
            (
                event.service,
                event.environment,
                event.version,
                event.sha,
                event.finished_s,
                event.position,
                kind,
                stage.previous,
                is_first,
                event.is_seed or (censor_first and not stage.has_history),
                number is not None,
                kind == "deployment" and _is_rollback(event.version, number, stage),
            )
        )
        _remember(event, number, stage)
    columns = (
        "service environment version sha finished_s position kind previous is_first is_censored "
        "is_comparable is_rollback"
    )
    frame = pd.DataFrame(table, columns=columns.split())
    return frame.astype(
        {
            **dict.fromkeys(
                ("service", "environment", "version", "sha", "kind", "previous"), "str"
            ),
            **dict.fromkeys(("finished_s", "position"), "int64"),
            **dict.fromkeys(("is_first", "is_censored", "is_comparable", "is_rollback"), "bool"),
        }
    )


def ledger(events: pd.DataFrame, exclusions: Iterable[Exclusion]) -> pd.DataFrame:
    """All rows that do not count as deployments: those of the collectors, then resyncs, seeds, removals."""
    reasons = {
        "resync": "same version again (resync)",
        "seed": "there when the history begins (seed)",
        "removed": "service removed from the environment",
    }
    frame = exclusion_frame(exclusions)
    rest = events[events["kind"] != "deployment"]
    more = rest[["service", "environment", "version", "sha", "finished_s"]].assign(
        reason=rest["kind"].map(reasons).astype("str"), left_out_of="deployments", detail=""
    )
    joined = pd.concat([frame, more[list(frame.columns)]], ignore_index=True)
    return joined.astype(frame.dtypes.to_dict())


def incident_frame(incidents: Iterable[Incident]) -> pd.DataFrame:
    """The table of incidents, ordered by their start."""
    columns = ["id", "service", "environment", "started_s", "resolved_s", "severity"]
    frame = pd.DataFrame([asdict(incident) for incident in incidents], columns=columns).astype(
        {
            **dict.fromkeys(("id", "service", "environment", "severity"), "str"),
            "started_s": "int64",
            "resolved_s": "Int64",
        }
    )
    return frame.sort_values(["started_s", "id"], ignore_index=True)


def write(facts: Facts, directory: Path) -> dict[str, str]:
    """Writes the tables as Parquet below a run directory; returns SHA-256 by path relative to it."""
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"events": facts.events, "exclusions": facts.exclusions}
    if facts.incidents is not None:
        tables["incidents"] = facts.incidents
    return {
        (FOLDER / f"{name}.parquet").as_posix(): write_table(frame, folder / f"{name}.parquet")
        for name, frame in tables.items()
    }


def write_table(frame: pd.DataFrame, path: Path) -> str:
    """Writes one table as Parquet, whole or not at all; returns the file's SHA-256."""
    part = path.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        connection.table("frame").write_parquet(str(part), compression="zstd")
    digest = sha256(part)
    part.replace(path)
    return digest


def read(directory: Path, *, has_incidents: bool) -> Facts:
    """Reads the tables that ``write`` wrote."""
    incidents = None
    if has_incidents:
        incidents = read_table(directory, "incidents").astype({"resolved_s": "Int64"})
    return Facts(read_table(directory, "events"), incidents, read_table(directory, "exclusions"))


def read_table(directory: Path, name: str) -> pd.DataFrame:
    """Reads one table of a run directory by its name."""
    with duckdb.connect() as connection:
        frame: pd.DataFrame = connection.read_parquet(
            str(directory / FOLDER / f"{name}.parquet")
        ).df()
        return frame


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table as named tuples; their types are those of the module's docstring."""
    yield from frame.itertuples(index=False)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kind(event: Event, stage: _Stage) -> str:
    if not event.version:
        return "removed"
    if event.is_seed:
        return "seed"
    return "resync" if event.version == stage.previous else "deployment"


def _is_rollback(version: str, number: tuple[int, ...] | None, stage: _Stage) -> bool:
    """Below the newest, directly from the newest; by number if it has one, else by first appearance."""
    if not stage.previous:
        return False
    if number is not None:
        came_from = version_number(stage.previous)
        return stage.highest is not None and number < stage.highest and came_from == stage.highest
    return version in stage.seen and stage.seen[stage.previous] == len(stage.seen) - 1


def _remember(event: Event, number: tuple[int, ...] | None, stage: _Stage) -> None:
    stage.previous = event.version
    stage.has_history = True
    if event.version:
        stage.seen.setdefault(event.version, len(stage.seen))
    if number is not None and (stage.highest is None or number > stage.highest):
        stage.highest = number


def exclusion_frame(exclusions: Iterable[Exclusion]) -> pd.DataFrame:
    """The table of exclusions."""
    names = [*Exclusion.__dataclass_fields__]
    frame = pd.DataFrame([asdict(e) for e in exclusions], columns=names)
    types = {name: "int64" if name == "finished_s" else "str" for name in names}
    return frame.astype(types)
