"""The expressions: equal to the plain reading of the definition, on every engine that is here."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.bigquery import BigQueryCompiler

from gitops_nb.dora import facts, fast, portable, statistics, windows
from gitops_nb.dora.fact_tables import FactTables, from_versions
from gitops_nb.dora.links import link_incidents
from gitops_nb.dora.measure import measure
from gitops_nb.dora.observe import observe
from gitops_nb.dora.profiles import OURS
from gitops_nb.dora.windows import Window
from gitops_nb.errors import UsageError
from tests.dora.dora_factories import NOW_S, WEEK, incidents, many, request, view
from tests.dora.fact_factories import START_S, by_chance
from tools import dora_facts

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
NAMES = ("change", "deployment", "incident", "change_deployment")
# 30 weeks with both changes of daylight saving time of 2024 would not fit; the one of March does.
WINDOW = Window(START_S - 3600, START_S + 28 * WEEK)


def run(tables: FactTables, expression) -> list[tuple]:
    """The rows of an expression on DuckDB, sorted."""
    connection = ibis.duckdb.connect()
    for name in NAMES:
        frame = getattr(tables, name)
        if frame is not None:
            connection.con.register(name, frame)
    found = connection.to_pyarrow(expression).to_pylist()
    connection.disconnect()
    return sorted(tuple(row.values()) for row in found)


def _expression(name: str, window: Window = WINDOW, zone: ZoneInfo = BERLIN):
    return portable.expressions(window, environment="production", zone=zone)[name]


def _counted(tables: FactTables) -> pd.DataFrame:
    rows = tables.deployment
    return rows[
        (rows["environment"] == "production")
        & rows["outcome"].isin(("succeeded", "degraded"))
        & ~rows["trigger"].isin(("resync", "heal"))
        & ~rows["is_seed"]
    ].sort_values(["finished_s", "deployment_id"])


def _inside(moment_s: int) -> bool:
    return WINDOW.start_s <= moment_s < WINDOW.end_s


@pytest.mark.parametrize("seed", range(3))
def test_weekly_deployments_are_those_of_a_plain_loop(seed):
    """Counts and rollbacks per service and ISO week in Berlin, over the change to summer time."""
    tables = by_chance(seed)
    borders = windows.week_borders(WINDOW.start_s, WINDOW.end_s, zone=BERLIN)
    counts: Counter[tuple[str, int]] = Counter()
    backs: Counter[tuple[str, int]] = Counter()
    for row in _counted(tables).itertuples():
        if _inside(row.finished_s):
            key = (row.service, bisect_right(borders, row.finished_s) - 1)
            counts[key] += 1
            backs[key] += row.trigger == "rollback"

    found = run(tables, _expression("weekly_deployments"))

    assert found == sorted((*key, count, backs[key]) for key, count in counts.items())


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/Los_Angeles", "UTC", "Australia/Lord_Howe"]
)
def test_a_week_is_that_of_the_calendar_to_the_second(zone):
    """Around every Monday of two years the index changes in the very second of midnight, in any zone."""
    place = ZoneInfo(zone)
    window = Window(START_S, START_S + 104 * WEEK)
    borders = windows.week_borders(window.start_s, window.end_s, zone=place)
    moments = [b + d for b in borders[1:-1] for d in (-3601, -1, 0, 1, 3600, 6 * 86_400 + 7200)]
    rows = ibis.table({"at": "int64"}, name="moment")
    week = portable.week_of(rows.at, window, zone=place)
    connection = ibis.duckdb.connect()
    connection.con.register("moment", pd.DataFrame({"at": moments}))

    found = connection.to_pyarrow(rows.select("at", week=week)).to_pylist()

    assert len(found) == len(moments)
    for row in found:
        assert row["week"] == bisect_right(borders, row["at"]) - 1


def _leads(tables: FactTables) -> pd.DataFrame:
    known = set(_counted(tables)["deployment_id"])
    rows = tables.change_deployment
    rows = rows[rows["environment"].eq("production") & rows["deployment_id"].isin(known)]
    rows = rows.assign(lead=rows["finished_s"] - rows["authored_s"])
    return rows[(rows["lead"] >= 0) & rows["finished_s"].map(_inside)]


@pytest.mark.parametrize("seed", range(3))
def test_quartiles_are_those_of_numpy(seed):
    """Per service and week and overall, four times numpy's quantile, without any rounding."""
    tables = by_chance(seed)
    rows = _leads(tables)
    borders = windows.week_borders(WINDOW.start_s, WINDOW.end_s, zone=BERLIN)
    weeks = rows["finished_s"].map(lambda at: bisect_right(borders, at) - 1)

    def quartiles(leads) -> tuple:
        found = np.quantile(leads, (0.25, 0.5, 0.75)) * 4
        return (len(leads), *(int(q) for q in found))

    expected = sorted(
        (*key, *quartiles(group["lead"])) for key, group in rows.groupby(["service", weeks])
    )
    assert run(tables, _expression("weekly_lead_times")) == expected
    assert run(tables, _expression("overall_lead_time")) == [quartiles(rows["lead"])]


