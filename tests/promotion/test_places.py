"""What an Application reads of a repository, also where a file says it in a way that is not known: then all of it counts."""

from __future__ import annotations

import posixpath
import subprocess
from pathlib import Path

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.argo.sources import Origin
from gitops_nb.errors import UnavailableError
from gitops_nb.promotion.pending import bound_folders
from gitops_nb.promotion.places import Reads, is_manifest, reads

URL = "https://git.example/c.git"
ORIGIN = Origin((URL,), ("main",))
OWN = "apps/x/production"
K = f"{OWN}/kustomization.yaml"
CHART = f"{OWN}/Chart.yaml"
DEPENDENCY = (
    "name: x\ndependencies: [{name: redis, version: '*', repository: 'https://charts.example'}]\n"
)
EVERYTHING = ("",)
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: x}\n"


def repository(base: Path, files: dict[str, str | bytes]) -> tuple[Git, str]:
    """A repository with these files, and its tip."""
    work = base / "work"
    work.mkdir()
    for path, text in {"unrelated/file.yaml": "a: b\n", **files}.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return committed(base)


def committed(base: Path) -> tuple[Git, str]:
    """All that lies in the work tree as one more commit."""
    work = base / "work"
    who = ("-c", "user.name=t", "-c", "user.email=t@x.example")
    for argv in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "x")):
        subprocess.run(("git", *argv), cwd=work, check=True)
    git = Git(
        {"c": Remote(f"file://{work}", "main")},
        cache=base / "cache",
        processes=LocalProcesses(),
        author=("t", "t@x.example"),
    )
    return git, git.tip("c", "main")


def read(base: Path, files: dict[str, str | bytes], kind: str, **source: object) -> Reads:
    """What an Application of one source reads."""
    git, tip = repository(base, files)
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN, **source}
    application = {"metadata": {"name": "x-production"}, "status": {"sourceType": kind}}
    return reads(git, application, (own,), origin=ORIGIN, repository="c", tip=tip)


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("Kustomize", {K: "%YAML 1.1\n---\nresources: [../../a]\n"}),
        ("Kustomize", {K: "resources: [../../a]\n".encode("utf-16")}),
        ("Kustomize", {K: "resources: []\n---\nresources: [../../a]\n"}),
        ("Kustomize", {K: "[a list]\n"}),
        ("Helm", {CHART: "%YAML 1.1\n---\nname: x\n"}),
        ("Helm", {CHART: "[a list]\n"}),
        ("Helm", {CHART: "name: x\nDependencies: [{name: y, repository: 'file://../../../y'}]\n"}),
        ("Helm", {CHART: "name: x\ndependencies: [{name: y, Repository: 'file://../../../y'}]\n"}),
        ("", {f"{OWN}/.argocd-source.yaml": "Helm: {valueFiles: [../../../y.yaml]}\n"}),
        ("", {f"{OWN}/.argocd-source.yaml": "helm: {ValueFiles: [../../../y.yaml]}\n"}),
    ],
)
def test_a_file_that_cannot_be_read_may_name_anything(tmp_path, kind, files):
    """Another reader takes it: it is named, and everything is bound and shown."""
    found = read(tmp_path, files, kind)
    (path,) = files
    assert found.places == EVERYTHING
    assert found.hidden == (f"{path}, which cannot be read",)


@pytest.mark.parametrize(
    "kustomization",
    [
        "somethingNew: [../../a]\n",
        "helmCharts: [{name: a, somethingNew: ../b}]\n",
        "helmGlobals: {somethingNew: ../b}\n",
        "Resources: [../../a]\n",
        "patches: [{Path: ../../a.yaml}]\n",
        "patches: [{pat\u017f: ../../a.yaml, Path: x.yaml}]\n",
        "configMapGenerator: [{name: a, Files: [../../a]}]\n",
        "secretGenerator: [{name: a, ENVS: [../../a]}]\n",
        "replacements: [{pATH: ../../a}]\n",
    ],
)
def test_what_is_not_known_may_name_anything(tmp_path, kustomization):
    """A field of a later kustomize, and one in other letters, which Go's reader takes for the same."""
    assert read(tmp_path, {K: kustomization}, "Kustomize").places == EVERYTHING


