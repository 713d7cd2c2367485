"""Argo CD's operations told apart: held against the recordings of the real one, and against cases of public issues."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from gitops_nb.dora.collectors.argocd import (
    ApplicationLog,
    Place,
    classify,
    collect_argocd,
    commit_of,
)
from gitops_nb.dora.store import FactStore
from gitops_nb.model import parse_time
from gitops_nb.ports import Snapshot
from tests import recordings
from tests.conftest import SHARED
from tests.dora.test_store import tree

CASES = SHARED / "data/dora/argocd/cases.json"
LONG_AFTER = 4_000_000_000
PLACE = Place("web", "production")


def rows_of(log: ApplicationLog) -> list[dict]:
    """The deployments that a log gives."""
    attempts, _ = log.attempts(until_s=LONG_AFTER)
    return classify(attempts.itertuples(index=False))


def counted(rows: list[dict]) -> list[dict]:
    """Those that are deployments of another revision that was reached."""
    return [r for r in rows if r["outcome"] != "failed" and r["trigger"] not in ("resync", "heal")]


@pytest.fixture(scope="module")
def folded() -> dict[str, dict[str, ApplicationLog]]:
    """A log per Application of each recording, by the recording's number."""
    found: dict[str, dict[str, ApplicationLog]] = {}
    for recording in recordings.load():
        logs = found.setdefault(recording.name[:3], {})
        for _, snapshot in recording.snapshots():
            log = logs.setdefault(snapshot.name, ApplicationLog(snapshot.name, PLACE))
            log.see(snapshot)
    return found


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("001", ["promotion succeeded"]),
        ("002", ["automated succeeded"]),
        ("007", ["promotion succeeded", "resync succeeded", "resync succeeded"]),
        ("011", ["promotion succeeded", "promotion degraded"]),
        ("014", ["automated succeeded", "automated degraded"]),
        ("016", ["promotion succeeded", "promotion failed"]),
        ("017", ["promotion succeeded", "promotion degraded"]),
        ("019", ["promotion failed"]),
        ("040", ["promotion succeeded", "resync succeeded"]),
        ("042", ["promotion succeeded", "promotion succeeded", "rollback succeeded"]),
    ],
)
def test_each_recorded_scenario_is_told_apart(folded, number, expected):
    """New, automated, resync, crash, missing image, hooks before and after, failing wave, partial, rollback."""
    for log in folded[number].values():
        found = [f"{row['trigger']} {row['outcome']}" for row in rows_of(log)]
        assert found == expected, (log.application, found)


def test_heals_are_no_deployments_and_are_seen(folded):
    """Drift that Argo CD repaired is a heal, each time, although history has none of them."""
    (log,) = folded["038"].values()
    triggers = Counter(row["trigger"] for row in rows_of(log))
    assert triggers["heal"] >= 2
    assert len(counted(rows_of(log))) == 1


def test_a_dry_run_is_in_the_ledger_only(folded):
    """It Succeeded, and nothing was deployed."""
    (log,) = folded["041"].values()
    _, left_out = log.attempts(until_s=LONG_AFTER)
    assert [row["reason"] for row in left_out] == ["dry run", "dry run"]


def test_no_recorded_operation_is_lost_or_invented():
    """Every full sync that history ever showed and every operation that ended badly is one attempt, and no other."""
    seen = 0
    for recording in recordings.load():
        logs: dict[str, ApplicationLog] = {}
        synced: dict[str, set[int]] = {}
        broken: dict[str, set[int]] = {}
        for _, snapshot in recording.snapshots():
            name, status = snapshot.name, snapshot.application.get("status") or {}
            logs.setdefault(name, ApplicationLog(name, PLACE)).see(snapshot)
            for entry in status.get("history") or ():
                synced.setdefault(name, set()).add(
                    (_at(entry["deployStartedAt"]), str(entry["id"]))
                )
            state = status.get("operationState") or {}
            if state.get("phase") in ("Failed", "Error"):
                broken.setdefault(name, set()).add((_at(state["startedAt"]), ""))
        for name, log in logs.items():
            attempts, _ = log.attempts(until_s=LONG_AFTER)
            full = attempts[attempts["extent"] == "full"]
            expected = synced.get(name, set()) | broken.get(name, set())
            found = set(zip(full["started_s"], full["number"], strict=True))
            assert found == expected, (recording.name, name)
            bad = attempts[attempts["outcome"] == "failed"]
            failed = set(zip(bad["started_s"], bad["number"], strict=True))
            assert failed <= broken.get(name, set()), (recording.name, name)
            seen += len(expected)
    assert seen > 140


