"""The tables beside the report: services and the ledger of exclusions, as Parquet and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gitops_nb.dora import expressions, facts, judging, leading, numbers
from gitops_nb.dora.definition import HOUR_S
from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import EVERYTHING, EXCLUSION, complete, frame
from gitops_nb.dora.facts import FOLDER
from gitops_nb.dora.results import Excluded, Service
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

_FORMULA = ("=", "+", "-", "@", "|")


_KINDS = {
    "resync": "same version again (resync)",
    "seed": "there when the history begins (seed)",
    "removal": "service removed from the environment",
    "heal": "repair of drift by Argo CD",
}


def ledger(engine: Engine, question: Question, window: Window) -> pd.DataFrame:
    """Every row of the window that does not count somewhere, with its one reason, for the target."""
    kinds = engine.frame(numbers.not_counted(question, window)).rename(columns={"revision": "sha"})
    parts = [
        _collected(engine, question, window),
        kinds.assign(reason=kinds["kind"].map(_KINDS), left_out_of="deployments"),
        _without_lead(engine, question, window),
        _unlinked(engine, question, window),
    ]
    filled = [complete(EXCLUSION, part) for part in parts if len(part)]
    if not filled:
        return frame(EXCLUSION, ())
    rows = pd.concat(filled, ignore_index=True)
    return rows.sort_values(list(EXCLUSION), ignore_index=True)


def _collected(engine: Engine, question: Question, window: Window) -> pd.DataFrame:
    """What the collectors left out. Rows that no environment claims might belong to this one."""
    rows = expressions.inside(expressions.unbound()["exclusion"], window)
    mine = rows.environment == question.environment
    if leading.is_by_version(question):
        mine &= rows.left_out_of != numbers.LEAD_TIME
    return engine.frame(rows.filter(mine | (rows.left_out_of == EVERYTHING)))


def _without_lead(engine: Engine, question: Question, window: Window) -> pd.DataFrame:
    if not leading.is_by_version(question):
        rows = expressions.inside(leading.without_commits(question), window)
        found = engine.frame(rows).rename(columns={"revision": "sha"})
        return found.assign(
            reason=leading.NO_REPOSITORY,
            left_out_of=numbers.LEAD_TIME,
            environment=question.environment,
        )
    if not question.first_environments:
        return frame(EXCLUSION, ())
    rows = expressions.inside(leading.version_leads(question), window)
    found = engine.frame(rows.filter(rows.reason > 0)).rename(columns={"revision": "sha"})
    reasons = [leading.reason_texts(question)[reason] for reason in found["reason"]]
    return found.assign(
        reason=reasons, left_out_of=numbers.LEAD_TIME, environment=question.environment
    )


def _unlinked(engine: Engine, question: Question, window: Window) -> pd.DataFrame:
    rows = expressions.inside(judging.unlinked_incidents(question), window)
    found = engine.frame(rows).rename(columns={"incident_id": "detail"})
    hours = question.definition.attribution_window_s // HOUR_S
    reasons = []
    for environment, known in zip(found["environment"], found["known"], strict=True):
        if environment != question.environment:
            reasons.append(f"incident outside {question.environment}")
        elif not known:
            reasons.append("incident of a service without deployments")
        else:
            reasons.append(f"incident with no deployment of its service in the {hours} h before")
    return found.assign(reason=reasons, left_out_of="change fail rate, recovery time")


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


def deployments(
    engine: Engine, question: Question, window: Window, *, has_leads: bool
) -> pd.DataFrame:
    """Every deployment of a window, newest first, with what became of it and its changes: what a reader drills down to.

    Returns:
        Columns: finished_s, service, version, revision, failed_by, recovery_s, is_open, rework_by, changes, lead_s (the
        median of its changes); empty where unknown.
    """
    rows = expressions.inside(judging.judged(question), window)
    found = engine.frame(rows.drop("position", "is_rollback", "is_comparable", "rolled_back"))
    found = found.assign(changes=0, lead_s=float("nan"))
    if has_leads:
        by_id = expressions.quantiles(
            expressions.inside(leading.leads(question), window),
            "lead_s",
            ("deployment_id",),
            is_native=question.is_native,
        )
        known = engine.frame(by_id).set_index("deployment_id")
        known = known.reindex(found["deployment_id"]).reset_index(drop=True)
        found["changes"] = known["n"].fillna(0)
        found["lead_s"] = (known["q2_x4"] / 4).round()
    types = {
        "finished_s": "int64",
        **dict.fromkeys(("service", "version", "revision", "failed_by"), "str"),
        "recovery_s": "Int64",
        "is_open": "int64",
        "rework_by": "str",
        "changes": "int64",
        "lead_s": "Int64",
    }
    ordered = found.sort_values(["finished_s", "service", "deployment_id"], ascending=False)
    return ordered[list(types)].astype(types).reset_index(drop=True)


def write(
    services: tuple[Service, ...], deployed: pd.DataFrame, rows: pd.DataFrame, directory: Path
) -> dict[str, str]:
    """Writes services, deployments and ledger as Parquet and CSV; returns SHA-256 by path below ``directory``."""
    folder = directory / FOLDER
    table = _service_frame(services)
    return {
        (FOLDER / f"{name}{suffix}").as_posix(): digest
        for name, frame in (("services", table), ("deployments", deployed), ("excluded", rows))
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


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula, on one row of a CSV."""
    # The writer does not quote a lone carriage return, and a reader ends the row there.
    shown = text.replace("\r", "\\r")
    return f"'{shown}" if shown.lstrip(" \n\t").startswith(_FORMULA) or shown[:1] == "\t" else shown


def write_csv(frame: pd.DataFrame, path: Path) -> str:
    """CSV that no spreadsheet runs: text that begins like a formula gets an apostrophe."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = [safe_cell(text) for text in safe[name]]
    part = path.with_suffix(".part")
    safe.to_csv(part, index=False)
    digest = facts.sha256(part)
    part.replace(path)
    return digest
