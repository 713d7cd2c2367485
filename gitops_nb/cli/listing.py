"""``gitops-nb list``: standard library, click and PyYAML only, so that it answers at once."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.durations import parse_duration
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.errors import GitOpsError, UsageError
from gitops_nb.model import Status, parse_time
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import (
    has_answers,
    is_run_held,
    missing_answers,
    run_directories,
    run_ids,
    scan_run,
    status_now,
)
from gitops_nb.report.text import json_text, terminal

_LOOK_BACK = 200

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
        return run_ids(find_workspace(workspace).reports)[:50]
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
        click.echo(json_text(rows))
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


def list_runs(
    workspace: Path | None,
    reports: Path | None,
    *,
    environment: str | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Prints the runs: those that wait or need attention first, with the next command.

    Args:
        workspace: As on every command.
        reports: As on every command.
        environment: Only runs in this environment.
        since: Only runs begun since then: an age (30d) or a date (2026-11-01), midnight in the workspace's zone.
        limit: At most so many; None for all that fit.
        as_json: One JSON document.

    Raises:
        UsageError: ``since`` is neither.
    """
    where = find_workspace(workspace, reports=reports)
    if where.bucket:
        from gitops_nb.session.copies import NEWEST, fetch_runs

        fetch_runs(where, newest=None if since or environment else max(limit or 0, NEWEST))
    begin = _moment(since, where.time_zone) if since else None
    paths = [path for path in run_directories(where.reports) if _may_fit(path, environment, begin)]
    if limit is not None and environment is None:
        # Those that wait come first, however old: so far back they are looked for.
        paths = paths[: max(limit, _LOOK_BACK)]
    states = [
        state for path in paths if environment in (None, (state := scan_run(path)).environment)
    ]
    states.sort(key=lambda state: state.started, reverse=True)  # names tell the second alone
    rows: list[dict[str, Any]] = [
        {
            "run": state.run,
            "runbook": state.runbook,
            "started": state.started,
            "ended": state.ended,
            "exit_code": state.exit_code,
            "requester": str((state.opened.get("requester") or {}).get("name", "")),
            "status": str(status_now(where.reports, state)),
            "environment": state.environment,
            "mode": str(state.opened.get("mode", "")),
            "subject": str(state.opened.get("subject", "")),
            "reason": _reason(where.reports, state),
            "command": _next_command(where.reports, state),
        }
        for state in states
    ]
    _tell_unsigned(where, states, rows)
    _tell_unseen(where, states, rows)
    due = _to_review(where, states)
    for row, state in zip(rows, states, strict=True):
        if state.run in due:
            from gitops_nb.report.story import review_note

            row["reason"] = f"{row['reason']}; {review_note(state)}"
            row["command"] = row["command"] or f"gitops-nb approve {state.run}"
    order = {Status.WAITING: 0, Status.NEEDS_ATTENTION: 1, Status.RUNNING: 2}
    over = {state.run for state in states if state.is_unwatched}

    def place(row: dict[str, Any]) -> int:
        other = 3 if row["command"] else 4
        return other if row["run"] in over else order.get(Status(row["status"]), other)

    rows.sort(key=place)
    rows = rows[:limit]
    if as_json:
        click.echo(json_text(rows))
        return
    if not rows:
        fitting = " that fit" if environment or since else ""
        click.echo(f"no runs{fitting} in {where.reports}")
        click.echo("  Start one with `gitops-nb run RUNBOOK`.")
    for row in rows:
        mark = "SANDBOX " if row["mode"] == "sandbox" else ""
        click.echo(f"{row['status']:<16} {row['run']}  {mark}{terminal(row['reason'])}")
        if row["command"]:
            click.echo(f"{'':<16} {row['command']}")


