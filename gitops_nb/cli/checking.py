"""``gitops-nb verify`` and ``report``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.show import show_end
from gitops_nb.errors import ExitCode, UsageError
from gitops_nb.record.runs import find_run, read_run, run_directories
from gitops_nb.record.verify import verify_run
from gitops_nb.report.text import terminal


def verify_runs(
    name: str | None, *, as_json: bool, workspace: Path | None, reports: Path | None
) -> int:
    """Checks one run, or all of them; returns 0 when every record holds, else 1."""
    where = find_workspace(workspace, reports=reports)
    directories = [find_run(where.reports, name)] if name else run_directories(where.reports)
    if not directories:
        raise UsageError(
            f"no runs in {where.reports}", hint="Start one with `gitops-nb run RUNBOOK`."
        )
    checked = [verify_run(directory) for directory in directories]
    if as_json:
        click.echo(json.dumps([asdict(result) for result in checked], indent=2))
    else:
        for result in checked:
            word, colour = ("holds", "green") if not result.problems else ("MISMATCH", "red")
            click.secho(f"{word:<9}", fg=colour, nl=False)
            click.echo(f" {result.run}  {result.records} records, {result.files} files")
            for text in (*result.problems, *result.notes):
                click.echo(f"          {terminal(text)}")
    return ExitCode.FAILED if any(result.problems for result in checked) else ExitCode.SUCCEEDED


def show_report(name: str, *, workspace: Path | None, reports: Path | None) -> None:
    """Prints the path of report.html; on a terminal also what the run says."""
    from gitops_nb.session.lifecycle import recover

    where = find_workspace(workspace, reports=reports)
    recover(where)
    directory = find_run(where.reports, name)
    path = directory / "report.html"
    if not path.is_file():
        raise UsageError(
            f"{directory.name} has no report yet", hint="It is written when the run ends or waits."
        )
    if sys.stdout.isatty():
        show_end(read_run(directory), directory, plan_only=False)
    else:
        click.echo(path)
