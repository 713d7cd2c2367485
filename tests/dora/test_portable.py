"""The expressions: equal to the plain reading of the definition, on every engine that is here."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.bigquery import BigQueryCompiler

from gitops_nb.dora import catalogue, expressions, numbers, statistics, windows
from gitops_nb.dora.definition import Included
from gitops_nb.dora.engine import DuckEngine, sql
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import CHANGE, DEPLOYMENT, FactTables, frame
from gitops_nb.dora.facts import FOLDER
from gitops_nb.dora.leading import leads
from gitops_nb.dora.measure import measure, question_of
from gitops_nb.dora.observe import observe
from gitops_nb.dora.profiles import OURS
from gitops_nb.dora.schemas import EARLIEST_S
from gitops_nb.dora.windows import Window
from tests.dora.dora_factories import NOW_S, WEEK, incidents, many, request, view
from tests.dora.fact_factories import START_S, by_chance
from tests.dora.plain_reading import link_incidents
from tools import dora_facts

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
# 30 weeks with both changes of daylight saving time of 2024 would not fit; the one of March does.
WINDOW = Window(START_S - 3600, START_S + 28 * WEEK)


def run(tables: FactTables, expression) -> list[tuple]:
    """The rows of an expression on DuckDB, sorted."""
    with DuckEngine.of(tables) as engine:
        return engine.rows(expression)


QUESTION = Question("production", START_S + 40 * WEEK, first_environments=("staging",))


def _expression(name: str, window: Window = WINDOW, zone: ZoneInfo = BERLIN, *, native=False):
    question = replace(QUESTION, is_native=native)
    return catalogue.all_expressions(question, window, zone=zone)[name]


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

    assert [(*row[:3], row[4]) for row in found] == sorted(
        (*key, count, backs[key]) for key, count in counts.items()
    )


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
    week = expressions.week_of(rows.at, window, zone=place)
    with duckdb.connect() as connection:
        connection.register("moment", pd.DataFrame({"at": moments}))
        found = connection.execute(sql(rows.select("at", week=week))).fetchall()

    assert len(found) == len(moments)
    for at, index in found:
        assert index == bisect_right(borders, at) - 1


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


def test_a_deployment_has_the_lead_time_of_its_oldest_change():
    """With the deployment as unit there is one value for each, the longest of its changes."""
    tables = by_chance(4)
    rows = tables.change_deployment
    rows = rows[rows["environment"] == "production"]
    rows = rows.assign(lead=rows["finished_s"] - rows["authored_s"])
    longest = rows[rows["lead"] >= 0].groupby("deployment_id")["lead"].max()

    found = run(tables, _expression("leads_of_deployments"))

    assert {row[1]: row[3] for row in found} == longest.to_dict()
    assert len(found) == len(longest) < len(rows)


def test_resyncs_that_count_are_not_in_the_ledger():
    """A definition counts a resync or says that it left it out, never both and never neither."""
    tables = by_chance(4)
    counts = []
    for included in (Included.LEFT_OUT, Included.COUNTED):
        question = replace(QUESTION, definition=replace(QUESTION.definition, resyncs=included))
        deployed = run(tables, expressions.inside(expressions.counted(question), WINDOW))
        apart = run(tables, numbers.not_counted(question, WINDOW))
        counts.append((len(deployed), len(apart)))

    (fewer, more_apart), (more, fewer_apart) = counts
    assert more > fewer
    assert more - fewer == more_apart - fewer_apart


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
    """Rolled back, linked or degraded, per service; two incidents of one deployment are one failure."""
    tables = by_chance(seed)
    rows = list(_counted(tables).itertuples(index=False))
    linked = set(link_incidents(rows, tables.incident.itertuples(index=False), OURS).values())
    expected: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        after = next((r for r in rows[index + 1 :] if r.service == row.service), None)
        back = after is not None and after.trigger == "rollback"
        if _inside(row.finished_s):
            sums = expected.setdefault(row.service, [0, 0])
            sums[0] += 1
            sums[1] += back or index in linked or row.outcome == "degraded"

    found = run(tables, _expression("service_counts"))

    assert [(row[1], row[2], row[3]) for row in found] == sorted(
        (service, *sums) for service, sums in expected.items()
    )


@pytest.mark.parametrize("native", [False, True])
def test_changes_are_linked_to_the_next_deployment_in_time(native):
    """Suffix minimum and a join by days give what a search in the sorted times gives, equal times included."""
    tables = by_chance(7)
    times: dict[str, list[int]] = {}
    for row in _counted(tables).itertuples():
        times.setdefault(row.service, []).append(row.finished_s)
    expected = []
    for row in tables.change.itertuples():
        place = bisect_left(times[row.service], row.authored_s)
        if place < len(times[row.service]):
            expected.append((row.service, row.sha, row.authored_s, times[row.service][place]))

    assert run(tables, _expression("link_by_time", native=native)) == sorted(expected)


@pytest.mark.parametrize("native", [False, True])
def test_a_link_by_time_holds_at_its_borders(native):
    """To the second, across days and years without a deployment, and for changes older than any deployment."""
    at = [1_700_000_000, 1_700_000_000, 1_700_000_005, 1_700_086_400, 1_800_000_000]
    asked = [EARLIEST_S, at[0] - 1, at[0], at[0] + 1, at[2], at[2] + 1, at[3] + 1, at[4], at[4] + 1]
    tables = FactTables.of(
        deployment=frame(
            DEPLOYMENT,
            [
                {
                    "deployment_id": f"d{n}",
                    "service": "a",
                    "environment": "production",
                    "finished_s": moment_s,
                    "outcome": "succeeded",
                    "trigger": "promotion",
                }
                for n, moment_s in enumerate(at)
            ],
        ),
        change=frame(
            CHANGE,
            [
                {"service": "a", "sha": f"{n}", "authored_s": moment_s, "committed_s": moment_s}
                for n, moment_s in enumerate(asked)
            ],
        ),
    )
    next_of = (at[0], at[0], at[0], at[2], at[2], at[3], at[4], at[4])
    expected = [("a", f"{n}", asked[n], moment_s) for n, moment_s in enumerate(next_of)]

    assert run(tables, _expression("link_by_time", native=native)) == expected


def test_the_expressions_agree_with_the_report(tmp_path):
    """Deployments, failures and the median lead time of a report are those of the expressions for every engine."""
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
    question = question_of(asked, state, is_native=False)
    found = catalogue.all_expressions(question, measured.window, zone=UTC)

    with DuckEngine.over(asked.workdir / FOLDER) as engine:
        weekly, totals, overall = (
            engine.rows(found[name])
            for name in ("weekly_deployments", "service_counts", "overall_lead_time")
        )

    fail_rate, lead = measured.metric("fail_rate"), measured.metric("lead_time")
    assert sum(row[2] for row in weekly) == fail_rate.counts["deployments"] > 0
    assert sum(row[3] for row in totals) == fail_rate.counts["failed"] > 0
    assert (overall[0][0], overall[0][2] / 4) == (lead.now.n, lead.now.value)
    assert [w.deployments for w in measured.weeks if w.period == "now"] == [
        sum(row[2] for row in rows)
        for _, rows in itertools.groupby(sorted(weekly, key=lambda r: r[1]), key=lambda r: r[1])
    ]


@pytest.mark.parametrize("name", list(catalogue.all_expressions(QUESTION, WINDOW, zone=UTC)))
def test_every_expression_compiles_for_bigquery(name):
    """BigQuery's dialect has SQL for it, without quantiles, ranges as rows or timestamps; it was not run there."""
    compiled = BigQueryCompiler().to_sqlglot(_expression(name)).sql("bigquery").upper()

    assert compiled.startswith(("SELECT", "WITH"))
    for word in ("ASOF", "UNNEST", "QUANTILE", "PERCENTILE", "TIMESTAMP", "DATE_"):
        assert word not in compiled


