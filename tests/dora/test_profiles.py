"""Four Keys, Middleware, Pelorus and GitLab on cases worked out by hand from their sources, which have no test data.

All times are hours after a Monday. What a tool is known to do wrong is kept: the profile has to give the tool's number.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gitops_nb.dora import profiles
from gitops_nb.dora.engine import DuckEngine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import (
    CHANGE,
    CHANGE_DEPLOYMENT,
    DEPLOYMENT,
    INCIDENT,
    FactTables,
    frame,
)
from gitops_nb.dora.profiles import Profile
from gitops_nb.dora.reckon import Reckoned, reckon
from gitops_nb.dora.windows import Window
from tests.dora.dora_factories import HOUR, WEEK
from tests.dora.fact_factories import START_S

WINDOW = Window(START_S, START_S + 2 * WEEK)

# Two services; a change is (service, sha, authored, committed, opened, merged), a deployment (service, head, done).
CHANGES = (
    ("cart", "c1", 0, 2, 3, 8),
    ("cart", "c2", 1, 9, 9, 20),
    ("cart", "c3", 30, 31, 32, 40),
    ("pay", "p1", 0, 1, 4, 100),
)
DEPLOYMENTS = (("cart", "c2", 24), ("cart", "c3", 48), ("pay", "p1", 104))
ARRIVALS = (("cart", "c1", 24), ("cart", "c2", 24), ("cart", "c3", 48), ("pay", "p1", 104))
# An incident is (id, service, began, ended, deployment that it names).
INCIDENTS = (
    ("i1", "cart", 50, 53, "cart@48"),
    ("i2", "cart", 200, 210, ""),
    ("i3", "pay", 300, None, ""),
)


def _at(hours: float) -> int:
    return START_S + int(hours * HOUR)


def _tables() -> FactTables:
    def key(service: str, done: float) -> dict[str, object]:
        return {
            "deployment_id": f"{service}@{done}",
            "service": service,
            "environment": "production",
            "finished_s": _at(done),
        }

    changes = [
        {
            "service": service,
            "repository": "code",
            "sha": sha,
            "authored_s": _at(authored),
            "committed_s": _at(committed),
            "opened_s": _at(opened),
            "merged_s": _at(merged),
        }
        for service, sha, authored, committed, opened, merged in CHANGES
    ]
    by_sha = {change["sha"]: change for change in changes}
    return FactTables.of(
        change=frame(CHANGE, changes),
        deployment=frame(
            DEPLOYMENT,
            [
                {
                    **key(service, done),
                    "revision": sha,
                    "started_s": _at(done),
                    "outcome": "succeeded",
                    "trigger": "promotion",
                }
                for service, sha, done in DEPLOYMENTS
            ],
        ),
        change_deployment=frame(
            CHANGE_DEPLOYMENT,
            [{**by_sha[sha], **key(service, done)} for service, sha, done in ARRIVALS],
        ),
        incident=frame(
            INCIDENT,
            [
                {
                    "incident_id": name,
                    "service": service,
                    "environment": "production",
                    "started_s": _at(began),
                    "resolved_s": None if ended is None else _at(ended),
                    "deployment_id": named,
                }
                for name, service, began, ended, named in INCIDENTS
            ],
        ),
    )


def _reckon(profile: Profile) -> Reckoned:
    question = Question("production", WINDOW.end_s, profile.definition, is_native=True)
    with DuckEngine.of(_tables()) as engine:
        return reckon(engine, question, WINDOW, zone=ZoneInfo("UTC"), has_incidents=True)


CASES = {
    # Only the commit whose id is the deployed one: c2 22-9... 24-9 = 15 h, c3 48-31 = 17 h, p1 104-1 = 103 h, on three days;
    # the median of the days' medians is 17 h. Days with a deployment: Tue, Wed, Fri of the one whole week from Sunday: 0.
    # Explicit links only: 1 of 3. Incidents that ended, begin to end: 3 h and 10 h, median 6.5 h.
    "Four Keys": (profiles.FOURKEYS, 0, 17 * HOUR, 1 / 3, 6.5 * HOUR),
    # The first deployment after the first commit's time: c1 24, c2 23, c3 18, p1 104; mean 42.25 h. 3 deployments in 14
    # days. Every incident belongs to the last deployment of the team: i1 to cart@48, i2 and i3 to pay@104: 2 of 3.
    # Mean of what ended: (3 + 10) / 2 h.
    "Middleware": (profiles.MIDDLEWARE, 3 / 14, 42.25 * HOUR, 2 / 3, 6.5 * HOUR),
    # The image's own commit: mean of 15, 17 and 103 h. Incidents over deployments: 3 of 3. Mean of what ended.
    "Pelorus": (profiles.PELORUS, 3, 45 * HOUR, 1.0, 6.5 * HOUR),
    # Merge to deployment, per change: 16, 4, 8, 4 h: median 6 h. Deployments per day; incidents over deployments;
    # median of the time that incidents were open.
    "GitLab": (profiles.GITLAB, 3 / 14, 6 * HOUR, 1.0, 6.5 * HOUR),
    # First authored, containing deployment: 24, 23, 18, 104 h: lower and upper middle 23 and 24. Days a week with one: 3 and
    # 0, median 1.5. Project-wide link: 2 of 3. From the deployment to the end: i1 5 h, i2 of pay@104 106 h; i3 lasts,
    # so pay@104 has no end: 5 h alone.
    "DevLake": (profiles.DEVLAKE, 1.5, 23.5 * HOUR, 2 / 3, 5 * HOUR),
}


@pytest.mark.parametrize("name", CASES)
def test_a_profile_gives_the_number_that_its_tool_would(name):
    """Frequency, lead time, fail rate and recovery, each against a number worked out on paper."""
    profile, frequency, lead_s, fail_ratio, recovery_s = CASES[name]

    found = _reckon(profile)

    assert found.frequency.value == pytest.approx(frequency)
    assert found.lead_time.value == pytest.approx(lead_s)
    assert found.fail_rate.value == pytest.approx(fail_ratio)
    assert found.recovery.value == pytest.approx(recovery_s)


def test_two_incidents_on_one_deployment_can_pass_a_hundred_percent_only_where_the_tool_does():
    """GitLab counts incidents over deployments (gitlab#480920); ours counts a deployment once."""
    tables = _tables()
    only = tables.deployment[tables.deployment["service"] == "cart"].head(1)
    asked = FactTables.of(**{**tables.frames(), "deployment": only})
    with DuckEngine.of(asked) as engine:
        theirs, ours = (
            reckon(
                engine,
                Question("production", WINDOW.end_s, profile, is_native=True),
                WINDOW,
                zone=ZoneInfo("UTC"),
                has_incidents=True,
            ).fail_rate.value
            for profile in (profiles.GITLAB.definition, profiles.OURS)
        )

    assert (theirs, ours) == (3.0, 0.0)