def test_trimmed_history_loses_nothing_that_was_watched(folded):
    """With revisionHistoryLimit 3 the watch still knows every deployment."""
    (log,) = folded["055"].values()
    assert len(log.attempts(until_s=LONG_AFTER)[0]) == 5


def _at(moment: str) -> int:
    return int(parse_time(moment).timestamp())


def case(start: str) -> dict:
    """A case of the shared file by the beginning of its name."""
    if not CASES.is_file():
        pytest.skip(
            f"the cases of public issues are absent, nothing was held against them: {CASES}"
        )
    return next(c for c in json.loads(CASES.read_text()) if c["case"].startswith(start))


@pytest.mark.parametrize(
    "start",
    [
        "operationState mirrors",
        "failed sync lives",
        "self-heal partial",
        "re-sync of the same",
        "rollback: older",
    ],
)
def test_cases_of_public_issues(start):
    """Deployments, failed attempts, resyncs and rollbacks as each issue asks for."""
    found = case(start)
    log = ApplicationLog("web", PLACE)
    log.see(Snapshot("web", {"status": found["status"]}))
    rows = rows_of(log)
    triggers = Counter(row["trigger"] for row in rows)
    assert len(counted(rows)) == found["expected_deployments"]
    assert sum(r["outcome"] == "failed" for r in rows) == found.get("expected_failed_attempts", 0)
    assert triggers["resync"] == found.get("expected_resyncs", 0)
    assert triggers["rollback"] == found.get("expected_rollbacks", 0)


def test_the_commit_of_several_sources_is_the_one_that_is_a_commit():
    """A chart's version is none."""
    found = case("multi-source")
    assert commit_of(found["revisions"]) == found["expected_commit"]


@dataclass
class Reader:
    """An Argo CD that serves given snapshots, one after the other."""

    shown: dict[str, list[Snapshot]]

    def names(self) -> tuple[str, ...]:
        return tuple(self.shown)

    def snapshot(self, name: str) -> Snapshot:
        return self.shown[name][-1]

    def watch(self, name: str, *, timeout_s: float) -> Iterator[Snapshot]:
        return iter(self.shown[name])


def application(*history: tuple[str, str], health: str = "Healthy", workloads: tuple = ()):
    """A snapshot with history entries (letter of the revision, minute)."""
    entries = [
        {"revision": letter * 40, "deployStartedAt": _minute(at), "deployedAt": _minute(at)}
        for letter, at in history
    ]
    status = {
        "history": entries,
        "health": {
            "status": health,
            "lastTransitionTime": entries[-1]["deployedAt"].replace(":00Z", ":30Z"),
        },
    }
    return Snapshot("x", {"status": status}, workloads)


def _minute(minute: str) -> str:
    return f"2026-11-01T10:{minute}:00Z"


def test_environments_are_exact_names_and_others_are_listed(tmp_path):
    """web-nonprod and product-catalog-dev are not production because a pattern says so; unmatched ones are listed."""
    apps = case("environment regex")["apps"]
    reader = Reader({name: [application(("a", "00"))] for name in apps})
    places = {name: Place(name, "production") for name, production in apps.items() if production}
    store = FactStore(tmp_path / "facts")
    collect_argocd({"c": reader}, store, places, watch_s=0, now_s=LONG_AFTER)
    assert set(store.read("deployment")["service"]) == {n for n, is_it in apps.items() if is_it}
    assert set(store.read("exclusion")["detail"]) == {
        f"c/{n}" for n, is_it in apps.items() if not is_it
    }


def test_one_revision_on_two_clusters_is_one_deployment(tmp_path):
    """Fan-out counts once and is as good as its worst cluster; the second sync on one cluster is a resync."""
    store = FactStore(tmp_path / "facts")
    one = Reader({"web": [application(("a", "00"), ("b", "10"), ("b", "30"))]})
    two = Reader({"web": [application(("a", "01"), ("b", "12"), health="Degraded")]})
    collect_argocd({"eu": one, "us": two}, store, {"web": PLACE}, watch_s=0, now_s=LONG_AFTER)
    table = store.read("deployment").sort_values("finished_s")
    found = list(zip(table["revision"].str[0], table["trigger"], table["outcome"], strict=True))
    assert found == [
        ("a", "promotion", "succeeded"),
        ("b", "promotion", "degraded"),
        ("b", "resync", "succeeded"),
    ]
    assert table["is_seed"].tolist() == [True, False, False]


