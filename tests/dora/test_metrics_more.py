"""Rework, steps between environments, other tools' definitions beside ours, and changes of pace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats.mstats import winsorize

from gitops_nb import dora
from gitops_nb.dora import benchmarks, profiles
from gitops_nb.dora.findings import look_at, title
from gitops_nb.dora.levels import Level
from gitops_nb.dora.results import Change
from gitops_nb.dora.statistics import Estimate
from gitops_nb.errors import UsageError
from tests.dora.dora_factories import (
    DAY,
    HOUR,
    NOW_S,
    WEEK,
    History,
    incidents,
    many,
    measure,
    page,
    request,
    steady,
    view,
)

MONDAY = NOW_S - 12 * HOUR
SURVEY = Path(__file__).parents[3] / "shared/data/dora/dora_dev/editions_2025_industry_metrics.json"


def _rework(tmp_path, history: History, rows) -> dict[str, int]:
    name = incidents(tmp_path, rows)
    return dict(measure(tmp_path, history, incidents=name).metric("rework").counts)


@pytest.mark.parametrize(
    ("fixed_after", "resolved_after", "fixes"),
    [
        (2 * HOUR, 3 * HOUR, 1),
        (3 * HOUR, 3 * HOUR, 1),
        (4 * HOUR, 3 * HOUR, 0),
        (90 * DAY, None, 0),
    ],
)
def test_the_next_deployment_while_an_incident_lasts_is_a_fix(
    tmp_path, fixed_after, resolved_after, fixes
):
    """Up to its very end it is unplanned; after it, or out of the window, it is not."""
    at = MONDAY - 5 * WEEK
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    history.commit(at, "checkout", "production", "v1")
    history.commit(min(at + fixed_after, NOW_S - HOUR), "checkout", "production", "v2")
    ends = None if resolved_after is None else at + resolved_after

    counts = _rework(tmp_path, history, [("i1", "checkout", at + HOUR, ends)])

    assert counts.get("fix", 0) == counts["unplanned"] == fixes


def test_rollbacks_and_hotfixes_are_unplanned_and_each_deployment_counts_once(tmp_path):
    """A rollback while an incident lasts is one unplanned deployment; so is a version named hotfix."""
    at = MONDAY - 3 * WEEK
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    for place, version in enumerate(("v1", "v2", "v1", "v3", "v4-hotfix")):
        history.commit(at + place * DAY, "checkout", "production", version)

    counts = _rework(tmp_path, history, [("i1", "checkout", at + DAY + HOUR, at + 3 * DAY - HOUR)])

    assert counts == {"unplanned": 2, "deployments": 5, "rollback": 1, "hotfix": 1}


def test_without_incidents_rework_is_no_data(tmp_path):
    """Nobody knows what was a fix, so there is no rate, not a low one."""
    metric = measure(tmp_path, steady(30)).metric("rework")

    assert (metric.now.value, metric.change, dict(metric.counts)) == (None, None, {})
    assert "no incidents file" in metric.missing


def test_each_step_between_environments_has_its_own_time(tmp_path):
    """Two hours to staging and three more to production; a version that skipped staging is left out."""
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    for number in range(1, 13):
        at = MONDAY - number * WEEK + DAY
        history.commit(at, "checkout", "development", f"v{20 - number}")
        history.commit(at + 2 * HOUR, "checkout", "staging", f"v{20 - number}")
        history.commit(at + 5 * HOUR, "checkout", "production", f"v{20 - number}")
    history.changes.sort(key=lambda change: change.committed_s)
    history.commit(MONDAY - DAY, "checkout", "production", "v30")

    first, second = measure(tmp_path, history).stages

    assert (first.source, first.target, first.now.value) == ("development", "staging", 2 * HOUR)
    assert (second.source, second.target, second.now.value) == ("staging", "production", 3 * HOUR)
    assert (second.now.n, dict(second.excluded)) == (12, {"never seen in staging": 1})


def test_the_first_row_of_the_what_if_table_is_the_report(tmp_path):
    """Under our own definition the plain reading of the tables gives the report's numbers."""
    rows = [
        (f"i{n}", f"service-{n:03d}", NOW_S - n * WEEK - DAY, NOW_S - n * WEEK)
        for n in range(1, 12)
    ]
    measured = measure(tmp_path, many(12), incidents=incidents(tmp_path, rows))

    own = measured.compared[0]
    assert own.definition == measured.definition == measured.options.hash
    for key in ("frequency", "lead_time", "fail_rate", "recovery"):
        cell = getattr(own, key)
        assert cell.value == measured.metric(key).now.value, key
    assert {row.name for row in measured.compared[1:]} == {
        p.name for p in (profiles.WINSORISED, *profiles.COMPATIBLE)
    }


def test_a_mean_without_tails_is_that_of_scipy(tmp_path):
    """The what-if table says how much single changes weigh: the winsorised mean of the deployments' own lead times."""
    measured = measure(tmp_path, many(12))
    rows = dora.frames(tmp_path / "run")["deployments"]
    window = measured.window
    leads = rows[rows["finished_s"].between(window.start_s, window.end_s - 1)]["lead_s"].dropna()
    expected = winsorize(leads.to_numpy(dtype="float64"), limits=(0.05, 0.05)).mean()

    (row,) = (row for row in measured.compared if row.name == "Mean without tails")

    assert row.lead_time.value == pytest.approx(expected, rel=1e-9)
    assert (row.lead_time.n, row.frequency.value) == (
        len(leads),
        measured.compared[0].frequency.value,
    )
    assert row.lead_time.value != measured.compared[0].lead_time.value


