"""report.html and report.json of every kind of run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gitops_nb.errors import RecordError
from gitops_nb.record.fold import RunState
from gitops_nb.report.document import summary
from gitops_nb.report.files import write
from gitops_nb.report.run_page import render
from gitops_nb.report.story import done
from tests.report.run_factories import (
    HOSTILE,
    NOW,
    SCENARIOS,
    SIGNED,
    UNDO,
    ZONE,
    failed,
    hostile,
    killed,
    waiting,
)

TITLES = {
    "succeeded": "checkout v2.31.1 runs in production",
    "waiting": "checkout v2.30.4 → v2.31.1 in production waits for 1\xa0approval",
    "failed": "checkout v2.31.1 crashes in production",
    "refused": "Gate “freeze” refuses checkout v2.30.4 → v2.31.1 in production",
    "rejected": "tomas-b rejected checkout v2.30.4 → v2.31.1 in production",
    "needs_attention": "checkout v2.30.4 → v2.31.1 in production needs attention: 1\xa0effect in doubt",
    "cancelled": "checkout v2.30.4 → v2.31.1 in production was cancelled",
    "killed": "checkout v2.30.4 → v2.31.1 in production: no end is recorded",
    "lost_race": "checkout v2.30.4 → v2.31.1 in production was refused",
    "nothing_to_do": "checkout: nothing to do",
    "plan_only": "checkout v2.30.4 → v2.31.1 in production: planned, nothing was changed",
    "bootstrap": "development runs with 3 applications, synced and healthy",
}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        self.text += "" if self._in_style else data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == name]


def page_of(name: str) -> Page:
    return Page(render(SCENARIOS[name]().state(), NOW, ZONE))


@pytest.mark.parametrize("name", sorted(TITLES))
def test_title_is_the_finding(name):
    """The title says what happened, in report.html and in report.json."""
    state = SCENARIOS[name]().state()
    assert summary(state)["title"] == TITLES[name]
    assert TITLES[name] in page_of(name).text


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_page_loads_and_runs_nothing(name):
    """A run report has no script, no source outside itself, no style attribute, and a policy that forbids them."""
    page = page_of(name)
    assert not page.tags("script")
    for tag, attrs in page.elements:
        assert not {"src", "style", "srcset", "formaction"} & set(attrs), (tag, attrs)
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form"), tag
    policy = next(a["content"] for a in page.tags("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_links_stay_at_home(name):
    """Links lead to this page, to files of the run, or to the index."""
    for attrs in page_of(name).tags("a"):
        assert re.fullmatch(r"#[a-z]+|\.\./index\.html|journal\.jsonl", attrs["href"] or "")


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_ids_are_unique_and_found(name):
    """Every jump leads somewhere."""
    page = page_of(name)
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for a in page.tags("a") + page.tags("use") if a["href"].startswith("#")}
    assert wanted <= set(ids)


def test_waiting_puts_the_command_above_the_facts():
    """A waiting run shows the command to approve before anything else."""
    script = waiting()
    html = render(script.state(), NOW, ZONE)
    assert 0 < html.index(f"gitops-nb approve {script.run}") < html.index('class="facts"')


def test_failed_puts_the_way_back_above_the_facts():
    """A failed run names the pod and its reason, and shows the exact command back first."""
    html = render(failed().state(), NOW, ZONE)
    assert 0 < html.index(UNDO) < html.index('class="facts"') < html.index("CrashLoopBackOff")
    assert "checkout-7d9f8b6c54-x2kqp" in html
    assert html.index('id="evidence"') < html.index('id="steps"') < html.index('id="gates"')


def test_refused_says_when_it_could_clear():
    """A refusal by a freeze window says when the window ends."""
    page = page_of("refused")
    assert "says no" in page.text
    assert "Tue 1\xa0Dec\xa02026, 08:00:00\xa0+01:00" in page.text


def test_in_doubt_is_named_with_its_command():
    """An effect in doubt is named, with the command that settles it, and never counted as done."""
    page = page_of("needs_attention")
    assert "no result is recorded" in page.text
    assert "gitops-nb resume" in page.text
    assert summary(SCENARIOS["needs_attention"]().state())["in_doubt"] == ["commit"]


def test_effect_that_did_not_happen():
    """An effect that surely did not happen is no change and not in doubt, and says why."""
    page = page_of("lost_race")
    assert "Main moved to 77aa in the meantime. Nothing was changed." in page.text
    assert "did not happen" in page.text
    assert "How to undo" not in page.text
    assert summary(SCENARIOS["lost_race"]().state())["in_doubt"] == []


def test_killed_run_does_not_look_finished():
    """A journal without an end says so, and no step or effect of it without a result shows as succeeded."""
    state = killed().state()
    document = summary(state)
    assert (document["status"], document["exit_code"]) == ("running", None)
    html = render(state, NOW, ZONE)
    assert "its runner was killed" in html
    assert (
        'data-s="succeeded"><svg class="i" aria-hidden="true"><use href="#succeeded"/></svg><b>sync'
        not in html
    )
    assert "In doubt" in html


def test_effect_in_doubt_is_not_done():
    """Only effects with a recorded result count as done."""
    assert [effect.key for effect in done(killed().state())] == ["commit"]


def test_one_mark_in_the_diff():
    """The diff marks exactly the part of the line that differs."""
    html = render(SCENARIOS["succeeded"]().state(), NOW, ZONE)
    assert re.findall(r"<mark>(.*?)</mark>", html) == ["v2.30.4", "v2.31.1"]


def test_hostile_text_stays_text():
    """Markup, control characters and templates in names come out as visible text, cut when very long, but for what is signed."""
    html = render(hostile().state(), NOW, ZONE)
    page = Page(html)
    assert "<script" not in html
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]", html)
    assert "\\x1b[31m\\u202egnp.exe\\u200b\\r" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "x" * 2_001 not in html
    assert SIGNED in html
    assert "(10,240 characters)" in html
    assert not any("data-commandlinker-command" in attrs for _, attrs in page.elements)


def test_sandbox_is_marked():
    """A sandbox run says SANDBOX at the top, a live run does not."""
    assert "SANDBOX" in page_of("bootstrap").text
    assert "SANDBOX" not in page_of("succeeded").text


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_rendering_again_gives_the_same_bytes(name):
    """The same journal, moment and zone give the same page and the same JSON."""
    one, two = SCENARIOS[name]().state(), SCENARIOS[name]().state()
    assert render(one, NOW, ZONE) == render(two, NOW, ZONE)
    assert summary(one) == summary(two)


def test_times_are_in_the_zone_with_offset():
    """Times stand in the declared zone with its offset."""
    html = render(SCENARIOS["succeeded"]().state(), NOW, ZONE)
    assert "10:14:12" in html
    assert "+01:00" in html
    assert "09:14:12" in render(SCENARIOS["succeeded"]().state(), NOW, "UTC")


def test_worked_and_waited():
    """Time that a run waited for a person is told apart from the time it worked."""
    times = summary(SCENARIOS["succeeded"]().state())["times"]
    assert times["waited_ms"] == 449_000
    assert times["total_ms"] == times["worked_ms"] + times["waited_ms"]


def test_summary_keys_are_stable():
    """report.json has exactly the documented keys, whatever the run."""
    keys = set(summary(SCENARIOS["succeeded"]().state()))
    documented = re.findall(r"\b[a-z_]+\b", (summary.__doc__ or "").split("Keys:")[1])
    assert keys <= set(documented)
    for script in SCENARIOS.values():
        assert set(summary(script().state())) == keys


def test_run_without_a_journal():
    """A run directory whose journal was never begun still gives a page."""
    html = render(RunState(run="20261123T091412Z-promotion-production-0000"), NOW, ZONE)
    assert "20261123T091412Z-promotion-production-0000" in html


def test_write(tmp_path):
    """Both reports are on disk, whole, and nothing else is left behind."""
    state = SCENARIOS["succeeded"]().write(tmp_path)
    path = write(tmp_path / state.run, state, now=NOW, zone=ZONE)
    assert path.read_text("utf-8") == render(state, NOW, ZONE)
    assert json.loads((path.parent / "report.json").read_bytes()) == summary(state)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "journal.jsonl",
        "report.html",
        "report.json",
    ]


def test_write_takes_a_page_of_its_own(tmp_path):
    """A runbook with its own page has that page as report.html, and the same report.json as every run."""
    state = SCENARIOS["succeeded"]().write(tmp_path)
    path = write(
        tmp_path / state.run, state, now=NOW, zone=ZONE, pages={"report.html": "<!doctype html>own"}
    )
    assert path.read_text("utf-8") == "<!doctype html>own"
    assert json.loads((path.parent / "report.json").read_bytes()) == summary(state)


def test_write_keeps_the_old_report_when_it_cannot(tmp_path):
    """A report that cannot be written leaves the older one as it was."""
    state = SCENARIOS["waiting"]().write(tmp_path)
    directory = tmp_path / state.run
    (directory / "report.html").mkdir()
    (directory / "report.html" / "old").write_text("kept")
    with pytest.raises(RecordError):
        write(directory, state, now=NOW, zone=ZONE)
    assert (directory / "report.html" / "old").read_text() == "kept"
    assert not list(directory.glob(".*.tmp"))


def test_title_of_hostile_subject_in_every_status():
    """A hostile subject is inert in the title of every status."""
    for script in SCENARIOS.values():
        state = script().state()
        opened = {**state.opened, "subject": HOSTILE}
        html = render(replace(state, opened=opened, outcome=None), NOW, ZONE)
        assert "<script" not in html
        assert "\u202e" not in html
