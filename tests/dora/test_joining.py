"""Commits of the configuration and what Argo CD did about them: joined by what a synced revision contains."""

from __future__ import annotations

import random
import subprocess
from datetime import UTC, datetime

import pandas as pd
import pytest

from gitops_nb.dora import judging
from gitops_nb.dora.collectors.argocd import Place, collect_argocd
from gitops_nb.dora.collectors.configuration import collect_configuration
from gitops_nb.dora.collectors.revisions import link_revisions
from gitops_nb.dora.definition import Moment
from gitops_nb.dora.engine import DuckEngine
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import CHANGE_DEPLOYMENT, DEPLOYMENT, FactTables, frame
from gitops_nb.dora.joining import at_moment, deployments_of, one_source
from gitops_nb.dora.schemas import SYNC
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.ports import Snapshot
from tests import recordings
from tests.dora.git_factories import Repository, T, reader
from tests.dora.test_argocd import LONG_AFTER, Reader
from tests.dora.test_collect_configuration import ENVIRONMENTS, NOW_S, SOURCE, put
from tests.dora.test_store import tree
from tests.samples import few

CART = Place("cart", "production")


def _at(moment_s: int) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def synced(revision: str, at_s: int, *before: dict) -> Snapshot:
    """An Application after a sync, with the history before it."""
    entry = {"revision": revision, "deployStartedAt": _at(at_s), "deployedAt": _at(at_s)}
    status = {
        "history": [*before, entry],
        "health": {"status": "Healthy", "lastTransitionTime": _at(at_s + 5)},
    }
    return Snapshot("cart", {"status": status})


def history(*syncs: tuple[str, int]) -> Snapshot:
    """An Application with a history of syncs, each a revision and a time."""
    *before, (revision, at_s) = syncs
    entries = [
        {"revision": sha, "deployStartedAt": _at(at), "deployedAt": _at(at)} for sha, at in before
    ]
    return synced(revision, at_s, *entries)


def failing(revision: str, at_s: int, snapshot: Snapshot) -> Snapshot:
    """The same Application while its last operation is one that failed."""
    state = {
        "phase": "Failed",
        "startedAt": _at(at_s - 10),
        "finishedAt": _at(at_s),
        "operation": {"sync": {"revision": revision}},
        "syncResult": {"revision": revision},
    }
    status = {**snapshot.application["status"], "operationState": state}
    return Snapshot("cart", {"status": status})


class Platform:
    """A configuration repository with cart and other services, its facts, and an Argo CD that is told what to show."""

    def __init__(self, folder):
        """Begins with version v0 of cart."""
        self.folder = folder
        self.repository = Repository(folder / "config")
        self.store = FactStore(folder / "facts")
        self.repository.commit(put("cart", "production", "v0"))

    def promote(self, version: str) -> str:
        return self.repository.commit(put("cart", "production", version))

    def change_another(self, number: int) -> str:
        return self.repository.commit(put("other", "production", f"v{number}"))

    def collect(self, *snapshots: Snapshot):
        """Reads the repository, then Argo CD, and joins them."""
        git = reader(self.folder / "cache", config=self.folder / "config")
        collect_configuration(git, self.store, SOURCE, environments=ENVIRONMENTS, now_s=NOW_S)
        shown = Reader({"cart": list(snapshots)})
        collect_argocd({"c": shown}, self.store, {"cart": CART}, watch_s=60, now_s=LONG_AFTER)
        return link_revisions(git, self.store, SOURCE)

    def deployments(self) -> pd.DataFrame:
        """Those of cart, in the order of history."""
        found = deployments_of(self.store, ("cart",))
        return found.sort_values(["position", "finished_s"]).reset_index(drop=True)


@pytest.fixture
def platform(tmp_path) -> Platform:
    """The platform, empty."""
    return Platform(tmp_path)


def failures(deployment: pd.DataFrame) -> dict[str, str]:
    """Why deployments failed, by the first letters of their revision and their trigger."""
    tables = FactTables.of(deployment=deployment)
    with DuckEngine.of(tables) as engine:
        found = engine.frame(judging.judged(Question("production", has_commits=False)))
    return dict(zip(found["version"], found["failed_by"], strict=True))


