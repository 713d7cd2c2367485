"""Incidents of five kinds of files become one table; what is wrong is named, and nothing is written."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest

from gitops_nb.dora.collectors.incidents import Reading, collect_incidents, read_incidents
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UsageError
from tests.conftest import SHARED
from tests.dora.test_store import tree

READING = Reading(
    ("staging", "production"), "production", 1_800_000_000, {"Checkout API": "checkout"}
)

PLAIN = [
    {"id": "i1", "service": "checkout", "environment": "staging", "started": "2026-11-01T10:00:00Z", "resolved": "2026-11-01T11:00:00+00:00", "severity": "high", "deployment_id": "d1"},
    {"id": "i2", "service": "cart", "environment": "production", "started": "2026-11-02T10:00:00Z", "resolved": None},
]  # fmt: skip
PAGERDUTY = {
    "incidents": [
        {"id": "Q1", "incident_number": 1, "title": "secret title", "created_at": "2026-11-01T10:00:00Z", "status": "resolved", "resolved_at": None, "last_status_change_at": "2026-11-01T10:30:00Z", "urgency": "high", "priority": None, "service": {"id": "PS1", "type": "service_reference", "summary": "Checkout API"}, "assignments": [{"assignee": {"summary": "Ann Author"}}]},
        {"id": "Q2", "incident_number": 2, "created_at": "2026-11-02T10:00:00Z", "status": "triggered", "last_status_change_at": "2026-11-02T10:30:00Z", "urgency": "low", "priority": {"summary": "P1"}, "service": {"id": "PS2", "summary": "cart"}},
    ],
    "limit": 25, "offset": 0, "more": False,
}  # fmt: skip
ALERTS = {
    "version": "4", "groupKey": "{}", "status": "firing", "receiver": "gitops",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "Down", "service": "cart", "environment": "staging", "severity": "page"}, "annotations": {}, "startsAt": "2026-11-01T10:00:00.123Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "ab12"},
        {"status": "resolved", "labels": {"alertname": "Down", "service": "Checkout API"}, "startsAt": "2026-11-01T10:00:00Z", "endsAt": "2026-11-01T10:05:00Z", "fingerprint": "cd34"},
    ],
}  # fmt: skip
ISSUES = [
    {"number": 7, "created_at": "2026-11-01T10:00:00Z", "closed_at": "2026-11-01T12:00:00Z", "labels": [{"name": "incident"}, {"name": "service:checkout"}, {"name": "severity:high"}], "user": {"login": "ann"}},
    {"number": 8, "created_at": "2026-11-01T10:00:00Z", "closed_at": None, "labels": ["incident", "service:cart", "environment:staging"]},
    {"number": 9, "created_at": "2026-11-01T10:00:00Z", "closed_at": None, "labels": ["bug"]},
    {"number": 10, "created_at": "2026-11-01T10:00:00Z", "closed_at": None, "labels": ["incident"], "pull_request": {"url": "x"}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PLAIN, [("i1", "checkout", "staging", 3600, "high"), ("i2", "cart", "production", None, "")]),
        (PAGERDUTY, [("Q1", "checkout", "production", 1800, "high"), ("Q2", "cart", "production", None, "P1")]),
        (ALERTS, [("ab12", "cart", "staging", None, "page"), ("cd34", "checkout", "production", 300, "")]),
        (ISSUES, [("#7", "checkout", "production", 7200, "high"), ("#8", "cart", "staging", None, "")]),
    ],
)  # fmt: skip
def test_each_kind_of_file_is_read(tmp_path, content, expected):
    """A list of our own, PagerDuty's list, an Alertmanager webhook and GitHub issues; open ones stay open."""
    (tmp_path / "i.json").write_text(json.dumps(content))
    rows = read_incidents(tmp_path / "i.json", READING)
    found = [
        (
            row["incident_id"].split("@")[0],
            row["service"],
            row["environment"],
            None if pd.isna(row["resolved_s"]) else row["resolved_s"] - row["started_s"],
            row["severity"],
        )
        for row in rows.to_dict("records")
    ]
    assert found == expected


