"""Options that every command has, and what the shell completes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def complete_runbooks(_context: Any, _parameter: Any, begun: str) -> list[str]:
    """Names of runbooks for the shell."""
    from gitops_nb.cli.listing import runbook_names

    return [
        name for name in runbook_names(_context.params.get("workspace")) if name.startswith(begun)
    ]


def complete_runs(_context: Any, _parameter: Any, begun: str) -> list[str]:
    """Ids of runs for the shell."""
    from gitops_nb.cli.listing import run_names

    return [
        name
        for name in ["last", *run_names(_context.params.get("workspace"))]
        if name.startswith(begun)
    ]


def given_reason(_context: Any, _parameter: Any, text: str) -> str:
    """A reason of ``--reason``, without blanks around it; one that says nothing is none."""
    if not text.strip():
        raise click.BadParameter("a reason is kept in the record, and this one says nothing")
    return text.strip()


def common(command: Any) -> Any:
    """Decorator: adds ``--workspace`` and ``--reports``."""
    command = click.option(
        "--reports",
        type=click.Path(path_type=Path),
        help="Folder of the run records, or gs://BUCKET/PREFIX, instead of the workspace's.",
    )(command)
    return click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        help="Folder with gitops-nb.yaml; by default the nearest one upwards.",
    )(command)
