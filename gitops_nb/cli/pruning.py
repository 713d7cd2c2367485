"""``gitops-nb prune``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from gitops_nb.catalog.durations import parse_duration
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.errors import UsageError
from gitops_nb.session.allowances import rules_now
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.pruning import old_runs, prune


def prune_runs(
    older_than: str | None, *, yes: bool, workspace: Path | None, reports: Path | None
) -> None:
    """Removes runs that ended longer ago than that, or than their environment's retention, after a question; names each, and each that stays.

    Raises:
        UsageError: The age is none, or nobody confirmed.
        ConfigurationError: fleet.yaml, which says the retention, is wrong.
        UnavailableError: In live mode the protected branch says it, and origin does not answer.
    """
    where = find_workspace(workspace, reports=reports)
    kept = _kept(where, older_than)
    recover(where)
    found = old_runs(where, kept)
    runs = found.removable
    for state, reason in found.unsettled:
        click.echo(f"kept     {state.run}  {reason}")
    if not runs:
        more = " and settled" if found.unsettled else ""
        click.echo(f"no run is older than {older_than or 'the retention of its environment'}{more}")
        return
    for state in runs:
        click.echo(f"remove   {state.run}  {str(state.status).replace('_', ' ')}")
    click.echo(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} to remove")
    if not yes and not click.confirm("Remove them? A signed tombstone of each stays in the ledger"):
        raise UsageError("nothing was removed")
    prune(where, runs)
    click.echo("removed; the ledger keeps who asked, what was done, and a tombstone")


def _kept(where: Workspace, older_than: str | None) -> Callable[[str], timedelta | None]:
    if older_than is None:
        environments = rules_now(where).fleet.environments
        return lambda name: environments[name].retention if name in environments else None
    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="Write for example 400d.") from error
    return lambda _: age
