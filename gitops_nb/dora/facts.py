"""What collectors say, and the deployments that follow from it: resyncs, seeds, removals and rollbacks told apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd

from gitops_nb.dora.fact_tables import DEPLOYMENT, EXCLUSION, INCIDENT, complete, frame

FOLDER = Path("evidence") / "dora"
CONFIGURATION = "configuration history"
"""Where deployments come from that a commit of a configuration repository made."""

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
Booleans = np.ndarray[tuple[int], np.dtype[np.bool_]]
_NUMBERED = re.compile(r"v(\d{1,9})|v?(\d{1,9}(?:\.\d{1,9}){1,3})")


class Event(NamedTuple):
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


def deployments_of(events: pd.DataFrame, *, censor_first: bool) -> pd.DataFrame:
    """The deployments that events make, one row each, in the order of their positions.

    A version below the newest that ran, directly after that newest, is a rollback; versions with a number are
    ordered by it, of others only a return to one that ran before is seen.

    Args:
        events: Columns of ``Event``; ``position`` gives the order of history.
        censor_first: True when the source begins somewhere in time (an export): the first version of each
            service and environment may have been there before.
    """
    if events.empty:
        return frame(DEPLOYMENT, ())
    places = _places(events)
    order = np.lexsort((events["position"].to_numpy(), places))
    place = places[order]
    codes, versions = pd.factorize(events["version"])
    version = codes[order]
    is_removed = (events["version"] == "").to_numpy()[order]
    is_seed = events["is_seed"].to_numpy(dtype=bool)[order]
    begins = np.r_[True, place[1:] != place[:-1]]
    before = np.where(begins, -1, np.r_[-1, version[:-1]])
    # After a removal nothing ran.
    before = np.where(np.r_[False, is_removed[:-1]], -1, before)
    resync = (before == version) & ~is_removed & ~is_seed
    numbers = _ranks(versions)
    line = _Line(place, begins, version, before, is_removed)
    returns = line.below_newest(numbers) | line.to_one_before(numbers)
    is_rollback = returns & (before >= 0) & ~is_removed & ~is_seed & ~resync
    trigger = np.select(
        [is_removed, is_seed, resync, is_rollback],
        ["removal", "promotion", "resync", "rollback"],
        "promotion",
    )
    ordered = events.iloc[order]
    ids = ordered["service"] + "/" + ordered["environment"] + "@" + ordered["sha"].str[:12]
    table = pd.DataFrame(
        {
            "deployment_id": _distinct(ids),
            "service": ordered["service"],
            "environment": ordered["environment"],
            "version": ordered["version"],
            "revision": ordered["sha"],
            "position": ordered["position"],
            "started_s": ordered["finished_s"],
            "finished_s": ordered["finished_s"],
            "outcome": "succeeded",
            "trigger": trigger,
            "source": CONFIGURATION,
            "is_seed": is_seed & ~is_removed,
            "is_censored": is_seed | (begins & censor_first),
            "is_comparable": numbers[version] >= 0,
        }
    )
    return complete(DEPLOYMENT, table).sort_values("position", kind="stable", ignore_index=True)


def _places(events: pd.DataFrame) -> Integers:
    """A number for each pair of service and environment."""
    services, _ = pd.factorize(events["service"])
    environments, names = pd.factorize(events["environment"])
    return services.astype("int64") * len(names) + environments


def _ranks(versions: Iterable[str]) -> Integers:
    """Each version's place among all that have a number, equal ones sharing one; -1 for those without."""
    numbers = [version_number(version) for version in versions]
    rank = {number: place for place, number in enumerate(sorted({n for n in numbers if n}))}
    return np.array([rank[n] if n else -1 for n in numbers], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Line:
    """Rows ordered by place and history: version and the one before it (-1: none) as numbers."""

    place: Integers
    begins: Booleans
    version: Integers
    before: Integers
    is_removed: Booleans

    def below_newest(self, numbers: Integers) -> Booleans:
        """Rows that go below the newest numbered version, directly from it."""
        number = numbers[self.version]
        span = int(numbers.max(initial=0)) + 2
        # A running maximum that begins anew with each place, because places only grow.
        running = np.maximum.accumulate(self.place * span + number + 1)
        highest = np.where(self.begins, -1, np.r_[-1, running[:-1]] - self.place * span - 1)
        came_from = np.where(self.before >= 0, numbers[self.before], -1)
        found: Booleans = (number >= 0) & (number < highest) & (came_from == highest)
        return found

    def to_one_before(self, numbers: Integers) -> Booleans:
        """Rows without a number that return to a version that ran, directly from the last that was new."""
        codes, _ = pd.factorize(self.place * (len(numbers) + 1) + self.version)
        is_new = ~pd.Series(codes).duplicated().to_numpy() & ~self.is_removed
        ever = np.cumsum(is_new)
        seen: Integers = ever - np.maximum.accumulate(np.where(self.begins, ever - is_new, 0))
        first = np.zeros(codes.max() + 1, dtype=np.int64)
        np.maximum.at(first, codes[is_new], seen[is_new])
        from_newest = np.r_[0, first[codes][:-1]] == seen - is_new
        found: Booleans = (numbers[self.version] < 0) & ~is_new & from_newest
        return found


def _distinct(ids: pd.Series[str]) -> pd.Series[str]:
    """The same ids, those that come again with a number behind: a file may name a commit twice."""
    again = ids.groupby(ids).cumcount()
    return ids.where(again == 0, ids + "-" + (again + 1).astype("str"))


def event_frame(events: Iterable[Event]) -> pd.DataFrame:
    """The events as a table with their own columns."""
    rows = list(events)
    return event_columns([[row[place] for row in rows] for place in range(len(Event._fields))])


def event_columns(columns: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The same from one sequence for each field of ``Event``."""
    kinds = (*["str"] * 4, "int64", "int64", "bool")
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=kind)
            for name, column, kind in zip(Event._fields, columns, kinds, strict=True)
        }
    )


def incident_frame(incidents: Iterable[Incident], source: str = "file") -> pd.DataFrame:
    """The table of incidents, ordered by their start."""
    rows = [
        {**asdict(incident), "incident_id": incident.id, "source": source} for incident in incidents
    ]
    return frame(INCIDENT, rows).sort_values(["started_s", "incident_id"], ignore_index=True)


def exclusion_frame(exclusions: Iterable[Exclusion]) -> pd.DataFrame:
    """The table of exclusions."""
    return frame(EXCLUSION, (asdict(exclusion) for exclusion in exclusions))


def write_table(table: pd.DataFrame, path: Path, *, order: str = "") -> str:
    """Writes one table as Parquet, whole or not at all; returns the file's SHA-256."""
    part = path.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.register("facts", table)
        rows = connection.table("facts")
        (rows.order(order) if order else rows).write_parquet(str(part), compression="zstd")
    digest = sha256(part)
    part.replace(path)
    return digest


def read_table(directory: Path, name: str) -> pd.DataFrame:
    """Reads one table of a run directory by its name."""
    with duckdb.connect() as connection:
        table: pd.DataFrame = connection.read_parquet(
            str(directory / FOLDER / f"{name}.parquet")
        ).df()
        return table


def frames(directory: Path) -> dict[str, pd.DataFrame]:
    """Every table of a run, to explore: the facts, ``deployments`` as judged, ``services``, and ``excluded``.

    Columns of the facts are those of ``fact_tables``; names that end in ``_s`` are int64 UTC epoch seconds.

    Args:
        directory: The run directory, in a notebook ``session.directory``.
    """
    paths = sorted((directory / FOLDER).glob("*.parquet"))
    return {path.stem: read_table(directory, path.stem) for path in paths}


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
