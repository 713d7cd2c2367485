"""What each metric counts, and when it says that it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops_nb import dora
from gitops_nb.dora import facts
from gitops_nb.dora.windows import Window
from tests.dora.dora_factories import (
    DAY,
    HOUR,
    NOW_S,
    WEEK,
    History,
    incidents,
    many,
    measure,
    request,
    steady,
    view,
)

MONDAY = NOW_S - 12 * HOUR


def _kinds(tmp_path, history: History, **parameters: object) -> list[tuple[str, str]]:
    """Version and trigger of each record of production, in order; seed for those that were there before."""
    asked = request(tmp_path, **parameters)
    dora.observe(view(history), asked)
    found = facts.read_table(asked.workdir, "deployment")
    mine = found[found["environment"] == "production"].sort_values("position")
    kinds = mine["trigger"].mask(mine["is_seed"], "seed")
    return list(zip(mine["version"], kinds, strict=True))


def _production(*versions: str | None) -> History:
    history = History().begin(NOW_S - 20 * WEEK, "checkout")
    for number, version in enumerate(versions):
        history.commit(NOW_S - 8 * WEEK + number * DAY, "checkout", "production", version)
    return history


def test_the_same_version_again_is_a_resync_and_no_deployment(tmp_path):
    """A commit that leaves the version is left out and counted."""
    found = _kinds(tmp_path, _production("v1", "v1", "v2"))

    assert found == [
        ("v0", "seed"),
        ("v1", "promotion"),
        ("v1", "resync"),
        ("v2", "promotion"),
    ]


def test_a_rollback_goes_back_from_the_newest_version_and_the_way_up_again_is_none(tmp_path):
    """v3 to v2 is a rollback; v2 to v1 right after it is not a second one, nor is v4."""
    found = _kinds(tmp_path, _production("v1", "v2", "v3", "v2", "v1", "v4"))

    assert [version for version, trigger in found if trigger == "rollback"] == ["v2"]


def test_versions_without_a_number_roll_back_only_to_one_that_ran_before(tmp_path):
    """Commit ids cannot be ordered: a return is seen, a step to an older unknown one is not."""
    found = _kinds(tmp_path, _production("aaa", "bbb", "aaa", "bbb", "ccc"))

    assert [version for version, trigger in found if trigger == "rollback"] == ["aaa"]


def test_a_removed_service_is_no_deployment_and_no_longer_counts(tmp_path):
    """Deleting the file is left out; weeks after it are not weeks without deployments."""
    history = steady(30)
    history.commit(NOW_S - 16 * WEEK, "checkout", "production", None)
    gone = History()
    gone.changes = [c for c in history.changes if c.committed_s <= NOW_S - 16 * WEEK]

    measured = measure(tmp_path, gone)

    assert measured.metric("frequency").missing == "no service was in production in this window"


def test_lead_time_begins_in_the_first_environment(tmp_path):
    """Each version counts once, from development to production; the seed is not measured."""
    measured = measure(tmp_path, steady(30, lead_s=5 * HOUR))

    lead = measured.metric("lead_time")
    assert (lead.now.value, lead.now.n) == (5 * HOUR, 26)
    assert lead.level.answer == "less than one day"


def test_what_has_no_lead_time_is_counted_by_reason(tmp_path):
    """Negative, unseen, seeded and repeated versions are left out, each for one reason."""
    history = steady(30)
    at = MONDAY - 3 * WEEK
    history.commit(at + 1, "checkout", "production", "hotfix")
    history.commit(at + 2, "checkout", "production", "backwards")
    history.commit(at + 3, "checkout", "development", "backwards")
    history.commit(at + 4, "checkout", "production", "hotfix")
    seed = History().commit(NOW_S - 30 * WEEK, "catalog", "development", "early").changes[0]
    history.changes.insert(1, seed)  # of the first commit, as its id says
    history.commit(at + 5, "catalog", "production", "early")

    excluded = measure(tmp_path, history).metric("lead_time").excluded

    assert excluded == {
        "version was never seen in development": 1,
        "version reached production before development (negative)": 1,
        "version had been there before (rollback or repeat)": 1,
        "version was in development when its history begins (seed)": 1,
    }


def test_an_environment_where_versions_enter_has_no_lead_time(tmp_path):
    """Development has nothing before it."""
    lead = measure(tmp_path, steady(30), environment="development").metric("lead_time")

    assert lead.missing == "versions enter the platform in development"
    assert lead.now.value is None


def test_weeks_without_deployments_lower_the_frequency(tmp_path):
    """Two deployments in 13 weeks are 0.15 a week, not 2."""
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    history.commit(MONDAY - 5 * DAY, "checkout", "production", "v1")
    history.commit(MONDAY - 4 * DAY, "checkout", "production", "v2")

    frequency = measure(tmp_path, history).metric("frequency")

    assert frequency.now.value == pytest.approx(2 / 13, abs=1e-6)


def test_without_an_incidents_file_the_fail_rate_is_no_data(tmp_path):
    """A rollback alone does not make a rate: fail rate and recovery are no data, rollbacks stand apart."""
    history = steady(30)
    history.commit(MONDAY - DAY, "checkout", "production", "v1")

    measured = measure(tmp_path, history)

    for key in ("fail_rate", "recovery"):
        assert measured.metric(key).now.value is None
        assert "no incidents file" in measured.metric(key).missing
    assert measured.rollbacks.counts["rollbacks"] == 1


def test_a_deployment_fails_once_by_rollback_or_incident(tmp_path):
    """A rolled back deployment with two incidents is one failure; the rollback itself is none."""
    history = steady(30)
    last = history.changes[-1].committed_s
    history.commit(last + 2 * HOUR, "checkout", "production", "v1")
    name = incidents(
        tmp_path,
        [("i1", "checkout", last + 60, last + HOUR), ("i2", "checkout", last + 120, last + 900)],
    )

    failing = measure(tmp_path, history, incidents=name, window="4w").metric("fail_rate")

    assert (failing.counts["failed"], failing.counts["deployments"]) == (1, 9)
    assert failing.now.value == pytest.approx(1 / 9, abs=1e-6)


@pytest.mark.parametrize(("after_s", "failed"), [(DAY, 1), (DAY + 1, 0), (-1, 0)])
def test_an_incident_belongs_to_the_last_deployment_of_24_hours(tmp_path, after_s, failed):
    """Up to 24 h after the deployment it is linked; later or earlier it is listed, not counted."""
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    at = MONDAY - 2 * WEEK
    history.commit(at, "checkout", "production", "v1")
    name = incidents(tmp_path, [("i1", "checkout", at + after_s, at + after_s + HOUR)])

    measured = measure(tmp_path, history, incidents=name)

    assert measured.metric("fail_rate").counts["failed"] == failed
    unlinked = [item for item in measured.excluded if item.reason.startswith("incident")]
    assert len(unlinked) == 1 - failed


def test_an_incident_of_another_service_never_counts(tmp_path):
    """Incidents link within their service; a service without deployments is named in the ledger."""
    history = steady(30)
    name = incidents(tmp_path, [("i1", "search", history.changes[-1].committed_s + 60, None)])

    measured = measure(tmp_path, history, incidents=name)

    assert measured.metric("fail_rate").counts["failed"] == 0
    assert [e.where for e in measured.excluded if "without deployments" in e.reason] == ["search 1"]


def _failures(tmp_path, count: int, *, still_open: int = 0):
    """``count`` services fail once; incidents last 1, 2, 3 ... hours, the last ``still_open`` go on."""
    history = History()
    names = [f"service-{number}" for number in range(count)]
    history.begin(NOW_S - 30 * WEEK, *names)
    at = MONDAY - 2 * WEEK
    rows = []
    for number, name in enumerate(names):
        history.commit(at + number, name, "production", "v1")
        ended = None if number >= count - still_open else at + number + (number + 1) * HOUR
        rows.append((f"i{number}", name, at + number + 60, ended))
    return history, incidents(tmp_path, rows)


def test_under_five_failures_recovery_is_too_few(tmp_path):
    """Four failures have no median, and the report says so."""
    history, name = _failures(tmp_path, 4)

    recovery = measure(tmp_path, history, incidents=name).metric("recovery")

    assert (recovery.now.value, recovery.missing) == (None, "too few: 4 failed, a median needs 5")


def test_recovery_is_the_median_with_open_failures_censored(tmp_path):
    """Five failures of 1 to 3 hours and two open ones: the median is 3 hours, not 2."""
    history, name = _failures(tmp_path, 5, still_open=2)

    recovery = measure(tmp_path, history, incidents=name).metric("recovery")

    assert (recovery.now.value, recovery.counts["open"]) == (3 * HOUR, 2)


def test_a_good_deployment_ends_a_failure_before_its_incident_does(tmp_path):
    """Whichever is earlier counts: the fix after one hour, not the incident's end after nine."""
    history, _ = _failures(tmp_path, 5)
    rows = []
    for number in range(5):
        at = MONDAY - 2 * WEEK + number
        history.commit(at + HOUR, f"service-{number}", "production", "v2")
        rows.append((f"i{number}", f"service-{number}", at + 60, at + 9 * HOUR))
    history.changes.sort(key=lambda change: change.committed_s)

    recovery = measure(tmp_path, history, incidents=incidents(tmp_path, rows)).metric("recovery")

    assert recovery.now.value == HOUR


