"""The DORA report in headless Chromium: opens offline, draws, fits a phone, dark mode and paper."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_nb import dora
from gitops_nb.catalog.load import load_catalog
from gitops_nb.ports import View
from gitops_nb.record.fold import RunState
from gitops_nb.report.dora import render_dora
from tests.browser.test_reports_in_browser import CONTRAST
from tests.dora.dora_factories import PARAMETERS, interactive, many, page

pytestmark = pytest.mark.browser

TESTS = Path(__file__).parents[1]
GOVUK = TESTS.parents[1] / "shared/data/dora/govuk/image_tag_commits_2022_2024.parquet"


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    """A report of 60 invented services, without incidents, in the sandbox."""
    folder = tmp_path_factory.mktemp("dora")
    _, source = page(folder, many(60, names="<b>service-{:03d}"))
    (folder / "report.html").write_text(source, "utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def govuk(tmp_path_factory):
    """The report of GOV.UK's year 2024."""
    if not GOVUK.is_file():
        pytest.skip(f"SKIPPED: no shared data at {GOVUK}")
    folder = tmp_path_factory.mktemp("govuk")
    workspace = TESTS / "workspaces" / "govuk"
    asked = dora.request(
        load_catalog(workspace / "runbooks").fleet,
        {**PARAMETERS, "deployments": str(GOVUK), "window": "2024", "time_zone": "Europe/London"},
        workdir=folder,
        now=datetime(2026, 11, 23, tzinfo=UTC),
        base=workspace,
    )
    state = dora.observe(View(None, {}, {}, None, None), asked)  # type: ignore[arg-type]
    run = RunState(run="govuk", opened={"mode": "live"})
    source = render_dora(
        run, dora.measure(asked, state), state, directory=folder, now=datetime.now(UTC)
    )
    (folder / "report.html").write_text(source, "utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def zoomable(tmp_path_factory):
    """The interactive charts of the same services."""
    folder = tmp_path_factory.mktemp("interactive")
    path = folder / "interactive.html"
    path.write_text(interactive(folder, many(60, names="<b>service-{:03d}")), "utf-8")
    return path


@pytest.mark.parametrize("which", ["invented", "govuk"])
@pytest.mark.parametrize("script", [True, False])
def test_opens_offline_and_shows_every_chart(browser, request, which, script):
    """The page asks for nothing but itself, and all charts have their marks, also where no script runs."""
    path = request.getfixturevalue(which)

    visit = browser.open(path, java_script_enabled=script)

    assert visit.requests == [path.as_uri()]
    assert visit.complaints == []
    charts = visit.page.locator("svg.drawn")
    assert charts.count() >= 3
    for place in range(charts.count()):
        drawn = charts.nth(place)
        marks = drawn.locator("rect:not(.shade), circle")
        assert marks.count() > 1
        outer, inner = drawn.bounding_box(), marks.last.bounding_box()
        assert inner["width"] > 0 < inner["height"]
        assert outer["x"] <= inner["x"] <= outer["x"] + outer["width"]
        assert outer["y"] <= inner["y"] <= outer["y"] + outer["height"]


def test_the_interactive_charts_are_drawn_by_the_library_that_the_file_holds(browser, zoomable):
    """Plotly is unpacked and runs under the page's policy; nothing is loaded, names are text."""
    visit = browser.open(zoomable)
    visit.page.locator(".plot .cartesianlayer").nth(2).wait_for(state="attached", timeout=30_000)

    assert visit.requests == [zoomable.as_uri()]
    assert visit.complaints == []
    labels = visit.page.locator(".plot .ytick text").all_text_contents()
    assert any(text.startswith("<b>service-") for text in labels)


def test_a_bar_opens_the_deployments_of_its_week(browser, invented):
    """The newest week stands open; pressing a bar of the first chart, or choosing a week, shows that week's rows."""
    page_ = browser.open(invented).page
    first = page_.locator("#week").input_value()
    assert page_.locator("#drilled tbody tr").count() > 0
    page_.locator("svg.drawn").first.locator("[data-week]").nth(3).click()
    assert page_.locator("#week").input_value() == "3" != first
    when = page_.locator("#drilled tbody tr td").first.inner_text()
    page_.locator("#week").select_option(first)
    assert page_.locator("#drilled tbody tr td").first.inner_text() != when


def test_a_name_is_drawn_as_it_is_written(browser, invented):
    """Markup in a service's name is text in table and chart, not bold."""
    page_ = browser.open(invented).page

    assert page_.locator("tbody th b").count() == 0
    labels = page_.locator("svg.drawn text").all_text_contents()
    assert any(text.startswith("<b>service-") for text in labels)


@pytest.mark.parametrize("which", ["invented", "govuk"])
def test_no_sideways_scrolling_on_a_phone(browser, request, which):
    """At 390 px the page is as wide as the screen, with every fold open and all texts of charts inside."""
    page_ = browser.open(request.getfixturevalue(which), width=390).page
    page_.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert page_.evaluate("document.documentElement.scrollWidth") <= 390
    widest = page_.evaluate(
        "Math.max(...[...document.querySelectorAll('.drawn, .drawn *')].map(s => s.getBoundingClientRect().right))"
    )
    assert widest <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, invented, scheme):
    """Every text has at least 4.5:1 against its ground, in both schemes."""
    page_ = browser.open(invented, scheme=scheme).page
    page_.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    found = page_.evaluate(CONTRAST)

    assert found["texts"] > 50
    assert [f"{x['ratio']:.2f} {x['text']}" for x in found["weak"]] == []


def test_charts_follow_the_colour_scheme(browser, invented):
    """Bars have another colour in dark mode than in light."""
    fills = set()
    for scheme in ("light", "dark"):
        page_ = browser.open(invented, scheme=scheme).page
        fills.add(
            page_.evaluate(
                "getComputedStyle([...document.querySelectorAll('.drawn [data-week]')][20]).fill"
            )
        )

    assert len(fills) == 2


def test_the_first_page_is_one_page_of_paper(browser, invented):
    """Metrics, levels, trends and what to look at fit one sheet of A4; the rest begins on the next."""
    paper = browser.open(invented, width=703, height=900).page
    paper.emulate_media(media="print")

    height = paper.locator(".band").bounding_box()["height"]

    # 297 mm less the margins, at 96 dots per inch.
    assert height < (297 - 28) / 25.4 * 96
