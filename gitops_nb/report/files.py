"""Writes report.json, report.html and the index; each file appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path

from gitops_nb.record.files import replace_file
from gitops_nb.record.fold import RunState
from gitops_nb.report.document import summary
from gitops_nb.report.index_entries import current_entries
from gitops_nb.report.index_page import index_of
from gitops_nb.report.run_page import render
from gitops_nb.report.words import Times

HTML = "report.html"
JSON = "report.json"
INDEX = "index.html"


def write(
    run_directory: Path,
    run: RunState,
    *,
    now: datetime,
    zone: str,
    pages: Mapping[str, str] | None = None,
) -> Path:
    """Writes both reports of a run and returns the path of report.html.

    Args:
        run_directory: Where the run's journal lies.
        run: Fold of that journal.
        now: When the report is written.
        zone: IANA name of the reader's time zone.
        pages: Pages by file name where a runbook has its own (dora); else report.html is rendered from the fold.

    Raises:
        RecordError: A file cannot be written; older ones are untouched.
    """
    document = json.dumps(summary(run), ensure_ascii=False, indent=2, sort_keys=True)
    replace_file(run_directory / JSON, f"{document}\n".encode("utf-8", "backslashreplace"))
    for name, page in (pages or {HTML: render(run, now, zone)}).items():
        replace_file(run_directory / name, page.encode())
    return run_directory / HTML


def write_index(
    reports: Path,
    *,
    now: datetime,
    zone: str,
    cache: Path | None = None,
    elsewhere: AbstractSet[str] = frozenset(),
) -> Path:
    """Brings the index of a reports folder up to date and returns its path.

    Only runs whose journal changed since the last time are read; ``cache`` keeps what is known of the others, and where there is
    none all are. It goes into the page as it is: it lies where nobody writes who may only write reports.
    ``elsewhere`` names runs that other machines ended.

    Raises:
        RecordError: It cannot be written; the older one is untouched.
    """
    entries = current_entries(reports, Times(now, zone), cache=cache, elsewhere=elsewhere)
    replace_file(reports / INDEX, index_of(entries, now, zone).encode())
    return reports / INDEX
