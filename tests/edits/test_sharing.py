"""What several places share is not edited in one of them, and all of them are named."""

from __future__ import annotations

import pytest

from gitops_nb.edits import edit_scalar, read_part
from gitops_nb.errors import UsageError

BASE = "base: &b\n  image: {tag: v1}\n  note: x\n"


@pytest.mark.parametrize(
    ("content", "key", "others"),
    [
        ("a: &x v1\nb: *x\n", "a", ["b"]),
        ("a: &x v1\nb: *x\n", "b", ["a"]),
        ("a: &x v1\nb: [*x, *x]\n", "a", ["b[0]", "b[1]"]),
        ("a: &x v1\n*x : b\n", "a", ["v1 (the key)"]),
        (f"{BASE}prod: *b\n", "base.image.tag", ["prod.image.tag"]),
        (f"{BASE}prod: {{<<: *b}}\nother: [*b]\n", "base.image.tag", ["prod.image.tag", "other[0].image.tag"]),
        (f"{BASE}prod: {{<<: *b}}\n", "prod.image.tag", ["base.image.tag"]),
        (f"{BASE}prod: {{<<: [*b, {{z: 1}}]}}\n", "base.note", ["prod.note"]),
        (f"{BASE}mid: &m {{<<: *b}}\nprod: {{<<: *m}}\n", "base.note", ["mid.note", "prod.note"]),
        (f"{BASE}prod: {{note: y, <<: *b}}\n", "base.note", ["prod.note"]),
        (f"{BASE}x: &y {{in: *b}}\nz: *y\n", "base.note", ["x.in.note", "z.in.note"]),
        ("app.example/x: &x v1\nb: *x\n", "b", ['"app.example/x"']),
    ],
)  # fmt: skip
def test_shared_values_are_refused_with_every_place(content, key, others):
    """By aliases of scalars and collections, by merge keys, through each other."""
    with pytest.raises(UsageError) as refused:
        edit_scalar(content.encode(), key, "value", "v2")
    assert "shared through an alias or a merge key" in refused.value.message
    named = refused.value.message.partition("too: ")[2].replace(" and ", ", ").split(", ")
    assert sorted(named) == sorted(others)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("a: &x v1\nb: y\n", "a"),
        (f"{BASE}prod: {{<<: *b, note: own}}\n", "prod.note"),
        (f"{BASE}prod: {{<<: *b, note: y}}\n", "base.note"),
        ("prod: {<<: {tag: v1}, b: 1}\n", "prod.tag"),
        ("a: &x 1\nb: *x\ntag: v1\n", "tag"),
        ("a: &x 1\nb: &x v1\nc: 2\n", "b"),
        ("a: &x v1\n---\nb: 1\n", "a"),
    ],
)
def test_what_stands_in_one_place_is_edited(content, key):
    """An anchor that nobody uses and a value that is overridden everywhere else are no sharing."""
    old = read_part(content.encode(), key, "value")
    assert (
        edit_scalar(content.encode(), key, "value", "v2") == content.replace(old, "v2", 1).encode()
    )


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (f"{BASE}prod: {{note: v1, <<: *b}}\n", "prod.note", "readers do not agree"),
        ("p: {<<: {a: 1}, <<: {a: 2}}\n", "p.a", "two merge keys"),
        ("p: {<<: [x]}\n", "p.a", "merge key without a mapping"),
        ("l: &l [{a: 1}]\np: {<<: *l}\n", "p.a", "merge key without a mapping"),
        ("on: v1\ntrue: v2\n", "on", "the same key in Kubernetes"),
    ],
)
def test_what_readers_read_differently_is_neither_read_nor_edited(content, key, reason):
    """Kubernetes and others would not find the same value there."""
    for do in (lambda c: read_part(c, key, "value"), lambda c: edit_scalar(c, key, "value", "v2")):
        with pytest.raises(UsageError, match=reason):
            do(content.encode())


def test_a_bomb_of_aliases_is_refused_quickly():
    """Places that multiply are not all told."""
    lines = ["a0: &a0 {tag: v1}"] + [
        f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40)
    ]
    with pytest.raises(UsageError, match=r"shared|too many places"):
        edit_scalar("\n".join(lines).encode(), "a0.tag", "value", "v2")
