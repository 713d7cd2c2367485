"""The text of a masked file to the letter: what stands for a value or a comment, and that nothing else changes."""

from __future__ import annotations

import re

import pytest

from gitops_nb.edits import Masks, diff, without_secret_values


def shown(text: str, path: str = "") -> str:
    """The masked text, with ``<1>`` for the value and ``<#1>`` for the comment of number 1."""
    found = without_secret_values(text.encode(), path=path).decode()
    found = re.sub(r'"\(a Secret\'s value, number (\d+)\)"', r"<\1>", found)
    return re.sub(r"# \(a comment, number (\d+)\)", r"<#\1>", found)


def test_a_mask_takes_the_place_of_one_value_or_comment():
    """Lines stay lines, equal values have one number, and every other character is as it was."""
    text = (
        "# one\nkind: Secret # two\napiVersion: v1\ndata:\n  a: |\n    x\n    y\n  b: z # three\n"
        "  c: z\n  d: v\ntype: Opaque\n# four\n"
    )
    found = shown(text)
    order = {name: n for n, name in enumerate(dict.fromkeys(re.findall(r"<(#?\d+)>", found)), 1)}
    assert re.sub(r"<(#?\d+)>", lambda m: f"<{order[m[1]]}>", found) == (
        "<1>\nkind: Secret <2>\napiVersion: v1\ndata:\n  a: <3>\n  b: <4> <5>\n"
        "  c: <4>\n  d: <6>\ntype: Opaque\n<7>\n"
    )
    assert [name.startswith("#") for name in order] == [True, True, False, False, True, False, True]
    assert sorted(int(name.strip("#")) for name in order) == list(range(1, 8))


def test_numbers_begin_at_one_and_go_up_by_one():
    """A value that is known keeps its number."""
    masks = Masks()
    assert [masks.number(value) for value in ("a", "b", "a", "c")] == [1, 2, 1, 3]


def test_comments_of_other_documents_stay():
    """Those from the end of the document before to the begin of the next belong to a Secret."""
    assert shown(
        "# a\nkind: ConfigMap\n---\n# b\nkind: Secret\nstringData: {a: x}\n---\nkind: ConfigMap # c\n"
    ) == (
        "# a\nkind: ConfigMap\n---\n<#2>\nkind: Secret\nstringData: {a: <1>}\n---\nkind: ConfigMap # c\n"
    )
    assert shown("#a\nkind: Secret\nstringData: {a: x}\n") == "<#2>\nkind: Secret\nstringData: {a: <1>}\n"  # fmt: skip


TEXTS = {
    "what another field takes is shown": (
        "kind: Secret\napiVersion: &v v1\ntype: &t T\nimmutable: &i true\ndata: {a: *v, b: *t, c: *i, d: x}\n",
        "kind: Secret\napiVersion: &v v1\ntype: &t T\nimmutable: &i true\ndata: {a: *v, b: *t, c: *i, d: <1>}\n",
    ),
    "the kind": ("kind: &k Secret\ndata: {a: *k, b: x}\n", "kind: &k Secret\ndata: {a: *k, b: <1>}\n"),
    "metadata": (
        "kind: Secret\nmetadata: {name: &n w, annotations: {x: &x y}}\ndata: {a: *n, b: *x, c: z}\n",
        "kind: Secret\nmetadata: {name: &n w, annotations: {x: &x y}}\ndata: {a: *n, b: *x, c: <1>}\n",
    ),
    "a label of the annotation's name": (
        "kind: Secret\nmetadata: {labels: {kubectl.kubernetes.io/last-applied-configuration: l}}\ndata: {a: x}\n",
        "kind: Secret\nmetadata: {labels: {kubectl.kubernetes.io/last-applied-configuration: l}}\ndata: {a: <1>}\n",
    ),
    "a list of Secrets": (
        "kind: SecretList\nitems: [{data: {a: x}}, {kind: ConfigMap, data: {a: y}}]\n",
        "kind: SecretList\nitems: [{data: {a: <1>}}, {kind: ConfigMap, data: {a: y}}]\n",
    ),
    "a list of anything": (
        "kind: List\nitems: [{data: {a: x}}, {kind: Secret, data: {a: y}}]\n",
        "kind: List\nitems: [{data: {a: x}}, {kind: Secret, data: {a: <1>}}]\n",
    ),
    "items behind a merge key": (
        "base: &b\n  items:\n  - kind: Secret\n    data: {a: x}\nkind: List\n<<: *b\n",
        "base: &b\n  items:\n  - kind: Secret\n    data: {a: <1>}\nkind: List\n<<: *b\n",
    ),
    "a generator of kustomize": (
        "kind: SecretGenerator\napiVersion: builtin\nmetadata: {name: q}\nliterals: [a=b]\nfiles: [z]\n",
        "kind: SecretGenerator\napiVersion: builtin\nmetadata: {name: q}\nliterals: [<1>]\nfiles: [z]\n",
    ),
    "a generator of somebody else": (
        "kind: SecretGenerator\napiVersion: v1\nliterals: [a=b]\n",
        "kind: SecretGenerator\napiVersion: v1\nliterals: [a=b]\n",
    ),
    "what is no mapping": ("[Secret, {kind: Secret}]\n", "[Secret, {kind: Secret}]\n"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_only_values_of_a_secret_are_masked(text, expected):
    """What has a place elsewhere in the object is shown there, and so where an alias brings it."""
    assert shown(text) == expected


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_literals_of_a_kustomization_are_masked_and_nothing_beside_them(name):
    """In a file of that name alone; what another field takes by an alias is shown."""
    text = (
        "secretGenerator:\n- name: &n x\n  literals: [*n, a=b, *r]\n  files: [f]\n"
        "resources: [&r c]\nitems: [{literals: [c=d]}]\n"
    )
    text = text.replace("resources: [&r c]\n", "").replace("secretGenerator", "resources: [&r c]\nsecretGenerator", 1)  # fmt: skip
    assert shown(text, f"apps/{name}") == text.replace("a=b", "<1>")
    assert shown(text, "apps/other.yaml") == text
    assert shown(text, f"{name}/values.yaml") == text


def test_what_is_no_text_is_a_number():
    """A file of bytes that may name a Secret: its change shows, and nothing of it; a text file is shown."""
    masks = Masks()
    one, other = (
        without_secret_values(content, masks, path="files/key.p12")
        for content in (b"\0Secret\xff1", b"\0Secret\xff2")
    )
    assert one == b"# not shown: it is no text; content number 1\n"
    assert other == b"# not shown: it is no text; content number 2\n"
    assert diff(one, other)
    read = without_secret_values(b"{{ a }}\0Secret", path="files/key.yaml")
    assert read == b"{{ a }}\0Secret"
    unreadable = b"{{ a }}\xff Secret"
    assert without_secret_values(unreadable, path="files/key.p12") == unreadable


@pytest.mark.parametrize("suffix", [".jsonnet", ".libsonnet", ".tpl", ".txt"])
def test_a_file_that_a_program_reads_is_shown(suffix):
    """It looks like one Secret, and the program may make anything of it."""
    text = "{kind: 'Secret', stringData: {a: 'x'}}\n"
    assert shown(text, "apps/x.yaml") != text
    assert shown(text, f"apps/x{suffix}") == text
