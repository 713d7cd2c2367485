"""``gitops-nb list``: standard library, click and PyYAML only, so that it answers at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Status, parse_time
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import has_answers, run_directories, scan_run, status_now
from gitops_nb.report.text import terminal

CONFIGURATION_FILES = ("fleet.yaml", "policy.yaml", "trust.yaml")


def runbook_files(folder: Path) -> list[Path]:
    """The runbooks' files, by name."""
    return sorted(path for path in folder.glob("*.yaml") if path.name not in CONFIGURATION_FILES)


def runbook_names(workspace: Path | None) -> list[str]:
    """Names of the runbooks of the workspace one stands in; empty without one (for shell completion)."""
    try:
        return [path.stem for path in runbook_files(find_workspace(workspace).runbooks)]
    except GitOpsError:
        return []


def run_names(workspace: Path | None) -> list[str]:
    """Ids of the newest runs of the workspace one stands in."""
    try:
        return [path.name for path in run_directories(find_workspace(workspace).reports)[:50]]
    except GitOpsError:
        return []


def list_runbooks(workspace: Path | None, *, as_json: bool) -> None:
    """Prints name, risk, title, owner and parameters of every runbook."""
    where = find_workspace(workspace)
    rows: list[dict[str, Any]] = []
    for path in runbook_files(where.runbooks):
        value = strict_yaml.load(path, name=f"{path.parent.name}/{path.name}").value
        value = value if isinstance(value, dict) else {}
        rows.append(
            {
                "name": path.stem,
                "risk": value.get("risk", ""),
                "title": value.get("title", ""),
                "owner": value.get("owner", ""),
                "parameters": list(value.get("parameters") or {}),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        title = terminal(str(row["title"]))
        click.echo(
            f"{row['name']:<14} {terminal(str(row['risk'])):<8} {title:<38} {terminal(str(row['owner']))}"
        )
        click.echo(
            f"{'':<14} -p {' -p '.join(terminal(p) for p in row['parameters'])}"
            if row["parameters"]
            else ""
        )


def list_runs(workspace: Path | None, reports: Path | None, *, limit: int, as_json: bool) -> None:
    """Prints the runs: those that wait or need attention first, with the next command."""
    where = find_workspace(workspace, reports=reports)
    states = [scan_run(path) for path in run_directories(where.reports)[: max(limit, 200)]]
    rows = [
        {
            "run": state.run,
            "status": str(status_now(where.reports, state)),
            "environment": state.environment,
            "mode": str(state.opened.get("mode", "")),
            "subject": str(state.opened.get("subject", "")),
            "reason": state.reason,
            "command": _next_command(where.reports, state),
        }
        for state in states
    ]
    order = {Status.WAITING: 0, Status.NEEDS_ATTENTION: 1, Status.RUNNING: 2}
    rows.sort(key=lambda row: order.get(Status(row["status"]), 3))
    rows = rows[:limit]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"no runs in {where.reports}")
        click.echo("  Start one with `gitops-nb run RUNBOOK`.")
    for row in rows:
        mark = "SANDBOX " if row["mode"] == "sandbox" else ""
        click.echo(f"{row['status']:<16} {row['run']}  {mark}{terminal(row['reason'])}")
        if row["command"]:
            click.echo(f"{'':<16} {row['command']}")


def _next_command(reports: Path, state: RunState) -> str:
    """What to do about an open run; answers are counted here, and checked when the run goes on."""
    match state.status:
        case Status.WAITING if state.request is not None:
            is_expired = datetime.now(UTC) >= parse_time(state.request["expires"])
            is_answered = has_answers(reports / state.run)
            return f"gitops-nb resume {state.run}" if is_expired or is_answered else state.command
        case Status.NEEDS_ATTENTION:
            return state.command or f"gitops-nb resume {state.run}"
    return ""
