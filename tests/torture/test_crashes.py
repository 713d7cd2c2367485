"""kill -9 at every failpoint: nothing is done twice, nothing is lost, and every run can be finished."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_nb import bootstrap, dora, promotion
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.engine.forks import preload
from gitops_nb.errors import WaitingForApproval
from gitops_nb.model import Mode, Status, StepKind, digest, parse_time
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.ledger import ledger_names, read_entry, slots
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.session import open_session
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.stores import reports_store
from gitops_nb.session.verifying import verify_records
from tests.conftest import SEED, Workspace
from tests.engine.stops import prepare
from tests.torture.crashes import count, in_fork, killed_at

PARAMETERS = {
    "promotion": {"application": "checkout", "stable_for": "0s"},
    "bootstrap": {"cluster": "newcomer"},
    "dora": {"window": "4w", "compare_to": "none"},
}
LEAST = {"promotion": 230, "bootstrap": 300, "dora": 120, "approval": 350}
"""Failpoints of each flow; all three runbooks together have to be 420 or more. ``approval`` is a promotion that waits for one."""
SLICES = 4


class Flow:
    """One runbook in a workspace that can be put back to its beginning."""

    def __init__(self, name: str, workspace: Workspace, untouched: Path) -> None:
        self.name = name
        self.runbook = "promotion" if name == "approval" else name
        self.root = workspace.root
        self._untouched = untouched

    def reset(self) -> None:
        """The workspace as it was."""
        shutil.rmtree(self.root)
        shutil.copytree(self._untouched, self.root, symlinks=True)

    def run(self) -> None:
        """All cells of the notebook: a new run, or the next attempt of the one that is there, and what a person does between."""
        where = find_workspace(self.root)
        recover(where)
        runs = run_directories(where.reports)
        if runs and read_run(runs[0]).status is Status.SUCCEEDED:
            return
        if runs:
            os.environ["GITOPS_NB_RUN"] = runs[0].name
        try:
            self._cells()
        except WaitingForApproval:
            directory = run_directories(where.reports)[0]
            self._approve(directory)
            os.environ["GITOPS_NB_RUN"] = directory.name
            self._cells()

    def _cells(self) -> None:
        session = open_session(self.runbook, workspace=self.root, **PARAMETERS[self.runbook])
        try:
            if self.runbook == "dora":
                for verb in (dora.observe, dora.measure, dora.verify):
                    session.step(verb)
            else:
                verbs = {"promotion": promotion, "bootstrap": bootstrap}[self.runbook]
                session.step(verbs.observe)
                session.step(verbs.plan)
                asyncio.run(session.gate(verbs.gates))
                session.step(verbs.apply)
                session.step(verbs.verify)
            session.finish()
        finally:
            session.close()

    def _approve(self, directory: Path) -> None:
        """The answer of the sandbox's second person."""
        state = read_run(directory)
        platform = self._platform()
        sign_answer(
            directory,
            processes=platform.processes,
            key=platform.signing_key,
            run=state.run,
            subject=state.request_digest,
            answer="approve",
            person=platform.second_person,
            at=datetime.now(UTC),
            expires=parse_time(state.request["expires"]),
            reason="",
        )

    def _platform(self) -> Platform:
        where = find_workspace(self.root)
        return open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)

    def world(self) -> dict[str, object]:
        """What the runs left: their ends, and how often each effect is to be seen outside."""
        where = find_workspace(self.root)
        recover(where)
        platform = self._platform()
        runs = run_directories(where.reports)
        states = [read_run(path) for path in runs]
        tip = platform.git.tip("platform-config", "main")
        log = platform.git.log("platform-config", tip, limit=20)
        applications = {
            f"{cluster}/{name}": platform.view.argo[cluster].snapshot(name).application
            for cluster, name in (("production", "checkout-production"), ("newcomer", "platform"))
        }
        return {
            "statuses": [str(state.status) for state in states],
            "outcome": (states[0].outcome or {}).get("result"),
            "open": [effect.key for state in states for effect in state.in_doubt],
            "records hold": verify_records(where, runs).holds,
            "phases": self._phases(where, states),
            "half written": [
                path.name
                for run in runs
                for part in ("*.tmp", "evidence/*.tmp")
                for path in run.glob(part)
            ],
            "commits": sum("Gitops-Nb-Run" in commit.trailers for commit in log),
            "histories": {
                name: len((found or {}).get("status", {}).get("history", ()))
                for name, found in applications.items()
            },
            "objects": self._objects(platform),
        }

    def _phases(self, where, states) -> list[list[str]]:
        """Which phases of each run the ledger has."""
        store = reports_store(where)
        entries = [
            read_entry(store, key) for name in ledger_names(store) for key in slots(store, name)
        ]
        return [sorted({e.phase for e in entries if e.run == state.run}) for state in states]

    def _objects(self, platform) -> str:
        names = sorted(
            f"{kind} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
            for api, kind in (("v1", "Namespace"), ("argoproj.io/v1alpha1", "Application"), ("argoproj.io/v1alpha1", "AppProject"), ("apps/v1", "Deployment"))
            for item in platform.view.clusters["newcomer"].list(api, kind)
        )  # fmt: skip
        return digest(names)


@pytest.fixture
def flow(request, workspace, tmp_path) -> Flow:
    """A flow from its beginning; nobody has to approve, except where that is its point."""
    if request.param != "approval":
        prepare(workspace)
    untouched = tmp_path / "untouched"
    shutil.copytree(workspace.root, untouched, symlinks=True)
    return Flow(request.param, workspace, untouched)