@pytest.mark.parametrize("name", list(catalogue.all_expressions(QUESTION, WINDOW, zone=UTC)))
def test_what_an_engine_does_itself_gives_the_rows_of_the_portable_way(name):
    """Exact quantiles and ranges of DuckDB, and rank, count and running minimum, are the same rows."""
    tables = by_chance(11)

    assert run(tables, _expression(name, native=True)) == run(tables, _expression(name))


def test_the_interval_of_the_overall_median_is_that_of_the_order_statistics(tmp_path):
    """The engine's bounds are those of the plain function over all values."""
    dora_facts.write(tmp_path, changes=5_000, deployments=1_000, services=10)
    window = Window(dora_facts.START_S, dora_facts.START_S + 60 * WEEK)
    question = replace(QUESTION, is_native=True)
    with DuckEngine.over(tmp_path) as engine:
        rows = expressions.inside(leads(question), window)
        values = [row[0] for row in engine.rows(rows.select("lead_s"))]
        found = numbers.median_of(engine, rows, "lead_s", is_native=True)

    assert len(values) > 1000
    assert found == statistics.median(values)


@pytest.mark.torture
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
    assert set(found["rows"]) == set(catalogue.all_expressions(QUESTION, WINDOW, zone=UTC))
    assert all(count > 0 for count in found["rows"].values())
    assert found["different"] == []
