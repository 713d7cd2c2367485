"""kill -9 at every failpoint: nothing is done twice, nothing is lost, and every run can be finished."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from gitops_nb.engine.forks import preload
from gitops_nb.model import Mode, StepKind
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import Journal
from tests.conftest import SEED
from tests.engine.stops import prepare
from tests.torture.crashes import count, in_fork, killed_at
from tests.torture.flows import PARAMETERS, Flow

LEAST = {"promotion": 230, "bootstrap": 270, "dora": 120, "approval": 350}
"""Failpoints of each flow; all three runbooks together have to be 420 or more. ``approval`` is a promotion that waits for one."""
SLICES = 4


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
        preload(flow.runbook, Mode.SANDBOX)
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


class Allowed:
    """Lets every effect begin."""

    def confirm(self):
        """Nothing speaks against it."""


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
        recorder = JournalEffects(journal, journal.append, step="apply", authority=Allowed())
        for key in EFFECTS:
            recorder.perform(
                key,
                kind=StepKind.EFFECT,
                sentence=key,
                act=lambda key=key: self._act(key),
                probe=lambda key=key: {"key": key} if key in self.happened() else None,
            )
        journal.close()

    def _act(self, key: str) -> dict[str, str]:
        with self.world.open("a") as file:
            file.write(f"{key}\n")
        return {"key": key}

    def check(self) -> None:
        """Each effect happened once, and its result is known."""
        assert self.happened() == list(EFFECTS)
        journal = Journal.open(self.folder)
        journal.close()
        state = fold(journal.records)
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
