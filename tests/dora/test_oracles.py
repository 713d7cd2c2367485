"""Other tools' own test data: their numbers under their definitions, and what ours says instead."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from gitops_nb.dora import profiles
from gitops_nb.dora.definition import DAY_S, DoraDefinition
from gitops_nb.dora.engine import DuckEngine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import (
    CHANGE,
    CHANGE_DEPLOYMENT,
    DEPLOYMENT,
    INCIDENT,
    FactTables,
    frame,
)
from gitops_nb.dora.judging import linked_incidents, previous_successes
from gitops_nb.dora.reckon import reckon
from gitops_nb.dora.windows import Window

DATA = Path(__file__).parents[3] / "shared/data/dora"
METRIK = DATA / "metrik"
UTC = ZoneInfo("UTC")


def _cases() -> list[dict]:
    path = METRIK / "expected.json"
    return json.loads(path.read_text()) if path.is_file() else []


def _metrik_tables(case: dict) -> FactTables:
    """Builds of the pipelines as tables, in milliseconds; a build's changes count from the next success on."""
    deployments, changes, arrivals = [], [], []
    builds = json.loads((METRIK / case["file"]).read_text())
    for pipeline, stage_name in case["pipeline_stage"].items():
        waiting: list[dict] = []
        mine = [build for build in builds if str(build["pipelineId"]) == pipeline]
        for place, build in enumerate(sorted(mine, key=lambda b: b["timestamp"])):
            for number, change in enumerate(build["changeSets"]):
                at = change["timestamp"]
                sha = f"{pipeline}.{place}.{number}"
                waiting.append(
                    {"service": pipeline, "sha": sha, "authored_s": at, "committed_s": at}
                )
            for stage in build["stages"]:
                if stage["name"] != stage_name or stage["status"] not in ("SUCCESS", "FAILED"):
                    continue
                took = stage["durationMillis"] + stage["pauseDurationMillis"]
                done = stage.get("completedTimeMillis") or stage["startTimeMillis"] + took
                key = {
                    "deployment_id": f"{pipeline}.{place}",
                    "service": pipeline,
                    "environment": "production",
                    "finished_s": done,
                }
                succeeded = stage["status"] == "SUCCESS"
                deployments.append({**key, "outcome": "succeeded" if succeeded else "failed"})
                if succeeded:
                    changes += waiting
                    arrivals += [{**change, **key} for change in waiting]
                    waiting = []
    return FactTables.of(
        change=frame(CHANGE, changes),
        deployment=frame(DEPLOYMENT, deployments),
        change_deployment=frame(CHANGE_DEPLOYMENT, arrivals),
    )


@pytest.mark.parametrize("case", _cases(), ids=lambda case: f"{case['metric']}-{case['file']}")
def test_metrik_numbers_under_its_definition(case):
    """Change failure rate, count, mean lead time and mean recovery time are metrik's own, in all 25 cases."""
    question = Question("production", case["end_ms"], profiles.METRIK.definition, is_native=True)
    # metrik's windows include their end.
    window = Window(case["start_ms"], case["end_ms"] + 1)
    with DuckEngine.of(_metrik_tables(case)) as engine:
        found = reckon(engine, question, window, zone=UTC, has_incidents=False)

    number, scale = {
        "ChangeFailureRate": (found.fail_rate, 100),
        "DeploymentFrequency": (found.frequency, 1),
        "LeadTimeForChange": (found.lead_time, 1),
        "MeanTimeToRestore": (found.recovery, 1),
    }[case["metric"]]
    if case["expected"] is None:
        assert (number.value, number.n) == (None, 0)
        assert number.missing
    else:
        assert number.value is not None
        assert math.isclose(number.value * scale, case["expected"], rel_tol=1e-12)


def test_all_of_metriks_cases_are_there():
    """25 cases, or the skip says that there are none."""
    if not METRIK.is_dir():
        pytest.skip(f"SKIPPED: no shared data at {METRIK}")
    assert len(_cases()) == 25


def _rows(name: str) -> list[dict[str, str]]:
    path = DATA / "devlake" / name
    if not path.is_file():
        pytest.skip(f"SKIPPED: no shared data at {path}")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _devlake_deployments(rows: list[dict[str, str]], service) -> pd.DataFrame:
    return frame(
        DEPLOYMENT,
        [
            {
                "deployment_id": row["id"],
                "service": service(row),
                "environment": row["environment"],
                "version": row["cicd_deployment_id"],
                "started_s": _seconds(row["started_date"]),
                "finished_s": _seconds(row["finished_date"]),
                "outcome": "succeeded" if row["result"] == "SUCCESS" else "failed",
            }
            for row in rows
        ],
    )


