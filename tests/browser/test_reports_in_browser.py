"""Reports and index in headless Chromium: nothing loads, nothing runs, everything can be read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gitops_nb.report.index_page import SHOWN, index
from gitops_nb.report.layout import asset
from gitops_nb.report.run_page import render
from tests.report.run_factories import NOW, SCENARIOS, ZONE
from tests.report.test_index import many

pytestmark = pytest.mark.browser

NAMES = sorted(SCENARIOS)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    runs = [
        replace(script().state(), run=f"run-{n}") for n, script in enumerate(SCENARIOS.values())
    ]
    for name, run in zip(SCENARIOS, runs, strict=True):
        (folder / run.run).mkdir()
        (folder / run.run / "report.html").write_text(render(run, NOW, ZONE), "utf-8")
        (folder / f"{name}.html").write_text(render(run, NOW, ZONE), "utf-8")
    (folder / "index.html").write_text(index(runs, NOW, ZONE), "utf-8")
    (folder / "empty.html").write_text(index([], NOW, ZONE), "utf-8")
    return folder


@pytest.mark.parametrize("name", [*NAMES, "index", "empty"])
def test_opens_without_a_request_or_a_complaint(browser, pages, name):
    """A page opens from disk with no request but itself and not one console message."""
    visit = browser.open(pages / f"{name}.html")
    assert visit.requests == [(pages / f"{name}.html").as_uri()]
    assert visit.complaints == []
    assert visit.page.title()


@pytest.mark.parametrize("name", [*NAMES, "index", "empty"])
def test_no_sideways_scrolling_on_a_phone(browser, pages, name):
    """At 390 px a page is as wide as the screen, with every fold open."""
    page = browser.open(pages / f"{name}.html", width=390).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1280, 390])
def test_every_column_of_the_index_is_in_sight(browser, tmp_path, width):
    """Runs of other days, whose times are long, and a hostile name push nothing out of the table."""
    runs = [
        replace(
            script().state(), run=f"run-{number}", started=f"2026-11-{23 - number:02}T08:40:00.000Z"
        )
        for number, script in enumerate(SCENARIOS.values())
    ]
    path = tmp_path / "index.html"
    path.write_text(index(runs, NOW, ZONE), "utf-8")
    page = browser.open(path, width=width).page
    scroll = page.locator(".scroll")
    wide, seen = scroll.evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert wide <= seen
    assert scroll.locator("td:nth-child(7)").last.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_text_has_contrast(browser, pages, name, scheme):
    """Every text that is drawn has at least 4.5:1 against the ground it is drawn on, in both schemes."""
    page = browser.open(pages / f"{name}.html", scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = page.evaluate(CONTRAST)
    assert found["texts"] > 10
    assert [f"{x['ratio']:.2f} {x['text']}" for x in found["weak"]] == []


def test_contrast_check_can_fail(browser, pages, tmp_path):
    """The contrast check finds grey on white."""
    weak = tmp_path / "weak.html"
    weak.write_text("<body style='background:#fff'><p style='color:#999'>hard to read")
    assert len(browser.open(weak).page.evaluate(CONTRAST)["weak"]) == 1


def test_hostile_text_is_inert(browser, pages):
    """Markup in names makes no element and runs nothing; the browser shows it as text."""
    for name, scripts in (("hostile", 0), ("index", 1)):
        visit = browser.open(pages / f"{name}.html")
        assert visit.page.locator("script").count() == scripts
        assert (
            visit.page.locator("[onmouseover], [onerror], [data-commandlinker-command]").count()
            == 0
        )
        assert "<script>alert(1)</script>" in visit.page.inner_text("main")
        assert visit.complaints == []


def test_policy_stops_what_would_slip_in(browser, pages, tmp_path):
    """Even a report into which somebody wrote markup runs no script and loads nothing."""
    html = (pages / "succeeded.html").read_text("utf-8")
    attack = '<img src="https://evil.example/x" onerror="document.title=1"><script>document.title=2</script>'
    attack += '<p id="s" style="color:red">x</p>'
    edited = tmp_path / "edited.html"
    edited.write_text(html.replace("<main", f"{attack}<main", 1), "utf-8")
    visit = browser.open(edited)
    assert visit.page.title().endswith("succeeded")
    assert visit.blocked == ["https://evil.example/x csp"]
    assert (
        visit.page.evaluate("getComputedStyle(document.getElementById('s')).color")
        != "rgb(255, 0, 0)"
    )
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)


def test_first_screen_answers(browser, pages):
    """Title, what changed, where, who asked, who approved, result, time and next step fit one 1280 x 900 screen."""
    page = browser.open(pages / "succeeded.html").page
    for wanted in ("What changed", "Where", "Asked by", "Approved by", "Result", "Took", "Next"):
        box = page.get_by_text(wanted, exact=True).first.bounding_box()
        assert box["y"] + box["height"] < 900, wanted


def test_printing_opens_the_folds(browser, pages):
    """The printed page has what the screen folds away, and no navigation."""
    page = browser.open(pages / "succeeded.html").page
    fold = page.get_by_text("Plan digest")
    assert not fold.is_visible()
    page.emulate_media(media="print")
    assert fold.is_visible()
    assert not page.locator("nav.jump").is_visible()
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 5


def test_keyboard_reaches_folds_and_links(browser, pages):
    """The tabulator key reaches the skip link first and then opens a fold with Enter."""
    page = browser.open(pages / "succeeded.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")


def test_links_from_the_index_lead_to_reports(browser, pages):
    """A click in the index opens the report, and its link leads back."""
    page = browser.open(pages / "index.html").page
    page.get_by_role("link", name="checkout v2.31.1 crashes in production").click()
    assert page.locator("h1").inner_text() == "checkout v2.31.1 crashes in production"
    page.get_by_role("link", name="All runs").click()
    assert page.url == (pages / "index.html").as_uri()


def visible_rows(page) -> int:
    return page.locator("tr[data-g]:visible").count()


@pytest.mark.parametrize("javascript", [True, False])
def test_filters_work_with_and_without_script(browser, pages, javascript):
    """Status, environment and runbook filters hide the other rows and the days they empty, without script too."""
    page = browser.open(pages / "index.html", java_script_enabled=javascript).page
    total = visible_rows(page)
    assert total == len(SCENARIOS)
    page.get_by_label(re.compile("^Open")).check(force=True)
    assert visible_rows(page) == 3
    assert page.locator("tr.day:visible").count() == 1
    page.get_by_label(re.compile("^All")).first.check(force=True)
    page.get_by_label(re.compile("^bootstrap")).check(force=True)
    assert visible_rows(page) == 1


def test_search_finds_by_text(browser, pages):
    """The field finds runs by person, application or id; nothing found is said."""
    page = browser.open(pages / "index.html").page
    page.get_by_label("Find").fill("development bootstrap")
    assert visible_rows(page) == 1
    page.get_by_label("Find").fill("no such run")
    assert visible_rows(page) == 0
    assert page.get_by_text("No run fits these filters.").is_visible()
    page.get_by_label("Find").fill("")
    assert visible_rows(page) == len(SCENARIOS)


def test_search_field_is_absent_without_script(browser, pages):
    """Without script there is no field that would do nothing."""
    page = browser.open(pages / "index.html", java_script_enabled=False).page
    assert not page.locator("#find").is_visible()


def test_ten_thousand_runs_are_found(browser, tmp_path):
    """The field finds any of them, filters count them, and more of them can be shown; each links to its report."""
    (tmp_path / "index.html").write_text(index(many(10_000), NOW, ZONE), "utf-8")
    visit = browser.open(tmp_path / "index.html")
    page = visit.page
    assert visible_rows(page) == SHOWN
    assert page.get_by_text("9,700 older runs are not shown.").is_visible()
    for run in ("run-09876", "RUN-00007"):
        page.get_by_label("Find").fill(run)
        assert visible_rows(page) == 1
        (link,) = page.locator("tr[data-g]:visible a").all()
        assert link.get_attribute("href") == f"./{run.lower()}/report.html"
    page.get_by_label("Find").fill("checkout")
    assert visible_rows(page) > SHOWN
    page.get_by_label("Find").fill("")
    page.get_by_label(re.compile("^bootstrap")).check(force=True)
    assert visible_rows(page) == 50
    page.get_by_label(re.compile("^All")).last.check(force=True)
    page.get_by_role("button", name="Show 300 more").click()
    assert visible_rows(page) == 2 * SHOWN
    link = page.locator("[data-older] a").last.get_attribute("href")
    assert link == f"./run-{2 * SHOWN - 1:05}/report.html"
    assert visit.complaints == []


def test_palette_is_the_same_in_print_and_light():
    """Print uses the light palette, whatever the reader's scheme is."""
    css = asset("style.css")
    light = dict(re.findall(r"--([a-z0-9-]+):(#[0-9a-f]+)", css.split("@media")[0]))
    printed = dict(re.findall(r"--([a-z0-9-]+):(#[0-9a-f]+)", css.split("@media print")[1]))
    for name in ("ok", "fail", "wait", "refuse", "doubt", "ink", "ink3", "accent"):
        assert printed[name] == light[name]


CONTRAST = """() => {
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] === undefined ? 1 : n[3]]; };
  const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = el => { const layers = []; for (let e = el; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
    let c = [255, 255, 255, 1]; for (const l of layers.reverse()) c = over(l, c); return c; };
  const weak = []; let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), el = walk.currentNode.parentElement;
    if (!text || !el.checkVisibility() || el.closest(".skip, .defs, script, style")) continue;
    texts++;
    const under = ground(el), ink = over(parse(getComputedStyle(el).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) weak.push({ratio, text: text.slice(0, 40) + " <" + el.tagName + "." + el.className});
  }
  return {texts, weak};
}"""