@pytest.mark.parametrize(("window", "direction"), [("7w", "unknown"), ("8w", "up")])
def test_a_trend_needs_eight_complete_weeks(tmp_path, window, direction):
    """Four times as many deployments are an arrow over eight weeks, and none over seven."""
    history = History().begin(NOW_S - 40 * WEEK, "checkout")
    start = MONDAY - int(window[:-1]) * WEEK
    at, number = MONDAY - 39 * WEEK, 0
    while at < MONDAY:
        number += 1
        history.commit(at, "checkout", "production", f"v{number}")
        at += 6 * HOUR if at >= start else DAY

    change = measure(tmp_path, history, window=window).metric("frequency").change

    assert change is not None
    assert change.direction == direction


def test_a_partial_week_is_shown_apart_and_counts_in_no_metric(tmp_path):
    """What was deployed since Monday is drawn as partial, and named before the charts."""
    history = steady(30)
    history.commit(NOW_S - HOUR, "checkout", "production", "v999")

    measured = measure(tmp_path, history)

    assert measured.metric("frequency").counts["deployments"] == 26
    assert (measured.weeks[-1].period, measured.weeks[-1].deployments) == ("partial", 1)
    assert "is not complete" in measured.notes[-1]


def test_an_earlier_window_is_cut_to_what_is_known(tmp_path):
    """A history that begins inside it is compared from its first whole week on, and that is said."""
    measured = measure(tmp_path, steady(24))

    assert measured.before is not None
    assert measured.before.end_s - measured.before.start_s == 10 * WEEK
    assert "10\u00a0complete weeks" in measured.caveats[0]


