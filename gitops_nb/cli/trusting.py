"""``gitops-nb trust origin``."""

from __future__ import annotations

from pathlib import Path

import click

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import UsageError
from gitops_nb.report.text import terminal
from gitops_nb.session.origins import pin, pinned
from gitops_nb.session.protected import default_branch, origin_url, rules_folder


def pin_origin(
    url: str | None, *, branch: str | None, workspace: Path | None, reports: Path | None
) -> None:
    """Pins a workspace's origin and protected branch in this user's home.

    Raises:
        ConfigurationError: Settings of Git send its address elsewhere.
        UsageError: The workspace has no origin, or another one than is named.
        UnavailableError: It does not answer.
    """
    where = find_workspace(workspace, reports=reports)
    processes = LocalProcesses()
    present = origin_url(where.root, processes)
    if not present:
        raise UsageError(
            f"{where.root} has no remote origin", hint="Add one with `git remote add origin URL`."
        )
    if url is not None and url != present:
        raise UsageError(
            f"origin is {present}, and you name {url}; nothing was pinned",
            hint="Find out which of the two is right.",
        )
    known = pinned(where.root)
    inside = rules_folder(where, processes)
    chosen = branch or default_branch(present, processes)
    if url is None:
        before = f", pinned now: {known.url} {known.branch}" if known else ""
        click.echo(f"origin  {terminal(present)}\nbranch  {terminal(chosen)}{terminal(before)}")
        click.echo(f"folder  {terminal(inside or '.')}")
        typed = click.prompt("Type the branch's name to trust what it says about who may approve")
        if typed != chosen:
            raise UsageError(f"{typed!r} is not {chosen}; nothing was pinned")
    path = pin(where.root, present, chosen, inside)
    click.echo(f"{terminal(present)}, branch {terminal(chosen)}, is trusted here: {path}")
