"""The tables beside the report: services and the ledger of exclusions, as Parquet and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gitops_nb.dora import facts
from gitops_nb.dora.facts import FOLDER, Exclusion, Facts
from gitops_nb.dora.history import History
from gitops_nb.dora.metrics import Scope
from gitops_nb.dora.results import Excluded, Service
from gitops_nb.dora.statistics import Estimate

_FORMULA = ("=", "+", "-", "@", "|")


def ledger(collected: Facts, history: History, scope: Scope) -> pd.DataFrame:
    """Every row of the window that does not count somewhere, with its one reason, for the target."""
    rows = [
        Exclusion(
            reason=row.lead_missing,
            left_out_of="change lead time",
            service=row.service,
            environment=scope.environment,
            version=row.version,
            sha=row.sha,
            finished_s=row.finished_s,
        )
        for deployments in history.deployments.values()
        for row in deployments
        if row.lead_missing and scope.window.holds(row.finished_s)
    ]
    rows += [e for e in history.unlinked if scope.window.holds(e.finished_s)]
    mine = collected.exclusions
    in_window = (mine["finished_s"] >= scope.window.start_s) & (
        mine["finished_s"] < scope.window.end_s
    )
    # Rows that no environment claims are listed in every report: they might belong to this one.
    here = (mine["environment"] == scope.environment) | (mine["left_out_of"] == "everything")
    more = facts.exclusion_frame(rows)
    return pd.concat([mine[in_window & here], more], ignore_index=True)


def summary(ledger_rows: pd.DataFrame) -> tuple[Excluded, ...]:
    """The ledger counted by reason, most rows first, with the services that have the most of them."""
    found = []
    for (reason, left_out_of), rows in ledger_rows.groupby(["reason", "left_out_of"]):
        top = Counter(rows["service"]).most_common()
        where = [f"{name} {count}" for name, count in top[:3]]
        if len(top) > 3:
            where.append(f"{len(top) - 3} more services {sum(c for _, c in top[3:])}")
        found.append(Excluded(str(reason), str(left_out_of), len(rows), ", ".join(where)))
    return tuple(sorted(found, key=lambda item: (-item.rows, item.reason)))


def count_seen(collected: Facts, scope: Scope) -> int:
    """Events of the target environment in the window, of every kind."""
    events = collected.events
    seen = (
        (events["environment"] == scope.environment)
        & (events["finished_s"] >= scope.window.start_s)
        & (events["finished_s"] < scope.window.end_s)
    )
    return int(seen.sum())


def write(services: tuple[Service, ...], rows: pd.DataFrame, directory: Path) -> dict[str, str]:
    """Writes services and ledger as Parquet and CSV; returns SHA-256 by path below ``directory``."""
    folder = directory / FOLDER
    table = _service_frame(services)
    return {
        (FOLDER / f"{name}{suffix}").as_posix(): digest
        for name, frame in (("services", table), ("excluded", rows))
        for suffix, digest in (
            (".parquet", facts.write_table(frame, folder / f"{name}.parquet")),
            (".csv", write_csv(frame, folder / f"{name}.csv")),
        )
    }


def read_services(directory: Path) -> tuple[Service, ...]:
    """Reads what ``write`` wrote about services, in the same order."""
    return tuple(
        Service(
            name=row["service"],
            deployments=int(row["deployments"]),
            before=int(row["deployments_before"]),
            per_week=_maybe(row["per_week"]),
            lead=_estimate(row, "lead_s"),
            failed=int(row["failed"]),
            fail_rate=_estimate(row, "fail_ratio"),
            rollbacks=int(row["rollbacks"]),
            recovery=_estimate(row, "recovery_s"),
            still_open=int(row["still_open"]),
            last_s=int(row["last_s"]),
            weeks=tuple(int(count) for count in row["weeks"].split()),
        )
        for row in facts.read_table(directory, "services").to_dict("records")
    )


def _service_frame(services: tuple[Service, ...]) -> pd.DataFrame:
    rows = []
    for service in services:
        row: dict[str, object] = {
            "service": service.name,
            "deployments": service.deployments,
            "deployments_before": service.before,
            "per_week": service.per_week,
            "failed": service.failed,
            "rollbacks": service.rollbacks,
            "still_open": service.still_open,
            "last_s": service.last_s,
            "weeks": " ".join(map(str, service.weeks)),
        }
        for name, estimate in (
            ("lead_s", service.lead),
            ("fail_ratio", service.fail_rate),
            ("recovery_s", service.recovery),
        ):
            parts = (estimate.value, estimate.low, estimate.high, estimate.n)
            row |= dict(zip((f"{name}_{key}" for key in _PARTS), parts, strict=True))
        rows.append(row)
    frame = pd.DataFrame(rows or None, columns=_COLUMNS)
    types = {
        name: "str" if name in _TEXT else "int64" if name in _COUNTS else "float64"
        for name in _COLUMNS
    }
    return frame.astype(types)


_PARTS = ("value", "low", "high", "n")
_TEXT = ("service", "weeks")
_COUNTS = (
    "deployments",
    "deployments_before",
    "failed",
    "rollbacks",
    "still_open",
    "last_s",
    "lead_s_n",
    "fail_ratio_n",
    "recovery_s_n",
)
_COLUMNS = [
    "service",
    "deployments",
    "deployments_before",
    "per_week",
    *(f"lead_s_{key}" for key in _PARTS),
    "failed",
    *(f"fail_ratio_{key}" for key in _PARTS),
    "rollbacks",
    *(f"recovery_s_{key}" for key in _PARTS),
    "still_open",
    "last_s",
    "weeks",
]


def _estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    value, low, high = (_maybe(row[f"{name}_{part}"]) for part in _PARTS[:3])
    return Estimate.of(value, low, high, n=int(row[f"{name}_n"]))


def _maybe(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _cell(text: str) -> str:
    # The writer does not quote a lone carriage return, and a reader ends the row there.
    shown = text.replace("\r", "\\r")
    return f"'{shown}" if shown.lstrip(" \n\t").startswith(_FORMULA) or shown[:1] == "\t" else shown


def write_csv(frame: pd.DataFrame, path: Path) -> str:
    """CSV that no spreadsheet runs: text that begins like a formula gets an apostrophe."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = [_cell(text) for text in safe[name]]
    part = path.with_suffix(".part")
    safe.to_csv(part, index=False)
    digest = facts.sha256(part)
    part.replace(path)
    return digest
