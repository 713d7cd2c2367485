"""Two windows that differ in more than delivery: the report compares what both have, and says the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from gitops_nb import dora
from gitops_nb.dora import collect, comparing, fact_tables, facts, leading
from gitops_nb.dora.numbers import Span
from gitops_nb.dora.results import Freeze, Measured
from gitops_nb.dora.store import FactStore
from gitops_nb.dora.windows import Window
from gitops_nb.model import from_json, to_json
from gitops_nb.report import dora_cards
from tests.dora.dora_factories import (
    DAY,
    FLEET,
    HOUR,
    NOW_S,
    WEEK,
    History,
    incidents,
    measure,
    page,
    request,
    view,
)

WEEKS = 28
OLD = ("checkout", "catalog", "basket")


def _history(rows: Iterable[tuple[str, int, int, int]]) -> History:
    """Services as (name, first week, last week, deployments per week); those of week 0 are there from the start."""
    rows = list(rows)
    start = NOW_S - WEEKS * WEEK
    history = History().begin(start, *(name for name, first, _, _ in rows if not first))
    commits = []
    for name, first, last, per_week in rows:
        for number in range((last - first) * per_week):
            at = start + first * WEEK + DAY + number * WEEK // per_week
            commits.append((at, name, "development", f"v{number + 1}"))
            commits.append((at + HOUR, name, "production", f"v{number + 1}"))
    for commit in sorted(c for c in commits if c[0] < NOW_S):
        history.commit(*commit)
    return history


def _steady(*, without: Window | None = None) -> History:
    history = _history((name, 0, WEEKS, 3) for name in OLD)
    if without is not None:
        kept = [c for c in history.changes if not without.holds(c.committed_s)]
        history = History(kept)
    return history


def _changes(measured: Measured) -> dict[str, str]:
    return {m.key: m.change.direction for m in measured.metrics if m.change}


def test_services_that_came_make_no_fleet_faster(tmp_path):
    """Their deployments are counted; the change is that of the services of both windows, and both is said."""
    new = [(f"new-{number}", 18, WEEKS, 9) for number in range(3)]
    measured, html = page(tmp_path, _history([*((n, 0, WEEKS, 3) for n in OLD), *new]))

    frequency = measured.metric("frequency")
    assert frequency.counts["services"] == 6
    assert frequency.change is not None
    assert (frequency.change.direction, frequency.change.compared) == ("flat", 3)
    assert "more often" not in measured.title
    assert "3\u00a0services came" in measured.caveats[0]
    assert "deployments of the 3\u00a0services in both windows 1.00 times" in html
    assert html.index("services came") < html.index('id="m-frequency"')


def test_lead_times_of_services_that_came_move_no_trend(tmp_path):
    """A median that falls because fast services were added is no faster delivery."""
    new = [(f"new-{number}", 18, WEEKS, 9) for number in range(3)]
    history = _history([*((n, 0, WEEKS, 3) for n in OLD), *new])
    history.changes = sorted(
        (
            c._replace(committed_s=c.committed_s + 5 * HOUR)
            if "/production/" in c.path and "new" not in c.path
            else c
            for c in history.changes
        ),
        key=lambda c: c.committed_s,
    )
    measured = measure(tmp_path, history)

    lead = measured.metric("lead_time")
    assert lead.before is not None
    assert (lead.now.value, lead.before.value) == (HOUR, 6 * HOUR)
    assert lead.change is not None
    assert lead.change.direction == "flat"
    assert lead.change.estimate.value == 0


def test_without_a_service_in_both_windows_nothing_is_compared(tmp_path):
    """A fleet that was replaced has no change."""
    old = [(name, 0, 14, 3) for name in OLD]
    history = _history([*old, *((f"new-{n}", 16, WEEKS, 3) for n in range(3))])
    for name in OLD:
        history.commit(NOW_S - 13 * WEEK, name, "production", None)
    history.changes.sort(key=lambda c: c.committed_s)
    measured = measure(tmp_path, history)

    assert set(_changes(measured).values()) == {"unknown"}
    assert "None was there in both" in measured.caveats[0]


def test_a_freeze_is_no_slower_fleet(tmp_path):
    """Weeks with a freeze are not compared, and the first page says for how long deployments were frozen."""
    freeze = Freeze("year end", NOW_S - 6 * WEEK, NOW_S - 2 * WEEK)
    history = _steady(without=Window(freeze.start_s, freeze.end_s))
    slower = measure(tmp_path, history).metric("frequency").change
    assert slower is not None
    assert (slower.estimate.value or 0) < 0.8

    asked = replace(request(tmp_path), freezes=(freeze,))
    measured = dora.measure(asked, dora.observe(view(history), asked))

    change = measured.metric("frequency").change
    assert change is not None
    assert (change.direction, change.estimate.value) == ("flat", 1)
    assert change.stratified == (0, 0)
    assert (
        "(“year end”) for 28\u00a0days of this window and 0\u00a0days of the one before"
        in measured.caveats[0]
    )


def test_a_freeze_that_leaves_too_few_weeks_leaves_no_trend(tmp_path):
    """Eight weeks of both windows have to be without a freeze."""
    freeze = Freeze("year end", NOW_S - 8 * WEEK, NOW_S)
    asked = replace(request(tmp_path), freezes=(freeze,))
    measured = dora.measure(asked, dora.observe(view(_steady()), asked))

    change = measured.metric("frequency").change
    assert change is not None
    assert change.direction == "unknown"
    assert "without a freeze" in change.reason


def test_silence_in_a_freeze_is_no_service_that_stopped(tmp_path):
    """Who may not deploy has not gone quiet."""
    freeze = Freeze("year end", NOW_S - 6 * WEEK, NOW_S)
    history = _steady(without=Window(freeze.start_s, freeze.end_s))
    asked = replace(request(tmp_path), freezes=(freeze,))
    measured = dora.measure(asked, dora.observe(view(history), asked))

    assert not [look for look in measured.look_at if "has not been deployed" in look.text]
    usual = measure(tmp_path, history)
    assert [look for look in usual.look_at if "has not been deployed" in look.text]


def _failing(first_s: int, last_s: int) -> list[tuple[int, str, int, int | None]]:
    """An incident an hour after every fourth deployment of checkout and catalog in a time."""
    commits = [
        c
        for c in _steady().changes
        if "/production/" in c.path and c.committed_s > NOW_S - 27 * WEEK
    ]
    chosen = [c for c in commits if "basket" not in c.path][::4]
    return [
        (number, c.path.split("/")[1], c.committed_s + HOUR, c.committed_s + 2 * HOUR)
        for number, c in enumerate(chosen)
        if first_s <= c.committed_s < last_s - DAY
    ]


@pytest.mark.parametrize(
    ("first", "last"),
    [(13, 0), (17, 0), (28, 13), (28, 6)],
    ids=["none before", "from the middle", "none now", "until the middle"],
)
def test_incidents_that_nobody_recorded_are_no_change(tmp_path, first, last):
    """A record that begins or ends within the two windows says nothing about better or worse."""
    rows = _failing(NOW_S - first * WEEK, NOW_S - last * WEEK)
    measured = measure(tmp_path, _steady(), incidents=incidents(tmp_path, rows))

    changes = _changes(measured)
    assert changes["fail_rate"] == changes["rework"] == "unknown"
    assert measured.title == "Delivery to production is steady where it can be compared"
    assert measured.metric("fail_rate").before is None
    assert [c for c in measured.caveats if c.startswith("No incident is recorded from")]


def test_a_whole_record_of_incidents_is_compared(tmp_path):
    """Incidents at a usual pace through both windows give a change and no warning."""
    rows = _failing(NOW_S - 28 * WEEK, NOW_S)
    measured = measure(tmp_path, _steady(), incidents=incidents(tmp_path, rows))

    assert _changes(measured)["fail_rate"] == "flat"
    assert measured.caveats == ()


def test_no_incident_at_all_is_said(tmp_path):
    """A file without one of the environment may be right, and may be nobody's work."""
    measured = measure(tmp_path, _steady(), incidents=incidents(tmp_path, []))

    assert measured.metric("fail_rate").now.value == 0
    assert "If nobody recorded them" in measured.caveats[0]


