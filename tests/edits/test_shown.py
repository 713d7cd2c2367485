"""What people are shown of two files: every difference, and no value of a Secret."""

from __future__ import annotations

import pytest

from gitops_nb.edits import Masks, diff, without_secret_values

SECRET = b"""kind: Secret
apiVersion: v1
metadata: {name: a}
data:
  password: aHVudGVyMg==
  more: &shared |
    hunter2
stringData: {token: 'hunter2', "again": *shared}
---
kind: ConfigMap
data: {mode: hunter-free}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"# a\x0cb\n", b"# a\nb\n"),
        (b"a\r\n", b"a\n"),
        (b"a\x1cb\n", b"a\nb\n"),
        ("a\u2028b\n".encode(), b"a\nb\n"),
        (b"a\x85b\n", b"a\x86b\n"),
        (b"a\n", b"a"),
        (b"a", b"a\n"),
        (b"a\n", b"a\n\n"),
        (b"", b"\n"),
        (b"\xff\n", b"\xfe\n"),
        (b"a\x00\n", b"a\n"),
    ],
)
def test_files_that_differ_have_a_difference(before, after):
    """Whatever ends a line elsewhere, is no UTF-8 or cannot be seen: it is written out."""
    changed = [line for line in diff(before, after) if line.sign != " "]
    assert changed
    assert all(line.text.isprintable() for line in changed), changed
    assert diff(before, before) == ()


def test_a_file_of_equal_lines_is_compared_by_its_ends():
    """Whoever pushes a file chooses how often a line repeats: nothing is cut, and nobody waits."""
    before = b"first\n" + b"- a\n" * 4000 + b"last\n"
    after = b"first\n" + b"- a\n- b\n" * 4000 + b"last\n"
    found = diff(before, after)
    assert sum(line.sign == "-" for line in found) <= 4000
    assert sum(line.text == "- b" and line.sign == "+" for line in found) == 4000
    assert diff(b"- a\n" * 9000, b"- a\n" * 9001)[-1].sign == "+"
    assert diff(before, before) == ()


def test_values_of_secrets_are_masked_and_their_change_shows():
    """At whatever depth, in every style; everything else of the file stays as it is."""
    masks = Masks()
    shown = without_secret_values(SECRET, masks)
    assert b"hunter2" not in shown
    assert b"aHVudGVyMg" not in shown
    assert b"hunter-free" in shown
    assert shown.count(b"(a Secret's value, number ") >= 3
    changed = without_secret_values(SECRET.replace(b"aHVudGVyMg==", b"b3RoZXI="), masks)
    (gone, come) = (line for line in diff(shown, changed) if line.sign != " ")
    assert gone.text != come.text
    assert "password" in gone.text


@pytest.mark.parametrize(
    "text",
    [
        b"kind: List\nitems:\n  - kind: Secret\n    data: {p: hunter2}\n",
        b'{"kind": "Secret", "stringData": {"p": "hunter2"}}\n',
        b"kind: Secret\nstringData:\n  - [hunter2, {p: hunter2}]\n",
        b"kind: Secret\nmetadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2}}\n",
        b"kind: !!str Secret\nstringData: {p: hunter2}\n",
        b"kind: &kind Secret\nstringData: {p: hunter2}\n",
        b"kind: # c\n  Secret\nstringData: {p: hunter2}\n",
        b'kind: "Sec\\\n  ret"\nstringData: {p: hunter2}\n',
        b'{"kind": "List", "items": [{"kind": "\\u0053ecret", "stringData": {"p": "hunter2"}}]}',
        b'"\\u006bind": Secret\n"string\\u0044ata": {p: hunter2}\n',
        b"kind: List\na: &k Secret\nitems: [{kind: *k, stringData: {p: hunter2}}]\n",
        b"kind: List\nx: &x\n  kind: Secret\n  data: {p: hunter2}\nitems:\n- <<: *x\n",
        b"base: &b {p: hunter2}\nkind: Secret\nstringData:\n  <<: *b\n",
        b"kind: Secret\nstringData: {p: hunter2}\nstringData: {p: b}\n",
        b"kind: SecretList\nitems: [{stringData: {p: hunter2}}]\n",
        b"kind: Secret\nstringData:\n  # it was hunter2\n  p: b # and hunter2\n",
        b"secretGenerator: [{name: a, literals: [p=hunter2]}]\n",
        b"kind: SecretGenerator\nliterals: [p=hunter2]\n",
        b"%YAML 1.1\n---\nkind: Secret\nstringData: {p: hunter2}\n",
        "kind: Secret\nstringData: {p: hunter2}\n".encode("utf-16"),
    ],
)
def test_no_layout_of_a_secret_shows_it(text):
    """Lists, JSON, odd shapes."""
    assert b"hunter2" not in without_secret_values(text, path="kustomization.yaml")


POD = b"spec: {hostPID: true, containers: [{image: evil.example/backdoor}]}"


@pytest.mark.parametrize(
    "text",
    [
        # A later key of the same name wins.
        b"kind: Secret\nkind: ConfigMap\ndata: {mapRoles: evil.example}\n",
        # A list of Secrets may hold what is none.
        b"kind: SecretList\nitems: [{kind: ConfigMap, data: {p: evil.example}}]\n",
        b"kind: List\nitems: [{kind: Secret, data: &d {p: evil.example}}, {kind: ConfigMap, data: *d}]\n",
        # What a chart or a program reads is no object, wherever it stands in its file.
        b"sidecar: {kind: Secret, data: {image: evil.example}}\n",
        b"kind: ConfigMap\ndata: {kind: Secret, data: {image: evil.example}}\n",
        b"kind: Secret\napiVersion: apps/v1\ndata: {p: evil.example}\n",
        b"secretGenerator: [{name: a, literals: [p=evil.example]}]\n",
        # A sign of a comment in quotes, in a block, in another document.
        b'kind: Secret\ndata: {p: b}\n---\n{metadata: {x: "CHG #4711"}, kind: Pod, ' + POD + b"}\n",
        b"kind: Secret\ndata: {p: b}\nmetadata:\n  annotations:\n    x: |\n      a\n      # evil.example\n",
        b"kind: Secret\ndata: {p: b}\n---\n# by hand\nkind: ConfigMap\ndata:\n  x: 'a\n\n    # evil.example'\n",
        # Actions that may end the Secret, or make it something else.
        b"kind: Secret\ndata:\n  k: {{ .k }}\n{{ .rule }}\nkind: Pod\n" + POD + b"\n",
        b"kind: Secret\ndata:\n  k: {{ .k }}\n{{ include `x` . }}\n  image: evil.example\n",
        b"{{- if .off }}kind: Secret{{- end }}\nkind: Pod\ndata:\n  x: evil.example\n",
        b"kind: {{ if .off }}Secret{{ else }}Pod{{ end }}\ndata: {x: evil.example}\n",
        b"kind: Secret\ndata:\n  k: {{ .k }}\n  spec: {image: evil.example}\n",
        b"kind: ConfigMap\ndata: {x: evil.example}\nkind: Secret\nmetadata: {name: {{ .n }}}\n",
        b"kind: Secret\ndata:\n  k: {{ .k }}\n  x: evil.example {{ .y }}\n",
        b"kind: Secret\ndata:\n  k: {{ .k |\n default 1 }}\n  x: evil.example\n",
        b"kind: Secret\n---\nkind: Pod # \0\nimage: evil.example {{ .x }}\n",
        # What nobody can read.
        b"kind: Secret\ndata: {p: evil.example\n",
    ],
)
def test_what_is_not_surely_a_value_of_a_secret_is_shown(text):
    """Whoever signs has to see what comes: no word, no place and no comment hides it."""
    assert b"evil.example" in without_secret_values(text)


def test_a_secret_in_the_values_of_a_chart_is_a_value():
    """The same text is masked as a manifest and shown as what a chart is told."""
    text = b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {image: hunter2}\n"
    assert b"hunter2" not in without_secret_values(text)
    assert without_secret_values(text, is_manifest=False) == text


def test_comments_of_a_secret_are_masked_and_no_others():
    """Those of its document, wherever they stand in it."""
    text = (
        b"# one\nkind: ConfigMap\n---\n# two\nkind: Secret # three\ndata:\n  # four\n  p: 'b # in'\n"
        b"  q: |\n    # text\n  # five\n---\n# six\nkind: ConfigMap # seven\n"
    )
    shown = without_secret_values(text).decode()
    for word in ("one", "seven"):
        assert f"# {word}" in shown
    for word in ("two", "three", "four", "in", "text", "five"):
        assert f"# {word}" not in shown


def test_values_that_change_places_are_seen():
    """No value is told, and no two values are told alike."""
    masks = Masks()
    one = without_secret_values(b"kind: Secret\ndata: {a: hunter2, b: hunter3}\n", masks)
    other = without_secret_values(b"kind: Secret\ndata: {a: hunter3, b: hunter2}\n", masks)
    assert one != other
    assert without_secret_values(b"kind: Secret\ndata: {a: hunter2, b: hunter3}\n", masks) == one


def test_what_is_no_yaml_is_shown():
    """A comment and a reference name a Secret: what is signed is not hidden by that."""
    for text in (
        b"{{- if .on }}\n# like kind: Secret\nkind: ClusterRoleBinding\nname: {{ .x }}\n{{- end }}\n",
        b"{{- if .on }}\nspec:\n  ref:\n    kind: Secret\n    name: {{ .x }}\n{{- end }}\n",
        b"apiVersion: other.example/v1\nkind: Secret\ndata: {p: its own}\n",
    ):
        assert without_secret_values(text) == text
    two = b"kind: Secret\ndata:\n  p: hunter2\n---\nkind: Role\nname: {{ .x }\n"
    assert without_secret_values(two) == two


def test_other_files_stay_as_they_are():
    """A file without a Secret is not touched, however it is written."""
    for text in (b"kind: ConfigMap\ndata: {a: b}\n", b"\xff\xfe", b"kind: SecretStore\nspec: {}\n"):
        assert without_secret_values(text) == text