def test_a_sync_brings_all_promotions_since_the_sync_before(platform):
    """Two promotions and a commit of another service, one sync of the last: both were synced then, none before."""
    platform.change_another(1)
    seed = platform.change_another(2)
    first, second = platform.promote("v1"), platform.promote("v2")
    tip = platform.change_another(3)
    later_s = platform.repository.now_s + 500

    done = platform.collect(history((seed, T + 200), (tip, later_s)))

    rows = platform.deployments()
    assert done.rows == 2
    assert dict(zip(rows["revision"], rows["synced_s"].fillna(0), strict=True)) == {
        rows["revision"][0]: T + 200,
        first: later_s,
        second: later_s,
    }
    assert len(rows) == 3


def test_the_same_collection_again_asks_nothing_and_changes_no_byte(platform):
    """What was found of a revision is kept."""
    platform.promote("v1")
    tip = platform.change_another(1)
    shown = history((tip, platform.repository.now_s + 60))
    platform.collect(shown)
    before = tree(platform.store.folder)

    again = platform.collect(shown)

    assert (again.rows, again.merged) == (0, Merged())
    assert tree(platform.store.folder) == before


def test_a_failed_sync_is_of_the_newest_promotion_in_it(platform):
    """v1 and v2 come with a revision that cannot be synced; the next one can: v2 failed, v1 never ran, v3 is well."""
    seed = platform.change_another(1)
    platform.promote("v1")
    platform.promote("v2")
    bad = platform.change_another(2)
    failed_s = platform.repository.now_s + 5_000
    platform.promote("v3")
    good = platform.change_another(3)
    before = history((seed, T + 100))
    after = history((seed, T + 100), (good, failed_s + 600))

    platform.collect(before, failing(bad, failed_s, before), after)

    rows = platform.deployments().set_index("version")
    assert rows["outcome"].to_dict() == {
        "v0": "succeeded",
        "v1": "succeeded",
        "v2": "degraded",
        "v3": "succeeded",
    }
    assert rows.loc["v2", "degraded_s"] == failed_s
    assert failures(platform.deployments()) == {"v1": "", "v2": "degraded", "v3": ""}


def test_going_back_without_a_commit_is_a_rollback_and_the_version_before_failed(platform):
    """`argocd app rollback` leaves no commit: the deployment it undid counts as failed, and forth again is one more."""
    seed = platform.change_another(1)
    platform.promote("v1")
    one = platform.change_another(2)
    platform.promote("v2")
    two = platform.change_another(3)
    base = platform.repository.now_s

    platform.collect(
        history((seed, T + 100), (one, base + 100), (two, base + 200), (one, base + 300)),
        history((one, base + 100), (two, base + 200), (one, base + 300), (two, base + 9_000)),
    )

    rows = platform.deployments()
    assert list(zip(rows["version"], rows["trigger"], strict=True)) == [
        ("v0", "promotion"),
        ("v1", "promotion"),
        ("v2", "promotion"),
        ("v1", "rollback"),
        ("v2", "promotion"),
    ]
    with DuckEngine.of(FactTables.of(deployment=rows)) as engine:
        judged = engine.frame(judging.judged(Question("production", has_commits=False)))
    found = judged.sort_values(["position", "finished_s"])
    assert list(zip(found["version"], found["failed_by"], strict=True)) == [
        ("v1", ""),
        ("v2", "rollback"),
        ("v1", ""),
        ("v2", ""),
    ]


def test_a_revision_that_was_not_collected_yet_waits(platform):
    """Argo CD may be ahead of what was read of the repository; the next collection finds the revision."""
    platform.promote("v1")
    git = reader(platform.folder / "cache", config=platform.folder / "config")
    collect_configuration(git, platform.store, SOURCE, environments=ENVIRONMENTS, now_s=NOW_S)
    ahead = platform.change_another(1)
    shown = Reader({"cart": [history((ahead, platform.repository.now_s + 60))]})
    collect_argocd({"c": shown}, platform.store, {"cart": CART}, watch_s=60, now_s=LONG_AFTER)
    git.refresh("config")

    early = link_revisions(git, platform.store, SOURCE)
    collect_configuration(git, platform.store, SOURCE, environments=ENVIRONMENTS, now_s=NOW_S)
    later = link_revisions(git, platform.store, SOURCE)

    assert (early.rows, early.excluded, later.rows) == (0, 1, 1)