@pytest.mark.parametrize(
    ("span", "stayed", "came", "went"),
    [
        (Span(50, None), True, 0, 0),
        (Span(100, None), True, 0, 0),
        (Span(101, None), False, 1, 0),
        (Span(50, 300), True, 0, 0),
        (Span(50, 299), False, 0, 1),
        (Span(150, 250), False, 1, 1),
        (Span(50, 100), False, 0, 0),
        (Span(300, None), False, 0, 0),
    ],
)
def test_a_service_stayed_when_it_was_there_throughout(span, stayed, came, went):
    """Border by border."""
    found = comparing.fleet_of({"a": span}, Window(200, 300), Window(100, 200))

    assert (found.stayed, found.came, found.went) == (frozenset("a" * stayed), came, went)


def test_few_incidents_have_no_pace():
    """Four incidents and then none may well be all that happened."""
    span = Window(0, 26 * WEEK)
    assert comparing.incident_gap([DAY * n for n in range(1, 5)], span) is None
    assert comparing.incident_gap([DAY * n for n in range(1, 20)], span) == Window(
        19 * DAY, 26 * WEEK
    )


def test_another_definition_is_named_on_the_first_page(tmp_path):
    """Options that differ stand beside the window, and a report before this one by another definition is named."""
    earlier = tmp_path / "20261122T120000Z-dora-production-aaaa"
    earlier.mkdir()
    report = {
        "environment": "production",
        "outcome": {
            "result": "reported",
            "facts": [{"label": "Definition", "text": "0123456789ab"}],
        },
    }
    (earlier / "report.json").write_text(json.dumps(report))
    history = _steady()
    _, usual = page(tmp_path, history)
    _, other = page(tmp_path, history, definition=("failures=rollback", "coalesce=1h"))

    head = usual[usual.index("<h1>") - 400 : usual.index('class="metrics"')]
    assert ", the default</span>" in head
    assert "counted by another definition, 0123456789ab" in head
    assert "not the default: coalesce s=3600, failures=" in other