@pytest.mark.parametrize("part", ["generators", "transformers", "validators"])
def test_programs_may_read_anything(tmp_path, part):
    """Which files a transformer patches with stands in its own file, or in the program."""
    found = read(tmp_path, {K: f"{part}: [t.yaml]\n", f"{OWN}/t.yaml": "kind: X\n"}, "Kustomize")
    assert found.places == EVERYTHING
    assert found.hidden == (f"what the {part} of {K} do",)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("../../../values/$ARGOCD_APP_NAME.yaml", ()),
        ("/values/${ARGOCD_APP_NAME}.yaml", ()),
        ("$ARGOCD_APP_NAME.yaml", ()),
        ("../../../values/*.yaml", ()),
    ],
)
def test_a_value_file_with_a_variable_may_be_any(tmp_path, name, hidden):
    """Argo CD puts the Application's name, path or revision in."""
    found = read(tmp_path, {CHART: "name: x\n"}, "Helm", helm={"valueFiles": [name]})
    assert (found.places, found.hidden) == (EVERYTHING, hidden)


def test_a_value_file_elsewhere_is_named(tmp_path):
    """Nobody looks at what lies at an address."""
    values = "https://values.example/v.yaml"
    found = read(tmp_path, {CHART: "name: x\n"}, "Helm", helm={"valueFiles": [values]})
    assert found.places == (OWN, ".gitattributes")
    assert found.hidden == (f"{values}, which the Application names",)


@pytest.mark.parametrize(
    "text",
    [
        "import /* x */ '../../a.libsonnet'",
        "import // x\n '../../a.libsonnet'",
        "import |||\n  ../a\n|||",
        r"import '..\u002f..\u002fa.libsonnet'",
        r'import "..\/../a.libsonnet"',
    ],
)
def test_an_import_that_is_not_understood_may_be_of_any_file(tmp_path, text):
    """Comments between, text blocks, escapes."""
    assert read(tmp_path, {f"{OWN}/a.jsonnet": text}, "Directory").places == EVERYTHING


@pytest.mark.parametrize("part", ["tlas", "extVars"])
def test_code_that_the_application_hands_in_may_import_any_file(tmp_path, part):
    """Where its imports are looked for is the program's affair."""
    given = {part: [{"name": "x", "code": True, "value": "import 'a/b.libsonnet'"}]}
    found = read(tmp_path, {f"{OWN}/a.jsonnet": "{}"}, "Directory", directory={"jsonnet": given})
    assert found.places == EVERYTHING


@pytest.mark.parametrize("kind", ["Helm", "Kustomize", ""])
def test_imports_are_followed_whatever_the_folder_was_before(tmp_path, kind):
    """Argo CD says what kind it found at its last comparison; at this commit it is a folder with Jsonnet."""
    found = read(tmp_path, {f"{OWN}/a.jsonnet": "import '../l.libsonnet'"}, kind)
    assert "apps/x/l.libsonnet" in found.places


def test_imports_are_looked_for_in_the_libraries_too(tmp_path):
    """Beside the file, and in each library."""
    files = {f"{OWN}/a.jsonnet": "import '../l.libsonnet'", "lib/l.libsonnet": "{}"}
    found = read(tmp_path, files, "Directory", directory={"jsonnet": {"libs": ["lib/vendor"]}})
    assert set(found.places) >= {OWN, "lib/l.libsonnet", "apps/x/l.libsonnet", "lib/vendor"}