def test_more_data_never_changes_a_past_week(tmp_path):
    """Deployments after a complete week leave that week as it was."""
    early = steady(30)
    late = steady(30)
    for number in range(20):
        late.commit(NOW_S - HOUR + number, "checkout", "production", f"w{number}")

    first, second = measure(tmp_path, early), measure(tmp_path, late)

    assert first.weeks[:-1] == second.weeks[:-1]


def test_an_empty_window_says_no_data_everywhere(tmp_path):
    """A service that was never deployed has a rate of zero and no other number."""
    measured = measure(tmp_path, History().begin(NOW_S - 30 * WEEK, "checkout"))

    assert measured.title == "No deployment to production in this window"
    assert measured.metric("lead_time").missing == "no deployment in this window"
    assert measured.metric("frequency").now.value == 0


def test_windows_that_are_split_add_up(tmp_path):
    """The deployments of two halves are those of the whole, for services and for all."""
    history = many(12)
    asked = request(tmp_path, compare_to="none")
    state = dora.observe(view(history), asked)
    window = asked.window
    middle = window.start_s + 6 * WEEK
    halves = (Window(window.start_s, middle), Window(middle, window.end_s))

    counts = [
        dora.measure(replace(asked, window=w), state).metric("frequency").counts["deployments"]
        for w in (window, *halves)
    ]

    assert counts[0] == counts[1] + counts[2] > 0


def test_only_the_last_environment_has_levels(tmp_path):
    """The Quick Check asks about production; staging gets numbers and no level."""
    measured = measure(tmp_path, many(12), environment="staging")

    assert {metric.level.low for metric in measured.metrics} == {0}
    assert measured.metric("frequency").level.answer.endswith("about production")
