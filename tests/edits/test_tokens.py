"""The token changes; anchors, tags, quotes, escapes and the name of an image around it stay."""

from __future__ import annotations

import pytest

from gitops_nb.edits import edit_scalar, kubernetes_objects, read_part
from gitops_nb.errors import UsageError


@pytest.mark.parametrize(
    ("content", "key", "part", "new", "after"),
    [
        ("image:\n  tag: &rel v1  # keep\n", "image.tag", "value", "v2", "image:\n  tag: &rel v2  # keep\n"),
        ("image:\n  tag: !!str 1.9  # keep\n", "image.tag", "value", "1.10", "image:\n  tag: !!str 1.10  # keep\n"),
        ("a: {tag: !env v1}\n", "a.tag", "value", "v2", "a: {tag: !env v2}\n"),
        ("tag: !env &x 'v1'\n", "tag", "value", "1.10", "tag: !env &x '1.10'\n"),
        ("tag: ! v1\n", "tag", "value", "v2", "tag: ! v2\n"),
        ("tag: !<tag:yaml.org,2002:str> 1\n", "tag", "value", "2", "tag: !<tag:yaml.org,2002:str> 2\n"),
        ("tag: !!str\n  # why\n  v1\n", "tag", "value", "v2", None),
        ("image: !!str r/c:v1 # c\n", "image", "tag", "v2", "image: !!str r/c:v2 # c\n"),
        ("image: &i r/c:v1\n", "image", "tag", "v2", "image: &i r/c:v2\n"),
        ('image: "r\\x2fc:\\x76\\u0031"\n', "image", "tag", "v2", 'image: "r\\x2fc:v2"\n'),
        ("image: 'it''s/c:v1'\n", "image", "tag", "v2", "image: 'it''s/c:v2'\n"),
        ('{"image":"r\\/c:v1"}', "image", "tag", "v2", '{"image":"r\\/c:v2"}'),
        ('{"i":"\\ud83d\\ude00/\\u0063:v1", "n": 1}\n', "i", "tag", "v2", '{"i":"\\ud83d\\ude00/\\u0063:v2", "n": 1}\n'),
        ('{\n\t"tag":\t21,\n\t"b": [1, 2]\n}\n', "tag", "value", "22", '{\n\t"tag":\t22,\n\t"b": [1, 2]\n}\n'),
        ('{"tag": null}', "tag", "value", "v1", '{"tag": "v1"}'),
        ("image: r/c@sha256:0a1b2c\n", "image", "tag", "sha256:ffee00", "image: r/c@sha256:ffee00\n"),
        ("image: r:5000/c:v1@sha256:0a1b\n", "image", "tag", "v2@sha256:ffee", "image: r:5000/c:v2@sha256:ffee\n"),
        ("image: 12:v1 # c\n", "image", "tag", "30", 'image: "12:30" # c\n'),
        ("a:\tv1\t# c\n", "a", "value", "v2", "a:\tv2\t# c\n"),
        ("a: [x,\tv1\t]\n", "a[1]", "value", "v2", "a: [x,\tv2\t]\n"),
        ("a: v1\n---\nb: 1\n", "a", "value", "v2", "a: v2\n---\nb: 1\n"),
        ("a: v1", "a", "value", "v2", "a: v2"),
    ],
)  # fmt: skip
def test_only_the_token_changes(content, key, part, new, after):
    """Every byte around it is the same; what stands over several lines is refused."""
    if after is None:
        with pytest.raises(UsageError, match="several lines"):
            edit_scalar(content.encode(), key, part, new)
        return
    assert edit_scalar(content.encode(), key, part, new).decode() == after
    assert read_part(after.encode(), key, part) == new


@pytest.mark.parametrize(
    ("content", "key", "after"),
    [
        ("image:\n  tag:\n", "image.tag", "image:\n  tag: v1\n"),
        ("image:\n  tag:", "image.tag", "image:\n  tag: v1"),
        ("image:\n  tag:   # first rollout\nb: 1\n", "image.tag", "image:\n  tag: v1   # first rollout\nb: 1\n"),
        ("tag: ~ # c\n", "tag", "tag: v1 # c\n"),
        ("tag: null\r\nb: 1\r\n", "tag", "tag: v1\r\nb: 1\r\n"),
        ('tag: ""\n', "tag", 'tag: "v1"\n'),
        ("tag: '' # c\n", "tag", "tag: 'v1' # c\n"),
        ("tag: &t # c\n", "tag", "tag: &t v1 # c\n"),
        ("tag: !!str\nb: 1\n", "tag", "tag: !!str v1\nb: 1\n"),
        ("- a\n-\n- c\n", "[1]", "- a\n- v1\n- c\n"),
        ("{a: , b: 1}\n", "a", "{a: v1 , b: 1}\n"),
    ],
)  # fmt: skip
def test_an_empty_value_gets_its_first_one(content, key, after):
    """No value, null and an empty text are read as nothing and can be edited."""
    assert read_part(content.encode(), key, "value") == ""
    assert edit_scalar(content.encode(), key, "value", "v1").decode() == after