@pytest.mark.parametrize(
    ("files", "source", "places"),
    [
        ({K: "helmGlobals: {chartHome: ../../../charts}\nhelmCharts: [{name: s}]\n"}, {}, {"charts"}),
        ({K: "helmGlobals: {chartHome: ../../../charts}\nhelmCharts: [{name: ../lib}]\n"}, {}, {"charts", "lib"}),
        ({K: "helmCharts: [{name: s, repo: 'https://c.example'}]\n"}, {}, {OWN}),
        ({K: "openapi: {path: ../../schema.json}\n"}, {}, {"apps/schema.json"}),
        ({K: ""}, {"kustomize": {"patches": [{"path": "../../patch.yaml"}]}}, {"apps/patch.yaml"}),
        ({K: "patches: [../../patch.yaml]\n"}, {}, {"apps/patch.yaml"}),
        ({K: "patchesStrategicMerge: ['kind: X\n\n  a: b']\n"}, {}, {OWN}),
    ],
)  # fmt: skip
def test_what_is_named_is_followed(tmp_path, files, source, places):
    """Homes of charts, schemas, patches of the Application itself."""
    found = read(tmp_path, {k: v or "resources: []\n" for k, v in files.items()}, "Kustomize", **source)  # fmt: skip
    assert places <= set(found.places), found
    assert found.places != EVERYTHING


@pytest.mark.parametrize(
    ("held", "is_named"),
    [
        ("charts/redis-notes/README", True),
        ("charts/redis-notes.tgz", True),
        ("charts/redis/README", True),
        ("charts/redis/Chart.yaml", False),
        ("charts/redis-1.2.3.tgz", False),
        ("charts/redis-v1.2.3-rc.1.tgz", False),
    ],
)
def test_a_chart_that_is_packed_beside_is_no_other(tmp_path, held, is_named):
    """A folder whose name only begins alike hides no chart of another repository."""
    found = read(tmp_path, {CHART: DEPENDENCY, f"{OWN}/{held}": "x\n"}, "Helm")
    assert bool(found.hidden) is is_named, found


def test_a_way_through_a_link_is_followed(tmp_path):
    """Git knows no path behind a link: the link and what it leads to are both places."""
    (tmp_path / "work/apps/shared").mkdir(parents=True)
    (tmp_path / "work/apps/link").symlink_to("shared")
    (tmp_path / "work/apps/shared/a.yaml").write_text("kind: X\n")
    work = tmp_path / "work" / OWN
    work.mkdir(parents=True)
    (work / "kustomization.yaml").write_text("resources: [../../link/a.yaml]\n")
    git, tip = committed(tmp_path)
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN}
    application = {"metadata": {"name": "x"}, "status": {"sourceType": "Kustomize"}}
    found = reads(git, application, (own,), origin=ORIGIN, repository="c", tip=tip)
    assert set(found.places) >= {"apps/link", "apps/shared"}


def test_names_that_are_no_text_are_two_names(tmp_path):
    """A change of the second one is a change; a name that is the written out one of another file is refused."""
    odd = [f"{OWN}/role".encode() + byte + b".yaml" for byte in (b"\xff", b"\xfe")]
    git, first = repository(tmp_path, {f"{OWN}/a.yaml": "a\n"})
    for name in odd:
        (tmp_path / "work").joinpath(name.decode("utf-8", "surrogateescape")).write_text(
            "harmless\n"
        )
    git, first = committed(tmp_path)
    (tmp_path / "work").joinpath(odd[1].decode("utf-8", "surrogateescape")).write_text("admin\n")
    _, second = committed(tmp_path)
    git.resolve("c", second)
    bound = [bound_folders(git, "c", commit, (OWN,)) for commit in (first, second)]
    assert bound[0] != bound[1]
    (tmp_path / "work" / OWN / "role\\xff.yaml").write_text("another\n")
    _, third = committed(tmp_path)
    with pytest.raises(UnavailableError, match="two files"):
        git.blobs("c", third, OWN)


@pytest.mark.parametrize(
    "name", ["base.io/", "base.io/deep", "a@b/..", "base.io/../../../../shared"]
)
def test_what_lies_there_is_no_address(tmp_path, name):
    """A folder whose name looks like a host's is followed, shown and bound as any other."""
    at = posixpath.normpath(f"{OWN}/{name}")
    files = {
        K: f"resources: ['{name}']\n",
        f"{at}/kustomization.yaml": "resources: [../far/x.yaml]\n",
    }
    found = read(tmp_path, files, "Kustomize")
    assert found.hidden == ()
    assert posixpath.normpath(f"{at}/../far/x.yaml") in {*found.places, *found.named}


