"""Changes and the deployments that contain them, held against git itself."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from gitops_nb.dora import fact_tables
from gitops_nb.dora.collectors import application
from gitops_nb.dora.collectors.application import (
    ApplicationSource,
    PullRequest,
    collect_application,
    read_labels,
    trace,
)
from gitops_nb.dora.collectors.containment import first_containing
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UsageError
from tests.dora.git_factories import Repository, T, reader
from tests.dora.test_store import tree

CART = ApplicationSource("cart", "app", "main")


@pytest.mark.parametrize("seed", range(6))
def test_containment_equals_merge_base(tmp_path, seed):
    """On random graphs with merges, side branches and clocks that go back, each commit's first deployment is git's."""
    chance = random.Random(seed)
    repository = Repository(tmp_path / "app")
    empty = repository.git("hash-object", "-t", "tree", "-w", "/dev/null")
    shas: list[str] = []
    for number in range(40):
        # Old parents too, so that branches of any age are merged; a few commits are roots.
        count = 0 if number == 0 or chance.random() < 0.03 else chance.choice((1, 1, 1, 2, 3))
        parents = chance.sample(shas[-8:], min(count, len(shas[-8:]))) or shas[:count]
        repository.now_s = T + chance.randint(-10_000_000, 10_000_000)
        arguments = [item for parent in parents for item in ("-p", parent)]
        shas.append(repository.git("commit-tree", empty, *arguments, "-m", f"c{number}"))
    for number, sha in enumerate(shas):
        repository.git("update-ref", f"refs/heads/b{number}", sha)
    repository.git("update-ref", "refs/heads/main", shas[-1])
    deployed = [chance.choice(shas) for _ in range(10)]
    git = reader(tmp_path / "cache", app=repository.path)
    git.refresh("app")

    graph = {c.sha: c.parents for c in git.graph("app", [shas[-1], *deployed])}
    found = first_containing(graph, deployed)

    for sha in shas:
        expected = next(
            (i for i, revision in enumerate(deployed) if _contains(repository, sha, revision)), None
        )
        assert found.get(sha) == expected, sha
    assert len(set(found.values())) > 1


def _contains(repository: Repository, sha: str, revision: str) -> bool:
    done = subprocess.run(
        ("git", "merge-base", "--is-ancestor", sha, revision), cwd=repository.path, check=False
    )
    return done.returncode == 0


def deployed(store: FactStore, *rows: tuple[str, str, int]) -> None:
    """Puts deployments of cart into the store: environment, version, time."""
    table = [
        {
            "deployment_id": f"d{number}",
            "service": "cart",
            "environment": environment,
            "version": version,
            "started_s": at_s,
            "finished_s": at_s,
            "outcome": "succeeded",
            "trigger": "promotion",
            "source": "test",
        }
        for number, (environment, version, at_s) in enumerate(rows)
    ]
    store.merge("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, table))


@pytest.fixture
def app(tmp_path) -> Repository:
    """A repository with one commit, tagged v0."""
    repository = Repository(tmp_path / "app")
    repository.commit({"a": "1\n"}, message="begin")
    repository.git("tag", "v0")
    return repository


def collected(tmp_path: Path, store: FactStore, source=CART, **more):
    """One collection with a cache beside the repository."""
    return collect_application(
        reader(tmp_path / "cache", app=tmp_path / "app"), store, source, **more
    )


def arrived(store: FactStore, environment: str = "production") -> dict[str, tuple[str, int]]:
    """Deployment and seconds by change."""
    table = store.read("change_deployment")
    table = table[table["environment"] == environment]
    return {
        row.sha: (row.deployment_id, row.finished_s - row.authored_s)
        for row in table.itertuples(index=False)
    }


def test_changes_arrive_with_the_first_deployment_that_contains_them(app, tmp_path):
    """A merged branch, a commit with an older author time, a rollback that restarts nothing, and the seed."""
    app.git("checkout", "-q", "-b", "feature")
    side = app.commit({"b": "1\n"}, message="side", authored_s=T - 5000)
    app.git("checkout", "-q", "main")
    main = app.commit({"c": "1\n"}, message="main")
    app.git("tag", "v1")
    app.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    merge = app.head()
    app.git("tag", "v2")
    late = app.commit({"d": "1\n"}, message="not deployed yet")
    store = FactStore(tmp_path / "facts")
    at = T + 1000
    deployed(
        store,
        ("production", "v0", at),
        ("production", "v1", at + 100),
        ("production", "v2", at + 200),
        ("production", "v1", at + 300),
        ("production", "v2", at + 400),
    )
    collected(tmp_path, store)
    found = arrived(store)
    assert found == {main: ("d1", at + 100 - (T + 180)), side: ("d2", at + 200 - (T - 5000))}
    assert merge not in set(store.read("change")["sha"])
    assert late in set(store.read("change")["sha"])
    assert application.SEED in set(store.read("exclusion")["reason"])


def test_a_deployment_off_the_mainline_and_a_pick_from_it(app, tmp_path):
    """A hotfix branch that was deployed: its pick on main is the same change and does not arrive again."""
    app.git("checkout", "-q", "-b", "hotfix")
    fix = app.commit({"fix": "1\n"}, message="fix")
    app.git("tag", "v0.1")
    app.git("checkout", "-q", "main")
    other = app.commit({"other": "1\n"}, message="other")
    app.now_s += 60
    app.git("cherry-pick", fix)
    pick = app.head()
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    at = T + 1000
    deployed(
        store,
        ("production", "v0", at),
        ("production", "v0.1", at + 1),
        ("production", "v1", at + 2),
    )
    collected(tmp_path, store)
    assert {sha: name for sha, (name, _) in arrived(store).items()} == {fix: "d1", other: "d2"}
    changes = store.read("change").set_index("sha")
    assert changes.loc[pick, "patch_id"] == changes.loc[fix, "patch_id"] != ""
    ledger = store.read("exclusion").set_index("sha")
    assert ledger.loc[pick, "reason"] == application.REPEATED


def test_a_squash_starts_at_the_first_commit_of_its_pull_request(app, tmp_path):
    """The squash's own author time is the merge; the pull request knows when the work began."""
    squash = app.commit({"s": "1\n"}, message="feature (#7)", after_s=5000)
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T + 100), ("production", "v1", T + 6000))
    pull = PullRequest(squash, first_authored_s=T + 200, opened_s=T + 300, merged_s=T + 5060)
    collected(tmp_path, store, pull_requests=[pull])
    assert arrived(store) == {squash: ("d1", 5800)}
    row = store.read("change").iloc[0]
    assert (row["authored_s"], row["opened_s"], row["merged_s"]) == (T + 200, T + 300, T + 5060)