def finished(flow: Flow) -> dict[str, object]:
    """Goes on in another process and looks at the world."""

    def go_on():
        flow.run()
        return flow.world()

    code, world = in_fork(go_on)
    assert code == 0, world
    return world


def check_crash(flow: Flow, point: int, whole: dict[str, object]) -> bool:
    """Kills a run at a point and finishes it: the world is that of a run nobody killed."""
    flow.reset()
    if not killed_at(point, flow.run):
        return False
    world = finished(flow)
    assert world == whole, (flow.name, point)
    return True


def crashes(flow: Flow, points: Iterable[int]) -> int:
    """Crashes at each of these points, or at as many as there are, from one process that has imported everything."""

    def all_of_them():
        preload(flow.runbook)
        whole = finished(flow)
        assert whole["outcome"] in ("deployed", "reported")
        return sum(1 for _ in itertools.takewhile(lambda p: check_crash(flow, p, whole), points))

    code, crashed = in_fork(all_of_them)
    assert code == 0, crashed
    return crashed


@pytest.mark.parametrize("flow", ["bootstrap", "promotion"], indirect=True)
def test_a_killed_run_is_finished_without_a_duplicate(flow):
    """One point of every runbook that changes something, chosen by the seed."""
    points = count(flow.run)
    assert points >= LEAST[flow.name], "failpoints were lost"
    assert crashes(flow, random.Random(SEED).sample(range(1, LEAST[flow.name]), 1)) == 1


@pytest.mark.torture
@pytest.mark.parametrize("first", range(1, SLICES + 1))
@pytest.mark.parametrize("flow", LEAST, indirect=True)
def test_every_point_of_every_runbook(flow, first, record_property):
    """All of them: the commits, syncs and objects of a run that was killed are those of one that was not."""
    crashed = crashes(flow, itertools.count(first, SLICES))
    record_property("cases", crashed)
    assert crashed >= LEAST[flow.name] // SLICES


def test_the_three_runbooks_have_enough_points():
    """420 crashes are asked for."""
    assert sum(LEAST[runbook] for runbook in PARAMETERS) >= 420


EFFECTS = tuple(f"effect {number}" for number in range(7))


class Toy:
    """Seven effects on a file: the engine's part of a run, without a platform."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = folder / "world"

    def reset(self) -> None:
        """Nothing has happened yet."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.world.touch()

    def happened(self) -> list[str]:
        """Every effect, as often as it happened."""
        return self.world.read_text().splitlines()

    def run(self) -> None:
        """All effects, each if it is not there yet."""
        journal = Journal.open(self.folder)
        if not journal.records:
            journal.append("opened", run="toy", steps=["apply"])
        recorder = JournalEffects(journal, journal.append, step="apply")
        for key in EFFECTS:
            recorder.perform(
                key,
                kind=StepKind.EFFECT,
                sentence=key,
                act=lambda key=key: self._act(key),
                probe=lambda key=key: {"key": key} if key in self.happened() else None,
            )

    def _act(self, key: str) -> dict[str, str]:
        with self.world.open("a") as file:
            file.write(f"{key}\n")
        return {"key": key}

    def check(self) -> None:
        """Each effect happened once, and its result is known."""
        assert self.happened() == list(EFFECTS)
        state = fold(Journal.open(self.folder).records)
        assert [effect.key for effect in state.effects if not effect.is_open] == list(EFFECTS)


def pairs(toy: Toy):
    """Every first crash with every second one in what follows it."""
    toy.reset()
    for first in range(1, count(toy.run) + 1):
        for second in itertools.count(1):
            toy.reset()
            assert killed_at(first, toy.run)
            came_that_far = killed_at(second, toy.run)
            toy.run()
            toy.check()
            yield first, second
            if not came_that_far:
                break


def test_a_crash_in_the_recovery_of_a_crash(tmp_path):
    """The first pairs of the engine's failpoints: each effect happens once."""
    cases = list(itertools.islice(pairs(Toy(tmp_path / "toy")), 20))
    assert len(cases) == 20


@pytest.mark.torture
def test_every_pair_of_crashes_in_the_engine(tmp_path, record_property):
    """All pairs: each effect happens once, and its result is known."""
    cases = sum(1 for _ in pairs(Toy(tmp_path / "toy")))
    record_property("cases", cases)
    assert cases >= 1800


def torn(tmp_path: Path, step: int) -> int:
    """Every step-th prefix of a journal with four tails: whole records stay, the rest is cut, twice the same."""
    whole = tmp_path / "whole"
    whole.mkdir()
    journal = Journal.open(whole)
    for number in range(4):
        journal.append("step", step=f"s{number}", status="running")
    journal.close()
    content = (whole / "journal.jsonl").read_bytes()
    half = content.split(b"\n")[1][:40]
    cases = 0
    for length in range(0, len(content) + 1, step):
        kept = content[:length].count(b"\n")
        for tail in (b"", b"\0" * 37, b"\xff{garbage", half):
            cases += 1
            folder = tmp_path / "torn"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "journal.jsonl").write_bytes(content[:length] + tail)
            opened = Journal.open(folder)
            assert len(opened.records) == kept, (length, tail)
            opened.append("step", step="after", status="running")
            opened.close()
            again = Journal.open(folder)
            assert len(again.records) == kept + 1
            again.close()
    return cases


def test_a_torn_tail_is_cut(tmp_path):
    """What a crash or a power loss leaves after the last whole record is dropped (every 29th prefix)."""
    assert torn(tmp_path, 29) > 100


@pytest.mark.torture
def test_every_torn_tail(tmp_path, record_property):
    """Every prefix of a journal, with four tails."""
    cases = torn(tmp_path, 1)
    record_property("cases", cases)
    assert cases >= 3060