def test_an_address_is_bound_to_having_nothing_there(tmp_path):
    """A folder of that name that somebody pushes after the plan would be taken: it makes the plan stale."""
    git, tip = repository(tmp_path, {K: "resources: ['base.io/x']\n"})
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN}
    found = reads(git, {}, (own,), origin=ORIGIN, repository="c", tip=tip)
    before = bound_folders(git, "c", tip, found.places)
    (tmp_path / "work" / OWN / "base.io/x").mkdir(parents=True)
    (tmp_path / "work" / OWN / "base.io/x/kustomization.yaml").write_text("resources: []\n")
    git, tip = committed(tmp_path)

    assert found.hidden == (f"base.io/x, which {K} names",)
    assert bound_folders(git, "c", tip, found.places) != before


MADE = "secretGenerator: [{name: s, files: [s.yaml]}]\n"


@pytest.mark.parametrize(
    ("more", "files", "source"),
    [
        ("resources: [s.yaml]\n", {}, {}),
        ("patches: [{path: s.yaml}]\n", {}, {}),
        ("patchesStrategicMerge: [./s.yaml]\n", {}, {}),
        ("configMapGenerator: [{name: c, files: [x=s.yaml]}]\n", {}, {}),
        ("helmCharts: [{name: c, valuesFile: s.yaml}]\n", {}, {}),
        ("openapi: {path: s.yaml}\n", {}, {}),
        ("resources: [l.yaml]\n", {f"{OWN}/l.yaml": "link:s.yaml"}, {}),
        (
            "resources: [../base]\n",
            {"apps/x/base/kustomization.yaml": "resources: [../production/s.yaml]\n"},
            {},
        ),
        ("", {}, {"kustomize": {"patches": [{"path": "s.yaml"}]}}),
        ("", {}, {"helm": {"valueFiles": ["s.yaml"]}}),
        ("", {CHART: "name: x\n"}, {}),
        ("wholly: new\n", {}, {}),
        ("replacements: [{source: {kind: Secret, name: s}, targets: []}]\n", {}, {}),
        ("vars: [{name: V, objref: {kind: Secret, name: s, apiVersion: v1}}]\n", {}, {}),
    ],
)
def test_what_a_secret_and_something_else_is_made_of_is_shown(tmp_path, more, files, source):
    """A file that is nothing but a Secret's source is hidden; one that anything else reads is not."""
    base = {K: MADE + more, f"{OWN}/s.yaml": "a: b\n"}
    work = tmp_path / "work"
    links = {
        path: text.removeprefix("link:") for path, text in files.items() if text[:5] == "link:"
    }
    work.mkdir()
    for path, target in links.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).symlink_to(target)
    for path, text in {**base, **{p: t for p, t in files.items() if p not in links}}.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    git, tip = committed(tmp_path)
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN, **source}
    found = reads(git, {}, (own,), origin=ORIGIN, repository="c", tip=tip)

    assert found.secret == ()


