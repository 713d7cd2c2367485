"""What holds for every history: the past stays, order is nothing, windows add up."""

from __future__ import annotations

import random
from collections import Counter
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_nb.dora import facts, metrics, numbers, tallies, windows
from gitops_nb.dora.definition import DoraDefinition, Frequency, Start
from gitops_nb.dora.engine import DuckEngine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.facts import Event, Incident
from gitops_nb.dora.profiles import COMPATIBLE, METRIK, OURS
from gitops_nb.dora.reckon import reckon
from gitops_nb.dora.scope import Scope
from gitops_nb.dora.windows import Window
from tests.dora.dora_factories import DAY, HOUR, WEEK
from tests.dora.fact_factories import START_S, by_chance

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = windows.week_borders(START_S, START_S + WEEK, zone=BERLIN)[0]
ENVIRONMENTS = ("development", "production")

COMMITS = st.lists(
    st.tuples(
        st.integers(0, 20 * 7 * 24),  # hours from the beginning
        st.sampled_from(("checkout", "catalog", "payments")),
        st.sampled_from(ENVIRONMENTS),
        st.integers(1, 12),
    ),
    max_size=60,
)
INCIDENTS = st.lists(
    st.tuples(st.integers(0, 20 * 7 * 24), st.sampled_from(("checkout", "catalog")), st.booleans()),
    max_size=8,
)


def _events(commits) -> list[Event]:
    ordered = sorted(commits, key=lambda commit: commit[0])
    return [
        Event(service, environment, f"v{version}", f"{place:040x}", MONDAY + hours * HOUR, place)
        for place, (hours, service, environment, version) in enumerate(ordered)
    ]


def _facts(commits, incidents=()) -> FactTables:
    events = facts.event_frame(_events(commits))
    return FactTables.of(
        deployment=facts.deployments_of(events, censor_first=True),
        incident=facts.incident_frame(
            Incident(
                f"i{place}",
                service,
                "production",
                MONDAY + hours * HOUR,
                None if is_open else MONDAY + (hours + 5) * HOUR,
            )
            for place, (hours, service, is_open) in enumerate(incidents)
        ),
    )


QUESTION = Question(
    environment="production",
    until_s=MONDAY + 40 * WEEK,
    definition=DoraDefinition(lead_time_start=Start.FIRST_ENVIRONMENT),
    first_environments=("development",),
    has_commits=False,
    is_native=True,
)
WHOLE = Window(MONDAY, MONDAY + 21 * WEEK)


def _read(collected: FactTables, window: Window = WHOLE) -> numbers.Numbers:
    with DuckEngine.of(collected) as engine:
        return numbers.ask(engine, QUESTION, (window,), WHOLE, BERLIN)


def _scope(window: Window) -> Scope:
    return Scope(
        environment="production",
        window=window,
        before=None,
        zone=BERLIN,
        definition=DoraDefinition(),
        no_trend="",
        has_incidents=True,
        is_last=True,
        shown=WHOLE,
    )


@settings(max_examples=8, deadline=None)
@given(COMMITS, COMMITS, st.integers(1, 19))
def test_more_data_never_changes_a_past_complete_week(commits, more, week):
    """What is committed from a Monday on leaves the weeks before it: deployments, rollbacks, lead times."""
    border = week * 7 * 24
    past = [commit for commit in commits if commit[0] < border]
    later = past + [commit for commit in more if commit[0] >= border]
    scope = _scope(Window(MONDAY, MONDAY + 20 * WEEK))

    def weeks(known) -> list[tuple]:
        rows = tallies.weekly(_read(_facts(known)), scope)
        return [
            (w.start_s, w.deployments, w.rollbacks, w.lead_n, w.lead_low_s, w.lead_median_s)
            for w in rows[:week]
        ]

    assert weeks(later) == weeks(past)


@settings(max_examples=6, deadline=None)
@given(COMMITS.filter(bool), INCIDENTS, st.data())
def test_splitting_a_window_and_adding_its_counts_is_exact(commits, incidents, data):
    """Deployments, failures, unplanned, measured and left-out versions of two parts are those of the whole."""
    # Split in the very second of a commit: that is where a window could count twice or not at all.
    hours = data.draw(st.sampled_from(sorted(commit[0] for commit in commits)))
    collected = _facts(commits, incidents)
    start, middle, end = MONDAY, MONDAY + hours * HOUR, MONDAY + 21 * WEEK

    def counts(window: Window) -> Counter[str]:
        found, scope = _read(collected, window), _scope(window)
        total: Counter[str] = Counter()
        for metric in (metrics.fail_rate, metrics.rework, metrics.recovery, metrics.lead_time):
            measured = metric(found, scope, {})
            total.update({f"{measured.key} {k}": v for k, v in measured.counts.items()})
            total.update({f"{measured.key}: {k}": v for k, v in measured.excluded.items()})
        return total

    whole = counts(Window(start, end))
    assert counts(Window(start, middle)) + counts(Window(middle, end)) == +whole


@settings(max_examples=8, deadline=None)
@given(COMMITS, INCIDENTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_never_matters(commits, incidents, chance):
    """Facts read back in any order give the same numbers."""
    collected = _facts(commits, incidents)

    def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
        places = list(range(len(frame)))
        chance.shuffle(places)
        return frame.iloc[places].reset_index(drop=True)

    mixed = FactTables.of(
        deployment=shuffled(collected.deployment), incident=shuffled(collected.incident)
    )

    assert _read(mixed) == _read(collected)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_no_definition_depends_on_the_order_of_the_tables(seed):
    """Every profile reckons the same numbers from rows in another order."""
    tables = by_chance(seed, services=3, deployments=25)
    chance = random.Random(seed)

    def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.sample(frac=1, random_state=chance.randrange(2**31)).reset_index(drop=True)

    mixed = FactTables.of(**{name: shuffled(table) for name, table in tables.frames().items()})
    window = Window(START_S, START_S + 30 * WEEK)
    with DuckEngine.of(tables) as ours, DuckEngine.of(mixed) as theirs:
        for profile in COMPATIBLE:
            first, second = (
                reckon(
                    engine,
                    _asked(profile.definition, window.end_s + DAY),
                    window,
                    zone=BERLIN,
                    has_incidents=True,
                )
                for engine in (ours, theirs)
            )
            assert first == second, profile.name


def _asked(definition: DoraDefinition, until_s: int) -> Question:
    return Question("production", until_s, definition, is_native=True)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 29 * 7))
def test_a_definition_that_counts_adds_up_over_parts(seed, days):
    """Deployments and n of lead time of two parts of a window are those of the whole, under metrik's definition."""
    tables = by_chance(seed, services=3, deployments=25)
    start, middle, end = START_S, START_S + days * DAY, START_S + 30 * WEEK
    assert METRIK.definition.frequency is Frequency.COUNT

    with DuckEngine.of(tables) as engine:
        whole, first, second = (
            reckon(engine, _asked(METRIK.definition, end), window, zone=BERLIN, has_incidents=True)
            for window in (Window(start, end), Window(start, middle), Window(middle, end))
        )

    assert whole.frequency.n == first.frequency.n + second.frequency.n
    assert whole.lead_time.n == first.lead_time.n + second.lead_time.n
    assert whole.fail_rate.n == first.fail_rate.n + second.fail_rate.n


def test_the_default_definition_is_ours():
    """Nothing that a profile replaces leaks into the default."""
    assert DoraDefinition() == OURS
