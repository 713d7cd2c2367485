"""What the index keeps of each run, so that one more run costs one more line and not a look at all of them.

The cache is one JSON line per run and change, the last one counts. It holds nothing that the journals do not say, and may be
deleted at any time. Its rows go into the page as they are: each is looked at first, this machine's as those that other machines hand
on through a bucket, and is believed only where time, size, newest record and end of the journal are those that it names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from gitops_nb import __version__
from gitops_nb.errors import RecordError
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.record.files import open_regular, read_regular, replace_file, settled
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import RUN_ID, damaged_run, run_directories, scan_run
from gitops_nb.report.index_page import GROUPS, Entry, entry
from gitops_nb.report.words import Times

LEFT = ".index.jsonl"
"""Where earlier versions kept the cache; nobody believes it."""

_Stamp = list[int | str]
_Known = dict[str, tuple[_Stamp, Entry]]


def current_entries(
    reports: Path,
    times: Times,
    *,
    cache: Path | None,
    elsewhere: AbstractSet[str] = frozenset(),
) -> list[Entry]:
    """The entries of all runs that were begun or are damaged; the cache is brought up to date.

    An open run is looked at each time: its row tells times as a person near it would.

    Args:
        reports: The folder of the run directories.
        times: For whom the rows are written.
        cache: What is known of runs whose journal did not change; None reads all journals.
        elsewhere: Runs that other machines ended. Where they have no directory here, or an older one, the index
            shows what the cache knows.
    """
    with contextlib.suppress(OSError):
        (reports / LEFT).unlink()
    known, lines = _read(cache, _head(times.zone)) if cache is not None else ({}, 0)
    here = run_directories(reports)
    absent = elsewhere - {directory.name for directory in here}
    entries: list[Entry] = [known[run][1] for run in sorted(absent) if run in known]
    news: list[str] = []
    for directory in here:
        stamp = _stamp(directory)
        kept = known.get(directory.name)
        went_on = kept is not None and directory.name in elsewhere and _size(kept[0]) > _size(stamp)
        is_same = kept is not None and kept[0] == stamp and stamp[3] in ("", kept[1].status)
        if kept is not None and (went_on or (is_same and kept[1].group != "open")):
            entries.append(kept[1])
            continue
        state = scan_run(directory)
        if state.opened or state.status is Status.NEEDS_ATTENTION:
            entries.append(_entry(state, times))
            news.append(_line(stamp, entries[-1]))
    if cache is None:
        return entries
    # It only saves time: where it cannot be kept, the next index takes longer.
    with contextlib.suppress(RecordError, OSError):
        if not lines or lines > 2 * len(entries) + 50:
            stamps = {run: stamp for run, (stamp, _) in known.items()}
            # A folder without a journal has nothing that could be known again.
            stamped = [(_stamp(reports / e.run) or stamps.get(e.run), e) for e in entries]
            kept_lines = [_line(stamp, e) for stamp, e in stamped if stamp]
            _replace(cache, times.zone, kept_lines)
        elif news:
            _add(cache, news)
    return entries


def _entry(state: RunState, times: Times) -> Entry:
    """The row of a run; one that somebody filled with anything is shown as damaged, and takes no other row along."""
    try:
        return entry(state, times)
    except Exception:  # noqa: BLE001  a template may stumble over any value in it
        return entry(damaged_run(state.run), times)


def merge_entries(cache: Path, zone: str, other: bytes) -> frozenset[str]:
    """Takes over what another machine's cache knows better: runs that are not here, or went on there.

    Whoever may write into the bucket may write it: a row that no template of ours makes is left out, and read anew.

    Returns:
        Runs whose entry here is that of an ended run.
    """
    mine, _ = _read(cache, _head(zone))
    theirs, _ = _parse(other.decode("utf-8", "replace"), _head(zone))
    news = {
        run: found
        for run, found in theirs.items()
        if run not in mine or _size(found[0]) > _size(mine[run][0])
    }
    if not mine:
        _replace(cache, zone, [])
    _add(cache, [_line(stamp, value) for stamp, value in news.values()])
    return frozenset(run for run, (_, value) in (mine | news).items() if value.group != "open")


def forget(cache: Path) -> None:
    """Has the next index read every journal anew, whatever the cache says of them."""
    cache.unlink(missing_ok=True)


_TAGS = {
    "td": {"class", "data-l"}, "th": {"scope"}, "a": {"href"}, "svg": {"class", "aria-hidden"}, "use": {"href"},
    "span": {"class", "data-s", "data-e"}, "small": {"class"}, "code": {"class"}, "time": {"datetime"},
}  # fmt: skip
"""What the cells of a row are made of, see ``index_row.html.j2``."""


_TAG = re.compile(r'<(/?)([a-z]+)((?: [a-z-]+="[^"<>]*")*)(/?)>')
_ATTRIBUTE = re.compile(r' ([a-z-]+)="([^"]*)"')


def _has_only_cells(html: str, run: str) -> bool:
    """Whether a text has nothing but cells of one run's row, closed in the order in which they were opened."""
    unclosed: list[str] = []
    for closes, tag, attributes, is_empty in _TAG.findall(html):
        if closes:
            if attributes or is_empty or not unclosed or unclosed.pop() != tag:
                return False
            continue
        if bool(is_empty) is not (tag == "use"):
            return False  # to a browser no other element ends here
        found = dict(_ATTRIBUTE.findall(attributes))
        link = found.get("href", "#")
        is_known = link == f"./{quote(run)}/report.html" if tag == "a" else link.startswith("#")
        if not is_known or not found.keys() <= _TAGS.get(tag, set()) or tag not in _TAGS:
            return False
        if not is_empty:
            unclosed.append(tag)
    return not unclosed and "<" not in _TAG.sub("", html)