def test_what_a_watch_saw_stays_when_a_later_look_sees_less(tmp_path):
    """A crash that was mended and trimmed out of sight is still a degraded deployment; the same look changes no byte."""
    store = FactStore(tmp_path / "facts")
    crash = application(("a", "00"), ("b", "10"), health="Degraded")
    mended = application(("b", "10"), ("c", "20"))
    watched = Reader({"web": [application(("a", "00")), crash, mended]})
    collect_argocd({"c": watched}, store, {"web": PLACE}, watch_s=60, now_s=LONG_AFTER)
    before = tree(store.folder)
    collect_argocd(
        {"c": Reader({"web": [mended]})}, store, {"web": PLACE}, watch_s=0, now_s=LONG_AFTER
    )
    assert tree(store.folder) == before
    table = store.read("deployment").sort_values("finished_s")
    assert table["outcome"].tolist() == ["succeeded", "degraded", "succeeded"]


def test_a_rollback_in_the_second_of_the_crash_is_not_degraded_by_it(tmp_path):
    """Seen on a real Argo CD: the health of the version before is still shown, with the same second."""
    store = FactStore(tmp_path / "facts")
    stale = application(("a", "00"), ("b", "10"), ("a", "20"), health="Degraded")
    stale.application["status"]["health"]["lastTransitionTime"] = _minute("20")
    well = application(("a", "00"), ("b", "10"), ("a", "20"))
    collect_argocd(
        {"c": Reader({"web": [stale, well]})}, store, {"web": PLACE}, watch_s=60, now_s=LONG_AFTER
    )
    table = store.read("deployment").sort_values("finished_s")
    assert table["outcome"].tolist()[-1] == "succeeded"


def test_a_degraded_without_a_cause_counts_until_it_is_healthy(tmp_path):
    """Seen on a real Argo CD: for a moment a fix is Degraded by what it replaced, and no workload shows why."""
    idle = ({"kind": "Deployment", "metadata": {"name": "web", "uid": "1"}, "spec": {}},)
    for name, after, outcome in (
        ("gone", [application(("a", "00"), ("b", "10"))], "succeeded"),
        ("stays", [], "degraded"),
    ):
        store = FactStore(tmp_path / name)
        doubtful = application(("a", "00"), ("b", "10"), health="Degraded", workloads=idle)
        reader = Reader({"web": [application(("a", "00")), doubtful, *after]})
        collect_argocd({"c": reader}, store, {"web": PLACE}, watch_s=60, now_s=LONG_AFTER)
        table = store.read("deployment").sort_values("finished_s")
        assert table["outcome"].tolist() == ["succeeded", outcome]


def test_a_deployment_whose_health_is_open_comes_later(tmp_path):
    """Within the health window a progressing rollout is not yet a fact."""
    store = FactStore(tmp_path / "facts")
    going = Reader({"web": [application(("a", "00"), health="Progressing")]})
    soon = _at(_minute("05"))
    collect_argocd({"c": going}, store, {"web": PLACE}, watch_s=0, now_s=soon)
    assert len(store.read("deployment")) == 0
    collect_argocd({"c": going}, store, {"web": PLACE}, watch_s=0, now_s=soon + 3600)
    assert len(store.read("deployment")) == 1


def test_classify_keeps_the_order_of_time():
    """A rollback returns to what ran before, not to what ran last."""
    attempt = {"service": "s", "environment": "e", "application": "c/s", "number": "", "version": "", "outcome": "succeeded", "extent": "full", "is_automated": False, "healthy_s": None, "degraded_s": None}  # fmt: skip
    rows = classify(
        SimpleNamespace(**attempt, revision=letter * 40, started_s=n, finished_s=n)
        for n, letter in enumerate("abba")
    )
    assert [row["trigger"] for row in rows] == ["promotion", "promotion", "resync", "rollback"]