def test_a_card_reads_the_same_from_the_record(tmp_path):
    """Records sort their keys; the number of lead times keeps its noun."""
    measured = measure(tmp_path, _steady())
    recorded = from_json(Measured, json.loads(json.dumps(to_json(measured), sort_keys=True)))

    for one in (measured, recorded):
        n = dora_cards.card(one.metric("lead_time"), one).n.replace("\u00a0", " ")
        assert n == f"{one.metric('lead_time').now.n} versions; 0 left out"


def _collected(tmp_path, history: History) -> FactStore:
    """The deployments of a history in a store, as collecting its repository leaves them."""
    source = request(tmp_path).sources[0]
    events, _ = collect.from_history(
        history.changes, source, environments=tuple(FLEET.environments), now_s=NOW_S
    )
    store = FactStore(tmp_path / "facts")
    store.merge("deployment", facts.deployments_of(events, censor_first=False))
    return store


def _measure_store(tmp_path) -> Measured:
    asked = request(tmp_path, deployments="facts")
    return dora.measure(asked, dora.observe(view(History()), asked))


def test_silence_until_the_collection_is_no_end_of_the_facts(tmp_path):
    """Services that stopped six weeks ago and are read today were deployed less often; the window is not cut."""
    stopped = _steady(without=Window(NOW_S - 6 * WEEK, NOW_S))
    store = _collected(tmp_path, stopped)
    cut = _measure_store(tmp_path)
    assert cut.window.end_s < NOW_S - 5 * WEEK

    store.set_end("configuration platform-config apps", NOW_S)
    measured = _measure_store(tmp_path)

    assert measured.window.end_s == NOW_S - 12 * HOUR
    assert measured.caveats == ()
    change = measured.metric("frequency").change
    assert change is not None
    assert (change.estimate.value or 1) < 0.8


def test_a_source_that_was_not_read_to_the_end_cuts_the_window(tmp_path):
    """Where one repository was read last six weeks ago, later weeks of the others compare with nothing."""
    store = _collected(tmp_path, _steady())
    store.set_end("configuration platform-config apps", NOW_S - 4 * WEEK)
    store.set_end("configuration other-config apps", NOW_S)
    store.set_end("configuration given-up-config apps", NOW_S - 60 * WEEK)
    measured = _measure_store(tmp_path)

    assert measured.window.end_s == NOW_S - 4 * WEEK + 1
    assert "“configuration platform-config apps” was last collected" in measured.caveats[0]


def test_incidents_that_were_not_collected_again_are_no_fewer_failures(tmp_path):
    """Incidents of a store are known until somebody last gave them; failures after that do not compare."""
    store = _collected(tmp_path, _steady())
    rows = [
        {
            "incident_id": str(number),
            "service": service,
            "environment": "production",
            "started_s": start,
            "resolved_s": end,
            "source": "file",
        }
        for number, service, start, end in _failing(NOW_S - 28 * WEEK, NOW_S - 2 * WEEK)
    ]
    store.merge("incident", fact_tables.frame(fact_tables.INCIDENT, rows))
    store.set_end("configuration platform-config apps", NOW_S)
    store.set_end("incidents pages.csv", NOW_S - 2 * WEEK)
    measured = _measure_store(tmp_path)

    assert _changes(measured)["fail_rate"] == "unknown"
    assert "Incidents were last collected on 9\u00a0Nov\u00a02026" in measured.caveats[0]


def test_lead_times_of_some_services_name_the_others(tmp_path):
    """A median of the few services whose code is known says how many deployments it knows nothing about."""
    store = _collected(tmp_path, _steady())
    deployed = store.read("deployment")
    mine = deployed[(deployed["service"] == "checkout") & (deployed["environment"] == "production")]
    changes, arrived = [], []
    for row in mine[~mine["is_seed"]].itertuples():
        change = {
            "service": "checkout",
            "repository": "code",
            "sha": row.version,
            "authored_s": row.finished_s - DAY,
        }
        changes.append({**change, "committed_s": change["authored_s"]})
        arrived.append(
            {
                **change,
                "environment": "production",
                "deployment_id": row.deployment_id,
                "finished_s": row.finished_s,
            }
        )
    store.merge("change", fact_tables.frame(fact_tables.CHANGE, changes))
    store.merge("change_deployment", fact_tables.frame(fact_tables.CHANGE_DEPLOYMENT, arrived))
    store.set_end("configuration platform-config apps", NOW_S)
    measured = _measure_store(tmp_path)

    lead = measured.metric("lead_time")
    others = 2 * 3 * 13
    assert (lead.now.n, lead.excluded) == (39, {leading.NO_REPOSITORY: others})
    assert leading.NO_REPOSITORY in {item.reason for item in measured.excluded}
    assert any(leading.NO_REPOSITORY in look.text for look in measured.look_at)
