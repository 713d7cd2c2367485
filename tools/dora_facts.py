"""Fact tables of any size from a seed, written as Parquet: for the benchmark and for comparing engines.

Services differ in pace by two orders of magnitude, the last one has deployments and no changes, times are spread over two years, and every kind of row that an
expression must leave out occurs. The same arguments give the same rows.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from gitops_nb.dora.fact_tables import LAID_OUT

START_S = 1_704_067_200
YEARS_S = 2 * 52 * 7 * 86_400

_DEPLOYMENT = """
    select printf('d%07d', i) as deployment_id,
           printf('service-%03d', floor({services} * pow(u(i, 1), 2))::int) as service,
           case when u(i, 2) < 0.5 then 'production' else 'staging' end as environment,
           'v' || (i // 2) as version, md5((i * 10)::varchar) || '00000000' as revision, 0::bigint as position,
           {start} + floor(u(i, 3) * {span})::bigint - 60 as started_s,
           started_s + 60 as finished_s,
           case when u(i, 6) < 0.5 then started_s + 40 end as synced_s,
           case when u(i, 6) < 0.5 then started_s + 50 end as healthy_s,
           case when u(i, 4) between 0.93 and 0.95 and u(i, 6) < 0.5 then started_s + floor(u(i, 7) * 3000)::bigint
           end as degraded_s,
           case when u(i, 4) < 0.93 then 'succeeded' when u(i, 4) < 0.95 then 'degraded' else 'failed' end as outcome,
           case when u(i, 5) < 0.82 then 'promotion' when u(i, 5) < 0.86 then 'rollback'
                when u(i, 5) < 0.97 then 'resync' else 'heal' end as trigger,
           'generated' as source,
           row_number() over (partition by service, environment order by started_s, i) = 1 as is_seed,
           is_seed as is_censored, u(i, 8) < 0.9 as is_comparable
    from range({deployments}) t(i)
"""
_CHANGE = """
    select printf('service-%03d', least({services} - 2, floor({services} * pow(
               case when i % 10 = 0 then u(i // 10, 1) else u(i - i % 2, 11) end, 2)))::int) as service,
           'application' as repository, md5(i::varchar) || '00000000' as sha,
           {start} + floor(u(i - i % 2, 12) * {span})::bigint + (i % 2) * floor(u(i, 18) * 500000)::bigint
               as committed_s,
           committed_s - floor(-ln(1 - u(i, 13)) * 30000)::bigint as authored_s,
           case when u(i, 15) < 0.5 then authored_s + 600 end as opened_s,
           case when u(i, 15) < 0.4 then authored_s + 4000 end as merged_s, '' as patch_id,
           u(i, 14) < 0.2 as is_bot,
           case when i % 2 = 1 and u(i, 16) < 0.1 then md5((i - 1)::varchar) || '00000000' else '' end as is_revert_of,
           case when u(i, 17) < 0.01 then 'hotfix/x' else '' end as branch, '' as labels
    from range({changes}) t(i)
"""
_INCIDENT = """
    select 'i' || row_number() over (order by deployment_id) as incident_id, service, environment,
           finished_s + floor(-ln(1 - u(n, 21)) * 50000)::bigint as started_s,
           case when u(n, 22) < 0.9 then finished_s + floor(-ln(1 - u(n, 21)) * 50000)::bigint
               + floor(u(n, 23) * 90000)::bigint end as resolved_s,
           case when u(n, 24) < 0.2 then deployment_id else '' end as deployment_id,
           '2' as severity, 'generated' as source
    from (select *, row_number() over (order by deployment_id) as n from deployment
          where environment = 'production') where u(n, 25) < 0.04
"""
_OBSERVATION = """
    select service, environment, 'cluster/' || service as application, finished_s as observed_s,
           case when u(i, 31) < 0.9 then 'Synced' else 'OutOfSync' end as sync,
           case when u(i, 32) < 0.95 then 'Healthy' else 'Degraded' end as health
    from (select *, row_number() over (order by deployment_id) as i from deployment) where u(i, 33) < 0.05
"""
_EXCLUSION = """
    select 'dry run' as reason, 'deployments' as left_out_of, service, environment, version, revision as sha,
           finished_s, '' as detail
    from (select *, row_number() over (order by deployment_id) as i from deployment) where u(i, 34) < 0.01
"""
LINK = """
    select c.service, d.environment, c.repository, c.sha, d.deployment_id, c.authored_s, d.finished_s
    from change c asof join (
        select * from deployment where environment = 'production' and outcome in ('succeeded', 'degraded')
            and trigger not in ('resync', 'heal') and not is_seed
    ) d on c.service = d.service and c.committed_s <= d.finished_s
"""
"""The time-based link as DuckDB's as-of join: what ``leading.link_by_time`` says."""


def write(
    folder: Path, *, changes: int, deployments: int, services: int, with_links: bool = True
) -> None:
    """Writes the tables into ``folder``, their rows lying as those of a run's facts do."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "changes": changes,
        "deployments": deployments,
        "services": services,
        "start": START_S,
        "span": YEARS_S,
    }
    with duckdb.connect() as connection:
        connection.execute("set preserve_insertion_order = true")
        connection.execute("create macro u(i, k) as (hash(i * 64 + k) % 1000003) / 1000003.0")
        tables = [
            ("deployment", _DEPLOYMENT.format(**sizes), "service, finished_s, deployment_id"),
            ("change", _CHANGE.format(**sizes), "service, committed_s, sha"),
            ("incident", _INCIDENT, "service, started_s, incident_id"),
            ("observation", _OBSERVATION, "service, observed_s"),
            ("exclusion", _EXCLUSION, "service, finished_s, sha"),
        ]
        if with_links:
            tables.append(("change_deployment", LINK, LAID_OUT["change_deployment"]))
        for name, query, order in tables:
            target = folder / f"{name}.parquet"
            connection.execute(f"copy ({query} order by {order}) to '{target}' (compression zstd)")
            connection.execute(f"create view {name} as from read_parquet('{target}')")