def test_other_definitions_of_the_same_facts_give_other_numbers(tmp_path):
    """Mean, median, and every incident of the project: what a reader has to reconcile."""
    rows = [(f"i{n}", "service-001", NOW_S - n * DAY, NOW_S - n * DAY + HOUR) for n in range(1, 60)]
    measured = measure(tmp_path, many(12), incidents=incidents(tmp_path, rows))
    by_name = {row.name: row for row in measured.compared}

    ours, devlake = by_name["This report"], by_name["DevLake"]
    assert devlake.fail_rate.value > ours.fail_rate.value
    assert by_name["metrik"].lead_time.value > ours.lead_time.value
    assert by_name["GitLab"].lead_time.missing == "no times of merges in these facts"
    assert by_name["Four Keys"].fail_rate.missing == "no incident names its deployment"
    assert by_name["metrik"].fail_rate.missing == "no failed attempts in these facts"


def test_a_definition_for_comparing_makes_no_report(tmp_path):
    """Measuring under another tool's definition is refused, and no table is written."""
    asked = request(tmp_path)
    state = dora.observe(view(steady(30)), asked)
    before = sorted(path.name for path in asked.workdir.rglob("*"))

    with pytest.raises(UsageError, match="for comparing"):
        dora.measure(replace(asked, definition=profiles.DEVLAKE.definition), state)

    assert sorted(path.name for path in asked.workdir.rglob("*")) == before


def test_a_pooled_change_that_most_services_deny_is_not_the_title(tmp_path):
    """Shorter together and longer one by one is named as what to look at instead."""
    measured = measure(tmp_path, steady(40))
    shorter = Change("difference", Estimate.of(-1800, -2400, -1200, n=26), "down")
    lead = measured.metric("lead_time")

    def told(change: Change) -> tuple[str, list[str]]:
        changed = replace(
            measured,
            metrics=tuple(replace(m, change=change) if m is lead else m for m in measured.metrics),
        )
        return title(changed), [look.text for look in look_at(changed, (), zone=None)]

    agreed, looks = told(replace(shorter, stratified=(9, 4)))
    denied, more = told(replace(shorter, stratified=(4, 9)))
    assert "faster" in agreed
    assert "faster" not in denied
    (new,) = [text for text in more if text not in looks]
    assert new.startswith(
        "All lead times together got shorter, but service by service 4 got shorter"
    )


def test_benchmarks_are_the_surveys_own():
    """Means and deviations of all industries, and levels on the survey's scale."""
    if not SURVEY.is_file():
        pytest.skip(f"SKIPPED: no shared data at {SURVEY}")
    theirs = json.loads(SURVEY.read_text())["all"]
    names = {
        "frequency": "deployfreq",
        "lead_time": "leadtime",
        "fail_rate": "changefailure",
        "recovery": "failurerecovery",
        "rework": "rework",
    }

    for key, benchmark in benchmarks.BENCHMARKS.items():
        there = theirs[names[key]]
        assert benchmark.mean_tenths == round(there["mean"] * 10)
        assert benchmark.deviation_tenths == round(there["std"] * 10)
    assert benchmarks.sentence("lead_time", Level(4, 5)).endswith("this is 6 to 8 of 10")
    assert benchmarks.sentence("lead_time", Level()) == ""


def test_the_page_shows_steps_what_if_and_the_change_of_pace(tmp_path):
    """A step in the deployments is dated; every definition has its row; rework has its n."""
    history = History().begin(NOW_S - 40 * WEEK, "checkout")
    at, number = MONDAY - 26 * WEEK, 0
    while at < MONDAY - DAY:
        number += 1
        history.commit(at, "checkout", "development", f"v{number}")
        history.commit(at + 600, "checkout", "staging", f"v{number}")
        history.commit(at + 1200, "checkout", "production", f"v{number}")
        at += DAY * 2 if at < MONDAY - 12 * WEEK else DAY // 2
    rows = [("i1", "checkout", MONDAY - 3 * DAY, MONDAY - 3 * DAY + HOUR)]

    measured, source = page(tmp_path, history, incidents=incidents(tmp_path, rows))

    (shift,) = measured.shifts
    assert abs(shift.week_s - (MONDAY - 12 * WEEK)) <= WEEK
    assert "The pace changed in the week of" in source
    assert "development to staging" in source
    for profile in profiles.COMPATIBLE:
        assert profile.definition.hash[:12] in source
    assert "DORA 2025, all industries: mean 22 %" in source
    assert measured.metric("rework").counts["deployments"] > 0


def test_a_definition_without_incidents_needs_none(tmp_path):
    """Where rollbacks alone are failures, nobody has to record incidents; with the usual definition it is no data."""
    usual = measure(tmp_path, many(12))
    measured = measure(tmp_path, many(12), definition=("failures=rollback",))

    assert usual.metric("fail_rate").missing.startswith("no incidents file")
    rate = measured.metric("fail_rate")
    assert rate.missing == ""
    assert rate.counts["failed"] == rate.counts["rollback"] > 0
    assert measured.metric("recovery").now.n == rate.counts["failed"]
    assert measured.metric("rework").missing.startswith("no incidents file")