@pytest.mark.parametrize("seed", range(5))
def test_incidents_are_linked_as_the_plain_reading_links_them(seed):
    """Explicit, same service within a day, or not at all: the same deployment as without any engine."""
    tables = by_chance(seed)
    rows = list(_counted(tables).itertuples(index=False))
    plain = link_incidents(rows, tables.incident.itertuples(index=False), OURS)

    found = run(tables, _expression("linked_incidents"))

    assert {row[0]: row[1] for row in found} == {
        incident: rows[place].deployment_id for incident, place in plain.items()
    }
    assert len(found) == len(plain) > 0


@pytest.mark.parametrize("seed", range(3))
def test_each_failed_deployment_counts_once(seed):
    """Rolled back or linked, per service; two incidents of one deployment are one failure."""
    tables = by_chance(seed)
    rows = list(_counted(tables).itertuples(index=False))
    linked = set(link_incidents(rows, tables.incident.itertuples(index=False), OURS).values())
    expected: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        after = next((r for r in rows[index + 1 :] if r.service == row.service), None)
        back = after is not None and after.trigger == "rollback"
        if _inside(row.finished_s):
            sums = expected.setdefault(row.service, [0, 0, 0])
            sums[0] += 1
            sums[1] += back or index in linked
            sums[2] += back

    found = run(tables, _expression("failed_deployments"))

    assert found == sorted((service, *sums) for service, sums in expected.items())


def test_changes_are_linked_to_the_next_deployment_in_time():
    """The suffix minimum gives what a search in the sorted times gives, equal times included."""
    tables = by_chance(7)
    times: dict[str, list[int]] = {}
    for row in _counted(tables).itertuples():
        times.setdefault(row.service, []).append(row.finished_s)
    expected = []
    for row in tables.change.itertuples():
        later = [at for at in times[row.service] if at >= row.committed_s]
        if later:
            expected.append((row.service, row.sha, row.authored_s, later[0]))

    assert run(tables, _expression("link_by_time")) == sorted(expected)


def test_the_expressions_agree_with_the_report(tmp_path):
    """Deployments, failures and the median lead time of a report are those of the expressions."""
    history = many(12)
    asked = request(
        tmp_path,
        incidents=incidents(
            tmp_path,
            [
                (f"i{n}", f"service-{n:03d}", NOW_S - n * WEEK, NOW_S - n * WEEK + 60)
                for n in range(1, 12)
            ],
        ),
    )
    state = observe(view(history), asked)
    measured = measure(asked, state)
    collected = facts.read(asked.workdir, has_incidents=True)
    tables = from_versions(collected, first_environments=asked.first_environments)

    weekly = run(tables, _expression("weekly_deployments", measured.window, UTC))
    failed = run(tables, _expression("failed_deployments", measured.window, UTC))
    overall = run(tables, _expression("overall_lead_time", measured.window, UTC))

    fail_rate, lead = measured.metric("fail_rate"), measured.metric("lead_time")
    assert sum(row[2] for row in weekly) == fail_rate.counts["deployments"] > 0
    assert sum(row[2] for row in failed) == fail_rate.counts["failed"] > 0
    assert (overall[0][0], overall[0][2] / 4) == (lead.now.n, lead.now.value)
    assert [w.deployments for w in measured.weeks if w.period == "now"] == [
        sum(row[2] for row in rows)
        for _, rows in itertools.groupby(sorted(weekly, key=lambda r: r[1]), key=lambda r: r[1])
    ]