@pytest.mark.parametrize(
    ("content", "key", "part", "new", "reason"),
    [
        ("image:\n", "image", "tag", "v1", "image has no value yet"),
        ("image: ~\n", "image", "tag", "v1", "image has no value yet"),
        ("{tag, b: 1}\n", "tag", "value", "v1", "no value and no place for one"),
        ("? tag\n", "tag", "value", "v1", "no value and no place for one"),
        ("tag: !!int 21\n", "tag", "value", "22", "tagged !!int"),
        ("tag: !!binary aGk=\n", "tag", "value", "v2", "tagged !!binary"),
        ("tag: !!null ''\n", "tag", "value", "v2", "tagged !!null"),
        ("image: r/c:v1@sha256:0a1b\n", "image", "tag", "v2", "tag with digest"),
        ("image: r/c@sha256:0a1b\n", "image", "tag", "v2", "by digest"),
        ("image: r/c:v1\n", "image", "tag", "sha256:0a1b", "by tag"),
        ("image: r/c:v1\n", "image", "tag", "a/b", "by tag"),
        ("image: r/c:v1\n", "image", "tag", "a+b", "by tag"),
        ("image: r/c\n", "image", "tag", "v2", "has no tag"),
        ("items:\n- name: b\n", "items[name=b].name", "value", "c", "no key"),
        ('a: "r\\/c:v1"\n', "a", "tag", "v2", "JSON files only"),
        ("%YAML 1.1\n---\na: v1\n", "a", "value", "v2", "Kubernetes does not read"),
        ("a: v1\n--- {b: 1}\n", "a", "value", "v2", "Kubernetes does not read"),
        ("a: v1\nb: &x [*x]\n", "a", "value", "v2", "contains itself"),
        ("a: v1\nb: *x\n", "a", "value", "v2", "no anchor x"),
        ("a: v1\nb: .inf\n", "a", "value", "v2", "no number in JSON"),
        ("a: v1\nb: !!int x\n", "a", "value", "v2", "no !!int"),
        ("a: v1\n? [b]\n: c\n", "a", "value", "v2", "no text"),
    ],
)
def test_what_cannot_be_edited_is_named_as_what_it_is(content, key, part, new, reason):
    """The reason is the true one; the content is only read."""
    with pytest.raises(UsageError, match=reason):
        edit_scalar(content.encode(), key, part, new)


@pytest.mark.parametrize("name", ["A1", "A2", "A5", "A7", "A8"])
def test_the_cases_that_failed(shared, name):
    """The inputs on which an earlier version was wrong."""
    (folder,) = (shared / "data/cases").glob(f"{name}-*")
    (path,) = folder.glob("input.*")
    content = path.read_bytes()
    match name:
        case "A1":
            assert edit_scalar(content, "image.tag", "value", "v2") == content.replace(b"v1", b"v2")
        case "A2":
            once = edit_scalar(content, "image.tag", "value", "1.10")
            assert once == content.replace(b"1.9", b"1.10")
            assert edit_scalar(once, "other.tag", "value", "v2") == once.replace(b"v1", b"v2")
        case "A5":
            for new in ["y", "n", "Y", "N", "0o17", "0O17", "0X1F", "1e1_0"]:
                after = edit_scalar(content, "tag", "value", new)
                assert after == content.replace(b"v1", f'"{new}"'.encode())
                assert kubernetes_objects(after) == ({"tag": new},)
        case "A7":
            assert edit_scalar(content, "image", "tag", "v2") == content.replace(b"v1", b"v2")
        case "A8":
            after = edit_scalar(content, "image.tag", "value", "v1")
            assert after == content.replace(b"tag:", b"tag: v1")


@pytest.mark.parametrize("new", ["1.20", "true", "0x10", "2026-01-01"])
@pytest.mark.parametrize("tag", ["!", "!<!>", "&a !"])
def test_a_bare_mark_is_a_text_to_some_readers_only(tag, new):
    """`! 1.20` is a text to Kubernetes and a number to kustomize, and to PyYAML even in quotes."""
    content = f"kind: X\nv: {tag} v1\n".encode()
    with pytest.raises(UsageError, match="is tagged !"):
        edit_scalar(content, "v", "value", new)
    assert edit_scalar(content, "v", "value", "v2") == content.replace(b"v1", b"v2")
