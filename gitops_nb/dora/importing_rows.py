"""Rows of exported files, each with its place, and what a mapping file says about them.

CSV, a JSON list of objects, or JSON lines; the name says which. Nothing is guessed about times and environments: what has
no meaning under the mapping is named.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from gitops_nb.catalog.fields import Strict
from gitops_nb.dora import collect, windows
from gitops_nb.errors import UsageError

MAX_FILE_BYTES = 256 << 20
ABSENT = ("", "NULL", "\\N", "null")
"""How exports write that there is no value."""
NO_ENVIRONMENT = "(none)"
Values = Mapping[str, tuple[str, ...]]


class Columns(Strict):
    """Which column of a CSV is what."""

    id: str = Field(description="Id of the incident.")
    started: str = Field(description="When it began.")
    resolved: str = Field(default="", description="When it ended; a cell without value: it lasts.")
    service: str = Field(
        default="", description="Its service; several columns of the name are several services."
    )
    environment: str = Field(default="", description="Where it was.")
    severity: str = Field(default="", description="How bad it was.")
    merged_into: str = Field(
        default="", description="Id of the incident that it is a duplicate or a part of."
    )


class ImportMap(Strict):
    """A mapping file: what an export does not say in our words."""

    kind: str = Field(default="ImportMap", description="ImportMap.")
    columns: Columns | None = Field(default=None, description="Columns of an export of incidents.")
    source: str = Field(
        default="incident export",
        min_length=1,
        description="Name of the system that wrote the incidents; the same in each import of it.",
    )
    service: str = Field(default="", description="Service of rows that name none.")
    environment: str = Field(
        default="", description="Environment of rows that name none; by default the fleet's last."
    )
    services: dict[str, str] = Field(
        default_factory=dict,
        description="Our services by the other tool's names of services, projects or scopes.",
    )
    environments: dict[str, str] = Field(
        default_factory=dict, description="Our environments by the other tool's names."
    )
    time_formats: tuple[str, ...] = Field(
        default=(),
        description="How times are written, as for Python's strptime; by default ISO 8601.",
    )
    time_zone: str = Field(
        default="", description="IANA name of the zone of times that have no offset."
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known when rows are read: the fleet's environments and services, the mapping, and the time.

    ``zone`` is that of times without an offset, None where nobody said one.
    """

    environments: tuple[str, ...]
    services: frozenset[str]
    mapping: ImportMap
    now_s: int
    zone: ZoneInfo | None = None

    @classmethod
    def of(
        cls,
        mapping: ImportMap,
        *,
        environments: Sequence[str],
        services: Sequence[str],
        default_environment: str,
        now_s: int,
    ) -> Reading:
        """What a mapping says about a fleet.

        Args:
            mapping: As it was read.
            environments: Of the fleet.
            services: Of the fleet.
            default_environment: Where rows happened that name no environment, when the mapping names none.
            now_s: UTC epoch seconds.

        Raises:
            UsageError: The mapping names an environment or a time zone that there is not.
        """
        chosen = mapping.environment or default_environment
        for name in (chosen, *mapping.environments.values()):
            if name not in environments:
                raise UsageError(
                    f"mapping: unknown environment {name!r}",
                    hint=f"The fleet has {', '.join(environments)}.",
                )
        zone = windows.read_zone(mapping.time_zone) if mapping.time_zone else None
        filled = mapping.model_copy(update={"environment": chosen})
        return cls(tuple(environments), frozenset(services), filled, now_s, zone)

    def environment(self, name: str) -> str | None:
        """Our name of another tool's environment: by the mapping, else the same word in any case; None for none."""
        if name in self.mapping.environments:
            return self.mapping.environments[name]
        return name.lower() if name.lower() in self.environments else None

    def service(self, name: str) -> str:
        """Our name of another tool's service: by the mapping, else the same; that of the mapping for "", maybe "" too."""
        return self.mapping.services.get(name, name) or self.mapping.service

    def moment(self, text: str) -> int:
        """UTC epoch seconds of a time.

        Raises:
            ValueError: It is none, has no offset where no zone is known, or cannot be right.
        """
        moment = self._parsed(text)
        if moment.tzinfo is None:
            if self.zone is None:
                raise ValueError(f"{text!r} has no offset, and the mapping no time_zone")
            local = moment.replace(tzinfo=self.zone)
            try:
                was = local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None)
            except OverflowError:
                raise ValueError(f"{text!r} is before 1990 or in the future") from None
            if was != moment:
                raise ValueError(f"{text!r} never was in {self.zone.key}: clocks went forward")
            moment = local
        seconds = int(moment.timestamp())
        if problem := collect.time_problem(seconds, self.now_s):
            raise ValueError(problem)
        return seconds

    def _parsed(self, text: str) -> datetime:
        formats = self.mapping.time_formats
        for form in formats:
            try:
                return datetime.strptime(text, form)  # noqa: DTZ007  the zone is the mapping's
            except ValueError:
                continue
        if not formats:
            # BigQuery writes the zone as a word.
            plain = f"{text.removesuffix(' UTC')}+00:00" if text.endswith(" UTC") else text
            try:
                return datetime.fromisoformat(plain)
            except ValueError:
                raise ValueError(f"{text!r} is no time like 2026-11-23T10:14:00Z") from None
        raise ValueError(f"{text!r} is not like {' or '.join(formats)}")