def _tell_unsigned(where: Workspace, states: list[RunState], rows: list[dict[str, Any]]) -> None:
    """Says of runs whose end this machine has still to sign and send how that goes on."""
    notes = where.own / "runs"
    if not notes.is_dir() or not any(notes.iterdir()):
        return  # what reads them takes longer to load than all of this command
    from gitops_nb.session.held import is_unsigned, open_here

    noted = open_here(where)
    for state, row in zip(states, rows, strict=True):
        if is_unsigned(where.reports / state.run, noted.get(state.run, "")):
            row["reason"] += (
                "; its record is complete only on this machine, until a command can send it"
            )
            row["command"] = state.command or f"gitops-nb report {state.run}"


def _tell_unseen(where: Workspace, states: list[RunState], rows: list[dict[str, Any]]) -> None:
    """Says of runs of whose end a journal alone tells that nobody signed it: what anybody may have written is not green."""
    if not any(state.ended for state in states):
        return
    from gitops_nb.session.held import pending
    from gitops_nb.session.signed_ends import unsigned_ends

    unsigned = unsigned_ends(where, states) - set(pending(where))
    for state, row in zip(states, rows, strict=True):
        if state.run in unsigned and not is_run_held(where.reports, state.run):
            row["reason"] = f"no runner signed how it ended, its folder alone says: {row['reason']}"
            row["status"] = str(Status.NEEDS_ATTENTION)
            row["command"] = f"gitops-nb verify {state.run}"


def _may_fit(path: Path, environment: str | None, begin: datetime | None) -> bool:
    """Whether a run can be among those asked for; its id says when it began and, as one part, where."""
    if begin is not None and path.name[:16] < begin.strftime("%Y%m%dT%H%M%SZ"):
        return False
    return environment is None or f"-{environment}-" in path.name


def _moment(text: str, zone: str) -> datetime:
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        pass
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} is neither an age nor a date", hint="Write 30d, 12h or 2026-11-01."
        ) from None
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _reason(reports: Path, state: RunState) -> str:
    """Why a run stands where it stands, also where its journal could not say it any more."""
    if _was_killed(reports, state):
        step = next((one.name for one in state.steps if one.status is Status.RUNNING), "")
        return f"its process is gone{f', during {step}' if step else ''}; nobody saw how it ended"
    if state.status is Status.WAITING and state.request is not None:
        if datetime.now(UTC) >= parse_time(state.request["expires"]):
            return f"{state.reason}; its request expired at {state.request['expires']}"
        if has_answers(reports / state.run):
            missing = missing_answers(reports / state.run, state)
            if missing == int((state.decision or {}).get("approvals_needed") or 1):
                return f"{state.reason}; no answer that is there counts"
            more = f"{missing} more {'is' if missing == 1 else 'are'} needed"
            return (
                f"{state.reason}; an answer is there, and {more if missing else 'resume checks it'}"
            )
    return state.reason


def _to_review(where: Workspace, states: list[RunState]) -> set[str]:
    """Runs that ended with broken glass, and that nobody whose review counts has reviewed yet."""
    broken = [state for state in states if state.ended and state.broke_glass]
    if not broken:
        return set()
    from gitops_nb.session.glass import Glass

    glass = Glass(where)
    return {state.run for state in broken if not glass.is_reviewed(state)}


def _was_killed(reports: Path, state: RunState) -> bool:
    """Whether nothing lives that could still record how an open run ends."""
    return status_now(reports, state) is not state.status


def _next_command(reports: Path, state: RunState) -> str:
    """What to do about an open run; answers are counted here, and checked when the run goes on."""
    resume = f"gitops-nb resume {state.run}"
    if _was_killed(reports, state):
        return resume
    match state.status:
        case Status.WAITING if state.request is not None:
            is_expired = datetime.now(UTC) >= parse_time(state.request["expires"])
            is_answered = not missing_answers(reports / state.run, state)
            return resume if is_expired or is_answered else state.command
        case Status.NEEDS_ATTENTION:
            return state.command or ("" if state.is_unwatched else resume)
        case Status.FAILED | Status.CANCELLED if not state.witnessed:
            return resume
    return ""
