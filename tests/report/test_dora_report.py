"""The DORA report as a document: its policy, its words, its charts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import plotly.graph_objects as go
import pytest

from gitops_nb import dora
from gitops_nb.dora.definition import DoraDefinition, Included
from gitops_nb.dora.results import Freeze
from gitops_nb.report import dora_axes, dora_charts, static_charts
from tests.dora.dora_factories import (
    HOUR,
    NOW_S,
    WEEK,
    History,
    incidents,
    interactive,
    many,
    measure,
    page,
    request,
    steady,
    view,
)

HOSTILE = "<img src=x onerror=alert(1)>$\\href{javascript:alert(2)}{x}$%{y}\u202egnp"


class _Page(HTMLParser):
    """Scripts, attributes and visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.policy = ""
        self.text = ""
        self._inside: dict[str, str | None] | None = None
        self._hidden = False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.attributes += attrs
        self._hidden = tag in ("script", "style")
        if tag == "script":
            self._inside = found
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found.get("content") or ""

    def handle_endtag(self, tag):
        self._inside = None
        self._hidden = False

    def handle_data(self, data):
        if self._inside is not None:
            self.scripts.append((self._inside, data))
        elif not self._hidden:
            self.text += data

    @property
    def figures(self) -> list[dict]:
        """The figures, as the page's script reads them."""
        return [found for found in self._json if isinstance(found, dict)]

    @property
    def deployments(self) -> list[list]:
        """The rows that the page's script shows as text, week by week."""
        return next(found for found in self._json if isinstance(found, list))

    @property
    def _json(self) -> list:
        return [json.loads(s) for a, s in self.scripts if a.get("type") == "application/json"]

    @property
    def words(self) -> str:
        """Visible text with single blanks."""
        return " ".join(self.text.split())


def _failing(tmp_path):
    """Half a year of one service with six incidents in the window."""
    history = steady(30)
    mine = [
        c for c in history.changes if "/production/" in c.path and c.committed_s > NOW_S - 12 * WEEK
    ]
    rows = [
        (f"i{n}", "checkout", c.committed_s + 600, c.committed_s + HOUR * (n + 1))
        for n, c in enumerate(mine[::4])
    ]
    return history, incidents(tmp_path, rows)


def test_only_our_own_scripts_may_run(tmp_path):
    """Each script that runs is allowed by its hash; nothing may be loaded; no attribute is a handler."""
    _, source = page(tmp_path, steady(30))
    found = _Page(source)

    assert "default-src 'none'" in found.policy
    assert "base-uri 'none'" in found.policy
    assert "form-action 'none'" in found.policy
    allowed = re.search(r"script-src ([^;]*)", found.policy)
    assert allowed is not None
    running = [text for attributes, text in found.scripts if not attributes]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in running
    }
    assert len(running) == 1
    assert set(allowed[1].split()) == hashes
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not [value for name, value in found.attributes if name in ("src", "style")]


def test_names_from_outside_stay_text(tmp_path):
    """A hostile service name is shown, in the page and in every figure, and is markup in neither."""
    history = many(8, names=HOSTILE.replace("{", "{{").replace("}", "}}") + "-{:03d}")

    _, source = page(tmp_path, history)
    found = _Page(source)

    assert "<img" not in source
    assert "onerror" in found.text
    assert "\u202e" not in source
    assert 'aria-label="<' not in source
    drawn = re.findall(r'<text x="0%"[^>]*class="hi">([^<]*)</text>', source)
    assert any("onerror" in text and text.startswith("&lt;img") for text in drawn)
    figures = json.dumps(_Page(interactive(tmp_path, history)).figures)
    assert "<img" not in figures
    assert "$" not in figures
    assert "%{" not in figures


def test_the_deployments_behind_the_chart_are_in_the_page(tmp_path):
    """Each deployment of the weeks shown has its row, with what became of it; all of them stand in the CSV."""
    history, name = _failing(tmp_path)
    measured, source = page(tmp_path, history, incidents=name)
    rows = _Page(source).deployments

    per_week = Counter(row[0] for row in rows)
    assert [per_week[index] for index in range(len(measured.weeks))] == [
        week.deployments for week in measured.weeks
    ]
    assert sum("incident" in row[5] for row in rows) >= 6
    assert {row[6] for row in rows} == {"60.0\u00a0min"}
    lines = (tmp_path / "run/evidence/dora/deployments.csv").read_text().splitlines()
    assert len(lines) == len(rows) + 1