@dataclass(slots=True)
class Findings:
    """What reading finds on its way: problems that refuse the import, and what is left out, counted."""

    problems: list[str] = field(default_factory=list)
    environments: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def each(self, rows: Iterable[Row], read: Callable[[Row], None]) -> None:
        """Reads rows; what one raises ``ValueError`` about is a problem at its place."""
        for row in rows:
            try:
                read(row)
            except ValueError as error:
                self.problems.append(f"{row.where}: {error}")

    def refuse(self) -> None:
        """Raises ``UsageError`` with the problems, up to 20, when there are any."""
        collect.refuse(self.problems)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its place in its file, and its values by column; a column that comes again has several."""

    where: str
    values: Values

    def all(self, name: str) -> tuple[str, ...]:
        """The values of a column, without absent ones."""
        return tuple(text for text in self.values.get(name, ()) if text not in ABSENT)

    def text(self, name: str) -> str:
        """The first value of a column, "" for none."""
        return next(iter(self.all(name)), "")

    def need(self, name: str) -> str:
        """The same where there has to be one.

        Raises:
            ValueError: There is none.
        """
        found = self.text(name)
        if not found:
            raise ValueError(f"{name}: it has no value")
        return found

    def moment(self, name: str, reading: Reading) -> int:
        """UTC epoch seconds of a column.

        Raises:
            ValueError: As ``need`` and ``Reading.moment``; the message begins with the column.
        """
        text = self.need(name)
        try:
            return reading.moment(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def maybe_moment(self, name: str, reading: Reading) -> int | None:
        """The same of a column that may have no value, or "" for no such column; None then."""
        return self.moment(name, reading) if name and self.text(name) else None


@dataclass(frozen=True, slots=True)
class Export:
    """One file: its columns and rows."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def has(self, *names: str) -> bool:
        """Whether it has all these columns."""
        return set(names) <= set(self.columns)


def read_export(path: Path) -> Export:
    """Reads a file whole.

    Raises:
        UsageError: It cannot be read; the message names file and line.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB")
        if path.suffix in (".json", ".jsonl", ".ndjson"):
            rows = tuple(_json_rows(path))
            columns = tuple(dict.fromkeys(name for row in rows for name in row.values))
            return Export(path, columns, rows)
        return _csv_rows(path)
    except (OSError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise UsageError(
            f"{path.name}: cannot be read: {error}", hint="Give a CSV in UTF-8, JSON or JSON lines."
        ) from error


def _csv_rows(path: Path) -> Export:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise UsageError(f"{path.name}:1: no header", hint="The first line names the columns.")
        rows = []
        for cells in reader:
            where = f"{path.name}:{reader.line_num}"
            if not any(cells):
                continue
            if len(cells) > len(header):
                raise UsageError(f"{where}: more fields than the header has")
            values: dict[str, tuple[str, ...]] = {}
            for name, text in zip(header, cells, strict=False):
                values[name] = (*values.get(name, ()), text.strip())
            rows.append(Row(where, values))
    return Export(path, tuple(dict.fromkeys(header)), tuple(rows))


def _json_rows(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        whole = json.loads(text)
    except ValueError:  # lines are no document together
        whole = None
    # One line of JSON lines is an object too.
    if isinstance(whole, list):
        items = [(f"{path.name}: [{place}]", item) for place, item in enumerate(whole)]
    else:
        items = list(_json_lines(path.name, text))
    for where, item in items:
        if not isinstance(item, dict):
            raise UsageError(f"{where}: no object", hint="Each row is an object of its columns.")
        yield Row(where, {str(name): _texts(value) for name, value in item.items()})


def _json_lines(name: str, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{name}:{number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name}:{number}: cannot be read as JSON: {error}") from error


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(text for item in value for text in _texts(item))
    if isinstance(value, dict):
        return (json.dumps(value),)
    return () if value is None else (str(value).strip(),)
