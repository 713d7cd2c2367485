"""Our own runs: promotions that the run journals below reports/ record, as deployments.

A run that changed nothing (refused, waiting, planned only) is none. Where the configuration repository tells of the
same revision, ``joining.one_source`` keeps its deployment and takes over from here only that the run failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from gitops_nb.dora import fact_tables
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.schemas import check
from gitops_nb.dora.store import FactStore
from gitops_nb.model import Mode, Status, parse_time
from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import run_directories, scan_run

SOURCE = "run ledger"
_ENDED = (Status.SUCCEEDED, Status.FAILED)


Unsigned = Callable[[Sequence[RunState]], Collection[str]]
"""Which of some runs ended by their folders' word alone."""


def collect_runs(
    reports: Path,
    store: FactStore,
    *,
    environments: Sequence[str],
    mode: Mode,
    unsigned: Unsigned = lambda _: (),
) -> Collected:
    """Reads the runs that ended since the last collection; those of another mode are of another platform.

    A run whose end no runner signed is no deployment that anybody saw: it is looked at again the next time.
    """
    source = f"runs {mode}"
    known = set(store.resume_point(source).get("runs", ()))
    rows: list[dict[str, Any]] = []
    read: list[str] = []
    new = [scan_run(path) for path in run_directories(reports) if path.name not in known]
    unseen = unsigned(new)
    for state in new:
        if state.run in unseen:
            continue
        if state.ended and state.status in _ENDED:
            read.append(state.run)
            row = deployment_of(state)
            if row and state.opened.get("mode") == mode and row["environment"] in environments:
                rows.append(row)
    merged = store.merge(
        "deployment", check("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, rows))
    )
    store.set_resume_point(source, {"runs": sorted(known | set(read))})
    return Collected(source, "", len(rows), merged)


def deployment_of(state: RunState) -> dict[str, Any] | None:
    """The deployment that a run made, or None: only promotions make one, and only with a commit or a sync."""
    if state.runbook != "promotion":
        return None
    revisions = [
        str(effect.result["revision"])
        for effect in state.effects
        if not effect.failed and effect.result.get("revision")
    ]
    if not revisions:
        return None
    found = str((state.outcome or state.seen or {}).get("result", ""))
    return {
        "deployment_id": f"run:{state.run}",
        "service": str(state.opened.get("subject", "")),
        "environment": state.environment,
        "version": revisions[0],
        "revision": revisions[0],
        "started_s": int(parse_time(state.started).timestamp()),
        "finished_s": int(parse_time(state.ended).timestamp()),
        "outcome": "succeeded" if found == "deployed" else "failed",
        "trigger": "promotion",
        "source": SOURCE,
    }
