"""Which Applications read the files that a promotion edits, on a real repository."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.fleet import Repository
from gitops_nb.promotion.pending import bound_folders
from gitops_nb.promotion.places import reads
from gitops_nb.promotion.reading import differences, origin_of

URL = "https://git.example/platform/config.git"
REPOSITORY = Repository(url=URL, branch="main", aliases=("http://gitea.gitea.svc/platform/config",))
VALUES = "apps/web/production/values.yaml"
CHART = {"repoURL": "https://charts.example", "chart": "web", "targetRevision": "1.2.3"}
LINK = "link to "
FILES = {
    "apps/web/production/kustomization.yaml": "resources: [../base]\ncomponents: [../../../versions/production]\n"
    "patches: [{path: patch.yaml}]\nconfigMapGenerator: [{name: c, files: [a=../settings.yaml]}]\n",
    "apps/web/base/kustomization.yaml": "resources: [deployment.yaml, ../production]\n",
    "apps/web/base/deployment.yaml": "kind: Deployment\n",
    "versions/production/kustomization.yaml": "images: [{name: web, newTag: v1}]\n",
    "apps/web/broken/kustomization.yaml": "resources: {a: 1\n",
    "apps/over/.argocd-source.yaml": "helm: {valueFiles: [../../shared/all.yaml]}\n",
    "apps/over/.argocd-source-web.yaml": "helm: {fileParameters: [{name: a, path: ../../shared/one.txt}]}\nrepoURL: https://elsewhere\n",
    "apps/over/.argocd-source-other.yaml": "helm: {valueFiles: [never.yaml]}\n",
    "apps/odd/.argocd-source.yaml": "[a list\n",
    "apps/chart/Chart.yaml": "name: web\ndependencies: [{name: lib, repository: 'file://../../lib/common'}, "
    "{name: redis, version: 1.2.3, repository: 'https://charts.example'}, {name: held, repository: 'https://charts.example'}]\n",
    "apps/chart/charts/held-1.0.0.tgz": "packed\n",
    "lib/common/Chart.yaml": "name: common\ndependencies: [{name: deep, repository: 'file://../deep'}]\n",
    "lib/deep/Chart.yaml": "name: deep\ndependencies: [{name: common, repository: 'file://../common'}]\n",
    "apps/linked/more.yaml": LINK + "../../shared/all.yaml",
    "apps/linked/out.yaml": LINK + "../../../../etc/passwd",
    "shared/all.yaml": LINK + "one.txt",
    "shared/one.txt": "x\n",
    "apps/sonnet/main.jsonnet": "local l = import '../../lib/l.libsonnet'; l + importstr \"text.txt\"\n",
    "lib/l.libsonnet": "import '../shared/m.libsonnet'\n",
    "apps/web/remote/kustomization.yaml": "resources: [../base, 'https://x.example/a.yaml', 'github.com/o/r//base?ref=v1']\n"
    "components: ['git@github.com:o/r', './here.with.dots/part', ../../../../out]\n",
}


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> tuple[Git, str]:
    """A repository with kustomizations that name each other, in a circle too; and its tip."""
    base = tmp_path_factory.mktemp("reading")
    work = base / "work"
    for path, text in FILES.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith(LINK):
            (work / path).symlink_to(text.removeprefix(LINK))
        else:
            (work / path).write_text(text)
    who = ("-c", "user.name=t", "-c", "user.email=t@x.example")
    for argv in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "x")):
        subprocess.run(("git", *argv), cwd=work, check=True)
    remote = {"config": Remote(f"file://{work}", "main")}
    found = Git(
        remote, cache=base / "cache", processes=LocalProcesses(), author=("t", "t@x.example")
    )
    return found, found.tip("config", "main")


def said(git: tuple[Git, str], file: str, *sources: Any, kind: str = "") -> str:
    """Why an Application of these sources does not deploy a file, or ""."""
    reader, tip = git
    spec = {"source": sources[0]} if len(sources) == 1 else {"sources": list(sources)}
    application = {"metadata": {"name": "web"}, "spec": spec, "status": {"sourceType": kind}}
    origin = origin_of(reader, "config", REPOSITORY, sources)
    found = differences(
        reader, application, origin=origin, repository="config", tip=tip, files=(file,)
    )
    return "; ".join(found)


def source(path: str | None = None, **more: Any) -> dict[str, Any]:
    """A source of the configuration repository."""
    return {"repoURL": URL, "targetRevision": "main"} | ({"path": path} if path else {}) | more


@pytest.mark.parametrize(
    ("file", "kind", "sources"),
    [
        ("apps/web/production/deployment.yaml", "Directory", [source("apps/web/production")]),
        ("apps/web/production/deployment.yaml", "Directory", [source("./apps/web/production/")]),
        ("deployment.yaml", "Directory", [source(".")]),
        ("apps/web/more/a.yaml", "Directory", [source("apps/web", directory={"recurse": True})]),
        (VALUES, "Helm", [source("apps/web/production")]),
        ("charts/config/image-tags/production/web", "Helm", [source("charts/config")]),
        (VALUES, "Plugin", [source("apps/elsewhere")]),
        (VALUES, "", [source("apps/elsewhere", plugin={"name": "helmfile"})]),
        (VALUES, "", [source("x", directory={"jsonnet": {"libs": ["lib"]}})]),
        (VALUES, "Helm", [source("charts/web", helm={"valueFiles": [f"../../{VALUES}"]})]),
        (VALUES, "Helm", [source("charts/web", helm={"valueFiles": [f"/{VALUES}"]})]),
        (VALUES, "", [{**CHART, "helm": {"valueFiles": [f"$v/{VALUES}"]}}, source(ref="v")]),
        ("apps/web/production/kustomization.yaml", "Kustomize", [source("apps/web/production")]),
        ("versions/production/kustomization.yaml", "Kustomize", [source("apps/web/production")]),
        ("apps/web/base/deployment.yaml", "Kustomize", [source("apps/web/production")]),
        ("apps/web/settings.yaml", "Kustomize", [source("apps/web/production")]),
        (VALUES, "Helm", [source("apps/web/production", targetRevision="HEAD")]),
        (VALUES, "Helm", [source("apps/web/production", targetRevision=None)]),
        (VALUES, "Helm", [source("apps/web/production", targetRevision="refs/heads/main")]),
        (
            VALUES,
            "Helm",
            [source("apps/web/production", repoURL="git@git.example:platform/config")],
        ),
        (VALUES, "Helm", [source("apps/web/production", repoURL=REPOSITORY.aliases[0])]),
    ],
)
def test_ways_to_read_a_file(git, file: str, kind: str, sources: list[Any]) -> None:
    """By its folder, as a value file of a chart here or elsewhere, by way of kustomizations; HEAD is the default branch."""
    assert said(git, file, *sources, kind=kind) == ""


@pytest.mark.parametrize(
    ("file", "kind", "sources", "why"),
    [
        (VALUES, "Directory", [source("apps/web/prod-eu")], "its path is apps/web/prod-eu"),
        (VALUES, "Directory", [source("apps/web/prod")], "its path is apps/web/prod"),
        (VALUES, "Directory", [source("apps/web")], "it reads apps/web without the folders in it"),
        (
            VALUES,
            "Helm",
            [source("apps/web/production", targetRevision="release")],
            "it follows release",
        ),
        (VALUES, "Helm", [source("apps/web/production", targetRevision="v1.0")], "it follows v1.0"),
        (
            VALUES,
            "Helm",
            [source("x", repoURL="https://git.example/other")],
            "its repository is https",
        ),
        (VALUES, "Helm", [CHART], "it takes the chart web from https://charts.example"),
        (VALUES, "", [CHART, source(ref="v")], "it takes from the source v no such file"),
        (
            VALUES,
            "",
            [
                {**CHART, "helm": {"valueFiles": ["$v/apps/web/staging/values.yaml"]}},
                source(ref="v"),
            ],
            "it takes from the source v no such file",
        ),
        (
            "apps/web/production/values-eu.yaml",
            "Helm",
            [source("apps/web/production", helm={"valueFiles": ["values-us.yaml"]})],
            "it takes values from apps/web/production/values-us.yaml",
        ),
        ("apps/web/other.yaml", "Kustomize", [source("apps/web/production")], "its path is"),
        (
            "apps/web/x.yaml",
            "Kustomize",
            [source("apps/web/broken")],
            "its path is apps/web/broken",
        ),
        (
            "apps/web/base/x.yaml",
            "Directory",
            [source("apps/web/base", directory={"exclude": "{x,y}.yaml"})],
            "leaves the file out",
        ),
        (
            "apps/web/base/x.yaml",
            "",
            [source("apps/web/base", directory={"include": "y*"})],
            "leaves the file out",
        ),
        (VALUES, "", [{}], "it names no source"),
    ],
)
def test_why_a_file_is_not_read(git, file: str, kind: str, sources: list[Any], why: str) -> None:
    """Another path, branch, repository or value file: each is said in words."""
    assert why in said(git, file, *sources, kind=kind)


def looked_at(git: tuple[Git, str], *sources: Any, kind: str = "") -> tuple[Any, Any]:
    """Places that an Application of these sources reads, and what of them nobody can look at."""
    reader, tip = git
    application = {
        "metadata": {"name": "web"},
        "spec": {"sources": list(sources)},
        "status": {"sourceTypes": [kind] * len(sources)},
    }
    origin = origin_of(reader, "config", REPOSITORY, sources)
    about = {"origin": origin, "repository": "config", "tip": tip}
    found = reads(reader, application, sources, **about)
    return found.places, found.hidden


def test_an_application_of_the_whole_repository_is_bound_to_all_of_it(git) -> None:
    """Its path is the repository's own folder: every file counts."""
    for path in (".", "./", ""):
        places, hidden = looked_at(git, {**source(), "path": path}, source("apps/web/base"))
        assert (places, len(hidden)) == (("",), 1), "the link out of it is named"
    reader, tip = git
    bound = bound_folders(reader, "config", tip, places)
    assert bound != bound_folders(reader, "config", tip, ["apps"])
    assert set(reader.blobs("config", tip, "")) == set(FILES)
    # A source that only lends its files is no folder.
    assert looked_at(git, source(ref="v"), source("apps/web/base"))[0][0] == "apps/web/base"


