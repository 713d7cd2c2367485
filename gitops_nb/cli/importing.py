"""``gitops-nb dora import``: what other tools recorded, into the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from gitops_nb.catalog.load import load_catalog, read_model
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.collecting import writing
from gitops_nb.cli.sources import default_environment
from gitops_nb.dora.importing import Done, import_files
from gitops_nb.dora.importing_rows import ImportMap, Reading
from gitops_nb.errors import ConfigurationError, UsageError
from gitops_nb.report.text import json_text, terminal
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.platform import open_platform


def import_exports(
    kind: str,
    files: Sequence[Path],
    *,
    as_json: bool,
    workspace: Path | None,
    mode: str | None,
    facts: str,
    mapping: Path | None,
) -> None:
    """Imports files of one kind and says what was read, what was left out, and what changed."""
    where = find_workspace(workspace)
    catalog = load_catalog(where.runbooks)
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    reading = Reading.of(
        _read_map(mapping),
        environments=tuple(platform.fleet.environments),
        services=tuple(platform.fleet.applications),
        default_environment=default_environment(platform.fleet),
        now_s=int(platform.view.clock.now().timestamp()),
    )
    who = platform.requester.name
    with writing(where, chosen, facts, who=who, take_over="") as store, store.exclusive():
        done = import_files(kind, files, store, reading)
    place = facts or str(store.folder)
    if as_json:
        click.echo(json_text({"mode": str(chosen), "facts": place, **asdict(done)}))
        return
    for line in _lines(done):
        click.echo(terminal(line))
    click.echo(f"{'SANDBOX ' if chosen.value == 'sandbox' else ''}facts  {place}")


def _read_map(path: Path | None) -> ImportMap:
    """The mapping; what is wrong with it is wrong with what the command was given."""
    if path is None:
        return ImportMap()
    try:
        return read_model(path, ImportMap)
    except ConfigurationError as error:
        raise UsageError(error.message, hint="Mend the mapping; nothing was written.") from error


def _lines(done: Done) -> list[str]:
    lines = [f"{rows:>7} rows read  {name}" for name, rows in done.files.items()]
    lines += [f"{rows:>7} {name}" for name, rows in done.rows.items() if rows]
    merged = done.merged
    lines.append(
        f"{merged.added:>7} added, {merged.replaced} replaced, {merged.files} files written"
    )
    lines += [
        f"{rows:>7} left out: environment {name} is none of the fleet's; say in `environments` of --map which one it is"
        for name, rows in sorted(done.environments.items())
    ]
    lines += [f"{rows:>7} left out: {reason}" for reason, rows in sorted(done.left_out.items())]
    lines += [
        f"{rows:>7} rows of {name}, which fleet.yaml does not name; they count all the same"
        for name, rows in sorted(done.strangers.items())
    ]
    return lines