@pytest.mark.parametrize("seed", few(range(4), keep=2))
def test_containment_is_that_of_git(platform, seed):
    """In a history with merges and branches, each revision's newest deployment is the one that git says is an ancestor."""
    chance = random.Random(seed)
    repository = platform.repository
    revisions = []
    for number in range(1, 14):
        what = chance.random()
        if what < 0.4:
            platform.promote(f"v{number}")
        elif what < 0.7:
            platform.change_another(number)
        else:
            repository.git("checkout", "-q", "-b", f"side{number}")
            revisions.append(platform.change_another(number * 100))
            repository.git("checkout", "-q", "main")
            platform.promote(f"v{number}")
            repository.now_s += 60
            repository.git("merge", "-q", "--no-ff", "-m", "merge", f"side{number}")
        revisions.append(repository.head())
    base = repository.now_s
    syncs = [(sha, base + 60 * place) for place, sha in enumerate(revisions)]

    platform.collect(history(*syncs))

    events = platform.store.read("event", ("cart",)).sort_values("position")
    found = platform.store.read("sync", ("cart",)).set_index("revision")["contained"].to_dict()
    exact = set(events["sha"])
    assert set(found) == set(revisions) - exact
    for revision, contained in found.items():
        inside = [sha for sha in events["sha"] if _is_ancestor(repository, sha, revision)]
        assert contained == (inside[-1] if inside else "")


def _is_ancestor(repository: Repository, ancestor: str, descendant: str) -> bool:
    argv = ("git", "merge-base", "--is-ancestor", ancestor, descendant)
    return subprocess.run(argv, cwd=repository.path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("011", {"v1": "degraded"}),
        ("016", {"v1": "degraded"}),
        ("017", {"v1": "degraded"}),
        ("040", {}),
        ("042", {"v1": "rollback"}),
    ],
)
def test_recorded_failures_reach_the_change_fail_rate(tmp_path, number, expected):
    """A crash, a failed hook, and a rollback of a real Argo CD are failures of the commits that the revisions contain."""
    store = FactStore(tmp_path / "facts")
    shown: dict[str, list[Snapshot]] = {}
    for recording in recordings.load():
        if recording.name[:3] == number:
            for _, snapshot in recording.snapshots():
                shown.setdefault(snapshot.name, []).append(snapshot)
    (name,) = shown
    places = {name: CART}
    collect_argocd({"c": Reader(shown)}, store, places, watch_s=60, now_s=LONG_AFTER)
    watched = store.read("deployment").sort_values("finished_s")
    revisions = list(dict.fromkeys(watched["revision"]))
    # A commit of cart a minute before each revision, which itself changes something else.
    commits = [
        {
            "deployment_id": f"d{place}",
            "service": "cart",
            "environment": "production",
            "version": f"v{place}",
            "revision": f"{place:040x}",
            "position": place,
            "finished_s": int(watched[watched["revision"] == revision]["finished_s"].min()) - 60,
            "outcome": "succeeded",
            "trigger": "promotion",
            "source": "configuration history",
            "is_seed": place == 0,
        }
        for place, revision in enumerate(revisions)
    ]
    sync = [
        {
            "service": "cart",
            "environment": "production",
            "revision": revision,
            "contained": f"{place:040x}",
        }
        for place, revision in enumerate(revisions)
    ]

    joined = one_source(pd.concat([frame(DEPLOYMENT, commits), watched]), frame(SYNC, sync))

    with DuckEngine.of(FactTables.of(deployment=joined)) as engine:
        found = engine.frame(judging.judged(Question("production", has_commits=False)))
    bad = found[found["failed_by"] != ""]
    assert dict(zip(bad["version"], bad["failed_by"], strict=True)) == expected


@pytest.mark.parametrize(
    ("moment", "times"),
    [
        (Moment.COMMITTED, [T, T + 100, T + 200]),
        (Moment.SYNCED, [T, T + 160, T + 260]),
        (Moment.HEALTHY, [T, T + 160, T + 290]),
    ],
)
def test_a_deployment_happens_when_the_definition_says(moment, times):
    """At its commit, its sync, or when it was healthy; where nobody saw that, at the moment before; changes with it."""
    rows = [
        {"deployment_id": "a", "finished_s": T},
        {"deployment_id": "b", "finished_s": T + 100, "synced_s": T + 160},
        {
            "deployment_id": "c",
            "finished_s": T + 200,
            "synced_s": T + 260,
            "healthy_s": T + 290,
        },
    ]
    place = {"service": "cart", "environment": "production"}
    arrived = [{**row, **place, "sha": row["deployment_id"], "authored_s": T - 50} for row in rows]
    tables = FactTables.of(
        deployment=frame(DEPLOYMENT, [{**row, **place} for row in rows]),
        change_deployment=frame(CHANGE_DEPLOYMENT, arrived),
    )

    moved = at_moment(tables, moment)

    assert moved.deployment["finished_s"].tolist() == times
    assert moved.change_deployment["finished_s"].tolist() == times