def test_an_incident_that_is_resolved_later_is_one_row(tmp_path):
    """Webhooks as JSON lines, firing and then resolved, in either order: one incident with its end."""
    over = copy.deepcopy(ALERTS)
    over["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-01T10:10:00Z"}
    for name, order in (("a", [ALERTS, over]), ("b", [over, ALERTS])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps(document) for document in order) + "\n")
        rows = read_incidents(path, READING).set_index("service")
        assert len(rows) == 2
        assert rows.loc["cart", "resolved_s"] - rows.loc["cart", "started_s"] == 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{**PLAIN[0], "environment": "prod"}], r"i.json: \[0\]: environment: unknown .* staging, production"),
        ([PLAIN[1], {**PLAIN[0], "started": 1761991200}], r"\[1\]: is no incident of file.*is no time like"),
        ([{**PLAIN[0], "started": "2126-11-01T10:00:00Z"}], r"\[0\]: started_s: .* is in the future"),
        ([{**PLAIN[0], "resolved": "2026-11-01T09:00:00Z"}], r"\[0\]: resolved is before started"),
        ([{"id": "x"}], r"\[0\]: is no incident of file.*service"),
        ({"incidents": [{"id": "Q"}]}, r"incidents\[0\]: is no incident of pagerduty"),
        ({"alerts": [{"labels": {}}]}, r"alerts\[0\]: is no incident of alertmanager"),
        ([{"number": 1, "labels": ["incident"], "created_at": "2026-11-01T10:00:00Z"}], r"is no incident of github.*service"),
        ({"a": 1}, "neither a list of incidents nor"),
        ("{", "i.json: cannot be read as JSON"),
        ("[" * 100_000, "i.json: cannot be read as JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path, content, message):
    """File, place in it and what is wrong; the store is not even made."""
    path = tmp_path / "i.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    store = FactStore(tmp_path / "facts")
    with pytest.raises(UsageError, match=message):
        collect_incidents(path, store, READING)
    assert not store.folder.exists()


def test_the_same_file_twice_changes_no_byte(tmp_path):
    """And no title, text or person reaches the store."""
    path = tmp_path / "i.json"
    path.write_text(json.dumps(PAGERDUTY))
    store = FactStore(tmp_path / "facts")
    assert collect_incidents(path, store, READING).merged.added == 2
    before = tree(store.folder)
    assert collect_incidents(path, store, READING).merged == Merged()
    assert tree(store.folder) == before
    content = b"".join(data for data, _ in before.values())
    assert b"Ann" not in content
    assert b"secret" not in content


def test_a_csv_is_read_as_the_runbook_reads_it(tmp_path):
    """The same columns and the same complaints."""
    path = tmp_path / "i.csv"
    path.write_text(
        "id,service,environment,started,resolved\n1,cart,production,2026-11-01T10:00:00Z,\n"
    )
    store = FactStore(tmp_path / "facts")
    collect_incidents(path, store, READING)
    assert store.read("incident")["source"].tolist() == ["i.csv"]
    path.write_text("id,service\n1,cart\n")
    with pytest.raises(UsageError, match=r"i\.csv:1: no column environment, started, resolved"):
        collect_incidents(path, store, READING)


@pytest.mark.parametrize(
    "name", ["github_opened.json", "github_labeled.json", "github_closed.json"]
)
def test_real_issue_webhooks_are_read(tmp_path, name):
    """GitHub's own payloads for issues: those labelled incident and with a service are incidents, others are none."""
    path = SHARED / "data/dora/webhooks_dorametrix" / name
    if not path.is_file():
        pytest.skip(f"the recorded webhooks are absent, GitHub's shape was NOT checked: {path}")
    document = json.loads(path.read_text())
    document = document.get("body", document)
    document = json.loads(document) if isinstance(document, str) else document
    assert isinstance(document.get("issue"), dict)
    document["issue"]["labels"] = [
        *document["issue"]["labels"],
        {"name": "incident"},
        {"name": "service:cart"},
    ]
    (tmp_path / "i.json").write_text(json.dumps(document))
    rows = read_incidents(tmp_path / "i.json", READING)
    assert rows["service"].tolist() == ["cart"]
    assert rows["incident_id"].tolist() == [f"#{document['issue']['number']}"]
