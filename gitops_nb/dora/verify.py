"""verify: checks the files against their digests, and counts again with one plain query."""

from __future__ import annotations

import duckdb
from sqlglot import exp

from gitops_nb.dora import facts
from gitops_nb.dora.definition import Included
from gitops_nb.dora.engines import remote
from gitops_nb.dora.expressions import unbound
from gitops_nb.dora.observe import DoraState
from gitops_nb.dora.request import DoraRequest
from gitops_nb.dora.results import Measured
from gitops_nb.model import Fact, Outcome, Result


def verify(request: DoraRequest, state: DoraState, metrics: Measured) -> Outcome:
    """Checks the files against their digests, and counts the deployments again with one plain query."""
    changed = [
        name
        for name, digest in {**state.files, **metrics.files}.items()
        if not (request.workdir / name).is_file() or facts.sha256(request.workdir / name) != digest
    ]
    counted = None if changed else _count(request, metrics)
    said = metrics.metric("frequency").counts["deployments"]
    if changed or counted != said:
        why = (
            f"changed or missing: {', '.join(changed)}"
            if changed
            else f"{counted} counted, {said} said"
        )
        return Outcome(
            Result.FAILED,
            "The numbers do not follow from the facts",
            f"The check did not hold ({why}).",
            next_step="Run the report again; if it happens twice, keep this run as evidence.",
        )
    return Outcome(
        Result.REPORTED,
        metrics.title,
        metrics.sentence,
        facts=(
            Fact("Deployments", f"{said:,}, counted twice"),
            Fact("Facts", f"{state.events:,} events, {state.services:,} services"),
            Fact("Definition", metrics.definition[:12]),
        ),
    )


def _count(request: DoraRequest, metrics: Measured) -> int:
    """Deployments in the window, from one table alone, by the options of the definition that say what is one."""
    if request.engine is not None:
        with remote(request) as engine:
            rows = f"({engine.sql(unbound()['deployment'])}) as found"
            return engine.count(_query(request, metrics, rows, engine.warehouse.dialect))
    path = str(request.workdir / facts.FOLDER / "deployment.parquet").replace("'", "''")
    with duckdb.connect() as connection:
        row = connection.execute(
            _query(request, metrics, f"read_parquet('{path}')", "duckdb")
        ).fetchone()
    return int(row[0]) if row else 0


def _query(request: DoraRequest, metrics: Measured, rows: str, dialect: str) -> str:
    """The plain query, in words that every engine has; the one text in it is quoted as the dialect does."""
    options, window = metrics.options, metrics.window
    environment = exp.Literal.string(request.environment).sql(dialect)
    resyncs = "" if options.resyncs is Included.COUNTED else "and trigger not in ('resync', 'heal')"
    freezes = [] if options.freezes is Included.COUNTED else request.freezes
    pauses = " ".join(
        f"and not (finished_s >= {f.start_s:d} and finished_s < {f.end_s:d})" for f in freezes
    )
    apart = options.coalesce_s
    alone = f"and (after_s is null or after_s > {apart:d})" if apart else ""
    return f"""
        with counted as (
            select finished_s, finished_s - lag(finished_s) over (
                partition by service order by position, finished_s, deployment_id) as after_s
            from {rows}
            where environment = {environment} and outcome <> 'failed' and trigger <> 'removal' and not is_seed
              {resyncs} {pauses}
        )
        select count(*) as n from counted
        where finished_s >= {window.start_s:d} and finished_s < {window.end_s:d} {alone}
    """  # noqa: S608  integers, and text that is quoted