def test_a_freeze_is_shaded_and_named(tmp_path):
    """The chart has a rectangle for the freeze window of the environment, and its note names it, escaped."""
    asked = request(tmp_path)
    asked = replace(asked, freezes=(Freeze("<b>Sale</b>", NOW_S - 5 * WEEK, NOW_S - 3 * WEEK),))
    state = dora.observe(view(steady(30)), asked)
    measured = dora.measure(asked, state)

    chart = dora_charts.charts(measured, (), ZoneInfo("UTC"))[0]
    left_out = dora.measure(
        replace(asked, definition=DoraDefinition(freezes=Included.LEFT_OUT)), state
    )

    shade = chart.figure["layout"]["shapes"][0]
    assert (shade["type"], shade["x0"], shade["x1"]) == ("rect", "2026-10-19", "2026-11-02")
    assert "Shaded: frozen: <b>Sale</b> (19" in chart.note
    assert measured.metric("frequency").counts["deployments"] == 26
    assert left_out.metric("frequency").counts["deployments"] == 22
    assert left_out.metric("frequency").now.value == measured.metric("frequency").now.value == 2
    assert left_out.definition != measured.definition


def test_plotly_shows_an_escaped_name_as_it_is():
    """The label escapes exactly what Plotly would read; ordinary names stay."""
    assert dora_axes.label("checkout") == "checkout"
    assert dora_axes.label("<b>$x$ %{y}") == "&lt;b&gt;&#36;x&#36; %&#123;y}"


def test_every_figure_is_one_that_plotly_accepts(tmp_path):
    """All traces and layouts validate against Plotly's own schema."""
    history, name = _failing(tmp_path)
    mine = interactive(tmp_path, history, incidents=name)
    other = interactive(tmp_path, many(30))

    figures = [*_Page(mine).figures, *_Page(other).figures]

    assert len(figures) >= 6
    for figure in figures:
        plain = json.loads(re.sub(r'"--[a-z0-9]+"', '"#123456"', json.dumps(figure)))
        go.Figure(plain)


def test_the_report_is_small_and_needs_no_script_for_its_charts(tmp_path):
    """With 120 services it is under 1.5 MB, and each chart is an SVG with its numbers as text; Plotly is not in it."""
    _, source = page(tmp_path, many(120, weeks=27))
    drawn = re.findall(r'<svg class="drawn".*?</svg>', source, re.DOTALL)

    assert len(source.encode()) < 1_500_000
    assert len(drawn) == 5
    assert "Plotly" not in source
    assert len(re.findall(r"data-week=", drawn[0])) == 27
    assert all("<title>" in svg for svg in drawn)
    assert not re.search(r'"(nan|None|inf|-)[^"]*%"', "".join(drawn))


def test_the_interactive_page_lets_in_one_library_by_its_hash(tmp_path):
    """What the script unpacks is Plotly as it is installed, and the policy names this text and the script alone."""
    source = interactive(tmp_path, steady(30))
    found = _Page(source)
    (packed,) = [text for a, text in found.scripts if a.get("id") == "plotly"]
    library = zlib.decompress(base64.b64decode(packed))
    (own,) = [text for a, text in found.scripts if not a]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
        for text in (library, own.encode())
    }

    assert b"plotly.js v" in library[:200]
    assert set(re.search(r"script-src ([^;]*)", found.policy)[1].split()) == hashes
    assert "default-src 'none'" in found.policy


@pytest.mark.parametrize("values", [[1], [0, 0], [5, 7], [1234, 3]])
def test_a_bar_is_as_high_as_its_number(values):
    """Heights are in proportion, from the axis' zero, whatever its end is."""
    figure = {
        "data": [
            {
                "type": "bar",
                "x": [f"2026-11-{2 + 7 * n:02d} 12:00" for n in range(len(values))],
                "y": values,
                "width": [6 * 86_400_000] * len(values),
                "marker": {"color": ["--accent"] * len(values)},
                "text": [""] * len(values),
            }
        ],
        "layout": {"xaxis": {"type": "date", "range": ["2026-10-30", "2026-11-30"]}, "yaxis": {}},
    }

    boxes = static_charts.draw(figure, 260).boxes
    numbers = [w for w in static_charts.draw(figure, 260).words if w.anchor == "end" and w.x < 9]

    top = float(numbers[-1].text.replace(",", ""))
    assert top >= max(values)
    assert [box.height for box in boxes] == [pytest.approx(210 * v / top, abs=0.01) for v in values]
    assert {round(box.y + box.height, 2) for box in boxes} == {234}


