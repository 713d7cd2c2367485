"""When deployments happen, how large they are, what their failures cost, and the last twelve months: from rows, not from facts.

Each share has its interval and n; nothing here says that something changed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from gitops_nb.dora import metrics, statistics
from gitops_nb.dora.numbers import Recoveries
from gitops_nb.dora.results import Cause, Month, Size
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window

MONTHS = 12
_SIZES = ((1, 1), (2, 5), (6, 20), (21, None))
"""Changes of one deployment, from and to."""


def hours(deployed: pd.DataFrame, window: Window, zone: ZoneInfo) -> tuple[int, ...]:
    """Deployments of a window by weekday and hour of the zone: 168 counts from Monday 0 h on; () without any."""
    inside = _inside(deployed, window)
    if inside.empty:
        return ()
    counts = [0] * 168
    for moment_s in inside["finished_s"]:
        local = datetime.fromtimestamp(int(moment_s), zone)
        counts[local.weekday() * 24 + local.hour] += 1
    return tuple(counts)


def sizes(deployed: pd.DataFrame, window: Window, *, knows_failures: bool) -> tuple[Size, ...]:
    """Deployments by how many changes they brought, with the fail rate of each; () where no changes are known."""
    inside = _inside(deployed, window)
    found = []
    for low, high in _SIZES:
        of_size = inside[(inside["changes"] >= low) & (inside["changes"] <= (high or float("inf")))]
        failed = int((of_size["failed_by"] != "").sum())
        rate = statistics.wilson(failed, len(of_size)) if knows_failures else Estimate()
        found.append(Size(low, high or 0, len(of_size), failed, rate))
    return tuple(found) if any(size.deployments for size in found) else ()


def causes(deployed: pd.DataFrame, window: Window) -> tuple[Cause, ...]:
    """Failed deployments of a window by cause, most first, with the recovery time of each."""
    inside = _inside(deployed, window)
    failed = inside[inside["failed_by"] != ""]
    found = []
    for name, rows in failed.groupby("failed_by"):
        is_open = rows["is_open"] == 1
        times = Recoveries(
            tuple(int(s) for s in rows["recovery_s"][~is_open]),
            tuple(int(s) for s in rows["recovery_s"][is_open]),
        )
        # Under five a median says nothing, as everywhere in the report.
        recovery = metrics.recovery_of(times) if times.n >= 5 else Estimate.of(None, n=times.n)
        found.append(Cause(str(name), times.n, len(times.lasting), recovery))
    return tuple(sorted(found, key=lambda cause: (-cause.failures, cause.name)))


def year(end_s: int, zone: ZoneInfo) -> Window:
    """The twelve calendar months that end with the one of a moment."""
    last = datetime.fromtimestamp(end_s - 1, zone)
    first = last.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(MONTHS - 1):
        first = (first - timedelta(days=1)).replace(day=1)
    return Window(int(first.timestamp()), end_s)


def months(
    deployed: pd.DataFrame, window: Window, zone: ZoneInfo, *, since_s: int, knows_failures: bool
) -> tuple[Month, ...]:
    """The months of a year: deployments, the median of their lead times, fail rate; those before the history are left out.

    Args:
        deployed: Rows of ``tables.deployments`` for that year.
        window: See ``year``.
        zone: The report's.
        since_s: When the history begins.
        knows_failures: Whether the facts tell what failed.
    """
    found = []
    begin = datetime.fromtimestamp(window.start_s, zone)
    while begin.timestamp() < window.end_s:
        after = (begin + timedelta(days=32)).replace(day=1)
        month = Window(int(begin.timestamp()), min(int(after.timestamp()), window.end_s))
        begin = after
        if month.end_s <= since_s:
            continue
        rows = _inside(deployed, month)
        failed = int((rows["failed_by"] != "").sum())
        found.append(
            Month(
                month.start_s,
                month.end_s,
                len(rows),
                failed if knows_failures else 0,
                statistics.wilson(failed, len(rows)) if knows_failures else Estimate(),
                statistics.median([float(s) for s in rows["lead_s"].dropna()]),
            )
        )
    return tuple(found)


def _inside(deployed: pd.DataFrame, window: Window) -> pd.DataFrame:
    moments = deployed["finished_s"]
    return deployed[(moments >= window.start_s) & (moments < window.end_s)]
