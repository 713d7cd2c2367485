"""reports/index.html: empty, one run, all kinds, ten thousand."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from gitops_nb.model import Status, format_time
from gitops_nb.record.fold import RunState
from gitops_nb.report.files import write_index
from gitops_nb.report.index_entries import merge_entries
from gitops_nb.report.index_page import SHOWN, index
from tests.report.run_factories import NOW, SCENARIOS, ZONE, Script, hostile, succeeded, waiting
from tests.report.test_run_report import Page


def all_kinds():
    return [
        replace(s().state(), run=f"20261123T0914{n:02}Z-x-y-{n:04}")
        for n, s in enumerate(SCENARIOS.values())
    ]


def test_no_runs():
    """An empty folder says so and names the command to begin with."""
    html = index([], NOW, ZONE)
    assert "No runs yet" in html
    assert "gitops-nb list runbooks" in html
    assert "<table" not in html


def test_one_run():
    """One run needs no filter for environment or runbook."""
    page = Page(index([succeeded().state()], NOW, ZONE))
    assert "Nothing is open; the last run succeeded" in page.text
    assert [a["name"] for a in page.tags("input") if a.get("type") == "radio"] == ["s", "s"]


def test_open_runs_stand_on_top_with_their_command():
    """Runs that wait come before all others, what needs attention first, each with the next command."""
    html = index(all_kinds(), NOW, ZONE)
    groups = re.findall(r'<tr data-g="([a-z-]+)"', html)
    assert groups == sorted(groups, key=lambda group: group != "open")
    rows = html.split("<tr ")
    first = next(row for row in rows if row.startswith("data-g"))
    assert "needs attention" in first
    assert all("gitops-nb " in row for row in rows if row.startswith('data-g="open"'))
    assert not any('class="cmd"' in row for row in rows if row.startswith('data-g="done"'))


def test_links_are_relative_to_the_run_directories():
    """Every row links to its own report below this folder."""
    runs = all_kinds()
    links = [a["href"] for a in Page(index(runs, NOW, ZONE)).tags("a") if a["href"] != "#main"]
    assert sorted(links) == sorted(f"./{run.run}/report.html" for run in runs)


def test_run_id_cannot_become_an_address():
    """A run id that looks like an address stays a path below this folder."""
    run = replace(waiting().state(), run="javascript:alert(1)?#")
    html = index([run], NOW, ZONE)
    assert 'href="./javascript%3Aalert%281%29%3F%23/report.html"' in html


def test_newest_first():
    """Within what is closed, the newest run comes first."""
    older = replace(succeeded().state(), run="a", started="2026-11-20T09:00:00.000Z")
    newer = replace(succeeded().state(), run="b", started="2026-11-22T09:00:00.000Z")
    html = index([older, newer], NOW, ZONE)
    assert html.index("b/report.html") < html.index("a/report.html")


def test_headline_counts_what_is_open():
    """The title counts the runs that need a person."""
    runs = [
        waiting().state(),
        replace(waiting().state(), run="x"),
        SCENARIOS["needs_attention"]().state(),
    ]
    assert "1 needs attention, 2\xa0runs wait for an approval" in Page(index(runs, NOW, ZONE)).text


def test_hostile_names_stay_out_of_the_style_sheet():
    """Filter rules are made of the page's own keys, never of names."""
    page = index([hostile().state(), waiting().state()], NOW, ZONE)
    style = page.split("<style>")[1].split("</style>")[0]
    assert "alert" not in style
    assert "<script>alert" not in page


def test_sandbox_runs_are_marked():
    """A sandbox run says so in its row when live runs are in the list too."""
    html = index([SCENARIOS["bootstrap"]().state(), waiting().state()], NOW, ZONE)
    assert html.count(">SANDBOX<") == 1


def test_killed_run_counts_as_open():
    """A run without an end is open, not done."""
    html = index([SCENARIOS["killed"]().state()], NOW, ZONE)
    assert 'data-g="open"' in html
    assert SCENARIOS["killed"]().state().status is Status.RUNNING


def many(number: int) -> list[RunState]:
    """Ended runs, newest first, one each fifty minutes; one in fifty of another kind."""
    base = [SCENARIOS[name]().state() for name in ("succeeded", "failed", "bootstrap", "refused")]
    runs = []
    for n in range(number):
        at = format_time(NOW - timedelta(minutes=50 * (n + 1)))
        kind = base[n // 50 % 4 if n % 50 == 0 else 0]
        runs.append(replace(kind, run=f"run-{n:05}", started=at, ended=at))
    return runs


def test_ten_thousand_runs():
    """Each of them is in the page once: the newest as rows, the older ones as data that the script searches."""
    html = index(many(10_000), NOW, ZONE)
    rows = html.count("<tr data-g=")
    [block] = re.findall(r'<script type="application/json" id="older">(.*?)</script>', html)
    older = json.loads(block)
    links = re.findall(r'href="./(run-\d+)/report.html"', html + "".join(o["h"] for o in older))
    assert rows == SHOWN
    assert sorted(set(links)) == [f"run-{n:05}" for n in range(10_000)]
    assert len(links) == 10_000
    assert len(html.encode()) < 8_000_000


def test_write_index(tmp_path):
    """The index is written whole; what is known of the runs is kept elsewhere."""
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / ".index.jsonl").write_text("what an earlier version kept", "utf-8")
    path = write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "own" / "cache.jsonl")
    assert path.read_text("utf-8") == index([], NOW, ZONE)
    assert [p.name for p in reports.iterdir()] == ["index.html"]


