"""Numbers held against targets: met and missed rest on the whole interval; teams have numbers, persons none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops_nb import dora
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.targets import EnvironmentTargets, targets_of
from gitops_nb.dora.goals import verdict
from gitops_nb.dora.statistics import Estimate, wilson
from gitops_nb.errors import UsageError
from tests.dora.dora_factories import (
    FLEET,
    HOUR,
    NOW_S,
    PARAMETERS,
    WEEK,
    incidents,
    many,
    request,
    steady,
    view,
)
from tests.dora.dora_factories import page as page_of


@pytest.mark.parametrize(
    ("key", "estimate", "bound", "expected"),
    [
        ("lead_time", (10, 8, 12), 12, "met"),
        ("lead_time", (10, 8, 12), 11, "not clear"),
        ("lead_time", (10, 8, 12), 9, "not clear"),
        ("lead_time", (10, 8, 12), 7, "missed"),
        ("lead_time", (10, None, None), 20, "not clear"),
        ("lead_time", (None, None, None), 20, "no data"),
        ("frequency", (2, 1.5, 3), 1.5, "met"),
        ("frequency", (2, 1.5, 3), 2, "not clear"),
        ("frequency", (2, 1.5, 3), 3.1, "missed"),
    ],
)
def test_a_verdict_rests_on_the_whole_interval(key, estimate, bound, expected):
    """A value on the good side may be chance: neither good nor bad is said then."""
    value, low, high = estimate
    assert verdict(key, Estimate.of(value, low, high, n=9), bound) == expected


def test_a_teams_own_target_wins_over_the_environments():
    """What it does not name is the environment's."""
    declared = {
        "production": EnvironmentTargets.model_validate(
            {
                "deployments_per_week": 1,
                "lead_time": "3d",
                "fail_rate": "10%",
                "teams": {"shop": {"fail_rate": "12.5%", "recovery": "4h"}},
            }
        )
    }
    assert targets_of(declared, "production", "") == {
        "frequency": 1,
        "lead_time": 3 * 24 * HOUR,
        "fail_rate": 0.1,
    }
    shop = targets_of(declared, "production", "shop")
    assert (shop["fail_rate"], shop["recovery"], shop["frequency"]) == (0.125, 4 * HOUR, 1)
    assert targets_of(declared, "staging", "shop") == {}


@pytest.mark.parametrize("text", ["10", "-1%", "101%", "ten%", "10 %x", ""])
def test_a_share_is_a_percentage(text):
    """A number without its sign could be a share or a percentage: refused."""
    with pytest.raises(ValueError, match="percentage"):
        EnvironmentTargets.model_validate({"fail_rate": text})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"targets": {"moon": {}}}, "unknown environment 'moon'"),
        (
            {"targets": {"production": {"teams": {"shop": {}}}}},
            "unknown team 'shop'; there are none",
        ),
        ({"teams": {"a": ["x"], "b": ["x"]}}, "x is of team a already"),
    ],
)
def test_what_cannot_be_right_is_named(more, said):
    """An unknown environment or team, and a service of two teams, whose numbers would count twice."""
    fleet = FLEET.model_dump(by_alias=True, exclude_defaults=True) | more
    assert said in " ".join(text for _, text in Fleet.model_validate(fleet).problems())


def test_a_team_is_measured_by_its_services(tmp_path):
    """The parameter chooses them; with services it is refused, and so is a team that nobody knows."""
    fleet = FLEET.model_copy(update={"teams": {"shop": ("checkout",)}})
    now = request(tmp_path).now_s

    def asked(**given):
        from datetime import UTC, datetime

        when = datetime.fromtimestamp(now, UTC)
        return dora.request(
            fleet, {**PARAMETERS, **given}, workdir=tmp_path, now=when, base=tmp_path
        )

    assert asked(team="shop").services == ("checkout",)
    with pytest.raises(UsageError, match="both team and services"):
        asked(team="shop", services=("checkout",))
    with pytest.raises(UsageError, match="has no team 'x'"):
        asked(team="x")


def test_the_table_of_teams_adds_up(tmp_path):
    """Deployments and failures of a team are those of its services; a team without any is not there."""
    asked = request(tmp_path)
    names = [f"service-{number:03d}" for number in range(12)]
    teams = {
        "one": (tuple(names[:5]), {"lead_time": 1.0, "fail_rate": 0.1}),
        "two": (tuple(names[5:]), {}),
        "none": (("x",), {}),
    }
    asked = replace(asked, teams=teams)
    measured = dora.measure(asked, dora.observe(view(many(12)), asked))

    one, two = measured.teams
    assert (one.name, two.name) == ("one", "two")
    assert one.deployments + two.deployments == measured.metric("frequency").counts["deployments"]
    assert one.lead.n + two.lead.n == measured.metric("lead_time").now.n
    # Without incidents nobody knows what failed; a lead time is held in the team's own report.
    assert dict(one.targets) == {"fail_rate": "no data"}
    assert dict(two.targets) == {}


def test_a_teams_fail_rate_is_as_wide_as_its_weeks_scatter(tmp_path):
    """Failures that come in two bad weeks leave a target unclear that as many, spread evenly, would miss."""
    history = steady(30)
    mine = [
        c for c in history.changes if "/production/" in c.path and c.committed_s > NOW_S - 13 * WEEK
    ]
    bad = mine[:4]
    rows = [
        (f"i{n}", "checkout", c.committed_s + 600, c.committed_s + HOUR) for n, c in enumerate(bad)
    ]
    asked = request(tmp_path, incidents=incidents(tmp_path, rows))
    asked = replace(asked, teams={"shop": (("checkout",), {"fail_rate": 0.04})})
    measured = dora.measure(asked, dora.observe(view(history), asked))

    (team,) = measured.teams
    rate = measured.metric("fail_rate").now
    assert (team.fail_rate.value, team.fail_rate.low, team.fail_rate.high) == (
        rate.value,
        rate.low,
        rate.high,
    )
    assert team.fail_rate.high > wilson(team.failed, team.deployments).high


def test_without_targets_nothing_is_good_or_bad(tmp_path):
    """The first screen says that no target is set; no verdict stands in it."""
    measured, source = page_of(tmp_path, steady(30))
    assert {metric.target for metric in measured.metrics} == {None}
    assert source.count("no target set") == 4
    assert "target met" not in source
    assert "target missed" not in source