def test_a_merge_brings_its_pull_request_to_every_commit_of_its_branch(app, tmp_path):
    """Commits that a merge kept begin at their own times, and know when they were opened and merged and from where."""
    app.git("checkout", "-q", "-b", "hotfix/login")
    first = app.commit({"f": "1\n"}, message="one")
    app.git("checkout", "-q", "main")
    other = app.commit({"m": "1\n"}, message="on the mainline")
    app.git("checkout", "-q", "hotfix/login")
    app.now_s += 60
    app.git("merge", "-q", "--no-ff", "-m", "the mainline into the branch", "main")
    second = app.commit({"f": "2\n"}, message="two")
    app.git("checkout", "-q", "main")
    app.now_s += 60
    app.git("merge", "-q", "--no-ff", "-m", "Merge pull request #8", "hotfix/login")
    merge = app.head()
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T + 100), ("production", "v1", T + 6000))
    pull = PullRequest(merge, T + 10, T + 300, T + 5060, branch="hotfix/login")
    collected(tmp_path, store, pull_requests=[pull])

    changes = store.read("change").set_index("sha")
    assert set(changes.index) == {first, second, other}
    assert changes["branch"].to_dict() == {
        first: "hotfix/login",
        second: "hotfix/login",
        other: "",
    }
    assert set(changes.loc[[first, second], "opened_s"]) == {T + 300}
    assert set(changes.loc[[first, second], "merged_s"]) == {T + 5060}
    assert (changes["authored_s"] == changes["committed_s"]).all()


def test_reverts_are_paired_and_bots_are_marked(app, tmp_path):
    """A revert names what it takes back; a dependency bot is seen by its name, which is not stored."""
    bad = app.commit({"a": "2\n"}, message="bad", author="renovate[bot]")
    app.now_s += 60
    app.git("revert", "--no-edit", bad)
    revert = app.head()
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T + 100), ("production", "v1", T + 900))
    collected(tmp_path, store)
    changes = store.read("change").set_index("sha")
    assert changes.loc[revert, "is_revert_of"] == bad
    assert changes["is_bot"].to_dict() == {bad: True, revert: False}
    assert all(b"renovate" not in path.read_bytes() for path in store.folder.rglob("*.parquet"))


