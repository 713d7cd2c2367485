"""``gitops-nb run RUNBOOK --matrix``: one run for each set of parameters in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from gitops_nb import engine
from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import merge
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.progress import MARKS
from gitops_nb.cli.running import Beginning, beginning, begun_run, exit_code, order_of
from gitops_nb.cli.together import edited_by, refuse_contradicting, refuse_waiting, rounds_of
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
            refuse_contradicting(parameters, checked[:-1])
        checked[-1] = parameters

    _each(sets, read, file=matrix.name)
    recover(where)
    begins = beginning(where, catalog, mode)
    _each(checked, partial(begins.check, runbook), file=matrix.name)
    asks = [begins.needs_approval(runbook, parameters) for parameters in checked]
    waits = [one and not break_glass for one in asks]
    rounds = _rounds(where, begins, runbook, checked, waits, plan_only=plan_only, file=matrix.name)
    if len(rounds) > 1 and not as_json:
        later = [str(number + 1) for one in rounds[1:] for number in one]
        one_or_more = "set" if len(later) == 1 else "sets"
        click.echo(f"after others that edit the same file: {one_or_more} {', '.join(later)}")
    preload(name, begins.mode)

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

    with engine.Signals() as signals:
        ended = _in_rounds(rounds, work, workers=workers, signals=signals, executes=any(asks))
        lines = _collect(where, ended, len(checked), is_quiet=as_json)
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


def _collect(
    where: Workspace, ended: Iterator[tuple[int, str]], count: int, *, is_quiet: bool
) -> dict[int, dict[str, Any]]:
    """How each set ended, by its number; shown as it comes, with the index of all runs every few seconds."""
    lines: dict[int, dict[str, Any]] = {}
    shown_s = time.monotonic()
    for number, text in ended:
        died = _line(number, status="failed", exit_code=70, reason="its process was killed")
        lines[number] = json.loads(text or died)
        if not is_quiet:
            _show(lines[number], count)
        if time.monotonic() - shown_s >= SHOWN_EVERY_S:
            _write_index(where)
            shown_s = time.monotonic()
    return lines


def _rounds(
    where: Workspace,
    begins: Beginning,
    runbook: Runbook,
    checked: Sequence[Mapping[str, Any]],
    waits: Sequence[bool],
    *,
    plan_only: bool,
    file: str,
) -> Sequence[Sequence[int]]:
    """The sets in rounds that follow each other; runs that only plan are in nobody's way.

    Raises:
        UsageError: Two of them cannot go together.
    """
    if plan_only:
        return [list(range(len(checked)))]
    edits = [edited_by(where, begins.catalog, runbook, one) for one in checked]
    numbers = iter(range(len(checked)))
    _each(checked, lambda _: refuse_waiting(next(numbers), edits, waits), file=file)
    return rounds_of(edits, waits)


def _in_rounds(
    rounds: Sequence[Sequence[int]],
    work: Callable[[int, Place], str],
    *,
    workers: int,
    signals: engine.Signals,
    executes: bool,
) -> Iterator[tuple[int, str]]:
    """What ``run_each`` yields, by the numbers of the sets; a round begins when the one before has ended, none after a signal."""

    def of(numbers: Sequence[int], position: int, place: Place) -> str:
        return work(numbers[position], place)

    for one in rounds:
        if signals.received:
            return
        forks = run_each(
            len(one), partial(of, one), workers=workers, signals=signals, executes=executes
        )
        for position, text in forks:
            yield one[position], text


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