def _is_row(stamp: object, value: Entry) -> bool:
    """Whether an entry that somebody else wrote can be one of ours."""
    is_stamp = isinstance(stamp, list) and [type(one) for one in stamp] == [int, int, str, str]
    texts = {name: text for name, text in asdict(value).items() if name != "sandbox"}
    if not is_stamp or not all(isinstance(text, str) for text in texts.values()):
        return False
    return (
        RUN_ID.fullmatch(value.run) is not None
        and value.status in set(Status)
        and value.group in GROUPS
        and "<td>" in value.html
        and _has_only_cells(value.html, value.run)
    )


def _head(zone: str) -> dict[str, object]:
    return {"package": __version__, "zone": zone, "format": 2}


def _replace(path: Path, zone: str, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([json.dumps(_head(zone)), *lines]) + "\n"
    replace_file(settled(path), text.encode("utf-8", "backslashreplace"))


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
            row = Entry(**value)
            if _is_row(stamp, row):
                known[row.run] = (stamp, row)
            else:
                known.pop(row.run, None)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # torn by a crash, or written by hand: that run is read again
    return known, len(lines) + 1


def _line(stamp: _Stamp, value: Entry) -> str:
    return json.dumps([stamp, asdict(value)], ensure_ascii=False)


def _size(stamp: _Stamp) -> int:
    return int(stamp[1]) if stamp else -1


_TAIL_BYTES = 8192
_HEAD = re.compile(
    rb'"hash":"([0-9a-f]{64})","kind":"[a-z]+","prev":"[0-9a-f]{64}","seq":[0-9]+}\n\Z'
)


def _stamp(directory: Path) -> _Stamp:
    """Time and size of a run's journal, its newest record and how it says that it ended; empty where it has none.

    Time and size can be set by whoever may write the file. Its end alone is read: there may be thousands of runs.
    """
    try:
        descriptor = open_regular(f"{directory}/{journal.FILE}", os.O_RDONLY)
    except OSError:
        return []
    try:
        found = os.fstat(descriptor)
        tail = os.pread(descriptor, _TAIL_BYTES, max(0, found.st_size - _TAIL_BYTES))
    finally:
        os.close(descriptor)
    head = _HEAD.search(tail[-300:])
    return [found.st_mtime_ns, found.st_size, head[1].decode() if head else "", _end(tail)]


def _end(tail: bytes) -> str:
    """The status of the last end in a journal's last lines; "" where none is among them."""
    for line in reversed(tail.split(b"\n")):
        if b'"kind":"ended"' in line:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                return str(json.loads(line)["body"]["status"])
    return ""
