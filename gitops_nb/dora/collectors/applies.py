"""OpenTofu: applies of units as deployments, from the logs that ``tofu apply -json`` writes.

A folder holds ``ENVIRONMENT/UNIT/REVISION.jsonl``; a unit may have several parts, as its path in a live repository
has. What Terragrunt writes around OpenTofu's own lines is passed over.

Source: OpenTofu, "Machine-Readable UI", format 1.2: ``version``, ``change_summary``, ``diagnostic``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gitops_nb.dora import fact_tables, facts
from gitops_nb.dora.collect import refuse, time_problem
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.schemas import check
from gitops_nb.dora.store import FactStore
from gitops_nb.model import parse_time

SOURCE = "opentofu"
MAX_FILE_BYTES = 64 << 20


def collect_applies(
    folder: Path, store: FactStore, *, environments: Sequence[str], now_s: int
) -> Collected:
    """Reads the logs of a folder into the store; one that was read before changes nothing.

    Raises:
        UsageError: A log cannot be right, each named with file and line; nothing was written.
    """
    rows = read_applies(folder, environments=environments, now_s=now_s)
    return Collected(f"opentofu {folder.name}", "", len(rows), store.merge("deployment", rows))


def read_applies(folder: Path, *, environments: Sequence[str], now_s: int) -> pd.DataFrame:
    """The applies of a folder as the table of deployments; plans and logs without an end are none.

    Raises:
        UsageError: As ``collect_applies``.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for path in sorted(folder.rglob("*.jsonl")):
        environment, *unit = path.relative_to(folder).parent.parts or ("",)
        where = path.relative_to(folder).as_posix()
        if environment not in environments:
            problems.append(f"{where}: unknown environment {environment!r}")
        elif not unit:
            problems.append(f"{where}: no unit; logs lie in ENVIRONMENT/UNIT/REVISION.jsonl")
        else:
            row, problem = _apply(path, where, now_s=now_s)
            if problem:
                problems.append(problem)
            elif row:
                rows.append({**row, "service": "/".join(unit), "environment": environment})
    refuse(problems)
    return check("deployment", _judge(fact_tables.frame(fact_tables.DEPLOYMENT, rows)))


def _apply(path: Path, where: str, *, now_s: int) -> tuple[dict[str, Any], str]:
    """One log as a row, {} when it is no apply that ended; and what is wrong with it."""
    if path.stat().st_size > MAX_FILE_BYTES:
        return {}, f"{where}: larger than {MAX_FILE_BYTES >> 20} MiB"
    times: list[int] = []
    changes: Mapping[str, Any] | None = None
    began = failed = False
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        if not line.lstrip().startswith("{"):
            continue
        try:
            message = json.loads(line)
            at_s = int(parse_time(message["@timestamp"]).timestamp())
        except (ValueError, KeyError, TypeError) as error:
            return {}, f"{where}:{number}: no message of OpenTofu: {error!r}"
        if problem := time_problem(at_s, now_s):
            return {}, f"{where}:{number}: @timestamp: {problem}"
        times.append(at_s)
        kind = message.get("type")
        began = began or kind in ("apply_start", "apply_errored")
        failed = failed or (kind == "diagnostic" and message.get("@level") == "error")
        if kind == "change_summary" and message["changes"].get("operation") in ("apply", "destroy"):
            changes = message["changes"]
    if changes is None and not (began and failed):
        return {}, ""
    counted = sum(
        int((changes or {}).get(name, 0)) for name in ("add", "change", "remove", "import")
    )
    return {
        "deployment_id": f"tofu:{facts.sha256(path)[:16]}",
        "version": path.stem,
        "revision": path.stem,
        "started_s": min(times),
        "finished_s": max(times),
        "outcome": "failed" if changes is None or failed else "succeeded",
        "trigger": "promotion" if counted or changes is None else "resync",
        "source": SOURCE,
    }, ""


def _judge(table: pd.DataFrame) -> pd.DataFrame:
    """Rollbacks: an apply of a revision that was applied before, and not last."""
    ordered = table.sort_values(["service", "environment", "finished_s", "deployment_id"])
    triggers: list[str] = []
    seen: dict[tuple[str, str], list[str]] = {}
    for row in ordered.itertuples(index=False):
        line = seen.setdefault((str(row.service), str(row.environment)), [])
        trigger = str(row.trigger)
        if row.outcome == "succeeded" and trigger == "promotion":
            if line and row.revision in line[:-1] and row.revision != line[-1]:
                trigger = "rollback"
            line.append(str(row.revision))
        triggers.append(trigger)
    return ordered.assign(trigger=triggers).astype(dict(fact_tables.DEPLOYMENT))