def test_the_index_reads_only_what_changed(tmp_path):
    """A run whose journal did not change is not read again; one that did is; one that is gone is gone."""
    reports = tmp_path / "reports"
    for n in range(6):
        succeeded(Script(f"20261123T0914{n:02}Z-promotion-production-7c1e")).write(reports)
    first = write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "cache").read_text("utf-8")
    untouched, changed, gone = (path for path in sorted(reports.glob("2*"))[:3])
    before = (untouched / "journal.jsonl").stat()
    begin, rest = (untouched / "journal.jsonl").read_bytes().split(b"\n", 1)
    (untouched / "journal.jsonl").write_bytes(b"x" * len(begin) + b"\n" + rest)
    os.utime(untouched / "journal.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (
        write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "cache").read_text("utf-8")
        == first
    )
    (changed / "journal.jsonl").write_bytes(b"damaged")
    shutil.rmtree(gone)
    second = write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "cache").read_text("utf-8")
    assert second.count("<tr data-g=") == 5
    assert gone.name not in second
    assert "Its journal is damaged" in second
    assert untouched.name in second


@pytest.mark.parametrize("damage", ["", "no json", '{"package": "0.0.1"}\n', None])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    """What the cache says never replaces a journal: cut, edited or of another version, it is left aside."""
    reports = tmp_path / "reports"
    succeeded().write(reports)
    first = write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "cache").read_text("utf-8")
    cache = tmp_path / "cache"
    whole = cache.read_text("utf-8")
    cache.write_text(whole[:-40] if damage is None else damage, "utf-8")
    assert (
        write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "cache").read_text("utf-8")
        == first
    )


def test_a_cache_that_cannot_be_kept_costs_time_only(tmp_path):
    """Where its folder is none the index is written all the same."""
    reports = tmp_path / "reports"
    run = succeeded().write(reports)
    (tmp_path / "own").write_text("no folder", "utf-8")
    page = write_index(reports, now=NOW, zone=ZONE, cache=tmp_path / "own" / "cache")
    assert run.run in page.read_text("utf-8")


FORGED = {
    "a script": lambda e: {"html": e["html"] + "<script>alert(1)</script>"},
    "an image": lambda e: {"html": e["html"].replace("</th>", "<img src=x onerror=alert(1)></th>")},
    "a handler": lambda e: {"html": e["html"].replace("<td>", "<td onclick=alert(1)>", 1)},
    "another link": lambda e: {
        "html": re.sub('href="./[^"]*"', 'href="javascript:alert(1)"', e["html"])
    },
    "the end of the table": lambda e: {"html": e["html"] + "</tr></table><h1>Free</h1>"},
    "an open tag": lambda e: {"html": e["html"] + "<td>"},
    "a comment": lambda e: {"html": e["html"] + "<!--"},
    "no cells": lambda e: {"html": "RUNS IN PRODUCTION"},
    "another type": lambda e: {"html": ["x"]},
    "no status": lambda e: {"status": "great"},
    "no group": lambda e: {"group": "x onclick=alert(1)"},
}


@pytest.mark.parametrize("name", [*FORGED, "nothing"])
def test_a_row_of_another_machine_is_one_that_ours_could_have_written(tmp_path, name):
    """What a bucket's writer puts into the object beside the index reaches no page, unless it is a row as our template makes it."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    run = succeeded(Script("20261123T091400Z-promotion-production-7c1e")).write(theirs).run
    write_index(theirs, now=NOW, zone=ZONE, cache=tmp_path / "their-cache")
    head, line = (tmp_path / "their-cache").read_text("utf-8").splitlines()
    stamp, entry = json.loads(line)
    changed = {**entry, **FORGED.get(name, lambda _: {})(entry)}
    assert (changed != entry) is (name != "nothing")
    other = f"{head}\n{json.dumps([stamp, changed])}\n".encode()
    mine.mkdir()
    settled = merge_entries(tmp_path / "cache", ZONE, other)
    page = write_index(mine, now=NOW, zone=ZONE, cache=tmp_path / "cache", elsewhere=settled)
    assert (run in settled) is (name == "nothing")
    assert (run in page.read_text("utf-8")) is (name == "nothing")


@pytest.mark.parametrize("name", [*FORGED, "a script in a cell", "an end that the journal has not"])
def test_an_own_row_that_somebody_edited_is_read_anew(tmp_path, name):
    """What stands in this machine's cache is looked at like another's: the page says what the journal says."""
    reports, cache = tmp_path / "reports", tmp_path / "cache"
    succeeded(Script("20261123T091400Z-promotion-production-7c1e")).write(reports)
    first = write_index(reports, now=NOW, zone=ZONE, cache=cache).read_text("utf-8")
    head, line = cache.read_text("utf-8").splitlines()
    stamp, entry = json.loads(line)
    edits = {
        **FORGED,
        "a script in a cell": lambda e: {"html": e["html"] + "<script>alert(1)</script>"},
        "an end that the journal has not": lambda e: {"status": "refused"},
    }
    changed = {**entry, **edits[name](entry)}
    assert changed != entry
    cache.write_text(f"{head}\n{json.dumps([stamp, changed])}\n", "utf-8")
    page = write_index(reports, now=NOW, zone=ZONE, cache=cache).read_text("utf-8")
    assert page == first


def test_a_journal_of_the_same_time_and_size_is_read_anew(tmp_path):
    """Another newest record under the old time and size: the row is not believed."""
    reports, cache = tmp_path / "reports", tmp_path / "cache"
    run = succeeded(Script("20261123T091400Z-promotion-production-7c1e")).write(reports).run
    first = write_index(reports, now=NOW, zone=ZONE, cache=cache).read_text("utf-8")
    path = reports / run / "journal.jsonl"
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    page = write_index(reports, now=NOW, zone=ZONE, cache=cache).read_text("utf-8")
    assert page != first
    assert "its journal is damaged" in page.lower()
