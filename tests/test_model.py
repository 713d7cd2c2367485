"""Values survive JSON, and digests mean what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.model import (
    Action,
    Decision,
    Line,
    Outcome,
    Plan,
    ResourceChange,
    Result,
    Status,
    Verdict,
    canonical,
    digest,
    format_time,
    from_json,
    parse_time,
    to_json,
)

texts = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
lines = st.builds(
    Line, sign=st.sampled_from([" ", "-", "+"]), number=st.integers(1, 10**6), text=texts
)
changes = st.builds(
    ResourceChange,
    address=texts,
    action=st.sampled_from(Action),
    before=texts,
    after=texts,
    diff=st.lists(lines, max_size=3).map(tuple),
)
plans = st.builds(
    Plan,
    runbook=texts,
    environment=texts,
    summary=texts,
    changes=st.lists(changes, max_size=3).map(tuple),
    materials=st.dictionaries(texts, texts, max_size=3),
    arguments=st.dictionaries(texts, json_values, max_size=3),
)


@given(plans)
def test_a_plan_survives_json_with_its_digest(plan):
    """A plan read back from the journal has the digest that was approved."""
    again = from_json(Plan, to_json(plan))
    assert again.digest == plan.digest
    assert to_json(again) == to_json(plan)


@given(plans, plans)
def test_different_plans_have_different_digests(one, other):
    """Equal digests mean equal content."""
    assert (one.digest == other.digest) == (to_json(one) == to_json(other))


def test_nested_values_come_back_as_their_types():
    """Enums, datetimes, tuples and nested dataclasses are what they were."""
    moment = datetime(2026, 11, 23, 2, 8, 12, 345000, UTC)
    verdict = Verdict("soak", passed=False, reason="young", clears_at=moment)
    decision = from_json(
        Decision, to_json(Decision("waiting", "sha256:0", "production", ("x",), (verdict,)))
    )
    assert decision.verdicts == (verdict,)
    outcome = Outcome(Result.FAILED, "it crashes")
    assert from_json(Outcome, to_json(outcome)) == outcome


def test_floats_are_not_digested():
    """Two programs may print one float differently, so none gets into a digest."""
    with pytest.raises(TypeError, match="float"):
        digest({"a": [1.5]})


def test_naive_datetimes_are_refused():
    """A time without a zone is no time."""
    with pytest.raises(TypeError, match="naive"):
        to_json(datetime(2026, 1, 1))  # noqa: DTZ001  the naive one is the point
    with pytest.raises(ValueError, match="offset"):
        parse_time("2026-01-01T00:00:00")


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_to_the_millisecond(moment):
    """What is written is read back."""
    assert abs(parse_time(format_time(moment)) - moment) < timedelta(milliseconds=1)


@given(json_values)
def test_canonical_json_does_not_depend_on_order(value):
    """The same content in another order has the same bytes."""
    if isinstance(value, dict):
        assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_final_statuses():
    """Waiting, running and pending runs may still go on; every other status is an end."""
    assert {s for s in Status if not s.is_final} == {Status.PENDING, Status.RUNNING, Status.WAITING}
