"""Runs whose record is in a bucket: the whole way on the real fake-gcs-server, over two machines."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gitops_nb import bootstrap as bootstrap_slice
from gitops_nb import promotion as promotion_slice
from gitops_nb.adapters.gcs import Bucket
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli import main
from gitops_nb.errors import PlannedOnly, WaitingForApproval
from gitops_nb.record.runs import run_directories
from gitops_nb.session import open_session
from gitops_nb.session.copies import send_run
from gitops_nb.session.order import Order
from tests.buckets import BUCKET, Troubles, gcs_server, proxy
from tests.conftest import Workspace

URL = f"gs://{BUCKET}/platform"
PROMOTION = ("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")


@dataclass
class Done:
    """A command that ran in this process."""

    returncode: int
    stdout: str


@dataclass
class Machines:
    """Two clones of one workspace, each with its own spool, locks and key; they share the sandbox's world.

    ``run`` starts a process of its own, as what begins a kernel needs one; ``call`` does the rest in this one, which
    has imported everything already.
    """

    first: Workspace
    second: Workspace
    address: str
    monkeypatch: pytest.MonkeyPatch

    @property
    def bucket(self) -> Bucket:
        self.monkeypatch.setenv("STORAGE_EMULATOR_HOST", self.address)
        return Bucket(URL)

    def run(self, machine: Workspace, *arguments: str):
        return machine.run(*arguments, "--reports", URL, STORAGE_EMULATOR_HOST=self.address)

    def call(self, machine: Workspace, *arguments: str) -> Done:
        self.monkeypatch.setenv("STORAGE_EMULATOR_HOST", self.address)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
            main([*arguments, "--workspace", str(machine.root), "--reports", URL])
        return Done(int(ended.value.code or 0), said.getvalue())


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """One fake-gcs-server for the module."""
    with gcs_server(tmp_path_factory.mktemp("gcs")) as address:
        yield address


@pytest.fixture
def machines(workspace, tmp_path, server, monkeypatch) -> Machines:
    """The workspace, and a second clone of it elsewhere; the bucket is empty."""
    root = tmp_path / "clone"
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns(".gitops-nb"))
    (root / ".gitops-nb").mkdir()
    (root / ".gitops-nb" / "sandbox").symlink_to(workspace.root / ".gitops-nb" / "sandbox")
    made = Machines(workspace, Workspace(root), server, monkeypatch)
    for key in made.bucket.list(""):
        made.bucket.remove(key)
    return made


def test_run_approve_and_resume_on_two_machines(machines):
    """A run waits on one machine, is approved on the other, goes on there, and both can check and show it."""
    first = machines.run(machines.first, *PROMOTION)
    assert first.returncode == 2, first.stdout + first.stderr
    assert f"--reports {URL}" in first.stdout
    assert not machines.first.reports.joinpath("ledger").exists()
    listed = json.loads(machines.call(machines.second, "list", "runs", "--json").stdout)
    assert [row["status"] for row in listed] == ["waiting"]
    assert machines.call(machines.second, "approve", "last", "--yes").returncode == 0
    resumed = machines.call(machines.first, "resume", "last")
    assert resumed.returncode == 0, resumed.stdout
    bucket, run = machines.bucket, listed[0]["run"]
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
        done = machines.call(machine, "report", "last")
        assert done.returncode == 0
        assert Path(done.stdout.strip()).is_file()
    checked = machines.call(machines.first, "verify")
    assert checked.returncode == 0, checked.stdout
    assert "3 records" in checked.stdout
    # Each runner has its own key; what counts is what trust.yaml lists.
    other = machines.call(machines.second, "verify")
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
def test_a_lost_reply_costs_nothing(machines):
    """With replies lost on the way the same run ends as it would, each record there once."""
    with proxy(machines.address, Troubles(lost_replies=0.2, refused=0.1)) as address:
        done = machines.first.run(*PROMOTION, "--reports", URL, STORAGE_EMULATOR_HOST=address)
        assert done.returncode == 2, done.stdout + done.stderr
    bucket = machines.bucket
    (run,) = (name for name in bucket.folders("") if name != "ledger")
    keys = bucket.list(f"{run}/journal/")
    assert [json.loads(bucket.read(key))["seq"] for key in keys] == list(range(len(keys)))
    assert json.loads(bucket.read(keys[-1]))["kind"] == "sealed"


def test_the_index_in_the_bucket_has_the_runs_of_every_machine(machines):
    """A machine that never saw an older run keeps it in the index, and shows how it ended elsewhere."""
    bucket = machines.bucket
    promotion = begin(machines.first, promotion_slice, stable_for="0s", application="checkout")
    only_plan = Order(plan_only=True)
    begin(machines.second, bootstrap_slice, order=only_plan, cluster="newcomer")
    page = bucket.read("index.html").decode()
    assert page.count("<tr data-g=") == 2
    assert "waits for an approval" in page
    rejected = machines.call(machines.first, "reject", promotion, "--reason", "not today")
    assert rejected.returncode == 0
    # The second machine has the run as it was when it waited; closing one of its own brings the other's end.
    write_index_after(machines, promotion)
    page = bucket.read("index.html").decode()
    assert page.count("<tr data-g=") == 2
    assert "waits for an approval" not in page
    assert page.count(f"./{promotion}/report.html") == 1


def begin(machine: Workspace, runbook, **parameters: Any) -> str:
    """A run up to its decision, without a kernel; returns its id."""
    name = runbook.__name__.rpartition(".")[2]
    session = open_session(name, workspace=machine.root, reports=URL, **parameters)
    try:
        session.step(runbook.observe)
        session.step(runbook.plan)
        with pytest.raises((WaitingForApproval, PlannedOnly)):
            asyncio.run(session.gate(runbook.gates))
    finally:
        session.close()
    return session.run


def write_index_after(machines: Machines, promotion: str) -> None:
    """What the second machine does whenever it closes a run, here without another run."""
    where = find_workspace(machines.second.root, reports=URL)
    (own,) = (d for d in run_directories(where.reports) if d.name != promotion)
    send_run(where, own)
