"""A bucket that stops answering in the middle of a run: 74, nothing is lost here, and the next command sends it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gitops_nb.adapters.gcs import Bucket
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Mode, Status
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.session.platform import open_platform
from tests.buckets import BUCKET, Troubles, gcs_server, proxy
from tests.engine.stops import ARGUMENTS, STEPS, STOPPER, prepare

pytestmark = pytest.mark.torture
URL = f"gs://{BUCKET}/platform"
CASES = [(runbook, step) for runbook, steps in STEPS.items() for step in steps]


class Flagged(Troubles):
    """Troubles of a proxy that come and go with a file."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag
        super().__init__()

    @property
    def down(self) -> bool:
        """Whether nothing comes through."""
        return self._flag.exists()

    @down.setter
    def down(self, _: bool) -> None:
        """The file says it."""


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket behind a proxy; commands find it there, and it is gone while the flag is there."""
    flag = tmp_path / "bucket-is-away"
    with gcs_server(tmp_path) as address, proxy(address, Flagged(flag)) as near:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        always = Bucket(URL)
        assert always.list("") == ()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", near)
        yield always, flag


def sent(bucket: Bucket, directory: Path) -> bool:
    """Whether the bucket has the whole journal, record by record, and the report as it is here."""
    lines = (directory / "journal.jsonl").read_bytes().splitlines()
    keys = bucket.list(f"{directory.name}/journal/")
    page = bucket.read(f"{directory.name}/report.html")
    return [bucket.read(k) for k in keys] == lines and page == (
        directory / "report.html"
    ).read_bytes()


def own_commits(root: Path) -> int:
    """How many commits runs have made."""
    where = find_workspace(root)
    git = open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX).git
    log = git.log("platform-config", git.tip("platform-config", "main"), limit=20)
    return sum("Gitops-Nb-Run" in commit.trailers for commit in log)


@pytest.mark.parametrize(("runbook", "step"), CASES)
def test_a_bucket_that_goes_away_loses_nothing(workspace, bucket, runbook, step):
    """At every step of every runbook: no effect begins that is not noted there, and none happens twice."""
    prepare(workspace)
    store, flag = bucket
    path = os.pathsep.join((str(STOPPER), os.environ.get("PYTHONPATH", ""))).rstrip(":")
    away = {"PYTHONPATH": path, "STOP": f"{step}:bucket unavailable", "STOP_FLAG": str(flag)}
    done = workspace.run(
        "run", runbook, *ARGUMENTS[runbook], "--reports", URL, timeout=300, GITOPS_NB_STORE_S="10", **away
    )  # fmt: skip
    assert flag.exists(), done.stdout + done.stderr
    assert done.returncode == 74, done.stdout + done.stderr
    (directory,) = run_directories(find_workspace(workspace.root, reports=URL).reports)
    before = read_run(directory)
    assert before.ended, before
    assert not before.in_doubt
    if step in ("observe", "plan", "decide", "apply"):
        assert not any(not effect.failed for effect in before.effects), before.effects
    assert not sent(store, directory)
    flag.unlink()
    again = ("report", "last") if before.status is Status.SUCCEEDED else ("resume", "last")
    went_on = workspace.run(*again, "--reports", URL)
    assert went_on.returncode == 0, went_on.stdout + went_on.stderr
    after = read_run(directory)
    assert after.status is Status.SUCCEEDED
    assert sent(store, directory)
    assert own_commits(workspace.root) == (1 if runbook == "promotion" else 0)
    checked = workspace.run("verify", "--reports", URL)
    assert checked.returncode == 0, checked.stdout
    kept = [e.key for e in before.effects if not e.failed]
    assert [e.key for e in after.effects if not e.failed][: len(kept)] == kept


def test_a_matrix_with_its_records_in_a_bucket(workspace, bucket):
    """Every run of a matrix is in the bucket as a single one would be."""
    prepare(workspace)
    store, _ = bucket
    (workspace.root / "sets.yaml").write_text(
        "- {application: checkout}\n- {application: catalog}\n"
    )
    done = workspace.run(
        "run", "promotion", "-p", "stable_for=0s", "--matrix", "sets.yaml", "--reports", URL, "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    runs = run_directories(find_workspace(workspace.root, reports=URL).reports)
    assert {line["run"] for line in json.loads(done.stdout)} == {path.name for path in runs}
    assert len(runs) == 2
    assert all(sent(store, directory) for directory in runs)
    assert store.read("index.html").count(b"/report.html") >= 2
    checked = workspace.run("verify", "--reports", URL)
    assert checked.returncode == 0, checked.stdout
