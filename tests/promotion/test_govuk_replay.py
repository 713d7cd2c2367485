"""The first 1,000 production promotions of GOV.UK in 2024, through the same plan and apply code."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.model import Answer, Decision
from gitops_nb.ports import View
from gitops_nb.promotion import PromotionWriters, apply, observe, plan, request
from gitops_nb.promotion.state import PromotedKey
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.journal import Journal

PATH = "charts/app-config/image-tags/{environment}"
COUNT = 1000


@pytest.fixture(scope="module")
def repository(shared, tmp_path_factory) -> Path:
    """A bare repository with the 216 real files of 2024-01-01."""
    work = tmp_path_factory.mktemp("govuk") / "work"
    shutil.copytree(shared / "data/gitops/govuk-image-tags", work)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "start")):
        subprocess.run((*git, *command), cwd=work, check=True, capture_output=True)
    bare = work.with_name("config.git")
    subprocess.run(("git", "clone", "-q", "--bare", str(work), str(bare)), check=True)
    # A server's housekeeping, which each push would look for.
    subprocess.run(("git", "config", "receive.autogc", "false"), cwd=bare, check=True)
    return bare


class Allowed:
    """Lets every effect begin; its commits carry no trailers."""

    def confirm(self):
        """Nothing speaks against it."""

    def trailers(self, *_):
        return ""

    def made(self, _):
        return False


def rows(shared: Path, repository: Path) -> list[tuple[str, str]]:
    """Application and tag of the first production rows of 2024 whose file exists."""
    listed = subprocess.run(
        ("git", "ls-tree", "-r", "--name-only", "main"),
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    present = {
        p.rsplit("/", 1)[1] for p in listed if p.startswith(PATH.format(environment="production"))
    }
    table = str(shared / "data/dora/govuk/image_tag_commits_2022_2024.parquet")
    found = duckdb.execute(
        "select app, tag from read_parquet(?) where env = 'production' and committed_s >= ? order by committed_s, commit",
        [table, int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())],
    ).fetchall()
    return [(app, tag) for app, tag in found if app in present][:COUNT]


@pytest.mark.parametrize("count", [30, pytest.param(COUNT, marks=pytest.mark.torture)])
def test_real_promotions(shared, repository, tmp_path, count):
    """After each, the file's image_tag is the recorded one and every other byte is unchanged."""
    wanted = rows(shared, repository)[:count]
    assert len(wanted) == count
    names = sorted({app for app, _ in wanted})
    fleet = Fleet.model_validate(
        {
            "environments": {
                name: {"auto_deploy": False, "approval_required": True}
                for name in ("staging", "production")
            },
            "promotes_to": {"staging": ["production"]},
            "repositories": {"config": {"url": f"file://{repository}"}},
            "applications": {
                name: {
                    "repository": "config",
                    "path": PATH,
                    "promotable": [{"file": "{application}", "key": "image_tag"}],
                }
                for name in names
            },
        }
    )
    git = Git(
        {"config": Remote(f"file://{repository}", "main")},
        cache=tmp_path / "cache",
        processes=LocalProcesses(),
        author=("replay", "replay@example.org"),
    )
    view = View(git, {}, {}, WallClock(), None)
    begun = git.tip("config", "main")
    changed = unchanged = 0
    made_at: dict[str, tuple[PromotedKey, str]] = {}
    for number, (application, tag) in enumerate(wanted):
        asked = request(
            fleet,
            {
                "application": application,
                "source": "staging",
                "target": "production",
                "revision": tag,
            },
        )
        state = observe(view, asked)
        before = state.target.keys[0]
        made = plan(asked, state)
        if made.is_empty:
            assert before.value == tag
            unchanged += 1
            continue
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        journal = Journal.open(folder)
        journal.append("opened", run=f"replay-{number}", steps=["apply"])
        writers = PromotionWriters(
            view,
            git,
            {},
            JournalEffects(journal, journal.append, step="apply", authority=Allowed()),
            "replay",
        )
        allowed = Decision(Answer.ALLOWED, made.digest, "production", ("replay",))
        applied = apply(writers, made, allowed)
        journal.close()
        made_at[str(applied.results["commit"]["revision"])] = (before, tag)
        changed += 1
        if changed % 50 == 0:  # housekeeping: a real repository is packed
            git.resolve("config", "main")
            subprocess.run(("git", "repack", "-qad"), cwd=tmp_path / "cache/config.git", check=True)
    newest = git.tip("config", "main")
    history = [commit.sha for commit in git.log("config", newest)[::-1]]
    assert history[history.index(begun) + 1 :] == list(made_at)
    found = list(git.changes("config", newest, since=begun))
    assert [change.sha for change in found] == list(made_at), "one file in each commit"
    for change in found:
        before, tag = made_at[change.sha]
        assert change.path == before.path
        after = change.content
        assert yaml.safe_load(after)["image_tag"] == tag
        assert after == before.content.encode().replace(
            f"image_tag: {before.value}".encode(), f"image_tag: {tag}".encode(), 1
        ) or (
            yaml.safe_load(before.content)["image_tag"] != before.value  # an unquoted number before
        )
        assert only_one_scalar(before.content, after.decode(), before.value, tag)
    assert changed + unchanged == count
    assert changed > count * 0.9


def only_one_scalar(before: str, after: str, old: str, new: str) -> bool:
    """Line by line equal but for the one value."""
    pairs = list(
        zip(before.splitlines(keepends=True), after.splitlines(keepends=True), strict=True)
    )
    differing = [(a, b) for a, b in pairs if a != b]
    return len(differing) == 1 and differing[0][1].replace(new, old).replace('"', "") == differing[
        0
    ][0].replace('"', "")
