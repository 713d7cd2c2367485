"""``gitops-nb verify`` and ``report``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.choosing import to_report
from gitops_nb.cli.show import show_end
from gitops_nb.errors import ExitCode, RecordError, UsageError
from gitops_nb.record.findings import Finding
from gitops_nb.record.runs import find_run, read_run, run_directories
from gitops_nb.record.verify import Recheck
from gitops_nb.report.text import json_text, terminal, terminal_lines

INDEX = "index.html"
RECHECK_S = 60.0
"""How long GitHub is asked about one review."""


def verify_runs(
    name: str | None,
    *,
    as_json: bool,
    full: bool,
    online: bool,
    workspace: Path | None,
    reports: Path | None,
) -> int:
    """Checks the ledgers, and one run or all of them; returns 0 when every record holds, else 1.

    Args:
        name: Of the run; None is all of them.
        as_json: One JSON document.
        full: Read ledgers from their first record on, not from the newest checkpoint; so does a run of an earlier year.
        online: Ask GitHub again about reviews that counted.
        workspace: Where to look, if not upwards from here.
        reports: Where its records are, if not where the workspace says.
    """
    from gitops_nb.record.audit import audit, audit_since_checkpoint
    from gitops_nb.session.copies import NEWEST, fetch_runs
    from gitops_nb.session.verifying import verify_records

    where = find_workspace(workspace, reports=reports)
    fetch_runs(where, newest=NEWEST if name else None)
    directories = [find_run(where.reports, name)] if name else run_directories(where.reports)
    this_year = f"{datetime.now(UTC):%Y}"
    reads_all = full or (name is not None and directories[0].name[:4] < this_year)
    checked = verify_records(
        where,
        directories,
        read=audit if reads_all else audit_since_checkpoint,
        recheck=_recheck if online else None,
    )
    if name is None:
        try:
            _rebuild_index(where)
        except (RecordError, OSError) as error:
            click.echo(f"the index is not rebuilt: {terminal_lines(str(error))}", err=True)
    if not directories and not checked.ledgers and not checked.folder:
        raise UsageError(
            f"no runs in {where.reports}", hint="Start one with `gitops-nb run RUNBOOK`."
        )
    if as_json:
        click.echo(json_text(asdict(checked)))
    else:
        if checked.folder:
            _show(checked.folder, f"reports  {where.reports}", ())
        for ledger in checked.ledgers:
            counted = f"ledger {ledger.name}  {ledger.records} records"
            _show(ledger.problems, counted, ledger.notes, ledger.unchecked)
        for run in checked.runs:
            counted = f"{run.run}  {run.records} records, {run.files} files"
            _show(run.problems, counted, run.notes, run.unchecked)
    if checked.is_wrong:
        return ExitCode.FAILED
    return ExitCode.SUCCEEDED if checked.holds else ExitCode.UNAVAILABLE


def _rebuild_index(where: Workspace) -> None:
    """Everything was read: the index says what the journals say, whatever somebody made of its cache."""
    from gitops_nb.report.files import write_index
    from gitops_nb.report.index_entries import forget

    if where.bucket or not where.reports.is_dir() or not (where.reports / INDEX).exists():
        return
    forget(where.index_cache)
    write_index(where.reports, now=datetime.now(UTC), zone=where.time_zone, cache=where.index_cache)


def _recheck(ci_api: str) -> Recheck:
    """Asks the Git host that policy names again about reviews that counted."""
    from gitops_nb.session.github import github_api
    from gitops_nb.session.reviews import recheck

    return partial(recheck, github_api(ci_api, deadline_s=RECHECK_S))


def _show(
    problems: Sequence[Finding], what: str, notes: Sequence[str], unchecked: Sequence[str] = ()
) -> None:
    word, colour = ("MISMATCH", "red") if problems else ("holds", "green")
    if unchecked and not problems:
        word, colour = "unchecked", "yellow"
    click.secho(f"{word:<9}", fg=colour, nl=False)
    click.echo(f" {what}")
    for text in (*problems, *(f"not checked: {one}" for one in unchecked), *notes):
        click.echo(f"          {terminal(str(text))}")


def show_report(name: str, *, workspace: Path | None, reports: Path | None) -> None:
    """Prints the path of report.html; on a terminal also what the run says."""
    from gitops_nb.session.lifecycle import recover

    where = find_workspace(workspace, reports=reports)
    recover(where)
    directory = find_run(where.reports, name, to_report(where), wanted="has a report")
    path = directory / "report.html"
    if not path.is_file():
        raise UsageError(
            f"{directory.name} has no report yet", hint="It is written when the run ends or waits."
        )
    if sys.stdout.isatty():
        show_end(read_run(directory), directory, plan_only=False)
    else:
        click.echo(path)
