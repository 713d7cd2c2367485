"""What is said of published facts before they are measured: counts, asked of the engine that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ibis

from gitops_nb.dora.engine import Engine
from gitops_nb.dora.expressions import unbound
from gitops_nb.errors import UsageError

_KINDS = ("removal", "resync", "heal")


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of ``DoraState``: ``reached`` by environment, ``excluded`` by reason, ``kinds`` of records by name."""

    events: int
    reached: Mapping[str, int]
    services: int
    incidents: int
    first_s: int
    excluded: Mapping[str, int]
    kinds: Mapping[str, int]
    commits: int


def services(engine: Engine) -> set[str]:
    """Services that have deployments."""
    rows = unbound()["deployment"].select("service").distinct()
    return {name for (name,) in engine.rows(rows)}


def newest_s(engine: Engine) -> int:
    """The newest moment that the tables know of.

    Raises:
        UsageError: There are no deployments.
    """
    deployment, incident, observation = (
        unbound()[name] for name in ("deployment", "incident", "observation")
    )
    moments = (
        deployment.select(at_s="finished_s"),
        incident.select(at_s="started_s"),
        incident.select(at_s="resolved_s"),
        observation.select(at_s="observed_s"),
    )
    every = moments[0].union(*moments[1:])
    found = every.agg(
        newest=every.at_s.max(), deployments=deployment.count().as_scalar().cast("int64")
    )
    ((newest, deployments),) = engine.rows(found)
    if not deployments:
        raise UsageError(
            "no deployments in the published tables", hint="Run `gitops-nb dora collect` first."
        )
    return int(newest)


def counts(engine: Engine) -> Counts:
    """Counts the facts that were asked for."""
    tables = unbound()
    deployment = tables["deployment"]
    is_none = deployment.trigger.isin(_KINDS) | deployment.is_seed
    groups = (
        deployment.mutate(
            reached=(~is_none & (deployment.outcome != "failed")).ifelse(1, 0).cast("int64"),
            kind=deployment.trigger.isin(_KINDS).ifelse(deployment.trigger, ""),
            seed=deployment.is_seed.ifelse(1, 0).cast("int64"),
        )
        .group_by(["environment", "kind"])
        .agg(
            events=ibis._.count(),
            reached=ibis._.reached.sum().cast("int64"),
            seeds=ibis._.seed.sum().cast("int64"),
            first_s=ibis._.finished_s.min(),
        )
    )
    reached: dict[str, int] = {}
    kinds: dict[str, int] = {}
    events, first = 0, list[int]()
    for environment, kind, n, arrived, seeds, first_s in engine.rows(groups):
        events += n
        first.append(first_s)
        reached[environment] = reached.get(environment, 0) + arrived
        kinds["seed"] = kinds.get("seed", 0) + seeds
        if kind:
            kinds[kind] = kinds.get(kind, 0) + n
    excluded = tables["exclusion"].group_by("reason").agg(n=ibis._.count())
    return Counts(
        events=events,
        reached=reached,
        services=len(services(engine)),
        incidents=count(engine, "incident"),
        first_s=min(first, default=0),
        excluded=dict(engine.rows(excluded)),
        kinds={kind: n for kind, n in sorted(kinds.items()) if n},
        commits=count(engine, "change"),
    )


def count(engine: Engine, name: str) -> int:
    """How many rows a table has."""
    rows = unbound()[name]
    ((n,),) = engine.rows(rows.agg(n=rows.count()))
    return int(n)
