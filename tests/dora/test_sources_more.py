"""OpenTofu's applies, our own runs, Argo CD beside the configuration, and facts in a bucket."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.gcs import Bucket
from gitops_nb.catalog.policies import GITHUB_API
from gitops_nb.dora import fact_tables, mirror
from gitops_nb.dora.collectors.applies import collect_applies
from gitops_nb.dora.collectors.runs import collect_runs
from gitops_nb.dora.joining import one_source
from gitops_nb.dora.schemas import SYNC
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import ConflictError, Refused, UsageError
from gitops_nb.model import Mode
from gitops_nb.record.locks import Held, SharedLocks, this_process
from gitops_nb.session.facts import read_bucket, write_bucket
from tests.buckets import BUCKET, gcs_server
from tests.conftest import SHARED
from tests.dora.test_store import frame, incident, tree

T = 1_795_000_000
NOW_S = T + 100_000
ENVIRONMENTS = ("staging", "production")


def _line(after_s: int, kind: str, level: str = "info", **more: object) -> str:
    at = datetime.fromtimestamp(T + after_s, UTC).isoformat()
    return json.dumps({"@level": level, "@timestamp": at, "type": kind, **more})


def _summary(after_s: int, **changes: object) -> str:
    counts = {"add": 0, "change": 0, "remove": 0, "operation": "apply", **changes}
    return _line(after_s, "change_summary", changes=counts)


def _log(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _collect(tmp_path: Path, store: FactStore):
    return collect_applies(tmp_path / "logs", store, environments=ENVIRONMENTS, now_s=NOW_S)


def test_applies_of_opentofu_are_deployments_of_their_unit(tmp_path):
    """Changes, none at all, a failure, and an earlier revision again; a plan and other tools' lines are none."""
    logs = tmp_path / "logs"
    _log(
        logs,
        "production/network/vpc/a1.jsonl",
        "12:00 INFO terragrunt",
        _line(0, "version"),
        _summary(9, add=2),
    )
    _log(logs, "production/network/vpc/b2.jsonl", _line(100, "version"), _summary(109, change=1))
    _log(logs, "production/network/vpc/c3.jsonl", _line(200, "version"), _summary(209))
    _log(
        logs,
        "production/network/vpc/d4.jsonl",
        _line(300, "apply_start"),
        _line(301, "diagnostic", "error"),
    )
    _log(
        logs,
        "production/network/vpc/e5.jsonl",
        _line(400, "version"),
        _summary(401, operation="plan", add=1),
    )
    store = FactStore(tmp_path / "facts")

    done = _collect(tmp_path, store)

    table = store.read("deployment").sort_values("finished_s")
    assert done.rows == 4
    assert table["service"].unique().tolist() == ["network/vpc"]
    assert list(zip(table["revision"], table["outcome"], table["trigger"], strict=True)) == [
        ("a1", "succeeded", "promotion"),
        ("b2", "succeeded", "promotion"),
        ("c3", "succeeded", "resync"),
        ("d4", "failed", "promotion"),
    ]
    before = tree(store.folder)
    assert _collect(tmp_path, store).merged == Merged()
    assert tree(store.folder) == before


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("prod/vpc/a.jsonl", _summary(0, add=1), "unknown environment 'prod'"),
        ("production/a.jsonl", _summary(0, add=1), "no unit"),
        (
            "production/vpc/a.jsonl",
            '{"@timestamp": "yesterday"}',
            r"a.jsonl:1: no message of OpenTofu",
        ),
        (
            "production/vpc/a.jsonl",
            _summary(999_999, add=1),
            r"a.jsonl:1: @timestamp: .* in the future",
        ),
    ],
)
def test_a_log_that_cannot_be_right_is_named_and_nothing_is_written(tmp_path, name, line, message):
    """File, line and reason; the good log beside it is not written either."""
    _log(tmp_path / "logs", "production/dns/ok.jsonl", _summary(1, add=1))
    _log(tmp_path / "logs", name, line)
    store = FactStore(tmp_path / "facts")

    with pytest.raises(UsageError, match=message):
        _collect(tmp_path, store)

    assert not store.folder.exists()


