"""What a run may rely on about time, on the wall clock and on the sandbox's."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from gitops_nb.adapters.clock import WallClock
from gitops_nb.catalog.load import load_catalog
from gitops_nb.sandbox import open_sandbox
from tests.conftest import REPOSITORY


@pytest.fixture(params=["wall", "sandbox"])
def clock(request, tmp_path):
    """Both clocks."""
    if request.param == "wall":
        return WallClock()
    return open_sandbox(tmp_path / "sandbox", load_catalog(REPOSITORY / "runbooks").fleet).clock


def test_time_is_in_utc_and_never_goes_back(clock):
    """Two readings are in order and carry their zone."""
    first, second = clock.now(), clock.now()
    assert first.tzinfo is UTC
    assert second >= first


def test_after_a_wait_at_least_that_much_time_has_passed(clock):
    """On the sandbox at once, on the wall clock really."""
    before = clock.now()
    clock.sleep(0.05)
    assert clock.now() - before >= timedelta(seconds=0.05)


def test_a_negative_wait_is_none(clock):
    """A deadline that is over does not turn time back."""
    before = clock.now()
    clock.sleep(-5)
    assert clock.now() >= before
