"""61,458 real deployments of GOV.UK: our counts against one plain DuckDB query each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from gitops_nb import dora
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import check
from gitops_nb.dora import facts
from gitops_nb.ports import View
from tests.samples import few

FILE = Path(__file__).parents[3] / "shared/data/dora/govuk/image_tag_commits_2022_2024.parquet"
WORKSPACE = Path(__file__).parents[1] / "workspaces" / "govuk"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Measures one window of the real file, through the workspace's own fleet and runbook."""
    if not FILE.is_file():
        pytest.skip(f"SKIPPED: no shared data at {FILE}")
    catalog = load_catalog(WORKSPACE / "runbooks")
    nothing = View(None, {}, {}, None, None)  # type: ignore[arg-type]  # a file needs no reader

    def measure(window: str, **more: object):
        parameters = check(
            catalog.runbooks["dora"],
            catalog.fleet,
            {"deployments": str(FILE), "window": window, "time_zone": "UTC", **more},
        )
        asked = dora.request(
            catalog.fleet,
            parameters,
            workdir=tmp_path_factory.mktemp("run"),
            now=NOW,
            base=WORKSPACE,
        )
        state = dora.observe(nothing, asked)
        return asked, state, dora.measure(asked, state)

    return measure


def _query(sql: str) -> list[tuple]:
    with duckdb.connect() as connection:
        connection.execute(f"create view tags as select * from read_parquet('{FILE}')")
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("year", few([2022, 2023, 2024], keep=1))
def test_production_deployments_per_year(run, year):
    """Every production row of the year is a deployment, but for the same tag again."""
    ((rows, again),) = _query(f"""
        with production as (
            select committed_s, tag, lag(tag) over (partition by app order by committed_s) as previous
            from tags where env = 'production'
        )
        select count(*), count(*) filter (where tag = previous) from production
        where committed_s >= epoch(timestamp '{year}-01-01')
          and committed_s < epoch(timestamp '{year + 1}-01-01')
    """)

    _, _, measured = run(str(year))

    assert measured.metric("frequency").counts["deployments"] == rows - again
    assert measured.seen == rows
    left_out = {item.reason: item.rows for item in measured.excluded}
    assert left_out.get("same version again (resync)", 0) == again


@pytest.mark.torture
def test_rollbacks_and_tags_that_cannot_be_compared(run):
    """A vN below the running maximum, directly from that maximum; all other tags are not comparable."""
    ((rollbacks, others),) = _query("""
        with numbered as (
            select app, committed_s,
                   try_cast(regexp_extract(tag, '^v([0-9]+)$', 1) as integer) as number
            from tags where env = 'production'
        ), running as (
            select number,
                   lag(number) over (partition by app order by committed_s) as previous,
                   max(number) over (partition by app order by committed_s
                       rows between unbounded preceding and 1 preceding) as highest
            from numbered
        )
        select count(*) filter (where number < highest and previous = highest),
               count(*) filter (where number is null)
        from running
    """)

    asked, _, measured = run("2022-01-01/2025-01-01")

    deployments = facts.read_table(asked.workdir, "deployment")
    production = deployments[deployments["environment"] == "production"]
    assert (rollbacks, others) == (107, 3794)
    assert (
        int((production["trigger"].eq("rollback") & production["is_comparable"]).sum()) == rollbacks
    )
    assert int((~production["is_comparable"]).sum()) == others
    resyncs = int((production["trigger"].eq("resync") & ~production["is_comparable"]).sum())
    assert measured.rollbacks.counts["not comparable"] == others - resyncs


def test_lead_time_is_from_the_tags_first_row_in_integration(run):
    """The median from integration to production is that of one plain join."""
    ((median, n),) = _query("""
        with arrivals as (
            select app, env, tag, min(committed_s) as at,
                   min(committed_s) = min(min(committed_s)) over (partition by app, env) as is_first_row
            from tags group by app, env, tag
        )
        select median(p.at - i.at), count(*) from arrivals p
        join arrivals i on i.app = p.app and i.tag = p.tag and i.env = 'integration'
        where p.env = 'production' and not p.is_first_row and not i.is_first_row and p.at >= i.at
          and p.at >= epoch(timestamp '2024-01-01') and p.at < epoch(timestamp '2025-01-01')
    """)

    _, _, measured = run("2024")

    lead = measured.metric("lead_time").now
    assert (lead.value, lead.n) == (median, n)


def test_what_a_file_cannot_tell_is_no_data(run):
    """Without incidents and clusters there is no fail rate, no recovery and no sync status."""
    asked, state, measured = run("2024")

    assert measured.metric("fail_rate").now.value is None
    assert measured.metric("recovery").now.value is None
    assert measured.sync.missing == "deployments come from a file, so no cluster was asked"
    assert dora.verify(asked, state, measured).title == measured.title


def test_a_window_after_the_data_says_so(run):
    """90 days before today there is nothing in this file, and that is not zero."""
    _, _, measured = run("90d")

    assert measured.title == "No deployment to production in this window"
    assert measured.metric("frequency").now.value is None


def test_the_workspace_has_the_runbook_that_is_shipped():
    """The real file is measured with the parameters that everybody has."""
    shipped = WORKSPACE.parents[2] / "runbooks" / "dora.yaml"

    assert (WORKSPACE / "runbooks" / "dora.yaml").read_bytes() == shipped.read_bytes()