@pytest.mark.parametrize("name", list(portable.expressions(WINDOW, environment="x", zone=UTC)))
def test_every_expression_compiles_for_bigquery(name):
    """BigQuery's dialect has SQL for it, without quantiles, as-of joins or timestamps; it was not run there."""
    sql = BigQueryCompiler().to_sqlglot(_expression(name)).sql("bigquery").upper()

    assert sql.startswith(("SELECT", "WITH"))
    for word in ("ASOF", "QUANTILE", "PERCENTILE", "TIMESTAMP", "DATE_"):
        assert word not in sql


def test_duckdbs_fast_queries_give_the_rows_of_the_expressions(tmp_path):
    """Quartiles, overall median and the link by time, on facts as collectors write them."""
    dora_facts.write(tmp_path, changes=20_000, deployments=4_000, services=40)
    window = Window(dora_facts.START_S + 3 * 86_400, dora_facts.START_S + 60 * WEEK)
    database = fast.Facts.open(tmp_path)
    engine = ibis.duckdb.from_connection(database.connection)

    def slow(name: str) -> list[tuple]:
        expression = _expression(name, window)
        return sorted(tuple(row.values()) for row in engine.to_pyarrow(expression).to_pylist())

    weekly = fast.weekly_lead_times(window, environment="production", zone=BERLIN)
    assert sorted((*row[:3], *row[3]) for row in database.run(weekly)) == slow("weekly_lead_times")
    overall = database.run(fast.overall_lead_time(window, environment="production"))
    assert [(row[0], *row[1]) for row in overall] == slow("overall_lead_time")
    links = database.run(fast.link_by_time(environment="production"))
    assert sorted(links) == slow("link_by_time")


def test_the_interval_of_the_overall_median_is_that_of_the_order_statistics(tmp_path):
    """The engine's bounds are those of the plain function over all values."""
    dora_facts.write(tmp_path, changes=5_000, deployments=1_000, services=10)
    window = Window(dora_facts.START_S, dora_facts.START_S + 60 * WEEK)
    database = fast.Facts.open(tmp_path)
    query = (
        f"select finished_s - authored_s from change_deployment where finished_s < {window.end_s} "
        "and deployment_id not in (select deployment_id from deployment where is_seed) "
        "and finished_s >= authored_s"
    )
    values = [row[0] for row in database.run(query)]

    query = fast.median_interval(window, environment="production", n=len(values))

    expected = statistics.median(values)
    assert database.run(query) == [([expected.low, expected.high],)]
    with pytest.raises(UsageError, match="no interval"):
        fast.median_interval(window, environment="production", n=5)


def test_spark_gives_the_same_integers_as_duckdb(tmp_path):
    """Every expression, row by row and bit by bit; `make test-spark` compares a million changes."""
    if shutil.which("java") is None:
        pytest.skip("SKIPPED: no Java, so no Spark: nothing here compared the two engines")
    script = Path(__file__).with_name("spark_equality.py")
    changes = int(os.environ.get("GITOPS_NB_SPARK_CHANGES", "20000"))

    done = subprocess.run(
        (sys.executable, str(script), str(tmp_path), str(changes)),
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["changes"] == changes
    assert set(found["rows"]) == set(portable.expressions(WINDOW, environment="x", zone=UTC))
    assert all(count > 0 for count in found["rows"].values())
    assert found["different"] == []
