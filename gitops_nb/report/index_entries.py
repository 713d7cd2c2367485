"""What the index keeps of each run, so that one more run costs one more line and not a look at all of them.

``.index.jsonl`` in the reports folder is a cache: one JSON line per run and change, the last one counts. It holds nothing
that the journals do not say, belongs to no run's record, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path

from gitops_nb import __version__
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.record.files import open_regular, read_regular, replace_file
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import damaged_run, run_directories, scan_run
from gitops_nb.report.index_page import Entry, entry
from gitops_nb.report.words import Times

CACHE = ".index.jsonl"

_Known = dict[str, tuple[list[int], Entry]]


def current_entries(
    reports: Path, times: Times, *, elsewhere: AbstractSet[str] = frozenset()
) -> list[Entry]:
    """The entries of all runs that were begun or are damaged; the cache is brought up to date.

    An open run is looked at each time: its row tells times as a person near it would.

    Args:
        reports: The folder of the run directories.
        times: For whom the rows are written.
        elsewhere: Runs that other machines ended. Where they have no directory here, or an older one, the index
            shows what the cache knows.
    """
    known, lines = _read(reports / CACHE, _head(times.zone))
    here = run_directories(reports)
    absent = elsewhere - {directory.name for directory in here}
    if _is_foreign(reports / CACHE):
        # What is no file of ours in its place is taken away, and all journals are read.
        (reports / CACHE).unlink()
    entries: list[Entry] = [known[run][1] for run in sorted(absent) if run in known]
    news: list[str] = []
    for directory in here:
        stamp = _stamp(directory)
        kept = known.get(directory.name)
        went_on = kept is not None and directory.name in elsewhere and kept[0][1:] > stamp[1:]
        if kept is not None and (went_on or (kept[0] == stamp and kept[1].group != "open")):
            entries.append(kept[1])
            continue
        state = scan_run(directory)
        if state.opened or state.status is Status.NEEDS_ATTENTION:
            entries.append(_entry(state, times))
            news.append(_line(stamp, entries[-1]))
    if not lines or lines > 2 * len(entries) + 50:
        stamps = {run: stamp for run, (stamp, _) in known.items()}
        all_lines = [
            json.dumps(_head(times.zone)),
            *(_line(_stamp(reports / e.run) or stamps[e.run], e) for e in entries),
        ]
        replace_file(
            reports / CACHE, ("\n".join(all_lines) + "\n").encode("utf-8", "backslashreplace")
        )
    elif news:
        _add(reports / CACHE, news)
    return entries


def _entry(state: RunState, times: Times) -> Entry:
    """The row of a run; one that somebody filled with anything is shown as damaged, and takes no other row along."""
    try:
        return entry(state, times)
    except Exception:  # noqa: BLE001  a template may stumble over any value in it
        return entry(damaged_run(state.run), times)


def merge_entries(reports: Path, zone: str, other: bytes) -> frozenset[str]:
    """Takes over what another machine's cache knows better: runs that are not here, or went on there.

    Returns:
        Runs whose entry here is that of an ended run.
    """
    path = reports / CACHE
    mine, _ = _read(path, _head(zone))
    theirs, _ = _parse(other.decode("utf-8", "replace"), _head(zone))
    news = {
        run: found
        for run, found in theirs.items()
        if run not in mine or found[0][1] > mine[run][0][1]
    }
    if not mine:
        replace_file(path, f"{json.dumps(_head(zone))}\n".encode())
    _add(path, [_line(stamp, value) for stamp, value in news.values()])
    return frozenset(run for run, (_, value) in (mine | news).items() if value.group != "open")


def forget(reports: Path) -> None:
    """Has the next index read every journal anew, whatever the cache says of them."""
    (reports / CACHE).unlink(missing_ok=True)


def _is_foreign(path: Path) -> bool:
    """Whether a cache is none of ours: a link, no file, or another file of somebody under this name."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_nlink > 1


def _head(zone: str) -> dict[str, object]:
    return {"package": __version__, "zone": zone, "format": 1}


def _add(path: Path, lines: Iterable[str]) -> None:
    descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _read(path: Path, head: Mapping[str, object]) -> tuple[_Known, int]:
    """What is known, by run, and the number of lines; nothing where another package or zone wrote it."""
    try:
        return _parse(read_regular(path).decode("utf-8", "replace"), head)
    except OSError:
        return {}, 0


def _parse(content: str, head: Mapping[str, object]) -> tuple[_Known, int]:
    try:
        first, *lines = content.split("\n")
        if json.loads(first) != head:
            return {}, 0
    except (ValueError, RecursionError):
        return {}, 0
    known: _Known = {}
    for line in lines:
        try:
            stamp, value = json.loads(line)
            known[value["run"]] = (stamp, Entry(**value))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # torn by a crash, or written by hand: that run is read again
    return known, len(lines) + 1


def _line(stamp: list[int], value: Entry) -> str:
    return json.dumps([stamp, asdict(value)], ensure_ascii=False)


def _stamp(directory: Path) -> list[int]:
    """Time and size of a run's journal, which only grows; empty where it has none."""
    try:
        found = os.stat(directory / journal.FILE)  # noqa: PTH116  called for every run
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]