def test_a_trace_that_nobody_draws_is_an_error():
    """A figure with a mark that the drawing does not know is refused, never drawn without it."""
    figure = {
        "data": [{"type": "pie", "x": [], "y": []}],
        "layout": {"xaxis": {"type": "date", "range": ["2026-10-30", "2026-11-30"]}, "yaxis": {}},
    }

    with pytest.raises(ValueError, match="no drawing of a pie"):
        static_charts.draw(figure, 260)


def test_no_data_is_never_zero(tmp_path):
    """Without incidents the page says no data, and why; no zero stands for it."""
    _, source = page(tmp_path, steady(30))
    words = _Page(source).words

    failing = words[words.index("Change fail rate") : words.index("Sync status")]
    assert failing.count("no data") == 3
    assert "No incidents file was given" in failing
    assert "0 %" not in failing.replace("10 %", "")


def test_a_number_stands_with_interval_n_and_the_window_before(tmp_path):
    """Value, unit, interval, n and comparison of the fail rate stand on the first page."""
    history, name = _failing(tmp_path)

    measured, source = page(tmp_path, history, incidents=name)

    words = _Page(source).words
    assert "23.1 %" in words
    rate = measured.metric("fail_rate").now
    assert f"95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %" in words
    # Wilson's alone would be 11.0 to 42.1 %; weeks that scatter widen it.
    assert rate.low <= 0.1103
    assert rate.high >= 0.4206
    assert "n = 6 of 26 deployments" in words
    assert measured.title in words
    assert "24 Aug to 22 Nov 2026" in words


def test_too_few_failures_say_too_few(tmp_path):
    """Under five failures there is no median, and the card says so."""
    history = steady(30)
    name = incidents(tmp_path, [("i", "checkout", history.changes[-1].committed_s + 9, None)])

    _, source = page(tmp_path, history, incidents=name)

    assert "too few" in _Page(source).words
    assert "1 failed, a median needs 5" in _Page(source).words


def test_the_sandbox_is_named_and_a_live_run_is_not(tmp_path):
    """SANDBOX stands on top of a sandbox run only."""
    assert "SANDBOX" in _Page(page(tmp_path, steady(30))[1]).words
    assert "SANDBOX" not in _Page(page(tmp_path, steady(30), mode="live")[1]).words


def test_many_services_are_folded_and_all_there(tmp_path):
    """Of 120 services 40 stand open and 80 are folded; each has its row."""
    measured, source = page(tmp_path, many(120, weeks=27))

    assert "80 more services" in _Page(source).words
    assert sum(f"service-{number:03d}</th>" in source for number in range(120)) == 120
    assert measured.services < 120


def test_an_empty_history_has_a_page_without_charts(tmp_path):
    """Nothing deployed: a sentence, no figure, no empty table."""
    _, source = page(tmp_path, History().begin(NOW_S - 30 * WEEK, "checkout"))
    found = _Page(source)

    assert 'class="drawn"' not in source
    assert "No deployment to production in this window" in found.words
    assert "which is not the same as zero" in found.words


def test_the_lead_time_says_what_is_not_in_it(tmp_path):
    """A director reads that the clock starts in the first environment."""
    _, source = page(tmp_path, steady(30))
    words = _Page(source).words

    assert "the time from writing the code to development is not in it" in words
    assert "The time from writing the code until development is not in it" in words


def test_an_arrow_is_drawn_only_for_a_clear_change(tmp_path):
    """A steady history has the sign of no clear change and no arrow."""
    _, source = page(tmp_path, steady(40))

    assert '<use href="#flat"/>' in source
    assert '<use href="#up"/>' not in source
    assert '<use href="#down"/>' not in source


@pytest.mark.parametrize("compare_to", ["previous", "none"])
def test_comparison_can_be_left_out(tmp_path, compare_to):
    """With compare_to=none no earlier number stands anywhere."""
    measured, source = page(tmp_path, steady(40), compare_to=compare_to)

    assert (measured.before is None) == (compare_to == "none")
    assert ("compared with nothing" in source) == (compare_to == "none")
    assert ('class="was"' in source) == (compare_to == "previous")


def test_a_measured_value_stays_small_with_many_services(tmp_path):
    """The journal's line does not grow with the fleet: services stay in their file."""
    from gitops_nb.model import canonical

    assert len(canonical(measure(tmp_path, many(120, weeks=27)))) < 20_000
