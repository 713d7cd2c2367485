"""reports/index.html: open runs first with their next command, then all others by day, newest first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from gitops_nb import __version__
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.report import story
from gitops_nb.report.document import spans
from gitops_nb.report.layout import asset, fragment, page
from gitops_nb.report.words import Times, count, duration, listed

if TYPE_CHECKING:
    from markupsafe import Markup

_OPEN = (Status.NEEDS_ATTENTION, Status.WAITING, Status.RUNNING, Status.PENDING)
_NOT_DONE = (Status.FAILED, Status.REFUSED, Status.CANCELLED)


GROUPS = ("open", "not-done", "done")
"""What the first filter selects by."""
SHOWN = 300
"""How many rows of ended runs the page holds as rows; the script finds the others in the page's data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one run; ``html`` is its row, ``group`` is open, not-done or done."""

    run: str
    status: str
    group: str
    environment: str
    runbook: str
    started: str
    ended: str
    day: str
    sandbox: bool
    html: str

    @property
    def cells(self) -> Markup:
        """The row's cells, as ``index_row.html.j2`` escaped them."""
        from markupsafe import Markup

        return Markup(self.html)  # noqa: S704  rendered by this package's template

    @property
    def classes(self) -> str:
        """What the filters select by: keys of ours, not names."""
        keys = (_key("e", self.environment), _key("r", self.runbook))
        return " ".join((self.group, *filter(None, keys)))


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
    rows: tuple[Entry, ...]


def index(runs: Sequence[RunState], now: datetime, zone: str) -> str:
    """The page for some runs, in any order; see ``index_of``."""
    times = Times(now, zone)
    return index_of([entry(run, times) for run in runs if run.run], now, zone)


def entry(run: RunState, times: Times) -> Entry:
    """The entry of one run. It holds no age, so that it stays true while the run stays as it is."""
    told = story.tell(run)
    total, waited = spans(run)
    is_open = _is_open(run)
    return Entry(
        run=run.run,
        status=run.status.value,
        group=_group(run),
        environment=run.environment,
        runbook=run.runbook,
        started=run.started,
        ended=run.ended,
        day=times.day(run.started) if run.started else "",
        sandbox=run.is_sandbox,
        html=fragment(
            "index_row.html.j2",
            "cells",
            run=run,
            word=told.word.removesuffix(" for approval"),
            title=told.title,
            note=story.sentence(story.review_note(run))
            if run.status is Status.SUCCEEDED
            else told.sentence,
            command=told.command if is_open else "",
            asked=story.requester(run),
            iso=times.iso(run.started),
            clock=times.near(run.started) if is_open else times.clock(run.started),
            took=duration(total - waited) if run.ended else "",
        ),
    )


def index_of(entries: Sequence[Entry], now: datetime, zone: str) -> str:
    """The page as one HTML document; links are relative to the folder of the run directories.

    Open runs and the newest ended ones are rows; older ones are data of the page, which its script searches.

    Args:
        entries: Of all runs, in any order.
        now: When the page is written; ages count to it.
        zone: IANA name of the reader's time zone.
    """
    times = Times(now, zone)
    ordered = sorted(entries, key=lambda one: one.started or one.run, reverse=True)
    filters = _filters(ordered)
    title, lede = headline(ordered, times)
    ended = [one for one in ordered if one.group != "open"]
    older = [{"d": e.day, "k": e.classes, "h": e.html} for e in ended[SHOWN:]]
    return page(
        "index.html.j2",
        rules=_rules(filters),
        scripts=(asset("search.js"),) if ordered else (),
        status=_worst(ordered),
        sandbox=bool(ordered) and all(one.sandbox for one in ordered),
        title=title,
        lede=lede,
        days=_days([one for one in ordered if one.group == "open"], ended[:SHOWN]),
        older=older,
        shown=SHOWN,
        filters=filters,
        times=times,
        version=__version__,
    )


def headline(runs: Sequence[Entry], times: Times) -> tuple[str, str]:
    """What a reader has to know first, and the counts."""
    if not runs:
        return (
            "No runs yet",
            "Every run leaves its record here, also one that was refused or killed.",
        )
    by = Counter(run.status for run in runs)
    ongoing = by[Status.RUNNING] + by[Status.PENDING]
    waits = f"{count(by[Status.WAITING], 'run')} {'waits' if by[Status.WAITING] == 1 else 'wait'} for an approval"
    doubts = sum(one.group == "open" and one.status == Status.NEEDS_ATTENTION for one in runs)
    needs = f"{doubts} {'needs' if doubts == 1 else 'need'} attention"
    parts = [needs] if doubts else []
    parts += [waits] if by[Status.WAITING] else []
    parts += [f"{ongoing} not ended"] if ongoing else []
    last = runs[0]
    title = (
        ", ".join(parts)
        or f"Nothing is open; the last run {_past(Status(last.status))} {times.age(last.ended or last.started)}"
    )
    tally = [
        f"{by[status]:,} {story.WORDS[status]}"
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
        Status.NEEDS_ATTENTION: "ended where nobody watches",
    }.get(status, "succeeded")


def _is_open(run: RunState) -> bool:
    """Whether somebody can still do something about it; of what nobody watches no command finds out more."""
    return run.status in _OPEN and not run.is_unwatched


def _group(run: RunState) -> str:
    if _is_open(run):
        return "open"
    if run.is_unwatched:
        return "not-done"
    return "not-done" if run.status in _NOT_DONE else "done"


def _worst(runs: Sequence[Entry]) -> str:
    present = {run.status for run in runs}
    return next((status.value for status in _OPEN if status in present), "")


def _days(open_: Sequence[Entry], ended: Sequence[Entry]) -> list[Day]:
    rank = {status.value: position for position, status in enumerate(_OPEN)}
    found = [Day("Open now", tuple(sorted(open_, key=lambda one: rank[one.status])))]
    found += [Day(day, tuple(rows)) for day, rows in groupby(ended, lambda one: one.day)]
    return [day for day in found if day.rows]


def _filters(runs: Sequence[Entry]) -> list[Filter]:
    groups = Counter(run.group for run in runs)
    words = (("open", "Open"), ("not-done", "Not done"), ("done", "Succeeded"))
    status = [Choice(key, word, groups[key]) for key, word in words if groups[key]]
    found = [Filter("s", "Status", (Choice("s-all", "All", len(runs)), *status))]
    for key, title, names in (
        ("e", "Environment", Counter(run.environment for run in runs if run.environment)),
        ("r", "Runbook", Counter(run.runbook for run in runs if run.runbook)),
    ):
        if len(names) > 1:
            choices = (Choice(_key(key, name), name, n) for name, n in names.most_common())
            found.append(Filter(key, title, (Choice(f"{key}-all", "All", len(runs)), *choices)))
    return found


def _key(kind: str, name: str) -> str:
    """A class for a name, the same in every index that this run stands in."""
    return (
        f"{kind}{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
        if name
        else ""
    )


def _rules(filters: Sequence[Filter]) -> str:
    """Style rules that hide what a choice leaves out, and the days that it empties; keys are ours, not names."""
    choices = [choice for item in filters for choice in item.choices[1:]]
    return "".join(
        f":has(#{choice.key}:checked) tr[data-g]:not(.{choice.key}),"
        f":has(#{choice.key}:checked) tbody:not(:has(.{choice.key})){{display:none}}\n"
        for choice in choices
    )