def test_what_a_secret_alone_is_made_of_is_hidden(tmp_path):
    """The plain layout: files and variables for a Secret, beside other resources."""
    made = "resources: [d.yaml]\nsecretGenerator: [{name: s, files: [k=s.yaml], envs: [e.env]}]\n"
    files = {K: made, f"{OWN}/s.yaml": "a", f"{OWN}/e.env": "A=b", f"{OWN}/d.yaml": "kind: Pod\n"}

    assert read(tmp_path, files, "Kustomize").secret == (f"{OWN}/s.yaml", f"{OWN}/e.env")


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (f"{OWN}/templates/a.yaml", True),
        (f"{OWN}/charts/sub/templates/a.yaml", True),
        (f"{OWN}/crds/a.yaml", True),
        (f"{OWN}/values.yaml", False),
        (f"{OWN}/files/templates/a.yaml", False),
        (f"{OWN}/charts/sub/values.yaml", False),
        ("envs/production.yaml", False),
        ("apps/y/secret.yaml", True),
    ],
)
def test_files_of_a_chart_are_values_but_for_its_templates(tmp_path, path, is_one):
    """What a chart may read is no object, whatever it looks like."""
    files = {CHART: "name: x\n", "envs/production.yaml": "a: b\n"}
    found = read(tmp_path, files, "Helm", helm={"valueFiles": ["/envs/production.yaml"]})

    assert is_manifest(path, b"a: b\n", found.values, found.charts) is is_one
    assert not is_manifest(f"{OWN}/templates/a.yaml", b"a: {{ .b }}\n", (), found.charts)


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("resources: [r.yaml]\npatches: [{path: s.yaml, target: {kind: ConfigMap}}]\n", {}),
        ("resources: [r.yaml]\npatches: [s.yaml]\n", {}),
        ("resources: [r.yaml, s.yaml]\nconfigMapGenerator: [{name: a, files: [s.yaml]}]\n", {}),
        ("resources: [r.yaml, s.yaml]\nreplacements: [{path: p.yaml}]\n", {}),
        ("resources: [r.yaml, s.yaml]\nvars: [{name: X}]\n", {}),
        ("resources: [r.yaml, s.yaml]\ntransformers: [t.yaml]\n", {}),
        ("resources: [r.yaml]\n", {"kustomize": {"patches": [{"path": "s.yaml"}]}}),
    ],
)
def test_a_secrets_value_that_goes_into_other_objects_is_shown(tmp_path, said, source):
    """A patch for something else, a copy: who signs has to read it. A resource that stays a Secret is masked."""
    git, tip = repository(tmp_path, {K: said, f"{OWN}/s.yaml": SECRET, f"{OWN}/r.yaml": SECRET})
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN, **source}
    found = reads(git, {}, (own,), origin=ORIGIN, repository="c", tip=tip)
    plain = (*found.values, *found.parts)
    assert not is_manifest(f"{OWN}/s.yaml", SECRET.encode(), plain, found.charts)
    is_copied = "" in found.parts
    assert is_manifest(f"{OWN}/r.yaml", SECRET.encode(), plain, found.charts) is not is_copied


def test_attributes_above_a_folder_are_bound_to_it(tmp_path):
    """A checkout is what they make of a file: one that comes later makes the plan stale, one that rewrites files is named."""
    git, tip = repository(tmp_path, {K: "resources: []\n"})
    own = {"repoURL": URL, "targetRevision": "main", "path": OWN}
    found = reads(git, {}, (own,), origin=ORIGIN, repository="c", tip=tip)
    before = bound_folders(git, "c", tip, found.places)
    for folder in ("", "apps", "apps/x"):
        path = tmp_path / "work" / folder / ".gitattributes"
        path.write_text(f"{OWN}/*.yaml working-tree-encoding=ASCII//TRANSLIT\n")
        git, tip = committed(tmp_path)
        assert bound_folders(git, "c", tip, found.places) != before, folder
        now = reads(git, {}, (own,), origin=ORIGIN, repository="c", tip=tip)
        name = posixpath.join(folder, ".gitattributes")
        assert f"what {name} makes of files that are checked out" in now.hidden
        assert name in now.places
        path.unlink()
        git, tip = committed(tmp_path)
    (tmp_path / "work/unrelated/.gitattributes").write_text("* text\n")
    git, tip = committed(tmp_path)
    assert bound_folders(git, "c", tip, found.places) == before


@pytest.mark.parametrize("path", [K, CHART, f"{OWN}/.argocd-source.yaml"])
def test_aliases_of_aliases_are_looked_at_once(tmp_path, path):
    """Sixty levels of two are more than anybody could walk, and the odd key below them is found all the same."""
    levels = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    for key, is_odd in (("path", False), ("Path", True)):
        base = tmp_path / key
        base.mkdir()
        text = f"a0: &a0 {{{key}: x}}\n{levels}"
        if path == K:
            text = f"commonAnnotations:\n{text}".replace("\na", "\n  a")
        assert (read(base, {path: text}, "").places == EVERYTHING) is is_odd
