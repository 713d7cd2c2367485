"""Cards of values in a notebook cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from IPython.core.interactiveshell import InteractiveShell

from gitops_nb.model import Action, Applied, Decision, Line, Plan, ResourceChange
from gitops_nb.notebook import cards
from gitops_nb.report import story
from tests.report.run_factories import HOSTILE, SCENARIOS, plan
from tests.report.test_run_report import Page


@dataclass(frozen=True)
class State:
    """A value of a slice, as a test sees it."""

    application: str
    versions: tuple[str, ...] = ()
    hidden: object = field(default=None, repr=False)


def every_card():
    for name, script in SCENARIOS.items():
        run = script().state()
        known = story.parts(run)
        yield f"{name} run", cards.run_card(run, cards.Report(link="report.html"))
        if known.plan:
            yield f"{name} plan", cards.plan_card(known.plan)
        if known.decision:
            yield f"{name} decision", cards.decision_card(known.decision)
        if known.outcome:
            yield f"{name} outcome", cards.outcome_card(known.outcome)
    yield "applied", cards.applied_card(Applied({"commit": {"revision": HOSTILE}}))
    yield "value", cards.value_card(State(HOSTILE, (HOSTILE,)))


CARDS = dict(every_card())


@pytest.mark.parametrize("name", sorted(CARDS))
def test_cards_are_inert(name):
    """A card has no script, no handler, no id, no load, nothing invisible, and no formula that MathJax would read."""
    page = Page(CARDS[name])
    for tag, attrs in page.elements:
        assert tag not in ("script", "style", "link", "img", "iframe", "object", "form", "input")
        assert not [key for key in attrs if key.startswith(("on", "data-"))], (tag, attrs)
        assert not {"id", "src"} & set(attrs), (tag, attrs)
        assert attrs.get("class", "mathjax_ignore") == "mathjax_ignore"
        assert "url(" not in (attrs.get("style") or "")
        assert tag != "a" or attrs["href"] == "report.html"
    assert page.elements[0][1]["class"] == "mathjax_ignore"
    assert "\x1b" not in CARDS[name]
    assert "\u202e" not in CARDS[name]


def test_plan_card_shows_the_diff_and_the_digest():
    """A plan shows the exact edit, and the digest that an approval would be about."""
    page = Page(cards.plan_card(plan()))
    assert "checkout:v2.31.1" in page.text.replace("\n", "")
    assert plan().digest[7:19] in page.text


def test_empty_plan_says_nothing_to_do():
    """A plan without changes says that there is nothing to do."""
    assert "nothing to do" in Page(cards.plan_card(plan(changes=()))).text


def test_text_card_is_safe_text():
    """The plain text of a card has one line per fact and no control characters."""
    text = cards.text_card(State(HOSTILE, ("a\nb",)))
    assert text.splitlines()[0] == "State"
    assert len(text.splitlines()) == 3
    assert not [c for c in text if ord(c) < 32 and c != "\n"]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_text_cards_of_every_run(name):
    """Every kind of run, plan, decision and outcome has a plain text."""
    run = SCENARIOS[name]().state()
    known = story.parts(run)
    for value in (run, known.plan, known.decision, known.outcome):
        if value is not None:
            assert cards.text_card(value).strip()


def test_value_card_counts_what_it_leaves_out(monkeypatch):
    """A value with many fields shows the first and counts the rest."""
    monkeypatch.setattr(cards, "MOST_FIELDS", 1)
    assert "and 1\xa0field more" in Page(cards.value_card(State("checkout"))).text


def test_registered_values_show_themselves():
    """After registration IPython shows a plan as a card, with the plain text beside it."""
    shell = InteractiveShell()
    cards.register_formatters(shell)
    bundle, _ = shell.display_formatter.format(plan())
    assert bundle["text/html"] == cards.plan_card(plan())
    assert bundle["text/plain"] == cards.text_card(plan())


def test_other_dataclasses_of_the_package_show_their_fields():
    """A dataclass that has no card of its own shows its fields, one with its own HTML keeps it."""
    from gitops_nb.model import Commit
    from gitops_nb.report.text import plain

    shell = InteractiveShell()
    cards.register_formatters(shell)
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    commit = Commit("ab" * 20, (), "priya-k", moment, moment, "raise the tag")
    bundle, _ = shell.display_formatter.format(commit)
    assert "raise the tag" in bundle["text/html"]
    assert plain(bundle["text/plain"]) == bundle["text/plain"]


def test_session_shows_its_run():
    """The session shows the run that its journal tells of."""

    class Session:
        state = SCENARIOS["waiting"]().state()

    shell = InteractiveShell()
    cards.register_formatters(shell, sessions=(Session,), state=lambda session: session.state)
    bundle, _ = shell.display_formatter.format(Session())
    assert "waits for 1\xa0approval" in bundle["text/html"]
    assert "gitops-nb approve" in bundle["text/plain"]


def test_open_session_is_not_called_unfinished():
    """While its run goes on, the session shows as open, not as a run whose end is missing."""
    run = SCENARIOS["killed"]().state()
    page = Page(cards.session_card(run))
    assert "Promotion: checkout in production" in page.text
    assert "no end is recorded" not in page.text
    assert "no end is recorded" in Page(cards.run_card(run)).text


def test_without_ipython_nothing_is_registered():
    """Outside of IPython registration does nothing."""
    cards.register_formatters(None)


def test_decision_card_names_the_gate_that_says_no():
    """A refused decision shows the gate, its reason, and when it could clear."""
    known = story.parts(SCENARIOS["refused"]().state())
    assert isinstance(known.decision, Decision)
    text = Page(cards.decision_card(known.decision, "Europe/Berlin")).text
    assert "says no" in text
    assert "08:00:00\xa0+01:00" in text


def test_card_of_a_plan_with_many_changes():
    """A thousand changes are folded and none is left out: an approver signs all of them."""
    change = plan().changes[0]
    many = Plan("bootstrap", "development", "1,000 changes", (change,) * 1_000)
    html = cards.plan_card(many)
    assert html.count(change.address) == 1_000
    assert html.index(change.address) < html.index("<details") < html.rindex(change.address)


def test_a_long_change_is_folded_and_whole():
    """Of an object with thousands of lines every line is there, behind a fold that says how many."""
    lines = tuple(Line("+", n, f"line {n} " + "y" * 3_000) for n in range(1, 101))
    change = ResourceChange("ConfigMap a/b", Action.CREATE, diff=lines)
    html = cards.plan_card(Plan("bootstrap", "development", "one", (change,)))
    assert "<details" in html
    assert "100\xa0lines" in html
    assert html.count("y" * 3_000) == 100


@pytest.mark.parametrize(
    ("path", "href"),
    [
        ("../runs of #1/100 %/report.html", "../runs%20of%20%231/100%20%25/report.html"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("https://evil.example/report.html", "https%3A//evil.example/report.html"),
    ],
)
def test_a_link_to_a_report_is_a_path(path, href):
    """Whatever a folder is called, the link is one below the notebook's, never an address of its own."""
    run = next(iter(SCENARIOS.values()))().state()
    assert f'href="{href}"' in cards.run_card(run, cards.Report(link=path))
