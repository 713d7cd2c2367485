"""Fact tables made by chance, with everything that expressions must tell apart."""

from __future__ import annotations

import random

from gitops_nb.dora.fact_tables import (
    CHANGE,
    CHANGE_DEPLOYMENT,
    DEPLOYMENT,
    INCIDENT,
    FactTables,
    frame,
)
from tests.dora.dora_factories import DAY, HOUR

START_S = 1_704_067_200  # 2024-01-01 UTC, a Monday


def by_chance(
    seed: int, *, services: int = 6, deployments: int = 40, weeks: int = 30
) -> FactTables:
    """Tables with resyncs, seeds, failed attempts, rollbacks, negative times, and incidents of every kind."""
    chance = random.Random(seed)
    changes, deployed, incidents, arrived = [], [], [], []
    for service in (f"service-{number}" for number in range(services)):
        at = START_S
        for number in range(deployments):
            at += 1 + int(chance.expovariate(deployments / (weeks * 7 * DAY)))
            row = {
                "deployment_id": f"{service}/{number:04d}",
                "service": service,
                "environment": chance.choice(("production", "production", "staging")),
                "version": f"v{number}",
                "started_s": at - 60,
                "finished_s": at,
                "outcome": chance.choice(("succeeded",) * 8 + ("degraded", "failed")),
                "trigger": chance.choice(("promotion",) * 6 + ("rollback", "resync", "heal")),
                "is_seed": number == 0,
                "is_censored": number == 0,
                "position": number,
                "is_comparable": True,
            }
            deployed.append(row)
            reached = row["outcome"] != "failed" and row["trigger"] not in ("resync", "heal")
            # The facts name a deployment of a change only when it counts.
            for place in range(chance.randrange(4) if reached and number else 0):
                authored = at - int(chance.lognormvariate(10, 1.5)) + (2 * DAY if place == 3 else 0)
                change = {
                    "service": service,
                    "sha": f"{service}.{number}.{place}",
                    "authored_s": authored,
                    "committed_s": authored,
                }
                changes.append(change)
                arrived.append({**row, **change})
            if chance.random() < 0.2:
                begun = at + chance.choice((0, 60, HOUR, DAY, DAY + 1, 9 * DAY))
                incidents.append(
                    {
                        "incident_id": f"i{len(incidents)}",
                        "service": service,
                        "environment": "production",
                        "started_s": begun,
                        "resolved_s": None if chance.random() < 0.2 else begun + HOUR,
                        "deployment_id": row["deployment_id"] if chance.random() < 0.3 else "",
                    }
                )
    for rows in (changes, deployed, incidents, arrived):
        chance.shuffle(rows)
    return FactTables.of(
        change=frame(CHANGE, changes),
        deployment=frame(DEPLOYMENT, deployed),
        incident=frame(INCIDENT, incidents),
        change_deployment=frame(CHANGE_DEPLOYMENT, arrived),
    )
