"""Files are read as Kubernetes reads them, and DORA and promotions read the same."""

from __future__ import annotations

import contextlib

import pytest

from gitops_nb.catalog.argocd_settings import settings_problems
from gitops_nb.dora.collect import VersionSource, from_history
from gitops_nb.dora.collectors.version import read_version
from gitops_nb.edits import edit_scalar, kubernetes_objects, parse_key, read_part, read_scalar
from gitops_nb.edits.keys import show
from gitops_nb.errors import UsageError
from gitops_nb.ports import FileChange
from gitops_nb.sandbox.repositories import Repositories
from tests.adapters.test_git import git

LABELS = b"""\
metadata:
  labels:
    app.kubernetes.io/version: v1
    "it's [a] \\"key\\"": v2
    a/b: v3
items:
  - {app.io/name: x.y, tag: v4}
  - {app.io/name: "]", tag: v5}
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ('metadata.labels."app.kubernetes.io/version"', "v1"),
        ("metadata.labels['app.kubernetes.io/version']", "v1"),
        ('metadata["labels"]["app.kubernetes.io/version"]', "v1"),
        ('metadata.labels."it\'s [a] \\"key\\""', "v2"),
        ("metadata.labels.'it''s [a] \"key\"'", "v2"),
        ("metadata.labels.a/b", "v3"),
        ('items["app.io/name"=x.y].tag', "v4"),
        ("items['app.io/name'=\"]\"].tag", "v5"),
        (".items[0].tag", "v4"),
    ],
)
def test_keys_with_dots_and_slashes_are_named_in_quotes(key, value):
    """Read by promotions and DORA alike, and edited."""
    assert read_part(LABELS, key, "value") == value
    assert read_version(LABELS, key=key, part="value") == (value, "")
    assert edit_scalar(LABELS, key, "value", "v9") == LABELS.replace(value.encode(), b"v9")


@pytest.mark.parametrize("path", [("a", 0, "b.c"), ("it's", '"q"', "[0]"), ("", "x\\y", 3), ("a=b",)])  # fmt: skip
def test_a_shown_path_is_parsed_again(path):
    """What a message names can be written into fleet.yaml."""
    steps = parse_key(show(path))
    assert tuple(getattr(step, "name", getattr(step, "index", None)) for step in steps) == path


@pytest.mark.parametrize(
    "key", ["", "a..b", "a.", "a[", "a[x]", 'a."b', "a.'b'c", "a[0]b", "[=x]", 'a[""b]', "a b.]"]
)
def test_what_is_no_key_path_is_refused(key):
    """With how to write one."""
    with pytest.raises(UsageError, match="is not a key path"):
        parse_key(key)


@pytest.mark.parametrize(
    ("content", "key", "part", "value"),
    [
        ("image:\tr/c:v1\t# c\n", "image", "tag", "v1"),
        ("{\n\t\"image\": \"r\\/c:v1\"\n}", "image", "tag", "v1"),
        ('{"image": "\\ud83d\\ude00:v1"}', "image", "tag", "v1"),
        ("base: &b {image: r/c:v1}\nprod:\n  <<: *b\n", "prod.image", "tag", "v1"),
        ("prod:\n  <<: [{z: 1}, {image: r/c:v1}, {image: r/c:v0}]\n", "prod.image", "tag", "v1"),
        ("a: &i r/c:v1\nimage: *i\n", "image", "tag", "v1"),
        ("image: !env r/c:v1\nb: !local [x]\n", "image", "tag", "v1"),
        ("tag: !!str 1.10\n", "tag", "value", "1.10"),
        ("image: r/c@sha256:0a1b\n", "image", "tag", "sha256:0a1b"),
        ("image: r/c:v1@sha256:0a1b\n", "image", "tag", "v1@sha256:0a1b"),
        ("tag: 1.10\n", "tag", "value", "1.10"),
        ("a: 1\n---\ntag: v1\n", "tag", "value", "v1"),
        ("a: 1\n--- # c\ntag: v1\n...\n", "tag", "value", "v1"),
        ("on: v1\n", "on", "value", "v1"),
    ],
)  # fmt: skip
def test_promotions_and_dora_read_the_same(content, key, part, value):
    """One reader: tabs, JSON, merge keys, aliases, tags, digests, documents."""
    assert read_part(content.encode(), key, part) == value
    assert read_version(content.encode(), key=key, part=part) == (value, "")


@pytest.mark.parametrize(
    "content",
    ["tag: v1\ntag: v2\n", "tag: v1\n---\ntag: v2\n", "tag: [v1]\n", "tag: |\n  v1\n", "tag: *x\n", "\ttag: v1\n",
     "tag: &x [*x]\n", "tag: !!binary djE=\n", "tag: v1\n--- x\n", "tag: v1\n...\nx: 1\n", "tag:\n", "tag: ~\n"],
)  # fmt: skip
def test_what_one_refuses_the_other_refuses(content):
    """Neither observes a version where the other finds none."""
    version, problem = read_version(content.encode(), key="tag", part="value")
    assert version == ""
    assert problem
    with contextlib.suppress(UsageError):
        assert read_part(content.encode(), "tag", "value") == ""


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("a: {p: 5, <<: {p: 1, q: 2}}\n", [{"a": {"p": 1, "q": 2}}]),
        ("a: {<<: {p: 1, q: 2}, p: 5}\n", [{"a": {"p": 5, "q": 2}}]),
        ("a: 1\na: 2\n", [{"a": 2}]),
        ("yes: 1\n1.10: 2\n1e6: 3\n0x10: 4\n", [{"true": 1, "1.1": 2, "1e+06": 3, "16": 4}]),
        ("a: !env 12\nb: !!binary aGk=\nc: !!float 3\n", [{"a": "12", "b": "hi", "c": 3.0}]),
        ("a: 2026-01-01\nb: 12:30\nc: 1e400\n", [{"a": "2026-01-01", "b": "12:30", "c": "1e400"}]),
        ("a: |\n  x", [{"a": "x\n"}]),
        ("# nothing\n---\n---\na: 1\n", [{"a": 1}]),
        ("a: &m {x: &m v1}\nb: *m\n", [{"a": {"x": "v1"}, "b": "v1"}]),
    ],
)
def test_values_are_those_of_kubernetes(content, values):
    """As kubectl prints them; recorded with sigs.k8s.io/yaml 1.4.0 and kubectl 1.32."""
    assert list(kubernetes_objects(content.encode())) == values


@pytest.mark.parametrize(
    ("text", "otherwise"),
    [("1.10", "number 1.1"), ("0123", "number 83"), ("on", "yes or no true"), ("1e3", "number 1000"),
     ("21", ""), ("v1", ""), ('"1.10"', ""), ("12:30", ""), ("", "")],
)  # fmt: skip
def test_a_text_that_kubernetes_reads_otherwise_says_so(text, otherwise):
    """What runs is then not what is written."""
    found = read_scalar(f"tag: {text}\n".encode(), "tag").reads_otherwise
    assert found.endswith(otherwise)
    assert bool(found) is bool(otherwise)


def test_manifests_of_bootstrap_sandbox_and_settings_are_read_so_too(tmp_path):
    """Octal numbers, dates, words and unknown tags are what Kubernetes makes of them, wherever objects are read."""
    content = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {since: 2026-01-01, mode: 0o644, at: 12:30, y: !env 1}\n"
    data = {"since": "2026-01-01", "mode": 420, "at": "12:30", "true": "1"}
    folder = tmp_path / "r.git"
    git("init", "-q", "-b", "main", str(tmp_path / "w"), cwd=tmp_path)
    (tmp_path / "w/apps").mkdir()
    (tmp_path / "w/apps/x.yaml").write_bytes(content)
    git("add", ".", cwd=tmp_path / "w")
    git("commit", "-q", "-m", "x", cwd=tmp_path / "w")
    git("clone", "-q", "--bare", str(tmp_path / "w"), str(folder), cwd=tmp_path)
    (found,) = Repositories({"u": folder}).manifests("u", git("rev-parse", "main", cwd=folder), "apps")  # fmt: skip
    assert found["data"] == data
    assert list(settings_problems({"url": "https://x", "oidc.config": "issuer: https://i\nclientID:\tc\n"})) == []  # fmt: skip


def test_a_link_in_a_history_is_left_out_by_its_name():
    """DORA's ledger says that it is one, and takes no version from it."""
    source = VersionSource("config", "main", "apps/{service}/{environment}/v.yaml", "tag")
    changes = [FileChange("a" * 40, 1, 1, f"apps/{name}/prod/v.yaml", status, None) for name, status in (("x", "L"), ("y", "S"))]  # fmt: skip
    table, left_out = from_history(changes, source, environments=("prod",), now_s=10)
    assert len(table) == 0
    assert [(each.service, each.reason) for each in left_out] == [
        ("x", "a symbolic link, not a file"),
        ("y", "a submodule, not a file"),
    ]


@pytest.mark.parametrize(
    "line", ["---#: 1", "---# x", "---\u00a0", "---\u00a0# x", "--- \u00a0#x: 1"]
)
def test_what_divides_for_kubernetes_alone_is_refused(line):
    """It would be two objects there, and one to whoever is shown the file."""
    text = f"kind: ConfigMap\ndata: {{a: b}}\n{line}\nkind: Secret\n"
    with pytest.raises(UsageError):
        kubernetes_objects(text.encode())
