"""verify: checks the files against their digests, and counts again with one plain query."""

from __future__ import annotations

import duckdb

from gitops_nb.dora import facts
from gitops_nb.dora.definition import Included
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
    """Deployments in the window, from the Parquet file alone, by the options of the definition that say what is one."""
    path = request.workdir / facts.FOLDER / "deployment.parquet"
    options = metrics.options
    query = """
        with counted as (
            select finished_s, finished_s - lag(finished_s) over (
                partition by service order by position, finished_s, deployment_id) as after_s
            from read_parquet($path)
            where environment = $environment and outcome <> 'failed' and trigger <> 'removal' and not is_seed
              and ($resyncs or trigger not in ('resync', 'heal'))
              and not exists (select 1 from (select unnest($freezes) as f) where finished_s >= f[1] and finished_s < f[2])
        )
        select count(*) from counted
        where finished_s >= $start and finished_s < $end and ($coalesce = 0 or coalesce(after_s > $coalesce, true))
    """
    freezes = [] if options.freezes is Included.COUNTED else request.freezes
    with duckdb.connect() as connection:
        row = connection.execute(
            query,
            {
                "path": str(path),
                "environment": request.environment,
                "start": metrics.window.start_s,
                "end": metrics.window.end_s,
                "resyncs": options.resyncs is Included.COUNTED,
                # An empty list has no type of its own.
                "freezes": [[f.start_s, f.end_s] for f in freezes] or [[0, 0]],
                "coalesce": options.coalesce_s,
            },
        ).fetchone()
    return int(row[0]) if row else 0
