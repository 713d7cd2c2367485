"""Collecting a configuration repository: formats, increments, and histories that cannot be trusted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.collectors import version
from gitops_nb.dora.collectors.configuration import check_histories, collect_configuration
from gitops_nb.dora.collectors.version import read_version
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UsageError
from tests.conftest import SHARED
from tests.dora.git_factories import Repository, T, reader
from tests.dora.test_store import tree

ENVIRONMENTS = ("development", "staging", "production")
SOURCE = VersionSource("config", "main", "apps/{service}/{environment}/values.yaml", "image", "tag")
NOW_S = T + 10_000_000


def put(service: str, environment: str, version: str) -> dict[str, str | None]:
    """A file that says which version runs where."""
    return {f"apps/{service}/{environment}/values.yaml": f"image: shop/{service}:{version}\n"}


@pytest.fixture
def config(tmp_path) -> Repository:
    """A repository with a seed and two releases of checkout."""
    repository = Repository(tmp_path / "config")
    repository.commit({**put("checkout", "staging", "v1"), **put("checkout", "production", "v1")})
    repository.commit(put("checkout", "staging", "v2"))
    repository.commit(put("checkout", "production", "v2"))
    return repository


def collected(tmp_path: Path, store: FactStore, source: VersionSource = SOURCE):
    """One collection with a cache beside the repository."""
    return collect_configuration(
        reader(tmp_path / "cache", config=tmp_path / "config"),
        store,
        source,
        environments=ENVIRONMENTS,
        now_s=NOW_S,
    )


@pytest.mark.parametrize(
    ("path", "key", "part", "text", "version"),
    [
        ("values.yaml", "image.tag", "value", "image:\n  tag: 1.10\n", "1.10"),
        (
            "kustomization.yaml",
            "images[name=shop/cart].newTag",
            "value",
            "images:\n- name: x\n  newTag: a\n- name: shop/cart\n  newTag: v7\n",
            "v7",
        ),
        (
            "kustomization.yaml",
            "images[name=shop/cart].digest",
            "value",
            "images: [{name: shop/cart, digest: 'sha256:ab'}]",
            "sha256:ab",
        ),
        (
            "app.yaml",
            "spec.source.targetRevision",
            "value",
            "kind: Application\nspec: {source: {targetRevision: rel-3}}",
            "rel-3",
        ),
        (
            "app.yaml",
            "spec.sources[chart=redis].targetRevision",
            "value",
            "spec: {sources: [{chart: redis, targetRevision: 2.6.2}, {repoURL: x}]}",
            "2.6.2",
        ),
        (
            "main.tf",
            "module.vpc.source",
            "ref",
            'module "dns" {\n source = "x?ref=v9"\n}\nmodule "vpc" {\n source = "git::https://x/y.git//vpc?ref=v1.2.0&depth=1"\n}\n',
            "v1.2.0",
        ),
        (
            "main.tf",
            "module.vpc.version",
            "value",
            'module "vpc" {\n  source = "a/b/c"\n  version = "5.0.1"\n}\n',
            "5.0.1",
        ),
        (
            "terragrunt.hcl",
            "terraform.source",
            "ref",
            'include "root" {\n path = find_in_parent_folders()\n}\nterraform {\n  source = "${local.base}//vpc?ref=v0.8.0"\n}\n',
            "v0.8.0",
        ),
        (
            "terragrunt.hcl",
            "terraform.source",
            "ref",
            'terraform {\n  source = "x//vpc?ref=${local.v}"\n}\n',
            "",
        ),
        ("terragrunt.hcl", "terraform.source", "ref", "terraform {", ""),
        ("terragrunt.hcl", "terraform.source", "ref", "a = " + "[" * 9000, ""),
        ("values.yaml", "image.tag", "value", "image: [", ""),
    ],
)
def test_the_version_is_read_from_every_format(path, key, part, text, version):
    """Helm values, kustomize images, Argo CD Applications, OpenTofu and Terragrunt module sources."""
    found, problem = read_version(text.encode(), key=key, part=part, path=path)
    assert found == version
    assert bool(problem) is not bool(version)


@pytest.mark.parametrize(
    "text",
    [
        "image: shop/cart:v3\nreplicas: 2\n",
        "image: shop/cart:v3\nimage: shop/cart:v4\n",
        "image: shop/cart:v3:\n",
        "image: 1.10\ntag: 010\n",
        "image: a:b\nother: x/y@sha256:ab\n",
        "image: true\n",
        "image: v3 # comment\n",
        "image: v3",
        "image:\n",
    ],
)
def test_the_fast_way_reads_what_yaml_reads(text, monkeypatch):
    """Plain lines give the same version as the YAML parser, or are left to it."""
    fast = read_version(text.encode(), key="image", part="value")
    monkeypatch.setattr(version, "MAX_FLAT_BYTES", 0)
    assert read_version(text.encode(), key="image", part="value") == fast


def test_real_terragrunt_units_name_their_module_version():
    """Each unit of a real live repository that has a literal ref is read."""
    folder = SHARED / "data/gitops/terragrunt-live-example"
    if not folder.is_dir():
        pytest.skip(f"the Terragrunt example is absent, HCL was NOT read from real files: {folder}")
    found = {
        path.parent.name: read_version(
            path.read_bytes(), key="terraform.source", part="ref", path=path.name
        )
        for path in sorted(folder.rglob("terragrunt.hcl"))
        if "?ref=" in path.read_text()
    }
    assert found
    assert all(version.startswith("v") for version, _ in found.values()), found


def test_a_collection_gives_deployments_with_their_triggers(config, tmp_path):
    """Promotions, a rollback, a resync and the seed of a service, with ids that name the commit."""
    back = config.commit(put("checkout", "production", "v1"))
    config.commit({"apps/checkout/production/values.yaml": "image: shop/checkout:v1 # same\n"})
    store = FactStore(tmp_path / "facts")
    done = collected(tmp_path, store)
    table = store.read("deployment").sort_values(["environment", "finished_s"])
    assert list(
        zip(
            *(table[name] for name in ("environment", "version", "trigger", "is_seed")), strict=True
        )
    ) == [
        ("production", "v1", "promotion", True),
        ("production", "v2", "promotion", False),
        ("production", "v1", "rollback", False),
        ("production", "v1", "resync", False),
        ("staging", "v1", "promotion", True),
        ("staging", "v2", "promotion", False),
    ]
    assert f"checkout/production@{back[:12]}" in set(table["deployment_id"])
    assert done.rows == 6


def test_the_same_history_twice_changes_no_byte(config, tmp_path):
    """A second collection without a new commit writes nothing."""
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    before = tree(store.folder)
    assert collected(tmp_path, store).merged == Merged()
    assert tree(store.folder) == before


def test_increments_end_in_the_same_facts_as_one_collection(config, tmp_path):
    """Collecting after each commit and collecting once give equal tables."""
    parts, whole = FactStore(tmp_path / "parts"), FactStore(tmp_path / "whole")
    collected(tmp_path, parts)
    for number, files in enumerate(
        [
            put("catalog", "staging", "v1"),
            put("checkout", "staging", "v3"),
            {"README.md": "unrelated\n"},
            put("checkout", "production", "v3"),
            put("checkout", "production", "v2"),
            {"apps/catalog/staging/values.yaml": None},
        ]
    ):
        config.commit(files, message=f"step {number}")
        collected(tmp_path, parts)
    collected(tmp_path, whole)
    for table in ("event", "deployment", "exclusion"):
        assert parts.read(table).equals(whole.read(table)), table
    assert len(whole.read("deployment")) == 9


def test_one_new_commit_touches_one_service_and_takes_under_a_second(config, tmp_path):
    """After 200 services, one commit rewrites only the files of its service."""
    files: dict[str, str | None] = {}
    for number in range(200):
        files |= put(f"s{number}", "staging", "v1")
    config.commit(files)
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    before = tree(store.folder)
    config.commit(put("s7", "staging", "v2"))
    begun = os.times()
    collected(tmp_path, store)
    ended = os.times()
    after = tree(store.folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed
    assert all("service=s7/" in name or name.startswith("sources/") for name in changed), changed
    # Processor time of this process and of git; the machine may be busy with other tests.
    assert sum(ended[:4]) - sum(begun[:4]) < 1.0


def test_a_rewritten_history_is_named_and_nothing_is_written(config, tmp_path):
    """A forced push is refused with both commits; the facts stay as they were."""
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    before = tree(store.folder)
    old = config.git("rev-parse", "HEAD")
    config.git("commit", "-q", "--amend", "-m", "another past")
    with pytest.raises(UsageError, match=f"does not contain {old}.*rewritten"):
        collected(tmp_path, store)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UsageError, match="rewritten"):
        collected(tmp_path, store)
    assert tree(store.folder) == before


def test_a_shallow_clone_is_named_and_nothing_is_written(config, tmp_path):
    """A repository whose history ends early is no source."""
    config.git("clone", "-q", "--depth", "1", f"file://{config.path}", str(tmp_path / "shallow"))
    config.path.rename(tmp_path / "full")
    (tmp_path / "shallow").rename(config.path)
    store = FactStore(tmp_path / "facts")
    with pytest.raises(UsageError, match="shallow clone"):
        collected(tmp_path, store)
    assert not store.folder.exists()


def test_two_places_for_one_service_are_named_and_nothing_is_written(config, tmp_path):
    """Two patterns that claim the same service and environment are refused."""
    config.commit({"other/checkout/production.yaml": "image: shop/checkout:v9\n"})
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    before = tree(store.folder)
    other = VersionSource("config", "main", "other/{service}/{environment}.yaml", "image", "tag")
    with pytest.raises(UsageError, match="checkout in production has its version in two places"):
        collected(tmp_path, store, other)
    assert tree(store.folder) == before


@pytest.mark.parametrize("trouble", ["rewritten", "shallow clone", "in two places"])
def test_all_histories_are_looked_at_before_the_first_is_read(config, tmp_path, trouble):
    """The second repository's trouble is told before the first one's rows are written."""
    second = Repository(tmp_path / "second")
    second.commit(put("cart", "production", "v1"))
    second.commit(put("cart", "production", "v2"))
    git = reader(tmp_path / "cache", config=config.path, second=second.path)
    store = FactStore(tmp_path / "facts")
    other = VersionSource("second", "main", SOURCE.path, "image", "tag")
    if trouble == "rewritten":
        collect_configuration(git, store, other, environments=ENVIRONMENTS, now_s=NOW_S)
        second.git("commit", "-q", "--amend", "-m", "another past")
    elif trouble == "shallow clone":
        second.git("clone", "-q", "--depth", "1", f"file://{second.path}", str(tmp_path / "short"))
        shutil.rmtree(second.path)
        (tmp_path / "short").rename(second.path)
    else:
        second.commit(put("checkout", "production", "v9"))
    before = tree(store.folder)
    with pytest.raises(UsageError, match=trouble):
        check_histories(git, store, (SOURCE, other))
    assert tree(store.folder) == before
    assert store.read("deployment", ("checkout",)).empty


def test_what_cannot_be_read_is_in_the_ledger(config, tmp_path):
    """A path with an unknown environment and a damaged file are listed with commit and path."""
    config.commit({"apps/checkout/nonprod/values.yaml": "image: a:b\n"})
    sha = config.commit({"apps/checkout/production/values.yaml": "image: [\n"})
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    rows = store.read("exclusion")
    rows = rows[rows["left_out_of"] == "everything"].sort_values("reason")
    assert rows["reason"].tolist() == [
        "environment is not in the fleet",
        "file is no readable YAML",
    ]
    assert rows["sha"].tolist()[1] == sha
    assert rows["detail"].tolist()[1] == "apps/checkout/production/values.yaml"


def test_no_table_holds_a_person(config, tmp_path):
    """Neither author names nor addresses reach the store."""
    store = FactStore(tmp_path / "facts")
    collected(tmp_path, store)
    for path in store.folder.rglob("*.parquet"):
        assert b"Ann" not in path.read_bytes()
        assert b"example.org" not in path.read_bytes()
