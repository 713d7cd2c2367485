"""Shows a running run from its journal: one live line per step on a terminal, plain timestamped lines in CI."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from gitops_nb.errors import RecordError
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.record.fold import RunState, StepState, fold
from gitops_nb.record.journal import Record
from gitops_nb.report.story import rules_of, rules_sentence
from gitops_nb.report.text import ci_log, terminal

POLL_S = 0.1
MARKS = {
    Status.RUNNING: ("…", "cyan"),
    Status.SUCCEEDED: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.WAITING: ("⧗", "yellow"),
    Status.REFUSED: ("⊘", "magenta"),
    Status.SKIPPED: ("-", "bright_black"),
    Status.NEEDS_ATTENTION: ("!", "red"),
    Status.CANCELLED: ("✗", "yellow"),
    Status.PENDING: (" ", "bright_black"),
}


class Progress:
    """Follows a journal in a thread while the engine runs. A context manager."""

    def __init__(self, directory: Path, *, quiet: bool) -> None:
        self._path = directory / journal.FILE
        self._quiet = quiet
        self._stop = threading.Event()
        self._seen = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._live: Any = None

    def heading(self, state: RunState) -> None:
        """Says what runs, where, and whether that is the sandbox."""
        if self._quiet:
            return
        opened = state.opened
        mark = "SANDBOX  nothing real is touched" if state.is_sandbox else "LIVE"
        click.echo(
            f"{mark}\nrun {state.run}\n{terminal(str(opened['title']))} · {terminal(str(opened['subject']))}"
            f" · {state.environment} · asked for by {terminal(str(opened['requester']['name']))}"
        )

    def __enter__(self) -> Self:
        if not self._quiet:
            self._seen = len(self._records())
            if sys.stdout.isatty():
                from rich.live import Live

                self._live = Live(refresh_per_second=8, transient=False)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _records(self) -> tuple[Record, ...]:
        try:
            return journal.read(self._path)[0]
        except RecordError:
            return ()

    def _follow(self) -> None:
        if self._live is not None:
            with self._live:
                while not self._stop.wait(POLL_S):
                    self._live.update(_table(fold(self._records())))
                self._live.update(_table(fold(self._records())))
            return
        try:
            while not self._stop.wait(POLL_S):
                self._print_new()
            self._print_new()
        except BrokenPipeError:
            return  # nobody reads any more; the run goes on

    def _print_new(self) -> None:
        records = self._records()
        for record in records[self._seen :]:
            line = _line(record)
            if line:
                click.echo(line)
        self._seen = len(records)


def _line(record: Record) -> str:
    """One plain line for a record, or the empty text."""
    at = datetime.fromisoformat(record.at).strftime("%H:%M:%SZ")
    body = record.body
    match record.kind:
        case "attempt":
            rules = _rules(body.get("policy") or {})
            return f"{at}  {'':<8} rules      {ci_log(rules)}" if rules else ""
        case "step" if body["status"] != Status.RUNNING:
            took = f"  {body['took_ms'] / 1000:.1f} s" if body.get("took_ms") else ""
            return f"{at}  {body['step']:<8} {body['status']:<10} {ci_log(body.get('sentence', ''))}{took}"
        case "target":
            return f"{at}  {'':<8} target     {ci_log(body['system'])}: {ci_log(body['address'])}"
        case "intent":
            return f"{at}  {body['step']:<8} begins     {ci_log(body['sentence'])}"
        case "done":
            found = "  (found done)" if body.get("adopted") else ""
            return f"{at}  {'':<8} done       {ci_log(body['key'])}{found}"
    return ""


def _rules(policy: Mapping[str, str]) -> str:
    """Which rules are in force; in the sandbox those that one sees."""
    return "" if policy.get("from") == "sandbox" else rules_sentence(policy)


def _table(state: RunState) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    if rules := _rules(rules_of(state)):
        table.add_row(Text(""), Text("rules"), Text(""), Text(terminal(rules), overflow="fold"))
    for target in state.targets:
        address = Text(terminal(str(target["address"])), overflow="fold")
        table.add_row(Text(""), Text("target"), Text(""), Text(f"{target['system']}: ") + address)
    for step in state.steps:
        mark, colour = MARKS[step.status]
        table.add_row(
            Text(mark, style=colour),
            Text(step.name),
            Text(str(step.status), style=colour),
            Text(terminal(_detail(state, step)), overflow="fold"),
            Text(f"{step.took_ms / 1000:.1f} s" if step.took_ms else "", style="bright_black"),
        )
    return table


def _detail(state: RunState, step: StepState) -> str:
    if step.status is Status.RUNNING:
        effects = [e for e in state.effects if e.step == step.name]
        return effects[-1].sentence if effects else ""
    return step.sentence
