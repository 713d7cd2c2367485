"""A record store that goes away in the middle of a run: nothing is lost, nothing happens twice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConflictError, ExitCode, UnavailableError
from gitops_nb.model import Status
from gitops_nb.record import journal
from gitops_nb.record.runs import run_directories
from gitops_nb.session import stores
from gitops_nb.session.copies import Sender, fetch_runs
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.verifying import verify_records
from tests.samples import few

URL = "gs://records/platform"


class Flaky(Folder):
    """A bucket that stops answering once it was given a record with this text."""

    def __init__(self, root, until: bytes) -> None:
        super().__init__(root)
        self.until = until
        self.is_down = False

    def create(self, key: str, content: bytes) -> bool:
        self._answer()
        created = super().create(key, content)
        self.is_down = self.is_down or self.until in content
        return created

    def replace(self, key: str, content: bytes) -> None:
        self._answer()
        super().replace(key, content)

    def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
        self._answer()
        return super().list(prefix, after=after)

    def _answer(self) -> None:
        if self.is_down:
            raise UnavailableError("gs://records/platform does not answer")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Records of the workspace go to a bucket that a test takes away."""

    def use(until: bytes) -> Flaky:
        store = Flaky(tmp_path / "bucket", until)
        monkeypatch.setattr(stores, "open_store", lambda url: store)
        monkeypatch.setenv("GITOPS_NB_REPORTS", URL)
        return store

    return use


def approved(runner) -> str:
    """A waiting run with an approval, in the spool that the workspace keeps for the bucket."""
    waiting, _ = runner.promote()
    spool = find_workspace(runner.workspace.root).reports
    runner.workspace = SimpleNamespace(root=runner.workspace.root, reports=spool)
    runner.answer(waiting.run)
    return waiting.run


def sent(store: Flaky, directory) -> bool:
    """Whether the bucket has the whole journal, record by record."""
    lines = (directory / journal.FILE).read_bytes().splitlines()
    keys = store.list(f"{directory.name}/journal/")
    return [store.read(key) for key in keys] == lines


def test_a_store_that_goes_away_after_an_effect_stops_before_the_next(runner, bucket):
    """The run ends with 74, its first effect recorded here; the next command sends the rest, and resume does the rest once."""
    store = bucket(b'"kind":"done"')
    before = runner.tip()
    run = approved(runner)
    state, stop = runner.promote(run=run)
    assert stop.exit_code is ExitCode.CANNOT_RECORD
    done = [effect.key for effect in state.effects if effect.ended and not effect.failed]
    assert done == ["commit"]
    assert not state.in_doubt
    where = find_workspace(runner.workspace.root)
    (directory,) = run_directories(where.reports)
    store.is_down, store.until = False, b"never"
    assert not sent(store, directory)
    recover(where)
    assert sent(store, directory)
    state, stop = runner.promote(run=run)
    assert stop is None
    assert state.status is Status.SUCCEEDED
    commits = runner.platform().git.log("platform-config", runner.tip(), limit=2)
    assert commits[0].trailers["Gitops-Nb-Run"] == run
    assert commits[1].sha == before
    assert sent(store, directory)
    assert verify_records(where, [directory]).holds


def test_a_store_that_is_away_before_the_first_effect_refuses(runner, bucket):
    """No start in the ledger, no effect: nothing was changed."""
    store = bucket(b"never")
    before = runner.tip()
    run = approved(runner)
    store.until = b'"kind":"attempt"'
    state, stop = runner.promote(run=run)
    assert stop.exit_code in (ExitCode.UNAVAILABLE, ExitCode.CANNOT_RECORD)
    assert state.effects == ()
    assert runner.tip() == before


def test_a_run_that_went_on_elsewhere_is_fenced(runner, bucket):
    """Two machines that go on with one run: the second finds another record in its place, and begins no effect."""
    store = bucket(b"never")
    run = approved(runner)
    where = find_workspace(runner.workspace.root)
    directory = where.reports / run
    number = len((directory / journal.FILE).read_bytes().splitlines())
    before = runner.tip()
    store.create(f"{run}/journal/{number:012}.json", b"{}")
    with pytest.raises(ConflictError, match="went on elsewhere"):
        Sender(store, directory).flush()
    state, stop = runner.promote(run=run)
    assert stop is not None
    assert not any(effect.ended and not effect.failed for effect in state.effects)
    assert runner.tip() == before


def test_a_hostile_name_in_the_bucket_reaches_no_file(runner, bucket):
    """Keys of a bucket are as untrusted as its content: none of them leaves the run's directory or replaces its journal."""
    store = bucket(b"never")
    run = approved(runner)
    where = find_workspace(runner.workspace.root)
    own = (where.reports / run / journal.FILE).read_bytes()
    (store._root / run / journal.FILE).write_bytes(b"forged")
    fetch_runs(where)
    assert (where.reports / run / journal.FILE).read_bytes() == own


@pytest.mark.parametrize(
    "odd", few([".x", "journal/.x", "journal/zzz", "x" * 200, "evidence/.y/z"], keep=2)
)
def test_an_odd_object_is_one_finding_and_stops_no_command(runner, bucket, odd):
    """Somebody's object below a run's name: other runs are fetched, the run itself goes on and ends, and verify names the object."""
    store = bucket(b"never")
    run = approved(runner)
    where = find_workspace(runner.workspace.root)
    keys = [f"{name}/{odd}" for name in ("20261130T035900Z-promotion-staging-beef", run)]
    for key in keys:
        (store._root / key).parent.mkdir(parents=True, exist_ok=True)
        (store._root / key).write_bytes(b"odd")
    # A folder has hidden files, a bucket has none.
    real = store.list
    store.list = lambda prefix, **more: tuple(
        sorted({*real(prefix, **more), *(key for key in keys if key.startswith(prefix))})
    )
    assert recover(where) == ()
    (checked,) = verify_records(where, run_directories(where.reports)).runs
    assert [one.file for one in checked.problems] == [f"{run}/{odd}"]
    state, stop = runner.promote(run=run)
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    (checked,) = verify_records(where, run_directories(where.reports)).runs
    assert [one.file for one in checked.problems] == [f"{run}/{odd}"]