def test_what_nobody_can_look_at_is_named(git) -> None:
    """Remote bases of a kustomization, plugins, libraries: whoever approves a sync is told that they were not read."""
    _, hidden = looked_at(git, source("apps/web/remote"), kind="Kustomize")
    file = "apps/web/remote/kustomization.yaml"
    assert tuple(sorted(hidden)) == tuple(
        f"{name}, which {file} names"
        for name in ("../../../../out", "git@github.com:o/r", "github.com/o/r//base?ref=v1", "https://x.example/a.yaml")
    )  # fmt: skip
    assert looked_at(git, source("a", plugin={"name": "p"}))[1] == ("a plugin in a",)
    assert looked_at(git, source("a"), kind="Plugin")[1] == ("a plugin in a",)
    libraries = {"jsonnet": {"libs": ["lib"]}}
    assert looked_at(git, source("a", directory=libraries)) == (
        ("a", "lib", ".gitattributes"),
        (),
    ), "bound as any other"
    assert looked_at(git, source("apps/web/production"), kind="Kustomize")[1] == ()


@pytest.mark.parametrize(
    ("sources", "kind", "places", "hidden"),
    [
        ([source("apps/over")], "Helm", {"apps/over", "shared/all.yaml", "shared/one.txt"}, ()),
        (
            [source("apps/odd")],
            "",
            {""},
            (
                "apps/odd/.argocd-source.yaml, which cannot be read",
                "../../../../etc/passwd, which the link apps/linked/out.yaml leads to",
            ),
        ),
        (
            [source("apps/chart")],
            "Helm",
            {"apps/chart", "lib/common", "lib/deep"},
            ("chart redis 1.2.3 of https://charts.example, which apps/chart/Chart.yaml names",),
        ),
        (
            [source("apps/linked")],
            "Directory",
            {"apps/linked", "shared/all.yaml", "shared/one.txt"},
            ("../../../../etc/passwd, which the link apps/linked/out.yaml leads to",),
        ),
        (
            [source("apps/sonnet")],
            "Directory",
            {"apps/sonnet", "lib/l.libsonnet", "shared/m.libsonnet"},
            (),
        ),
        (
            [source("apps/web/base", kustomize={"components": ["../../../versions/production"]})],
            "Kustomize",
            {"apps/web/base", "apps/web/production", "versions/production", "apps/web/settings.yaml"},
            (),
        ),
    ],
)  # fmt: skip
def test_every_place_that_its_files_name_is_bound(git, sources, kind, places, hidden) -> None:
    """Override files, dependencies of a chart, links, imports, components: what they lead to comes into force with a sync."""
    found, unseen = looked_at(git, *sources, kind=kind)
    assert {place for place in found if not place.endswith((".yaml", ".txt"))} >= {
        place for place in places if not place.endswith((".yaml", ".txt"))
    }
    assert set(places) <= set(found), found
    assert unseen == hidden
