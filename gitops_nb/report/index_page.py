"""reports/index.html: open runs first with their next command, then all others by day, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gitops_nb import __version__
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.report import story
from gitops_nb.report.document import spans
from gitops_nb.report.layout import asset, page
from gitops_nb.report.words import Times, count, duration, listed

_OPEN = (Status.NEEDS_ATTENTION, Status.WAITING, Status.RUNNING, Status.PENDING)
_NOT_DONE = (Status.FAILED, Status.REFUSED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Row:
    """One run. ``group`` is open, not-done or done; ``classes`` are what the filters select by."""

    run: str
    status: str
    word: str
    group: str
    classes: str
    title: str
    note: str
    command: str
    runbook: str
    environment: str
    asked: str
    started: str
    clock: str
    took: str
    sandbox: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a filter; ``key`` is its id and, with a dot, the class of its rows."""

    key: str
    word: str
    number: int


@dataclass(frozen=True, slots=True)
class Filter:
    """One row of choices; the first shows everything."""

    key: str
    title: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Day:
    """Rows under one heading."""

    title: str
    rows: tuple[Row, ...]


def index(runs: Sequence[RunState], now: datetime, zone: str) -> str:
    """The page as one HTML document; links are relative to the folder of the run directories.

    Args:
        runs: Folds of all runs, in any order.
        now: When the page is written; ages count to it.
        zone: IANA name of the reader's time zone.
    """
    times = Times(now, zone)
    ordered = sorted(
        (run for run in runs if run.run), key=lambda run: run.started or run.run, reverse=True
    )
    filters = _filters(ordered)
    keys = {(item.key, choice.word): choice.key for item in filters for choice in item.choices[1:]}
    title, lede = headline(ordered, times)
    return page(
        "index.html.j2",
        rules=_rules(filters),
        scripts=(asset("search.js"),) if ordered else (),
        status=_worst(ordered),
        sandbox=bool(ordered) and all(run.is_sandbox for run in ordered),
        title=title,
        lede=lede,
        days=_days([_row(run, times, keys) for run in ordered], times),
        filters=filters,
        times=times,
        version=__version__,
    )


def headline(runs: Sequence[RunState], times: Times) -> tuple[str, str]:
    """What a reader has to know first, and the counts."""
    if not runs:
        return (
            "No runs yet",
            "Every run leaves its record here, also one that was refused or killed.",
        )
    by = Counter(run.status for run in runs)
    ongoing = by[Status.RUNNING] + by[Status.PENDING]
    waits = f"{count(by[Status.WAITING], 'run')} {'waits' if by[Status.WAITING] == 1 else 'wait'} for an approval"
    needs = f"{by[Status.NEEDS_ATTENTION]} {'needs' if by[Status.NEEDS_ATTENTION] == 1 else 'need'} attention"
    parts = [needs] if by[Status.NEEDS_ATTENTION] else []
    parts += [waits] if by[Status.WAITING] else []
    parts += [f"{ongoing} not ended"] if ongoing else []
    last = runs[0]
    title = (
        ", ".join(parts)
        or f"Nothing is open; the last run {_past(last.status)} {times.age(last.ended or last.started)}"
    )
    tally = [
        f"{by[status]} {story.WORDS[status]}"
        for status in (Status.SUCCEEDED, *_NOT_DONE)
        if by[status]
    ]
    since = times.day(runs[-1].started) if runs[-1].started else ""
    total = count(len(runs), "run") + (f" since {since}" if since else "")
    return title, f"{total}: {listed(tally)}." if tally else f"{total}."


def _past(status: Status) -> str:
    return {
        Status.FAILED: "failed",
        Status.REFUSED: "was refused",
        Status.CANCELLED: "was cancelled",
    }.get(status, "succeeded")


def _group(run: RunState) -> str:
    if run.status in _OPEN:
        return "open"
    return "not-done" if run.status in _NOT_DONE else "done"


def _worst(runs: Sequence[RunState]) -> str:
    present = {run.status for run in runs}
    return next((status.value for status in _OPEN if status in present), "")


def _row(run: RunState, times: Times, keys: dict[tuple[str, str], str]) -> Row:
    told = story.tell(run)
    group = _group(run)
    total, waited = spans(run)
    is_open = run.status in _OPEN
    classes = (
        group,
        keys.get(("e", run.environment), ""),
        keys.get(("r", run.runbook), ""),
    )
    return Row(
        run=run.run,
        status=run.status.value,
        word=told.word.removesuffix(" for approval"),
        group=group,
        classes=" ".join(name for name in classes if name),
        title=told.title,
        note=told.sentence if run.status is not Status.SUCCEEDED else "",
        command=told.command if is_open else "",
        runbook=run.runbook,
        environment=run.environment,
        asked=story.requester(run),
        started=run.started,
        clock=times.near(run.started) if is_open else times.clock(run.started),
        took=duration(total - waited) if run.ended else "",
        sandbox=run.is_sandbox,
    )


def _days(rows: list[Row], times: Times) -> list[Day]:
    rank = {status.value: position for position, status in enumerate(_OPEN)}
    open_ = sorted((row for row in rows if row.group == "open"), key=lambda row: rank[row.status])
    found = [Day("Open now", tuple(open_))] if open_ else []
    by_day: dict[str, list[Row]] = {}
    for row in rows:
        if row.group != "open":
            by_day.setdefault(times.day(row.started), []).append(row)
    return found + [Day(title, tuple(group)) for title, group in by_day.items()]


def _filters(runs: Sequence[RunState]) -> list[Filter]:
    groups = Counter(_group(run) for run in runs)
    words = (("open", "Open"), ("not-done", "Not done"), ("done", "Succeeded"))
    status = [Choice(key, word, groups[key]) for key, word in words if groups[key]]
    found = [Filter("s", "Status", (Choice("s-all", "All", len(runs)), *status))]
    for key, title, names in (
        ("e", "Environment", Counter(run.environment for run in runs if run.environment)),
        ("r", "Runbook", Counter(run.runbook for run in runs if run.runbook)),
    ):
        if len(names) > 1:
            choices = (
                Choice(f"{key}{n}", name, number)
                for n, (name, number) in enumerate(names.most_common())
            )
            found.append(Filter(key, title, (Choice(f"{key}-all", "All", len(runs)), *choices)))
    return found


def _rules(filters: Sequence[Filter]) -> str:
    """Style rules that hide what a choice leaves out, and the days that it empties; keys are ours, not names."""
    choices = [choice for item in filters for choice in item.choices[1:]]
    return "".join(
        f":has(#{choice.key}:checked) tr[data-g]:not(.{choice.key}),"
        f":has(#{choice.key}:checked) tbody:not(:has(.{choice.key})){{display:none}}\n"
        for choice in choices
    )
