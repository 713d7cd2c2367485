"""Runs whose record is in a bucket: the whole way on the real fake-gcs-server, over two machines."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitops_nb.adapters.gcs import Bucket
from tests.buckets import BUCKET, Troubles, gcs_server, proxy
from tests.conftest import Workspace

URL = f"gs://{BUCKET}/platform"
PROMOTION = ("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")


@dataclass
class Machines:
    """Two clones of one workspace, each with its own spool, locks and key; they share the sandbox's world."""

    first: Workspace
    second: Workspace
    address: str

    def bucket(self, monkeypatch) -> Bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", self.address)
        return Bucket(URL)


@pytest.fixture
def machines(workspace, tmp_path) -> Machines:
    """The workspace, and a second clone of it elsewhere."""
    root = tmp_path / "clone"
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns(".gitops-nb"))
    (root / ".gitops-nb").mkdir()
    (root / ".gitops-nb" / "sandbox").symlink_to(workspace.root / ".gitops-nb" / "sandbox")
    with gcs_server(tmp_path) as address:
        yield Machines(workspace, Workspace(root), address)


def test_run_approve_and_resume_on_two_machines(machines, monkeypatch):
    """A run waits on one machine, is approved on the other, goes on there, and both can check and show it."""
    near = {"STORAGE_EMULATOR_HOST": machines.address}
    first = machines.first.run(*PROMOTION, "--reports", URL, **near)
    assert first.returncode == 2, first.stdout + first.stderr
    assert not machines.first.reports.joinpath("ledger").exists()
    listed = json.loads(
        machines.second.run("list", "runs", "--json", "--reports", URL, **near).stdout
    )
    assert [row["status"] for row in listed] == ["waiting"]
    approved = machines.second.run("approve", "last", "--yes", "--reports", URL, **near)
    assert approved.returncode == 0, approved.stderr
    resumed = machines.first.run("resume", "last", "--reports", URL, **near)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    bucket = machines.bucket(monkeypatch)
    run = listed[0]["run"]
    assert f"--reports {URL}" in first.stdout
    keys = bucket.list(f"{run}/")
    records = [key for key in keys if "/journal/" in key]
    local = machines.first.root / ".gitops-nb" / "spool" / BUCKET / "platform" / run
    lines = local.joinpath("journal.jsonl").read_bytes().splitlines()
    assert [bucket.read(key) for key in records] == lines
    assert {key.partition("/")[2] for key in keys} >= {
        "report.html",
        "report.json",
        "notebook.ipynb",
        "request.json",
    }
    assert bucket.list("ledger/") == tuple(
        f"ledger/sandbox.production/{n:012}.json" for n in range(3)
    )
    assert bucket.read("index.html")
    for machine in (machines.first, machines.second):
        # Each runner has its own key; what counts is what trust.yaml lists.
        done = machine.run("report", "last", "--reports", URL, **near)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).is_file()
    checked = machines.first.run("verify", "--reports", URL, **near)
    assert checked.returncode == 0, checked.stdout
    assert "3 records" in checked.stdout
    other = machines.second.run("verify", "--reports", URL, **near)
    assert other.returncode == 1
    assert "untrusted-key" in other.stdout


def test_a_store_that_is_down_refuses_before_anything(machines):
    """No record, no run: exit code 69, and nothing is here or there."""
    with proxy(machines.address, Troubles(down=True)) as address:
        done = machines.first.run(
            *PROMOTION, "--reports", URL, STORAGE_EMULATOR_HOST=address, GITOPS_NB_STORE_S="2"
        )
    assert done.returncode == 69, done.stdout + done.stderr
    assert not list((machines.first.root / ".gitops-nb" / "spool").glob("*/*/2*"))


@pytest.mark.torture
def test_a_lost_reply_costs_nothing(machines, monkeypatch):
    """With replies lost on the way the same run ends as it would, each record there once."""
    with proxy(machines.address, Troubles(lost_replies=0.2, refused=0.1)) as address:
        done = machines.first.run(*PROMOTION, "--reports", URL, STORAGE_EMULATOR_HOST=address)
        assert done.returncode == 2, done.stdout + done.stderr
    bucket = machines.bucket(monkeypatch)
    (run,) = (name for name in bucket.folders("") if name != "ledger")
    keys = bucket.list(f"{run}/journal/")
    assert [json.loads(bucket.read(key))["seq"] for key in keys] == list(range(len(keys)))
    assert json.loads(bucket.read(keys[-1]))["kind"] == "sealed"


def test_the_index_in_the_bucket_has_the_runs_of_every_machine(machines, monkeypatch):
    """A machine that never saw an older run keeps it in the index, and shows how it ended elsewhere."""
    near = {"STORAGE_EMULATOR_HOST": machines.address}
    first = machines.first.run(*PROMOTION, "--reports", URL, **near)
    assert first.returncode == 2, first.stdout + first.stderr
    bucket = machines.bucket(monkeypatch)
    (promotion,) = (name for name in bucket.folders("") if name != "ledger")
    planned = ("run", "bootstrap", "-p", "cluster=newcomer", "--plan", "--reports", URL)
    assert machines.second.run(*planned, **near).returncode == 0
    page = bucket.read("index.html").decode()
    assert page.count("<tr data-g=") == 2
    assert "waits for an approval" in page
    rejected = machines.first.run(
        "reject", promotion, "--reason", "not today", "--reports", URL, **near
    )
    assert rejected.returncode == 0, rejected.stderr
    assert machines.first.run("resume", promotion, "--reports", URL, **near).returncode == 3
    # The second machine has the run as it was when it waited.
    assert machines.second.run(*planned, **near).returncode == 0
    page = bucket.read("index.html").decode()
    assert page.count("<tr data-g=") == 3
    assert "waits for an approval" not in page
    assert page.count(f"./{promotion}/report.html") == 1