def test_recorded_plans_of_opentofu_are_no_applies(tmp_path):
    """The machine-readable output of real plans is read without a complaint, and is no deployment."""
    folder = SHARED / "data/gitops/terragrunt-recordings"
    if not folder.is_dir():
        pytest.skip(f"SKIPPED: no recordings at {folder}")
    recorded = [json.loads(path.read_text()) for path in sorted(folder.glob("*-json*.json"))]
    outputs = [one["stdout"] for one in recorded if "change_summary" in (one.get("stdout") or "")]
    for number, output in enumerate(outputs):
        _log(tmp_path / "logs", f"production/unit/{number}.jsonl", output)

    done = collect_applies(
        tmp_path / "logs", FactStore(tmp_path / "facts"), environments=ENVIRONMENTS, now_s=2 * T
    )

    assert (len(outputs) > 0, done.rows) == (True, 0)


def _deployment(revision: str, source: str, outcome: str = "succeeded", **more: object):
    return {
        "deployment_id": f"{source}:{revision}:{outcome}",
        "service": "cart",
        "environment": "production",
        "revision": revision,
        "version": revision,
        "started_s": T,
        "finished_s": T + 60,
        "outcome": outcome,
        "trigger": "promotion",
        "source": source,
        **more,
    }


def test_a_sync_is_no_second_deployment_and_its_failure_reaches_the_first(tmp_path):
    """Commit and sync are one row; a commit whose sync only failed, or got Degraded, is one that did not go well."""
    rows = [
        *(_deployment(r, "configuration history") for r in ("a", "b", "c", "d", "e")),
        _deployment("a", "argocd", synced_s=T + 60, healthy_s=T + 70),
        _deployment("b", "argocd", "failed"),
        _deployment("c", "argocd", "failed"),
        _deployment("c", "argocd", synced_s=T + 300),
        _deployment("d", "argocd", "degraded", synced_s=T + 60, degraded_s=T + 90),
        _deployment("e", "run ledger", "failed"),
        _deployment("x", "argocd", environment="staging"),
    ]

    found = one_source(fact_tables.frame(fact_tables.DEPLOYMENT, rows), fact_tables.frame(SYNC, ()))

    mine = found[found["environment"] == "production"]
    assert list(zip(mine["revision"], mine["outcome"], strict=True)) == [
        ("a", "succeeded"),
        ("b", "degraded"),
        ("c", "succeeded"),
        ("d", "degraded"),
        ("e", "degraded"),
    ]
    assert mine["healthy_s"].tolist()[0] == T + 70
    assert mine["degraded_s"].tolist()[3] == T + 90
    assert found["environment"].tolist().count("staging") == 1


