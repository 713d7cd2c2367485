"""When, how large, why, and the year: counts that add up, in the zone of the report."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from gitops_nb.dora import patterns
from gitops_nb.dora.results import Size, Stage
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window
from gitops_nb.report import dora_pattern_charts, static_charts
from tests.dora.dora_factories import HOUR, many, page

BERLIN = ZoneInfo("Europe/Berlin")


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())


def frame(*rows: dict) -> pd.DataFrame:
    plain = {"failed_by": "", "recovery_s": None, "is_open": 0, "changes": 0, "lead_s": None}
    return pd.DataFrame([{**plain, **row} for row in rows])


def test_an_hour_is_one_of_the_zone():
    """23:30 UTC of a Sunday is Monday in Berlin, by summer time an hour later."""
    window = Window(at(2026, 1, 1), at(2027, 1, 1))
    rows = frame(
        {"finished_s": at(2026, 1, 4, 23, 30)},  # a Sunday
        {"finished_s": at(2026, 7, 5, 21, 30)},
        {"finished_s": at(2025, 7, 5, 21, 30)},
    )
    assert patterns.hours(rows, window, BERLIN).index(1) == 0
    assert patterns.hours(rows, window, BERLIN)[6 * 24 + 23] == 1
    assert sum(patterns.hours(rows, window, ZoneInfo("UTC"))) == 2
    assert patterns.hours(rows, Window(0, 9), BERLIN) == ()


def test_sizes_hold_every_deployment_with_changes_once():
    """The ends of each class belong to it; without any change known there is no table."""
    window = Window(0, 100)
    counts = (1, 2, 5, 6, 20, 21, 400, 0)
    rows = frame(
        *(
            {"finished_s": n, "changes": c, "failed_by": "incident" if c == 2 else ""}
            for n, c in enumerate(counts)
        )
    )
    found = patterns.sizes(rows, window, knows_failures=True)
    assert [(s.low, s.high, s.deployments, s.failed) for s in found] == [
        (1, 1, 1, 0), (2, 5, 2, 1), (6, 20, 2, 0), (21, 0, 2, 0),
    ]  # fmt: skip
    assert found[1].fail_rate.n == 2
    assert patterns.sizes(rows[rows.changes == 0], window, knows_failures=True) == ()


def test_a_cause_has_a_median_from_five_failures_on():
    """Open failures count as long as they last; fewer than five have no median."""
    window = Window(0, 100)
    rows = [
        {
            "finished_s": n,
            "failed_by": "incident",
            "recovery_s": 60 * (n + 1),
            "is_open": int(n == 4),
        }
        for n in range(5)
    ]
    rows += [{"finished_s": 9, "failed_by": "rollback", "recovery_s": 5}]
    incident, rollback = patterns.causes(frame(*rows, {"finished_s": 10}), window)
    assert (incident.name, incident.failures, incident.still_open) == ("incident", 5, 1)
    assert incident.recovery.value == 180
    assert (rollback.failures, rollback.recovery.value, rollback.recovery.n) == (1, None, 1)


@pytest.mark.parametrize("end", [(2026, 3, 1), (2026, 3, 29, 1), (2026, 12, 31, 22, 59)])
def test_a_year_is_twelve_calendar_months_of_the_zone(end):
    """Months begin at the zone's midnight, also over the change of clocks; what lies before the history is left out."""
    window = patterns.year(at(*end), BERLIN)
    rows = frame(*({"finished_s": window.start_s + n * 5 * 86_400} for n in range(80)))
    found = patterns.months(rows, window, BERLIN, since_s=0, knows_failures=False)
    assert len(found) == 12
    assert all(
        datetime.fromtimestamp(m.start_s, BERLIN).strftime("%d %H:%M") == "01 00:00" for m in found
    )
    assert sum(m.deployments for m in found) == int((rows.finished_s < window.end_s).sum())
    late = patterns.months(rows, window, BERLIN, since_s=found[3].start_s, knows_failures=False)
    assert late == found[3:]
    assert {m.fail_rate for m in found} == {Estimate()}


def test_the_longest_step_is_named_and_steps_stand_behind_each_other(tmp_path):
    """The waterfall's bars begin where the one before ends."""
    measured, _ = page(tmp_path, many(8))
    stages = tuple(
        Stage(a, b, Estimate.of(hours * HOUR, (hours - 1) * HOUR, (hours + 1) * HOUR, n=9), None)
        for a, b, hours in (
            ("written", "merged", 5),
            ("merged", "committed", 19),
            ("committed", "synced", 1),
        )
    )
    from dataclasses import replace

    (chart, *_) = dora_pattern_charts.patterns(replace(measured, split=stages))
    assert chart.title.startswith("The longest step is merged to committed: 19.0")
    first, second, third = reversed(chart.drawing.boxes)
    assert first.x + first.width == pytest.approx(second.x, abs=0.05)
    assert second.x + second.width == pytest.approx(third.x, abs=0.05)
    assert second.width == pytest.approx(19 / 5 * first.width, rel=0.02)


def test_sizes_are_drawn_with_their_intervals():
    """One row per class, the smallest above."""
    sizes = [
        Size(1, 1, 10, 1, Estimate.of(0.1, 0.02, 0.4, n=10)),
        Size(21, 0, 5, 2, Estimate.of(0.4, 0.1, 0.8, n=5)),
    ]
    chart = dora_pattern_charts._sizes(sizes)
    drawing = static_charts.draw(chart.figure, chart.height)
    named = [w.text.replace("\u00a0", " ") for w in drawing.words if w.kind == "hi"]
    assert named == ["21 changes or more", "1 change"]
    assert [dot.y for dot in drawing.dots] == sorted((d.y for d in drawing.dots), reverse=True)
    assert "n = 15" in chart.note


@pytest.mark.parametrize(
    ("other", "is_clear"), [((10, 8, 12), True), ((10, 8, 18), False), ((10, None, None), False)]
)
def test_a_longest_step_is_one_whose_interval_lies_above_all_others(other, is_clear):
    """Of steps that are alike one always has the largest median: the title says so and claims no more."""
    stages = [
        Stage("a", "b", Estimate.of(*other, n=9), None),
        Stage("b", "c", Estimate.of(20, 17, 25, n=9), None),
    ]
    title = dora_pattern_charts._waterfall(stages).title
    assert title.startswith("The longest step is b to c") is is_clear
    assert title.startswith("No step is clearly the longest; b to c") is not is_clear