def test_a_service_of_a_monorepo_gets_the_commits_below_its_folders(app, tmp_path):
    """Commits elsewhere are not its changes, also when a merge brings both."""
    app.git("checkout", "-q", "-b", "feature")
    mine = app.commit({"services/cart/x": "1\n"}, message="mine")
    app.commit({"services/other/x": "1\n"}, message="theirs")
    app.git("checkout", "-q", "main")
    app.commit({"README": "1\n"}, message="neither")
    app.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T + 100), ("production", "v1", T + 900))
    source = ApplicationSource("cart", "app", "main", ("services/cart",))
    collected(tmp_path, store, source)
    assert list(arrived(store)) == [mine]
    assert store.read("change")["sha"].tolist() == [mine]


def test_a_clock_ahead_of_the_deployment_is_in_the_ledger(app, tmp_path):
    """A change written after its deployment has no lead time; it is listed, never negative."""
    ahead = app.commit({"x": "1\n"}, authored_s=T + 9000)
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T + 100), ("production", "v1", T + 900))
    collected(tmp_path, store)
    assert arrived(store) == {}
    assert store.read("exclusion").set_index("sha").loc[ahead, "reason"] == application.NEGATIVE


def test_each_environment_has_its_own_seed(app, tmp_path):
    """What staging had from the beginning still has to arrive in production."""
    change = app.commit({"x": "1\n"})
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(
        store,
        ("staging", "v1", T + 100),
        ("production", "v0", T + 200),
        ("production", "v1", T + 900),
    )
    collected(tmp_path, store)
    assert list(arrived(store)) == [change]
    assert arrived(store, "staging") == {}


def test_a_version_is_traced_by_label_tag_or_commit_id(app, tmp_path):
    """Each hop says how it was made; what cannot be traced is unknown, never guessed."""
    second = app.commit({"x": "1\n"})
    first = app.git("rev-parse", "v0")
    git = reader(tmp_path / "cache", app=app.path)
    git.refresh("app")
    versions = [
        second,
        f"release-{second[:9]}",
        "0",
        "v0",
        "latest",
        "12345678",
        "sha256:ab",
        "..",
        "--x",
    ]
    found = trace(git, "app", versions, {"sha256:ab": first, "v0": second, "latest": "e" * 40})
    assert found == {
        second: ("sha", second),
        f"release-{second[:9]}": ("sha", second),
        "0": ("tag", first),
        "v0": ("label", second),
        "latest": ("unknown", ""),
        "12345678": ("unknown", ""),
        "sha256:ab": ("label", first),
        "..": ("unknown", ""),
        "--x": ("unknown", ""),
    }


def test_an_unknown_version_is_in_the_ledger_and_hops_are_recorded(app, tmp_path):
    """Its changes arrive with the next version that is known; nothing is taken from merge times."""
    change = app.commit({"x": "1\n"})
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(
        store,
        ("production", "v0", T),
        ("production", "mystery", T + 500),
        ("production", "v1", T + 900),
    )
    collected(tmp_path, store)
    assert arrived(store)[change][0] == "d2"
    hops = store.read("hop").set_index("version")["method"].to_dict()
    assert hops == {"v0": "tag", "v1": "tag", "mystery": "unknown"}
    ledger = store.read("exclusion")
    assert ledger[ledger["reason"] == application.NO_COMMIT]["version"].tolist() == ["mystery"]


def test_the_same_repository_twice_changes_no_byte(app, tmp_path):
    """Neither through the resume point nor, without it, through the rows."""
    app.commit({"x": "1\n"})
    app.git("tag", "v1")
    store = FactStore(tmp_path / "facts")
    deployed(store, ("production", "v0", T), ("production", "v1", T + 900))
    collected(tmp_path, store)
    before = tree(store.folder)
    assert collected(tmp_path, store).merged == Merged()
    point = next((store.folder / "sources").iterdir())
    content = point.read_bytes()
    point.unlink()
    collected(tmp_path, store)
    assert point.read_bytes() == content
    after = tree(store.folder)
    assert {k: v for k, v in after.items() if "sources" not in k} == {
        k: v for k, v in before.items() if "sources" not in k
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version,commit\nv1,x\n", "labels.csv:1: no column revision"),
        ("version,revision\nv1,abc\n", "labels.csv:2: revision: 'abc' is not a full commit id"),
        (
            f"version,revision\nv1,{'a' * 40}\nv1,{'b' * 40}\n",
            "labels.csv:3: version: 'v1' has another revision above",
        ),
    ],
)
def test_a_wrong_label_file_is_named(tmp_path, text, message):
    """File, line and column of each problem."""
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path / "labels.csv")
