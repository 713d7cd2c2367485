"""Windows and weeks, in a zone with daylight saving time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gitops_nb.dora import windows
from gitops_nb.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
NOW_S = int(datetime(2026, 11, 25, 9, tzinfo=BERLIN).timestamp())


def _days(window: windows.Window) -> tuple[str, str]:
    ends = (window.start_s, window.end_s)
    first, last = (datetime.fromtimestamp(s, BERLIN).isoformat()[:16] for s in ends)
    return first, last


def test_ninety_days_are_the_thirteen_complete_weeks_before_this_one():
    """A relative window ends on the last Monday and holds only whole weeks."""
    found = windows.read_window("90d", now_s=NOW_S, zone=BERLIN)

    assert _days(found) == ("2026-08-24T00:00", "2026-11-23T00:00")
    assert windows.complete_weeks(found, zone=BERLIN) == 13


def test_a_week_with_a_change_of_clocks_is_an_hour_longer():
    """Borders are midnights in the zone: 25 October 2026 has 25 hours."""
    found = windows.read_window("2026-10-19/2026-10-26", now_s=NOW_S, zone=BERLIN)

    assert found.seconds == 7 * 86400 + 3600


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("2024", ("2023-01-01T00:00", "2024-01-01T00:00")),
        ("2026-Q3", ("2026-04-01T00:00", "2026-07-01T00:00")),
        ("2026-11-02/2026-11-23", ("2026-10-12T00:00", "2026-11-02T00:00")),
    ],
)
def test_the_window_before_is_a_calendar_period_where_the_window_is_one(text, before):
    """Years compare with years, quarters with quarters, all others with as many days."""
    window = windows.read_window(text, now_s=NOW_S, zone=BERLIN)

    assert _days(windows.before(window, zone=BERLIN)) == before


@pytest.mark.parametrize(
    "text", ["", "90", "0d", "2026-13-01/2026-14-01", "2026-05-02/2026-05-01", "2027", "2026-Q5"]
)
def test_a_window_that_cannot_be_is_refused(text):
    """Empty, unknown, reversed and future windows are wrong usage."""
    with pytest.raises(UsageError, match="window"):
        windows.read_window(text, now_s=NOW_S, zone=BERLIN)


def test_an_unknown_zone_is_refused():
    """A zone is an IANA name, not a path or an abbreviation of one's own."""
    with pytest.raises(UsageError, match="time_zone"):
        windows.read_zone("../etc/passwd")
