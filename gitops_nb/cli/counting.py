"""How far a command is that does one thing after another: a bar on a terminal, plain timestamped lines in CI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import click

from gitops_nb.report.text import ci_log, terminal


class Shown(Protocol):
    """What is told of each thing."""

    def begins(self, name: str) -> None:
        """It begins."""

    def ended(self, name: str, result: str) -> None:
        """It has ended, with what came of it."""


class _Quiet:
    def begins(self, name: str) -> None:
        """Says nothing."""

    def ended(self, name: str, result: str) -> None:
        """Says nothing."""


class _Lines:
    """One line when a thing begins and one when it has ended, with the time in UTC."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    def begins(self, name: str) -> None:
        """Numbers it."""
        self._number += 1
        self._say(f"{name}: begins")

    def ended(self, name: str, result: str) -> None:
        """Says what came of it."""
        self._say(f"{name}: {result}")

    def _say(self, text: str) -> None:
        now = datetime.now(UTC).strftime("%H:%M:%SZ")
        click.echo(f"{now}  {self._number}/{self._total}  {ci_log(text)}", err=True)


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Shown]:
    """Shows how far it is, on stderr."""
    if quiet:
        yield _Quiet()
        return
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        class _Bar:
            def begins(self, name: str) -> None:
                bar.update(task, description=terminal(name))

            def ended(self, name: str, result: str) -> None:
                bar.update(task, description=terminal(f"{name}: {result}"), advance=1)

        yield _Bar()