def test_promotions_that_ran_are_deployments_and_refused_ones_are_not(workspace, tmp_path):
    """A sandbox promotion that was planned only leaves no deployment; one that ran leaves one, once."""
    store = FactStore(tmp_path / "facts")
    workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    workspace.run("approve", "last", "--yes")
    done = workspace.run("resume", "last")
    assert done.returncode == 0, done.stderr
    reports = workspace.reports
    asked = {"environments": ("development", *ENVIRONMENTS), "mode": Mode.SANDBOX}

    first, again = (collect_runs(reports, store, **asked) for _ in range(2))

    (row,) = store.read("deployment").to_dict("records")
    assert (first.rows, again.rows, again.merged) == (1, 0, Merged())
    assert (row["service"], row["outcome"], row["source"]) == (
        "checkout",
        "succeeded",
        "run ledger",
    )
    assert len(row["revision"]) == 40
    assert (
        collect_runs(
            reports, FactStore(tmp_path / "live"), environments=ENVIRONMENTS, mode=Mode.LIVE
        ).rows
        == 0
    )


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The real fake-gcs-server."""
    with gcs_server(tmp_path) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield Bucket(f"gs://{BUCKET}/dora")


def test_facts_in_a_bucket_go_there_and_come_back(bucket, tmp_path):
    """What one machine collects another one reads, byte for byte; unchanged files are not sent again."""
    near, far = tmp_path / "near", tmp_path / "far"
    with mirror.writing(
        bucket, near, locks=SharedLocks(bucket), owner=this_process("ann", "test")
    ) as store:
        store.merge("incident", frame(incident(1), incident(2, "a/b ~ü")))
        store.set_resume_point("pager", {"page": 1})
    assert tree(mirror.pull(bucket, far).folder).keys() == tree(near).keys()
    assert [c for c, _ in tree(far).values()] == [c for c, _ in tree(near).values()]
    assert mirror.push(bucket, far) == 0

    with mirror.writing(
        bucket, far, locks=SharedLocks(bucket), owner=this_process("ben", "test")
    ) as store:
        store.merge("incident", frame(incident(3)))
    back = mirror.pull(bucket, near)
    assert sorted(back.read("incident")["incident_id"]) == ["i1", "i2", "i3"]
    assert back.resume_point("pager") == {"page": 1}


def test_two_collections_into_one_bucket_are_refused(tmp_path):
    """The second is told who collects, and reads and writes nothing; a failed one lets the next in."""
    bucket = Folder(tmp_path / "bucket")
    with (
        mirror.writing(
            bucket, tmp_path / "near", locks=SharedLocks(bucket), owner=this_process("ann", "test")
        ),
        pytest.raises(ConflictError, match="ann"),
        mirror.writing(
            bucket, tmp_path / "far", locks=SharedLocks(bucket), owner=this_process("ben", "test")
        ),
    ):
        pytest.fail("two writers")
    assert not (tmp_path / "far").exists()
    with mirror.writing(
        bucket, tmp_path / "near", locks=SharedLocks(bucket), owner=this_process("ann", "test")
    ) as store:
        store.merge("incident", frame(incident(1)))
    with (
        pytest.raises(UsageError),
        mirror.writing(
            bucket, tmp_path / "near", locks=SharedLocks(bucket), owner=this_process("ann", "test")
        ) as store,
    ):
        store.merge("incident", frame(incident(2, started_s=12)))
    with mirror.writing(
        bucket, tmp_path / "far", locks=SharedLocks(bucket), owner=this_process("ben", "test")
    ) as store:
        assert store.read("incident")["incident_id"].tolist() == ["i1"]


def test_a_collection_that_died_leaves_nothing_to_remove(tmp_path):
    """Killed between the tables and the index: the next one follows by itself, and what was sent is read whole."""
    bucket = Folder(tmp_path / "bucket")
    dead = replace(this_process("ann", "test"), started="1")
    assert isinstance(SharedLocks(bucket).take(mirror.LOCK, dead), Held)
    half = FactStore(tmp_path / "near")
    half.merge("incident", frame(incident(1)))
    (path,) = (tmp_path / "near").glob("incident/*/*.parquet")
    bucket.create(path.relative_to(tmp_path / "near").as_posix(), path.read_bytes())

    locks = SharedLocks(bucket)
    owner = this_process("ben", "test")
    with mirror.writing(bucket, tmp_path / "far", locks=locks, owner=owner) as store:
        store.merge("incident", frame(incident(1), incident(2)))

    back = mirror.pull(bucket, tmp_path / "again")
    assert back.read("incident")["incident_id"].tolist() == ["i1", "i2"]
    assert locks.holder(mirror.LOCK) is None


def test_a_collection_on_a_machine_that_is_gone_is_taken_over_by_a_persons_word(bucket, tmp_path):
    """Nobody can ask a foreign machine: the collection is refused until somebody says why it is over."""
    foreign = replace(this_process("ann", "test"), boot="other", host="laptop")
    SharedLocks(bucket).take(mirror.LOCK, foreign)
    url = f"gs://{BUCKET}/dora"
    with (
        pytest.raises(ConflictError, match="laptop"),
        write_bucket(url, tmp_path / "own", who="ben", ci_api=GITHUB_API),
    ):
        pytest.fail("two writers")
    assert not (tmp_path / "own").exists()

    with write_bucket(
        url, tmp_path / "own", who="ben", ci_api=GITHUB_API, take_over="laptop stolen"
    ) as store:
        store.merge("incident", frame(incident(1)))

    assert read_bucket(url, tmp_path / "far").read("incident")["incident_id"].tolist() == ["i1"]
    with (
        pytest.raises(Refused, match="lives"),
        write_bucket(url, tmp_path / "own", who="ann", ci_api=GITHUB_API),
        write_bucket(url, tmp_path / "own", who="ben", ci_api=GITHUB_API, take_over="no"),
    ):
        pytest.fail("a living one was taken over")
