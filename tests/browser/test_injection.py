"""132 hostile texts in every page that people open: no script runs, nothing is asked for, no link leads out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from markdown_it import MarkdownIt

from gitops_nb.cli.github import step_summary
from gitops_nb.model import (
    Action,
    Answer,
    Approval,
    Decision,
    Fact,
    Line,
    Outcome,
    Plan,
    ResourceChange,
    Result,
    Status,
    Table,
    Verdict,
)
from gitops_nb.notebook import cards, progress
from gitops_nb.record.fold import RunState
from gitops_nb.report.index_page import index
from gitops_nb.report.run_page import render
from gitops_nb.report.text import Whole
from tests.dora.dora_factories import NOW_S, History, page
from tests.payloads import PAYLOADS
from tests.report.run_factories import Script, opened, planned
from tests.samples import few

pytestmark = pytest.mark.browser

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ZONE = "Europe/Berlin"
AT = datetime(2026, 11, 23, 11, tzinfo=UTC)


def _change(text: str) -> ResourceChange:
    return ResourceChange(text, Action.UPDATE, text, text, (Line("-", 1, text), Line("+", 1, text)))


def _plan(texts: tuple[str, ...]) -> Plan:
    return Plan(
        runbook="promotion",
        environment=texts[0],
        summary=texts[0],
        changes=tuple(_change(text) for text in texts),
        materials=dict.fromkeys(texts, "0" * 40),
    )


def _decision(texts: tuple[str, ...]) -> Decision:
    return Decision(
        answer=Answer.REFUSED,
        plan_digest="sha256:" + "0" * 64,
        environment=texts[0],
        reasons=texts,
        verdicts=tuple(Verdict(text, False, text) for text in texts),
    )


def _outcome(texts: tuple[str, ...]) -> Outcome:
    return Outcome(
        Result.FAILED,
        texts[0],
        texts[0],
        facts=tuple(Fact(text, text) for text in texts),
        tables=(Table(texts[0], (texts[0], "b"), tuple((text, text) for text in texts)),),
        next_step=texts[0],
        command=texts[0],
        undo=texts[0],
    )


def _script(texts: tuple[str, ...]) -> Script:
    first = texts[0]
    script = opened(
        Script(),
        first,
        subject=first,
        title=first,
        rollback=first,
        owner=first,
        parameters={text: text for text in texts},
        requester={"name": first, "kind": "person", "evidence": first},
    )
    planned(script, _plan(texts))
    script.add("decision", **_fields(_decision(texts)))
    script.add("target", system=first, address=first)
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    for text in texts:
        script.effect(text, 1, text, **{text: text})
    script.add("intent", key=first, kind="effect", step="apply", sentence=first)
    script.add("outcome", outcome=_outcome(texts))
    return script.add("ended", status=Status.FAILED, exit_code=1, reason=first, hint=first)


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}


def _run_page(texts, _):
    return render(_script(texts).state(), NOW, ZONE)


OPENED = ("runbook", "environment", "subject", "title", "source", "owner")


def _index_page(texts, _):
    base = _script(texts[:1]).state()
    runs = [
        replace(
            base,
            run=f"20261123T09{n // 60:02}{n % 60:02}Z-{text}",
            reason=text,
            hint=text,
            command=text,
            opened={**base.opened, **dict.fromkeys(OPENED, text), "requester": {"name": text}},
        )
        for n, text in enumerate(texts)
    ]
    return index(runs, NOW, ZONE)


def _cards(texts, tmp_path):
    state = _script(texts).state()
    approval = Approval("run", "sha256:00", "approve", texts[0], texts[0], AT, AT, texts[0])
    decided = replace(_decision(texts), approvals=(approval,))
    # What stands in the frame is always a whole run page; each text alone in one is a case of its own.
    whole = Whole(_run_page(texts, tmp_path)) if len(texts) > 1 else ""
    return "<!doctype html><meta charset=utf-8><title>cards</title>" + "\n".join(
        [
            cards.plan_card(_plan(texts)),
            cards.decision_card(decided),
            cards.outcome_card(_outcome(texts)),
            cards.run_card(state, cards.Report(link=texts[0], page=whole, path=texts[0])),
            cards.session_card(state),
            progress.card(state, NOW, ZONE),
            *(cards.value_card(Fact(text, text)) for text in texts),
        ]
    )


def _dora_page(texts, tmp_path):
    history = History()
    names = [text.replace("/", "|").replace("\0", "") for text in texts]
    history.begin(NOW_S - 90 * 86400, *names)
    for number, name in enumerate(names):
        history.commit(NOW_S - (30 - number % 20) * 86400, name, "production", f"v{number + 1}")
    return page(tmp_path, history)[1]


def _summary(texts, _):
    rendered = [
        MarkdownIt("commonmark", {"html": True, "linkify": False})
        .enable("table")
        .render(
            step_summary(
                RunState(
                    run="20261123T091412Z-promotion-production-7c1e",
                    status=Status.FAILED,
                    reason=text,
                    hint=text,
                    opened={"title": text, "environment": text, "requester": {"name": text}},
                )
            )
        )
        for text in texts
    ]
    return "<!doctype html><meta charset=utf-8><title>summary</title>" + "".join(rendered)


SINKS = {
    "run page": _run_page,
    "index page": _index_page,
    "cards": _cards,
    "dora page": _dora_page,
    "step summary": _summary,
}
# The report in a card's frame is the run page, which has its own sink; such a frame runs nothing and belongs to nobody.
OUT = """() => { const isInert = e => e.tagName === "IFRAME" && e.hasAttribute("srcdoc") && !e.hasAttribute("src")
  && e.hasAttribute("sandbox") && !/allow-(scripts|same-origin|forms|top-navigation|popups-to)/.test(e.getAttribute("sandbox"));
return [...document.querySelectorAll("*")].flatMap(e => [
  ...[...e.attributes].filter(a => /^on/i.test(a.name) || /^data-commandlinker/.test(a.name)).map(a => a.name),
  ...["href", "src", "action", "data", "srcdoc"].filter(n => e.hasAttribute(n)).map(n => e.getAttribute(n))
     .filter(v => !v.startsWith("#") && !["file:", "about:"].includes(new URL(v, location).protocol)),
  ...(/^(iframe|object|embed|base|link|video|template|noscript)$/i.test(e.tagName) && !isInert(e) ? [e.tagName] : []),
])}"""

KINDS = (
    """() => [...new Set([...document.querySelectorAll("*")].map(e => e.tagName.toLowerCase()))]"""
)


def assert_inert(browser, tmp_path, sink, texts):
    """Opens a sink full of texts and finds that they are texts."""
    path = tmp_path / "page.html"
    path.write_text(SINKS[sink](texts, tmp_path), "utf-8", "backslashreplace")
    ordinary = tmp_path / "ordinary.html"
    (tmp_path / "plain").mkdir()
    names = tuple(f"name-{n}" for n in range(len(texts)))
    ordinary.write_text(SINKS[sink](names, tmp_path / "plain"), "utf-8")
    kinds = []
    for where in (path, ordinary):
        visit = browser.open(where)
        dialogs = []
        visit.page.on(
            "dialog", lambda dialog, dialogs=dialogs: (dialogs.append(1), dialog.dismiss())
        )
        visit.page.mouse.move(300, 300)
        visit.page.keyboard.press("Tab")
        scripts = visit.page.locator("script, style, img, audio").count()
        kinds.append((scripts, visit.page.evaluate(KINDS)))
        assert visit.page.evaluate(OUT) == []
        assert dialogs == []
        # The report's own script is blocked in a card's frame: that is what makes it one that runs nothing.
        blocked = "Blocked script execution in 'about:srcdoc'"
        assert [one for one in visit.complaints if blocked not in one] == []
        assert [url for url in visit.requests if not url.startswith(("file:", "data:image"))] == []
        assert visit.page.url == where.as_uri()
    # A name that its own YAML cannot hold is no deployment, and a page without one has fewer charts.
    assert kinds[0][0] <= kinds[1][0], "the hostile page has scripts, styles or images of its own"
    assert set(kinds[0][1]) <= set(kinds[1][1]), "the hostile page has other elements"


@pytest.mark.parametrize("sink", few(SINKS, keep=2))
def test_hostile_texts_are_inert_in_every_page(browser, tmp_path, sink):
    """All of them at once, each as a value of its own in every place of the page."""
    assert_inert(browser, tmp_path, sink, PAYLOADS)


def test_the_check_can_fail(browser, tmp_path, monkeypatch):
    """A sink that writes one text unescaped is found."""
    monkeypatch.setitem(SINKS, "broken", lambda texts, _: f"<title>x</title>{texts[2]}")
    with pytest.raises(AssertionError):
        assert_inert(browser, tmp_path, "broken", PAYLOADS)


@pytest.mark.torture
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_hostile_text_alone_is_inert(browser, tmp_path, sink, payload):
    """As the title, the subject and everything else of a page of its own."""
    assert_inert(browser, tmp_path, sink, (payload,))
