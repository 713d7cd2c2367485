"""``gitops-nb run RUNBOOK --matrix``: one run for each set of parameters in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from gitops_nb import engine
from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import merge
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.progress import MARKS
from gitops_nb.cli.running import beginning, begun_run, exit_code, order_of
from gitops_nb.engine.forks import Place, preload, run_each
from gitops_nb.errors import ConfigurationError, ExitCode, GitOpsError, UsageError
from gitops_nb.model import Risk, Status, to_json
from gitops_nb.report.text import ci_log, json_text, terminal
from gitops_nb.session.endings import STATUS_OF
from gitops_nb.session.lifecycle import recover, runbook_of

WORST_FIRST = (
    ExitCode.NEEDS_ATTENTION,
    ExitCode.INTERNAL,
    ExitCode.CANNOT_RECORD,
    ExitCode.FAILED,
    ExitCode.UNAVAILABLE,
    ExitCode.CONFIGURATION,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.TERMINATED,
    ExitCode.INTERRUPTED,
    ExitCode.WAITING,
    ExitCode.SUCCEEDED,
)
"""The exit code of a matrix is that of its worst run, in this order."""
SHOWN_EVERY_S = 5.0
"""How old the index of all runs may be while a matrix runs."""


def run_matrix(
    name: str,
    *,
    matrix: Path,
    typed: Mapping[str, Any],
    texts: Mapping[str, str],
    workers: int,
    mode: str | None,
    plan_only: bool,
    again: bool,
    break_glass: str,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
) -> int:
    """Checks every set before anything starts, runs all of them, prints a table; returns the worst exit code.

    Raises:
        UsageError: A set is wrong or there twice; nothing was run.
    """
    where = find_workspace(workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    runbook = runbook_of(catalog, name)
    sets = _read(matrix)
    checked: list[dict[str, Any]] = []

    def read(one: Mapping[str, Any]) -> None:
        checked.append({})  # a set that is wrong keeps its number
        parameters = merge(runbook, catalog.fleet, {**typed, **one}, texts)
        if parameters in checked:
            raise UsageError(f"the same as set {checked.index(parameters) + 1}")
        if runbook.risk is not Risk.READ and not plan_only:
            _refuse_contradicting(parameters, checked[:-1])
        checked[-1] = parameters

    _each(sets, read, file=matrix.name)
    recover(where)
    begins = beginning(where, catalog, mode)
    _each(checked, partial(begins.check, runbook), file=matrix.name)
    preload(name, begins.mode)
    asks = [begins.needs_approval(runbook, parameters) for parameters in checked]

    def work(number: int, place: Place) -> str:
        try:
            with begun_run(
                where, runbook, checked[number], begins, plan_only=plan_only
            ) as directory:
                order = order_of(
                    where,
                    runbook,
                    directory,
                    again=again,
                    break_glass=break_glass,
                    shows_index=False,
                )
                state = engine.execute(
                    where,
                    directory,
                    order,
                    signals=place.signals,
                    waiting=place.kernel,
                    executor=place.executor if asks[number] else None,
                    executed=place.leave,
                )
        except engine.Unrecorded as error:
            known = error.state
            return _line(number, run=known.run, status=known.status, exit_code=error.exit_code,
                         reason=f"{known.reason}; {error.message}", command=known.command)  # fmt: skip
        except GitOpsError as error:
            return _line(number, status=str(STATUS_OF.get(error.exit_code, Status.FAILED)),
                         exit_code=error.exit_code, reason=error.message)  # fmt: skip
        return _line(number, run=state.run, status=state.status, exit_code=exit_code(state),
                     reason=state.reason, command=state.command)  # fmt: skip

    lines: dict[int, dict[str, Any]] = {}
    shown_s = time.monotonic()
    with engine.Signals() as signals:
        forks = run_each(len(checked), work, workers=workers, signals=signals, executes=any(asks))
        for number, text in forks:
            died = _line(number, status="failed", exit_code=70, reason="its process was killed")
            lines[number] = json.loads(text or died)
            if not as_json:
                _show(lines[number], len(checked))
            if time.monotonic() - shown_s >= SHOWN_EVERY_S:
                _write_index(where)
                shown_s = time.monotonic()
        stopped = signals.received
    _write_index(where)
    for number in range(len(checked)):
        if number not in lines:
            code = stopped.code if stopped else ExitCode.INTERNAL
            lines[number] = json.loads(
                _line(number, status="cancelled", exit_code=code, reason="it was not begun")
            )
    ordered = [lines[number] | {"parameters": to_json(checked[number])} for number in sorted(lines)]
    if as_json:
        click.echo(json_text(ordered))
    else:
        _table(ordered)
    return worst(line["exit_code"] for line in ordered)


def _refuse_contradicting(one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    for number, other in enumerate(others, start=1):
        if other and _contradict(one, other):
            raise UsageError(
                f"another version for the same place as set {number}: which came last would be chance",
                hint="Run them one after the other.",
            )


def _contradict(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets bring different things to one place."""
    place, what = ("application", "target", "cluster"), ("source", "revision")

    def same(names: Sequence[str]) -> bool:
        return all(one.get(name) == other.get(name) for name in names)

    return same(place) and not same(what)


def _each(
    sets: Sequence[Mapping[str, Any]], check: Callable[[Mapping[str, Any]], object], *, file: str
) -> None:
    """Checks every set and tells of all that are wrong."""
    problems: list[str] = []
    for number, one in enumerate(sets, start=1):
        try:
            check(one)
        except UsageError as error:
            problems += [f"set {number}: {line}" for line in error.message.splitlines()]
    if problems:
        raise UsageError("\n".join(problems), hint=f"Mend {file}; nothing was run.")


def worst(codes: Any) -> int:
    """The exit code that matters most.

    >>> worst([0, 2, 3, 0])
    3
    """
    return min(codes, key=lambda code: WORST_FIRST.index(ExitCode(code)), default=0)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        value = strict_yaml.load(path, name=path.name).value
    except ConfigurationError as error:
        raise UsageError(error.message, hint="Mend the file given with --matrix.") from error
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        raise UsageError(
            f"{path.name} is not a list of parameter sets",
            hint="Write one `- name: value, ...` mapping for each run.",
        )
    return value


def _line(number: int, **values: Any) -> str:
    return json.dumps({"set": number + 1, "run": "", "command": "", **to_json(values)})


def _show(line: Mapping[str, Any], count: int) -> None:
    at = f"{datetime.now(UTC):%H:%M:%SZ}"
    click.echo(f"{at}  {line['set']:>3}/{count}  {line['status']:<10} {line['run']}  {ci_log(line['reason'])}")  # fmt: skip


def _table(lines: list[dict[str, Any]]) -> None:
    """What differs between the sets, and how each of them ended."""
    varied = [
        name
        for name in lines[0]["parameters"]
        if len({json.dumps(line["parameters"][name]) for line in lines}) > 1
    ]
    rows = [("", "set", *varied, "status", "code", "run")]
    for line in lines:
        mark, _ = MARKS[Status(line["status"])]
        values = [terminal(str(line["parameters"][name])) for name in varied]
        status = str(line["status"]).replace("_", " ")
        rows.append((mark, str(line["set"]), *values, status, str(line["exit_code"]), line["run"]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    click.echo("")
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _write_index(where: Workspace) -> None:
    """For all runs that have ended: a page of many rows for each of many runs would be much of their work."""
    from gitops_nb.report.files import write_index

    if where.reports.is_dir():
        write_index(
            where.reports, now=datetime.now(UTC), zone=where.time_zone, cache=where.index_cache
        )