def test_devlakes_previous_deployments():
    """All 16 deployments have the previous success that DevLake's own test expects, or none."""
    rows = _rows("prev_success_deployment_commit/cicd_deployment_commits_after.csv")
    table = _devlake_deployments(rows, lambda row: f"{row['cicd_scope_id']} {row['repo_url']}")

    with DuckEngine.of(FactTables.of(deployment=table)) as engine:
        found = {row[0]: row[1] for row in engine.rows(previous_successes())}

    expected = {row["id"]: row["prev_success_deployment_commit_id"] for row in rows}
    assert len(rows) == 16
    assert {row["id"]: found.get(row["id"], "") for row in rows} == expected


def _devlake_links(definition: DoraDefinition) -> tuple[dict[str, str], dict[str, float]]:
    """Pipeline by incident of project1, and each incident's age in days since the project's last success."""
    folder = "connect_incident_to_deployment"
    owners = {
        (row["table"], row["row_id"]): row["project_name"]
        for row in _rows(f"{folder}/raw_tables/project_mapping.csv")
    }
    table = _devlake_deployments(
        _rows(f"{folder}/prev_success_deployment_commit/cicd_deployment_commits_after.csv"),
        lambda row: owners["cicd_scopes", row["cicd_scope_id"]],
    )
    good = table[
        (table["outcome"] == "succeeded")
        & (table["environment"] == "PRODUCTION")
        & (table["service"] == "project1")
    ].sort_values("finished_s")
    incidents = frame(
        INCIDENT,
        [
            {
                "incident_id": row["id"],
                "service": owners[row["table"], row["scope_id"]],
                "started_s": _seconds(row["created_date"]),
                "resolved_s": _seconds(row["updated_date"]),
            }
            for row in _rows(f"{folder}/raw_tables/incidents.csv")
            if owners.get((row["table"], row["scope_id"])) == "project1"
        ],
    )
    deployments = list(good.itertuples(index=False))
    question = Question("PRODUCTION", 0, definition, is_native=True)
    tables = FactTables.of(deployment=good, incident=incidents.assign(environment="PRODUCTION"))
    with DuckEngine.of(tables) as engine:
        linked = {row[0]: row[1] for row in engine.rows(linked_incidents(question))}
    versions = dict(zip(good["deployment_id"], good["version"], strict=True))
    ages = {
        row.incident_id: (
            row.started_s - max(d.finished_s for d in deployments if d.finished_s <= row.started_s)
        )
        / DAY_S
        for row in incidents.itertuples(index=False)
    }
    return {name: str(versions[place]) for name, place in linked.items()}, ages


def test_devlakes_incident_links_under_its_definition():
    """Each incident belongs to the last success of the whole project, as in DevLake's snapshot."""
    snapshot = _rows(
        "connect_incident_to_deployment/snapshot_tables/project_incident_deployment_relationships.csv"
    )

    linked, _ = _devlake_links(profiles.DEVLAKE.definition)

    assert linked == {row["id"]: row["deployment_id"] for row in snapshot}


def test_our_definition_leaves_those_incidents_unlinked_that_came_weeks_later():
    """Of DevLake's six links five are 39 to 65 days old; ours keeps the one within 24 hours."""
    linked, ages = _devlake_links(profiles.OURS)

    late = {name: age for name, age in ages.items() if name not in linked}
    assert len(late) == 5
    assert all(38.9 < age < 65 for age in late.values())
    assert list(linked.values()) == ["pipeline2"]
    assert all(ages[name] <= 1 for name in linked)


def test_profiles_are_distinct_definitions():
    """No two tools share a hash, none has ours, and only ours may be a report's own."""
    hashes = {p.definition.hash for p in profiles.COMPATIBLE}

    assert len(hashes) == len(profiles.COMPATIBLE)
    assert profiles.OURS.hash not in hashes
    assert not any(p.definition.is_for_reports for p in profiles.COMPATIBLE)
    assert replace(profiles.OURS, attribution_window_s=3600).is_for_reports
