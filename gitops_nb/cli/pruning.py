"""``gitops-nb prune``."""

from __future__ import annotations

from pathlib import Path

import click

from gitops_nb.catalog.durations import parse_duration
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import UsageError
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.pruning import old_runs, prune


def prune_runs(older_than: str, *, yes: bool, workspace: Path | None, reports: Path | None) -> None:
    """Removes runs that ended longer ago than that, after a question.

    Raises:
        UsageError: The age is none, or nobody confirmed.
    """
    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="Write for example 400d.") from error
    where = find_workspace(workspace, reports=reports)
    recover(where)
    runs = old_runs(where, age)
    if not runs:
        click.echo(f"no run ended more than {older_than} ago")
        return
    click.echo(f"{len(runs)} runs, {runs[0].run} to {runs[-1].run}")
    if not yes and not click.confirm("Remove them? A signed tombstone of each stays in the ledger"):
        raise UsageError("nothing was removed")
    prune(where, runs)
    click.echo("removed; the ledger keeps who asked, what was done, and a tombstone")
