"""What the index keeps of each run, so that one more run costs one more line and not a look at all of them.

``.index.jsonl`` in the reports folder is a cache: one JSON line per run and change, the last one counts. It holds nothing
that the journals do not say, belongs to no run's record, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from gitops_nb import __version__
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.record.files import replace_file
from gitops_nb.record.runs import run_directories, scan_run
from gitops_nb.report.index_page import Entry, entry
from gitops_nb.report.words import Times

CACHE = ".index.jsonl"

_Known = dict[str, tuple[list[int], Entry]]


def current_entries(reports: Path, times: Times) -> list[Entry]:
    """The entries of all runs that were begun or are damaged, newest first; the cache is brought up to date.

    An open run is looked at each time: its row tells times as a person near it would.
    """
    head = {"package": __version__, "zone": times.zone, "format": 1}
    known, lines = _read(reports / CACHE, head)
    entries: list[Entry] = []
    news: list[str] = []
    for directory in run_directories(reports):
        stamp = _stamp(directory)
        kept = known.get(directory.name)
        if kept is not None and kept[0] == stamp and kept[1].group != "open":
            entries.append(kept[1])
            continue
        state = scan_run(directory)
        if state.opened or state.status is Status.NEEDS_ATTENTION:
            entries.append(entry(state, times))
            news.append(_line(stamp, entries[-1]))
    if not lines or lines > 2 * len(entries) + 50:
        all_lines = [json.dumps(head), *(_line(_stamp(reports / e.run), e) for e in entries)]
        replace_file(
            reports / CACHE, ("\n".join(all_lines) + "\n").encode("utf-8", "backslashreplace")
        )
    elif news:
        with (reports / CACHE).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(f"{line}\n" for line in news))
    return entries


def _read(path: Path, head: Mapping[str, object]) -> tuple[_Known, int]:
    """What is known, by run, and the number of lines; nothing where another package or zone wrote it."""
    try:
        first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if json.loads(first) != head:
            return {}, 0
    except (OSError, ValueError):
        return {}, 0
    known: _Known = {}
    for line in lines:
        try:
            stamp, value = json.loads(line)
            known[value["run"]] = (stamp, Entry(**value))
        except (ValueError, TypeError, KeyError):
            continue  # torn by a crash, or written by hand: that run is read again
    return known, len(lines) + 1


def _line(stamp: list[int], value: Entry) -> str:
    return json.dumps([stamp, asdict(value)], ensure_ascii=False)


def _stamp(directory: Path) -> list[int]:
    try:
        found = os.stat(directory / journal.FILE)  # noqa: PTH116  called for every run
    except OSError:
        return [0, 0]
    return [found.st_mtime_ns, found.st_size]
